// Olive's evaluators: metrics with priorities and goals, as objectives and constraints.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr const char* kOwnJudge =
    "Python does not run in hone; accuracy is cosine similarity to the original, or top1, top5 or f1 against labels";

struct Ranked {
  int64_t priority = 0;
  proto::Objective objective;
};

struct MetricState {
  Olive& olive;
  Ledger& ledger;
  std::vector<Ranked>& ranked;
  std::string type = {};    // latency, throughput, accuracy, size_on_disk, custom
  std::string metric = {};  // hone's, of the sub-type at hand.
};

// Olive's sub-types in hone's metrics.
struct SubTypeRow {
  const char* type;
  const char* name;
  const char* metric;   // "" where hone has none.
  const char* changed;  // "" where it is the same.
};
constexpr SubTypeRow kSubTypes[] = {
    {"latency", "avg", "latency_ms_p50", "the median, which one slow run does not move"},
    {"latency", "p50", "latency_ms_p50", ""},
    {"latency", "min", "latency_ms_p50", "the median: the fastest run is luck"},
    {"latency", "p75", "latency_ms_p90", "the 90th percentile"},
    {"latency", "p90", "latency_ms_p90", ""},
    {"latency", "p95", "latency_ms_p99", "the 99th percentile"},
    {"latency", "max", "latency_ms_p99", "the 99th percentile: the slowest run is an accident"},
    {"latency", "p99", "latency_ms_p99", ""},
    {"latency", "p999", "latency_ms_p99", "the 99th percentile"},
    {"throughput", "", "throughput_per_s", "with several inferences in flight, not one divided by its latency"},
    {"size_on_disk", "", "size_bytes", ""},
    {"accuracy", "accuracy_score", "top1", ""},
    {"accuracy", "accuracy", "top1", ""},
    {"accuracy", "f1_score", "f1", ""},
    {"accuracy", "f1", "f1", ""},
    {"accuracy", "", "cosine", "cosine similarity to the original: hone has no such metric"},
    {"custom", "", "cosine", "cosine similarity to the original: Python does not run in hone"},
};

const SubTypeRow* FindSubType(const std::string& type, const std::string& name) {
  for (const SubTypeRow& row : kSubTypes) {
    if (type == row.type && (name == row.name || *row.name == '\0')) return &row;
  }
  return nullptr;
}

bool IsAccuracy(const MetricState& state) { return state.type == "accuracy" || state.type == "custom"; }
bool IsSpeed(const MetricState& state) { return state.type == "latency" || state.type == "throughput"; }
bool More(const MetricState& state) { return state.type == "throughput" || IsAccuracy(state); }

void Bound(Import& import, const std::string& metric, std::optional<double> least, std::optional<double> most) {
  for (proto::Constraint& constraint : *import.recipe.mutable_constraints()) {
    if (constraint.metric() != metric) continue;
    if (least) constraint.set_minimum(*least);
    if (most) constraint.set_maximum(*most);
    return;
  }
  proto::Constraint& constraint = *import.recipe.add_constraints();
  constraint.set_metric(metric);
  if (least) constraint.set_minimum(*least);
  if (most) constraint.set_maximum(*most);
}

// Latency may rise by p percent: the speed-up is at least 1 / (1 + p/100).
double SpeedupFor(const MetricState& state, double percent_better) {
  return state.type == "throughput" ? 1 + percent_better / 100 : 1 / std::max(1 - percent_better / 100, 1e-3);
}

Result<> TakeGoalValue(MetricState& state, const ConfigNode& goal, const std::string& kind, double value) {
  Import& import = state.olive.import;
  Ledger& ledger = state.ledger;
  const bool percent = kind.starts_with("percent-");
  const bool degradation = kind.ends_with("max-degradation");
  if (kind == "threshold") {
    const std::string metric = IsAccuracy(state) ? "accuracy" : state.metric;
    More(state) ? Bound(import, metric, value, std::nullopt) : Bound(import, metric, std::nullopt, value);
    ledger.Tell(goal, Fate::done, "constraints." + metric);
  } else if (IsAccuracy(state) && degradation) {
    Bound(import, "accuracy_drop", std::nullopt, percent ? value / 100 : value);
    ledger.Tell(goal, percent ? Fate::changed : Fate::done,
                percent ? "constraints.accuracy_drop, as that share of 1" : "constraints.accuracy_drop");
  } else if (IsAccuracy(state)) {
    Bound(import, "accuracy_drop", std::nullopt, 0);
    ledger.Tell(goal, Fate::changed,
                "constraints.accuracy_drop: 0; no rewrite makes a model more accurate than it was but by chance");
  } else if (IsSpeed(state) && percent) {
    Bound(import, "speedup", SpeedupFor(state, degradation ? -value : value), std::nullopt);
    ledger.Tell(goal, Fate::changed, "constraints.speedup, measured in pairs beside the baseline");
  } else {
    ledger.Tell(goal, Fate::impossible,
                fmt::format("hone bounds {} absolutely: constraints: {{{}: N}}, or speedup as a ratio", state.metric,
                            state.metric));
  }
  return {};
}

Result<> TakeGoal(MetricState& state, const ConfigNode& goal) {
  if (goal.IsNull()) {
    state.ledger.Tell(goal, Fate::ignored, "nothing is asked for");
    return {};
  }
  if (!goal.IsMap()) return WrongKind(goal, "a map with the keys type and value");
  const ConfigNode* type = goal.Find("type");
  const ConfigNode* value = goal.Find("value");
  if (type == nullptr || value == nullptr)
    return FailAt(goal, fmt::format("'{}' needs the keys type and value", goal.path));
  static const std::vector<Word> kTypes = {{"threshold", "threshold"},
                                           {"min-improvement", "min-improvement"},
                                           {"percent-min-improvement", "percent-min-improvement"},
                                           {"max-degradation", "max-degradation"},
                                           {"percent-max-degradation", "percent-max-degradation"}};
  TRY_ASSIGN(const Converted kind, ToWord(*type, kTypes));
  TRY_ASSIGN(const double number, importers::RealOf(*value));
  for (const ConfigEntry& entry : goal.entries) {
    if (entry.key != "type" && entry.key != "value")
      state.ledger.TellUnknown(entry.value, entry.key, {"type", "value"});
  }
  return TakeGoalValue(state, goal, kind.value.text(), number);
}

Result<> TakePriority(MetricState& state, const ConfigNode& node) {
  TRY_ASSIGN(const int64_t priority, IntOf(node, -1, 1'000'000));
  if (priority < 1) {
    state.ledger.Tell(node, Fate::ignored, "it is reported, as every metric is");
    return {};
  }
  Ranked ranked;
  ranked.priority = priority;
  ranked.objective.set_metric(IsAccuracy(state) ? "accuracy" : state.metric);
  ranked.objective.set_maximize(More(state));
  state.ranked.push_back(std::move(ranked));
  state.ledger.Tell(node, Fate::done, "objectives");
  return {};
}

Result<> Timing(MetricState& state, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  if (node.entries.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : node.entries) {
    static constexpr const char* kTimed[] = {"warmup_num", "repeat_test_num", "sleep_num"};
    const bool timed =
        std::any_of(std::begin(kTimed), std::end(kTimed), [&](const char* key) { return entry.key == key; });
    if (timed) {
      TRY(IntOf(entry.value, 0, 1'000'000'000));
      state.ledger.Tell(entry.value, Fate::changed,
                        "hone measures in interleaved pairs until the intervals are narrow: measure.pairs");
    } else {
      state.ledger.Tell(entry.value, Fate::changed, "labels and outputs tell what the metric needs");
    }
  }
  return {};
}

const std::vector<Rule<MetricState>> kSubType = {
    {"name", nullptr},
    {"priority", TakePriority},
    {"goal", TakeGoal},
    {"metric_config", Timing},
    {"higher_is_better",
     [](MetricState& state, const ConfigNode& node) -> Result<> {
       TRY(BoolOf(node));
       state.ledger.Tell(node, Fate::ignored, "hone knows the direction of each metric");
       return {};
     }},
    {"priority_rank", TakePriority},
};

Result<> TakeSubType(MetricState& state, const ConfigNode& node) {
  const ConfigNode* name_node = node.IsText() ? &node : node.Find("name");
  if (name_node == nullptr) return WrongKind(node, "a map with the key name");
  TRY_ASSIGN(const std::string name, TextOf(*name_node));
  const SubTypeRow* row = FindSubType(state.type, name);
  if (row == nullptr) {
    std::vector<std::string> known;
    for (const SubTypeRow& each : kSubTypes) {
      if (state.type == each.type) known.emplace_back(each.name);
    }
    return FailAt(*name_node,
                  fmt::format("there is no {} '{}'{}", state.type, Printable(name, 80), DidYouMean(name, known)),
                  "There are " + Join(known, ", "));
  }
  state.metric = row->metric;
  if (IsAccuracy(state) && !state.olive.import.recipe.has_accuracy()) {
    proto::Accuracy& accuracy = *state.olive.import.recipe.mutable_accuracy();
    accuracy.set_metric(row->metric);
    accuracy.set_against_labels(state.metric == "top1" || state.metric == "f1");
  }
  state.ledger.Tell(*name_node, *row->changed == '\0' ? Fate::done : Fate::changed,
                    *row->changed == '\0' ? row->metric : fmt::format("{}: {}", row->metric, row->changed));
  if (node.IsText()) return {};
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "", state.ledger));
  return ApplyRules(section, kSubType, state);
}

Result<> TakeSubTypes(MetricState& state, const ConfigNode& node) {
  if (!node.IsList()) return WrongKind(node, "a list of sub-types");
  if (node.items.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigNode& item : node.items) TRY(TakeSubType(state, item));
  return {};
}

template <Fate fate>
Result<> Python(MetricState& state, const ConfigNode& node) {
  state.ledger.Tell(node, fate, kOwnJudge);
  return {};
}

Result<> ModelsInputs(MetricState& state, const ConfigNode& node) {
  state.ledger.Tell(node, Fate::ignored, "hone reads the inputs from the model");
  return {};
}

const std::vector<Rule<MetricState>> kMetric = {
    {"name",
     [](MetricState& state, const ConfigNode& node) -> Result<> {
       TRY(TextOf(node));
       state.ledger.Tell(node, Fate::changed, "hone's metrics have names of their own");
       return {};
     }},
    {"type", nullptr},
    {"backend",
     [](MetricState& state, const ConfigNode& node) -> Result<> {
       state.ledger.Tell(node, Fate::ignored, "hone computes its metrics itself");
       return {};
     }},
    {"sub_types", TakeSubTypes},
    {"sub_type", TakeSubType},
    {"metric_config", Timing},
    {"priority", TakePriority},
    {"priority_rank", TakePriority},
    {"goal", TakeGoal},
    {"higher_is_better", kSubType[4].apply},
    {"data_config",
     [](MetricState& state, const ConfigNode& node) -> Result<> {
       if (!IsAccuracy(state)) {
         state.ledger.Tell(node, Fate::ignored, "candidates are timed on the evaluation data, or on seeded inputs");
         return {};
       }
       proto::DataRange range;
       TRY(ImportDataReference(state.olive, node, range));
       if (!state.olive.import.recipe.has_evaluation()) *state.olive.import.recipe.mutable_evaluation() = range;
       return {};
     }},
    {"inference_settings",
     [](MetricState& state, const ConfigNode& node) -> Result<> {
       return ImportInferenceSettings(state.olive.import, node);
     }},
    {"user_script", Python<Fate::changed>},
    {"script_dir", Python<Fate::changed>},
    {"evaluate_func", Python<Fate::changed>},
    {"evaluate_func_kwargs", Python<Fate::changed>},
    {"metric_func", Python<Fate::changed>},
    {"metric_func_kwargs", Python<Fate::changed>},
    {"func_kwargs", Python<Fate::changed>},
    {"dataloader_func", Python<Fate::changed>},
    {"dataloader_func_kwargs", Python<Fate::changed>},
    {"post_processing_func", Python<Fate::changed>},
    {"post_process_func", Python<Fate::changed>},
    {"data_dir", Python<Fate::changed>},
    {"sample_log_num", Python<Fate::ignored>},
    {"sample_log_dir", Python<Fate::ignored>},
    {"batch_size", ModelsInputs},
    {"input_names", ModelsInputs},
    {"input_shapes", ModelsInputs},
    {"input_types", ModelsInputs},
    {"shared_kv_buffer", ModelsInputs},
    {"io_bind", ModelsInputs},
    {"run_kwargs", ModelsInputs},
};

Result<> TakeMetric(Olive& olive, const ConfigNode& node, std::vector<Ranked>& ranked) {
  if (node.IsText()) {
    const auto found = olive.metrics.find(node.value.text());
    if (found != olive.metrics.end()) {
      olive.ledger.Tell(node, Fate::done, "the metric of that name");
      return TakeMetric(olive, *found->second, ranked);
    }
    olive.ledger.Tell(node, Fate::changed,
                      "the metric is defined in a program; accuracy is cosine similarity to the original");
    return {};
  }
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "user_config", olive.ledger));
  const ConfigNode* type = section.Find("type");
  if (type == nullptr) return FailAt(node, fmt::format("'{}' has no key 'type'", node.path));
  static const std::vector<Word> kTypes = {{"accuracy", "accuracy"},
                                           {"latency", "latency"},
                                           {"throughput", "throughput"},
                                           {"size_on_disk", "size_on_disk"},
                                           {"custom", "custom"}};
  TRY_ASSIGN(const Converted kind, ToWord(*type, kTypes));
  MetricState state{olive, olive.ledger, ranked, kind.value.text()};
  const SubTypeRow* row = FindSubType(state.type, "");
  state.metric = row == nullptr ? "latency_ms_p50" : row->metric;
  olive.ledger.Tell(*type, state.type == "custom" ? Fate::changed : Fate::done,
                    state.type == "custom" ? kOwnJudge : state.metric);
  return ApplyRules(section, kMetric, state);
}

struct EvaluatorState {
  Olive& olive;
  Ledger& ledger;
  std::vector<Ranked>& ranked;
};

Result<> TakeMetrics(EvaluatorState& state, const ConfigNode& node) {
  if (!node.IsList()) return WrongKind(node, "a list of metrics");
  if (node.items.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigNode& item : node.items) TRY(TakeMetric(state.olive, item, state.ranked));
  return {};
}

// Benchmarks of language and embedding models: the outputs themselves are compared instead.
Result<> LanguageTask(EvaluatorState& state, const ConfigNode& node) {
  state.ledger.Tell(node, Fate::changed,
                    "hone runs no benchmark of language or embedding models: it compares outputs with the original's; "
                    "run the benchmark on the result");
  return {};
}

const std::vector<Rule<EvaluatorState>> kEvaluator = {
    {"metrics", TakeMetrics},
    {"name",
     [](EvaluatorState& state, const ConfigNode& node) -> Result<> {
       state.ledger.Tell(node, Fate::ignored, "a name");
       return {};
     }},
    {"type",
     [](EvaluatorState& state, const ConfigNode& node) -> Result<> {
       TRY_ASSIGN(const std::string type, TextOf(node));
       if (Lower(type).starts_with("lm") || Lower(type).starts_with("mteb")) return LanguageTask(state, node);
       state.ledger.Tell(node, Fate::ignored, "hone judges every format by itself");
       return {};
     }},
    {"tasks", LanguageTask},
    {"limit", LanguageTask},
    {"batch_size", LanguageTask},
    {"max_length", LanguageTask},
    {"model_class", LanguageTask},
    {"execution_provider", LanguageTask},
    {"provider_options", LanguageTask},
    {"device", LanguageTask},
    {"bootstrap_iters", LanguageTask},
    {"num_fewshot", LanguageTask},
    {"apply_chat_template", LanguageTask},
    {"fewshot_as_multiturn", LanguageTask},
    {"model_args", LanguageTask},
    {"sample_log_num", LanguageTask},
    {"max_gen_toks", LanguageTask},
    {"user_script", LanguageTask},
    {"script_dir", LanguageTask},
    {"include_path", LanguageTask},
    {"confirm_run_unsafe_code", LanguageTask},
};

Result<const ConfigNode*> ReferredEvaluator(Olive& olive) {
  const ConfigNode* reference = olive.evaluator;
  if (reference == nullptr || reference->IsNull()) return nullptr;
  if (!reference->IsText()) return reference;
  const auto found = olive.evaluators.find(reference->value.text());
  if (found == olive.evaluators.end()) {
    std::vector<std::string> names;
    for (const auto& [name, node] : olive.evaluators) names.push_back(name);
    return FailAt(*reference, fmt::format("there is no evaluator '{}'{}", Printable(reference->value.text(), 80),
                                          DidYouMean(reference->value.text(), names)));
  }
  olive.ledger.Tell(*reference, Fate::done, "objectives, constraints and accuracy");
  return found->second;
}

}  // namespace

Result<> ImportEvaluator(Olive& olive) {
  TRY_ASSIGN(const ConfigNode* evaluator, ReferredEvaluator(olive));
  // A configuration that only evaluates names none.
  if (evaluator == nullptr && olive.evaluator == nullptr && olive.passes == nullptr && olive.evaluators.size() == 1) {
    evaluator = olive.evaluators.begin()->second;
  }
  if (evaluator != nullptr) {
    std::vector<Ranked> ranked;
    EvaluatorState state{olive, olive.ledger, ranked};
    TRY_ASSIGN(const Section section,
               Section::Open(*evaluator, "'" + evaluator->path + "'", "type_args", olive.ledger));
    TRY(ApplyRules(section, kEvaluator, state));
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const Ranked& a, const Ranked& b) { return a.priority < b.priority; });
    std::set<std::string> seen;
    for (const Ranked& each : ranked) {
      if (seen.insert(each.objective.metric()).second) *olive.import.recipe.add_objectives() = each.objective;
    }
  }
  for (const auto& [name, node] : olive.evaluators) olive.ledger.Tell(*node, Fate::ignored, "nothing refers to it");
  for (const auto& [name, node] : olive.metrics)
    olive.ledger.Tell(*node, Fate::ignored, "no evaluator that is imported refers to it");
  return {};
}

void AddMetricKeys(std::vector<std::string>& keys) {
  AddKeys(kEvaluator, keys);
  AddKeys(kMetric, keys);
  AddKeys(kSubType, keys);
}

}  // namespace hone::importers
