// Building goes in steps, each of which sees what the ones before left: check what does not depend on the fleet; match
// passes and backends with the catalogue; follow the model's format through the stages; number the dimensions; cut
// steps into parts; count; choose presets.
#include "coordinator/search/builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/search/dimension.h"
#include "coordinator/search/parameters.h"
#include "coordinator/search/parts.h"
#include "coordinator/search/sampler.h"

namespace hone {
namespace {

constexpr int kMaxStages = 64;
constexpr int kMaxOptions = 256;
constexpr int kMaxBackends = 64;
constexpr double kAbsurd = 1e300;
constexpr size_t kMaxPresets = 1000;
constexpr const char* kNone = "none";
constexpr const char* kTogether = "`hone passes NAME` and `hone backends` tell which values go together";

// An option or a backend, matched with what the workers declare.
struct MatchedOption {
  int index = 0;                           // In the recipe's stage.
  const proto::PassChoice* choice = nullptr;
  const proto::PassInfo* info = nullptr;   // nullptr is none.
  std::vector<ParameterPlan> parameters;
  std::vector<StepRule> rules;
  std::vector<StepRule> backend_rules;     // Those of some backends alone.
};
struct MatchedStage {
  int index = 0;                           // In the recipe.
  const proto::Stage* stage = nullptr;
  std::vector<MatchedOption> options;
};
struct MatchedBackend {
  const proto::BackendInfo* info = nullptr;
  std::vector<ParameterPlan> settings;
  std::vector<StepRule> rules;
};

class PlanBuilder {
 public:
  PlanBuilder(const proto::Recipe& recipe, const proto::Catalogue& catalogue, const SpaceInputs& inputs)
      : recipe_(recipe), catalogue_(catalogue), inputs_(inputs), plan_(std::make_shared<SpacePlan>()) {}

  Result<std::shared_ptr<const SpacePlan>> Build() {
    TRY(CheckGoals());
    TRY(CheckAccuracy());
    TRY(MatchStages());
    TRY(MatchBackends());
    TRY(FollowFormats());
    NumberDimensions();
    TRY(CutBoxes());
    TRY_ASSIGN(plan_->total, plan_->CountCompletions(0, {}, plan_->NoRivals()));
    TRY(CheckTotal());
    TRY(CheckSearch());
    NoteUnusable();
    DropRepeatedNotes();
    ChoosePresets();
    plan_->recipe = recipe_;
    plan_->catalogue = catalogue_;
    plan_->inputs = inputs_;
    return std::shared_ptr<const SpacePlan>(plan_);
  }

 private:
  // --- what does not depend on the fleet ---

  Result<> CheckGoals() const {
    for (const proto::Objective& objective : recipe_.objectives()) {
      TRY_ASSIGN(const MetricInfo* metric, MetricAt(objective.metric(), objective.position()));
      TRY(CheckLabels(*metric, objective.position()));
    }
    for (const proto::Constraint& constraint : recipe_.constraints()) {
      TRY_ASSIGN(const MetricInfo* metric, MetricAt(constraint.metric(), constraint.position()));
      TRY(CheckLabels(*metric, constraint.position()));
      const bool finite = (!constraint.has_minimum() || std::isfinite(constraint.minimum())) &&
                          (!constraint.has_maximum() || std::isfinite(constraint.maximum()));
      if (!finite)
        return RejectAt(constraint.position(), fmt::format("the bound of '{}' must be a finite number", metric->name));
    }
    return {};
  }

  static Result<const MetricInfo*> MetricAt(const std::string& name, const proto::Position& position) {
    auto metric = RequireMetric(name);
    if (!metric) return Fail(LocatedAt(position, metric.error()));
    return *metric;
  }

  Result<> CheckLabels(const MetricInfo& metric, const proto::Position& position) const {
    if (!metric.needs_labels || inputs_.has_evaluation) return {};
    return RejectAt(position, fmt::format("'{}' needs labels, and the job has no evaluation data", metric.name),
                    "Add data.evaluation with labels");
  }

  Result<> CheckAccuracy() {
    const proto::Accuracy& accuracy = recipe_.accuracy();
    if (!accuracy.metric().empty()) {
      const auto metric = RequireAccuracyMetric(accuracy.metric());
      if (!metric) return Fail(LocatedAt(accuracy.position(), metric.error()));
      TRY(CheckLabels(**metric, accuracy.position()));
    }
    if (accuracy.against_labels() && !inputs_.has_evaluation) {
      return RejectAt(accuracy.position(), "accuracy is wanted against labels, and the job has no evaluation data",
                      "Add data.evaluation with labels");
    }
    const auto concerns_accuracy = [](const auto& goal) {
      const MetricInfo* metric = FindMetric(goal.metric());
      return metric->is_accuracy || goal.metric() == "accuracy" || goal.metric() == "accuracy_drop";
    };
    const bool wanted = std::any_of(recipe_.constraints().begin(), recipe_.constraints().end(), concerns_accuracy) ||
                        std::any_of(recipe_.objectives().begin(), recipe_.objectives().end(), concerns_accuracy);
    if (wanted && !inputs_.has_evaluation) {
      plan_->notes.push_back(
          "accuracy is judged on seeded synthetic inputs, the job has no evaluation data: real data may tell "
          "otherwise");
    }
    return {};
  }

  Result<> CheckSearch() const {
    const auto sampler = MakeSampler(recipe_.search());
    if (!sampler) return Fail(LocatedAt(recipe_.search().position(), sampler.error()));
    if (recipe_.search().sampler() != "exhaustive" || !plan_->total.infinite) return {};
    const auto continuous = std::find_if(plan_->dimensions.begin(), plan_->dimensions.end(), IsContinuous);
    return RejectAt(
        recipe_.search().position(),
        fmt::format("the sampler 'exhaustive' needs a finite space, and {} takes any value between {} and {}",
                    continuous->name, continuous->low, continuous->high),
        "Give that range a step, list its values, or choose another sampler");
  }

  // --- the catalogue ---

  std::string Workers() const {
    return inputs_.tags.empty() ? "the workers" : fmt::format("the workers with the tags {}", Join(inputs_.tags, ", "));
  }

  void Note(const std::string& text) { plan_->notes.push_back(text); }

  const proto::PassInfo* FindPass(const std::string& name) const {
    const auto found = std::find_if(catalogue_.passes().begin(), catalogue_.passes().end(),
                                    [&](const auto& pass) { return pass.name() == name; });
    return found == catalogue_.passes().end() ? nullptr : &*found;
  }

  const proto::BackendInfo* FindBackend(const std::string& name) const {
    const auto found = std::find_if(catalogue_.backends().begin(), catalogue_.backends().end(),
                                    [&](const auto& backend) { return backend.name() == name; });
    return found == catalogue_.backends().end() ? nullptr : &*found;
  }

  template <class List>
  static std::vector<std::string> NamesOf(const List& list) {
    std::set<std::string> names;
    for (const auto& item : list) names.insert(item.name());
    return {names.begin(), names.end()};
  }

  // A mistake, or with when_unavailable: skip a note.
  Result<> LeaveOut(const proto::Position& position, const std::string& message, const std::string& remedy) {
    if (!recipe_.skip_unavailable()) return RejectAt(position, message, remedy);
    Note("left out: " + message);
    return {};
  }

  Result<> MatchStages() {
    if (recipe_.passes_size() > kMaxStages) {
      return RejectAt(recipe_.passes(kMaxStages).position(),
                      fmt::format("more than {} passes follow one another", kMaxStages));
    }
    for (int s = 0; s < recipe_.passes_size(); ++s) {
      const proto::Stage& stage = recipe_.passes(s);
      if (stage.options().empty()) return RejectAt(stage.position(), "'choose' has no options");
      if (stage.options_size() > kMaxOptions)
        return RejectAt(stage.position(), fmt::format("'choose' has more than {} options", kMaxOptions));
      MatchedStage matched{s, &stage, {}};
      for (int o = 0; o < stage.options_size(); ++o) TRY(MatchOption(stage.options(o), o, matched));
      if (!matched.options.empty()) stages_.push_back(std::move(matched));
    }
    return {};
  }

  Result<> MatchOption(const proto::PassChoice& choice, int index, MatchedStage& stage) {
    MatchedOption option{index, &choice, nullptr, {}, {}, {}};
    if (choice.pass().empty()) {
      stage.options.push_back(std::move(option));
      return {};
    }
    const std::string shown = Printable(choice.pass(), 80);
    option.info = FindPass(choice.pass());
    if (option.info == nullptr) {
      const std::vector<std::string> names = NamesOf(catalogue_.passes());
      return LeaveOut(
          choice.position(),
          fmt::format("no pass '{}' is offered by {}{}", shown, Workers(), DidYouMean(choice.pass(), names)),
          names.empty() ? "" : "Passes are " + Join(names, ", "));
    }
    if (option.info->needs_calibration() && !inputs_.has_calibration) {
      return LeaveOut(choice.position(), fmt::format("pass '{}' needs calibration data, and the job has none", shown),
                      "Add data.calibration or --calibration, or take the pass out");
    }
    if (const proto::ParameterInfo* blind = DefaultWithoutData(choice, *option.info); blind != nullptr) {
      return LeaveOut(
          choice.position(),
          fmt::format(
              "parameter '{}' of pass '{}' is '{}' unless given, which needs calibration data, and the job has none",
              Printable(blind->name(), 80), shown, Printable(ToText(blind->default_value()), 80)),
          "Add data.calibration or --calibration, or give the parameter another value");
    }
    const ParameterOwner owner{fmt::format("pass '{}'", shown), "parameter"};
    TRY_ASSIGN(option.parameters,
               PlanParameters(choice.parameters(), option.info->parameters(), owner, Rules(), plan_->notes));
    option.rules = RulesOf(option.info->impossible(), option.info->parameters(), option.parameters, Tags());
    // Those of some backends alone wait until it is known which backends there are.
    const auto of_some = std::stable_partition(option.rules.begin(), option.rules.end(),
                                               [](const StepRule& rule) { return rule.backends.empty(); });
    option.backend_rules.assign(std::make_move_iterator(of_some), std::make_move_iterator(option.rules.end()));
    option.rules.erase(of_some, option.rules.end());
    TRY_ASSIGN(const bool possible, IsPossible(option.parameters, option.rules, owner.name));
    if (!possible)
      return LeaveOut(choice.position(), fmt::format("{}: {}", owner.name, option.rules.front().reason), kTogether);
    stage.options.push_back(std::move(option));
    return {};
  }

  // A parameter that the recipe leaves at a default which cannot be had without calibration data; nullptr if there is
  // none.
  const proto::ParameterInfo* DefaultWithoutData(const proto::PassChoice& choice, const proto::PassInfo& pass) const {
    if (inputs_.has_calibration) return nullptr;
    for (const proto::ParameterInfo& info : pass.parameters()) {
      const auto is_default = [&](const proto::Value& value) { return Equal(value, info.default_value()); };
      const auto is_given = [&](const proto::Domain& domain) { return domain.name() == info.name(); };
      if (std::any_of(info.needs_calibration().begin(), info.needs_calibration().end(), is_default) &&
          std::none_of(choice.parameters().begin(), choice.parameters().end(), is_given)) {
        return &info;
      }
    }
    return nullptr;
  }

  // Whether some values break no rule.
  static Result<bool> IsPossible(const std::vector<ParameterPlan>& parameters, const std::vector<StepRule>& rules,
                                 const std::string& owner) {
    if (rules.empty()) return true;
    TRY_ASSIGN(const SplitResult split, SplitByConditions(parameters, rules, owner));
    return !split.boxes.empty();
  }

  // Of the workers, and those that the target asks for.
  std::vector<std::string> Tags() const {
    std::vector<std::string> tags = inputs_.tags;
    tags.insert(tags.end(), catalogue_.tags().begin(), catalogue_.tags().end());
    return tags;
  }

  ParameterRules Rules() const { return {recipe_.skip_unavailable(), inputs_.has_calibration}; }

  Result<> MatchBackends() {
    if (catalogue_.backends().empty())
      return RejectAt(BackendsPosition(), fmt::format("{} offer no backend", Workers()));
    if (recipe_.backends_size() > kMaxBackends)
      return RejectAt(BackendsPosition(), fmt::format("more than {} backends are listed", kMaxBackends));
    std::set<std::string> seen;
    for (const proto::BackendChoice& choice : recipe_.backends()) {
      if (!seen.insert(choice.backend()).second) {
        return RejectAt(choice.position(), fmt::format("backend '{}' is listed twice", Printable(choice.backend(), 80)),
                        "List it once, with its settings as lists");
      }
      TRY(MatchBackend(choice));
    }
    if (recipe_.backends().empty()) {
      for (const proto::BackendInfo& info : catalogue_.backends()) {
        if (seen.insert(info.name()).second)
          backends_.push_back({&info, {}, RulesOf(info.impossible(), info.settings(), {}, Tags())});
      }
    }
    if (backends_.empty())
      return RejectAt(BackendsPosition(), fmt::format("no backend of the recipe is offered by {}", Workers()),
                      BackendsRemedy());
    return {};
  }

  std::string BackendsRemedy() const { return "Backends are " + Join(NamesOf(catalogue_.backends()), ", "); }

  proto::Position BackendsPosition() const {
    return recipe_.backends().empty() ? proto::Position() : recipe_.backends(0).position();
  }

  Result<> MatchBackend(const proto::BackendChoice& choice) {
    const std::string shown = Printable(choice.backend(), 80);
    MatchedBackend backend{FindBackend(choice.backend()), {}, {}};
    if (backend.info == nullptr) {
      return LeaveOut(choice.position(),
                      fmt::format("no backend '{}' is offered by {}{}", shown, Workers(),
                                  DidYouMean(choice.backend(), NamesOf(catalogue_.backends()))),
                      BackendsRemedy());
    }
    const ParameterOwner owner{fmt::format("backend '{}'", shown), "setting"};
    TRY_ASSIGN(backend.settings,
               PlanParameters(choice.settings(), backend.info->settings(), owner, Rules(), plan_->notes));
    backend.rules = RulesOf(backend.info->impossible(), backend.info->settings(), backend.settings, Tags());
    TRY_ASSIGN(const bool possible, IsPossible(backend.settings, backend.rules, owner.name));
    if (!possible)
      return LeaveOut(choice.position(), fmt::format("{}: {}", owner.name, backend.rules.front().reason), kTogether);
    backends_.push_back(std::move(backend));
    return {};
  }

  // --- formats ---

  int FormatNumber(const std::string& format) {
    auto& formats = plan_->formats;
    const auto found = std::find(formats.begin(), formats.end(), format);
    if (found != formats.end()) return static_cast<int>(found - formats.begin());
    formats.push_back(format);
    return static_cast<int>(formats.size()) - 1;
  }

  static bool Accepts(const proto::PassInfo& info, const std::string& format) {
    return std::find(info.accepts().begin(), info.accepts().end(), format) != info.accepts().end();
  }

  std::vector<std::string> FormatNames(const std::set<int>& formats) const {
    std::vector<std::string> names;
    for (const int format : formats) names.push_back(plan_->formats[static_cast<size_t>(format)]);
    return names;
  }

  // The formats that can stand behind a stage, given those before it.
  std::set<int> FormatsAfter(const MatchedStage& stage, const std::set<int>& before) {
    std::set<int> after;
    for (const MatchedOption& option : stage.options) {
      for (const int format : before) {
        const std::string name = plan_->formats[static_cast<size_t>(format)];
        if (option.info == nullptr) {
          after.insert(format);
        } else if (Accepts(*option.info, name)) {
          after.insert(option.info->produces().empty() ? format : FormatNumber(option.info->produces()));
        }
      }
    }
    return after;
  }

  // A stage that no format can pass makes the recipe impossible; so does an end that no backend loads.
  Result<> FollowFormats() {
    if (inputs_.model_format.empty()) Note("the model's format is not known; onnx is assumed");
    FormatNumber(inputs_.model_format.empty() ? "onnx" : inputs_.model_format);
    std::set<int> formats = {0};
    for (auto stage = stages_.begin(); stage != stages_.end();) {
      const std::set<int> after = FormatsAfter(*stage, formats);
      if (!after.empty()) {
        formats = after;
        ++stage;
        continue;
      }
      std::vector<std::string> wants;
      for (const MatchedOption& option : stage->options) {
        wants.push_back(fmt::format("{} takes {}", option.info->name(),
                                    Join({option.info->accepts().begin(), option.info->accepts().end()}, ", ")));
      }
      TRY(LeaveOut(stage->stage->position(),
                   fmt::format("no pass of this stage takes the model, which is {} there: {}",
                               Join(FormatNames(formats), " or "), Join(wants, "; ")),
                   "Take the stage out, or convert the model first"));
      stage = stages_.erase(stage);
    }
    return CheckEnd(formats);
  }

  Result<> CheckEnd(const std::set<int>& formats) const {
    std::vector<std::string> loads;
    for (const MatchedBackend& backend : backends_) {
      loads.push_back(fmt::format("{} loads {}", backend.info->name(),
                                  Join({backend.info->formats().begin(), backend.info->formats().end()}, ", ")));
      for (const int format : formats) {
        if (Loads(*backend.info, plan_->formats[static_cast<size_t>(format)])) return {};
      }
    }
    return RejectAt(BackendsPosition(),
                    fmt::format("no candidate is possible: the passes end in {}, and {}",
                                Join(FormatNames(formats), " or "), Join(loads, "; ")),
                    "Add a backend that loads it, or a pass that converts it");
  }

  static bool Loads(const proto::BackendInfo& info, const std::string& format) {
    return std::find(info.formats().begin(), info.formats().end(), format) != info.formats().end();
  }

  // --- dimensions ---

  // Names and conditions of a pass's or backend's parameters, behind the choice that they belong to.
  void AddParameterDimensions(const std::vector<ParameterPlan>& parameters, const std::string& prefix,
                              size_t choice_dimension, const std::string& choice) {
    const size_t first = plan_->dimensions.size();
    for (const ParameterPlan& parameter : parameters) {
      Dimension dimension = parameter.dimension;
      dimension.name = prefix + "." + dimension.name;
      for (Dimension::Condition& condition : dimension.conditions) condition.dimension += first;
      dimension.conditions.insert(dimension.conditions.begin(), {choice_dimension, {TextValue(choice)}});
      plan_->dimensions.push_back(std::move(dimension));
    }
  }

  size_t AddChoiceDimension(const std::string& name, const std::vector<std::string>& labels) {
    Dimension dimension;
    dimension.name = name;
    for (const std::string& label : labels) dimension.choices.push_back(TextValue(label));
    plan_->dimensions.push_back(std::move(dimension));
    return plan_->dimensions.size() - 1;
  }

  // A pass listed for the second time in a stage is pass#2.
  static std::vector<std::string> Labels(const MatchedStage& stage) {
    std::vector<std::string> labels;
    std::map<std::string, int> seen;
    for (const MatchedOption& option : stage.options) {
      const std::string name = option.info == nullptr ? kNone : option.info->name();
      const int number = ++seen[name];
      labels.push_back(number == 1 ? name : fmt::format("{}#{}", name, number));
    }
    return labels;
  }

  void NumberDimensions() {
    for (MatchedStage& matched : stages_) {
      const std::string name = fmt::format("passes.{}", matched.index);
      const std::vector<std::string> labels = Labels(matched);
      StagePlan stage;
      stage.index = matched.index;
      stage.dimension = AddChoiceDimension(name, labels);
      for (size_t i = 0; i < labels.size(); ++i) {
        MatchedOption& from = matched.options[i];
        OptionPlan option;
        option.choice = from.index;
        option.label = labels[i];
        option.pass = from.info == nullptr ? "" : from.info->name();
        option.first_dimension = plan_->dimensions.size();
        option.parameters = std::move(from.parameters);
        option.rules = std::move(from.rules);
        option.backend_rules = NumberedRules(std::move(from.backend_rules));
        AddParameterDimensions(option.parameters, name + "." + option.label, stage.dimension, option.label);
        stage.options.push_back(std::move(option));
      }
      plan_->stages.push_back(std::move(stage));
    }
    NumberBackends();
    LinkFormats();
  }

  // With the numbers of the recipe's backends; rules on none of those are left out.
  std::vector<BackendRule> NumberedRules(std::vector<StepRule> rules) const {
    std::vector<BackendRule> numbered;
    for (StepRule& rule : rules) {
      uint64_t bits = 0;
      for (size_t b = 0; b < backends_.size(); ++b) {
        const bool is_named =
            std::find(rule.backends.begin(), rule.backends.end(), backends_[b].info->name()) != rule.backends.end();
        bits |= uint64_t{is_named} << b;
      }
      if (bits != 0) numbered.push_back({std::move(rule), bits});
    }
    return numbered;
  }

  void NumberBackends() {
    std::vector<std::string> names;
    for (const MatchedBackend& backend : backends_) names.push_back(backend.info->name());
    plan_->backend_dimension = AddChoiceDimension("backend", names);
    for (MatchedBackend& from : backends_) {
      BackendPlan backend;
      backend.name = from.info->name();
      backend.first_dimension = plan_->dimensions.size();
      backend.parameters = std::move(from.settings);
      backend.rules = std::move(from.rules);
      AddParameterDimensions(backend.parameters, backend.name, plan_->backend_dimension, backend.name);
      plan_->backends.push_back(std::move(backend));
    }
  }

  // All formats are known by now.
  void LinkFormats() {
    for (size_t s = 0; s < stages_.size(); ++s) {
      for (size_t o = 0; o < stages_[s].options.size(); ++o) {
        const proto::PassInfo* info = stages_[s].options[o].info;
        for (int format = 0; format < static_cast<int>(plan_->formats.size()); ++format) {
          const bool accepted = info == nullptr || Accepts(*info, plan_->formats[static_cast<size_t>(format)]);
          const bool converts = info != nullptr && !info->produces().empty();
          plan_->stages[s].options[o].next_format.push_back(!accepted  ? -1
                                                            : converts ? KnownFormat(info->produces())
                                                                       : format);
        }
      }
    }
    for (size_t b = 0; b < backends_.size(); ++b) {
      for (const std::string& format : plan_->formats)
        plan_->backends[b].loads.push_back(Loads(*backends_[b].info, format));
    }
  }

  // -1 for a format that no pipeline reaches.
  int KnownFormat(const std::string& format) const {
    const auto found = std::find(plan_->formats.begin(), plan_->formats.end(), format);
    return found == plan_->formats.end() ? -1 : static_cast<int>(found - plan_->formats.begin());
  }

  // --- counting ---

  Result<> CutBoxes() {
    TRY(CutIntoParts(*plan_));
    for (BackendPlan& backend : plan_->backends) {
      TRY_ASSIGN(SplitResult split,
                 SplitByConditions(backend.parameters, backend.rules, fmt::format("backend '{}'", backend.name)));
      for (Box& box : split.boxes) {
        backend.boxes.emplace_back(std::move(box));
        backend.count = backend.count + backend.boxes.back().from[0];
      }
    }
    return {};
  }

  Result<> CheckTotal() const {
    if (plan_->total.exact == 0) return Fail(ErrorCode::kRejected, "the recipe leaves no possible candidate");
    if (!(plan_->total.approximate < kAbsurd))
      return Fail(ErrorCode::kRejected, "the recipe has more than 10^300 candidates", "List fewer values");
    return {};
  }

  // --- presets and notes ---

  // Whether the formats can be led from each stage to a backend, with one option demanded at one stage.
  using Reach = std::vector<std::vector<bool>>;
  Reach ReachOf(const BackendPlan& backend, std::optional<OptionPlace> demanded) const {
    const size_t end = plan_->stages.size(), formats = plan_->formats.size();
    Reach reach(end + 1, std::vector<bool>(formats, false));
    reach[end] = backend.loads;
    for (size_t s = end; s-- > 0;) {
      for (size_t o = 0; o < plan_->stages[s].options.size(); ++o) {
        if (demanded && demanded->first == s && demanded->second != o) continue;
        for (size_t f = 0; f < formats; ++f) {
          const int next = NextFormat(plan_->stages[s].options[o], static_cast<int>(f));
          if (next >= 0 && reach[s + 1][static_cast<size_t>(next)]) reach[s][f] = true;
        }
      }
    }
    return reach;
  }

  bool CanRun(size_t backend, std::optional<OptionPlace> demanded) const {
    if (demanded && PartFor(plan_->stages[demanded->first].options[demanded->second], backend) == nullptr) return false;
    return ReachOf(plan_->backends[backend], demanded)[0][0];
  }

  // The first of the option's parts that the backend can end; nullptr if there is none, but for `none`, which has no
  // parts, a part without parameters.
  static const Part* PartFor(const OptionPlan& option, size_t backend) {
    static const Part nothing;
    if (option.pass.empty()) return &nothing;
    const auto part = std::find_if(option.parts.begin(), option.parts.end(),
                                   [&](const Part& one) { return (one.barred >> backend & 1) == 0; });
    return part == option.parts.end() ? nullptr : &*part;
  }

  // The option's rules on the backend.
  static std::vector<StepRule> RulesWith(const OptionPlan& option, size_t backend) {
    std::vector<StepRule> rules = option.rules;
    for (const BackendRule& rule : option.backend_rules) {
      if ((rule.backends >> backend & 1) != 0) rules.push_back(rule.rule);
    }
    return rules;
  }

  static int NextFormat(const OptionPlan& option, int format) {
    return option.pass.empty() ? format : option.next_format[static_cast<size_t>(format)];
  }

  void AssignPreferred(const std::vector<ParameterPlan>& parameters, size_t first, Assignment& assignment) const {
    for (size_t p = 0; p < parameters.size(); ++p) {
      const auto& conditions = parameters[p].dimension.conditions;
      const bool active = std::all_of(conditions.begin(), conditions.end(), [&](const Dimension::Condition& condition) {
        const auto value = assignment.find(first + condition.dimension);
        return value != assignment.end() &&
               std::any_of(condition.values.begin(), condition.values.end(),
                           [&](const proto::Value& wanted) { return Equal(wanted, value->second); });
      });
      if (active) assignment[first + p] = parameters[p].preferred;
    }
  }

  // As AssignPreferred; where those values do not go together, the first that do, with as many of them as that leaves.
  void AssignPossible(const std::vector<ParameterPlan>& parameters, const std::vector<StepRule>& rules,
                      const Box& first_box, size_t first, Assignment& assignment) const {
    AssignPreferred(parameters, first, assignment);
    const auto number_of = [&](size_t p) { return NumberIn(parameters[p].dimension, assignment, first + p); };
    if (BrokenRule(rules, number_of) == nullptr) return;
    for (size_t p = 0; p < parameters.size(); ++p) {
      const Slot& slot = first_box[p];
      if (!slot.present) {
        assignment.erase(first + p);
        continue;
      }
      const auto preferred = IndexIn(parameters[p].dimension, parameters[p].preferred);
      if (slot.continuous || (preferred && Holds(slot, *preferred))) {
        assignment[first + p] = parameters[p].preferred;
      } else {
        assignment[first + p] = ValueAt(parameters[p].dimension, slot.all ? 0 : slot.values.front());
      }
    }
  }

  // Options in the order of preference: none, then the recipe's.
  static std::vector<size_t> Preference(const StagePlan& stage) {
    std::vector<size_t> order(stage.options.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return stage.options[a].pass.empty() > stage.options[b].pass.empty(); });
    return order;
  }

  // nullopt where the backend cannot end a pipeline with the option demanded.
  std::optional<Assignment> Preset(size_t backend_index, std::optional<OptionPlace> demanded) const {
    const BackendPlan& backend = plan_->backends[backend_index];
    const Reach reach = ReachOf(backend, demanded);
    if (!reach[0][0]) return std::nullopt;
    Assignment assignment;
    int format = 0;
    for (size_t s = 0; s < plan_->stages.size(); ++s) {
      const StagePlan& stage = plan_->stages[s];
      bool is_chosen = false;
      for (const size_t o : Preference(stage)) {
        if (demanded && demanded->first == s && demanded->second != o) continue;
        const OptionPlan& option = stage.options[o];
        const int next = NextFormat(option, format);
        const Part* part = PartFor(option, backend_index);
        if (next < 0 || part == nullptr || !reach[s + 1][static_cast<size_t>(next)]) continue;
        assignment[stage.dimension] = TextValue(option.label);
        AssignPossible(option.parameters, RulesWith(option, backend_index), part->steps.box, option.first_dimension,
                       assignment);
        format = next;
        is_chosen = true;
        break;
      }
      if (!is_chosen) return std::nullopt;
    }
    assignment[plan_->backend_dimension] = TextValue(backend.name);
    AssignPossible(backend.parameters, backend.rules, backend.boxes.front().box, backend.first_dimension, assignment);
    return assignment;
  }

  void AddPreset(std::optional<Assignment> preset) {
    if (!preset || plan_->presets.size() >= kMaxPresets) return;
    const auto same = [&](const Assignment& other) {
      return other.size() == preset->size() &&
             std::equal(other.begin(), other.end(), preset->begin(),
                        [](const auto& a, const auto& b) { return a.first == b.first && Equal(a.second, b.second); });
    };
    if (std::none_of(plan_->presets.begin(), plan_->presets.end(), same)) plan_->presets.push_back(*std::move(preset));
  }

  void ChoosePresets() {
    for (size_t b = 0; b < plan_->backends.size(); ++b) AddPreset(Preset(b, std::nullopt));
    for (size_t s = 0; s < plan_->stages.size(); ++s) {
      for (size_t o = 0; o < plan_->stages[s].options.size(); ++o) {
        for (size_t b = 0; b < plan_->backends.size(); ++b) AddPreset(Preset(b, OptionPlace{s, o}));
        for (size_t b = 0; b < plan_->backends.size(); ++b) AddUniformPresets(b, {s, o});
      }
    }
  }

  // Where an option has precisions for groups of layers: all groups at the second choice, all at the third ...
  void AddUniformPresets(size_t backend, const OptionPlace& place) {
    const OptionPlan& option = plan_->stages[place.first].options[place.second];
    size_t levels = 0;
    for (const ParameterPlan& parameter : option.parameters) {
      if (parameter.dimension.group) levels = std::max(levels, parameter.dimension.choices.size());
    }
    const std::vector<StepRule> rules = RulesWith(option, backend);
    for (size_t level = 0; level < levels; ++level) {
      std::optional<Assignment> preset = Preset(backend, place);
      if (!preset) return;
      for (size_t p = 0; p < option.parameters.size(); ++p) {
        const Dimension& dimension = option.parameters[p].dimension;
        const auto at = preset->find(option.first_dimension + p);
        if (dimension.group && at != preset->end())
          at->second = dimension.choices[std::min(level, dimension.choices.size() - 1)];
      }
      const auto number_of = [&](size_t p) {
        return NumberIn(option.parameters[p].dimension, *preset, option.first_dimension + p);
      };
      if (BrokenRule(rules, number_of) == nullptr) AddPreset(std::move(preset));
    }
  }

  static std::optional<size_t> NumberIn(const Dimension& dimension, const Assignment& assignment, size_t number) {
    const auto value = assignment.find(number);
    if (value == assignment.end()) return std::nullopt;
    return IndexIn(dimension, value->second);
  }

  // What the recipe lists and no candidate can have.
  void NoteUnusable() {
    for (size_t b = 0; b < plan_->backends.size(); ++b) {
      if (!CanRun(b, std::nullopt)) {
        Note(fmt::format("{}: never used, it loads {}", plan_->backends[b].name,
                         Join({backends_[b].info->formats().begin(), backends_[b].info->formats().end()}, ", ")));
      }
    }
    for (size_t s = 0; s < plan_->stages.size(); ++s) {
      for (size_t o = 0; o < plan_->stages[s].options.size(); ++o) NoteUnusableOption(s, o);
    }
  }

  // A pass listed twice is told of once.
  void DropRepeatedNotes() {
    std::set<std::string> seen;
    std::erase_if(plan_->notes, [&](const std::string& note) { return !seen.insert(note).second; });
  }

  void NoteUnusableOption(size_t stage, size_t index) {
    std::vector<std::string> with, without;
    for (size_t b = 0; b < plan_->backends.size(); ++b) {
      if (CanRun(b, std::nullopt))
        (CanRun(b, OptionPlace{stage, index}) ? with : without).push_back(plan_->backends[b].name);
    }
    const std::string& label = plan_->stages[stage].options[index].label;
    if (with.empty()) {
      Note(fmt::format("{}: never used, the model's format does not fit or no backend loads what follows", label));
    } else if (!without.empty()) {
      Note(fmt::format("{}: skipped for {}", Join(without, ", "), label));
    }
  }

  const proto::Recipe& recipe_;
  const proto::Catalogue& catalogue_;
  const SpaceInputs& inputs_;
  std::shared_ptr<SpacePlan> plan_;
  std::vector<MatchedStage> stages_;
  std::vector<MatchedBackend> backends_;
};

}  // namespace

Result<std::shared_ptr<const SpacePlan>> BuildPlan(const proto::Recipe& recipe, const proto::Catalogue& catalogue,
                                                   const SpaceInputs& inputs) {
  return PlanBuilder(recipe, catalogue, inputs).Build();
}

}  // namespace hone
