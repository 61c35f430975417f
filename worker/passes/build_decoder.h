// Makes a decoder's ONNX model from a checkpoint.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo BuildDecoderInfo();
Result<proto::Bundle> BuildDecoder(PassContext& context);

}  // namespace hone
