// An encoder as an ONNX graph of standard operators, in the form in which the runtimes' own fusions know transformers:
// LayerNormalization and Gelu as single operators, biases as an Add behind their MatMul, attention as MatMul, Div, Add
// of the mask, Softmax, MatMul between Reshape and Transpose.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/encoder_config.h"
#include "worker/decoder/graph_writer.h"

namespace hone {

struct EncoderOptions {
  bool half = false;  // float16 instead of float32 up to the last layer: weights and computation. Outputs are float32.
  int threads = 1;
};

struct EncoderGraph {
  onnx::ModelProto model;
  std::vector<std::string> notes;
};

// kRejected, naming the tensor, for what is missing, of the wrong shape, or has no place in the architecture.
// Everything is checked before the first weight is written.
Result<EncoderGraph> BuildEncoderGraph(const Checkpoint& checkpoint, const EncoderConfig& config,
                                       const EncoderOptions& options, DataFile& data);

}  // namespace hone
