// Makes an encoder's ONNX model from a checkpoint.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo BuildEncoderInfo();
Result<proto::Bundle> BuildEncoder(PassContext& context);

}  // namespace hone
