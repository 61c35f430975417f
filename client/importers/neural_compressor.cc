// Intel Neural Compressor's YAML (1.x and 2.x): model, quantization, tuning, evaluation.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/draft.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr const char* kSaveSamples = "Python does not run in hone: save the samples once as an .npz";
constexpr const char* kOfTraining = "of training; hone trains nothing";
constexpr const char* kTargets = "the recipe's targets decide where the model runs";

struct IncState {
  Import& import;
  Ledger& ledger;
  std::string pass = "static_int8";
  std::map<std::string, proto::Value> parameters = {};
  double drop = 0;
  bool relative = false;
};

using IncRules = std::vector<Rule<IncState>>;

// A map by its own table.
Result<> Within(IncState& state, const ConfigNode& node, const IncRules& rules) {
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "", state.ledger));
  if (section.fields().empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  return ApplyRules(section, rules, state);
}

#define HONE_SAYS(fate, text)                               \
  [](IncState& state, const ConfigNode& node) -> Result<> { \
    state.ledger.Tell(node, fate, text);                    \
    return {};                                              \
  }

Result<> Set(IncState& state, const ConfigNode& node, const std::string& parameter, proto::Value value) {
  state.parameters[parameter] = std::move(value);
  state.ledger.Tell(node, Fate::done, parameter);
  return {};
}

// dtype: uint8, or a list of which the first counts.
Result<Converted> FirstType(const ConfigNode& node, Convert convert) {
  const ConfigNode& first = node.IsList() && !node.items.empty() ? node.items.front() : node;
  if (first.IsText() && Lower(first.value.text()).starts_with("fp")) return Converted{{}, "stays in float"};
  return convert(first);
}

const IncRules kIncWeight = {
    {"granularity",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted word, ToWord(node.IsList() && !node.items.empty() ? node.items.front() : node,
                                               {{"per_channel", "true"}, {"per_tensor", "false"}}));
       return Set(state, node, "per_channel", ParseValue(word.value.text()));
     }},
    {"scheme", HONE_SAYS(Fate::changed, "int8 weights are symmetric, uint8 weights are not: the type decides")},
    {"dtype",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted type, FirstType(node, ToWeightType));
       if (type.value.kind_case() != proto::Value::KIND_NOT_SET) return Set(state, node, "weights", type.value);
       state.ledger.Tell(node, Fate::changed, type.changed);
       return {};
     }},
    {"algorithm", HONE_SAYS(Fate::ignored, "weights go by their extremes")},
    {"bit", HONE_SAYS(Fate::ignored, "8 bits")},
};

const IncRules kIncActivation = {
    {"granularity", HONE_SAYS(Fate::ignored, "one scale a tensor, as the kernels want it")},
    {"scheme",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted word, ToWord(node.IsList() && !node.items.empty() ? node.items.front() : node,
                                               {{"sym", "true"}, {"asym", "false"}}));
       return Set(state, node, "symmetric_activations", ParseValue(word.value.text()));
     }},
    {"dtype",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted type, FirstType(node, ToActivationType));
       if (type.value.kind_case() != proto::Value::KIND_NOT_SET) return Set(state, node, "activations", type.value);
       state.ledger.Tell(node, Fate::changed, type.changed);
       return {};
     }},
    {"algorithm",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted observer,
                  ToObserver(node.IsList() && !node.items.empty() ? node.items.front() : node));
       return Set(state, node, "observer", observer.value);
     }},
    {"bit", HONE_SAYS(Fate::ignored, "8 bits")},
};

const IncRules kIncModelWise = {
    {"weight", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncWeight); }},
    {"activation", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncActivation); }},
};

const IncRules kIncCalibration = {
    {"sampling_size",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       // A number, a list of numbers to try, or "100, 200".
       const ConfigNode& first = node.IsList() && !node.items.empty() ? node.items.front() : node;
       const std::string text = first.IsText() ? Split(first.value.text(), ',').front() : ToText(first.value);
       const Result<int64_t> samples = ParseInteger(Trim(text));
       if (!samples || *samples < 1) return WrongKind(node, "a number of samples");
       state.import.Calibrate("calibration.npz", static_cast<uint64_t>(*samples));
       state.ledger.Tell(node, Fate::done, "data.calibration.samples");
       return {};
     }},
    {"dataloader", HONE_SAYS(Fate::changed, kSaveSamples)},
};

// Operators by name that shall stay in float.
Result<> TakeOpWise(IncState& state, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map of operators");
  std::vector<std::string> names;
  for (const ConfigEntry& entry : node.entries) {
    const std::string text = Lower(ValueText(entry.value, 1000));
    if (text.find("fp32") == std::string::npos) {
      state.ledger.Tell(entry.value, Fate::changed, "every operator has the same types; exclude leaves operators out");
      continue;
    }
    names.push_back(entry.key);
    state.ledger.Tell(entry.value, Fate::done, "exclude");
  }
  if (node.entries.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  if (!names.empty()) state.parameters["exclude"] = TextValue(Join(names, ","));
  return {};
}

const IncRules kIncRecipes = {
    {"smooth_quant",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const bool on, BoolOf(node));
       if (on) state.parameters.try_emplace("smooth_alpha", RealValue(0.5));
       state.ledger.Tell(node, Fate::done, "smooth_alpha");
       return {};
     }},
    {"smooth_quant_args",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       const ConfigNode* alpha = node.Find("alpha");
       if (alpha != nullptr && !alpha->IsText()) {
         TRY_ASSIGN(const double value, importers::RealOf(*alpha));
         state.parameters["smooth_alpha"] = RealValue(value);
         state.ledger.Tell(*alpha, Fate::done, "smooth_alpha");
       }
       state.ledger.Tell(node, Fate::changed, "hone chooses it by itself");
       return {};
     }},
    {"fast_bias_correction",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const bool on, BoolOf(node));
       return Set(state, node, "bias_correction", BoolValue(on));
     }},
    {"weight_correction", HONE_SAYS(Fate::ignored, "bias_correction takes it back")},
    {"first_conv_or_matmul_quantization", HONE_SAYS(Fate::changed, "keep_first leaves the first products in float")},
    {"last_conv_or_matmul_quantization", HONE_SAYS(Fate::changed, "keep_last leaves the last products in float")},
    {"pre_post_process_quantization", HONE_SAYS(Fate::changed, "exclude leaves nodes out")},
    {"add_qdq_pair_to_weight", HONE_SAYS(Fate::ignored, "weights are stored quantized; the runtimes compute the same")},
    {"optypes_to_exclude_output_quant", HONE_SAYS(Fate::changed, "op_types and exclude choose operators")},
    {"dedicated_qdq_pair", HONE_SAYS(Fate::ignored, "only how pairs are shared; the values are the same")},
    {"graph_optimization_level",
     HONE_SAYS(Fate::changed, "pass simplify, and backends.onnxruntime.graph_optimization")},
};

const IncRules kIncQuantization = {
    {"approach",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const Converted pass, ToWord(node, {{"post_training_static_quant", "static_int8"},
                                                      {"post_training_dynamic_quant", "dynamic_int8"},
                                                      {"post_training_auto_quant", "static_int8"},
                                                      {"quant_aware_training", "", "no training"},
                                                      {"static", "static_int8"},
                                                      {"dynamic", "dynamic_int8"},
                                                      {"auto", "static_int8"}}));
       if (pass.value.kind_case() == proto::Value::KIND_NOT_SET) {
         state.ledger.Tell(node, Fate::impossible,
                           "hone trains nothing; static_int8 on the trained model takes its place");
         return {};
       }
       state.pass = pass.value.text();
       state.ledger.Tell(node, Fate::done, state.pass);
       return {};
     }},
    {"calibration", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncCalibration); }},
    {"model_wise", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncModelWise); }},
    {"op_wise", TakeOpWise},
    {"optype_wise", HONE_SAYS(Fate::changed, "op_types chooses operators by type")},
    {"recipes", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncRecipes); }},
    {"optimization_level", HONE_SAYS(Fate::ignored, "the search is the recipe's")},
    {"quant_level", HONE_SAYS(Fate::ignored, "the search is the recipe's")},
    {"train", HONE_SAYS(Fate::impossible, kOfTraining)},
    {"example_inputs", HONE_SAYS(Fate::ignored, "hone reads the inputs from the model")},
};

const IncRules kIncCriterion = {
    {"relative",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(state.drop, importers::RealOf(node));
       state.relative = true;
       state.ledger.Tell(node, Fate::changed, "constraints.accuracy_drop, as that share of 1");
       return {};
     }},
    {"absolute",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(state.drop, importers::RealOf(node));
       state.ledger.Tell(node, Fate::done, "constraints.accuracy_drop");
       return {};
     }},
    {"higher_is_better", HONE_SAYS(Fate::ignored, "hone knows the direction of each metric")},
};

const IncRules kIncExit = {
    {"timeout",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const double seconds, importers::RealOf(node));
       if (seconds < 0 || seconds > 1e9) return WrongKind(node, "seconds");
       if (seconds > 0) state.import.recipe.mutable_search()->set_time_ms(static_cast<uint64_t>(seconds * 1000));
       state.ledger.Tell(node, Fate::done, seconds > 0 ? "search.time" : "no bound");
       return {};
     }},
    {"max_trials",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const int64_t trials, IntOf(node, 1, 1'000'000));
       state.import.recipe.mutable_search()->set_trials(static_cast<uint32_t>(trials));
       state.ledger.Tell(node, Fate::done, "search.trials");
       return {};
     }},
    {"performance_only", HONE_SAYS(Fate::ignored, "objectives are the recipe's")},
};

Result<> TakeStrategy(IncState& state, const ConfigNode& node) {
  const ConfigNode* name = node.IsMap() ? node.Find("name") : &node;
  if (name != nullptr && name->IsText()) {
    TRY_ASSIGN(const Converted sampler, ToWord(*name, {{"basic", "auto"},
                                                       {"conservative", "auto"},
                                                       {"auto", "auto"},
                                                       {"bayesian", "tpe"},
                                                       {"tpe", "tpe"},
                                                       {"random", "random"},
                                                       {"exhaustive", "exhaustive"},
                                                       {"mse", "auto"},
                                                       {"mse_v2", "auto"},
                                                       {"hawq_v2", "auto"},
                                                       {"sigopt", "tpe"}}));
    state.import.recipe.mutable_search()->set_sampler(sampler.value.text());
    state.ledger.Tell(*name, Fate::done, "search.sampler");
  }
  state.ledger.Tell(node, Fate::ignored, "of Neural Compressor's strategies");
  return {};
}

Result<> TakeObjective(IncState& state, const ConfigNode& node) {
  for (const ConfigNode* each : ValuesOf(node)) {
    TRY_ASSIGN(const Converted metric, ToWord(*each, {{"performance", "latency_ms_p50"},
                                                      {"modelsize", "size_bytes"},
                                                      {"footprint", "memory_bytes"},
                                                      {"accuracy", "accuracy"}}));
    proto::Objective& objective = *state.import.recipe.add_objectives();
    objective.set_metric(metric.value.text());
    objective.set_maximize(metric.value.text() == "accuracy");
  }
  state.ledger.Tell(node, Fate::done, "objectives");
  return {};
}

const IncRules kIncTuning = {
    {"strategy", TakeStrategy},
    {"accuracy_criterion", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncCriterion); }},
    {"objective", TakeObjective},
    {"objectives", TakeObjective},
    {"multi_objectives",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       if (const ConfigNode* inner = node.Find("objective"); inner != nullptr) TRY(TakeObjective(state, *inner));
       state.ledger.Tell(node, Fate::changed, "several objectives give a Pareto front");
       return {};
     }},
    {"exit_policy", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncExit); }},
    {"random_seed",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const int64_t seed, IntOf(node, 0, INT64_MAX / 2));
       state.import.recipe.mutable_search()->set_seed(static_cast<uint64_t>(seed));
       state.ledger.Tell(node, Fate::done, "search.seed");
       return {};
     }},
    {"tensorboard", HONE_SAYS(Fate::ignored, "`hone explain` tells what mattered")},
    {"workspace", HONE_SAYS(Fate::ignored, "hone keeps its state beside the result")},
    {"diagnosis", HONE_SAYS(Fate::ignored, "`hone sensitivity` tells what each layer loses")},
};

Result<> TakeEvaluation(IncState& state, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  const ConfigNode* accuracy = node.Find("accuracy");
  const ConfigNode* metric = accuracy == nullptr ? nullptr : accuracy->Find("metric");
  if (metric != nullptr && metric->IsMap()) {
    static constexpr std::pair<const char*, const char*> kMetrics[] = {
        {"topk", "top1"}, {"Accuracy", "top1"}, {"F1", "f1"}, {"MSE", "mse"}};
    for (const ConfigEntry& entry : metric->entries) {
      const auto known = std::find_if(std::begin(kMetrics), std::end(kMetrics),
                                      [&](const auto& each) { return Lower(entry.key) == Lower(each.first); });
      if (known == std::end(kMetrics)) {
        state.ledger.Tell(entry.value, Fate::changed, "cosine similarity to the original: hone has no such metric");
        continue;
      }
      const bool five = ToText(entry.value.value) == "5";
      proto::Accuracy& judged = *state.import.recipe.mutable_accuracy();
      judged.set_metric(five ? "top5" : known->second);
      judged.set_against_labels(std::string_view(known->second) != "mse");
      state.ledger.Tell(entry.value, Fate::done, "accuracy.metric: " + judged.metric());
      state.import.recipe.mutable_evaluation()->set_path("evaluation.npz");
    }
  }
  if (const ConfigNode* performance = node.Find("performance"); performance != nullptr) {
    state.ledger.Tell(*performance, Fate::ignored, "hone measures in interleaved pairs on this machine's cores");
  }
  state.ledger.Tell(node, Fate::changed, kSaveSamples);
  return {};
}

const IncRules kIncModel = {
    {"name", HONE_SAYS(Fate::ignored, "--name names a job")},
    {"framework",
     [](IncState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const std::string framework, TextOf(node));
       const bool onnx = Lower(framework).starts_with("onnx");
       if (!onnx) state.import.Give("the model as an ONNX file");
       state.ledger.Tell(node, onnx ? Fate::done : Fate::changed,
                         onnx ? "an ONNX file" : "export the model to ONNX first");
       return {};
     }},
    {"inputs", HONE_SAYS(Fate::ignored, "hone reads inputs and outputs from the model")},
    {"outputs", HONE_SAYS(Fate::ignored, "hone reads inputs and outputs from the model")},
};

const IncRules kIncTop = {
    {"model", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncModel); }},
    {"quantization", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncQuantization); }},
    {"tuning", [](IncState& state, const ConfigNode& node) { return Within(state, node, kIncTuning); }},
    {"evaluation", TakeEvaluation},
    {"version", HONE_SAYS(Fate::ignored, "hone reads every version")},
    {"device", HONE_SAYS(Fate::ignored, kTargets)},
    {"backend", HONE_SAYS(Fate::ignored, kTargets)},
    {"graph_optimization", HONE_SAYS(Fate::changed, "pass simplify")},
    {"mixed_precision", HONE_SAYS(Fate::changed, "backends: {openvino: {inference_precision: bf16}} computes in bf16")},
    {"pruning",
     HONE_SAYS(Fate::impossible, "weights are pruned while training; pass prune zeroes those of a trained model")},
    {"distillation", HONE_SAYS(Fate::impossible, kOfTraining)},
    {"nas", HONE_SAYS(Fate::impossible, kOfTraining)},
};
#undef HONE_SAYS

void AddIncPass(IncState& state) {
  static constexpr const char* kStaticAlone[] = {"activations", "symmetric_activations", "observer", "smooth_alpha",
                                                 "bias_correction"};
  if (state.pass == "dynamic_int8") {
    for (const char* parameter : kStaticAlone) state.parameters.erase(parameter);
  }
  const auto weights = state.parameters.find("weights");
  const auto activations = state.parameters.find("activations");
  const bool is_unsigned = weights != state.parameters.end() && weights->second.text() == "uint8";
  if (is_unsigned && activations != state.parameters.end() && activations->second.text().starts_with("int"))
    weights->second = TextValue("int8");
  proto::PassChoice choice;
  choice.set_pass(state.pass);
  for (const auto& [name, value] : state.parameters) {
    proto::Domain& domain = *choice.add_parameters();
    domain.set_name(name);
    *domain.add_choices() = value;
  }
  state.import.AddStage({choice});
  if (state.pass == "static_int8") state.import.Calibrate("calibration.npz", 100);
}

}  // namespace

Result<Imported> ImportNeuralCompressor(const ConfigNode& root, const ImportOptions& options) {
  if (root.Find("quantization") == nullptr && root.Find("tuning") == nullptr &&
      root.Find("mixed_precision") == nullptr && root.Find("pruning") == nullptr) {
    return FailAt(root,
                  "this is no configuration of Neural Compressor: it has none of the keys quantization, tuning, "
                  "mixed_precision and pruning",
                  "`hone import --help` tells what can be imported");
  }
  Import import(root, options);
  IncState state{import, import.ledger};
  TRY_ASSIGN(const Section top, Section::Open(root, "the configuration", "", import.ledger));
  TRY(ApplyRules(top, kIncTop, state));
  if (root.Find("quantization") != nullptr) AddIncPass(state);
  if (state.drop > 0) {
    proto::Constraint& constraint = *import.recipe.add_constraints();
    constraint.set_metric("accuracy_drop");
    constraint.set_maximum(state.drop);
  }
  if (root.Find("mixed_precision") != nullptr)
    import.SetBackend("openvino", "inference_precision", {TextValue("bf16"), TextValue("f32")});
  import.Give("the model, on the command line");
  return import.Finish();
}

}  // namespace hone::importers
