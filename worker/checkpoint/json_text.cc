// The text is gone through twice: first by a counter that stops at a bound and makes nothing, then by the library,
// which keeps no stack of calls for nested values.
#include "worker/checkpoint/json_text.h"

#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <unordered_set>

#include "common/base/strings.h"

namespace hone {
namespace {

using nlohmann::json;

// Counts what a text asks for.
class Counter : public nlohmann::json_sax<json> {
 public:
  explicit Counter(const JsonBounds& bounds) : bounds_(bounds) {}

  bool null() override { return One(); }
  bool boolean(bool) override { return One(); }
  bool number_integer(number_integer_t) override { return One(); }
  bool number_unsigned(number_unsigned_t) override { return One(); }
  bool number_float(number_float_t, const string_t&) override { return One(); }
  bool string(string_t&) override { return One(); }
  bool binary(binary_t&) override { return One(); }
  bool start_object(size_t) override { return Deeper(); }
  bool start_array(size_t) override { return Deeper(); }
  bool end_object() override { return Shallower(); }
  bool end_array() override { return Shallower(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      return Refuse(fmt::format("the key '{}' stands twice in one object", Printable(name, 100)));
    return One();
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Refuse(fmt::format("it is no JSON from byte {} on", position));
  }

  const std::string& reason() const { return reason_; }

 private:
  bool Refuse(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }
  bool One() {
    return ++values_ <= bounds_.values || Refuse(fmt::format("it holds more than {} values", bounds_.values));
  }
  bool Deeper() {
    keys_.emplace_back();
    if (keys_.size() > bounds_.depth) return Refuse(fmt::format("it is nested deeper than {} levels", bounds_.depth));
    return One();
  }
  bool Shallower() {
    keys_.pop_back();
    return true;
  }

  const JsonBounds& bounds_;
  uint64_t values_ = 0;
  std::vector<std::unordered_set<std::string>> keys_;  // Of the objects that are open.
  std::string reason_;
};

std::string Shown(const json& value) {
  return Printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 80);
}

}  // namespace

Result<json> ParseJson(std::string_view text, std::string_view what, const JsonBounds& bounds) {
  return ParseJsonWithout(text, what, "", bounds);
}

Result<json> ParseJsonWithout(std::string_view text, std::string_view what, std::string_view key,
                              const JsonBounds& bounds) {
  const auto refuse = [&](const std::string& why) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: {}", what, why));
  };
  if (text.size() > bounds.bytes)
    return refuse(fmt::format("it has {} bytes; {} are allowed", text.size(), bounds.bytes));
  const auto keep = [&](int, json::parse_event_t event, json& parsed) {
    return event != json::parse_event_t::key || parsed.get_ref<const std::string&>() != key;
  };
  try {
    Counter counter(bounds);
    if (!json::sax_parse(text.begin(), text.end(), &counter)) return refuse(counter.reason());
    if (key.empty()) return json::parse(text.begin(), text.end());
    return json::parse(text.begin(), text.end(), keep);
  } catch (const std::exception& error) {
    return refuse(Printable(error.what(), 200));
  }
}

const json* JsonReader::Find(std::string_view key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonReader::Refuse(const std::string& why) {
  if (!error_) error_ = Error{ErrorCode::kRejected, fmt::format("{}: {}", what_, why)};
}

void JsonReader::Absent(std::string_view key) { Refuse(fmt::format("'{}' is missing", key)); }

void JsonReader::Wrong(std::string_view key, const json& value, const std::string& wanted) {
  Refuse(fmt::format("'{}' is {}; it must be {}", key, Shown(value), wanted));
}

int64_t JsonReader::Int(std::string_view key, std::optional<int64_t> otherwise, int64_t low, int64_t high) {
  const json* value = Find(key);
  if (value == nullptr && !otherwise) Absent(key);
  if (value == nullptr) return otherwise.value_or(low);
  // Doubles hold whole numbers of such files too.
  const double real = value->is_number() ? value->get<double>() : std::nan("");
  if (real >= static_cast<double>(low) && real <= static_cast<double>(high) && real == std::floor(real))
    return value->is_number_integer() ? value->get<int64_t>() : static_cast<int64_t>(real);
  Wrong(key, *value, fmt::format("a whole number from {} to {}", low, high));
  return otherwise.value_or(low);
}

double JsonReader::Real(std::string_view key, std::optional<double> otherwise, double low, double high) {
  const json* value = Find(key);
  if (value == nullptr && !otherwise) Absent(key);
  if (value == nullptr) return otherwise.value_or(low);
  const double real = value->is_number() ? value->get<double>() : std::nan("");
  if (real >= low && real <= high) return real;
  Wrong(key, *value, fmt::format("a number from {} to {}", low, high));
  return otherwise.value_or(low);
}

bool JsonReader::Bool(std::string_view key, bool otherwise) {
  const json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  Wrong(key, *value, "true or false");
  return otherwise;
}

std::string JsonReader::Text(std::string_view key, std::string otherwise) {
  const json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  Wrong(key, *value, "a text");
  return otherwise;
}

std::vector<float> JsonReader::Reals(std::string_view key, size_t most, double low, double high) {
  const json* value = Find(key);
  std::vector<float> values;
  if (value == nullptr) return values;
  const std::string wanted = fmt::format("a list of at most {} numbers from {} to {}", most, low, high);
  if (!value->is_array() || value->size() > most) {
    Wrong(key, *value, wanted);
    return values;
  }
  for (const json& element : *value) {
    const double real = element.is_number() ? element.get<double>() : std::nan("");
    if (!(real >= low && real <= high)) {
      Wrong(key, *value, wanted);
      return {};
    }
    values.push_back(static_cast<float>(real));
  }
  return values;
}

std::vector<std::string> JsonReader::Texts(std::string_view key, size_t most) {
  const json* value = Find(key);
  std::vector<std::string> values;
  if (value == nullptr) return values;
  bool sound = value->is_array() && value->size() <= most;
  for (size_t i = 0; sound && i < value->size(); ++i) {
    sound = (*value)[i].is_string();
    if (sound) values.push_back((*value)[i].get<std::string>());
  }
  if (sound) return values;
  Wrong(key, *value, fmt::format("a list of at most {} texts", most));
  return {};
}

std::vector<int64_t> JsonReader::Ints(std::string_view key, size_t most, int64_t low, int64_t high) {
  const json* value = Find(key);
  std::vector<int64_t> values;
  if (value == nullptr) return values;
  if (!value->is_array()) return {Int(key, low, low, high)};
  bool sound = value->size() <= most;
  for (size_t i = 0; sound && i < value->size(); ++i) {
    const json& element = (*value)[i];
    sound = element.is_number_integer() && element.get<double>() >= static_cast<double>(low) &&
            element.get<double>() <= static_cast<double>(high);
    if (sound) values.push_back(element.get<int64_t>());
  }
  if (sound) return values;
  Wrong(key, *value, fmt::format("a list of at most {} whole numbers from {} to {}", most, low, high));
  return {};
}

}  // namespace hone
