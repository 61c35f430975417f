// static_int8: int8 weights and activations with ranges measured on calibration data beforehand.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// kRejected without calibration data, or where the model has nothing that it could quantize.
proto::PassInfo StaticInt8Info();
Result<> StaticInt8(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
