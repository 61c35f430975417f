#include "worker/checkpoint/gguf.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <set>
#include <vector>

#include "common/base/strings.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr uint64_t kMostEntries = 100'000;          // Of metadata, and of tensors.
constexpr uint64_t kMostElements = 8'000'000;       // Of all lists together.
constexpr uint64_t kMostTextBytes = 16 << 20;       // Of one text.
constexpr uint64_t kMostNameBytes = 1024;
constexpr uint32_t kMostGgufDimensions = 4;
constexpr uint64_t kLargestAlignment = 1 << 20;

enum class ValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, list, u64, i64, f64 };

Result<> Refuse(std::string why) { return Fail(ErrorCode::kRejected, std::move(why)); }

// Reads forward, never beyond the end.
class Cursor {
 public:
  explicit Cursor(std::string_view file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.size() - position_; }

  template <class T>
  Result<> Read(T& value) {
    TRY_ASSIGN(const std::string_view bytes, Take(sizeof(T)));
    std::memcpy(&value, bytes.data(), sizeof(T));
    return {};
  }

  Result<std::string> Text(uint64_t most) {
    uint64_t bytes = 0;
    TRY(Read(bytes));
    if (bytes > most)
      return Fail(ErrorCode::kRejected,
                  fmt::format("a text at byte {} is said to have {} bytes; {} are allowed", position_, bytes, most));
    TRY_ASSIGN(const std::string_view text, Take(bytes));
    return std::string(text);
  }

 private:
  Result<std::string_view> Take(uint64_t bytes) {
    if (bytes > left())
      return Fail(ErrorCode::kRejected,
                  fmt::format("it is cut short: {} bytes are missing at byte {}", bytes - left(), position_));
    const std::string_view taken = file_.substr(position_, bytes);
    position_ += bytes;
    return taken;
  }

  const std::string_view file_;
  uint64_t position_ = 0;
};

template <class T>
Result<json> ReadNumber(Cursor& cursor) {
  T value{};
  TRY(cursor.Read(value));
  return json(value);
}

Result<json> ReadScalar(Cursor& cursor, ValueType type) {
  switch (type) {
    case ValueType::u8: return ReadNumber<uint8_t>(cursor);
    case ValueType::i8: return ReadNumber<int8_t>(cursor);
    case ValueType::u16: return ReadNumber<uint16_t>(cursor);
    case ValueType::i16: return ReadNumber<int16_t>(cursor);
    case ValueType::u32: return ReadNumber<uint32_t>(cursor);
    case ValueType::i32: return ReadNumber<int32_t>(cursor);
    case ValueType::f32: return ReadNumber<float>(cursor);
    case ValueType::u64: return ReadNumber<uint64_t>(cursor);
    case ValueType::i64: return ReadNumber<int64_t>(cursor);
    case ValueType::f64: return ReadNumber<double>(cursor);
    case ValueType::boolean: {
      uint8_t value = 0;
      TRY(cursor.Read(value));
      return json(value != 0);
    }
    case ValueType::text: {
      TRY_ASSIGN(std::string text, cursor.Text(kMostTextBytes));
      return json(std::move(text));
    }
    default:
      return Fail(ErrorCode::kRejected, fmt::format("a value at byte {} has the unknown type {}", cursor.position(),
                                                    static_cast<uint32_t>(type)));
  }
}

class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file), cursor_(file) {}

  Result<Gguf> Read() {
    TRY(ReadHead());
    for (uint64_t i = 0; i < entries_; ++i) TRY(ReadEntry());
    const auto architecture = gguf_.metadata.find("general.architecture");
    if (architecture == gguf_.metadata.end() || !architecture->is_string())
      return Fail(ErrorCode::kRejected, "its metadata has no general.architecture");
    gguf_.architecture = architecture->get<std::string>();
    for (uint64_t i = 0; i < tensors_; ++i) TRY(ReadDescription());
    TRY(PlaceTensors());
    return std::move(gguf_);
  }

 private:
  struct Description {
    std::string name;
    WeightType type = WeightType::f32;
    std::vector<int64_t> shape;
    uint64_t offset = 0;
  };

  Result<> ReadHead();
  Result<> ReadEntry();
  Result<json> ReadValue(ValueType type);
  Result<> ReadDescription();
  Result<> PlaceTensors();
  Result<uint64_t> Alignment() const;

  const std::string_view file_;
  Cursor cursor_;
  Gguf gguf_;
  uint64_t tensors_ = 0;
  uint64_t entries_ = 0;
  uint64_t elements_ = 0;  // Of all lists so far.
  std::vector<Description> descriptions_;
};

Result<> Reader::ReadHead() {
  uint32_t version = 0;
  if (!file_.starts_with("GGUF")) return Refuse("it does not begin with GGUF");
  uint32_t magic = 0;
  TRY(cursor_.Read(magic));
  TRY(cursor_.Read(version));
  if (version != 2 && version != 3) {
    const bool swapped = version > 0xffff;
    return Refuse(swapped ? "its bytes are in big-endian order, which is not served"
                          : fmt::format("its version is {}; 2 and 3 are known", version));
  }
  TRY(cursor_.Read(tensors_));
  TRY(cursor_.Read(entries_));
  if (tensors_ > kMostEntries || entries_ > kMostEntries) {
    return Refuse(fmt::format("it is said to hold {} tensors and {} entries of metadata; {} are allowed", tensors_,
                              entries_, kMostEntries));
  }
  return {};
}

Result<json> Reader::ReadValue(ValueType type) {
  if (type != ValueType::list) return ReadScalar(cursor_, type);
  uint32_t element = 0;
  uint64_t count = 0;
  TRY(cursor_.Read(element));
  TRY(cursor_.Read(count));
  if (static_cast<ValueType>(element) == ValueType::list) return Fail(ErrorCode::kRejected, "a list holds lists");
  // An element takes a byte at least, so that a count beyond the file's end costs nothing.
  elements_ += std::min(count, kMostElements + 1);
  if (count > cursor_.left() || elements_ > kMostElements)
    return Fail(ErrorCode::kRejected,
                fmt::format("a list at byte {} is said to have {} elements", cursor_.position(), count));
  json list = json::array();
  for (uint64_t i = 0; i < count; ++i) {
    TRY_ASSIGN(json value, ReadScalar(cursor_, static_cast<ValueType>(element)));
    list.push_back(std::move(value));
  }
  return list;
}

Result<> Reader::ReadEntry() {
  TRY_ASSIGN(const std::string key, cursor_.Text(kMostNameBytes));
  uint32_t type = 0;
  TRY(cursor_.Read(type));
  Result<json> value = ReadValue(static_cast<ValueType>(type));
  if (!value) return FailWith(fmt::format("metadata '{}'", Printable(key, 100)), std::move(value.error()));
  if (gguf_.metadata.contains(key)) return Refuse(fmt::format("metadata '{}' stands twice", Printable(key, 100)));
  gguf_.metadata[key] = std::move(*value);
  return {};
}

constexpr std::pair<uint32_t, WeightType> kBlockTypes[] = {
    {0, WeightType::f32},   {1, WeightType::f16},   {2, WeightType::q4_0},  {3, WeightType::q4_1},
    {6, WeightType::q5_0},  {7, WeightType::q5_1},  {8, WeightType::q8_0},  {10, WeightType::q2_k},
    {11, WeightType::q3_k}, {12, WeightType::q4_k}, {13, WeightType::q5_k}, {14, WeightType::q6_k},
    {24, WeightType::i8},   {25, WeightType::i16},  {26, WeightType::i32},  {27, WeightType::i64},
    {28, WeightType::f64},  {30, WeightType::bf16},
};

Result<WeightType> BlockType(uint32_t number) {
  for (const auto& [known, type] : kBlockTypes) {
    if (known == number) return type;
  }
  return Fail(ErrorCode::kRejected, fmt::format("its block type {} is not served", number),
              "Served are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K; quantize the model again to "
              "one of them.");
}

Result<> Reader::ReadDescription() {
  Description tensor;
  TRY_ASSIGN(tensor.name, cursor_.Text(kMostNameBytes));
  const std::string who = fmt::format("tensor '{}'", Printable(tensor.name, 200));
  uint32_t dimensions = 0;
  TRY(cursor_.Read(dimensions));
  if (dimensions > kMostGgufDimensions)
    return Refuse(fmt::format("{}: it has {} dimensions; {} are allowed", who, dimensions, kMostGgufDimensions));
  for (uint32_t i = 0; i < dimensions; ++i) {
    uint64_t dim = 0;
    TRY(cursor_.Read(dim));
    if (dim > uint64_t{1} << 48) return Refuse(fmt::format("{}: a dimension is said to be {}", who, dim));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));  // The fastest comes first.
  }
  uint32_t type = 0;
  TRY(cursor_.Read(type));
  TRY(cursor_.Read(tensor.offset));
  Result<WeightType> known = BlockType(type);
  if (!known) return FailWith(who, std::move(known.error()));
  tensor.type = *known;
  descriptions_.push_back(std::move(tensor));
  return {};
}

Result<uint64_t> Reader::Alignment() const {
  const auto found = gguf_.metadata.find("general.alignment");
  if (found == gguf_.metadata.end()) return uint64_t{32};
  const uint64_t alignment = found->is_number_unsigned() ? found->get<uint64_t>() : 0;
  if (alignment == 0 || alignment > kLargestAlignment || !std::has_single_bit(alignment))
    return Fail(ErrorCode::kRejected, "its general.alignment is no power of two up to 1 MiB");
  return alignment;
}

// --- names -----------------------------------------------------------------------------------------------------------

constexpr std::pair<std::string_view, std::string_view> kLayerNames[] = {
    {"attn_norm", "input_layernorm"},      {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},        {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},        {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},   {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},   {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},             {"ffn_down", "mlp.down_proj"},
};
// Where architectures use a name otherwise.
struct OwnName {
  std::string_view architecture, name, ours;
};
constexpr OwnName kOwnNames[] = {
    {"gemma2", "ffn_norm", "pre_feedforward_layernorm"},
    {"gemma2", "post_attention_norm", "post_attention_layernorm"},
    {"gemma2", "post_ffw_norm", "post_feedforward_layernorm"},
    {"gemma3", "ffn_norm", "pre_feedforward_layernorm"},
    {"gemma3", "post_attention_norm", "post_attention_layernorm"},
    {"gemma3", "post_ffw_norm", "post_feedforward_layernorm"},
    {"phi3", "ffn_up", "mlp.gate_up_proj"},
};
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

// The name in a Hugging Face checkpoint; the same where there is none.
std::string OurName(const std::string& name, const std::string& architecture) {
  for (const auto& [theirs, ours] : kOtherNames) {
    if (name == theirs) return std::string(ours);
  }
  const std::vector<std::string> parts = Split(name, '.');
  if (parts.size() != 4 || parts[0] != "blk") return name;
  const auto layer = [&](std::string_view ours) {
    return fmt::format("model.layers.{}.{}.{}", parts[1], ours, parts[3]);
  };
  for (const OwnName& own : kOwnNames) {
    if (architecture == own.architecture && parts[2] == own.name) return layer(own.ours);
  }
  for (const auto& [theirs, ours] : kLayerNames) {
    if (parts[2] == theirs) return layer(ours);
  }
  return name;
}

// Whether llama.cpp keeps the rows of this architecture's query and key heads interleaved.
bool InterleavesHeads(std::string_view architecture) {
  return architecture == "llama" || architecture == "granite" || architecture == "mistral3";
}

// A whole number of the metadata under the architecture's name; 0 where there is none.
int64_t WholeOf(const Gguf& gguf, const std::string& key) {
  const auto found = gguf.metadata.find(gguf.architecture + "." + key);
  return found != gguf.metadata.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

Result<> Interleave(const Gguf& gguf, const std::string& name, StoredWeight& weight) {
  const bool query = name.ends_with("self_attn.q_proj.weight");
  const bool key = name.ends_with("self_attn.k_proj.weight");
  if (!InterleavesHeads(gguf.architecture) || (!query && !key)) return {};
  int64_t heads = WholeOf(gguf, key ? "attention.head_count_kv" : "attention.head_count");
  if (heads == 0) heads = WholeOf(gguf, "attention.head_count");
  const auto rows = static_cast<int64_t>(weight.Rows());
  if (heads < 1 || rows % heads != 0 || rows / heads % 2 != 0)
    return Refuse(fmt::format("its {} rows cannot be divided among {} heads", rows, heads));
  weight.interleaved_heads = heads;
  return {};
}

Result<> Reader::PlaceTensors() {
  TRY_ASSIGN(const uint64_t alignment, Alignment());
  const uint64_t begin = (cursor_.position() + alignment - 1) / alignment * alignment;
  const std::string_view data = begin < file_.size() ? file_.substr(begin) : std::string_view();
  std::vector<Place> places;
  for (Description& tensor : descriptions_) {
    const std::string who = fmt::format("tensor '{}'", Printable(tensor.name, 200));
    Result<uint64_t> bytes = WeightBytes(tensor.type, tensor.shape);
    if (!bytes) return FailWith(who, std::move(bytes.error()));
    if (tensor.offset % alignment != 0)
      return Refuse(fmt::format("{}: its offset {} is no multiple of {}", who, tensor.offset, alignment));
    if (tensor.offset > data.size() || *bytes > data.size() - tensor.offset) {
      return Refuse(
          fmt::format("{}: it has {} bytes at offset {} of the data, which have {}: the file is cut short or lies", who,
                      *bytes, tensor.offset, data.size()));
    }
    const std::string name = OurName(tensor.name, gguf_.architecture);
    StoredWeight weight{tensor.type, std::move(tensor.shape), data.substr(tensor.offset, *bytes)};
    if (Result<> fits = Interleave(gguf_, name, weight); !fits) return FailWith(who, std::move(fits.error()));
    if (!gguf_.weights.emplace(name, std::move(weight)).second) return Refuse(who + ": it stands twice");
    places.push_back({tensor.offset, *bytes, tensor.name});
  }
  return CheckApart(std::move(places));
}

// --- configuration
// -----------------------------------------------------------------------------------------------------

constexpr std::pair<std::string_view, std::string_view> kArchitectures[] = {
    {"llama", "LlamaForCausalLM"},   {"qwen2", "Qwen2ForCausalLM"},  {"qwen3", "Qwen3ForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},     {"gemma", "GemmaForCausalLM"},  {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3", "Gemma3ForCausalLM"}, {"granite", "GraniteForCausalLM"}, {"mistral", "MistralForCausalLM"},
    {"smollm3", "SmolLM3ForCausalLM"},
};

// Metadata under the architecture's name, and the key of config.json.
constexpr std::pair<const char*, const char*> kConfigKeys[] = {
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"block_count", "num_hidden_layers"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"context_length", "max_position_embeddings"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta"},
    {"attention.sliding_window", "sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"attention.scale", "attention_multiplier"},
    {"logit_scale", "logits_scaling"},
};
constexpr std::pair<const char*, const char*> kTokenKeys[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token_id"},
    {"tokenizer.ggml.eos_token_id", "eos_token_id"},
    {"tokenizer.ggml.padding_token_id", "pad_token_id"},
};

Result<> AddScaling(const Gguf& gguf, json& config) {
  const auto find = [&](const char* key) -> const json* {
    const auto found = gguf.metadata.find(gguf.architecture + ".rope.scaling." + key);
    return found == gguf.metadata.end() ? nullptr : &*found;
  };
  const json* type = find("type");
  if (type == nullptr || *type == "none") return {};
  if (*type != "linear" && *type != "yarn") {
    return Refuse(fmt::format("the rope scaling '{}' is not known for GGUF files; none, linear and yarn are",
                              Printable(type->is_string() ? type->get<std::string>() : "?", 40)));
  }
  json scaling = {{"rope_type", *type}};
  if (const json* factor = find("factor")) scaling["factor"] = *factor;
  if (const json* original = find("original_context_length")) scaling["original_max_position_embeddings"] = *original;
  config["rope_scaling"] = std::move(scaling);
  return {};
}

}  // namespace

Result<Gguf> ReadGguf(std::string_view file, const std::string& what) {
  Result<Gguf> gguf = Reader(file).Read();
  return gguf ? std::move(gguf) : FailWith(what, std::move(gguf.error()));
}

Result<json> ConfigOfGguf(const Gguf& gguf) {
  json config = json::object();
  for (const auto& [name, ours] : kArchitectures) {
    if (gguf.architecture == name) config["architectures"] = json::array({ours});
  }
  if (config.empty()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the GGUF architecture '{}' is not known", Printable(gguf.architecture, 60)),
                "Known are llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3, granite and smollm3.");
  }
  for (const auto& [theirs, ours] : kConfigKeys) {
    const auto found = gguf.metadata.find(gguf.architecture + "." + theirs);
    if (found != gguf.metadata.end()) config[ours] = *found;
  }
  for (const auto& [theirs, ours] : kTokenKeys) {
    const auto found = gguf.metadata.find(theirs);
    if (found != gguf.metadata.end()) config[ours] = *found;
  }
  const auto embeddings = gguf.weights.find("model.embed_tokens.weight");
  if (embeddings != gguf.weights.end()) config["vocab_size"] = embeddings->second.Rows();
  config["tie_word_embeddings"] = !gguf.weights.contains("lm_head.weight");
  // Part of a head alone is turned where rope.dimension_count is less than the head.
  const int64_t rotary = WholeOf(gguf, "rope.dimension_count");
  int64_t head = WholeOf(gguf, "attention.key_length");
  const int64_t heads = WholeOf(gguf, "attention.head_count");
  if (head == 0 && heads > 0) head = WholeOf(gguf, "embedding_length") / heads;
  if (rotary > 0 && head > 0 && rotary != head)
    config["partial_rotary_factor"] = static_cast<double>(rotary) / static_cast<double>(head);
  TRY(AddScaling(gguf, config));
  return config;
}

// --- vocabulary
// --------------------------------------------------------------------------------------------------------

namespace {

constexpr int kControlToken = 3;
constexpr int kUserToken = 4;

json SplitBy(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}
json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// How a text is cut into words, by the name that the file gives it; null where the name is not known.
json WordCutter(const std::string& name) {
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3")
    return json::array({SplitBy(kLlama3Words), ByteLevel(false)});
  if (name == "qwen2") return json::array({SplitBy(kQwen2Words), ByteLevel(false)});
  if (name == "gpt-2" || name == "default" || name == "phi-2") return json::array({ByteLevel(true)});
  if (name == "smollm" || name == "starcoder" || name == "refact")
    return json::array({json{{"type", "Digits"}, {"individual_digits", true}}, ByteLevel(true)});
  return nullptr;
}

std::string TextOf(const json& metadata, const std::string& key, const std::string& otherwise) {
  const auto found = metadata.find(key);
  return found != metadata.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

const json* ListOf(const json& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found != metadata.end() && found->is_array() ? &*found : nullptr;
}

json AddedTokens(const json& tokens, const json& types) {
  json added = json::array();
  for (size_t i = 0; i < tokens.size() && i < types.size(); ++i) {
    const int type = types[i].is_number_integer() ? types[i].get<int>() : 0;
    if (type != kControlToken && type != kUserToken) continue;
    added.push_back({{"id", i}, {"content", tokens[i]}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                     {"normalized", false}, {"special", type == kControlToken}});
  }
  return added;
}

json TokenAt(const Gguf& gguf, const json& tokens, const char* key) {
  const auto found = gguf.metadata.find(key);
  if (found == gguf.metadata.end() || !found->is_number_unsigned() || found->get<uint64_t>() >= tokens.size())
    return nullptr;
  return tokens[found->get<uint64_t>()];
}

json TokenizerConfiguration(const Gguf& gguf, const json& tokens, const std::string& chat_template) {
  const auto bos = gguf.metadata.find("tokenizer.ggml.add_bos_token");
  json configuration = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                        {"bos_token", TokenAt(gguf, tokens, "tokenizer.ggml.bos_token_id")},
                        {"eos_token", TokenAt(gguf, tokens, "tokenizer.ggml.eos_token_id")},
                        {"pad_token", TokenAt(gguf, tokens, "tokenizer.ggml.padding_token_id")},
                        {"unk_token", TokenAt(gguf, tokens, "tokenizer.ggml.unknown_token_id")},
                        {"add_bos_token", bos != gguf.metadata.end() && *bos == true},
                        {"clean_up_tokenization_spaces", false}};
  if (const int64_t context = WholeOf(gguf, "context_length"); context > 0) configuration["model_max_length"] = context;
  if (!chat_template.empty()) configuration["chat_template"] = chat_template;
  return configuration;
}

json Model(const json& tokens, const json& merges, bool whole_words_first) {
  json vocabulary = json::object();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].is_string()) vocabulary[tokens[i].get<std::string>()] = i;
  }
  json pairs = json::array();
  for (const json& merge : merges) {
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ', 1);
    if (space != std::string::npos) pairs.push_back(json::array({text.substr(0, space), text.substr(space + 1)}));
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", whole_words_first},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(pairs)}};
}

std::string Written(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace

TokenizerTexts TokenizerOfGguf(const Gguf& gguf) {
  TokenizerTexts texts;
  const json& metadata = gguf.metadata;
  const std::string kind = TextOf(metadata, "tokenizer.ggml.model", "none");
  const json* tokens = ListOf(metadata, "tokenizer.ggml.tokens");
  const json* merges = ListOf(metadata, "tokenizer.ggml.merges");
  const json* types = ListOf(metadata, "tokenizer.ggml.token_type");
  const std::string cutter_name = TextOf(metadata, "tokenizer.ggml.pre", "default");
  const json cutter = WordCutter(cutter_name);
  if (kind != "gpt2")
    texts.why =
        fmt::format("its vocabulary is of the kind '{}'; only byte-level pairs (gpt2) can be written as tokenizer.json",
                    Printable(kind, 40));
  else if (tokens == nullptr || merges == nullptr || types == nullptr) texts.why = "its vocabulary is not complete";
  else if (cutter.is_null())
    texts.why = fmt::format("its way of cutting words ('{}') is not known", Printable(cutter_name, 40));
  if (!texts.why.empty()) return texts;
  texts.chat_template = TextOf(metadata, "tokenizer.chat_template", "");
  const bool whole_words_first = cutter_name == "llama-bpe" || cutter_name == "llama3" || cutter_name == "llama-v3";
  const json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  json decoder = level;
  decoder["add_prefix_space"] = true;
  const json tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr},
                          {"added_tokens", AddedTokens(*tokens, *types)},
                          {"normalizer", cutter_name == "qwen2" ? json{{"type", "NFC"}} : json(nullptr)},
                          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", cutter}}},
                          {"post_processor", level}, {"decoder", std::move(decoder)},
                          {"model", Model(*tokens, *merges, whole_words_first)}};
  texts.tokenizer = Written(tokenizer, -1);
  texts.configuration = Written(TokenizerConfiguration(gguf, *tokens, texts.chat_template), 2);
  return texts;
}

}  // namespace hone
