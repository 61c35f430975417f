// Makes a decoder's ONNX model from a checkpoint.
#pragma once

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/decoder/decoder_graph.h"
#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo BuildDecoderInfo();
Result<proto::Bundle> BuildDecoder(PassContext& context);

// What passes share that build decoders: the parameters that say how matrices are kept, what was given for them, and
// the configuration of a checkpoint that is a decoder's.
void AddMatrixParameters(proto::PassInfo& info);
DecoderOptions DecoderOptionsOf(const PassContext& context);
Result<DecoderConfig> DecoderConfigOf(const Checkpoint& checkpoint);

}  // namespace hone
