// Which changes are tried together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "worker/sensitivity/changes.h"

namespace hone {

enum class Grouping { automatic, node, block };
Result<Grouping> ParseGrouping(std::string_view name);  // auto, node, block; kRejected.

struct ChangeGroup {
  std::string name;
  std::vector<size_t> changes;     // Indices, ascending.
  std::vector<std::string> nodes;  // Names of the original's nodes, in its order; outputs' names where they have none.
};

// node: a group for each operator that computes; what only moves data goes with the operator that reads it. block: a
// group for each repeated part of the model, told by the numbers in node names ("encoder/layer.3/attention/..." is
// "encoder/layer.3"); what bears no number is grouped by its node. automatic: block where that gives at least four
// groups and fewer than node gives. Groups come in the model's order and have different names. `used` is what was
// chosen (node or block).
std::vector<ChangeGroup> GroupChanges(const onnx::ModelProto& original, const std::vector<Change>& changes,
                                      Grouping grouping, Grouping& used);

// The groups of the parameter `layers` (worker/passes/layer_groups.h) of a pass on the original, named after it:
// "layers.3". Groups that nothing changes in are left out.
Result<std::vector<ChangeGroup>> GroupByLayers(const onnx::ModelProto& original, const std::vector<Change>& changes,
                                               size_t groups);

}  // namespace hone
