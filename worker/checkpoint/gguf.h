// The GGUF format of llama.cpp, versions 2 and 3: metadata, descriptions of tensors, tensors.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "worker/checkpoint/weights.h"

namespace hone {

struct Gguf {
  nlohmann::json metadata = nlohmann::json::object();
  std::string architecture;
  WeightMap weights;  // By the names of Hugging Face checkpoints; they point into the file.
};

// kRejected, naming `what`, for what is no such file, another version, counts and lengths beyond the file's end, nested
// lists, an unknown or unserved block type, a place outside of the data or off its alignment, places that overlap, and
// a name that stands twice.
Result<Gguf> ReadGguf(std::string_view file, const std::string& what);

// The configuration that a checkpoint of the same model has in its config.json. kRejected for an architecture that is
// not known and for a scaling of the rotary embedding that is not.
Result<nlohmann::json> ConfigOfGguf(const Gguf& gguf);

// tokenizer.json and tokenizer_config.json of the same vocabulary. Empty texts where the vocabulary is of a kind that
// this is not known for; `why` tells which.
struct TokenizerTexts {
  std::string tokenizer;
  std::string configuration;
  std::string chat_template;
  std::string why;
};
TokenizerTexts TokenizerOfGguf(const Gguf& gguf);

}  // namespace hone
