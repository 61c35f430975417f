#include "worker/decoder/genai_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/decoder/data_file.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr JsonBounds kTokenizerBounds = {.bytes = 256 << 20, .values = 40'000'000, .depth = 32};

std::string Written(const json& value) { return value.dump(4, ' ', false, json::error_handler_t::replace) + "\n"; }

// Ids of the tokens that a vocabulary was given on top, by their text.
std::map<std::string, int64_t> AddedTokens(const json& tokenizer) {
  std::map<std::string, int64_t> ids;
  const auto added = tokenizer.find("added_tokens");
  if (added == tokenizer.end() || !added->is_array()) return ids;
  for (const json& token : *added) {
    if (!token.is_object() || !token.contains("content") || !token["content"].is_string()) continue;
    if (!token.contains("id") || !token["id"].is_number_unsigned()) continue;
    ids.emplace(token["content"].get<std::string>(), token["id"].get<int64_t>());
  }
  return ids;
}

// A token of tokenizer_config.json: its text, or an object that has it.
std::string TokenText(const json& configuration, const char* key) {
  const auto found = configuration.find(key);
  if (found == configuration.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string())
    return (*found)["content"].get<std::string>();
  return "";
}

// What is known of the tokens, from all the files that tell of them.
struct Vocabulary {
  json configuration = json::object();  // tokenizer_config.json
  std::map<std::string, int64_t> added;

  std::optional<int64_t> IdOf(const std::string& text) const {
    const auto found = added.find(text);
    return found == added.end() ? std::nullopt : std::optional<int64_t>(found->second);
  }
};

Result<Vocabulary> ReadVocabulary(const std::string& tokenizer, const std::string& configuration) {
  Vocabulary vocabulary;
  if (!tokenizer.empty()) {
    // The words themselves are not looked at.
    TRY_ASSIGN(const json parsed, ParseJsonWithout(tokenizer, kTokenizer, "model", kTokenizerBounds));
    if (!parsed.is_object()) return Fail(ErrorCode::kRejected, fmt::format("{}: it is no object", kTokenizer));
    vocabulary.added = AddedTokens(parsed);
  }
  if (!configuration.empty()) {
    TRY_ASSIGN(vocabulary.configuration, ParseJson(configuration, kTokenizerConfig));
    if (!vocabulary.configuration.is_object())
      return Fail(ErrorCode::kRejected, fmt::format("{}: it is no object", kTokenizerConfig));
  }
  return vocabulary;
}

// The runtime knows classes by name, and wants the length to be one.
json ServedConfiguration(json configuration, int64_t positions) {
  static const std::vector<std::string> kKnown = {
      "PreTrainedTokenizerFast", "LlamaTokenizer",   "LlamaTokenizerFast",  "GPT2Tokenizer",
      "GPT2TokenizerFast",       "Qwen2Tokenizer",   "Qwen2TokenizerFast",  "GemmaTokenizer",
      "GemmaTokenizerFast",      "CodeGenTokenizer", "CodeGenTokenizerFast"};
  const auto named = configuration.find("tokenizer_class");
  const bool known = named != configuration.end() && named->is_string() &&
                     std::find(kKnown.begin(), kKnown.end(), named->get<std::string>()) != kKnown.end();
  if (!known) configuration["tokenizer_class"] = "PreTrainedTokenizerFast";
  const auto length = configuration.find("model_max_length");
  if (length == configuration.end() || !length->is_number() || length->get<double>() > 1e9)
    configuration["model_max_length"] = positions;
  return configuration;
}

// A setting of text generation: generation_config.json, else config.json.
template <class T>
json Setting(const Checkpoint& checkpoint, const char* key, T otherwise) {
  for (const json* settings : {&checkpoint.generation, &checkpoint.config}) {
    const auto found = settings->find(key);
    if (found != settings->end() && !found->is_null()) return *found;
  }
  return otherwise;
}

std::vector<int64_t> EndTokens(const Checkpoint& checkpoint, const DecoderConfig& config,
                               const Vocabulary& vocabulary) {
  JsonReader generation(checkpoint.generation, "generation_config.json");
  std::vector<int64_t> ends = generation.Ints("eos_token_id", 64, 0, 1 << 30);
  if (ends.empty()) ends = config.eos;
  const auto own = vocabulary.IdOf(TokenText(vocabulary.configuration, "eos_token"));
  if (own && std::find(ends.begin(), ends.end(), *own) == ends.end()) ends.insert(ends.begin(), *own);
  return ends;
}

Result<json> Tokens(const Checkpoint& checkpoint, const DecoderConfig& config, const Vocabulary& vocabulary) {
  JsonReader generation(checkpoint.generation, "generation_config.json");
  const auto first = [&](const char* key, std::optional<int64_t> otherwise) {
    const std::vector<int64_t> ids = generation.Ints(key, 64, 0, 1 << 30);
    return ids.empty() ? otherwise : ids.front();
  };
  json tokens = {{"bos_token_id", first("bos_token_id", config.bos).value_or(1)}};
  const std::vector<int64_t> ends = EndTokens(checkpoint, config, vocabulary);
  TRY(generation.status());
  if (ends.size() == 1) tokens["eos_token_id"] = ends.front();
  if (ends.size() > 1) tokens["eos_token_id"] = ends;
  const auto pad = first("pad_token_id", config.pad);
  if (pad || !ends.empty()) tokens["pad_token_id"] = pad ? *pad : ends.front();
  constexpr std::pair<const char*, std::pair<const char*, const char*>> kMarks[] = {
      {"bot_token_id", {"<tool_call>", "<|tool_call|>"}},
      {"eot_token_id", {"</tool_call>", "<|/tool_call|>"}},
      {"bor_token_id", {"<think>", "<think>"}},
      {"eor_token_id", {"</think>", "</think>"}},
  };
  for (const auto& [key, texts] : kMarks) {
    const auto id = vocabulary.IdOf(texts.first) ? vocabulary.IdOf(texts.first) : vocabulary.IdOf(texts.second);
    if (id) tokens[key] = *id;
  }
  return tokens;
}

json DecoderSection(const DecoderConfig& config) {
  return {
      {"session_options", {{"log_id", "onnxruntime-genai"}, {"provider_options", json::array()}}},
      {"filename", "model.onnx"},
      {"head_size", config.head_size},
      {"hidden_size", config.hidden},
      {"inputs",
       {{"input_ids", "input_ids"},
        {"attention_mask", "attention_mask"},
        {"past_key_names", "past_key_values.%d.key"},
        {"past_value_names", "past_key_values.%d.value"}}},
      {"outputs",
       {{"logits", "logits"}, {"present_key_names", "present.%d.key"}, {"present_value_names", "present.%d.value"}}},
      {"num_attention_heads", config.heads},
      {"num_hidden_layers", config.layers},
      {"num_key_value_heads", config.kv_heads}};
}

json SearchSection(const Checkpoint& checkpoint, int64_t max_length) {
  return {{"diversity_penalty", Setting(checkpoint, "diversity_penalty", 0.0)},
          {"do_sample", Setting(checkpoint, "do_sample", false)},
          {"early_stopping", true},
          {"length_penalty", Setting(checkpoint, "length_penalty", 1.0)},
          {"max_length", max_length},
          {"min_length", 0},
          {"no_repeat_ngram_size", Setting(checkpoint, "no_repeat_ngram_size", 0)},
          {"num_beams", Setting(checkpoint, "num_beams", 1)},
          {"num_return_sequences", Setting(checkpoint, "num_return_sequences", 1)},
          {"past_present_share_buffer", true},
          {"repetition_penalty", Setting(checkpoint, "repetition_penalty", 1.0)},
          {"temperature", Setting(checkpoint, "temperature", 1.0)},
          {"top_k", Setting(checkpoint, "top_k", 50)},
          {"top_p", Setting(checkpoint, "top_p", 1.0)}};
}

// Texts of the vocabulary's two files, wherever they come from.
struct VocabularyTexts {
  std::string tokenizer;
  std::string configuration;
};

Result<VocabularyTexts> TextsOf(const proto::LocalBundle& source, const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf) return VocabularyTexts{checkpoint.tokenizer.tokenizer, checkpoint.tokenizer.configuration};
  VocabularyTexts texts;
  TRY_ASSIGN(texts.tokenizer, ReadBundled(source, kTokenizer));
  TRY_ASSIGN(texts.configuration, ReadBundled(source, kTokenizerConfig));
  return texts;
}

}  // namespace

Result<std::vector<proto::File>> WriteTokenizerFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                     int64_t positions, const std::filesystem::path& folder,
                                                     std::vector<std::string>& notes) {
  std::vector<proto::File> files;
  const auto write = [&](const std::string& name, const std::string& text) -> Result<> {
    if (text.empty()) return {};
    TRY_ASSIGN(proto::File file, WriteOutput(folder, name, text));
    files.push_back(std::move(file));
    return {};
  };
  TRY_ASSIGN(const VocabularyTexts texts, TextsOf(source, checkpoint));
  TRY_ASSIGN(const Vocabulary vocabulary, ReadVocabulary("", texts.configuration));
  TRY(write(kTokenizer, texts.tokenizer));
  if (!texts.tokenizer.empty())
    TRY(write(kTokenizerConfig, Written(ServedConfiguration(vocabulary.configuration, positions))));
  TRY(write("chat_template.jinja", checkpoint.tokenizer.chat_template));
  for (const std::string& name : CarriedFiles()) {
    if (name == kTokenizer || (name == kTokenizerConfig && !texts.tokenizer.empty())) continue;
    TRY_ASSIGN(const std::string text, ReadBundled(source, name));
    TRY(write(name, text));
  }
  if (texts.tokenizer.empty()) {
    notes.push_back(checkpoint.is_gguf
                        ? "without tokenizer.json: " + checkpoint.tokenizer.why
                        : "without tokenizer.json: the checkpoint has none; the folder takes token ids alone");
  }
  return files;
}

Result<std::vector<proto::File>> WriteOpenvinoGenaiFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                         const DecoderConfig& config,
                                                         const std::filesystem::path& folder,
                                                         std::vector<std::string>& notes) {
  TRY_ASSIGN(std::vector<proto::File> files, WriteTokenizerFiles(source, checkpoint, config.positions, folder, notes));
  TRY_ASSIGN(files.emplace_back(), WriteOutput(folder, "config.json", Written(checkpoint.config)));
  if (IsBundled(source, "generation_config.json")) return files;
  TRY_ASSIGN(const VocabularyTexts texts, TextsOf(source, checkpoint));
  TRY_ASSIGN(const Vocabulary vocabulary, ReadVocabulary(texts.tokenizer, texts.configuration));
  TRY_ASSIGN(const json tokens, Tokens(checkpoint, config, vocabulary));
  TRY_ASSIGN(files.emplace_back(), WriteOutput(folder, "generation_config.json", Written(tokens)));
  return files;
}

Result<std::vector<proto::File>> WriteGenaiFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                 const DecoderConfig& config, int64_t max_length,
                                                 const std::filesystem::path& folder, std::vector<std::string>& notes) {
  TRY_ASSIGN(std::vector<proto::File> files, WriteTokenizerFiles(source, checkpoint, config.positions, folder, notes));
  TRY_ASSIGN(const VocabularyTexts texts, TextsOf(source, checkpoint));
  TRY_ASSIGN(const Vocabulary vocabulary, ReadVocabulary(texts.tokenizer, texts.configuration));
  TRY_ASSIGN(json model, Tokens(checkpoint, config, vocabulary));
  model["context_length"] = config.positions;
  model["decoder"] = DecoderSection(config);
  model["type"] = config.type;
  model["vocab_size"] = config.vocabulary;
  const int64_t length = std::min(max_length, config.positions);
  if (length < config.positions) {
    notes.push_back(fmt::format(
        "search.max_length is {} of the model's {}, because the cache of this length is taken at once; raise it in "
        "genai_config.json where there is memory for more",
        length, config.positions));
  }
  const json whole = {{"model", std::move(model)}, {"search", SearchSection(checkpoint, length)}};
  TRY_ASSIGN(proto::File file, WriteOutput(folder, "genai_config.json", Written(whole)));
  files.push_back(std::move(file));
  return files;
}

}  // namespace hone
