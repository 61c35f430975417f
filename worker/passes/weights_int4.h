// weights_int4: 4-bit weights in blocks; activations and sums stay in float.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// kRejected where the model has nothing that it could quantize.
proto::PassInfo WeightsInt4Info();
Result<> WeightsInt4(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
