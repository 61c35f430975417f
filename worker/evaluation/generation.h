// A decoder run in ONNX Runtime as text is made: tokens in, logits out, keys and values of what came before kept
// between.
//
// The model has the inputs input_ids and attention_mask, pairs past_key_values.N.key and .value, and the outputs logits
// and present.N.key and .value, as build_decoder and the builders of ONNX Runtime GenAI and Optimum write them;
// position_ids where it asks for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/base/result.h"

namespace hone {

class Generator {
 public:
  // kRejected for a model without these inputs and outputs, kFailed where the runtime cannot load it.
  static Result<Generator> Open(const std::filesystem::path& model, int threads);
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  int64_t vocabulary() const;
  // Tokens that are kept.
  int64_t length() const;
  // Forgets them.
  void Reset();
  // Goes on with tokens, at least one. Logits of each, a row of vocabulary() numbers behind the other; valid until the
  // next step.
  Result<const float*> Step(const std::vector<int64_t>& tokens);

 private:
  struct State;
  explicit Generator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The most likely tokens, one after the other, from nothing: at most `count`, up to and with one of `ends`.
Result<std::vector<int64_t>> GenerateGreedily(Generator& generator, const std::vector<int64_t>& prompt, size_t count,
                                              const std::vector<int64_t>& ends);

// exp of the mean surprise at each token but the first of every window of so many tokens; what is left of a last window
// counts where it has two tokens.
Result<double> Perplexity(Generator& generator, const std::vector<int64_t>& tokens, size_t window);

// How long a prompt takes to its first token, and how many tokens a second are read and made.
struct GenerationTimes {
  double first_token_ms = 0;
  double prompt_tokens_per_s = 0;
  double generation_tokens_per_s = 0;
};
// The medians of `repeats` runs, after one that is not counted.
Result<GenerationTimes> TimeGeneration(Generator& generator, const std::vector<int64_t>& prompt, size_t count,
                                       int repeats);

}  // namespace hone
