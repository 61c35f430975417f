#include "worker/passes/input_scaling.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "kernels/half.h"

namespace hone {
namespace {

// A constant input of a node to be multiplied along its last dimension.
struct Edit {
  int node = -1;
  int input = -1;
  bool along_first = false;  // Gemm's weight with transB: output channels are the first dimension.
};

// Normalizations whose output is linear in constants of the last dimension.
struct NormalizationRow {
  const char* op_type;
  std::array<int, 2> inputs;  // Scale, and what is added after it; -1 none.
};
constexpr NormalizationRow kNormalizations[] = {
    {"LayerNormalization", {1, 2}},
    {"SimplifiedLayerNormalization", {1, -1}},
    {"RMSNormalization", {1, -1}},
    {"SkipLayerNormalization", {2, 3}},
    {"SkipSimplifiedLayerNormalization", {2, -1}},
};

class ScaleFolder {
 public:
  ScaleFolder(QuantizationGraph& graph, size_t channels) : graph_(graph), channels_(channels) {}

  // Finds the edits that multiply the first output of the node which computes `value`.
  bool Find(const std::string& value, int depth) {
    constexpr int kDeepest = 6;
    const int index = graph_.index().Producer(value);
    if (index < 0 || depth > kDeepest || graph_.index().IsGraphOutput(value)) return false;
    const onnx::NodeProto& node = graph_.Node(index);
    if (node.output(0) != value) return false;
    for (const auto& row : kNormalizations) {
      if (node.op_type() == row.op_type) return Normalization(index, row);
    }
    const std::string& type = node.op_type();
    if (type == "Relu" || type == "LeakyRelu" || type == "Identity") return Through(index, 0, depth);
    if (type == "Mul") return Product(index, depth);
    if (type == "Add") return Sum(index, depth);
    if (type == "MatMul") return Edited(index, 1, false);
    if (type == "Gemm") return GemmEdits(index);
    return false;
  }

  Result<std::vector<ScaledConstant>> Apply(const std::vector<float>& factors) {
    std::vector<ScaledConstant> changed;
    for (const Edit& edit : edits_) {
      const std::string name = graph_.Node(edit.node).input(edit.input);
      TRY_ASSIGN(const std::string scaled, Scaled(name, edit.along_first, factors));
      graph_.Node(edit.node).set_input(edit.input, scaled);
      changed.push_back({edit.node, name, scaled});
    }
    return changed;
  }

 private:
  bool Normalization(int index, const NormalizationRow& row) {
    const onnx::NodeProto& node = graph_.Node(index);
    const int64_t axis = IntAttribute(node, "axis", -1);
    const auto shape = graph_.ShapeOf(node.input(0));
    if (axis != -1 && !(shape && axis == static_cast<int64_t>(shape->size()) - 1)) return false;
    for (const int input : row.inputs) {
      if (input < 0 || input >= node.input_size() || node.input(input).empty()) continue;
      if (!Edited(index, input, false)) return false;
    }
    return true;
  }

  // The value is linear in one of its inputs, which nothing else reads.
  bool Through(int index, int input, int depth) {
    const std::string& value = graph_.Node(index).input(input);
    return graph_.index().Consumers(value).size() == 1 && Find(value, depth + 1);
  }

  bool Product(int index, int depth) {
    const onnx::NodeProto& node = graph_.Node(index);
    for (const int input : {0, 1}) {
      if (Edited(index, input, false)) return true;
    }
    for (const int input : {1, 0}) {
      // The branch must have all channels itself: what broadcasts does not.
      const auto shape = graph_.ShapeOf(node.input(input));
      if (!shape || shape->empty() || shape->back() != static_cast<int64_t>(channels_)) continue;
      const size_t before = edits_.size();
      if (Through(index, input, depth)) return true;
      edits_.resize(before);
    }
    return false;
  }

  bool Sum(int index, int depth) {
    for (const int input : {0, 1}) {
      const size_t before = edits_.size();
      if (Edited(index, input, false) && Through(index, 1 - input, depth)) return true;
      edits_.resize(before);
    }
    return false;
  }

  bool GemmEdits(int index) {
    const onnx::NodeProto& node = graph_.Node(index);
    if (!Edited(index, 1, IntAttribute(node, "transB", 0) != 0)) return false;
    return node.input_size() < 3 || node.input(2).empty() || Edited(index, 2, false);
  }

  // Notes the input, if it is a constant with one entry for each channel.
  bool Edited(int index, int input, bool along_first) {
    const onnx::NodeProto& node = graph_.Node(index);
    if (input >= node.input_size()) return false;
    const onnx::TensorProto* constant = graph_.AnyWeight(node.input(input));
    if (constant == nullptr || constant->dims_size() == 0) return false;
    const bool floats =
        constant->data_type() == onnx::TensorProto::FLOAT || constant->data_type() == onnx::TensorProto::FLOAT16;
    const int64_t size = constant->dims(along_first ? 0 : constant->dims_size() - 1);
    if (!floats || size != static_cast<int64_t>(channels_)) return false;
    edits_.push_back({index, input, along_first});
    return true;
  }

  Result<std::string> Scaled(const std::string& name, bool along_first, const std::vector<float>& factors) {
    const onnx::TensorProto& constant = *graph_.AnyWeight(name);
    TRY_ASSIGN(const Tensor tensor, ReadTensor(constant));
    std::vector<float> values = ToFloats(tensor);
    const size_t inner = along_first ? values.size() / channels_ : 1;
    for (size_t i = 0; i < values.size(); ++i) values[i] *= factors[i / inner % channels_];
    if (tensor.type == onnx::TensorProto::FLOAT)
      return graph_.AddConstant(name + "_scaled", tensor.type, tensor.dims, values);
    std::vector<uint16_t> halves(values.size());
    kernels::FloatToHalf(values.data(), values.size(), kernels::Clamp::yes, halves.data());
    return graph_.AddConstant(name + "_scaled", tensor.type, tensor.dims, halves);
  }

  QuantizationGraph& graph_;
  const size_t channels_;
  std::vector<Edit> edits_;
};

}  // namespace

Result<std::vector<ScaledConstant>> FoldFactors(QuantizationGraph& graph, const std::string& value,
                                                const std::vector<float>& factors, const std::set<int>& readers) {
  for (const Use& use : graph.index().Consumers(value)) {
    if (!readers.contains(use.node) || use.input != 0) return std::vector<ScaledConstant>();
  }
  ScaleFolder folder(graph, factors.size());
  if (!folder.Find(value, 0)) return std::vector<ScaledConstant>();
  return folder.Apply(factors);
}

Result<> InsertFactors(QuantizationGraph& graph, const std::string& value, const std::vector<float>& factors,
                       const std::set<int>& readers) {
  const std::vector<int64_t> dims = {static_cast<int64_t>(factors.size())};
  std::string name;
  if (graph.TypeOf(value) == onnx::TensorProto::FLOAT16) {
    std::vector<uint16_t> halves(factors.size());
    kernels::FloatToHalf(factors.data(), factors.size(), kernels::Clamp::yes, halves.data());
    name = graph.AddConstant(value + "_input_scale", onnx::TensorProto::FLOAT16, dims, halves);
  } else {
    name = graph.AddConstant(value + "_input_scale", onnx::TensorProto::FLOAT, dims, factors);
  }
  const std::string scaled = graph.FreshName(value + "_scaled");
  graph.AddNode("Mul", value + "_scale_inputs", {value, name}, {scaled});
  for (const int reader : readers) graph.Node(reader).set_input(0, scaled);
  return {};
}

}  // namespace hone
