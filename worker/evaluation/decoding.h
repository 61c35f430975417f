// Language models with a cache, in whatever backend a session is of: told by their inputs and outputs (input_ids,
// attention_mask, past_key_values.N.key and .value; logits, present.N.key and .value), read with, written with, and fed
// for timing.
#pragma once

#include <cstdint>
#include <map>
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

// A decoder's session with the cache that its runs leave: text goes on from step to step.
class TextRun {
 public:
  explicit TextRun(Session& session) : session_(session) {}
  // Goes on with tokens, at least one. Logits of each, a row of vocabulary() numbers behind the other; valid until the
  // next step. kRejected for a model without rows of float32 logits.
  Result<const float*> Step(const std::vector<int64_t>& tokens);
  // Known from the first step on.
  int64_t vocabulary() const { return logits_.dims[2]; }

 private:
  Session& session_;
  std::map<std::string, Tensor> cache_;
  Tensor logits_;
  int64_t length_ = 0;
};

struct TokenScore {
  double surprise = 0;    // At the token that stands there, in nats.
  int64_t likeliest = 0;  // The token that the model expected.
};
// One a token but the first. The text is read in parts of `part` tokens (0: at once), each with the keys and values of
// those before it. kRejected for no decoder and for tokens that the model does not know.
Result<std::vector<TokenScore>> ReadText(Session& session, const std::vector<int64_t>& text, size_t part);

// exp of the mean surprise.
double PerplexityOf(const std::vector<TokenScore>& scores);

// The likeliest `count` tokens after a prompt of one token at least, one after the other.
Result<std::vector<int64_t>> ContinueText(Session& session, const std::vector<int64_t>& prompt, size_t count);

// A token by chance and what follows it, drawn by the model's own probabilities: `count` tokens in all.
Result<std::vector<int64_t>> WriteText(Session& session, size_t count, uint64_t seed);

}  // namespace hone
