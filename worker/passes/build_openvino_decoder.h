// Makes a decoder's OpenVINO model, whose cache is its state, from a checkpoint.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo BuildOpenvinoDecoderInfo();
Result<proto::Bundle> BuildOpenvinoDecoder(PassContext& context);

}  // namespace hone
