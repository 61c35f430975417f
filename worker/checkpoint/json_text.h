// JSON from outside: parsed within bounds, its values read within bounds.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct JsonBounds {
  uint64_t bytes = 32 << 20;
  uint64_t values = 4'000'000;  // Of any kind, keys included.
  uint64_t depth = 32;
};

// kRejected, naming `what`, for text that is no JSON, passes a bound, or has a key twice in one object.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view what, const JsonBounds& bounds = {});

// The same, leaving out what stands under `key`, at whatever depth.
Result<nlohmann::json> ParseJsonWithout(std::string_view text, std::string_view what, std::string_view key,
                                        const JsonBounds& bounds = {});

// Reads members of an object. The first that has another type or lies outside its bounds is kept as the error, and what
// is read then is its default; so a run of reads is checked once, at its end. A member that is null counts as absent.
class JsonReader {
 public:
  // object: must outlive the reader; anything but an object has no members. what: names it in errors.
  JsonReader(const nlohmann::json& object, std::string what) : object_(object), what_(std::move(what)) {}

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // nullptr where it is absent or null.
  const nlohmann::json* Find(std::string_view key) const;

  int64_t Int(std::string_view key, std::optional<int64_t> otherwise, int64_t low, int64_t high);
  double Real(std::string_view key, std::optional<double> otherwise, double low, double high);
  bool Bool(std::string_view key, bool otherwise);
  std::string Text(std::string_view key, std::string otherwise);
  // A list of numbers; empty where absent.
  std::vector<float> Reals(std::string_view key, size_t most, double low, double high);
  std::vector<std::string> Texts(std::string_view key, size_t most);
  // A number or a list of them; empty where absent.
  std::vector<int64_t> Ints(std::string_view key, size_t most, int64_t low, int64_t high);

  void Refuse(const std::string& why);
  Result<> status() const { return error_ ? Result<>(Fail(*error_)) : Result<>(); }

 private:
  void Absent(std::string_view key);
  void Wrong(std::string_view key, const nlohmann::json& value, const std::string& wanted);

  const nlohmann::json& object_;
  const std::string what_;
  std::optional<Error> error_;
};

}  // namespace hone
