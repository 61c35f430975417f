// Olive's run configurations of every era, 0.2 to today. Keys may stand flat or beneath a nested map ("engine",
// "config", "user_config"), a pass may be a list of alternatives, a search may be written in the old form or the new.
// What each part becomes is in olive_*.cc; this file puts the parts together.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr size_t kMaxPasses = 256;
constexpr size_t kMaxAlternatives = 64;
constexpr const char* kCache = "hone names what it builds by content, so nothing stale is found";
constexpr const char* kLogs = "hone has its own logs; `hone optimize` keeps them beside the result";
constexpr const char* kOutput = "name the folder with -o";

// Keys at the top, or in `engine`.
struct TopRow {
  const char* key;
  const ConfigNode* Olive::* slot;  // Read later by its part; else the fate stands here.
  Fate fate;
  const char* text;
};
const TopRow kTop[] = {
    {"input_model", &Olive::input_model, Fate::done, ""},
    {"passes", &Olive::passes, Fate::done, ""},
    {"search_strategy", &Olive::search, Fate::done, ""},
    {"host", &Olive::host, Fate::done, ""},
    {"target", &Olive::target, Fate::done, ""},
    {"evaluator", &Olive::evaluator, Fate::done, ""},
    {"pass_flows", &Olive::pass_flows, Fate::done, ""},
    {"execution_providers", &Olive::providers, Fate::done, ""},
    {"systems", nullptr, Fate::done, ""},
    {"data_configs", nullptr, Fate::done, ""},
    {"evaluators", nullptr, Fate::done, ""},
    {"metrics", nullptr, Fate::done, ""},
    {"$schema", nullptr, Fate::ignored, "for editors alone"},
    {"workflow_id", nullptr, Fate::ignored, "--name names a job"},
    {"evaluate_input_model", nullptr, Fate::done, "hone always measures the original beside the candidates"},
    {"evaluation_only", nullptr, Fate::done, "without passes hone compares the original model on every backend"},
    {"output_dir", nullptr, Fate::changed, kOutput},
    {"output_name", nullptr, Fate::changed, kOutput},
    {"packaging_config", nullptr, Fate::changed, "hone writes the best models and result.json into a plain folder"},
    {"cache_config", nullptr, Fate::ignored, kCache},
    {"cache_dir", nullptr, Fate::ignored, kCache},
    {"clean_cache", nullptr, Fate::ignored, kCache},
    {"clean_evaluation_cache", nullptr, Fate::ignored, kCache},
    {"enable_shared_cache", nullptr, Fate::ignored, "a coordinator's workers share what they build"},
    {"update_shared_cache", nullptr, Fate::ignored, "a coordinator's workers share what they build"},
    {"plot_pareto_frontier", nullptr, Fate::ignored, "`hone pareto` shows the front"},
    {"no_artifacts", nullptr, Fate::ignored, "hone writes result.json beside the model"},
    {"log_severity_level", nullptr, Fate::ignored, kLogs},
    {"ort_log_severity_level", nullptr, Fate::ignored, kLogs},
    {"ort_py_log_severity_level", nullptr, Fate::ignored, kLogs},
    {"log_to_file", nullptr, Fate::ignored, kLogs},
    {"verbose", nullptr, Fate::ignored, kLogs},
    {"max_concurrent_builds", nullptr, Fate::ignored, "every worker builds at once"},
    {"builds", nullptr, Fate::impossible, "give each build a configuration of its own"},
    {"auto_optimizer_config", nullptr, Fate::changed,
     "without a recipe hone searches its built-in one: hone optimize MODEL -o DIR"},
    {"workflow_host", nullptr, Fate::ignored, "hone submit gives a job to a coordinator"},
    {"azureml_client", nullptr, Fate::ignored, "hone's workers need no Azure"},
    {"data_root", nullptr, Fate::changed, "paths of data are relative to the recipe"},
    {"name", nullptr, Fate::ignored, "--name names a job"},
    {"description", nullptr, Fate::ignored, "a remark"},
};

const TopRow* FindTop(const std::string& key) {
  for (const TopRow& row : kTop) {
    if (key == row.key) return &row;
  }
  return nullptr;
}

// --- named parts ---------------------------------------------------------------------------------

Result<> CollectMap(const ConfigNode& node, std::map<std::string, const ConfigNode*>& into) {
  if (node.IsNull()) return {};
  if (!node.IsMap()) return WrongKind(node, "a map of names");
  for (const ConfigEntry& entry : node.entries) into[entry.key] = &entry.value;
  return {};
}

// A list of maps with a name each; older configurations have a map by name.
Result<> CollectList(Ledger& ledger, const ConfigNode& node, std::map<std::string, const ConfigNode*>& into) {
  if (!node.IsList()) return CollectMap(node, into);
  if (node.items.empty()) ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigNode& item : node.items) {
    if (item.IsText()) {
      ledger.Tell(item, Fate::changed, "is defined in a program");
      continue;
    }
    const ConfigNode* name = item.Find("name");
    if (name == nullptr) return FailAt(item, fmt::format("'{}' has no key 'name'", item.path));
    TRY_ASSIGN(const std::string text, TextOf(*name));
    if (into.contains(text)) return FailAt(*name, fmt::format("the name '{}' is given twice", Printable(text, 80)));
    into[text] = &item;
  }
  return {};
}

Result<> Collect(Olive& olive, const Section& top) {
  std::vector<std::string> known;
  for (const TopRow& row : kTop) known.emplace_back(row.key);
  for (const Field& field : top.fields()) {
    const TopRow* row = FindTop(field.key);
    if (row == nullptr) {
      olive.ledger.TellUnknown(*field.node, field.key, known);
    } else if (row->slot != nullptr && field.node->IsNull()) {
      olive.ledger.Tell(*field.node, Fate::ignored, "null is the default");
    } else if (row->slot != nullptr) {
      olive.*(row->slot) = field.node;
    } else if (field.key == "systems") {
      TRY(CollectMap(*field.node, olive.systems));
    } else if (field.key == "evaluators") {
      TRY(CollectMap(*field.node, olive.evaluators));
    } else if (field.key == "data_configs") {
      TRY(CollectList(olive.ledger, *field.node, olive.data_configs));
    } else if (field.key == "metrics") {
      TRY(CollectList(olive.ledger, *field.node, olive.metrics));
    } else {
      olive.ledger.Tell(*field.node, field.node->IsNull() ? Fate::ignored : row->fate, row->text);
    }
  }
  for (const char* key : {"systems", "evaluators", "data_configs", "metrics"}) {
    const ConfigNode* node = top.Find(key);
    if (node != nullptr && (node->IsNull() || (node->IsMap() && node->entries.empty())))
      olive.ledger.Tell(*node, Fate::ignored, "is empty");
  }
  return {};
}

// --- the model -----------------------------------------------------------------------------------

struct ModelState {
  Olive& olive;
  Ledger& ledger;
  std::string type = {};
  std::string path = {};
  const ConfigNode* path_node = nullptr;
  std::string file = {};  // Within the path.
};

bool IsOnnx(const ModelState& state) { return state.type == "onnx"; }

// Files of the configuration's folder alone: a configuration from elsewhere must not make hone read what lies outside.
bool IsInside(const std::string& path) {
  const std::filesystem::path plain = std::filesystem::path(path).lexically_normal();
  return plain.is_relative() && (plain.empty() || *plain.begin() != "..");
}

Result<> TakePath(ModelState& state, const ConfigNode& node) {
  // A path, or {"type": "file", "config": {"path": ...}}.
  const ConfigNode* text = &node;
  if (node.IsMap()) {
    TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "config", state.ledger));
    text = section.Find("path");
    if (text == nullptr) {
      state.ledger.Tell(node, Fate::changed, "hone takes files: name the model on the command line");
      return {};
    }
  }
  TRY_ASSIGN(state.path, TextOf(*text));
  state.path_node = &node;
  return {};
}

struct ModelType {
  const char* name;
  const char* type;
};
constexpr ModelType kModelTypes[] = {{"onnxmodel", "onnx"},
                                     {"openvinomodel", "openvino"},
                                     {"tensorflowmodel", "tensorflow"},
                                     {"hfmodel", "python"},
                                     {"pytorchmodel", "python"},
                                     {"compositemodel", "parts"},
                                     {"compositepytorchmodel", "parts"},
                                     {"compositeonnxmodel", "parts"},
                                     {"diffusersmodel", "python"},
                                     {"distributedhfmodel", "python"},
                                     {"distributedonnxmodel", "parts"},
                                     {"distributedpytorchmodel", "python"},
                                     {"qnnmodel", "vendor"},
                                     {"snpemodel", "vendor"},
                                     {"qairtmodel", "vendor"},
                                     {"qairtpreparedmodel", "vendor"},
                                     {"optimummodel", "python"},
                                     {"tfmodel", "tensorflow"}};

Result<> TakeModelType(ModelState& state, const ConfigNode& node) {
  TRY_ASSIGN(const std::string given, TextOf(node));
  std::vector<std::string> known;
  for (const ModelType& row : kModelTypes) {
    known.emplace_back(row.name);
    if (Lower(given) == row.name) state.type = row.type;
  }
  if (state.type.empty()) {
    return FailAt(node,
                  fmt::format("there is no model type '{}'{}", Printable(given, 80), DidYouMean(Lower(given), known)));
  }
  return {};
}

void TellModelType(ModelState& state, const ConfigNode& node) {
  if (state.type == "onnx" || state.type == "openvino" || state.type == "tensorflow") {
    state.ledger.Tell(node, Fate::done, "model");
  } else if (state.type == "python" && state.olive.import.build) {
    state.ledger.Tell(node, Fate::done, state.olive.import.build->pass());
  } else if (state.type == "python") {
    state.olive.import.Give("the model as an ONNX file, on the command line");
    state.ledger.Tell(node, Fate::changed,
                      "export the model once, and give the ONNX file; or name the checkpoint's folder (config.json and "
                      "safetensors) as the model, where hone builds its architecture");
  } else if (state.type == "parts") {
    state.ledger.Tell(node, Fate::changed, "hone works on one model at a time: give each part, with this recipe");
  } else {
    state.ledger.Tell(node, Fate::impossible,
                      "a compiled model cannot be changed: give the ONNX file that it was compiled from");
  }
}

// One dimension may change: {"0": "batch"} or ["batch", null].
void NameDimensions(Import& import, const std::string& input, const ConfigNode& axes) {
  const auto name = [&](const std::string& axis, const ConfigNode& value) {
    const Result<int64_t> index = ParseInteger(axis);
    if (!index || *index < 0 || *index > 15) return;
    if (value.IsText()) import.named_dimensions[value.value.text()].emplace_back(input, static_cast<int>(*index));
  };
  for (const ConfigEntry& entry : axes.entries) name(entry.key, entry.value);
  for (size_t i = 0; i < axes.items.size(); ++i) name(std::to_string(i), axes.items[i]);
}

bool IsFree(const ConfigNode* axes, size_t dimension) {
  if (axes == nullptr) return false;
  return axes->Find(std::to_string(dimension)) != nullptr ||
         (dimension < axes->items.size() && !axes->items[dimension].IsNull());
}

Result<> TakeInputs(ModelState& state, const ConfigNode& io) {
  Import& import = state.olive.import;
  const ConfigNode* names_node = io.Find("input_names");
  const ConfigNode* shapes = io.Find("input_shapes");
  const ConfigNode* axes = io.Find("dynamic_axes") != nullptr ? io.Find("dynamic_axes") : io.Find("dynamic_shapes");
  if (names_node == nullptr || names_node->IsNull()) return {};
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(*names_node));
  for (size_t i = 0; i < names.size(); ++i) {
    const ConfigNode* own = axes == nullptr ? nullptr : axes->Find(names[i]);
    if (own != nullptr) NameDimensions(import, names[i], *own);
    if (shapes == nullptr || !shapes->IsList() || i >= shapes->items.size() || !shapes->items[i].IsList()) continue;
    const std::vector<ConfigNode>& dims = shapes->items[i].items;
    for (size_t d = 0; d < dims.size() && d < 16; ++d) {
      TRY_ASSIGN(const int64_t size, IntOf(dims[d], INT32_MIN, INT32_MAX));
      if (size >= 1 && !IsFree(own, d)) import.Pin(names[i], d, size);
    }
  }
  return {};
}

Result<> TakeIoConfig(ModelState& state, const ConfigNode& node) {
  if (!node.IsMap()) {  // The name of a Python function.
    state.ledger.Tell(node, Fate::changed, "hone reads inputs and outputs from the ONNX file");
    return {};
  }
  TRY(TakeInputs(state, node));
  static constexpr const char* kInputs[] = {"input_names", "input_shapes", "dynamic_axes", "dynamic_shapes"};
  static constexpr const char* kRest[] = {
      "input_types", "output_names", "output_shapes", "output_types", "string_to_int_dim_params", "kv_cache"};
  std::vector<std::string> known(std::begin(kInputs), std::end(kInputs));
  known.insert(known.end(), std::begin(kRest), std::end(kRest));
  for (const ConfigEntry& entry : node.entries) {
    if (std::any_of(std::begin(kInputs), std::end(kInputs), [&](const char* key) { return entry.key == key; })) {
      state.ledger.Tell(entry.value, Fate::done, "inputs");
    } else if (std::any_of(std::begin(kRest), std::end(kRest), [&](const char* key) { return entry.key == key; })) {
      state.ledger.Tell(entry.value, Fate::ignored, "hone reads inputs and outputs from the model");
    } else {
      state.ledger.TellUnknown(entry.value, entry.key, known);
    }
  }
  if (node.entries.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  return {};
}

Result<> OfPython(ModelState& state, const ConfigNode& node) {
  const bool built = state.olive.import.build.has_value();
  state.ledger.Tell(node, IsOnnx(state) || built ? Fate::ignored : Fate::changed,
                    built ? "hone reads the checkpoint by itself"
                          : "of loading and exporting the checkpoint: the ONNX file takes its place");
  return {};
}
Result<> OfModel(ModelState& state, const ConfigNode& node) {
  state.ledger.Tell(node, Fate::ignored, "hone reads it from the model");
  return {};
}

const std::vector<Rule<ModelState>> kModel = {
    {"type", nullptr},
    {"model_path", TakePath},
    {"onnx_file_name",
     [](ModelState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(state.file, TextOf(node));
       state.ledger.Tell(node, Fate::done, "model");
       return {};
     }},
    {"io_config", TakeIoConfig},
    {"inference_settings",
     [](ModelState& state, const ConfigNode& node) { return ImportInferenceSettings(state.olive.import, node); }},
    {"task", OfPython},
    {"load_kwargs", OfPython},
    {"adapter_path", OfPython},
    {"test_model_path", OfPython},
    {"test_model_config", OfPython},
    {"model_file_format", OfPython},
    {"model_loader", OfPython},
    {"model_script", OfPython},
    {"script_dir", OfPython},
    {"dummy_inputs_func", OfPython},
    {"hf_config", OfPython},
    {"generative", OfPython},
    {"mlflow_transformer_model_cache_dir", OfPython},
    {"model_attributes", OfModel},
    {"use_ort_extensions", OfModel},
    {"external_initializers_file_name", OfModel},
    {"constant_inputs_file_name", OfModel},
    {"model_storage_kind", OfModel},
    {"name", OfModel},
    {"version", OfModel},
    {"is_file", OfModel},
    {"is_aml_model", OfModel},
    {"model_type", OfModel},
    {"inputs", OfModel},
    {"outputs", OfModel},
    {"num_ranks", OfModel},
    {"model_name_pattern", OfModel},
    {"model_variant", OfPython},
    {"model_components",
     [](ModelState& state, const ConfigNode& node) -> Result<> {
       state.ledger.Tell(node, Fate::changed, "hone works on one model at a time: give each part, with this recipe");
       return {};
     }},
    {"model_component_names", OfModel},
    {"components", OfPython},
    {"dataset", OfPython},
};

Result<> FinishModelPath(ModelState& state) {
  if (state.path_node == nullptr) return {};
  const bool file = state.type == "onnx" || state.type == "openvino" || state.type == "tensorflow";
  if (state.olive.import.options.model != nullptr) {
    state.ledger.Tell(*state.path_node, Fate::changed, "the model that was named takes its place");
    return {};
  }
  if (!file) {
    state.ledger.Tell(*state.path_node, Fate::changed, "name the ONNX file on the command line");
    return {};
  }
  std::string path = state.path;
  if (!state.file.empty()) path = (std::filesystem::path(path) / state.file).string();
  if (path.starts_with("https://") || path.starts_with("http://") || path.starts_with("azureml:")) {
    state.olive.import.Give(fmt::format("the model itself: hone fetches nothing ({})", Printable(path, 200)));
    state.ledger.Tell(*state.path_node, Fate::changed, "hone fetches nothing: name the file on the command line");
    return {};
  }
  if (!IsInside(path)) {
    state.ledger.Tell(*state.path_node, Fate::impossible,
                      "the path leaves the folder of the configuration, where hone reads nothing by itself: name the "
                      "model, with --model M for `hone import`, -m M for `hone olive`");
    return {};
  }
  // A folder without a file's name; what lies in it decides.
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension.empty() && state.type == "onnx") {
    state.olive.import.Give(fmt::format("the ONNX file in {}, on the command line", Printable(path, 200)));
    state.ledger.Tell(*state.path_node, Fate::changed, "a folder: name the ONNX file in it on the command line");
    return {};
  }
  state.olive.import.recipe.set_model(path);
  state.ledger.Tell(*state.path_node, Fate::done, "model");
  return {};
}

Result<std::string> ImportModel(Olive& olive) {
  ModelState state{olive, olive.ledger};
  if (olive.input_model == nullptr || olive.input_model->IsNull()) {
    olive.import.Give("the model, on the command line");
    return state.type;
  }
  TRY_ASSIGN(const Section section, Section::Open(*olive.input_model, "'input_model'", "config", olive.ledger));
  const ConfigNode* type = section.Find("type");
  if (type == nullptr) return FailAt(*olive.input_model, "'input_model' has no key 'type'");
  TRY(TakeModelType(state, *type));
  TRY(ApplyRules(section, kModel, state));
  TellModelType(state, *type);
  TRY(FinishModelPath(state));
  return state.type;
}

// --- the search ----------------------------------------------------------------------------------

struct SearchState {
  Olive& olive;
  Ledger& ledger;
  proto::Search& search;
};

Result<> TakeSampler(SearchState& state, const ConfigNode& node) {
  TRY_ASSIGN(
      const Converted sampler,
      ToWord(node, {{"sequential", "exhaustive"}, {"exhaustive", "exhaustive"}, {"random", "random"}, {"tpe", "tpe"}}));
  state.search.set_sampler(sampler.value.text());
  state.ledger.Tell(node, Fate::done, "search.sampler: " + state.search.sampler());
  return {};
}

Result<> TakeTrials(SearchState& state, const ConfigNode& node) {
  TRY_ASSIGN(const int64_t trials, IntOf(node, 0, 1'000'000));
  if (trials > 0 && (state.search.trials() == 0 || trials < state.search.trials()))
    state.search.set_trials(static_cast<uint32_t>(trials));
  state.ledger.Tell(node, Fate::done, trials == 0 ? "no bound" : "search.trials");
  return {};
}

template <Fate fate>
Result<> OfOlivesSearch(SearchState& state, const ConfigNode& node) {
  state.ledger.Tell(node, fate, "of Olive's search; hone's samplers need no such choice");
  return {};
}

Result<> TakeSamplerConfig(SearchState& state, const ConfigNode& node);

const std::vector<Rule<SearchState>> kSearch = {
    {"execution_order",
     [](SearchState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted order, ToWord(node, {{"joint", "joint"}, {"pass-by-pass", "pass_by_pass"}}));
       state.search.set_order(order.value.text());
       state.ledger.Tell(node, Fate::done, "search.order");
       return {};
     }},
    {"sampler", TakeSampler},
    {"search_algorithm", TakeSampler},
    {"search_algorithm_config", TakeSamplerConfig},
    {"max_samples", TakeTrials},
    {"num_samples", TakeTrials},
    {"max_iter", TakeTrials},
    {"seed",
     [](SearchState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const int64_t seed, IntOf(node, 0, INT64_MAX / 2));
       state.search.set_seed(static_cast<uint64_t>(seed));
       state.ledger.Tell(node, Fate::done, "search.seed");
       return {};
     }},
    {"max_time",
     [](SearchState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const double seconds, importers::RealOf(node));
       if (seconds < 0 || seconds > 1e9) return WrongKind(node, "seconds");
       state.search.set_time_ms(static_cast<uint64_t>(seconds * 1000));
       state.ledger.Tell(node, Fate::done, "search.time");
       return {};
     }},
    {"stop_when_goals_met",
     [](SearchState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(state.olive.stop_at_goals, BoolOf(node));
       state.ledger.Tell(node, Fate::done, state.olive.stop_at_goals ? "search.goal" : "no goal ends the search");
       return {};
     }},
    {"include_pass_params",
     [](SearchState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(state.olive.import.searching, BoolOf(node));
       state.ledger.Tell(node, Fate::done, "whether parameters that are not given are searched over");
       return {};
     }},
    {"multivariate", OfOlivesSearch<Fate::ignored>},
    {"group", OfOlivesSearch<Fate::ignored>},
    {"output_model_num", OfOlivesSearch<Fate::ignored>},
};

Result<> TakeSamplerConfig(SearchState& state, const ConfigNode& node) {
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "", state.ledger));
  if (section.fields().empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  return ApplyRules(section, kSearch, state);
}

Result<> ImportSearch(Olive& olive) {
  const ConfigNode* node = olive.search;
  olive.stops_at_first = true;
  if (node == nullptr) return {};
  if (node->kind == ConfigNode::Kind::scalar) {
    TRY_ASSIGN(olive.import.searching, BoolOf(*node));
    olive.stops_at_first = !olive.import.searching;
    olive.ledger.Tell(*node, Fate::done, olive.import.searching ? "search" : "no search: one candidate");
    return {};
  }
  olive.stops_at_first = false;
  olive.import.searching = true;
  SearchState state{olive, olive.ledger, *olive.import.recipe.mutable_search()};
  TRY_ASSIGN(const Section section, Section::Open(*node, "'search_strategy'", "sampler_config", olive.ledger));
  if (section.fields().empty()) olive.ledger.Tell(*node, Fate::done, "search");
  return ApplyRules(section, kSearch, state);
}

// --- passes --------------------------------------------------------------------------------------

struct NamedPass {
  std::string name;
  std::vector<const ConfigNode*> options;
};

Result<std::vector<NamedPass>> CollectPasses(Olive& olive) {
  std::vector<NamedPass> passes;
  const ConfigNode* node = olive.passes;
  if (node == nullptr || node->IsNull()) return passes;
  if (!node->IsMap() && !node->IsList()) return WrongKind(*node, "a map of passes");
  if (node->leaves == 1 && node->items.empty() && node->entries.empty())
    olive.ledger.Tell(*node, Fate::done, "no passes: the original alone");
  const auto add = [&](const std::string& name, const ConfigNode& value) {
    NamedPass pass{name, {}};
    if (value.IsList()) {
      for (const ConfigNode& item : value.items) pass.options.push_back(&item);
      if (value.items.empty()) olive.ledger.Tell(value, Fate::ignored, "is empty");
    } else {
      pass.options.push_back(&value);
    }
    passes.push_back(std::move(pass));
  };
  for (const ConfigEntry& entry : node->entries) add(entry.key, entry.value);
  for (size_t i = 0; i < node->items.size(); ++i) add(std::to_string(i), node->items[i]);
  if (passes.size() > kMaxPasses) {
    return FailAt(*node, fmt::format("'passes' has {} passes, at most {} are read", passes.size(), kMaxPasses));
  }
  return passes;
}

// One pass in one form; OnnxQuantization is two where its mode is searched over.
Result<std::vector<Alternative>> ImportPass(Olive& olive, const std::string& name, const ConfigNode& node) {
  const std::string what = fmt::format("pass '{}'", Printable(name, 80));
  TRY_ASSIGN(const Section section, Section::Open(node, what, "config", olive.ledger));
  const ConfigNode* type = section.Find("type");
  if (type == nullptr) return FailAt(node, fmt::format("{} has no key 'type'", what));
  TRY_ASSIGN(const std::string wanted, TextOf(*type));
  const PassRow* row = FindOlivePass(wanted);
  if (row == nullptr) {
    std::vector<std::string> names;
    for (const PassRow& known : OlivePasses()) names.emplace_back(known.name);
    return FailAt(*type,
                  fmt::format("{}: Olive has no pass '{}'{}", what, Printable(wanted, 100), DidYouMean(wanted, names)));
  }
  olive.levels.insert(row->level);
  const ConfigNode* disabled = section.Find("disable_search");
  bool searching = olive.import.searching;
  if (disabled != nullptr && !disabled->IsNull()) {
    TRY_ASSIGN(const bool off, BoolOf(*disabled));
    searching = searching && !off;
  }
  std::vector<const PassRow*> rows = {row};
  if (std::string_view(row->name) == "OnnxQuantization") {
    const ConfigNode* mode = section.Find("quant_mode");
    std::vector<std::string> modes = {"static"};
    if (mode == nullptr && searching) modes = {"static", "dynamic"};
    if (mode != nullptr && !mode->IsNull()) {
      modes.clear();
      for (const ConfigNode* each : ValuesOf(*mode)) {
        TRY_ASSIGN(const Converted word, ToWord(*each, {{"static", "static"},
                                                        {"dynamic", "dynamic"},
                                                        {"DEFAULT_VALUE", "static"},
                                                        {"SEARCHABLE_VALUES", "static"}}));
        modes.push_back(word.value.text());
      }
    }
    rows.clear();
    for (const std::string& each : modes)
      rows.push_back(each == "static" ? row : FindOlivePass("OnnxDynamicQuantization"));
  }
  std::vector<Alternative> alternatives;
  for (const PassRow* each : rows) {
    TRY_ASSIGN(Alternative alternative, DraftPass(olive.import, *each, section, type, OliveCommonRules(), searching));
    alternatives.push_back(std::move(alternative));
  }
  return alternatives;
}

// Structural passes that some alternatives have and others not become choices of their own.
void AddStructural(Import& import, const std::vector<Alternative>& alternatives,
                   std::vector<proto::PassChoice> Alternative::* part, bool optional) {
  std::vector<proto::PassChoice> order;
  for (const Alternative& alternative : alternatives) {
    for (const proto::PassChoice& choice : alternative.*part) {
      const bool there = std::any_of(order.begin(), order.end(), [&](const auto& each) {
        return each.SerializeAsString() == choice.SerializeAsString();
      });
      if (!there) order.push_back(choice);
    }
  }
  for (const proto::PassChoice& choice : order) {
    const bool everywhere = std::all_of(alternatives.begin(), alternatives.end(), [&](const Alternative& alternative) {
      const auto& list = alternative.*part;
      return std::any_of(list.begin(), list.end(),
                         [&](const auto& each) { return each.SerializeAsString() == choice.SerializeAsString(); });
    });
    if (everywhere && !optional) {
      import.AddStage({choice});
    } else {
      import.AddStage({proto::PassChoice(), choice});
    }
  }
}

void AddAlternatives(Import& import, const std::vector<Alternative>& alternatives, bool optional) {
  AddStructural(import, alternatives, &Alternative::before, optional);
  std::vector<proto::PassChoice> mains;
  if (optional) mains.emplace_back();
  bool any = false;
  for (const Alternative& alternative : alternatives) {
    proto::PassChoice choice = alternative.main.value_or(proto::PassChoice());
    any = any || !choice.pass().empty();
    const bool twice = std::any_of(mains.begin(), mains.end(), [&](const auto& each) {
      return each.SerializeAsString() == choice.SerializeAsString();
    });
    if (!twice) mains.push_back(std::move(choice));
  }
  if (any) import.AddStage(mains);
  AddStructural(import, alternatives, &Alternative::after, optional);
}

// Passes that are in some flows but not in all are choices; one flow alone gives the order.
Result<std::map<std::string, size_t>> CountFlows(Olive& olive, const std::vector<NamedPass>& passes, size_t& flows,
                                                 std::vector<std::string>& order) {
  std::map<std::string, size_t> counts;
  flows = 0;
  if (olive.pass_flows == nullptr || olive.pass_flows->IsNull()) return counts;
  if (!olive.pass_flows->IsList()) return WrongKind(*olive.pass_flows, "a list of lists of passes");
  for (const ConfigNode& flow : olive.pass_flows->items) {
    TRY_ASSIGN(const std::vector<std::string> names, TextsOf(flow));
    ++flows;
    for (const std::string& name : names) {
      const auto same = [&](const NamedPass& pass) { return pass.name == name; };
      if (std::none_of(passes.begin(), passes.end(), same)) {
        return FailAt(flow, fmt::format("pass_flows names a pass '{}' that is not there", Printable(name, 80)));
      }
      ++counts[name];
      if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
    }
  }
  olive.ledger.Tell(
      *olive.pass_flows, flows == 1 ? Fate::done : Fate::changed,
      flows == 1 ? "the order of passes" : "one pipeline in which passes that are not in every flow may be left out");
  return counts;
}

Result<> ImportPasses(Olive& olive) {
  TRY_ASSIGN(std::vector<NamedPass> passes, CollectPasses(olive));
  size_t flows = 0;
  std::vector<std::string> order;
  TRY_ASSIGN(const auto counts, CountFlows(olive, passes, flows, order));
  const auto place = [&](const NamedPass& pass) {
    return std::find(order.begin(), order.end(), pass.name) - order.begin();
  };
  if (flows > 0)
    std::stable_sort(passes.begin(), passes.end(),
                     [&](const NamedPass& a, const NamedPass& b) { return place(a) < place(b); });
  for (const NamedPass& pass : passes) {
    if (flows > 0 && !counts.contains(pass.name)) {
      for (const ConfigNode* option : pass.options)
        olive.ledger.Tell(*option, Fate::ignored, "no flow of pass_flows has it");
      continue;
    }
    if (pass.options.size() > kMaxAlternatives) {
      return FailAt(*pass.options.front(),
                    fmt::format("pass '{}' has {} alternatives, at most {} are read", Printable(pass.name, 80),
                                pass.options.size(), kMaxAlternatives));
    }
    std::vector<Alternative> alternatives;
    for (const ConfigNode* option : pass.options) {
      if (olive.stops_at_first && option != pass.options.front()) {
        olive.ledger.Tell(*option, Fate::ignored, "without search_strategy Olive takes the first alternative alone");
        continue;
      }
      TRY_ASSIGN(const std::vector<Alternative> own, ImportPass(olive, pass.name, *option));
      alternatives.insert(alternatives.end(), own.begin(), own.end());
    }
    AddAlternatives(olive.import, alternatives, flows > 1 && counts.at(pass.name) < flows);
  }
  return {};
}

// What the configuration needs, by the passes it has.
void Classify(const Olive& olive, const std::string& model, Imported& imported) {
  const auto has = [&](Level level) { return olive.levels.contains(level); };
  const auto set = [&](const char* code, const char* text) {
    imported.kind_code = code;
    imported.kind = text;
  };
  if (olive.levels.empty()) return set("evaluation", "evaluates a model, without passes");
  if (has(Level::python)) return set("python", "has passes that work on a PyTorch model or are a vendor's Python");
  if (has(Level::openvino)) return set("openvino", "makes OpenVINO IR of an ONNX file");
  if (has(Level::provider)) return set("provider", "compiles for one execution provider's device");
  if (!has(Level::onnx)) return set("export", "only exports a model to ONNX");
  if (has(Level::conversion) || model != "onnx")
    return set("exported", "needs ONNX-level passes alone once the ONNX file is given");
  set("onnx", "needs ONNX-level passes alone");
}

// A checkpoint that was named is built into a model first: a decoder where it gives logits for each token.
void StartFromCheckpoint(Import& import) {
  const proto::InspectResult* model = import.options.model;
  if (model == nullptr || (model->format() != "checkpoint" && model->format() != "gguf")) return;
  const bool rows = std::any_of(model->outputs().begin(), model->outputs().end(), [](const auto& output) {
    return output.name() == "logits" && output.dims_size() == 3;
  });
  // Encoders that tag tokens give a row for each, too.
  const bool decoder = rows && model->producer().find("Classification") == std::string::npos;
  import.build.emplace().set_pass(decoder ? "build_decoder" : "build_encoder");
  SetChoice(*import.build, "precision", TextValue("f32"));
}

// The build comes before everything, though Olive quantizes some checkpoints before it exports them.
void PutBuildFirst(Import& import) {
  if (!import.build) return;
  import.AddStage({*import.build});
  auto* stages = import.recipe.mutable_passes();
  for (int i = stages->size(); i-- > 1;) stages->SwapElements(i, i - 1);
}

void NameModelDimensions(Import& import) {
  if (import.options.model == nullptr) return;
  for (const proto::TensorInfo& input : import.options.model->inputs()) {
    for (int d = 0; d < input.dims_size(); ++d) {
      if (input.dims(d) != "?" && !ParseInteger(input.dims(d)))
        import.named_dimensions[input.dims(d)].emplace_back(input.name(), d);
    }
  }
}

}  // namespace

Result<Imported> ImportOlive(const ConfigNode& root, const ImportOptions& options) {
  Import import(root, options);
  Olive olive{import, import.ledger};
  import.take_data = [&olive](const ConfigNode& reference) -> Result<> {
    proto::DataRange range;
    TRY(ImportDataReference(olive, reference, range));
    if (!range.path().empty()) olive.import.Calibrate(range.path(), range.samples());
    return {};
  };
  TRY_ASSIGN(const Section top, Section::Open(root, "the configuration", "engine", import.ledger));
  if (top.Find("input_model") == nullptr && top.Find("passes") == nullptr && top.Find("evaluators") == nullptr) {
    return FailAt(root, "this is no configuration of Olive: it has none of the keys input_model, passes and evaluators",
                  "`hone import --help` tells what can be imported");
  }
  TRY(Collect(olive, top));
  NameModelDimensions(import);
  StartFromCheckpoint(import);
  TRY_ASSIGN(const std::string model, ImportModel(olive));
  TRY(ImportSearch(olive));
  TRY(ImportSystems(olive));
  TRY(ImportPasses(olive));
  PutBuildFirst(import);
  TRY(ImportEvaluator(olive));
  CloseData(olive);
  if (olive.stop_at_goals) *import.recipe.mutable_search()->mutable_goal() = import.recipe.constraints();
  // Static quantization measures ranges, whether the configuration named its samples or not.
  for (const proto::Stage& stage : import.recipe.passes()) {
    for (const proto::PassChoice& option : stage.options()) {
      if (option.pass() == "static_int8" || option.pass() == "openvino_int8") import.Calibrate("calibration.npz", 0);
    }
  }
  Imported imported = import.Finish();
  Classify(olive, model, imported);
  return imported;
}

std::vector<std::string> OliveKeys() {
  std::vector<std::string> keys;
  for (const TopRow& row : kTop) keys.emplace_back(row.key);
  AddKeys(kModel, keys);
  AddKeys(kSearch, keys);
  AddSystemKeys(keys);
  AddMetricKeys(keys);
  return keys;
}

}  // namespace hone::importers
