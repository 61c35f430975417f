// Texts as the token ids of a language model, by its tokenizer.json: byte-level byte-pair encoding, as of GPT-2,
// Llama 3, Qwen 2 and 3, and SmolLM.
//
// A text is parted at the tokens that were added to the vocabulary; what is between them is cut into words by the rules
// of the pre-tokenizer, each word's bytes are written as characters, and neighbours are merged, the merge that stands
// first in the list first, until none applies.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

class Tokenizer {
 public:
  // kRejected, naming it, for what is no tokenizer.json and for models, normalizers, pre-tokenizers, patterns and
  // settings that are not known.
  static Result<Tokenizer> Parse(std::string_view tokenizer_json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // With the tokens that the tokenizer puts before and behind a text. A normalizer NFC is taken as done: texts come in
  // that form. Bytes that the vocabulary lacks are left out. kRejected for what is no UTF-8.
  Result<std::vector<int64_t>> Encode(std::string_view text) const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The tokenizer of a model's bundle: its tokenizer.json, or a GGUF file's vocabulary. kRejected where it brings none.
Result<Tokenizer> TokenizerOf(const proto::LocalBundle& model);

}  // namespace hone
