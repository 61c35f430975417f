// Which nodes of a graph somebody asked to leave in float: by name and type (NodeFilter), by what lies between two
// points, and the first and last products.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "worker/passes/pass.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct NodeChoice {
  std::map<int, std::string> left;  // Node index -> why.
  bool Wanted(int index) const { return !left.contains(index); }
};

// From the parameters exclude, op_types, layers, exclude_between, keep_first and keep_last. kRejected for a broken
// expression, a point of exclude_between that the graph does not have, and points that nothing lies between.
Result<NodeChoice> ChooseNodes(const QuantizationGraph& graph, const PassContext& context);

// The parameters, for a pass's declaration.
std::vector<proto::ParameterInfo> NodeChoiceParameters();

// A Conv, ConvTranspose, Gemm or MatMul with a constant float matrix: what first and last are counted over.
bool IsWeightedProduct(const QuantizationGraph& graph, const onnx::NodeProto& node);

}  // namespace hone
