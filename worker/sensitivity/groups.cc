#include "worker/sensitivity/groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "common/base/strings.h"
#include "worker/passes/layer_groups.h"

namespace hone {
namespace {

constexpr size_t kFewestBlocks = 4;

bool MovesData(const std::string& op) {
  static const std::set<std::string> kOps = {"Reshape", "Transpose", "Squeeze",  "Unsqueeze", "Flatten",
                                             "Slice",   "Expand",    "Identity", "Split",     "Concat",
                                             "Pad",     "Tile",      "Gather"};
  return kOps.contains(op);
}

std::string NameOf(const onnx::NodeProto& node) { return node.name().empty() ? node.output(0) : node.name(); }

bool ReadsWeight(const onnx::NodeProto& node, const Constants& constants) {
  return std::any_of(node.input().begin(), node.input().end(), [&](const std::string& input) {
    const auto* tensor = constants.Find(input);
    return tensor != nullptr && tensor->dims_size() >= 2;
  });
}

// The node that a change is named for: the last of its original nodes with a weight (a Relu behind it may have gone
// into it), else the last.
int HeartOf(const onnx::ModelProto& model, const Constants& constants, const Change& change) {
  for (auto n = change.original.rbegin(); n != change.original.rend(); ++n) {
    if (ReadsWeight(model.graph().node(*n), constants)) return *n;
  }
  return change.original.back();
}

const onnx::NodeProto& Heart(const onnx::ModelProto& model, const Constants& constants, const Change& change) {
  return model.graph().node(HeartOf(model, constants, change));
}

// The change that each change goes with: itself, or the first one that reads what it only moves.
std::vector<size_t> Leaders(const onnx::ModelProto& model, const std::vector<Change>& changes) {
  const Constants constants(model.graph());
  std::unordered_map<std::string, std::vector<size_t>> readers;
  for (size_t c = 0; c < changes.size(); ++c) {
    for (const int n : changes[c].original) {
      for (const auto& input : model.graph().node(n).input()) readers[input].push_back(c);
    }
  }
  std::vector<size_t> leaders(changes.size());
  for (size_t c = changes.size(); c-- > 0;) {
    leaders[c] = c;
    const onnx::NodeProto& heart = Heart(model, constants, changes[c]);
    if (!MovesData(heart.op_type()) || ReadsWeight(heart, constants)) continue;
    for (const auto& output : changes[c].outputs) {
      for (const size_t reader : readers[output]) {
        if (reader > c && leaders[c] == c) leaders[c] = leaders[reader];
      }
    }
  }
  return leaders;
}

std::vector<ChangeGroup> Gather(const onnx::ModelProto& model, const std::vector<Change>& changes,
                                const std::vector<std::string>& keys) {
  std::vector<ChangeGroup> groups;
  std::map<std::string, size_t> places;
  for (size_t c = 0; c < changes.size(); ++c) {
    const auto [place, added] = places.emplace(keys[c], groups.size());
    if (added) groups.push_back({keys[c], {}, {}});
    ChangeGroup& group = groups[place->second];
    group.changes.push_back(c);
    for (const int n : changes[c].original) {
      const std::string name = NameOf(model.graph().node(n));
      if (std::find(group.nodes.begin(), group.nodes.end(), name) == group.nodes.end()) group.nodes.push_back(name);
    }
  }
  return groups;
}

std::vector<ChangeGroup> ByNode(const onnx::ModelProto& model, const std::vector<Change>& changes) {
  const std::vector<size_t> leaders = Leaders(model, changes);
  const Constants constants(model.graph());
  std::vector<std::string> keys(changes.size());
  std::map<std::string, int> seen;
  for (size_t c = 0; c < changes.size(); ++c) {
    std::string name = NameOf(Heart(model, constants, changes[c]));
    // Names need not differ in a valid model.
    if (seen[name]++ > 0) name = fmt::format("{} ({})", name, changes[c].outputs.front());
    keys[c] = std::move(name);
  }
  std::vector<std::string> led(changes.size());
  for (size_t c = 0; c < changes.size(); ++c) led[c] = keys[leaders[c]];
  return Gather(model, changes, led);
}

std::vector<ChangeGroup> ByBlock(const onnx::ModelProto& model, const std::vector<Change>& changes) {
  const std::vector<size_t> leaders = Leaders(model, changes);
  const Constants constants(model.graph());
  std::vector<std::string> keys(changes.size());
  for (size_t c = 0; c < changes.size(); ++c) {
    const std::string name = NameOf(Heart(model, constants, changes[leaders[c]]));
    keys[c] = BlockOf(name);
    if (keys[c].empty()) keys[c] = name;
  }
  return Gather(model, changes, keys);
}

}  // namespace

Result<Grouping> ParseGrouping(std::string_view name) {
  if (name == "auto" || name.empty()) return Grouping::automatic;
  if (name == "node") return Grouping::node;
  if (name == "block") return Grouping::block;
  return Fail(ErrorCode::kRejected, fmt::format("there is no grouping '{}'", Printable(name, 100)),
              "Use auto, node or block.");
}

Result<std::vector<ChangeGroup>> GroupByLayers(const onnx::ModelProto& original, const std::vector<Change>& changes,
                                               size_t groups) {
  const Constants constants(original.graph());
  // What the pass quantizes, as far as this model tells.
  std::set<std::string> types;
  for (const Change& change : changes) types.insert(Heart(original, constants, change).op_type());
  TRY_ASSIGN(const std::vector<size_t> group_of, CutIntoLayerGroups(original.graph(), groups, types));
  std::vector<std::string> keys;
  for (const Change& change : changes) {
    keys.push_back(LayerGroupName(group_of[static_cast<size_t>(HeartOf(original, constants, change))]));
  }
  return Gather(original, changes, keys);
}

std::vector<ChangeGroup> GroupChanges(const onnx::ModelProto& original, const std::vector<Change>& changes,
                                      Grouping grouping, Grouping& used) {
  used = grouping == Grouping::block ? Grouping::block : Grouping::node;
  if (grouping == Grouping::node) return ByNode(original, changes);
  std::vector<ChangeGroup> blocks = ByBlock(original, changes);
  if (grouping == Grouping::block) return blocks;
  std::vector<ChangeGroup> nodes = ByNode(original, changes);
  if (blocks.size() < kFewestBlocks || blocks.size() >= nodes.size()) return nodes;
  used = Grouping::block;
  return blocks;
}

}  // namespace hone
