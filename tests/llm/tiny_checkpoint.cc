#include "tests/llm/tiny_checkpoint.h"

#include <fmt/format.h>

#include <cstring>
#include <fstream>

namespace hone::test {
namespace {

namespace fs = std::filesystem;

uint64_t Seed(std::string_view name) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211ULL;
  return hash;
}

uint64_t Mixed(uint64_t seed, uint64_t index) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15ULL + seed;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

template <class T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void AppendText(std::string& bytes, const std::string& text) {
  Append<uint64_t>(bytes, text.size());
  bytes += text;
}

}  // namespace

std::vector<float> SeededValues(std::string_view name, size_t count, float base, float scale) {
  const uint64_t seed = Seed(name);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const float unit = static_cast<float>(Mixed(seed, i) >> 40) / 8388608.0F - 1.0F;
    values[i] = unit * scale + base;
  }
  return values;
}

std::vector<float> SeededWeight(const std::string& name, size_t count, bool norms_at_zero) {
  if (name.find("norm") != std::string::npos) return SeededValues(name, count, norms_at_zero ? 0.0F : 1.0F, 0.25F);
  return SeededValues(name, count, 0, name.find("embed") != std::string::npos ? 1.0F : 0.25F);
}

std::string Safetensors(const std::string& header, std::string_view data) {
  std::string bytes;
  AppendText(bytes, header);
  return bytes.append(data);
}

std::string SafetensorsOf(const std::vector<NamedValues>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const NamedValues& tensor : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return Safetensors(header.dump(), data);
}

void WriteBytes(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

proto::LocalBundle WriteCheckpoint(const fs::path& folder, const nlohmann::json& config, std::string_view safetensors) {
  fs::create_directories(folder);
  WriteBytes(folder / "config.json", config.dump());
  WriteBytes(folder / "model.safetensors", safetensors);
  return CheckpointIn(folder);
}

proto::LocalBundle CheckpointIn(const fs::path& folder) {
  proto::LocalBundle local;
  local.set_folder(folder.string());
  local.mutable_bundle()->set_format("checkpoint");
  local.mutable_bundle()->set_main("config.json");
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    local.mutable_bundle()->add_files()->set_path(name);
    if (!name.ends_with(".gguf")) continue;
    local.mutable_bundle()->set_format("gguf");
    local.mutable_bundle()->set_main(name);
  }
  return local;
}

GgufBuilder& GgufBuilder::Text(const std::string& key, const std::string& value) {
  AppendText(metadata_, key);
  Append<uint32_t>(metadata_, 8);
  AppendText(metadata_, value);
  ++entries_;
  return *this;
}

GgufBuilder& GgufBuilder::Number(const std::string& key, uint32_t value) {
  AppendText(metadata_, key);
  Append<uint32_t>(metadata_, 4);
  Append(metadata_, value);
  ++entries_;
  return *this;
}

GgufBuilder& GgufBuilder::Real(const std::string& key, float value) {
  AppendText(metadata_, key);
  Append<uint32_t>(metadata_, 6);
  Append(metadata_, value);
  ++entries_;
  return *this;
}

GgufBuilder& GgufBuilder::Texts(const std::string& key, const std::vector<std::string>& values) {
  AppendText(metadata_, key);
  Append<uint32_t>(metadata_, 9);
  Append<uint32_t>(metadata_, 8);
  Append<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) AppendText(metadata_, value);
  ++entries_;
  return *this;
}

GgufBuilder& GgufBuilder::Tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type,
                                 std::string_view bytes) {
  AppendText(tensors_, name);
  Append<uint32_t>(tensors_, static_cast<uint32_t>(shape.size()));
  for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) Append<uint64_t>(tensors_, static_cast<uint64_t>(*dim));
  Append(tensors_, type);
  data_.resize((data_.size() + 31) / 32 * 32);
  Append<uint64_t>(tensors_, data_.size());
  data_ += bytes;
  ++tensor_count_;
  return *this;
}

std::string GgufBuilder::Build() const { return BuildWith(tensor_count_, entries_); }

std::string GgufBuilder::BuildWith(uint64_t tensors, uint64_t entries) const {
  std::string bytes = "GGUF";
  Append<uint32_t>(bytes, 3);
  Append(bytes, tensors);
  Append(bytes, entries);
  bytes += metadata_ + tensors_;
  bytes.resize((bytes.size() + 31) / 32 * 32);
  return bytes + data_;
}

std::string SeededBlocks(std::string_view name, WeightType type, size_t elements) {
  // Where halves lie in a block: their upper bytes are made small numbers.
  static const std::map<WeightType, std::vector<size_t>> kHalves = {
      {WeightType::q4_0, {0}},    {WeightType::q4_1, {0, 2}},   {WeightType::q5_0, {0}},   {WeightType::q5_1, {0, 2}},
      {WeightType::q8_0, {0}},    {WeightType::q2_k, {80, 82}}, {WeightType::q3_k, {108}}, {WeightType::q4_k, {0, 2}},
      {WeightType::q5_k, {0, 2}}, {WeightType::q6_k, {208}},
  };
  const WeightTypeInfo& info = InfoOf(type);
  std::string bytes(elements / info.elements * info.bytes, '\0');
  const uint64_t seed = Seed(name);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(Mixed(seed, i) >> 56);
  for (size_t block = 0; block < bytes.size(); block += info.bytes) {
    for (const size_t half : kHalves.at(type))
      bytes[block + half + 1] = static_cast<char>((bytes[block + half + 1] & 0x07) | 0x18);
  }
  return bytes;
}

uint32_t GgufNumber(WeightType type) {
  static const std::map<WeightType, uint32_t> kNumbers = {
      {WeightType::f32, 0},   {WeightType::f16, 1},   {WeightType::q4_0, 2},  {WeightType::q4_1, 3},
      {WeightType::q5_0, 6},  {WeightType::q5_1, 7},  {WeightType::q8_0, 8},  {WeightType::q2_k, 10},
      {WeightType::q3_k, 11}, {WeightType::q4_k, 12}, {WeightType::q5_k, 13}, {WeightType::q6_k, 14},
      {WeightType::bf16, 30},
  };
  return kNumbers.at(type);
}

std::string GgufOf(const std::vector<WeightType>& types, bool tied) {
  constexpr int64_t kWidth = 256;
  GgufBuilder gguf;
  gguf.Text("general.architecture", "llama")
      .Number("llama.embedding_length", kWidth)
      .Number("llama.feed_forward_length", kWidth);
  gguf.Number("llama.block_count", 1)
      .Number("llama.attention.head_count", 8)
      .Number("llama.attention.head_count_kv", 4);
  gguf.Number("llama.context_length", 64).Real("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  size_t next = 0;
  const auto matrix = [&](const std::string& name, int64_t rows) {
    const WeightType type = types[next++ % types.size()];
    gguf.Tensor(name, {rows, kWidth}, GgufNumber(type), SeededBlocks(name, type, static_cast<size_t>(rows * kWidth)));
  };
  const auto norm = [&](const std::string& name) {
    const auto values = SeededValues(name, kWidth, 1, 0.25F);
    gguf.Tensor(name, {kWidth}, 0, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  };
  matrix("token_embd.weight", 96);
  if (!tied) matrix("output.weight", 96);
  norm("output_norm.weight");
  norm("blk.0.attn_norm.weight");
  norm("blk.0.ffn_norm.weight");
  for (const char* name : {"attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    matrix(fmt::format("blk.0.{}.weight", name), kWidth);
  for (const char* name : {"attn_k", "attn_v"}) matrix(fmt::format("blk.0.{}.weight", name), kWidth / 2);
  return gguf.Build();
}

}  // namespace hone::test
