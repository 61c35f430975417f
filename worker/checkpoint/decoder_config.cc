#include "worker/checkpoint/decoder_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/model_config.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr double kMostFactor = 1e6;

struct FamilyRow {
  const char* architecture;
  const char* model_type;
  const char* genai_type;
  Family family;
};
constexpr FamilyRow kFamilies[] = {
    {"LlamaForCausalLM", "llama", "llama", Family::llama},
    {"MistralForCausalLM", "mistral", "mistral", Family::mistral},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", Family::qwen2},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", Family::qwen3},
    {"Phi3ForCausalLM", "phi3", "phi3", Family::phi3},
    {"GemmaForCausalLM", "gemma", "gemma", Family::gemma},
    {"Gemma2ForCausalLM", "gemma2", "gemma2", Family::gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", "gemma3_text", Family::gemma3},
    {"SmolLM3ForCausalLM", "smollm3", "smollm3", Family::smollm3},
    {"GraniteForCausalLM", "granite", "granite", Family::granite},
};

const FamilyRow* FindFamily(const ModelClass& named) {
  const auto row = std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const FamilyRow& known) {
    return named.name == (named.is_architecture ? known.architecture : known.model_type);
  });
  return row == std::end(kFamilies) ? nullptr : &*row;
}

bool IsGemma(Family family) { return family == Family::gemma || family == Family::gemma2 || family == Family::gemma3; }

Activation ReadActivation(JsonReader& reader, Family family) {
  // Old Gemma files say "gelu" in hidden_act and mean its approximation.
  const char* key = reader.Has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const bool meant = IsGemma(family) && !reader.Has("hidden_activation");
  const std::string name =
      meant ? "gelu_pytorch_tanh" : reader.Text(key, IsGemma(family) ? "gelu_pytorch_tanh" : "silu");
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::gelu_tanh;
  reader.Refuse(
      fmt::format("the activation '{}' is not known; silu, gelu and gelu_pytorch_tanh are", Printable(name, 60)));
  return Activation::silu;
}

// --- rotary embeddings
// ---------------------------------------------------------------------------------------------------

// What the model as a whole says that a rule may leave out.
struct RopeDefaults {
  double theta = 10000;
  double partial = 1;
  std::optional<int64_t> original;
  int64_t positions = 0;
  int64_t head_size = 0;
};

std::optional<RopeType> RopeTypeOf(const std::string& name) {
  constexpr std::pair<std::string_view, RopeType> kRopeTypes[] = {
      {"default", RopeType::plain}, {"dynamic", RopeType::plain}, {"linear", RopeType::linear},
      {"llama3", RopeType::llama3}, {"yarn", RopeType::yarn},     {"longrope", RopeType::longrope},
      {"su", RopeType::longrope},
  };
  for (const auto& [known, type] : kRopeTypes) {
    if (known == name) return type;
  }
  return std::nullopt;
}

void ReadLongFactors(JsonReader& reader, RopeRule& rule) {
  const auto pairs = static_cast<size_t>(rule.dimensions / 2);
  rule.short_factors = reader.Reals("short_factor", pairs, 1e-6, kMostFactor);
  rule.long_factors = reader.Reals("long_factor", pairs, 1e-6, kMostFactor);
  if (rule.short_factors.size() != pairs || rule.long_factors.size() != pairs)
    reader.Refuse(
        fmt::format("short_factor and long_factor must have {} numbers each, half of what is turned of a head", pairs));
}

Result<RopeRule> ReadRope(const json& written, const RopeDefaults& defaults) {
  RopeRule rule;
  JsonReader reader(written, "config.json: rotary embedding");
  const std::string name = reader.Text("rope_type", reader.Text("type", "default"));
  const auto type = RopeTypeOf(name);
  if (!type) {
    return Fail(ErrorCode::kRejected,
                fmt::format("config.json: the rotary embedding '{}' is not known", Printable(name, 60)),
                "Known are default, linear, dynamic, llama3, yarn and longrope.");
  }
  rule.type = *type;
  rule.theta = reader.Real("rope_theta", defaults.theta, 1, 1e12);
  const double partial = reader.Real("partial_rotary_factor", defaults.partial, 0.01, 1);
  rule.dimensions = static_cast<int64_t>(static_cast<double>(defaults.head_size) * partial);
  if (rule.dimensions % 16 != 0)
    reader.Refuse(fmt::format("{} of the {} elements of a head are turned; the runtimes take multiples of 16",
                              rule.dimensions, defaults.head_size));
  const int64_t given = reader.Int("original_max_position_embeddings", defaults.positions, 1, kMostPositions);
  rule.original_positions = defaults.original.value_or(given);
  const bool scales = rule.type == RopeType::linear || rule.type == RopeType::llama3;
  const double stretched = static_cast<double>(defaults.positions) / static_cast<double>(rule.original_positions);
  rule.factor = reader.Real("factor",
                            scales                         ? std::optional<double>()
                            : rule.type == RopeType::plain ? 1
                                                           : stretched,
                            1e-3, kMostFactor);
  if (rule.type == RopeType::llama3) {
    rule.low_frequency = reader.Real("low_freq_factor", std::nullopt, 1e-3, kMostFactor);
    rule.high_frequency = reader.Real("high_freq_factor", std::nullopt, 1e-3, kMostFactor);
    if (!(rule.high_frequency > rule.low_frequency)) reader.Refuse("high_freq_factor must be above low_freq_factor");
  }
  if (rule.type == RopeType::yarn) {
    rule.beta_fast = reader.Real("beta_fast", 32, 1e-3, kMostFactor);
    rule.beta_slow = reader.Real("beta_slow", 1, 1e-3, kMostFactor);
    rule.truncate = reader.Bool("truncate", true);
    rule.mscale = reader.Real("mscale", 0, 0, 1000);
    rule.mscale_all = reader.Real("mscale_all_dim", 0, 0, 1000);
    if (rule.theta <= 1) reader.Refuse("rope_theta must be above 1");
  }
  if (rule.type == RopeType::yarn || rule.type == RopeType::longrope) {
    if (reader.Has("attention_factor")) rule.attention_factor = reader.Real("attention_factor", 1, 1e-3, 1000);
  }
  if (rule.type == RopeType::longrope) ReadLongFactors(reader, rule);
  TRY(reader.status());
  return rule;
}

Result<> ReadRopes(JsonReader& reader, DecoderConfig& read) {
  static const json kNone = json::object();
  RopeDefaults defaults;
  const bool gemma3 = read.family == Family::gemma3;
  defaults.theta = reader.Real("rope_theta", gemma3 ? 1e6 : 10000, 1, 1e12);
  defaults.partial = reader.Real("partial_rotary_factor", 1, 0.01, 1);
  if (reader.Has("original_max_position_embeddings"))
    defaults.original = reader.Int("original_max_position_embeddings", 1, 1, kMostPositions);
  defaults.positions = read.positions;
  defaults.head_size = read.head_size;
  TRY(reader.status());
  const json* parameters = reader.Find("rope_parameters");
  const json* scaling = reader.Find("rope_scaling");
  const json& flat = parameters != nullptr ? *parameters : scaling != nullptr ? *scaling : kNone;
  const auto nested = [&](const char* key) -> const json& {
    const auto found = flat.is_object() ? flat.find(key) : flat.end();
    return flat.is_object() && found != flat.end() && found->is_object() ? *found : kNone;
  };
  const bool by_layer = flat.is_object() && (flat.contains("full_attention") || flat.contains("sliding_attention"));
  RopeDefaults local = defaults;
  if (gemma3) local.theta = reader.Real("rope_local_base_freq", 10000, 1, 1e12);
  TRY(reader.status());
  TRY_ASSIGN(read.rope, ReadRope(by_layer ? nested("full_attention") : flat, defaults));
  if (!by_layer && !gemma3) {
    read.local_rope = read.rope;
    return {};
  }
  TRY_ASSIGN(read.local_rope, ReadRope(by_layer ? nested("sliding_attention") : kNone, local));
  return {};
}

// --- layers
// --------------------------------------------------------------------------------------------------------------

// Which layers are windowed where layer_types does not say.
bool IsWindowedByRule(const DecoderConfig& read, JsonReader& reader, int64_t layer) {
  switch (read.family) {
    case Family::gemma2:
      return layer % 2 == 0;
    case Family::gemma3: {
      const char* key = reader.Has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
      return (layer + 1) % reader.Int(key, 6, 1, kMostLayers) != 0;
    }
    case Family::qwen2:
    case Family::qwen3:
      return reader.Bool("use_sliding_window", false) && layer >= reader.Int("max_window_layers", 28, 0, kMostLayers);
    case Family::smollm3:
      return reader.Bool("use_sliding_window", false) && !read.rotary[static_cast<size_t>(layer)];
    case Family::mistral:
    case Family::phi3:
      return true;
    default:
      return false;
  }
}

void ReadLayers(JsonReader& reader, DecoderConfig& read) {
  const auto layers = static_cast<size_t>(read.layers);
  read.rotary.assign(layers, true);
  if (read.family == Family::smollm3) {
    const auto flags = reader.Ints("no_rope_layers", layers, 0, 1);
    const int64_t interval = reader.Int("no_rope_layer_interval", 4, 1, kMostLayers);
    if (!flags.empty() && flags.size() != layers)
      reader.Refuse(fmt::format("'no_rope_layers' has {} elements for {} layers", flags.size(), layers));
    for (size_t i = 0; i < layers; ++i)
      read.rotary[i] = flags.size() == layers ? flags[i] != 0 : static_cast<int64_t>(i + 1) % interval != 0;
  }
  read.window = reader.Int("sliding_window", 0, 0, kMostPositions);
  const auto types = reader.Texts("layer_types", layers);
  if (reader.Has("layer_types") && types.size() != layers)
    reader.Refuse(fmt::format("'layer_types' has {} elements for {} layers", types.size(), layers));
  read.windowed.assign(layers, false);
  for (size_t i = 0; i < layers; ++i) {
    if (types.size() == layers) {
      if (types[i] != "full_attention" && types[i] != "sliding_attention")
        reader.Refuse(fmt::format("the layer type '{}' is not known; full_attention and sliding_attention are",
                                  Printable(types[i], 60)));
      read.windowed[i] = types[i] == "sliding_attention";
    } else {
      read.windowed[i] = read.window > 0 && IsWindowedByRule(read, reader, static_cast<int64_t>(i));
    }
  }
  const bool any = std::find(read.windowed.begin(), read.windowed.end(), true) != read.windowed.end();
  if (any && read.window == 0) reader.Refuse("layers are windowed, but 'sliding_window' is missing");
}

void ReadSizes(JsonReader& reader, DecoderConfig& read) {
  read.hidden = reader.Int("hidden_size", std::nullopt, 1, kMostWidth);
  read.intermediate = reader.Int("intermediate_size", std::nullopt, 1, kMostWidth);
  read.layers = reader.Int("num_hidden_layers", std::nullopt, 1, kMostLayers);
  read.heads = reader.Int("num_attention_heads", std::nullopt, 1, kMostHeads);
  read.kv_heads = reader.Int("num_key_value_heads", read.heads, 1, kMostHeads);
  read.head_size = reader.Int("head_dim", std::max<int64_t>(1, read.hidden / read.heads), 1, kMostHeadSize);
  read.vocabulary = reader.Int("vocab_size", std::nullopt, 1, kMostVocabulary);
  read.positions = reader.Int("max_position_embeddings", std::nullopt, 1, kMostPositions);
  if (read.heads % read.kv_heads != 0)
    reader.Refuse(fmt::format("{} heads cannot share {} heads of keys and values evenly", read.heads, read.kv_heads));
}

void ReadScales(JsonReader& reader, DecoderConfig& read) {
  const double by_head = 1 / std::sqrt(static_cast<double>(read.head_size));
  read.attention_scale = by_head;
  if (read.family == Family::gemma2 || read.family == Family::gemma3)
    read.attention_scale = 1 / std::sqrt(reader.Real("query_pre_attn_scalar", std::nullopt, 1e-6, 1e9));
  if (IsGemma(read.family)) read.embedding_scale = std::sqrt(static_cast<double>(read.hidden));
  if (read.family == Family::gemma2) {
    read.attention_softcap = reader.Real("attn_logit_softcapping", 0, 0, 1e6);
    read.final_softcap = reader.Real("final_logit_softcapping", 0, 0, 1e6);
  }
  if (read.family != Family::granite) return;
  read.attention_scale = reader.Real("attention_multiplier", 1, 1e-9, 1e6);
  read.embedding_scale = reader.Real("embedding_multiplier", 1, 1e-9, 1e6);
  read.residual_scale = reader.Real("residual_multiplier", 1, 1e-9, 1e6);
  read.logit_scale = 1 / reader.Real("logits_scaling", 1, 1e-9, 1e6);
}

void ReadTokens(JsonReader& reader, DecoderConfig& read) {
  const auto token = [&](const char* key) {
    const auto values = reader.Ints(key, 64, -1, kMostVocabulary);
    return values.empty() || values[0] < 0 ? std::optional<int64_t>() : values[0];
  };
  read.bos = token("bos_token_id");
  read.pad = token("pad_token_id");
  for (const int64_t id : reader.Ints("eos_token_id", 64, -1, kMostVocabulary)) {
    if (id >= 0) read.eos.push_back(id);
  }
}

}  // namespace

std::string KnownDecoders() {
  std::vector<std::string> names;
  for (const FamilyRow& row : kFamilies) names.emplace_back(row.architecture);
  return Join(names, ", ");
}

bool IsDecoder(const json& config) { return FindFamily(ClassOf(config)) != nullptr; }

Result<DecoderConfig> ReadDecoderConfig(const json& config, bool is_gguf) {
  const ModelClass named = ClassOf(config);
  const FamilyRow* row = FindFamily(named);
  if (row == nullptr) return Fail(UnknownArchitecture(named.name, KnownDecoders()));
  JsonReader reader(config, "config.json");
  TRY(RefuseQuantized(reader));
  DecoderConfig read;
  read.family = row->family;
  read.architecture = row->architecture;
  read.type = row->genai_type;
  ReadSizes(reader, read);
  TRY(reader.status());
  read.epsilon = reader.Real("rms_norm_eps", 1e-6, 0, 1);
  read.tied = reader.Bool("tie_word_embeddings", IsGemma(read.family));
  read.activation = ReadActivation(reader, read.family);
  read.norm_adds_one = IsGemma(read.family) && !is_gguf;
  read.four_norms = read.family == Family::gemma2 || read.family == Family::gemma3;
  read.head_norms = read.family == Family::qwen3 || read.family == Family::gemma3;
  if (is_gguf && read.four_norms && !reader.Has("query_pre_attn_scalar")) {
    // GGUF files of these families do not tell the scale: it is that of the head, but in the models of 27 billion
    // weights.
    const bool largest = read.layers == (read.family == Family::gemma2 ? 46 : 62);
    json told = config;
    told["query_pre_attn_scalar"] = largest ? read.hidden / read.heads : read.head_size;
    return ReadDecoderConfig(told, is_gguf);
  }
  ReadScales(reader, read);
  ReadLayers(reader, read);
  ReadTokens(reader, read);
  TRY(reader.status());
  TRY(ReadRopes(reader, read));
  return read;
}

}  // namespace hone
