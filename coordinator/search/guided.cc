// Three models (additive_model.h) are made anew for each proposal: of the objective, from trials that were timed; of each constraint, from all that
// measured it; and, where trials failed, of failing. A neighbour is worth the expected improvement over the best trial times the chances that it
// keeps the constraints and does not fail (Schonlau, Welch, Jones 1998; Gardner et al. 2014), in logarithms. From the best few trials, from the
// cheapest form, and from chance points the worth is climbed by one and two changes at a time; the worthiest point on the way that no trial has is
// proposed. Running trials are believed to come out as expected, so that workers do not gather at one spot.
//
// Several objectives are drawn into one for each proposal, by weights of chance (Knowles 2006, ParEGO).
#include "coordinator/search/guided.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hone {
namespace {

constexpr size_t kStarts = 3;
constexpr int kMostSteps = 12;
constexpr int kPairsPerStep = 60;
constexpr uint64_t kMostValues = 8;
// Far beyond a bound, how far does not matter much.
constexpr double kFarBeyond = 2;
constexpr double kFarthest = 1000;

double LogPhi(double z) {
  if (z > -6) return std::log(0.5 * std::erfc(-z * M_SQRT1_2));
  return -0.5 * z * z - std::log(-z) - 0.5 * std::log(2 * M_PI);
}

// log of E max(0, best - y) for y ~ N(mean, deviation).
double LogImprovement(double best, const Guess& guess) {
  const double deviation = std::max(guess.deviation, 1e-12), z = (best - guess.mean) / deviation;
  const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * M_PI);
  if (z > -5) return std::log(deviation) + std::log(std::max(density + z * 0.5 * std::erfc(-z * M_SQRT1_2), 1e-300));
  return std::log(deviation) - 0.5 * z * z - 0.5 * std::log(2 * M_PI) - 2 * std::log(-z);
}

std::vector<double> Weights(size_t objectives, Rng& rng) {
  std::vector<double> weights;
  double sum = 0;
  for (size_t i = 0; i < objectives; ++i) {
    weights.push_back(-std::log(1 - rng.Uniform()));
    sum += weights.back();
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// One number of several: the largest weighted share of its range, and a little of all.
std::vector<double> Scalarized(const std::vector<const TrialRow*>& rows, Rng& rng) {
  const size_t objectives = rows.front()->values.size();
  const std::vector<double> weights = Weights(objectives, rng);
  std::vector<double> low(objectives, std::numeric_limits<double>::infinity()), high(objectives, -std::numeric_limits<double>::infinity());
  for (const TrialRow* row : rows) {
    for (size_t i = 0; i < objectives; ++i) {
      low[i] = std::min(low[i], row->values[i]);
      high[i] = std::max(high[i], row->values[i]);
    }
  }
  std::vector<double> targets;
  for (const TrialRow* row : rows) {
    double most = 0, sum = 0;
    for (size_t i = 0; i < objectives; ++i) {
      const double share = high[i] > low[i] ? weights[i] * (row->values[i] - low[i]) / (high[i] - low[i]) : 0;
      most = std::max(most, share);
      sum += share;
    }
    targets.push_back(most + 0.05 * sum);
  }
  return targets;
}

}  // namespace

// Of one objective its values or, where the model explains them better, their logarithms. Gives the targets.
std::vector<double> Guided::LearnObjective(const std::vector<const TrialRow*>& timed, const std::vector<Features::Sparse>& rows, Rng& rng) {
  const std::vector<double> alike(rows.size(), 1);
  if (timed.front()->values.size() > 1) {
    std::vector<double> targets = Scalarized(timed, rng);
    objective_.emplace(*features_).Fit(rows, targets, alike);
    return targets;
  }
  std::vector<double> values, logs;
  double stretch = 0;
  for (const TrialRow* row : timed) {
    values.push_back(row->values[0]);
    logs.push_back(std::log(std::max(row->values[0], 1e-300)));
    stretch += logs.back();
  }
  objective_.emplace(*features_).Fit(rows, values, alike);
  if (*std::min_element(values.begin(), values.end()) <= 0) return values;
  AdditiveModel logarithmic(*features_);
  logarithmic.Fit(rows, logs, alike);
  if (logarithmic.evidence() - stretch <= objective_->evidence()) return values;
  objective_.emplace(logarithmic);
  return logs;
}

bool Guided::Learn(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng) {
  if (features_ == nullptr || plan_generation_ != memory.space_generation() || features_->hints() != hints) {
    features_ = std::make_unique<Features>(memory.space(), hints);
    plan_generation_ = memory.space_generation();
  }
  std::vector<const TrialRow*> timed, ended, running;
  bool failed = false;
  size_t constraints = 0;
  const size_t first = memory.rows().size() - std::min(memory.rows().size(), kMost);
  for (size_t i = 0; i < memory.rows().size(); ++i) {
    const TrialRow& row = memory.rows()[i];
    if (row.point.empty()) continue;
    if (row.standing == Standing::kRunning) {
      running.push_back(&row);
      continue;
    }
    if (i < first && row.standing != Standing::kFeasible) continue;
    ended.push_back(&row);
    failed = failed || row.standing == Standing::kFailed;
    constraints = std::max(constraints, row.constraints.size());
    if (row.standing == Standing::kFeasible) timed.push_back(&row);
  }
  if (ended.size() < kFewest) return false;
  if (timed.size() > kMost) timed.erase(timed.begin(), timed.end() - static_cast<std::ptrdiff_t>(kMost));
  std::vector<Features::Sparse> of_running;
  for (const TrialRow* row : running) of_running.push_back(features_->Of(row->point));
  objective_.reset();
  incumbent_.reset();
  if (!timed.empty()) {
    std::vector<Features::Sparse> rows;
    for (const TrialRow* row : timed) rows.push_back(features_->Of(row->point));
    const std::vector<double> targets = LearnObjective(timed, rows, rng);
    for (size_t i = 0; i < rows.size(); ++i) {
      // Between what was measured once, with chance in it, and what the model makes of all.
      const double expected = 0.5 * (objective_->At(rows[i]).mean + targets[i]);
      incumbent_ = std::min(incumbent_.value_or(expected), expected);
    }
    objective_->Believe(of_running);
  }
  constraints_.clear();
  for (size_t c = 0; c < constraints; ++c) {
    std::vector<Features::Sparse> rows;
    std::vector<double> targets, precision;
    for (const TrialRow* row : ended) {
      if (c >= row->constraints.size() || !std::isfinite(row->constraints[c])) continue;
      const double beyond = std::clamp(row->constraints[c], -kFarthest, kFarthest);
      rows.push_back(features_->Of(row->point));
      targets.push_back(beyond);
      precision.push_back(1 / (1 + beyond * beyond / (kFarBeyond * kFarBeyond)));
    }
    if (rows.empty()) continue;
    constraints_.emplace_back(*features_).Fit(rows, targets, precision);
    constraints_.back().Believe(of_running);
  }
  // Infeasible in a way that no constraint tells counts as failing.
  const auto is_failure = [&](const TrialRow* row) { return row->standing == Standing::kFailed || (row->standing == Standing::kInfeasible && row->constraints.empty()); };
  failure_.reset();
  if (failed || std::any_of(ended.begin(), ended.end(), is_failure)) {
    std::vector<Features::Sparse> rows;
    std::vector<double> targets;
    for (const TrialRow* row : ended) {
      rows.push_back(features_->Of(row->point));
      targets.push_back(is_failure(row) ? 1 : 0);
    }
    failure_.emplace(*features_).Fit(rows, targets, std::vector<double>(rows.size(), 1));
  }
  return objective_.has_value() || !constraints_.empty() || failure_.has_value();
}

double Guided::Worth(const Point& point) const {
  const Features::Sparse row = features_->Of(point);
  double worth = 0;
  if (objective_ && incumbent_) worth += LogImprovement(*incumbent_, objective_->At(row));
  for (const AdditiveModel& constraint : constraints_) {
    const Guess guess = constraint.At(row);
    worth += LogPhi(-guess.mean / std::max(std::hypot(guess.deviation, constraint.noise()), 1e-9));
  }
  if (failure_) worth += std::log(std::clamp(1 - failure_->At(row).mean, 0.01, 1.0));
  return worth;
}

void Guided::Consider(const StudyMemory& memory, const Point& point, double worth) {
  if ((!best_ || worth > best_worth_) && !memory.IsTaken(point)) {
    best_ = point;
    best_worth_ = worth;
  }
}

Point Guided::Climb(const StudyMemory& memory, Point start, Rng& rng) {
  const CodedSpace& space = memory.space();
  double worth = Worth(start);
  Consider(memory, start, worth);
  for (int step = 0; step < kMostSteps; ++step) {
    Point better = start;
    double most = worth;
    const auto look = [&](Point point) {
      if (!space.Repair(point)) return;
      const double there = Worth(point);
      Consider(memory, point, there);
      if (there > most) {
        most = there;
        better = std::move(point);
      }
    };
    for (size_t d = 0; d < space.size(); ++d) {
      if (start[d] == kAbsent || space[d].IsFixed()) continue;
      const bool all = !space[d].continuous && space[d].points <= kMostValues;
      for (uint64_t i = 0; i < (all ? space[d].points : kMostValues / 2); ++i) {
        Point point = start;
        point[d] = all ? static_cast<double>(i) : space[d].Any(rng);
        if (point[d] != start[d]) look(std::move(point));
      }
    }
    for (int pair = 0; pair < kPairsPerStep; ++pair) {
      Point point = start;
      if (MutateOnce(space, point, rng) && MutateOnce(space, point, rng)) look(std::move(point));
    }
    if (!(most > worth)) break;
    worth = most;
    start = std::move(better);
  }
  return start;
}

std::optional<Point> Guided::Propose(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng) {
  if (!Learn(memory, hints, rng)) return std::nullopt;
  best_.reset();
  const std::vector<const TrialRow*> best = BestFirst(memory.rows(), kStarts);
  for (size_t i = 0; i < std::min(kStarts, best.size()); ++i) Climb(memory, best[i]->point, rng);
  // All groups at their cheapest, from where the constraints are climbed towards.
  if (!best.empty()) {
    Point cheap = best.front()->point;
    bool has_groups = false;
    for (size_t d = 0; d < cheap.size(); ++d) {
      if (!memory.space()[d].group || cheap[d] == kAbsent) continue;
      has_groups = true;
      cheap[d] = static_cast<double>(memory.space()[d].points - 1);
    }
    if (has_groups) Climb(memory, std::move(cheap), rng);
  }
  if (const auto assignment = memory.space().space().Draw(rng)) {
    if (auto point = memory.space().Encode(*assignment)) Climb(memory, *std::move(point), rng);
  }
  return best_;
}

}  // namespace hone
