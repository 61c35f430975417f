#include "worker/decoder/decoder_tensors.h"

#include <fmt/format.h>

namespace hone {
namespace {

constexpr const char* kTable = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

// Tensors that some checkpoints hold and no graph needs.
bool IsIdle(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || name == "rope_freqs.weight" || name == kHead ||
         name.starts_with("rope_factors_");
}

}  // namespace

bool DecoderTensors::IsTied() const { return config_.tied || !weights_.Has(kHead); }

Result<DecoderMatrix> DecoderTensors::Part(const std::string& name, int64_t all, int64_t first, int64_t rows,
                                           int64_t columns) {
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(name + ".weight", all, columns));
  part.first = static_cast<uint64_t>(first);
  part.rows = static_cast<uint64_t>(rows);
  DecoderMatrix matrix;
  matrix.source = {{std::move(part)}, static_cast<uint64_t>(columns)};
  if (weights_.Has(name + ".bias")) {
    matrix.bias = name + ".bias";
    matrix.bias_elements = all;
  }
  return matrix;
}

Result<DecoderMatrix> DecoderTensors::Whole(const std::string& name, int64_t rows, int64_t columns) {
  return Part(name, rows, 0, rows, columns);
}

Result<RowSource> DecoderTensors::Embeddings() {
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(kTable, config_.vocabulary, config_.hidden));
  return RowSource{{std::move(part)}, static_cast<uint64_t>(config_.hidden)};
}

Result<RowSource> DecoderTensors::Head() {
  if (IsTied()) return Embeddings();
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(kHead, config_.vocabulary, config_.hidden));
  return RowSource{{std::move(part)}, static_cast<uint64_t>(config_.hidden)};
}

Result<std::array<DecoderMatrix, 3>> DecoderTensors::QueryKeyValue(int64_t layer) {
  const std::string keys = fmt::format("model.layers.{}.self_attn.", layer);
  const int64_t q = config_.heads * config_.head_size;
  const int64_t kv = config_.kv_heads * config_.head_size;
  const std::string fused = keys + "qkv_proj";
  const bool is_fused = weights_.Has(fused + ".weight");
  std::array<DecoderMatrix, 3> found;
  const std::array<std::pair<const char*, int64_t>, 3> parts = {{{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}};
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [name, rows] = parts[i];
    TRY_ASSIGN(found[i], is_fused ? Part(fused, q + 2 * kv, first, rows, config_.hidden)
                                  : Whole(keys + name, rows, config_.hidden));
    // Either all have a bias or none has.
    if (!found[0].bias.empty() && found[i].bias.empty())
      return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}{}.bias' is missing", keys, name));
    if (found[0].bias.empty()) found[i].bias.clear();
    first += rows;
  }
  return found;
}

Result<DecoderMatrix> DecoderTensors::AttentionOutput(int64_t layer) {
  return Whole(fmt::format("model.layers.{}.self_attn.o_proj", layer), config_.hidden,
               config_.heads * config_.head_size);
}

Result<DecoderMatrix> DecoderTensors::MlpInput(int64_t layer, MlpPart part) {
  const std::string keys = fmt::format("model.layers.{}.mlp.", layer);
  const int64_t rows = config_.intermediate;
  const bool gate = part == MlpPart::gate;
  if (weights_.Has(keys + "gate_up_proj.weight"))
    return Part(keys + "gate_up_proj", 2 * rows, gate ? 0 : rows, rows, config_.hidden);
  return Whole(keys + (gate ? "gate_proj" : "up_proj"), rows, config_.hidden);
}

Result<DecoderMatrix> DecoderTensors::MlpOutput(int64_t layer) {
  return Whole(fmt::format("model.layers.{}.mlp.down_proj", layer), config_.hidden, config_.intermediate);
}

Result<std::vector<float>> DecoderTensors::Bias(const DecoderMatrix& matrix) {
  if (matrix.bias.empty()) return std::vector<float>();
  TRY_ASSIGN(const std::vector<float> whole, weights_.Vector(matrix.bias, matrix.bias_elements));
  const RowSource::Part& part = matrix.source.parts.front();
  const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(part.first);
  return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(part.rows));
}

Result<std::vector<float>> DecoderTensors::Norm(const std::string& name, int64_t elements) {
  TRY_ASSIGN(std::vector<float> values, weights_.Vector(name, elements));
  for (float& value : values) value += config_.norm_adds_one ? 1.0f : 0.0f;
  return values;
}

Result<> DecoderTensors::CheckAllUsed() const { return weights_.CheckAllUsed(IsIdle); }

}  // namespace hone
