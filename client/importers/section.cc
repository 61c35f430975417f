#include "client/importers/section.h"

#include <cmath>

#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {

Result<Section> Section::Open(const ConfigNode& node, const std::string& what, std::string_view nested,
                              Ledger& ledger) {
  if (!node.IsMap()) return FailAt(node, fmt::format("{} must be a map, is {}", what, ValueText(node)));
  Section section;
  section.node_ = &node;
  section.what_ = what;
  const ConfigNode* inner = nested.empty() ? nullptr : node.Find(nested);
  if (inner != nullptr && inner->IsNull()) {
    ledger.Tell(*inner, Fate::ignored, "is empty");
    inner = nullptr;
  }
  if (inner != nullptr && !inner->IsMap()) {
    return FailAt(*inner, fmt::format("'{}' must be a map, is {}", inner->path, ValueText(*inner)));
  }
  for (const ConfigEntry& entry : node.entries) {
    if (!nested.empty() && entry.key == nested) continue;
    if (inner != nullptr && inner->Find(entry.key) != nullptr) {
      ledger.Tell(entry.value, Fate::ignored, fmt::format("'{}' is given too, and wins", inner->Find(entry.key)->path));
      continue;
    }
    section.fields_.push_back({entry.key, &entry.value});
  }
  if (inner == nullptr) return section;
  if (inner->entries.empty()) ledger.Tell(*inner, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : inner->entries) section.fields_.push_back({entry.key, &entry.value});
  return section;
}

const ConfigNode* Section::Find(std::string_view key) const {
  const auto field = std::find_if(fields_.begin(), fields_.end(), [&](const Field& each) { return each.key == key; });
  return field == fields_.end() ? nullptr : field->node;
}

tl::unexpected<Error> WrongKind(const ConfigNode& node, std::string_view wanted) {
  return FailAt(node, fmt::format("'{}' must be {}, is {}", node.path, wanted, ValueText(node)));
}

Result<std::string> TextOf(const ConfigNode& node) {
  if (!node.IsText()) return WrongKind(node, "a text");
  return node.value.text();
}

Result<bool> BoolOf(const ConfigNode& node) {
  if (node.kind != ConfigNode::Kind::scalar) return WrongKind(node, "true or false");
  if (node.value.kind_case() == proto::Value::kBoolean) return node.value.boolean();
  const std::string word = Lower(ToText(node.value));
  for (const char* yes : {"true", "yes", "on", "y", "t", "1"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "n", "f", "0"}) {
    if (word == no) return false;
  }
  return WrongKind(node, "true or false");
}

Result<double> RealOf(const ConfigNode& node) {
  if (node.kind != ConfigNode::Kind::scalar) return WrongKind(node, "a number");
  const proto::Value value = node.IsText() ? ParseValue(Trim(node.value.text())) : node.value;
  if (value.kind_case() != proto::Value::kInteger && value.kind_case() != proto::Value::kReal)
    return WrongKind(node, "a number");
  const double number = hone::RealOf(value);
  if (!std::isfinite(number)) return WrongKind(node, "a number");
  return number;
}

Result<int64_t> IntOf(const ConfigNode& node, int64_t least, int64_t most) {
  TRY_ASSIGN(const double number, RealOf(node));
  if (number != std::floor(number) || std::abs(number) > 9e15) return WrongKind(node, "a whole number");
  const auto whole = static_cast<int64_t>(number);
  if (whole < least || whole > most) return WrongKind(node, fmt::format("a whole number from {} to {}", least, most));
  return whole;
}

Result<std::vector<std::string>> TextsOf(const ConfigNode& node) {
  std::vector<std::string> texts;
  if (!node.IsList()) {
    TRY_ASSIGN(std::string text, TextOf(node));
    texts.push_back(std::move(text));
    return texts;
  }
  for (const ConfigNode& item : node.items) {
    TRY_ASSIGN(std::string text, TextOf(item));
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<std::vector<int64_t>> IntsOf(const ConfigNode& node) {
  std::vector<int64_t> numbers;
  if (!node.IsList()) {
    TRY_ASSIGN(const int64_t number, IntOf(node, INT64_MIN / 4, INT64_MAX / 4));
    numbers.push_back(number);
    return numbers;
  }
  for (const ConfigNode& item : node.items) {
    TRY_ASSIGN(const int64_t number, IntOf(item, INT64_MIN / 4, INT64_MAX / 4));
    numbers.push_back(number);
  }
  return numbers;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return lower;
}

}  // namespace hone::importers
