// A decoder as an ONNX graph of ONNX Runtime's fused operators, in the form that ONNX Runtime GenAI runs: names of
// nodes, weights, inputs and outputs are those that its own builder gives.
//
// A layer: norm, MatMul of queries, keys and values as one, GroupQueryAttention (which turns positions and keeps the
// cache), MatMul, norm with the sum of what came before (SkipSimplifiedLayerNormalization), MLP. Eleven nodes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/decoder/coded_rows.h"
#include "worker/decoder/graph_writer.h"

namespace hone {

// How matrices are kept.
enum class MatrixForm {
  stored,  // Blocks of GGUF files as codes of MatMulNBits, exactly; everything else as floats.
  floats,
  codes,
};

struct DecoderOptions {
  MatrixForm form = MatrixForm::stored;
  bool half = false;        // float16 instead of float32: weights, cache, computation.
  Coding coding;            // Of layers.
  double ratio = 1;         // Share of the layers' weights in coding.bits, the least sensitive ones; the rest has 8.
  int head_bits = 8;        // Of the last matrix; 0: floats.
  int table_bits = 8;       // Of the embeddings, where they are not the last matrix; 0: floats.
  int64_t accuracy_level = 4;
  int threads = 1;
};

struct DecoderGraph {
  onnx::ModelProto model;
  std::vector<std::string> notes;
};

// kRejected, naming the tensor, for what is missing, of the wrong shape, or has no place in the architecture.
// Everything is checked before the first weight is written.
Result<DecoderGraph> BuildDecoderGraph(const Checkpoint& checkpoint, const DecoderConfig& config,
                                       const DecoderOptions& options, DataFile& data);

}  // namespace hone
