#include "coordinator/ranking.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr const char* kLatency = "latency_ms_p50";
constexpr const char* kDecoding = "decode_tokens_per_s";

Measured Collect(const std::vector<proto::Metric>& metrics, const std::optional<proto::Metric>& speedup) {
  Measured measured;
  for (const auto& metric : metrics) measured.metrics[metric.name()] = metric.value();
  if (speedup) {
    measured.speedup = speedup->value();
    if (speedup->has_high()) measured.most_speedup = speedup->high();
  }
  return measured;
}

std::optional<double> MetricOf(const Measured& trial, const std::string& name) {
  if (name == "speedup") return trial.speedup;
  const auto found = trial.metrics.find(name);
  return found == trial.metrics.end() ? std::nullopt : std::optional<double>(found->second);
}

double Excess(double by, double bound) { return by / (bound == 0 ? 1 : std::abs(bound)); }

proto::Objective Minimize(const std::string& metric) {
  proto::Objective objective;
  objective.set_metric(metric);
  return objective;
}

// The axes of the front.
std::vector<proto::Objective> Axes(const std::vector<proto::Objective>& objectives,
                                   const std::vector<Contender>& contenders, const Measured* baseline) {
  if (objectives.size() != 1) return objectives;
  std::vector<proto::Objective> axes = objectives;
  for (const char* name : {kLatency, "size_bytes", "accuracy_drop"}) {
    if (name == objectives.front().metric()) continue;
    const proto::Objective axis = Minimize(name);
    const auto has = [&](const Contender& contender) {
      return ObjectiveValue(axis, contender.measured, baseline).has_value();
    };
    if (std::all_of(contenders.begin(), contenders.end(), has)) axes.push_back(axis);
  }
  return axes;
}

}  // namespace

Measured MeasuredOf(const AttemptMetrics& metrics) { return Collect(metrics.candidate, metrics.speedup); }
Result<std::map<uint64_t, Measured>> MeasuredOf(Store& store, uint64_t job, uint32_t study) {
  std::map<uint64_t, Measured> trials;
  TRY(store.EachMetric(
      job, study,
      [&](uint64_t trial, Subject subject, std::string_view name, double value, std::optional<double> high) {
        // They come in order.
        Measured& measured = trials.try_emplace(trials.end(), trial)->second;
        if (subject == Subject::kCandidate) measured.metrics.emplace_hint(measured.metrics.end(), name, value);
        if (subject != Subject::kPaired) return;
        measured.speedup = value;
        measured.most_speedup = high;
      }));
  return trials;
}
Measured MeasuredOf(const Measurement& measurement) { return Collect(measurement.metrics, measurement.speedup); }

std::vector<proto::Objective> ObjectivesOf(const proto::Recipe& recipe) {
  if (recipe.objectives().empty()) return {Minimize(kLatency)};
  return {recipe.objectives().begin(), recipe.objectives().end()};
}

std::optional<double> ObjectiveValue(const proto::Objective& objective, const Measured& trial,
                                     const Measured* baseline) {
  std::optional<double> value = MetricOf(trial, objective.metric());
  const bool is_latency = objective.metric() == kLatency;
  if (is_latency || objective.metric() == kDecoding) {
    if (trial.speedup && *trial.speedup > 0) {
      value = is_latency ? 1 / *trial.speedup : *trial.speedup;
    } else if (value && baseline != nullptr) {
      const double reference = MetricOf(*baseline, objective.metric()).value_or(0);
      if (reference > 0) value = *value / reference;
    }
  }
  if (!value) return std::nullopt;
  return objective.maximize() ? -*value : *value;
}

std::optional<double> OptimisticValue(const proto::Objective& objective, const Measured& trial,
                                      const Measured* baseline) {
  Measured lucky = trial;
  if (trial.most_speedup) lucky.speedup = trial.most_speedup;
  const auto value = ObjectiveValue(objective, trial, baseline), best = ObjectiveValue(objective, lucky, baseline);
  return value && best ? std::optional(std::min(*value, *best)) : value;
}

Result<std::vector<double>> ObjectiveValues(const std::vector<proto::Objective>& objectives, const Measured& trial,
                                            const Measured* baseline) {
  std::vector<double> values;
  for (const auto& objective : objectives) {
    const auto value = ObjectiveValue(objective, trial, baseline);
    if (!value) return Fail(ErrorCode::kFailed, fmt::format("no value for objective {}", objective.metric()));
    values.push_back(*value);
  }
  return values;
}

Result<std::optional<std::string>> BrokenConstraint(const proto::Recipe& recipe, const Measured& trial) {
  std::optional<std::string> broken;
  for (const auto& constraint : recipe.constraints()) {
    const auto value = MetricOf(trial, constraint.metric());
    if (!value) return Fail(ErrorCode::kFailed, fmt::format("no value for constraint {}", constraint.metric()));
    if (broken) continue;
    if (constraint.has_maximum() && *value > constraint.maximum()) {
      broken =
          fmt::format("{} {} is above {}", constraint.metric(), HumanNumber(*value), HumanNumber(constraint.maximum()));
    } else if (constraint.has_minimum() && *value < constraint.minimum()) {
      broken =
          fmt::format("{} {} is below {}", constraint.metric(), HumanNumber(*value), HumanNumber(constraint.minimum()));
    }
  }
  return broken;
}

bool Reaches(const google::protobuf::RepeatedPtrField<proto::Constraint>& goal, const Measured& trial) {
  return !goal.empty() && std::all_of(goal.begin(), goal.end(), [&](const proto::Constraint& bound) {
    const auto value = MetricOf(trial, bound.metric());
    return value && (!bound.has_minimum() || *value >= bound.minimum()) &&
           (!bound.has_maximum() || *value <= bound.maximum());
  });
}

std::vector<double> Excesses(const proto::Recipe& recipe, const Measured& trial) {
  std::vector<double> excesses;
  for (const auto& constraint : recipe.constraints()) {
    const auto value = MetricOf(trial, constraint.metric());
    double excess = value ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    if (value && constraint.has_maximum())
      excess = std::max(excess, Excess(*value - constraint.maximum(), constraint.maximum()));
    if (value && constraint.has_minimum())
      excess = std::max(excess, Excess(constraint.minimum() - *value, constraint.minimum()));
    excesses.push_back(excess);
  }
  return excesses;
}

double Violation(const proto::Recipe& recipe, const Measured& trial) {
  double sum = 0;
  for (const double excess : Excesses(recipe, trial)) sum += excess > 0 ? excess : 0;
  return sum;
}

std::vector<uint64_t> Ranked(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                             const Measured* baseline) {
  std::vector<std::pair<double, uint64_t>> order;
  for (const Contender& contender : contenders) {
    const auto value = ObjectiveValue(objectives.front(), contender.measured, baseline);
    if (value) order.emplace_back(*value, contender.trial);
  }
  std::sort(order.begin(), order.end());
  std::vector<uint64_t> trials;
  for (const auto& [value, trial] : order) trials.push_back(trial);
  return trials;
}

std::optional<uint64_t> Best(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                             const Measured* baseline) {
  std::vector<Contender> measured_again;
  std::copy_if(contenders.begin(), contenders.end(), std::back_inserter(measured_again),
               [](const auto& one) { return one.final_done; });
  const auto ranked = Ranked(objectives, measured_again.empty() ? contenders : measured_again, baseline);
  return ranked.empty() ? std::nullopt : std::optional<uint64_t>(ranked.front());
}

std::vector<uint64_t> Front(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                            const Measured* baseline) {
  const auto axes = Axes(objectives, contenders, baseline);
  std::vector<Observation> observations;
  for (const Contender& contender : contenders) {
    const auto values = ObjectiveValues(axes, contender.measured, baseline);
    if (!values) continue;
    Observation& observation = observations.emplace_back();
    observation.trial = contender.trial;
    observation.state = proto::TRIAL_COMPLETE;
    observation.values = *values;
  }
  std::vector<uint64_t> trials;
  for (const size_t index : ParetoFront(observations)) trials.push_back(observations[index].trial);
  return trials;
}

}  // namespace hone
