// Every MatMul and Gemm with a constant matrix becomes MatMulNBits (nbits.h); nothing else changes. Tables of Gather
// stay in float, because OpenVINO does not read GatherBlockQuantized.
#include "worker/passes/weights_int4.h"

#include "worker/passes/nbits.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

proto::PassInfo WeightsInt4Info() {
  proto::PassInfo info;
  info.set_name("weights_int4");
  info.set_version(1);
  info.set_summary("4-bit weights in blocks (MatMulNBits); activations stay in float");
  info.add_accepts("onnx");
  info.add_precisions("int4");
  *info.add_parameters() =
      IntParameter("group_size", 32, {16, 32, 64, 128, 256}, "Weights that share a scale, along the summed dimension.");
  *info.add_parameters() = BoolParameter("symmetric", true, "Without zero points; off: each block has one.");
  *info.add_parameters() =
      IntParameter("accuracy_level", 0, {0, 1, 2, 3, 4},
                   "What ONNX Runtime may compute in: 0 its choice, 1 f32, 2 f16, 3 bf16, 4 int8 activations.");
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<> WeightsInt4(onnx::ModelProto& model, PassContext& context) {
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context));
  QuantizationGraph graph(model);
  NBitsQuantizer quantizer(
      graph, {4, context.Int("group_size"), context.Bool("symmetric"), context.Int("accuracy_level"), context.threads});
  QuantizationTally tally;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto node = graph.Node(i);
    if (!IsStandard(node) || (node.op_type() != "MatMul" && node.op_type() != "Gemm")) continue;
    if (!filter.Wanted(node)) {
      tally.Left(node, "excluded");
      continue;
    }
    TRY_ASSIGN(const std::string reason, quantizer.Quantize(i));
    if (reason.empty()) {
      tally.Quantized(node);
    } else {
      tally.Left(node, reason);
    }
  }
  TRY(tally.CheckAny("MatMul or Gemm with constant weights"));
  TellOfSubgraphs(model.graph(), {"MatMul", "Gemm"}, context);
  tally.Tell(context);
  return {};
}

}  // namespace hone
