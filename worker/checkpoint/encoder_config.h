// What an encoder's checkpoint says, however its family spells it: sizes, and what follows the encoder. A class of
// config.json's `architectures` tells a classification head; modules.json, as sentence embedders have it, tells pooling
// and normalization:
//
//   modules.json            [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}, ...]
//   1_Pooling/config.json   {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": true, ...}
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/checkpoint/checkpoint.h"

namespace hone {

enum class EncoderFamily { bert, roberta, distilbert, mpnet };
enum class EncoderActivation { gelu, gelu_tanh, relu };

// How the rows of a sentence's tokens become one: the first, the largest of each element, the mean, or the sum divided
// by the root of their number. Tokens that the mask leaves out do not count.
enum class Pooling { first, largest, mean, mean_root };

struct EncoderHead {
  enum class Type {
    none,      // last_hidden_state, and pooler_output where the checkpoint has a pooler.
    sentence,  // sentence_embedding
    sequence,  // logits of a text
    tokens,    // logits of each token
  };
  Type type = Type::none;
  std::vector<Pooling> poolings;  // Of a sentence; their results lie side by side.
  bool normalized = false;        // Of a sentence: to the length 1.
  int64_t labels = 0;             // Of logits.
};

struct EncoderConfig {
  EncoderFamily family = EncoderFamily::bert;
  std::string architecture;  // BertModel
  std::string prefix;        // Before the names of the encoder's tensors: "", "bert." ...
  int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, vocabulary = 0, positions = 0;
  int64_t types = 0;    // Kinds of tokens (the first and the second text of a pair); 0: the family has none.
  int64_t padding = 0;  // The token that pads.
  double epsilon = 1e-12;
  EncoderActivation activation = EncoderActivation::gelu;
  bool has_pooler = false;
  EncoderHead head;
};

// head: instead of what the folder tells. kRejected, naming file and key, for what is missing, beyond its bounds or not
// known: architectures, heads, activations, embeddings of positions, modules, poolings, quantized checkpoints.
Result<EncoderConfig> ReadEncoderConfig(const Checkpoint& checkpoint, const proto::LocalBundle& bundle,
                                        const std::optional<EncoderHead>& head = std::nullopt);

// Whether config.json names an encoder of a known family, whatever its head.
bool IsEncoder(const nlohmann::json& config);
// The architectures that there are, in a sentence.
std::string KnownEncoders();

// Inputs and outputs of the model that is built. Dimensions are numbers or names of free ones.
struct EncoderPort {
  std::string name;
  std::vector<std::string> dims;
};
std::vector<EncoderPort> EncoderInputs(const EncoderConfig& config);   // int64
std::vector<EncoderPort> EncoderOutputs(const EncoderConfig& config);  // float32

}  // namespace hone
