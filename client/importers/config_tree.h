// Configurations of other tools, JSON or YAML, as one small tree that knows where each value stands and counts its
// leaves. Every leaf has a number, so that a ledger (ledger.h) can tell what became of each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/value.pb.h"

namespace hone::importers {

struct ConfigEntry;

struct ConfigNode {
  enum class Kind { scalar, list, map };
  Kind kind = Kind::scalar;
  proto::Value value;                // Of a scalar; no case set is null.
  std::vector<ConfigNode> items;     // Of a list.
  std::vector<ConfigEntry> entries;  // Of a map, in the order of the text.
  uint32_t line = 0;                 // Of the value or its key; 0 where unknown.
  uint32_t column = 0;               // 0 where unknown: JSON tells lines alone.
  std::string path;                  // "passes.quantize.config.per_channel", "" of the root.
  size_t first_leaf = 0;
  size_t leaves = 0;  // Scalars, empty lists and empty maps from here downwards.

  bool IsNull() const { return kind == Kind::scalar && value.kind_case() == proto::Value::KIND_NOT_SET; }
  bool IsText() const { return kind == Kind::scalar && value.kind_case() == proto::Value::kText; }
  bool IsList() const { return kind == Kind::list; }
  bool IsMap() const { return kind == Kind::map; }
  // nullptr where it is no map or has no such key.
  const ConfigNode* Find(std::string_view key) const;
};

struct ConfigEntry {
  std::string key;
  ConfigNode value;
};

// Largest text, deepest nesting, most leaves.
constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxConfigDepth = 32;
constexpr size_t kMaxConfigLeaves = 50'000;

// JSON where the text begins with '{' or '[', else YAML. kRejected with `file`, line and, of YAML, column: broken
// syntax, a key given twice, anchors and tags, what is beyond the bounds. The root is a map.
Result<ConfigNode> ParseConfig(std::string_view text, const std::string& file);
// The same of a file; one that is not there is kRejected too.
Result<ConfigNode> ReadConfig(const std::string& file);

// A tree made by a program: numbers the leaves and writes the paths.
void Number(ConfigNode& root);
ConfigNode MapNode();
ConfigNode ListNode(std::vector<ConfigNode> items);
ConfigNode ScalarNode(proto::Value value);
ConfigNode TextNode(std::string text);
// Adds an entry to a map and returns its value.
ConfigNode& Add(ConfigNode& map, std::string key, ConfigNode value);

// For people and reports: the value itself, lists and maps as JSON, cut to `most` bytes.
std::string ValueText(const ConfigNode& node, size_t most = 80);
// kRejected at the node's place.
tl::unexpected<Error> FailAt(const ConfigNode& node, std::string message, std::string remedy = {});

}  // namespace hone::importers
