#include "worker/checkpoint/encoder_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/model_config.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr int64_t kMostTypes = 1 << 16;
constexpr int64_t kMostLabels = 1 << 20;
constexpr size_t kMostModules = 64;
constexpr const char* kWords = "embeddings.word_embeddings.weight";
constexpr const char* kModules = "modules.json";

struct EncoderRow {
  const char* stem;  // Of the architecture: "Bert" and "ForSequenceClassification" are one.
  const char* model_type;
  EncoderFamily family;
};
constexpr EncoderRow kEncoders[] = {
    {"Bert", "bert", EncoderFamily::bert},
    {"Roberta", "roberta", EncoderFamily::roberta},
    {"XLMRoberta", "xlm-roberta", EncoderFamily::roberta},
    {"Camembert", "camembert", EncoderFamily::roberta},
    {"DistilBert", "distilbert", EncoderFamily::distilbert},
    {"MPNet", "mpnet", EncoderFamily::mpnet},
};

struct ClassRow {
  std::string_view ending;
  EncoderHead::Type head;
};
constexpr ClassRow kClasses[] = {
    {"Model", EncoderHead::Type::none},
    {"ForSequenceClassification", EncoderHead::Type::sequence},
    {"ForTokenClassification", EncoderHead::Type::tokens},
};

// Where a checkpoint keeps its sizes under other names than BERT's.
struct SizeKeys {
  const char* hidden = "hidden_size";
  const char* intermediate = "intermediate_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* activation = "hidden_act";
};

// --- the class -------------------------------------------------------------------------------------------------------

// The family, and what of the architecture's name is left. A name that goes on otherwise than its classes do
// (RobertaPreLayerNormModel) is another family's.
const EncoderRow* FindEncoder(const ModelClass& named, std::string_view& ending) {
  ending = "Model";
  for (const EncoderRow& row : kEncoders) {
    if (!named.is_architecture && named.name == row.model_type) return &row;
    const std::string_view stem = row.stem;
    if (!named.is_architecture || !named.name.starts_with(stem)) continue;
    const std::string_view rest = std::string_view(named.name).substr(stem.size());
    if (rest != "Model" && !rest.starts_with("For")) continue;
    ending = rest;
    return &row;
  }
  return nullptr;
}

// transformers goes by the type where it opens a checkpoint, and the class tells the head: they must not disagree.
Result<> CheckModelType(const json& config, const EncoderRow& family) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) return {};
  const std::string name = type->get<std::string>();
  const auto row =
      std::find_if(std::begin(kEncoders), std::end(kEncoders), [&](const EncoderRow& known) {
        return name == known.model_type;
      });
  if (row != std::end(kEncoders) && row->family == family.family) return {};
  return Fail(ErrorCode::kRejected,
              fmt::format("config.json: 'architectures' names a {} model and 'model_type' is '{}'", family.stem,
                          Printable(name, 80)));
}

Result<EncoderHead> HeadOfClass(const std::string& architecture, std::string_view ending) {
  const auto row = std::find_if(std::begin(kClasses), std::end(kClasses),
                                [&](const ClassRow& known) { return known.ending == ending; });
  if (row == std::end(kClasses)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("config.json: the head of '{}' is not known", Printable(architecture, 80)),
                "Known are Model, ForSequenceClassification and ForTokenClassification. head=none builds the encoder "
                "without a head, head=mean a sentence embedder.");
  }
  EncoderHead head;
  head.type = row->head;
  return head;
}

// --- sizes -----------------------------------------------------------------------------------------------------------

EncoderActivation ReadActivation(JsonReader& reader, const char* key) {
  constexpr std::pair<std::string_view, EncoderActivation> kActivations[] = {
      {"gelu", EncoderActivation::gelu},
      {"gelu_new", EncoderActivation::gelu_tanh},
      {"gelu_pytorch_tanh", EncoderActivation::gelu_tanh},
      {"gelu_fast", EncoderActivation::gelu_tanh},
      {"relu", EncoderActivation::relu},
  };
  const std::string name = reader.Text(key, "gelu");
  for (const auto& [known, activation] : kActivations) {
    if (name == known) return activation;
  }
  reader.Refuse(fmt::format("the activation '{}' is not known; gelu, gelu_new, gelu_pytorch_tanh and relu are",
                            Printable(name, 60)));
  return EncoderActivation::gelu;
}

// What would make another graph of the same tensors.
void RefuseVariants(JsonReader& reader, EncoderFamily family) {
  const std::string positions = reader.Text("position_embedding_type", "absolute");
  if (positions != "absolute")
    reader.Refuse(fmt::format("the position_embedding_type '{}' is not known; absolute is", Printable(positions, 60)));
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (reader.Bool(key, false)) reader.Refuse(fmt::format("'{}' is true: the model is no encoder", key));
  }
  constexpr int64_t kBuckets = 32;
  if (family == EncoderFamily::mpnet &&
      reader.Int("relative_attention_num_buckets", kBuckets, 1, kMostVocabulary) != kBuckets)
    reader.Refuse(fmt::format("'relative_attention_num_buckets' is not {}", kBuckets));
}

void ReadSizes(JsonReader& reader, EncoderConfig& read) {
  constexpr SizeKeys kDistilbert = {"dim", "hidden_dim", "n_layers", "n_heads", "activation"};
  const bool distilbert = read.family == EncoderFamily::distilbert;
  const SizeKeys keys = distilbert ? kDistilbert : SizeKeys();
  read.hidden = reader.Int(keys.hidden, std::nullopt, 1, kMostWidth);
  read.intermediate = reader.Int(keys.intermediate, std::nullopt, 1, kMostWidth);
  read.layers = reader.Int(keys.layers, std::nullopt, 1, kMostLayers);
  read.heads = reader.Int(keys.heads, std::nullopt, 1, kMostHeads);
  read.vocabulary = reader.Int("vocab_size", std::nullopt, 1, kMostVocabulary);
  read.positions = reader.Int("max_position_embeddings", 512, 1, kMostPositions);
  read.activation = ReadActivation(reader, keys.activation);
  if (read.hidden % read.heads != 0)
    reader.Refuse(fmt::format("{} elements cannot be parted into {} heads", read.hidden, read.heads));
  if (!distilbert) read.epsilon = reader.Real("layer_norm_eps", 1e-12, 0, 1);
  const bool typed = read.family == EncoderFamily::bert || read.family == EncoderFamily::roberta;
  if (typed) read.types = reader.Int("type_vocab_size", 2, 1, kMostTypes);
  // MPNet counts from 1, whatever its configuration says.
  if (read.family == EncoderFamily::roberta) read.padding = reader.Int("pad_token_id", 1, 0, kMostVocabulary);
  if (read.family == EncoderFamily::mpnet) read.padding = 1;
  const bool counted = read.family == EncoderFamily::roberta || read.family == EncoderFamily::mpnet;
  if (counted && (read.padding >= read.vocabulary || read.padding + 1 >= read.positions))
    reader.Refuse(fmt::format("positions begin behind that of the token {} that pads, and there are {} of them",
                              read.padding, read.positions));
}

// --- sentence embedders ----------------------------------------------------------------------------------------------

struct PoolingRow {
  const char* name;  // As later versions write it ...
  const char* key;   // ... and earlier ones; in the order in which they are laid side by side.
  std::optional<Pooling> pooling;
};
const PoolingRow kPoolings[] = {
    {"cls", "pooling_mode_cls_token", Pooling::first},
    {"max", "pooling_mode_max_tokens", Pooling::largest},
    {"mean", "pooling_mode_mean_tokens", Pooling::mean},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Pooling::mean_root},
    {"weightedmean", "pooling_mode_weightedmean_tokens", std::nullopt},
    {"lasttoken", "pooling_mode_lasttoken", std::nullopt},
};

// Names of the poolings that a configuration asks for.
std::vector<std::string> PoolingNames(JsonReader& reader) {
  const json* named = reader.Find("pooling_mode");
  if (named != nullptr && named->is_string()) return {named->get<std::string>()};
  if (named != nullptr) return reader.Texts("pooling_mode", std::size(kPoolings));
  std::vector<std::string> names;
  for (const PoolingRow& row : kPoolings) {
    if (reader.Bool(row.key, false)) names.emplace_back(row.name);
  }
  // What sentence-transformers takes then.
  if (names.empty()) names.emplace_back("mean");
  return names;
}

Result<std::vector<Pooling>> ReadPoolings(const proto::LocalBundle& bundle, const std::string& path, int64_t hidden) {
  if (!IsBundled(bundle, path))
    return Fail(ErrorCode::kRejected, fmt::format("{} names the pooling '{}', which is not there", kModules,
                                                  Printable(path, 200)));
  TRY_ASSIGN(const json config, ReadBundledJson(bundle, path));
  JsonReader reader(config, path);
  const char* key = reader.Has("embedding_dimension") ? "embedding_dimension" : "word_embedding_dimension";
  const int64_t width = reader.Int(key, hidden, 1, kMostWidth);
  if (width != hidden) reader.Refuse(fmt::format("'{}' is {}; the encoder gives {}", key, width, hidden));
  std::vector<Pooling> poolings;
  const std::vector<std::string> names = PoolingNames(reader);
  for (const std::string& name : names) {
    const auto row = std::find_if(std::begin(kPoolings), std::end(kPoolings),
                                  [&](const PoolingRow& known) { return name == known.name; });
    if (row == std::end(kPoolings) || !row->pooling) {
      reader.Refuse(fmt::format("the pooling '{}' is not known; cls, max, mean and mean_sqrt_len_tokens are",
                                Printable(name, 60)));
      break;
    }
    if (std::find(poolings.begin(), poolings.end(), *row->pooling) != poolings.end())
      reader.Refuse(fmt::format("the pooling '{}' stands twice", name));
    poolings.push_back(*row->pooling);
  }
  if (names.empty()) reader.Refuse("'pooling_mode' is an empty list");
  TRY(reader.status());
  return poolings;
}

struct Module {
  std::string kind;  // The class without where it lies: Pooling
  std::string path;
};

Result<std::vector<Module>> ReadModules(const proto::LocalBundle& bundle) {
  TRY_ASSIGN(const std::string text, ReadBundled(bundle, kModules));
  TRY_ASSIGN(const json list, ParseJson(text, kModules, {.bytes = 1 << 20, .values = 10'000, .depth = 8}));
  if (!list.is_array() || list.empty() || list.size() > kMostModules)
    return Fail(ErrorCode::kRejected, fmt::format("{}: it is no list of 1 to {} modules", kModules, kMostModules));
  std::vector<Module> modules;
  for (const json& entry : list) {
    JsonReader reader(entry, kModules);
    const std::string type = reader.Text("type", "");
    Module& module = modules.emplace_back();
    module.kind = type.substr(type.rfind('.') + 1);
    module.path = reader.Text("path", "");
    TRY(reader.status());
  }
  return modules;
}

// What follows the encoder, module by module; nothing where the encoder, with the head of its class, is the only one.
Result<std::optional<EncoderHead>> ReadSentenceHead(const proto::LocalBundle& bundle, int64_t hidden) {
  if (!IsBundled(bundle, kModules)) return std::optional<EncoderHead>();
  const auto refuse = [](const std::string& why) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: {}", kModules, why),
                "head=none builds the encoder alone, head=mean, cls or max a pooling of hone's own.");
  };
  TRY_ASSIGN(const std::vector<Module> modules, ReadModules(bundle));
  EncoderHead head;
  head.type = EncoderHead::Type::sentence;
  if (modules.front().kind != "Transformer") return refuse("the first module is no Transformer");
  if (!modules.front().path.empty())
    return refuse(fmt::format("the encoder lies in '{}'; give that folder", Printable(modules.front().path, 200)));
  if (modules.size() == 1) return std::optional<EncoderHead>();
  for (size_t i = 1; i < modules.size(); ++i) {
    const Module& module = modules[i];
    if (head.normalized) return refuse("a module follows the normalization");
    if (module.kind == "Pooling" && head.poolings.empty()) {
      TRY_ASSIGN(head.poolings, ReadPoolings(bundle, module.path + "/config.json", hidden));
    } else if (module.kind == "Normalize" && !head.poolings.empty()) {
      head.normalized = true;
    } else {
      return refuse(fmt::format("the module '{}' is not known in this place; Transformer, Pooling and Normalize are, "
                                "in this order",
                                Printable(module.kind, 80)));
    }
  }
  return std::optional<EncoderHead>(head);
}

// --- tensors ---------------------------------------------------------------------------------------------------------

// What stands before the names of the encoder's tensors.
Result<std::string> FindPrefix(const WeightMap& weights) {
  std::vector<std::string> prefixes;
  for (const auto& [name, weight] : weights) {
    if (!name.ends_with(kWords)) continue;
    const std::string prefix = name.substr(0, name.size() - std::string_view(kWords).size());
    if (prefix.empty() || prefix.ends_with('.')) prefixes.push_back(prefix);
  }
  if (prefixes.empty()) return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' is missing", kWords));
  if (prefixes.size() > 1) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the checkpoint holds {} encoders: '{}{}' and '{}{}'", prefixes.size(),
                            Printable(prefixes[0], 100), kWords, Printable(prefixes[1], 100), kWords));
  }
  return prefixes.front();
}

// As the configuration tells, else as many as the last matrix has rows.
Result<int64_t> CountLabels(JsonReader& reader, const EncoderConfig& read, const WeightMap& weights) {
  const json* names = reader.Find("id2label");
  if (names != nullptr && names->is_object() && !names->empty() && names->size() <= kMostLabels)
    return static_cast<int64_t>(names->size());
  const int64_t told = reader.Int("num_labels", 0, 0, kMostLabels);
  TRY(reader.status());
  if (told > 0) return told;
  const bool apart = read.head.type == EncoderHead::Type::sequence &&
                     (read.family == EncoderFamily::roberta || read.family == EncoderFamily::mpnet);
  const char* name = apart ? "classifier.out_proj.weight" : "classifier.weight";
  const auto found = weights.find(name);
  if (found == weights.end()) return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' is missing", name));
  return found->second.shape.empty() ? int64_t{1} : found->second.shape.front();
}

bool HasLogits(const EncoderHead& head) {
  return head.type == EncoderHead::Type::sequence || head.type == EncoderHead::Type::tokens;
}

}  // namespace

bool IsEncoder(const json& config) {
  std::string_view ending;
  const ModelClass named = ClassOf(config);
  return FindEncoder(named, ending) != nullptr;
}

std::string KnownEncoders() {
  std::vector<std::string> names;
  for (const EncoderRow& row : kEncoders) names.push_back(std::string(row.stem) + "Model");
  return Join(names, ", ") + ", and their ForSequenceClassification and ForTokenClassification";
}

Result<EncoderConfig> ReadEncoderConfig(const Checkpoint& checkpoint, const proto::LocalBundle& bundle,
                                        const std::optional<EncoderHead>& head) {
  const ModelClass named = ClassOf(checkpoint.config);
  std::string_view ending;
  const EncoderRow* row = FindEncoder(named, ending);
  if (row == nullptr) return Fail(UnknownArchitecture(named.name, KnownEncoders()));
  TRY(CheckModelType(checkpoint.config, *row));
  JsonReader reader(checkpoint.config, "config.json");
  TRY(RefuseQuantized(reader));
  EncoderConfig read;
  read.family = row->family;
  read.architecture = named.is_architecture ? named.name : std::string(row->stem) + "Model";
  RefuseVariants(reader, read.family);
  ReadSizes(reader, read);
  TRY(reader.status());
  std::optional<EncoderHead> told = head;
  if (!told) {
    TRY_ASSIGN(told, ReadSentenceHead(bundle, read.hidden));
  }
  if (told) {
    read.head = *told;
  } else {
    TRY_ASSIGN(read.head, HeadOfClass(named.name, ending));
  }
  TRY_ASSIGN(read.prefix, FindPrefix(checkpoint.weights));
  read.has_pooler = read.family != EncoderFamily::distilbert &&
                    checkpoint.weights.contains(read.prefix + "pooler.dense.weight");
  if (HasLogits(read.head)) {
    TRY_ASSIGN(read.head.labels, CountLabels(reader, read, checkpoint.weights));
  }
  return read;
}

std::vector<EncoderPort> EncoderInputs(const EncoderConfig& config) {
  const std::vector<std::string> dims = {"batch_size", "sequence_length"};
  std::vector<EncoderPort> inputs = {{"input_ids", dims}, {"attention_mask", dims}};
  if (config.types > 1) inputs.push_back({"token_type_ids", dims});
  return inputs;
}

std::vector<EncoderPort> EncoderOutputs(const EncoderConfig& config) {
  const std::string hidden = std::to_string(config.hidden);
  const std::string labels = std::to_string(config.head.labels);
  switch (config.head.type) {
    case EncoderHead::Type::sentence: {
      const auto parts = static_cast<int64_t>(config.head.poolings.size());
      return {{"sentence_embedding", {"batch_size", std::to_string(parts * config.hidden)}}};
    }
    case EncoderHead::Type::sequence:
      return {{"logits", {"batch_size", labels}}};
    case EncoderHead::Type::tokens:
      return {{"logits", {"batch_size", "sequence_length", labels}}};
    case EncoderHead::Type::none:
      break;
  }
  std::vector<EncoderPort> outputs = {{"last_hidden_state", {"batch_size", "sequence_length", hidden}}};
  if (config.has_pooler) outputs.push_back({"pooler_output", {"batch_size", hidden}});
  return outputs;
}

}  // namespace hone
