// Before: Y = MatMul(A, B)            B a float constant
// After:  Aq, sa, za = DynamicQuantizeLinear(A)      one for every consumer of A
//         Y = Cast(MatMulInteger(Aq, Bq, za, zb)) * (sa * sb)
//
// Before: Y = Attention(X, W, b, mask)      as fuse_transformer makes it
// After:  Y = QAttention(Xq, Wq, b, sa, sb, mask, za, zb)
//
// An LSTM becomes DynamicQuantizeLSTM, which quantizes its input itself. A Gemm becomes a MatMul and an Add first. A
// Conv (asked for by `conv`) becomes ConvInteger in the same way, its bias added afterwards. A table of a Gather keeps
// uint8 codes and is dequantized after the look-up; a MatMul of what was looked up takes the codes as they are. Codes,
// scales and zero points are those of ONNX Runtime's quantize_dynamic: weights int8 symmetric or uint8 asymmetric, a
// matrix by its columns where per_channel is set (a batch of matrices never: quantize_dynamic's result does not run).
#include "worker/passes/dynamic_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "worker/passes/layer_groups.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

struct DynamicOptions {
  bool per_channel = false;
  bool reduce_range = false;
  bool conv = false;
  bool embeddings = true;
  CodeType weights = CodeType::s8;
};

struct QuantizedInput {
  std::string codes;
  std::string scale;
  std::string zero_point;
};

class DynamicQuantizer {
 public:
  DynamicQuantizer(QuantizationGraph& graph, const DynamicOptions& options) : graph_(graph), options_(options) {}

  // The quantizers of one operator. They answer why a node is left, "" if it was quantized.
  using Quantize = Result<std::string> (DynamicQuantizer::*)(int index);
  Result<std::string> MatMul(int index);
  Result<std::string> Gemm(int index);
  Result<std::string> Conv(int index);
  Result<std::string> Gather(int index);
  Result<std::string> Attention(int index);
  Result<std::string> Lstm(int index);

 private:
  std::string WhyNotProduct(const onnx::NodeProto& node) const;
  const QuantizedInput& Activation(const std::string& name);
  // An empty name where the weight holds non-finite values.
  Result<QuantizedInput> Weight(const std::string& name, const WeightScheme& scheme);
  // Codes of an LSTM's weights [directions, gates, inputs] as [directions, inputs, gates], with their scales.
  Result<QuantizedInput> LstmWeight(const std::string& name);
  // Codes with their scales, a scale for each index of the last dimension or one; the float result goes to `output`.
  void Rescale(const std::string& node_name, const std::string& product, const std::string& input_scale,
               const std::string& weight_scale, const std::string& output);

  QuantizationGraph& graph_;
  const DynamicOptions options_;
  std::map<std::string, QuantizedInput> activations_;
  std::map<std::pair<std::string, bool>, QuantizedInput> weights_;  // By name and whether asymmetric uint8.
};

const char* const kContribDomain = "com.microsoft";
const char* const kNoWeight = "no constant float32 weight";
const char* const kNonFinite = "the weight holds NaN or infinities";

void ImportIfUsed(onnx::ModelProto& model, const char* domain) {
  const auto& nodes = model.graph().node();
  if (std::any_of(nodes.begin(), nodes.end(), [&](const auto& node) { return node.domain() == domain; }))
    SetOpset(model, domain, 1);
}

const QuantizedInput& DynamicQuantizer::Activation(const std::string& name) {
  const auto known = activations_.find(name);
  if (known != activations_.end()) return known->second;
  const QuantizedInput names = {graph_.FreshName(name + "_quantized"), graph_.FreshName(name + "_scale"),
                                graph_.FreshName(name + "_zero_point")};
  graph_.AddNode("DynamicQuantizeLinear", name + "_QuantizeLinear", {name},
                 {names.codes, names.scale, names.zero_point});
  return activations_[name] = names;
}

Result<QuantizedInput> DynamicQuantizer::Weight(const std::string& name, const WeightScheme& scheme) {
  const auto key = std::make_pair(name, scheme.type == CodeType::u8);
  const auto known = weights_.find(key);
  if (known != weights_.end()) return known->second;
  TRY_ASSIGN(const Tensor tensor, ReadTensor(*graph_.FloatWeight(name)));
  const auto scales = WeightScales(tensor.data<float>(), tensor.dims, scheme);
  if (scales.empty()) return weights_[key] = QuantizedInput();
  const auto codes = WeightCodes(tensor.data<float>(), tensor.dims, scheme, scales);
  QuantizedInput result;
  result.codes = graph_.AddConstant(name + "_quantized", CodeElementType(scheme.type), tensor.dims, codes);
  const auto names = graph_.AddScales(name, scheme.type, scales, scheme.axis.has_value());
  result.scale = names.scale;
  result.zero_point = names.zero_point;
  return weights_[key] = result;
}

void DynamicQuantizer::Rescale(const std::string& node_name, const std::string& product, const std::string& input_scale,
                               const std::string& weight_scale, const std::string& output) {
  const std::string as_float = graph_.FreshName(product + "_cast_output");
  onnx::NodeProto* cast = graph_.AddNode("Cast", product + "_cast", {product}, {as_float});
  SetIntAttribute(*cast, "to", onnx::TensorProto::FLOAT);
  const std::string scales = graph_.FreshName(node_name + "_scales_mul:0");
  graph_.AddNode("Mul", node_name + "_scales_mul", {input_scale, weight_scale}, {scales});
  graph_.AddNode("Mul", node_name + "_output_scale_mul", {as_float, scales}, {output});
}

std::string DynamicQuantizer::WhyNotProduct(const onnx::NodeProto& node) const {
  const onnx::TensorProto* weight = node.input_size() > 1 ? graph_.FloatWeight(node.input(1)) : nullptr;
  if (weight == nullptr) return kNoWeight;
  // The input has the weight's type, whether or not inference could tell.
  if (weight->dims_size() < 2) return "the weight is a vector";
  return "";
}

Result<std::string> DynamicQuantizer::MatMul(int index) {
  if (std::string reason = WhyNotProduct(graph_.Node(index)); !reason.empty()) return reason;
  const onnx::NodeProto matmul = graph_.Node(index);
  WeightScheme scheme = {options_.weights, options_.weights == CodeType::s8, options_.reduce_range, std::nullopt};
  // ONNX Runtime has no kernel for a batch of matrices with several scales.
  if (options_.per_channel && graph_.FloatWeight(matmul.input(1))->dims_size() == 2) scheme.axis = 1;
  TRY_ASSIGN(const QuantizedInput weight, Weight(matmul.input(1), scheme));
  if (weight.codes.empty()) return std::string(kNonFinite);
  const QuantizedInput& activation = Activation(matmul.input(0));
  const std::string name = (matmul.name().empty() ? matmul.output(0) : matmul.name()) + "_quant";
  const std::string product = graph_.FreshName(matmul.output(0) + "_output_quantized");
  onnx::NodeProto& node = graph_.Node(index);
  node.Clear();
  node.set_op_type("MatMulInteger");
  node.set_name(graph_.FreshName(name));
  for (const auto& input : {activation.codes, weight.codes, activation.zero_point, weight.zero_point})
    node.add_input(input);
  node.add_output(product);
  Rescale(name, product, activation.scale, weight.scale, matmul.output(0));
  return std::string();
}

Result<std::string> DynamicQuantizer::Gemm(int index) {
  if (const char* reason = WhyNotMatMul(graph_.Node(index))) return std::string(reason);
  if (std::string reason = WhyNotProduct(graph_.Node(index)); !reason.empty()) return reason;
  // Looked at before the node is taken apart, so that a Gemm that cannot be quantized stays one.
  TRY_ASSIGN(const Tensor weight, ReadTensor(*graph_.FloatWeight(graph_.Node(index).input(1))));
  if (WeightScales(weight.data<float>(), weight.dims, WeightScheme()).empty()) return std::string(kNonFinite);
  TRY(GemmToMatMul(graph_, index));
  return MatMul(index);
}

Result<std::string> DynamicQuantizer::Conv(int index) {
  if (std::string reason = WhyNotProduct(graph_.Node(index)); !reason.empty()) return reason;
  const onnx::NodeProto conv = graph_.Node(index);
  const bool has_bias = conv.input_size() > 2 && !conv.input(2).empty();
  const onnx::TensorProto* bias = has_bias ? graph_.FloatWeight(conv.input(2)) : nullptr;
  if (has_bias && bias == nullptr) return std::string("the bias is no constant");
  // ConvInteger of ONNX Runtime takes uint8 weights alone.
  TRY_ASSIGN(const QuantizedInput weight,
             Weight(conv.input(1), {CodeType::u8, false, options_.reduce_range, std::nullopt}));
  if (weight.codes.empty()) return std::string(kNonFinite);
  const QuantizedInput& activation = Activation(conv.input(0));
  const std::string name = (conv.name().empty() ? conv.output(0) : conv.name()) + "_quant";
  const std::string product = graph_.FreshName(conv.output(0) + "_output_quantized");
  onnx::NodeProto& node = graph_.Node(index);
  node.set_op_type("ConvInteger");
  node.set_name(graph_.FreshName(name));
  node.clear_input();
  for (const auto& input : {activation.codes, weight.codes, activation.zero_point, weight.zero_point})
    node.add_input(input);
  node.set_output(0, product);
  const std::string scaled = has_bias ? graph_.FreshName(conv.output(0) + "quant_scaled_output") : conv.output(0);
  Rescale(name, product, activation.scale, weight.scale, scaled);
  if (!has_bias) return std::string();
  TRY_ASSIGN(const Tensor values, ReadTensor(*bias));
  std::vector<int64_t> dims(static_cast<size_t>(graph_.FloatWeight(conv.input(1))->dims_size()), 1);
  dims[1] = values.Elements();
  const std::vector<float> floats(values.data<float>(), values.data<float>() + values.Elements());
  const std::string shaped = graph_.AddConstant(conv.input(2) + "_reshaped", onnx::TensorProto::FLOAT, dims, floats);
  graph_.AddNode("Add", name + "_bias_add", {scaled, shaped}, {conv.output(0)});
  return std::string();
}

Result<std::string> DynamicQuantizer::Gather(int index) {
  const onnx::NodeProto gather = graph_.Node(index);
  if (graph_.FloatWeight(gather.input(0)) == nullptr) return std::string("the table is no float32 constant");
  TRY_ASSIGN(const QuantizedInput table, Weight(gather.input(0), {CodeType::u8, false, false, std::nullopt}));
  if (table.codes.empty()) return std::string(kNonFinite);
  const std::string codes = graph_.FreshName(gather.output(0) + "_quantized");
  graph_.Node(index).set_input(0, table.codes);
  graph_.Node(index).set_output(0, codes);
  graph_.AddNode("DequantizeLinear", gather.output(0) + "_DequantizeLinear", {codes, table.scale, table.zero_point},
                 {gather.output(0)});
  activations_[gather.output(0)] = {codes, table.scale, table.zero_point};
  return std::string();
}

Result<std::string> DynamicQuantizer::Attention(int index) {
  if (std::string reason = WhyNotProduct(graph_.Node(index)); !reason.empty()) return reason;
  const onnx::NodeProto attention = graph_.Node(index);
  // What QAttention has not.
  for (int i = 4; i < attention.input_size(); ++i) {
    if (!attention.input(i).empty()) return std::string("it has a past or a bias of its own");
  }
  for (const char* attribute : {"qkv_hidden_sizes", "scale", "do_rotary", "past_present_share_buffer"}) {
    if (FindAttribute(attention, attribute) != nullptr) return fmt::format("it has the attribute {}", attribute);
  }
  if (attention.output_size() > 1 || attention.input_size() < 3) return std::string("it gives a past or has no bias");
  if (graph_.FloatWeight(attention.input(1))->dims_size() != 2) return std::string("the weight is no matrix");
  WeightScheme scheme = {options_.weights, options_.weights == CodeType::s8, options_.reduce_range, std::nullopt};
  if (options_.per_channel) scheme.axis = 1;
  TRY_ASSIGN(const QuantizedInput weight, Weight(attention.input(1), scheme));
  if (weight.codes.empty()) return std::string(kNonFinite);
  const QuantizedInput& activation = Activation(attention.input(0));
  onnx::NodeProto& node = graph_.Node(index);
  node.set_op_type("QAttention");
  node.set_name(graph_.FreshName((attention.name().empty() ? attention.output(0) : attention.name()) + "_quant"));
  node.clear_input();
  const std::string mask = attention.input_size() > 3 ? attention.input(3) : "";
  for (const auto& input : {activation.codes, weight.codes, attention.input(2), activation.scale, weight.scale, mask,
                            activation.zero_point, weight.zero_point}) {
    node.add_input(input);
  }
  return std::string();
}

Result<QuantizedInput> DynamicQuantizer::LstmWeight(const std::string& name) {
  TRY_ASSIGN(const Tensor tensor, ReadTensor(*graph_.FloatWeight(name)));
  const int64_t directions = tensor.dims[0];
  const int64_t gates = tensor.dims[1];
  const int64_t inputs = tensor.dims[2];
  const std::vector<int64_t> dims =
      options_.per_channel ? std::vector<int64_t>{directions * gates, inputs} : tensor.dims;
  const WeightScheme scheme = {CodeType::s8, true, options_.reduce_range, 0};
  const auto scales = WeightScales(tensor.data<float>(), dims, scheme);
  if (scales.empty()) return QuantizedInput();
  const auto codes = WeightCodes(tensor.data<float>(), dims, scheme, scales);
  std::vector<uint8_t> turned(codes.size());
  for (int64_t d = 0; d < directions; ++d) {
    for (int64_t gate = 0; gate < gates; ++gate) {
      for (int64_t i = 0; i < inputs; ++i)
        turned[static_cast<size_t>((d * inputs + i) * gates + gate)] =
            codes[static_cast<size_t>((d * gates + gate) * inputs + i)];
    }
  }
  std::vector<float> values;
  for (const ScaleZero& scale : scales) values.push_back(scale.scale);
  const std::vector<int64_t> places =
      options_.per_channel ? std::vector<int64_t>{directions, gates} : std::vector<int64_t>{directions};
  QuantizedInput result;
  result.codes = graph_.AddConstant(name + "_quantized", onnx::TensorProto::INT8, {directions, inputs, gates}, turned);
  result.scale = graph_.AddConstant(name + "_scale", onnx::TensorProto::FLOAT, places, values);
  result.zero_point =
      graph_.AddConstant(name + "_zero_point", onnx::TensorProto::INT8, places, std::vector<int8_t>(scales.size(), 0));
  return result;
}

Result<std::string> DynamicQuantizer::Lstm(int index) {
  const onnx::NodeProto lstm = graph_.Node(index);
  for (const int input : {1, 2}) {
    const onnx::TensorProto* weight = lstm.input_size() > input ? graph_.FloatWeight(lstm.input(input)) : nullptr;
    if (weight == nullptr || weight->dims_size() != 3) return std::string(kNoWeight);
  }
  if (IntAttribute(lstm, "layout", 0) != 0) return std::string("its batch comes first (layout 1)");
  TRY_ASSIGN(const QuantizedInput inputs, LstmWeight(lstm.input(1)));
  TRY_ASSIGN(const QuantizedInput recurrent, LstmWeight(lstm.input(2)));
  if (inputs.codes.empty() || recurrent.codes.empty()) return std::string(kNonFinite);
  onnx::NodeProto& node = graph_.Node(index);
  node.set_op_type("DynamicQuantizeLSTM");
  node.set_domain(kContribDomain);
  if (!lstm.name().empty()) node.set_name(graph_.FreshName(lstm.name() + "_quant"));
  node.set_input(1, inputs.codes);
  node.set_input(2, recurrent.codes);
  while (node.input_size() < 8) node.add_input("");
  for (const auto& input : {inputs.scale, inputs.zero_point, recurrent.scale, recurrent.zero_point})
    node.add_input(input);
  auto& attributes = *node.mutable_attribute();
  attributes.erase(
      std::remove_if(attributes.begin(), attributes.end(), [](const auto& a) { return a.name() == "layout"; }),
      attributes.end());
  return std::string();
}

}  // namespace

proto::PassInfo DynamicInt8Info() {
  proto::PassInfo info;
  info.set_name("dynamic_int8");
  info.set_version(2);
  info.set_summary("Int8 weights and activations, the activations quantized at run time; needs no data");
  info.add_accepts("onnx");
  info.add_precisions("int8");
  *info.add_parameters() =
      BoolParameter("per_channel", false, "One scale for each output column of a MatMul instead of one for all.");
  *info.add_parameters() =
      TextParameter("weights", "int8", {"int8", "uint8"}, "Type of the weights: int8 symmetric or uint8 asymmetric.");
  *info.add_parameters() =
      BoolParameter("reduce_range", false, "7-bit weights, against saturation on processors without VNNI.");
  *info.add_parameters() = BoolParameter("embeddings", true, "Also keep constant tables of Gather in 8 bits.");
  *info.add_parameters() =
      BoolParameter("conv", false, "Also quantize Conv; usually slower than float, static_int8 serves convolutions.");
  *info.add_parameters() = OpTypesParameter();
  *info.add_parameters() = ExcludeParameter();
  *info.add_parameters() = LayersParameter();
  *info.add_impossible() = LayersRule();
  return info;
}

Result<> DynamicInt8(onnx::ModelProto& model, PassContext& context) {
  TRY(RequireOpset(model, 11, context));  // DynamicQuantizeLinear.
  QuantizationGraph graph(model);
  DynamicOptions options;
  options.per_channel = context.Bool("per_channel");
  options.reduce_range = context.Bool("reduce_range");
  options.conv = context.Bool("conv");
  options.embeddings = context.Bool("embeddings");
  options.weights = context.Text("weights") == "uint8" ? CodeType::u8 : CodeType::s8;

  std::map<std::string, DynamicQuantizer::Quantize> operators = {{"MatMul", &DynamicQuantizer::MatMul},
                                                                 {"Gemm", &DynamicQuantizer::Gemm},
                                                                 {"Attention", &DynamicQuantizer::Attention},
                                                                 {"LSTM", &DynamicQuantizer::Lstm}};
  if (options.conv) operators["Conv"] = &DynamicQuantizer::Conv;
  if (options.embeddings) operators["Gather"] = &DynamicQuantizer::Gather;

  std::set<std::string> names;
  for (const auto& [name, row] : operators) names.insert(name);
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, model.graph(), names));
  DynamicQuantizer quantizer(graph, options);
  QuantizationTally tally;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto node = graph.Node(i);
    const auto row = operators.find(node.op_type());
    // ONNX's own Attention (opset 23) is another operator.
    if (row == operators.end() || IsStandard(node) == (node.op_type() == "Attention")) continue;
    // A Gather of shapes or other computed values is nothing that anybody misses.
    if (node.op_type() == "Gather" && graph.FloatWeight(node.input(0)) == nullptr) continue;
    if (!filter.Wanted(node)) {
      tally.Left(node, "excluded");
      continue;
    }
    TRY_ASSIGN(const std::string reason, (quantizer.*row->second)(i));
    if (reason.empty()) {
      tally.Quantized(node);
    } else {
      tally.Left(node, reason);
    }
  }
  TRY(tally.CheckAny("MatMul, Gemm, Attention or LSTM with constant weights"));
  if (OpsetVersion(model, kContribDomain) < 1) ImportIfUsed(model, kContribDomain);
  TellOfSubgraphs(model.graph(), names, context);
  tally.Tell(context);
  return {};
}

}  // namespace hone
