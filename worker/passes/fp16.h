// fp16: weights and arithmetic in half precision.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// Converts float32 tensors to float16 except around operators that need the range or have no float16 form, with the
// fewest Cast nodes between. Weights beyond float16's range are clamped, which a note tells.
proto::PassInfo Fp16Info();
Result<> ConvertToFp16(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
