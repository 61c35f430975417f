// YAML text as a small tree that knows where each thing stands. Stricter than YAML: what a recipe has no use for and
// what can deceive (duplicate keys, anchors, tags, several documents) is an error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mistakes.h"
#include "common/base/result.h"

namespace hone {

struct YamlPlace {
  uint32_t line = 0;     // Counted from 1.
  uint32_t column = 0;   // In characters, counted from 1.
};

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  YamlPlace place;
  std::string text;                 // Of a scalar.
  bool plain = false;               // A scalar without quotes.
  std::vector<YamlNode> items;      // Of a list.
  std::vector<YamlEntry> entries;   // Of a map, in the order of the text.
};

// A null value stands at its key's place.
struct YamlEntry {
  std::string key;
  YamlPlace place;
  YamlNode value;
};

// Largest text, deepest nesting, longest list or map.
constexpr size_t kMaxYamlBytes = 1 << 20;
constexpr size_t kMaxYamlDepth = 32;
constexpr size_t kMaxYamlItems = 4096;

// The text's only document. kRejected with `file`, line and column; `what` the text is stands in the messages. With
// `repeated`, a key that stands in its map already is put there and left out of the tree, and is no error.
Result<YamlNode> ParseYamlTree(std::string_view text, const std::string& file, const std::string& what = "recipe",
                               Mistakes* repeated = nullptr);

}  // namespace hone
