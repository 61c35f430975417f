#include "common/recipe/yaml_reader.h"

#include <cmath>
#include <cstdlib>
#include <utility>

#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::yaml {
namespace {

constexpr int64_t kMaxMilliseconds = int64_t{3650} * 86'400'000;  // Ten years.
constexpr size_t kShownBytes = 80;                                // Of a person's text in a message.

const char* ScalarKind(const YamlNode& node) {
  if (!node.plain) return "a text";
  switch (ParseValue(node.text).kind_case()) {
    case proto::Value::kBoolean:
      return "a truth value";
    case proto::Value::kInteger:
    case proto::Value::kReal:
      return "a number";
    default:
      return "a text";
  }
}

bool IsOverflownNumber(const std::string& text) {
  if (text.empty() || text.find_first_not_of("+-.0123456789eE") != std::string::npos) return false;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return *end == '\0' && std::isinf(number);
}

}  // namespace

const char* KindOf(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "empty";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  return ScalarKind(node);
}

std::string Shown(std::string_view text) { return Printable(text, kShownBytes); }

tl::unexpected<Error> FailAt(const Context& context, YamlPlace place, std::string message, std::string remedy) {
  return Fail(
      Error{ErrorCode::kRejected, std::move(message), std::move(remedy), context.file, place.line, place.column});
}

tl::unexpected<Error> FailAt(const Context& context, YamlPlace place, const Error& error) {
  return FailAt(context, place, error.message, error.remedy);
}

proto::Position PositionOf(const Context& context, YamlPlace place) {
  proto::Position position;
  position.set_file(context.file);
  position.set_line(place.line);
  position.set_column(place.column);
  return position;
}

// what: "'trials'", "an item of 'tags'"; wanted: "a whole number".
tl::unexpected<Error> WrongKind(const Context& context, const YamlNode& node, const std::string& what,
                                const std::string& wanted) {
  const bool show = node.kind == YamlNode::Kind::kScalar;
  return FailAt(context, node.place,
                fmt::format("{} must be {}, is {}", what, wanted,
                            show ? fmt::format("{} '{}'", KindOf(node), Shown(node.text)) : KindOf(node)));
}

std::string Quoted(const std::string& name) { return "'" + Shown(name) + "'"; }

Result<std::string> ReadText(const Context& context, const YamlNode& node, const std::string& what,
                             const std::string& wanted) {
  if (node.kind != YamlNode::Kind::kScalar) return WrongKind(context, node, what, wanted);
  if (node.text.empty()) return FailAt(context, node.place, what + " must not be empty");
  if (node.text.size() > kMaxTextBytes)
    return FailAt(context, node.place, fmt::format("{} has more than {} bytes", what, kMaxTextBytes));
  return node.text;
}

Result<int64_t> ReadInteger(const Context& context, const YamlNode& node, const std::string& what, int64_t low,
                            int64_t high) {
  const proto::Value value =
      node.kind == YamlNode::Kind::kScalar && node.plain ? ParseValue(node.text) : proto::Value();
  if (value.kind_case() != proto::Value::kInteger) return WrongKind(context, node, what, "a whole number");
  if (value.integer() < low)
    return FailAt(context, node.place, fmt::format("{} must be at least {}, is {}", what, low, value.integer()));
  if (value.integer() > high)
    return FailAt(context, node.place, fmt::format("{} must be at most {}, is {}", what, high, value.integer()));
  return value.integer();
}

Result<double> ReadReal(const Context& context, const YamlNode& node, const std::string& what) {
  const proto::Value value =
      node.kind == YamlNode::Kind::kScalar && node.plain ? ParseValue(node.text) : proto::Value();
  const bool number = value.kind_case() == proto::Value::kInteger || value.kind_case() == proto::Value::kReal;
  if (!number) return WrongKind(context, node, what, "a number");
  if (!std::isfinite(RealOf(value)))
    return FailAt(context, node.place, fmt::format("{} must be a finite number, is {}", what, Shown(node.text)));
  return RealOf(value);
}

Result<bool> ReadBool(const Context& context, const YamlNode& node, const std::string& what) {
  const proto::Value value =
      node.kind == YamlNode::Kind::kScalar && node.plain ? ParseValue(node.text) : proto::Value();
  if (value.kind_case() != proto::Value::kBoolean) return WrongKind(context, node, what, "true or false");
  return value.boolean();
}

Result<uint64_t> ReadMilliseconds(const Context& context, const YamlNode& node, const std::string& what) {
  TRY_ASSIGN(const std::string text, ReadText(context, node, what, "a duration like 90s, 20m or 1h30m"));
  const auto ms = ParseDuration(text);
  if (!ms) return FailAt(context, node.place, fmt::format("{}: {}", what, ms.error().message), ms.error().remedy);
  if (*ms < 1) return FailAt(context, node.place, what + " must be longer than nothing");
  if (*ms > kMaxMilliseconds) return FailAt(context, node.place, what + " must be at most ten years");
  return static_cast<uint64_t>(*ms);
}

Result<uint64_t> ReadBytes(const Context& context, const YamlNode& node, const std::string& what) {
  TRY_ASSIGN(const std::string text, ReadText(context, node, what, "a size like 512MB or 2GiB"));
  const auto bytes = ParseBytes(text);
  if (!bytes)
    return FailAt(context, node.place, fmt::format("{}: {}", what, bytes.error().message), bytes.error().remedy);
  if (*bytes < 1) return FailAt(context, node.place, what + " must be more than nothing");
  return *bytes;
}

// A value of a parameter, as the pass will get it: the words of YAML unquoted, a text quoted.
Result<proto::Value> ReadValue(const Context& context, const YamlNode& node, const std::string& what) {
  if (node.kind != YamlNode::Kind::kScalar) return WrongKind(context, node, what, "a single value");
  if (node.text.size() > kMaxTextBytes)
    return FailAt(context, node.place, fmt::format("{} has more than {} bytes", what, kMaxTextBytes));
  if (!node.plain) return TextValue(node.text);
  proto::Value value = ParseValue(node.text);
  if (value.kind_case() == proto::Value::kReal && !std::isfinite(value.real())) {
    return FailAt(context, node.place, fmt::format("{} must be a finite number, is {}", what, Shown(node.text)));
  }
  // A number that no double holds would read as text; nobody means that.
  if (value.kind_case() == proto::Value::kText && IsOverflownNumber(node.text)) {
    return FailAt(context, node.place, fmt::format("{} is beyond what a number holds: {}", what, Shown(node.text)));
  }
  return value;
}

const YamlEntry* FindEntry(const YamlNode& node, std::string_view key) {
  const auto found =
      std::find_if(node.entries.begin(), node.entries.end(), [&](const YamlEntry& entry) { return entry.key == key; });
  return found == node.entries.end() ? nullptr : &*found;
}

Result<> CheckList(const Context& context, const YamlEntry& entry, const std::string& wanted) {
  if (entry.value.kind != YamlNode::Kind::kList) return WrongKind(context, entry.value, Quoted(entry.key), wanted);
  if (entry.value.items.empty())
    return FailAt(context, entry.place, fmt::format("{} must not be empty", Quoted(entry.key)));
  return {};
}

}  // namespace hone::yaml
