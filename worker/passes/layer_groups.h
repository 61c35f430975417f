// Groups of layers that keep or change their precision together: the parameter `layers` of passes that quantize layer
// by layer.
#pragma once

#include <onnx/onnx_pb.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/work.pb.h"

namespace hone {

// The value of a group that stays as it is.
constexpr const char* kLayersInFloat = "float";

// For a pass's declaration: the parameter, which a recipe gives as layers.0, layers.1 ... (docs/recipe.md), and the
// rule that some group changes.
proto::ParameterInfo LayersParameter();
proto::Impossible LayersRule();

// Groups that a step's parameters are for; 0: none, the pass treats the whole model alike. kRejected where numbers are
// left out.
Result<size_t> LayerGroupsGiven(const proto::PassStep& step);
// "layers.3".
std::string LayerGroupName(size_t group);

// The group of each node, by its index. A layer is a node of one of the types that multiplies by a constant of rank 2
// or more; layers in the model's order are cut into `groups` parts of about equally many that follow one another, at
// the borders of the model's blocks (BlockOf) where there is one near enough. Other nodes belong to the layer before
// them. kRejected where there are fewer layers than groups.
Result<std::vector<size_t>> CutIntoLayerGroups(const onnx::GraphProto& graph, size_t groups,
                                               const std::set<std::string>& types);
// Types of nodes that may be layers, of passes that quantize every product.
const std::set<std::string>& LayerTypes();

// The repeated part of the model that a node name tells by its numbers ("/encoder/layer.3/attention/..." is
// "encoder/layer.3"); "" where it tells none.
std::string BlockOf(std::string_view node_name);

}  // namespace hone
