// Recipes back to YAML. Every word is quoted unless it surely reads back as the same word, so any text from anywhere is
// safe.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr const char* kResizeWords[] = {"stretch", "pad_right", "center_crop", "letterbox"};

std::string InQuotes(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\x{:02x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// Whether YAML reads the bare text as this very word.
bool IsPlainWord(std::string_view text) {
  if (text.empty() || text == "null" || text == "Null" || text == "NULL") return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto inner = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-'; };
  return letter(text.front()) && std::all_of(text.begin(), text.end(), inner) &&
         ParseValue(text).kind_case() == proto::Value::kText;
}

std::string Word(std::string_view text) { return IsPlainWord(text) ? std::string(text) : InQuotes(ToUtf8(text)); }

// A real keeps its kind: 1.0, not 1.
std::string Number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

std::string Scalar(const proto::Value& value) {
  switch (value.kind_case()) {
    case proto::Value::kReal: return Number(value.real());
    case proto::Value::kText: return Word(value.text());
    default: return ToText(value);
  }
}

template <class List, class Write>
std::string FlowList(const List& list, Write write) {
  std::vector<std::string> items;
  for (const auto& item : list) items.push_back(write(item));
  return "[" + Join(items, ", ") + "]";
}

std::string FlowMap(const std::vector<std::string>& entries) { return "{" + Join(entries, ", ") + "}"; }

void AddIf(bool given, std::vector<std::string>& entries, const char* key, const std::string& value) {
  if (given) entries.push_back(fmt::format("{}: {}", key, value));
}

std::string Preprocess(const proto::Preprocess& preprocess) {
  std::vector<std::string> entries;
  AddIf(!preprocess.input().empty(), entries, "input", Word(preprocess.input()));
  AddIf(preprocess.height() > 0, entries, "height", fmt::format("{}", preprocess.height()));
  AddIf(preprocess.width() > 0, entries, "width", fmt::format("{}", preprocess.width()));
  const auto resize = static_cast<size_t>(preprocess.resize());
  AddIf(resize > 0 && resize < std::size(kResizeWords), entries, "resize",
        kResizeWords[resize % std::size(kResizeWords)]);
  AddIf(preprocess.bgr(), entries, "channels", "bgr");
  AddIf(!preprocess.mean().empty(), entries, "mean", FlowList(preprocess.mean(), Number));
  AddIf(!preprocess.std().empty(), entries, "std", FlowList(preprocess.std(), Number));
  AddIf(preprocess.scale() > 0, entries, "scale", Number(preprocess.scale()));
  AddIf(preprocess.nhwc(), entries, "layout", "nhwc");
  return FlowMap(entries);
}

std::string DataRange(const proto::DataRange& range) {
  std::vector<std::string> entries = {"path: " + Word(range.path())};
  AddIf(range.from() > 0, entries, "from", fmt::format("{}", range.from()));
  AddIf(range.samples() > 0, entries, "samples", fmt::format("{}", range.samples()));
  AddIf(range.has_preprocess(), entries, "preprocess", Preprocess(range.preprocess()));
  return FlowMap(entries);
}

std::string Accuracy(const proto::Accuracy& accuracy) {
  std::vector<std::string> entries;
  AddIf(!accuracy.metric().empty(), entries, "metric", Word(accuracy.metric()));
  AddIf(!accuracy.output().empty(), entries, "output", Word(accuracy.output()));
  AddIf(accuracy.against_labels(), entries, "against", "labels");
  return FlowMap(entries);
}

std::string Constraint(const proto::Constraint& constraint) {
  std::vector<std::string> entries;
  AddIf(constraint.has_minimum(), entries, "min", Number(constraint.minimum()));
  AddIf(constraint.has_maximum(), entries, "max", Number(constraint.maximum()));
  return FlowMap(entries);
}

std::string When(const proto::When& when) {
  return fmt::format("{}: {}", Word(when.parameter()),
                     when.values_size() == 1 ? Scalar(when.values(0)) : FlowList(when.values(), Scalar));
}

std::string Domain(const proto::Domain& domain) {
  const bool range = domain.choices().empty();
  if (!range && domain.when().empty() && domain.groups() == 0)
    return domain.choices_size() == 1 ? Scalar(domain.choices(0)) : FlowList(domain.choices(), Scalar);
  std::vector<std::string> entries, conditions;
  for (const proto::When& when : domain.when()) conditions.push_back(When(when));
  AddIf(!conditions.empty(), entries, "when", FlowMap(conditions));
  AddIf(!range, entries, "choices", FlowList(domain.choices(), Scalar));
  AddIf(domain.groups() > 0, entries, "groups", fmt::format("{}", domain.groups()));
  AddIf(range, entries, "range", fmt::format("[{}, {}]", Scalar(domain.low()), Scalar(domain.high())));
  AddIf(domain.has_step(), entries, "step", Scalar(domain.step()));
  AddIf(domain.log(), entries, "log", "true");
  return FlowMap(entries);
}

std::string Domains(const google::protobuf::RepeatedPtrField<proto::Domain>& domains) {
  std::vector<std::string> entries;
  for (const proto::Domain& domain : domains) entries.push_back(Word(domain.name()) + ": " + Domain(domain));
  return FlowMap(entries);
}

std::string Pass(const proto::PassChoice& choice) {
  if (choice.pass().empty()) return "none";
  const std::string name = Word(choice.pass());
  return choice.parameters().empty() ? name : fmt::format("{}: {}", name, Domains(choice.parameters()));
}

std::string Stage(const proto::Stage& stage) {
  const bool fixed = stage.options_size() == 1 && !stage.options(0).pass().empty();
  if (fixed) return fmt::format("  - {}\n", Pass(stage.options(0)));
  std::string text = "  - choose:\n";
  for (const proto::PassChoice& option : stage.options()) text += fmt::format("      - {}\n", Pass(option));
  return text;
}

std::string SearchText(const proto::Search& search) {
  std::vector<std::string> entries;
  AddIf(!search.sampler().empty(), entries, "sampler", Word(search.sampler()));
  AddIf(search.trials() > 0, entries, "trials", fmt::format("{}", search.trials()));
  AddIf(search.time_ms() > 0, entries, "time", fmt::format("{}ms", search.time_ms()));
  AddIf(search.seed() > 0, entries, "seed", fmt::format("{}", search.seed()));
  AddIf(search.patience() > 0, entries, "patience", fmt::format("{}", search.patience()));
  AddIf(search.machine_time_ms() > 0, entries, "machine_time", fmt::format("{}ms", search.machine_time_ms()));
  std::vector<std::string> goal;
  for (const auto& bound : search.goal())
    goal.push_back(fmt::format("{}: {}", Word(bound.metric()), Constraint(bound)));
  AddIf(!goal.empty(), entries, "goal", fmt::format("{{{}}}", Join(goal, ", ")));
  AddIf(search.cold(), entries, "warm_start", "false");
  AddIf(!search.order().empty(), entries, "order", Word(search.order()));
  return FlowMap(entries);
}

std::string MeasureText(const proto::Measure& measure) {
  std::vector<std::string> entries;
  AddIf(measure.pairs() > 0, entries, "pairs", fmt::format("{}", measure.pairs()));
  AddIf(measure.final_pairs() > 0, entries, "final_pairs", fmt::format("{}", measure.final_pairs()));
  AddIf(measure.finalists() > 0, entries, "finalists", fmt::format("{}", measure.finalists()));
  AddIf(measure.trial_timeout_ms() > 0, entries, "trial_timeout", fmt::format("{}ms", measure.trial_timeout_ms()));
  AddIf(measure.fresh(), entries, "reuse", "false");
  AddIf(measure.memory_bytes() > 0, entries, "memory", fmt::format("{}", measure.memory_bytes()));
  return FlowMap(entries);
}

std::string WriteData(const proto::Recipe& recipe) {
  std::string text;
  if (recipe.has_calibration()) text += fmt::format("  calibration: {}\n", DataRange(recipe.calibration()));
  if (recipe.has_evaluation()) text += fmt::format("  evaluation: {}\n", DataRange(recipe.evaluation()));
  return text.empty() ? "" : "data:\n" + text;
}

std::string WriteInputs(const proto::Recipe& recipe) {
  std::string text;
  for (const proto::InputShape& input : recipe.inputs()) {
    text += fmt::format("  {}: {}\n", Word(input.name()),
                        FlowList(input.dims(), [](int64_t dim) { return fmt::format("{}", dim); }));
  }
  return text.empty() ? "" : "inputs:\n" + text;
}

std::string WriteGoals(const proto::Recipe& recipe) {
  std::string text = recipe.objectives().empty() ? "" : "objectives:\n";
  for (const proto::Objective& objective : recipe.objectives()) {
    text += fmt::format("  - {}: {}\n", objective.maximize() ? "maximize" : "minimize", Word(objective.metric()));
  }
  if (!recipe.constraints().empty()) text += "constraints:\n";
  for (const proto::Constraint& constraint : recipe.constraints()) {
    text += fmt::format("  {}: {}\n", Word(constraint.metric()), Constraint(constraint));
  }
  if (!recipe.targets().empty()) text += "targets:\n";
  for (const proto::Target& target : recipe.targets())
    text += fmt::format("  - tags: {}\n", FlowList(target.tags(), Word));
  return text;
}

std::string WriteChoices(const proto::Recipe& recipe) {
  std::string text = recipe.passes().empty() ? "" : "passes:\n";
  for (const proto::Stage& stage : recipe.passes()) text += Stage(stage);
  if (!recipe.backends().empty()) text += "backends:\n";
  for (const proto::BackendChoice& backend : recipe.backends()) {
    text += fmt::format("  {}: {}\n", Word(backend.backend()), Domains(backend.settings()));
  }
  return text;
}

}  // namespace

std::string WriteRecipe(const proto::Recipe& recipe) {
  std::string text;
  if (!recipe.model().empty()) text += fmt::format("model: {}\n", Word(recipe.model()));
  text += WriteInputs(recipe);
  text += WriteData(recipe);
  if (recipe.has_accuracy()) text += fmt::format("accuracy: {}\n", Accuracy(recipe.accuracy()));
  text += WriteGoals(recipe);
  text += WriteChoices(recipe);
  if (recipe.has_search()) text += fmt::format("search: {}\n", SearchText(recipe.search()));
  if (recipe.has_measure()) text += fmt::format("measure: {}\n", MeasureText(recipe.measure()));
  if (recipe.skip_unavailable()) text += "when_unavailable: skip\n";
  if (!recipe.sandbox().empty()) text += fmt::format("sandbox: {}\n", Word(recipe.sandbox()));
  return text.empty() ? "{}\n" : text;
}

}  // namespace hone
