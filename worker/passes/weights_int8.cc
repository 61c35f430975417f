// form "dequantize", for MatMul, Gemm, Conv, ConvTranspose and tables of Gather:
//   Before: Y = MatMul(A, B)                                   B a float constant
//   After:  Y = MatMul(A, DequantizeLinear(Bq, scale, zero))   one scale an output channel
//   Before: Y = Gather(T, i)                                   T a float table, axis 0
//   After:  Y = Cast(Gather(Tq, i)) * Gather(scales, i)        one scale a row; only the rows looked up are dequantized
// The file is a quarter of the size and both runtimes read it. OpenVINO keeps the weights of matrix products in 8 bits
// in memory; ONNX Runtime dequantizes them in each run, so there it saves space and rarely time.
//
// form "matmulnbits", for MatMul and Gemm alone: blocks of 8-bit codes (weight_forms.h), which ONNX Runtime multiplies
// without dequantizing first.
#include "worker/passes/weights_int8.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>

#include "worker/passes/layer_groups.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/weight_engine.h"

namespace hone {
namespace {

// Where an operator has its weight, and the dimension of the weight that belongs to output channels.
struct WeightRow {
  const char* op_type;
  int input;
  int (*axis)(const onnx::NodeProto& node, int rank);
};

const std::vector<WeightRow> kWeights = {
    {"MatMul", 1, [](const onnx::NodeProto&, int rank) { return rank - 1; }},
    {"Gemm", 1, [](const onnx::NodeProto& node, int) { return IntAttribute(node, "transB", 0) != 0 ? 0 : 1; }},
    {"Conv", 1, [](const onnx::NodeProto&, int) { return 0; }},
    {"ConvTranspose", 1, [](const onnx::NodeProto&, int) { return 1; }},
    {"Gather", 0, [](const onnx::NodeProto&, int) { return 0; }},
};

const WeightRow* RowFor(const onnx::NodeProto& node) {
  if (!IsStandard(node)) return nullptr;
  for (const WeightRow& row : kWeights) {
    if (node.op_type() == row.op_type) return &row;
  }
  return nullptr;
}

struct ScaleOptions {
  bool symmetric = true;
  bool per_channel = true;
};

class WeightQuantizer {
 public:
  WeightQuantizer(QuantizationGraph& graph, const ScaleOptions& options) : graph_(graph), options_(options) {}
  // Why the node is left, "" if it was quantized.
  Result<std::string> Quantize(int index, const WeightRow& row);

 private:
  Result<std::string> Dequantized(const std::string& name, std::optional<int> axis);
  Result<std::string> Table(int index);

  QuantizationGraph& graph_;
  const ScaleOptions options_;
  std::map<std::pair<std::string, int>, std::string>
      dequantized_;  // By weight and axis (-1: none); "" where it holds non-finite values.
  struct TableNames {
    std::string codes;
    std::string scales;
  };
  std::map<std::string, TableNames> tables_;
};

Result<std::string> WeightQuantizer::Dequantized(const std::string& name, std::optional<int> axis) {
  const auto key = std::make_pair(name, axis.value_or(-1));
  const auto known = dequantized_.find(key);
  if (known != dequantized_.end()) return known->second;
  TRY_ASSIGN(const Tensor tensor, ReadTensor(*graph_.FloatWeight(name)));
  const WeightScheme scheme = {options_.symmetric ? CodeType::s8 : CodeType::u8, options_.symmetric, false, axis};
  const auto scales = WeightScales(tensor.data<float>(), tensor.dims, scheme);
  if (scales.empty()) return dequantized_[key] = "";
  const auto codes = WeightCodes(tensor.data<float>(), tensor.dims, scheme, scales);
  const std::string code_name =
      graph_.AddConstant(name + "_quantized", CodeElementType(scheme.type), tensor.dims, codes);
  const auto names = graph_.AddScales(name, scheme.type, scales, axis.has_value());
  const std::string output = graph_.FreshName(name + "_DequantizeLinear_Output");
  onnx::NodeProto* node = graph_.AddNode("DequantizeLinear", name + "_DequantizeLinear",
                                         {code_name, names.scale, names.zero_point}, {output});
  if (axis) SetIntAttribute(*node, "axis", *axis);
  return dequantized_[key] = output;
}

Result<std::string> WeightQuantizer::Table(int index) {
  const onnx::NodeProto gather = graph_.Node(index);
  const std::string& name = gather.input(0);
  auto known = tables_.find(name);
  if (known == tables_.end()) {
    TRY_ASSIGN(const Tensor tensor, ReadTensor(*graph_.FloatWeight(name)));
    const WeightScheme scheme = {CodeType::s8, true, false, 0};
    const auto scales = WeightScales(tensor.data<float>(), tensor.dims, scheme);
    TableNames names;
    if (!scales.empty()) {
      const auto codes = WeightCodes(tensor.data<float>(), tensor.dims, scheme, scales);
      std::vector<float> values;
      for (const auto& entry : scales) values.push_back(entry.scale);
      names.codes = graph_.AddConstant(name + "_quantized", onnx::TensorProto::INT8, tensor.dims, codes);
      std::vector<int64_t> scale_dims(tensor.dims.size(), 1);
      scale_dims[0] = tensor.dims[0];
      names.scales = graph_.AddConstant(name + "_row_scales", onnx::TensorProto::FLOAT, scale_dims, values);
    }
    known = tables_.emplace(name, names).first;
  }
  const TableNames& table = known->second;
  if (table.codes.empty()) return std::string("the weight holds NaN or infinities");
  const std::string& result = gather.output(0);
  const std::string codes = graph_.FreshName(result + "_quantized");
  const std::string as_float = graph_.FreshName(result + "_quantized_cast_output");
  const std::string scales = graph_.FreshName(result + "_row_scales");
  graph_.Node(index).set_input(0, table.codes);
  graph_.Node(index).set_output(0, codes);
  SetIntAttribute(*graph_.AddNode("Gather", result + "_row_scales_gather", {table.scales, gather.input(1)}, {scales}),
                  "axis", 0);
  SetIntAttribute(*graph_.AddNode("Cast", result + "_cast", {codes}, {as_float}), "to", onnx::TensorProto::FLOAT);
  graph_.AddNode("Mul", result + "_dequantize", {as_float, scales}, {result});
  return std::string();
}

Result<std::string> WeightQuantizer::Quantize(int index, const WeightRow& row) {
  const onnx::NodeProto node = graph_.Node(index);
  const onnx::TensorProto* weight = node.input_size() > row.input ? graph_.FloatWeight(node.input(row.input)) : nullptr;
  if (weight == nullptr) return std::string("no constant float32 weight");
  if (weight->dims_size() < 2) return std::string("the weight is a vector");
  if (node.op_type() == "Gather") {
    if (IntAttribute(node, "axis", 0) != 0) return std::string("the table is not looked up by rows");
    return Table(index);
  }
  const std::optional<int> axis =
      options_.per_channel ? std::optional<int>(row.axis(node, weight->dims_size())) : std::nullopt;
  TRY_ASSIGN(const std::string dequantized, Dequantized(node.input(row.input), axis));
  if (dequantized.empty()) return std::string("the weight holds NaN or infinities");
  graph_.Node(index).set_input(row.input, dequantized);
  return std::string();
}

Result<> Blocks(onnx::ModelProto& model, PassContext& context) {
  WeightOptions options;
  options.method = WeightMethodOf(context.Text("method"));
  options.bits = 8;
  options.group = static_cast<size_t>(context.Int("group_size"));
  options.symmetric = context.Bool("symmetric");
  return QuantizeWeights(model, context, options);
}

}  // namespace

proto::PassInfo WeightsInt8Info() {
  proto::PassInfo info;
  info.set_name("weights_int8");
  info.set_version(1);
  info.set_summary("8-bit weights; activations stay in float");
  info.add_accepts("onnx");
  info.add_precisions("int8");
  *info.add_parameters() =
      TextParameter("form", "dequantize", {"dequantize", "matmulnbits"},
                    "DequantizeLinear before every kind of operator, or blocks in MatMulNBits for matrix products.");
  *info.add_parameters() = BoolParameter("symmetric", true, "Without zero points.");
  *info.add_parameters() = BoolParameter("per_channel", true, "One scale for each output channel (form dequantize).");
  *info.add_parameters() =
      IntParameter("group_size", 128, {16, 32, 64, 128, 256}, "Weights that share a scale (form matmulnbits).");
  *info.add_parameters() = TextParameter("method", "rtn", {"rtn", "mse", "hqq"},
                                         "How weights are rounded, as in weights_int4 (form matmulnbits).");
  *info.add_parameters() = OpTypesParameter();
  *info.add_parameters() = ExcludeParameter();
  *info.add_parameters() = LayersParameter();
  *info.add_impossible() = LayersRule();
  return info;
}

Result<> WeightsInt8(onnx::ModelProto& model, PassContext& context) {
  if (context.Text("form") == "matmulnbits") return Blocks(model, context);
  const ScaleOptions options = {context.Bool("symmetric"), context.Bool("per_channel")};
  // DequantizeLinear came with opset 10 and got its axis with 13.
  TRY(RequireOpset(model, options.per_channel ? 13 : 10, context));
  std::set<std::string> names;
  for (const WeightRow& row : kWeights) names.insert(row.op_type);
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, model.graph(), names));
  QuantizationGraph graph(model);
  WeightQuantizer quantizer(graph, options);
  QuantizationTally tally;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto node = graph.Node(i);
    const WeightRow* row = RowFor(node);
    if (row == nullptr) continue;
    if (node.op_type() == "Gather" && graph.FloatWeight(node.input(0)) == nullptr) continue;
    if (!filter.Wanted(node)) {
      tally.Left(node, "excluded");
      continue;
    }
    TRY_ASSIGN(const std::string reason, quantizer.Quantize(i, *row));
    if (reason.empty()) {
      tally.Quantized(node);
    } else {
      tally.Left(node, reason);
    }
  }
  TRY(tally.CheckAny("operators with constant float32 weights"));
  TellOfSubgraphs(model.graph(), names, context);
  tally.Tell(context);
  return {};
}

}  // namespace hone
