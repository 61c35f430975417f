// The tensors of a decoder's checkpoint by their place in the model, whatever the family packs into one: what every
// form that a decoder is built in reads.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/decoder/checkpoint_weights.h"
#include "worker/decoder/coded_rows.h"

namespace hone {

// What an input is multiplied with: rows of one tensor.
struct DecoderMatrix {
  RowSource source;
  std::string bias;            // The tensor whose same rows are added to the product; "": none.
  int64_t bias_elements = 0;   // Of that tensor.
};

class DecoderTensors {
 public:
  // Both must outlive this.
  DecoderTensors(const Checkpoint& checkpoint, const DecoderConfig& config)
      : config_(config), weights_(checkpoint.weights) {}

  // Whether the embeddings are the last matrix too.
  bool IsTied() const;
  // All of these: kRejected, naming the tensor, where it is missing or has another shape.
  Result<RowSource> Embeddings();
  Result<RowSource> Head();
  Result<std::array<DecoderMatrix, 3>> QueryKeyValue(int64_t layer);
  Result<DecoderMatrix> AttentionOutput(int64_t layer);
  enum class MlpPart { gate, up };
  Result<DecoderMatrix> MlpInput(int64_t layer, MlpPart part);
  Result<DecoderMatrix> MlpOutput(int64_t layer);
  // Empty where nothing is added. kRejected for NaN and infinities too, as below.
  Result<std::vector<float>> Bias(const DecoderMatrix& matrix);
  // What a norm multiplies with.
  Result<std::vector<float>> Norm(const std::string& name, int64_t elements);

  // kRejected for tensors that none of these read and that have no place in the architecture.
  Result<> CheckAllUsed() const;

 private:
  // `rows` rows from `first` on of a tensor of `all`.
  Result<DecoderMatrix> Part(const std::string& name, int64_t all, int64_t first, int64_t rows, int64_t columns);
  Result<DecoderMatrix> Whole(const std::string& name, int64_t rows, int64_t columns);

  const DecoderConfig& config_;
  CheckpointWeights weights_;
};

}  // namespace hone
