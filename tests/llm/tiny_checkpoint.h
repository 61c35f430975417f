// Small checkpoints that are made from a name and a seed: ops/make_llm_golden.py has the same generator.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "proto/work.pb.h"
#include "worker/checkpoint/weights.h"

namespace hone::test {

// `count` numbers from base - scale to base + scale, told by the name alone.
std::vector<float> SeededValues(std::string_view name, size_t count, float base, float scale);
// A weight of a decoder, as the golden logits were made with.
std::vector<float> SeededWeight(const std::string& name, size_t count, bool norms_at_zero);

// A safetensors file: header and data.
std::string Safetensors(const std::string& header, std::string_view data);
// The same of float32 tensors.
struct NamedValues {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};
std::string SafetensorsOf(const std::vector<NamedValues>& tensors);

void WriteBytes(const std::filesystem::path& file, std::string_view bytes);
// A folder with config.json and model.safetensors; a bundle of whatever a folder holds.
proto::LocalBundle WriteCheckpoint(const std::filesystem::path& folder, const nlohmann::json& config,
                                   std::string_view safetensors);
proto::LocalBundle CheckpointIn(const std::filesystem::path& folder);

// GGUF files, part by part.
class GgufBuilder {
 public:
  GgufBuilder& Text(const std::string& key, const std::string& value);
  GgufBuilder& Number(const std::string& key, uint32_t value);
  GgufBuilder& Real(const std::string& key, float value);
  GgufBuilder& Texts(const std::string& key, const std::vector<std::string>& values);
  // shape as in a checkpoint; type: GGUF's number.
  GgufBuilder& Tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type,
                      std::string_view bytes);
  std::string Build() const;
  // The same with counts that lie.
  std::string BuildWith(uint64_t tensors, uint64_t entries) const;

 private:
  std::string metadata_;
  uint64_t entries_ = 0;
  std::string tensors_;
  uint64_t tensor_count_ = 0;
  std::string data_;
};

// Bytes of blocks with random codes and small scales.
std::string SeededBlocks(std::string_view name, WeightType type, size_t elements);
uint32_t GgufNumber(WeightType type);

// A llama of one layer whose matrices have these types in turn.
std::string GgufOf(const std::vector<WeightType>& types, bool tied);

}  // namespace hone::test
