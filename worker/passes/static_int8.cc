// Before: X -> Conv(W, b) -> Relu -> Y
// After:  X -> Q -> DQ -> Conv(DQ(Wq), DQ(bq)) -> Q -> DQ -> Y        Q, DQ: QuantizeLinear, DequantizeLinear
//
// The model is planned once as if every tensor had a range, to learn which tensors to measure; it runs over the
// calibration data; then it is planned again without the values that 8 bits cannot hold, and built. Scales, zero points
// and codes are those of ONNX Runtime's quantize_static (QDQ, min-max); qdq_plan.cc says where the placement differs
// and why.
#include "worker/passes/static_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/strings.h"
#include "worker/calibration/calibrator.h"
#include "worker/data/data_set.h"
#include "worker/passes/mask_values.h"
#include "worker/passes/qdq_builder.h"
#include "worker/passes/qdq_plan.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

// Values that are told by name; the rest are counted.
constexpr size_t kMaxNamesTold = 8;

Result<QdqOptions> OptionsOf(const PassContext& context) {
  QdqOptions options;
  options.layout = context.Text("layout") == "openvino" ? QdqLayout::openvino : QdqLayout::onnxruntime;
  options.activations = context.Text("activations") == "int8" ? CodeType::s8 : CodeType::u8;
  options.weights = context.Text("weights") == "uint8" ? CodeType::u8 : CodeType::s8;
  options.per_channel = context.Bool("per_channel");
  options.reduce_range = context.Bool("reduce_range");
  options.symmetric_activations = context.Bool("symmetric_activations");
  if (options.weights == CodeType::u8 && options.activations == CodeType::s8) {
    return Fail(ErrorCode::kRejected, "uint8 weights with int8 activations are executed by no runtime",
                "Use weights=int8.");
  }
  if (options.layout != QdqLayout::openvino) return options;
  if (options.weights == CodeType::u8) {
    return Fail(ErrorCode::kRejected, "OpenVINO runs uint8 weights in float", "Use weights=int8 with layout=openvino.");
  }
  options.per_channel = true;  // Costs OpenVINO nothing.
  return options;
}

// What the data must feed: the model's inputs with the task's pins.
std::vector<InputSignature> SignatureOf(const onnx::GraphProto& graph, const PassContext& context) {
  std::vector<InputSignature> signature;
  for (const auto* input : RealInputs(graph)) {
    signature.push_back(
        {input->name(), input->type().tensor_type().elem_type(), DimsOf(*input).value_or(std::vector<int64_t>())});
    for (const auto& pin : context.task->inputs()) {
      if (pin.name() == input->name()) signature.back().dims.assign(pin.dims().begin(), pin.dims().end());
    }
  }
  return signature;
}

std::vector<std::string> TensorsToMeasure(const QuantizationGraph& graph, const QdqPlan& plan) {
  std::set<std::string> names;
  for (const QdqTensor& tensor : plan.tensors) names.insert(tensor.name);
  for (const int index : plan.absorbed) names.insert(graph.Node(index).input(0));
  std::erase_if(names, [&](const std::string& name) { return graph.FloatWeight(name) != nullptr; });
  return {names.begin(), names.end()};
}

void TellOfMasks(const MaskValues& masks, const std::map<std::string, TensorRange>& ranges, PassContext& context) {
  size_t told = 0;
  for (const auto& [name, why] : masks.values) {
    if (!ranges.contains(name)) continue;
    if (++told <= kMaxNamesTold)
      context.notes.push_back(Printable(fmt::format("'{}' left in float: {}", name, why), 300));
  }
  if (told > kMaxNamesTold)
    context.notes.push_back(fmt::format("{} more tensors left in float for the same reasons", told - kMaxNamesTold));
}

}  // namespace

proto::PassInfo StaticInt8Info() {
  proto::PassInfo info;
  info.set_name("static_int8");
  info.set_version(1);
  info.set_summary(
      "Int8 weights and activations, ranges measured on calibration data (QuantizeLinear/DequantizeLinear)");
  info.add_accepts("onnx");
  info.add_precisions("int8");
  info.set_needs_calibration(true);
  *info.add_parameters() =
      TextParameter("layout", "onnxruntime", {"onnxruntime", "openvino"},
                    "Which operators are quantized: those that this runtime executes in integers.");
  *info.add_parameters() = BoolParameter(
      "per_channel", false, "One scale for each output channel of a weight (always with layout openvino).");
  *info.add_parameters() = TextParameter("activations", "uint8", {"uint8", "int8"}, "Type of the activations.");
  *info.add_parameters() =
      TextParameter("weights", "int8", {"int8", "uint8"}, "Type of the weights: int8 symmetric or uint8 asymmetric.");
  *info.add_parameters() = BoolParameter("symmetric_activations", false, "Activation ranges are [-m, m].");
  *info.add_parameters() =
      BoolParameter("reduce_range", false, "7-bit weights, against saturation on processors without VNNI.");
  *info.add_parameters() = OpTypesParameter();
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<> StaticInt8(onnx::ModelProto& model, PassContext& context) {
  TRY_ASSIGN(const QdqOptions options, OptionsOf(context));
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context));
  if (!context.task->has_calibration()) {
    return Fail(ErrorCode::kRejected, "there is no calibration data",
                "Give data.calibration in the recipe, or --calibration on the command line.");
  }
  // QuantizeLinear came with opset 10 and got its axis with 13.
  TRY(RequireOpset(model, options.per_channel ? 13 : 10, context));
  QuantizationGraph graph(model);

  TRY_ASSIGN(MaskValues masks, FindMasks(graph, {}));
  const QdqPlan wish = PlanQdq(graph, filter, options, masks, nullptr);
  const std::vector<std::string> tensors = TensorsToMeasure(graph, wish);
  const std::string wanted = Join({QdqOperators(options.layout).begin(), QdqOperators(options.layout).end()}, ", ");
  TRY(wish.tally.CheckAny(wanted));

  TRY_ASSIGN(const auto data, OpenDataSet(context.task->calibration(), SignatureOf(model.graph(), context)));
  TRY_ASSIGN(const auto ranges, CollectRanges(model, tensors, *data, context.threads));
  context.notes.push_back(fmt::format("{} tensors measured on {} samples", tensors.size(), data->size()));

  TRY_ASSIGN(masks, FindMasks(graph, ranges));
  const QdqPlan plan = PlanQdq(graph, filter, options, masks, &ranges);
  TRY(plan.tally.CheckAny(wanted));
  TRY_ASSIGN(const QdqReport report, BuildQdq(graph, plan, options, filter, ranges));
  plan.tally.Tell(context);
  context.notes.push_back(fmt::format("{} activations, {} constants and {} biases quantized", report.activations,
                                      report.weights, report.biases));
  TellOfMasks(masks, ranges, context);
  for (const auto& line : report.left) context.notes.push_back(Printable(line, 300));
  TellOfSubgraphs(model.graph(), QdqOperators(options.layout), context);
  return {};
}

}  // namespace hone
