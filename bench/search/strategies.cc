#include "bench/search/strategies.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "coordinator/search/sampler.h"
#include "coordinator/search/tpe_optuna.h"

namespace hone {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Measured {
  Point point;
  double drop = 0;
  std::vector<double> timings;
  double Mean() const {
    double sum = 0;
    for (const double timing : timings) sum += timing;
    return sum / static_cast<double>(timings.size());
  }
};

// What the form that the user would take is worth: one that seems feasible and is not counts as the original.
double RegretOf(const Problem& problem, const Measured* picked) {
  double latency = problem.fallback();
  if (picked != nullptr) {
    const Truth truth = problem.At(picked->point);
    if (truth.drop <= problem.bound()) latency = std::min(latency, truth.latency);
  }
  return latency / problem.optimum() - 1;
}

const Measured* Best(const Problem& problem, const std::vector<Measured>& all, size_t count) {
  const Measured* best = nullptr;
  for (size_t i = 0; i < std::min(count, all.size()); ++i) {
    if (all[i].drop > problem.bound() || all[i].timings.empty()) continue;
    if (best == nullptr || all[i].Mean() < best->Mean()) best = &all[i];
  }
  return best;
}

// Times the one with the lowest lower bound again, until the timings are used up; then the best of those timed most is
// picked.
const Measured* Race(const Problem& problem, std::vector<Measured>& all, uint64_t timings, uint64_t seed) {
  constexpr double kNoise = 0.02;
  for (uint64_t i = 0; i < timings; ++i) {
    Measured* next = nullptr;
    double lowest = kInfinity;
    for (Measured& one : all) {
      if (one.drop > problem.bound() || one.timings.empty()) continue;
      const double bound = one.Mean() * (1 - kNoise / std::sqrt(static_cast<double>(one.timings.size())));
      if (bound < lowest) {
        lowest = bound;
        next = &one;
      }
    }
    if (next == nullptr) return nullptr;
    next->timings.push_back(problem.MeasuredLatency(next->point, MixOf(seed, 9001, i)));
  }
  const Measured* best = nullptr;
  double least = kInfinity;
  for (const Measured& one : all) {
    if (one.drop > problem.bound() || one.timings.empty()) continue;
    const double value = one.Mean() * (1 + kNoise / std::sqrt(static_cast<double>(one.timings.size())));
    if (value < least) {
      least = value;
      best = &one;
    }
  }
  return best;
}

Observation RunningTrial(uint64_t trial, Assignment assignment) {
  Observation observation;
  observation.trial = trial;
  observation.assignment = std::move(assignment);
  observation.state = proto::TRIAL_RUNNING;
  return observation;
}

void Tell(const Problem& problem, Measured& measured, uint64_t seed, Observation& observation) {
  measured.drop = problem.ObservedDrop(measured.point);
  const double beyond = (measured.drop - problem.bound()) / problem.bound();
  if (std::isinf(measured.drop)) {
    observation.state = proto::TRIAL_FAILED;
    observation.violation = kInfinity;
    return;
  }
  observation.constraints = {beyond};
  if (beyond > 0) {
    observation.state = proto::TRIAL_INFEASIBLE;
    observation.violation = beyond;
    return;
  }
  measured.timings = {problem.MeasuredLatency(measured.point, MixOf(seed, 17, observation.trial))};
  observation.state = proto::TRIAL_COMPLETE;
  observation.values = measured.timings;
}

void RunSampler(const Problem& problem, const RunPlan& plan, const std::vector<uint64_t>& budgets, Outcome& outcome) {
  const bool races = plan.strategy.starts_with("auto"), has_table = plan.strategy == "auto+table";
  auto sampler = *MakeSampler(has_table ? "auto" : plan.strategy);
  const std::vector<GroupHint> hints = has_table ? problem.Sensitivity() : std::vector<GroupHint>{};
  uint64_t paid = 0;
  for (const GroupHint& hint : hints) paid = std::max(paid, hint.choice);
  const uint64_t budget = budgets.back() - paid;
  std::vector<Observation> observations;
  std::vector<Measured> all;
  std::unordered_set<Point, PointHash> seen;
  size_t told = 0;
  while (observations.size() < budget) {
    const StudyView view{&problem.space(), &observations, plan.seed, 1, budget, races, &hints};
    const double begin = Now();
    auto asked = sampler->Ask(view, observations.size() + 1);
    outcome.ask_ms += Now() - begin;
    if (!asked || !*asked) break;
    ++outcome.asked;
    Measured measured;
    measured.point = *problem.coded().Encode(**asked);
    if (!seen.insert(measured.point).second) ++outcome.duplicates;
    observations.push_back(RunningTrial(observations.size() + 1, **asked));
    all.push_back(std::move(measured));
    if (observations.size() - told < plan.parallel) continue;
    Tell(problem, all[told], plan.seed, observations[told]);
    ++told;
  }
  for (; told < observations.size(); ++told) Tell(problem, all[told], plan.seed, observations[told]);
  for (const uint64_t one : budgets) {
    const Measured* picked =
        races ? Race(problem, all, budget - observations.size(), plan.seed) : Best(problem, all, one);
    outcome.regret.push_back(RegretOf(problem, picked));
  }
}

// Each dimension that is active, suggested in order.
class OptunaSide {
 public:
  OptunaSide(const Problem& problem, uint32_t seed) : problem_(problem), tpe_(seed, 1) {
    const auto& dimensions = problem.space().dimensions();
    for (size_t d = 0; d < dimensions.size(); ++d) {
      OptunaParameter parameter;
      parameter.name = dimensions[d].name;
      if (!dimensions[d].choices.empty()) {
        parameter.choices = dimensions[d].choices.size();
      } else {
        parameter.low = dimensions[d].low;
        parameter.high = dimensions[d].high;
        parameter.step = dimensions[d].step;
        parameter.log = dimensions[d].log;
        parameter.integer = dimensions[d].integer;
      }
      parameters_.push_back(std::move(parameter));
    }
  }

  Point Ask(std::vector<OptunaTrial> history, OptunaTrial& trial) {
    const CodedSpace& coded = problem_.coded();
    tpe_.Begin(std::move(history));
    Point point(coded.size(), kAbsent);
    for (size_t d = 0; d < coded.size(); ++d) {
      if (!coded.IsActive(d, point)) continue;
      const double value = tpe_.Suggest(parameters_[d]);
      trial.parameters[parameters_[d].name] = {parameters_[d], value};
      const bool stepped = parameters_[d].choices == 0 && parameters_[d].step > 0;
      point[d] = stepped ? std::round((value - parameters_[d].low) / parameters_[d].step) : value;
    }
    return point;
  }

 private:
  const Problem& problem_;
  OptunaTpe tpe_;
  std::vector<OptunaParameter> parameters_;
};

void RunOptuna(const Problem& problem, const RunPlan& plan, Outcome& outcome) {
  OptunaSide side(problem, static_cast<uint32_t>(plan.seed));
  std::vector<OptunaTrial> history;
  std::vector<Measured> all;
  std::unordered_set<Point, PointHash> seen;
  size_t told = 0;
  const auto tell = [&] {
    Measured& measured = all[told];
    OptunaTrial& trial = history[told];
    measured.drop = problem.ObservedDrop(measured.point);
    measured.timings = {problem.MeasuredLatency(measured.point, MixOf(plan.seed, 17, told + 1))};
    trial.values = measured.timings;
    trial.violation = std::max(0.0, measured.drop / problem.bound() - 1);
    trial.state = OptunaTrial::kComplete;
    ++told;
  };
  while (all.size() < plan.budgets.back()) {
    OptunaTrial trial;
    trial.number = all.size();
    Measured measured;
    const double begin = Now();
    measured.point = side.Ask(history, trial);
    outcome.ask_ms += Now() - begin;
    ++outcome.asked;
    if (!seen.insert(measured.point).second) ++outcome.duplicates;
    history.push_back(std::move(trial));
    all.push_back(std::move(measured));
    if (all.size() - told >= plan.parallel) tell();
  }
  while (told < all.size()) tell();
  for (const uint64_t budget : plan.budgets) outcome.regret.push_back(RegretOf(problem, Best(problem, all, budget)));
}

}  // namespace

Outcome RunStrategy(const Problem& problem, const RunPlan& plan) {
  Outcome outcome;
  const bool looks_ahead = plan.strategy.starts_with("auto");
  if (plan.strategy == "optuna") {
    RunOptuna(problem, plan, outcome);
  } else if (!looks_ahead) {
    RunSampler(problem, plan, plan.budgets, outcome);
  } else {
    for (const uint64_t budget : plan.budgets) RunSampler(problem, plan, {budget}, outcome);
  }
  return outcome;
}

}  // namespace hone
