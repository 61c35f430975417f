// Before: model.onnx (or tflite, TensorFlow, Paddle, another IR).
// After:  model.xml and model.bin.
#include "worker/passes/openvino_ir.h"

#include <fmt/format.h>

#include "worker/passes/openvino_graph.h"

namespace hone {

proto::PassInfo OpenvinoIrInfo() {
  proto::PassInfo info;
  info.set_name("openvino_ir");
  info.set_version(1);
  info.set_summary("Converts the model to OpenVINO IR, with the input shapes given as inputs");
  *info.add_parameters() = BoolParameter(
      "fp16_weights", false, "Store float32 weights as float16; they are widened when the model is loaded.");
  for (const char* format : {"onnx", "tflite", "tensorflow", "paddle", "openvino_ir"}) info.add_accepts(format);
  info.set_produces("openvino_ir");
  return info;
}

Result<proto::Bundle> ConvertToOpenvinoIr(PassContext& context) {
  TRY_ASSIGN(const OpenvinoModel read, ReadOpenvinoModel(context));
  const HalfWeights half = context.Bool("fp16_weights") ? HalfWeights::yes : HalfWeights::no;
  TRY_ASSIGN(proto::Bundle bundle, WriteOpenvinoModel(read, context, half));
  context.notes.push_back(fmt::format("{} operations, weights {}", read.model->get_ops().size(),
                                      half == HalfWeights::yes ? "as float16" : "as they were"));
  return bundle;
}

}  // namespace hone
