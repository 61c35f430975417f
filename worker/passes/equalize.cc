#include "worker/passes/equalize.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernels/range.h"

namespace hone {
namespace {

constexpr int kMostSweeps = 20;
constexpr float kConverged = 1e-3f;
constexpr float kLargestFactor = 1024;

// The weight of a node as [outputs, inputs of a group, positions].
struct Layer {
  int node = 0;
  size_t outputs = 0;
  size_t inputs = 0;  // Of one group.
  size_t groups = 1;
  size_t positions = 1;
  bool transposed = false;        // Stored as [inputs, outputs].
  Tensor weight;
  std::vector<float> magnitudes;  // [outputs, inputs]: the largest over the positions.
  std::vector<float> output_factors;
  std::vector<float> input_factors;

  size_t InputChannel(size_t output, size_t input) const { return output / (outputs / groups) * inputs + input; }
  float Magnitude(size_t output, size_t input) const {
    return magnitudes[output * inputs + input] * output_factors[output] * input_factors[InputChannel(output, input)];
  }
  size_t At(size_t output, size_t input) const {
    return transposed ? input * outputs + output : (output * inputs + input) * positions;
  }
};

struct Pair {
  size_t first = 0;
  size_t second = 0;
  int added = -1;  // The Add of a constant behind a MatMul.
  std::vector<std::string> between;
};

class Equalizer {
 public:
  Equalizer(QuantizationGraph& graph, const NodeChoice& choice) : graph_(graph), choice_(choice) {}

  Result<Equalized> Run() {
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      TRY(FindPair(i));
    }
    for (int sweep = 0; sweep < kMostSweeps && Sweep() > kConverged; ++sweep) {
    }
    for (Layer& layer : layers_) {
      TRY(Apply(layer));
    }
    Equalized result;
    result.pairs = static_cast<int>(pairs_.size());
    for (const Pair& pair : pairs_) {
      TRY(ScaleAdded(pair));
      result.changed.insert(pair.between.begin(), pair.between.end());
    }
    return result;
  }

 private:
  bool HasOneReader(const std::string& value) const {
    return !graph_.index().IsGraphOutput(value) && graph_.index().Consumers(value).size() == 1 &&
           graph_.index().Consumers(value)[0].input >= 0;
  }

  bool IsEqualizable(int index) const {
    const auto& node = graph_.Node(index);
    if (!choice_.Wanted(index) || !IsWeightedProduct(graph_, node) || node.op_type() == "ConvTranspose") return false;
    if (!HasOneReader(node.input(1)) || graph_.FloatWeight(node.input(0)) != nullptr) return false;
    if (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) != 0) return false;
    return node.op_type() == "Conv" || graph_.FloatWeight(node.input(1))->dims_size() == 2;
  }

  // A bias that there is must be a constant of one value an output.
  bool CanScaleBias(const onnx::NodeProto& node, size_t outputs) const {
    if (node.input_size() < 3 || node.input(2).empty()) return true;
    const onnx::TensorProto* bias = graph_.FloatWeight(node.input(2));
    return bias != nullptr && bias->dims_size() > 0 && IsVector(*bias, outputs);
  }
  static bool IsVector(const onnx::TensorProto& tensor, size_t count) {
    for (int i = 0; i + 1 < tensor.dims_size(); ++i) {
      if (tensor.dims(i) != 1) return false;
    }
    return tensor.dims_size() > 0 && tensor.dims(tensor.dims_size() - 1) == static_cast<int64_t>(count);
  }

  // nullopt for a weight that is not finite, or shapes that make no sense.
  Result<std::optional<Layer>> ReadLayer(int index) const {
    const auto& node = graph_.Node(index);
    Layer layer;
    layer.node = index;
    TRY_ASSIGN(layer.weight, ReadTensor(*graph_.FloatWeight(node.input(1))));
    const auto& dims = layer.weight.dims;
    layer.transposed = node.op_type() == "MatMul" || (node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) == 0);
    layer.outputs = static_cast<size_t>(dims[layer.transposed ? 1 : 0]);
    layer.inputs = static_cast<size_t>(dims[layer.transposed ? 0 : 1]);
    for (size_t i = 2; i < dims.size(); ++i) layer.positions *= static_cast<size_t>(dims[i]);
    if (node.op_type() == "Conv")
      layer.groups = static_cast<size_t>(std::max<int64_t>(1, IntAttribute(node, "group", 1)));
    if (layer.outputs == 0 || layer.inputs == 0 || layer.positions == 0 || layer.outputs % layer.groups != 0)
      return std::optional<Layer>();
    layer.magnitudes.resize(layer.outputs * layer.inputs);
    const float* values = layer.weight.data<float>();
    for (size_t output = 0; output < layer.outputs; ++output) {
      for (size_t input = 0; input < layer.inputs; ++input) {
        const auto range = kernels::Range(values + layer.At(output, input), layer.positions);
        if (range.non_finite > 0) return std::optional<Layer>();
        layer.magnitudes[output * layer.inputs + input] = range.AbsMax();
      }
    }
    layer.output_factors.assign(layer.outputs, 1);
    layer.input_factors.assign(layer.inputs * layer.groups, 1);
    return std::optional(std::move(layer));
  }

  // The position of a node's layer; nullopt where it has none.
  Result<std::optional<size_t>> LayerOf(int index) {
    if (const auto found = positions_.find(index); found != positions_.end()) return found->second;
    std::optional<size_t> position;
    if (IsEqualizable(index)) {
      TRY_ASSIGN(std::optional<Layer> layer, ReadLayer(index));
      if (layer) {
        position = layers_.size();
        layers_.push_back(std::move(*layer));
      }
    }
    positions_[index] = position;
    return position;
  }

  // Follows what a layer gives to the next one.
  Result<> FindPair(int index) {
    static const std::set<std::string> kHomogeneous = {"Relu",        "LeakyRelu",         "MaxPool",
                                                       "AveragePool", "GlobalAveragePool", "Identity"};
    if (!IsEqualizable(index)) return {};
    Pair pair;
    std::string value = graph_.Node(index).output(0);
    while (HasOneReader(value)) {
      pair.between.push_back(value);
      const Use use = graph_.index().Consumers(value)[0];
      const auto& node = graph_.Node(use.node);
      if (!IsStandard(node)) return {};
      if (IsWeightedProduct(graph_, node))
        return use.input == 0 ? AddPair(index, use.node, std::move(pair)) : Result<>();
      if (node.op_type() == "Add" && graph_.Node(index).op_type() == "MatMul" && pair.between.size() == 1) {
        const onnx::TensorProto* constant = graph_.FloatWeight(node.input(1 - use.input));
        const auto outputs = graph_.FloatWeight(graph_.Node(index).input(1))->dims(1);
        if (constant == nullptr || !IsVector(*constant, static_cast<size_t>(outputs))) return {};
        pair.added = use.node;
      } else if (!kHomogeneous.contains(node.op_type()) || node.output_size() != 1) {
        return {};
      }
      value = node.output(0);
    }
    return {};
  }

  Result<> AddPair(int first, int second, Pair pair) {
    TRY_ASSIGN(const auto before, LayerOf(first));
    TRY_ASSIGN(const auto after, LayerOf(second));
    if (!before || !after) return {};
    const Layer& layer = layers_[*before];
    if (layers_[*after].input_factors.size() != layer.outputs || !CanScaleBias(graph_.Node(first), layer.outputs))
      return {};
    pair.first = *before;
    pair.second = *after;
    pairs_.push_back(std::move(pair));
    return {};
  }

  // Balances every pair once; returns the largest change of a factor.
  float Sweep() {
    float change = 0;
    for (const Pair& pair : pairs_) {
      Layer& first = layers_[pair.first];
      Layer& second = layers_[pair.second];
      std::vector<float> given(first.outputs, 0);
      std::vector<float> read(first.outputs, 0);
      for (size_t output = 0; output < first.outputs; ++output) {
        for (size_t input = 0; input < first.inputs; ++input)
          given[output] = std::max(given[output], first.Magnitude(output, input));
      }
      for (size_t output = 0; output < second.outputs; ++output) {
        for (size_t input = 0; input < second.inputs; ++input) {
          float& largest = read[second.InputChannel(output, input)];
          largest = std::max(largest, second.Magnitude(output, input));
        }
      }
      for (size_t channel = 0; channel < first.outputs; ++channel) {
        if (!(given[channel] > 0) || !(read[channel] > 0)) continue;
        const float before = first.output_factors[channel];
        const float balanced = before * std::sqrt(read[channel] / given[channel]);
        const float after = std::clamp(balanced, 1 / kLargestFactor, kLargestFactor);
        first.output_factors[channel] = after;
        second.input_factors[channel] *= before / after;
        change = std::max(change, std::fabs(after / before - 1));
      }
    }
    return change;
  }

  Result<> Apply(Layer& layer) {
    onnx::NodeProto& node = graph_.Node(layer.node);
    float* values = layer.weight.data<float>();
    for (size_t output = 0; output < layer.outputs; ++output) {
      for (size_t input = 0; input < layer.inputs; ++input) {
        const float factor = layer.output_factors[output] * layer.input_factors[layer.InputChannel(output, input)];
        for (size_t i = 0; i < layer.positions; ++i) values[layer.At(output, input) + i] *= factor;
      }
    }
    const std::string name = graph_.AddConstant(node.input(1) + "_equalized", onnx::TensorProto::FLOAT,
                                                layer.weight.dims, layer.weight.bytes);
    node.set_input(1, name);
    layer.weight = Tensor();
    if (node.input_size() < 3 || node.input(2).empty()) return {};
    return ScaleVector(node, 2, layer.output_factors);
  }

  Result<> ScaleVector(onnx::NodeProto& node, int input, const std::vector<float>& factors) {
    if (std::all_of(factors.begin(), factors.end(), [](float factor) { return factor == 1; })) return {};
    TRY_ASSIGN(Tensor constant, ReadTensor(*graph_.FloatWeight(node.input(input))));
    for (size_t i = 0; i < factors.size(); ++i) constant.data<float>()[i] *= factors[i];
    const std::string name = graph_.AddConstant(node.input(input) + "_equalized", onnx::TensorProto::FLOAT,
                                                constant.dims, constant.bytes);
    node.set_input(input, name);
    return {};
  }

  Result<> ScaleAdded(const Pair& pair) {
    if (pair.added < 0) return {};
    onnx::NodeProto& node = graph_.Node(pair.added);
    const int constant = graph_.FloatWeight(node.input(0)) != nullptr ? 0 : 1;
    return ScaleVector(node, constant, layers_[pair.first].output_factors);
  }

  QuantizationGraph& graph_;
  const NodeChoice& choice_;
  std::vector<Layer> layers_;
  std::unordered_map<int, std::optional<size_t>> positions_;  // By node.
  std::vector<Pair> pairs_;
};

}  // namespace

Result<Equalized> Equalize(QuantizationGraph& graph, const NodeChoice& choice) {
  return Equalizer(graph, choice).Run();
}

}  // namespace hone
