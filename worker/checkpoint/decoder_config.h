// What a decoder's configuration says, however its writer spelled it: one form for all families, and for both ways in
// which transformers has written rotary embeddings.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

enum class Family { llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3, smollm3, granite };
enum class Activation { silu, gelu, gelu_tanh };
enum class RopeType { plain, linear, llama3, yarn, longrope };

// How positions turn the heads. `plain` also stands for "dynamic", which is the same up to max_positions.
struct RopeRule {
  RopeType type = RopeType::plain;
  double theta = 10000;
  double factor = 1;
  int64_t dimensions = 0;  // Of a head, that are turned.
  int64_t original_positions = 0;
  double low_frequency = 1, high_frequency = 4;        // llama3
  double beta_fast = 32, beta_slow = 1;                // yarn
  bool truncate = true;                                // yarn
  std::optional<double> attention_factor;
  double mscale = 0, mscale_all = 0;                   // yarn; 0: not given.
  std::vector<float> short_factors, long_factors;      // longrope
  std::vector<float> divisors;                         // Of a GGUF file's rope_freqs.
  bool operator==(const RopeRule&) const = default;
};

struct DecoderConfig {
  Family family = Family::llama;
  std::string architecture;  // LlamaForCausalLM
  std::string type;          // As ONNX Runtime GenAI calls it: llama, gemma3_text ...
  int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0, vocabulary = 0,
          positions = 0;
  double epsilon = 1e-6;
  bool tied = false;
  Activation activation = Activation::silu;
  int64_t window = 0;                 // Keys that a windowed layer sees, itself included.
  std::vector<bool> windowed;         // One a layer.
  std::vector<bool> rotary;           // One a layer.
  RopeRule rope;                      // Of layers that see everything ...
  RopeRule local_rope;                // ... and of windowed ones.
  double attention_scale = 1;
  double attention_softcap = 0, final_softcap = 0;  // 0: none.
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  bool norm_adds_one = false;         // Weights of norms are told less 1 (not in GGUF files).
  bool four_norms = false;            // Norms behind attention and MLP too.
  bool head_norms = false;            // Of queries and keys.
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos;
};

// kRejected, naming the key, for what is missing, beyond its bounds or not known: architectures, activations, scalings
// of the rotary embedding, layer types, quantized checkpoints.
Result<DecoderConfig> ReadDecoderConfig(const nlohmann::json& config, bool is_gguf);

// Whether config.json names a decoder that ReadDecoderConfig knows.
bool IsDecoder(const nlohmann::json& config);
// The architectures that there are, in a sentence.
std::string KnownDecoders();

}  // namespace hone
