// As much of JSON Schema as docs/json uses: type, enum, required, properties, items.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace hone::test {

inline bool HasJsonType(const nlohmann::json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == "null" && value.is_null();
}

// What is wrong with the value, with its place; "" where nothing is.
inline std::string SchemaFault(const nlohmann::json& schema, const nlohmann::json& value,
                               const std::string& place = "") {
  const std::string here = place.empty() ? "the document" : place;
  if (schema.contains("enum")) {
    const auto& words = schema.at("enum");
    return std::find(words.begin(), words.end(), value) != words.end() ? ""
                                                                       : fmt::format("{} is {}", here, value.dump());
  }
  const nlohmann::json types =
      schema.at("type").is_array() ? schema.at("type") : nlohmann::json::array({schema.at("type")});
  const bool fits = std::any_of(types.begin(), types.end(), [&](const auto& type) { return HasJsonType(value, type); });
  if (!fits) return fmt::format("{} is no {}: {}", here, types.dump(), value.dump().substr(0, 80));
  if (value.is_object() && schema.contains("properties")) {
    for (const auto& key : schema.at("required")) {
      if (!value.contains(key)) return fmt::format("{} lacks {}", here, key.dump());
    }
    for (const auto& [key, child] : schema.at("properties").items()) {
      if (!value.contains(key)) continue;
      const std::string fault = SchemaFault(child, value.at(key), place + "/" + key);
      if (!fault.empty()) return fault;
    }
  }
  if (value.is_array() && schema.contains("items")) {
    for (size_t i = 0; i < value.size(); ++i) {
      const std::string fault = SchemaFault(schema.at("items"), value.at(i), fmt::format("{}/{}", place, i));
      if (!fault.empty()) return fault;
    }
  }
  return "";
}

}  // namespace hone::test
