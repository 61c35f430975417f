#include "worker/passes/simplify_steps.h"

#include <algorithm>
#include <unordered_set>

namespace hone {

ValueTypes::ValueTypes(const onnx::GraphProto& graph) {
  for (const auto* values : {&graph.input(), &graph.value_info(), &graph.output()}) {
    for (const auto& value : *values) Add(value);
  }
  for (const auto& tensor : graph.initializer()) {
    types_[tensor.name()] = {tensor.data_type(), std::vector<int64_t>(tensor.dims().begin(), tensor.dims().end())};
  }
}

void ValueTypes::Add(const onnx::ValueInfoProto& value) {
  if (!value.type().has_tensor_type()) return;
  types_[value.name()] = {value.type().tensor_type().elem_type(), DimsOf(value)};
}

const ValueTypes::Type& ValueTypes::Of(const std::string& name) const {
  static const Type kUnknown;
  const auto found = types_.find(name);
  return found == types_.end() ? kUnknown : found->second;
}

const std::vector<int64_t>* ValueTypes::StaticDims(const std::string& name) const {
  const Type& type = Of(name);
  if (!type.dims) return nullptr;
  const bool known = std::all_of(type.dims->begin(), type.dims->end(), [](int64_t dim) { return dim >= 0; });
  return known ? &*type.dims : nullptr;
}

bool IsStandardOp(const onnx::NodeProto& node, std::string_view op_type) {
  return node.op_type() == op_type && (node.domain().empty() || node.domain() == "ai.onnx");
}

bool IsRandom(const onnx::NodeProto& node) {
  static const std::unordered_set<std::string> kRandom = {"Bernoulli",        "Multinomial",   "RandomNormal",
                                                          "RandomNormalLike", "RandomUniform", "RandomUniformLike"};
  if (kRandom.contains(node.op_type())) return true;
  // With three inputs it may be told to train.
  return node.op_type() == "Dropout" && node.input_size() > 2 && !node.input(2).empty();
}

bool HasSubgraph(const onnx::NodeProto& node) {
  return std::any_of(node.attribute().begin(), node.attribute().end(),
                     [](const auto& attribute) { return attribute.has_g() || attribute.graphs_size() > 0; });
}

bool IsQuantization(const onnx::NodeProto& node) {
  return node.op_type() == "QuantizeLinear" || node.op_type() == "DequantizeLinear" ||
         node.op_type() == "DynamicQuantizeLinear";
}

std::optional<std::vector<int64_t>> IntegersOf(const onnx::TensorProto& tensor) {
  const bool wide = tensor.data_type() == onnx::TensorProto::INT64;
  if (!wide && tensor.data_type() != onnx::TensorProto::INT32) return std::nullopt;
  const Result<Tensor> read = ReadTensor(tensor);
  if (!read) return std::nullopt;
  std::vector<int64_t> values(static_cast<size_t>(read->Elements()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = wide ? read->data<int64_t>()[i] : read->data<int32_t>()[i];
  return values;
}

void RemoveNodes(onnx::GraphProto& graph, const std::vector<bool>& removed) {
  int kept = 0;
  for (int i = 0; i < static_cast<int>(removed.size()); ++i) {
    if (removed[static_cast<size_t>(i)]) continue;
    if (kept != i) graph.mutable_node()->SwapElements(kept, i);
    ++kept;
  }
  const int count = static_cast<int>(removed.size());
  // Nodes added behind those that the flags tell stay behind them.
  for (int i = count; i < graph.node_size(); ++i, ++kept) graph.mutable_node()->SwapElements(kept, i);
  graph.mutable_node()->DeleteSubrange(kept, graph.node_size() - kept);
}

}  // namespace hone
