// dynamic_int8: int8 weights; activations are quantized as they come, at run time. Needs no data.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// kRejected where the model has nothing that it could quantize.
proto::PassInfo DynamicInt8Info();
Result<> DynamicInt8(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
