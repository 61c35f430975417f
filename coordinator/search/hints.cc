#include "coordinator/search/hints.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "common/recipe/metrics.h"
#include "common/recipe/value.h"
#include "coordinator/search/plan.h"

namespace hone {
namespace {

// The first choices beyond the most precise one that any group of the option has.
size_t CheaperChoices(const OptionPlan& option) {
  size_t most = 0;
  for (const ParameterPlan& parameter : option.parameters) {
    const Dimension& dimension = parameter.dimension;
    if (dimension.group)
      most = std::max(most, dimension.choices.size() - std::min<size_t>(1, dimension.choices.size()));
  }
  return most;
}

// Of a few samples, labels tell groups apart in leaps; the noise that a group adds to the outputs tells more.
double GroupLossOf(const proto::SensitivityResult::Loss& loss, bool in_leaps) {
  return in_leaps && loss.has_sqnr_db() ? std::pow(10, -loss.sqnr_db() / 10) : loss.loss();
}

// All groups at the choice, the rest as preferred; parameters whose conditions do not hold then are left out, as in a
// candidate.
proto::PassStep StepWithGroupsAt(const OptionPlan& option, size_t choice) {
  std::vector<const proto::Value*> values(option.parameters.size(), nullptr);
  std::map<std::string, proto::Value> given;
  for (size_t p = 0; p < option.parameters.size(); ++p) {
    const ParameterPlan& parameter = option.parameters[p];
    const auto& conditions = parameter.dimension.conditions;
    const bool active = std::all_of(conditions.begin(), conditions.end(), [&](const Dimension::Condition& condition) {
      const proto::Value* value = values[condition.dimension];
      return value != nullptr && std::any_of(condition.values.begin(), condition.values.end(),
                                             [&](const proto::Value& one) { return Equal(one, *value); });
    });
    if (!active) continue;
    const auto& choices = parameter.dimension.choices;
    values[p] = parameter.dimension.group && !choices.empty() ? &choices[std::min(choice, choices.size() - 1)]
                                                              : &parameter.preferred;
    given[parameter.dimension.name] = *values[p];
  }
  proto::PassStep step;
  step.set_pass(option.pass);
  for (const auto& [name, value] : given) {
    proto::Parameter& parameter = *step.add_parameters();
    parameter.set_name(name);
    *parameter.mutable_value() = value;
  }
  return step;
}

}  // namespace

SensitivityPlan SensitivityPlanOf(const Space& space, const proto::Search& search) {
  SensitivityPlan plan;
  if (!TakesHints(search)) return plan;
  for (const StagePlan& stage : space.plan()->stages) {
    for (const OptionPlan& option : stage.options) {
      for (size_t choice = 1; choice <= CheaperChoices(option) && plan.steps.size() < kMostSensitivitySteps; ++choice) {
        const auto step = static_cast<uint32_t>(plan.steps.size());
        plan.steps.push_back(StepWithGroupsAt(option, choice));
        for (size_t p = 0; p < option.parameters.size(); ++p) {
          const Dimension& dimension = option.parameters[p].dimension;
          if (dimension.group && choice < dimension.choices.size())
            plan.places.push_back({step, dimension.name, option.first_dimension + p, choice});
        }
      }
    }
  }
  return plan;
}

std::vector<GroupHint> HintsOf(const SensitivityPlan& plan, const proto::SensitivityResult& table,
                               std::string_view objective) {
  struct Entry {
    double loss = 0;
    double gain_ms = 0;
    double parameters = 0;
  };
  std::map<std::pair<uint32_t, std::string>, Entry> entries;
  const MetricInfo* metric = FindMetric(table.metric());
  const bool in_leaps = metric != nullptr && (metric->needs_labels || table.metric() == "top1_agreement");
  bool timed = objective != "size_bytes";
  for (const auto& group : table.group()) {
    for (const auto& loss : group.losses()) {
      timed = timed && loss.has_gain_ms() && std::isfinite(loss.gain_ms());
      const double lost = GroupLossOf(loss, in_leaps);
      if (std::isfinite(lost))
        entries[{loss.step(), group.name()}] = {lost, loss.gain_ms(), static_cast<double>(group.parameters())};
    }
  }
  std::vector<GroupHint> hints;
  for (const SensitivityPlan::Place& place : plan.places) {
    const auto entry = entries.find({place.step, place.group});
    if (entry == entries.end()) continue;
    hints.push_back(
        {place.dimension, place.choice, entry->second.loss, timed ? entry->second.gain_ms : entry->second.parameters});
  }
  return hints;
}

}  // namespace hone
