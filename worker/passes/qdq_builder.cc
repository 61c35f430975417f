// Activation t:            producer -> t -> QuantizeLinear -> DequantizeLinear -> consumers
// Graph output t:          producer -> t_QuantizeLinear_Input -> QuantizeLinear -> DequantizeLinear -> t
// Constant w:              w_quantized -> DequantizeLinear -> consumers
// Bias b of one node:      b_quantized (int32) -> DequantizeLinear -> that node
//
// Ranges are edited before scales are computed: what feeds a Relu or Clip alone needs no codes for what that cuts off,
// and a Softmax gives [0, 1]. Weight scales are raised where the bias would not fit int32.
#include "worker/passes/qdq_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

namespace hone {
namespace {

class Builder {
 public:
  Builder(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options,
          const ObservedRanges& ranges)
      : graph_(graph), plan_(plan), options_(options), ranges_(ranges) {}

  Result<QdqReport> Build(const NodeChoice& choice) {
    if (options_.layout == QdqLayout::onnxruntime) EditRanges(choice);
    UnifyRanges();
    TRY(ComputeScales());
    TRY(FitScalesToBiases());
    TRY(AddTensors());
    AddTensorsThatShare();
    TRY(AddBiases());
    Rewire();
    return std::move(report_);
  }

 private:
  struct Constant {
    WeightScheme scheme;
    std::vector<ScaleZero> scales;
  };
  // What a quantized tensor is dequantized with.
  struct Parameters {
    std::vector<ScaleZero> scales;
    QuantizationGraph::ScaleNames names;
  };

  void EditRanges(const NodeChoice& choice) {
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      const auto& node = graph_.Node(i);
      if (!IsStandard(node) || node.input_size() == 0 || node.output_size() == 0 || !choice.Wanted(i)) continue;
      if (node.op_type() == "Softmax") {
        auto& range = ranges_[node.output(0)];
        range.low = 0;
        range.high = 1;
      }
      if (node.op_type() != "Relu" && node.op_type() != "Clip") continue;
      const auto input = ranges_.find(node.input(0));
      const auto output = ranges_.find(node.output(0));
      if (graph_.index().Consumers(node.input(0)).size() != 1 || input == ranges_.end() || output == ranges_.end())
        continue;
      input->second = output->second;
    }
  }

  // Gives every group that must have one scale the hull of its ranges. Groups that meet, in a tensor or in one that two
  // tensors share their scale with, are one group.
  void UnifyRanges() {
    std::unordered_map<std::string, std::string> shares;
    for (const QdqTensor& tensor : plan_.tensors) {
      if (!tensor.scale_of.empty()) shares[tensor.name] = tensor.scale_of;
    }
    std::unordered_map<std::string, std::string> leaders;  // Towards the first of a group.
    const auto leader_of = [&](std::string name) {
      for (auto next = shares.find(name); next != shares.end(); next = shares.find(name)) name = next->second;
      for (auto next = leaders.find(name); next != leaders.end(); next = leaders.find(name)) name = next->second;
      return name;
    };
    std::set<std::string> members;
    for (const auto& group : plan_.unified) {
      const std::string first = leader_of(group.front());
      members.insert(first);
      for (const auto& name : group) {
        const std::string leader = leader_of(name);
        members.insert(leader);
        if (leader != first) leaders[leader] = first;
      }
    }
    for (const bool widen : {true, false}) {
      for (const auto& name : members) {
        const auto range = ranges_.find(name);
        const auto whole = ranges_.find(leader_of(name));
        if (range == ranges_.end() || whole == ranges_.end()) continue;
        ObservedRange& from = widen ? range->second : whole->second;
        ObservedRange& to = widen ? whole->second : range->second;
        to = {std::min(from.low, to.low), std::max(from.high, to.high)};
      }
    }
  }

  ScaleZero ActivationScale(const ObservedRange& range) const {
    const bool symmetric = options_.symmetric_activations;
    if (options_.layout == QdqLayout::openvino)
      return ComputeFakeQuantizeScale(range.low, range.high, options_.activations, symmetric);
    return ComputeScale(range.low, range.high, ScaleCodes(options_.activations, false, symmetric), symmetric);
  }

  Result<> ComputeScales() {
    for (const QdqTensor& tensor : plan_.tensors) {
      if (const onnx::TensorProto* weight = graph_.FloatWeight(tensor.name)) {
        TRY_ASSIGN(const Tensor values, ReadTensor(*weight));
        Constant constant = {SchemeOf(tensor, options_), {}};
        constant.scales = WeightScales(values.data<float>(), values.dims, constant.scheme);
        if (constant.scales.empty()) {
          report_.left.push_back(fmt::format("'{}' left in float: it holds NaN or infinities", tensor.name));
        } else {
          constants_[tensor.name] = std::move(constant);
        }
      } else if (const auto range = ranges_.find(tensor.name); range != ranges_.end()) {
        own_scales_[tensor.name] = ActivationScale(range->second);
      }
    }
    return {};
  }

  Result<std::vector<float>> BiasValues(const QdqBias& bias) const {
    TRY_ASSIGN(const Tensor tensor, ReadTensor(*graph_.FloatWeight(bias.bias)));
    std::vector<float> values(tensor.data<float>(), tensor.data<float>() + tensor.Elements());
    for (float& value : values) value *= bias.beta;
    return values;
  }

  Result<> FitScalesToBiases() {
    for (const QdqBias& bias : plan_.biases) {
      const auto input = own_scales_.find(bias.input);
      const auto weight = constants_.find(bias.weight);
      if (input == own_scales_.end() || weight == constants_.end()) continue;
      Constant& constant = weight->second;
      const bool zeros = std::all_of(constant.scales.begin(), constant.scales.end(),
                                     [](const ScaleZero& s) { return s.zero_point == 0; });
      if (constant.scheme.type != CodeType::s8 || !zeros) continue;
      TRY_ASSIGN(std::vector<float> magnitudes, BiasValues(bias));
      for (float& value : magnitudes) value = std::fabs(value);
      if (!std::all_of(magnitudes.begin(), magnitudes.end(), [](float value) { return std::isfinite(value); }))
        continue;
      if (constant.scheme.axis && magnitudes.size() != constant.scales.size()) continue;
      if (!constant.scheme.axis) {
        const float largest = magnitudes.empty() ? 0 : *std::max_element(magnitudes.begin(), magnitudes.end());
        magnitudes = {largest};
      }
      RaiseScalesForBias(magnitudes, input->second.scale, constant.scales);
    }
    return {};
  }

  void AddPair(const QdqTensor& tensor, const QuantizationGraph::ScaleNames& scales) {
    const std::string& name = tensor.name;
    const bool everybody = tensor.readers.empty();
    const bool is_output = everybody && graph_.index().IsGraphOutput(name) && graph_.index().Producer(name) >= 0;
    const std::string source = is_output ? graph_.FreshName(name + "_QuantizeLinear_Input") : name;
    const std::string codes = graph_.FreshName(name + "_QuantizeLinear_Output");
    const std::string result = is_output ? name : graph_.FreshName(name + "_DequantizeLinear_Output");
    graph_.AddNode("QuantizeLinear", name + "_QuantizeLinear", {source, scales.scale, scales.zero_point}, {codes});
    graph_.AddNode("DequantizeLinear", name + "_DequantizeLinear", {codes, scales.scale, scales.zero_point}, {result});
    if (is_output) {
      new_outputs_[name] = source;
    } else if (everybody) {
      new_inputs_[name] = result;
    }
    for (const Use& reader : tensor.readers) graph_.Node(reader.node).set_input(reader.input, result);
    ++report_.activations;
  }

  Result<> AddConstant(const std::string& name, const Constant& constant) {
    TRY_ASSIGN(const Tensor values, ReadTensor(*graph_.FloatWeight(name)));
    const auto codes = WeightCodes(values.data<float>(), values.dims, constant.scheme, constant.scales);
    const std::string code_name =
        graph_.AddConstant(name + "_quantized", CodeElementType(constant.scheme.type), values.dims, codes);
    const auto names = graph_.AddScales(name, constant.scheme.type, constant.scales, constant.scheme.axis.has_value());
    const std::string result = graph_.FreshName(name + "_DequantizeLinear_Output");
    auto* node = graph_.AddNode("DequantizeLinear", name + "_DequantizeLinear",
                                {code_name, names.scale, names.zero_point}, {result});
    if (constant.scheme.axis) SetIntAttribute(*node, "axis", *constant.scheme.axis);
    new_inputs_[name] = result;
    parameters_[name] = {constant.scales, names};
    ++report_.weights;
    return {};
  }

  Result<> AddTensors() {
    for (const QdqTensor& tensor : plan_.tensors) {
      if (!tensor.scale_of.empty()) continue;
      if (const auto constant = constants_.find(tensor.name); constant != constants_.end()) {
        TRY(AddConstant(tensor.name, constant->second));
      } else if (const auto own = own_scales_.find(tensor.name); own != own_scales_.end()) {
        const auto names = graph_.AddScales(tensor.name, options_.activations, {own->second}, false);
        AddPair(tensor, names);
        parameters_[tensor.name] = {{own->second}, names};
      }
    }
    return {};
  }

  // Scales are handed on along chains, so it goes round until nothing more can be given one. What is left then follows
  // a tensor that stayed in float and stays so too.
  void AddTensorsThatShare() {
    bool progress = true;
    while (progress) {
      progress = false;
      for (const QdqTensor& tensor : plan_.tensors) {
        const auto source = parameters_.find(tensor.scale_of);
        if (tensor.scale_of.empty() || parameters_.contains(tensor.name) || source == parameters_.end()) continue;
        if (source->second.scales.size() != 1 || graph_.FloatWeight(tensor.name) != nullptr) continue;
        const Parameters shared = source->second;
        AddPair(tensor, shared.names);
        parameters_[tensor.name] = shared;
        progress = true;
      }
    }
  }

  Result<> AddBiases() {
    for (const QdqBias& bias : plan_.biases) {
      if (new_inputs_.contains(bias.bias)) continue;  // A quantized constant of another operator too.
      const auto input = parameters_.find(bias.input);
      const auto weight = parameters_.find(bias.weight);
      if (input == parameters_.end() || weight == parameters_.end() || input->second.scales.size() != 1) continue;
      TRY(AddBias(bias, input->second.scales[0].scale, weight->second.scales));
    }
    return {};
  }

  Result<> AddBias(const QdqBias& bias, float input_scale, const std::vector<ScaleZero>& weight) {
    TRY_ASSIGN(const std::vector<float> values, BiasValues(bias));
    const auto& dims = graph_.FloatWeight(bias.bias)->dims();
    const bool per_channel = weight.size() > 1;
    if (per_channel && (dims.empty() || dims[dims.size() - 1] != static_cast<int64_t>(weight.size()))) {
      report_.left.push_back(
          fmt::format("bias '{}' left in float: its shape does not fit the scales of '{}'", bias.bias, bias.weight));
      return {};
    }
    std::vector<float> weight_scales;
    for (const ScaleZero& entry : weight) weight_scales.push_back(entry.scale);
    const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    const bool positive =
        std::all_of(weight_scales.begin(), weight_scales.end(), [&](float scale) { return input_scale * scale > 0; });
    if (!finite || !positive) {
      report_.left.push_back(
          fmt::format("bias '{}' left in float: {}", bias.bias, finite ? "its scale vanishes" : "it is not finite"));
      return {};
    }
    const BiasCodes codes = QuantizeBias(values, input_scale, weight_scales);
    const std::vector<int64_t> bias_dims(dims.begin(), dims.end());
    // A bias of several nodes gets a form for each: their scales differ.
    const std::string base = bias.bias + "_quantized";
    const std::string code_name = graph_.AddConstant(base, onnx::TensorProto::INT32, bias_dims, codes.codes);
    std::vector<int64_t> scale_dims;
    if (per_channel) scale_dims.push_back(static_cast<int64_t>(codes.scales.size()));
    const std::string scale = graph_.AddConstant(base + "_scale", onnx::TensorProto::FLOAT, scale_dims, codes.scales);
    const std::vector<int32_t> zeros(codes.scales.size(), 0);
    const std::string zero = graph_.AddConstant(base + "_zero_point", onnx::TensorProto::INT32, scale_dims, zeros);
    const std::string result = graph_.FreshName(bias.bias + "_DequantizeLinear_Output");
    auto* dequantize =
        graph_.AddNode("DequantizeLinear", bias.bias + "_DequantizeLinear", {code_name, scale, zero}, {result});
    if (per_channel) SetIntAttribute(*dequantize, "axis", dims.size() - 1);
    onnx::NodeProto& node = graph_.Node(bias.node);
    node.set_input(bias.input_index, result);
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "beta" && node.op_type() == "Gemm") attribute.set_f(1.0f);
    }
    ++report_.biases;
    return {};
  }

  // Gives consumers the dequantized values, graph outputs a new source and producers the names of what absorbed nodes
  // gave; then takes those nodes out.
  void Rewire() {
    std::unordered_map<std::string, std::string> absorbed_outputs;
    for (const int index : plan_.absorbed) absorbed_outputs[graph_.Node(index).input(0)] = graph_.Node(index).output(0);
    std::set<int> absorbed(plan_.absorbed.begin(), plan_.absorbed.end());
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      if (absorbed.contains(i)) continue;
      onnx::NodeProto& node = graph_.Node(i);
      for (auto& input : *node.mutable_input()) {
        const auto found = new_inputs_.find(input);
        if (found != new_inputs_.end()) input = found->second;
      }
      for (auto& output : *node.mutable_output()) {
        for (auto next = absorbed_outputs.find(output); next != absorbed_outputs.end();
             next = absorbed_outputs.find(output)) {
          output = next->second;
        }
        const auto found = new_outputs_.find(output);
        if (found != new_outputs_.end()) output = found->second;
      }
    }
    for (auto index = absorbed.rbegin(); index != absorbed.rend(); ++index)
      graph_.graph().mutable_node()->DeleteSubrange(*index, 1);
  }

  QuantizationGraph& graph_;
  const QdqPlan& plan_;
  const QdqOptions& options_;
  ObservedRanges ranges_;  // Edited copy.
  std::unordered_map<std::string, Constant> constants_;
  std::unordered_map<std::string, ScaleZero> own_scales_;   // Of activations, before any is shared.
  std::unordered_map<std::string, Parameters> parameters_;  // Of everything quantized so far.
  std::unordered_map<std::string, std::string> new_inputs_;
  std::unordered_map<std::string, std::string> new_outputs_;
  QdqReport report_;
};

}  // namespace

WeightScheme SchemeOf(const QdqTensor& constant, const QdqOptions& options) {
  WeightScheme scheme;
  if (!constant.weight) {
    scheme.type = options.activations;
    scheme.symmetric = options.symmetric_activations;
    scheme.reduced = options.reduce_range;
    return scheme;
  }
  scheme.type = options.weights;
  scheme.symmetric = constant.axis.has_value() || options.weights == CodeType::s8;
  scheme.reduced = options.reduce_range;
  scheme.axis = constant.axis;
  scheme.raise_small = options.layout == QdqLayout::openvino;
  return scheme;
}

Result<QdqReport> BuildQdq(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options,
                           const NodeChoice& choice, const ObservedRanges& ranges) {
  return Builder(graph, plan, options, ranges).Build(choice);
}

}  // namespace hone
