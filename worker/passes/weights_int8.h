// weights_int8: 8-bit weights; activations and sums stay in float.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// kRejected where the model has nothing that it could quantize.
proto::PassInfo WeightsInt8Info();
Result<> WeightsInt8(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
