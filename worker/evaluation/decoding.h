// Language models with a cache, in whatever backend a session is of: told by their inputs and outputs (input_ids,
// attention_mask, past_key_values.N.key and .value; logits, present.N.key and .value), read with, written with, and fed
// for timing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/backends/backend.h"
#include "worker/model/tensor.h"

namespace hone {

// Whether a model is one of these, with room for any number of tokens.
bool IsDecoder(const std::vector<InputSignature>& inputs, const std::vector<std::string>& outputs);

// What a decoder is fed to go on with `tokens` tokens after `length` others, for timing: ids that count up, a cache of
// zeros.
Result<std::vector<Tensor>> DecoderSample(const std::vector<InputSignature>& inputs, int64_t tokens, int64_t length);

struct TokenScore {
  double surprise = 0;    // At the token that stands there, in nats.
  int64_t likeliest = 0;  // The token that the model expected.
};
// One a token but the first. The text is read in parts of `part` tokens (0: at once), each with the keys and values of
// those before it. kRejected for no decoder and for tokens that the model does not know.
Result<std::vector<TokenScore>> ReadText(Session& session, const std::vector<int64_t>& text, size_t part);

// A token by chance and what follows it, drawn by the model's own probabilities: `count` tokens in all.
Result<std::vector<int64_t>> WriteText(Session& session, size_t count, uint64_t seed);

}  // namespace hone
