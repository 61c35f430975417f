// Three models (additive_model.h) are asked: of the objective, from trials that were timed; of each constraint, from
// all that measured it; and, where trials failed, of failing. A neighbour is worth the expected improvement over the
// best trial times the chances that it keeps the constraints and does not fail (Schonlau, Welch, Jones 1998; Gardner et
// al. 2014), in logarithms. From the best few trials, from the cheapest form, and from a chance point the worth is
// climbed, by single changes and where none of them helps by the likeliest two together (a layer made cheaper, another
// more precise); the worthiest point on the way that no trial has is proposed. Running trials are believed to come out
// as expected, so that workers do not gather at one spot.
//
// Several objectives are drawn into one for each proposal, by weights of chance (Knowles 2006, ParEGO).
#include "coordinator/search/guided.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace hone {
namespace {

constexpr size_t kStarts = 3;
constexpr int kMostSteps = 12;
// Of each kind of single changes so many are tried two at a time; and so many pairs by chance.
constexpr size_t kPaired = 6;
constexpr int kChancePairs = 12;
constexpr uint64_t kMostValues = 8;
// Far beyond a bound, how far does not matter much.
constexpr double kFarBeyond = 2;
constexpr double kFarthest = 1000;

double LogNormalCdf(double z) {
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
  std::vector<double> low(objectives, std::numeric_limits<double>::infinity()),
      high(objectives, -std::numeric_limits<double>::infinity());
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

// Equal numbers, not a number included.
bool AreSame(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

bool IsEnded(const TrialRow& row) { return row.point.empty() || row.standing != Standing::kRunning; }

// Infeasible in a way that no constraint tells counts as failing.
bool IsFailure(const TrialRow& row) {
  return row.standing == Standing::kFailed || (row.standing == Standing::kInfeasible && row.constraints.empty());
}

double Beyond(double excess) { return std::clamp(excess, -kFarthest, kFarthest); }

}  // namespace

bool Guided::Told::Is(const TrialRow& row) const {
  return standing == row.standing && AreSame(values, row.values) && AreSame(constraints, row.constraints);
}

// Brings rows and designs up to date.
void Guided::Remember(const StudyMemory& memory, const std::vector<GroupHint>& hints) {
  if (features_ == nullptr || plan_generation_ != memory.space_generation() || features_->hints() != hints) {
    features_ = std::make_unique<Features>(memory.space(), hints);
    plan_generation_ = memory.space_generation();
    dense_.assign(features_->size(), 0);
    seen_.assign(features_->size(), 0);
    designs_.reset();
  }
  if (features_->IsTooLarge()) return;
  bool same = designs_ != nullptr && generation_ == memory.generation();
  for (size_t i = 0; same && i < told_.size(); ++i) same = told_[i].Is(memory.rows()[i]);
  if (!same) {
    told_.clear();
    rows_.clear();
    designs_ = std::make_unique<Designs>(*features_);
    generation_ = memory.generation();
  }
  for (size_t i = rows_.size(); i < memory.rows().size(); ++i) {
    const Point& point = memory.rows()[i].point;
    rows_.push_back(point.empty() ? Features::Sparse() : features_->Of(point));
  }
  for (size_t i = told_.size(); i < memory.rows().size() && IsEnded(memory.rows()[i]); ++i) {
    const TrialRow& row = memory.rows()[i];
    Tell(row, i, *designs_);
    told_.push_back({row.standing, row.values, row.constraints});
  }
}

void Guided::Tell(const TrialRow& row, size_t index, Designs& designs) const {
  if (row.point.empty() || row.standing == Standing::kRunning) return;
  designs.ended.Add(rows_[index], 1);
  if (row.standing == Standing::kFeasible) designs.timed.Add(rows_[index], 1);
  for (size_t c = 0; c < row.constraints.size(); ++c) {
    if (c == designs.constraints.size()) designs.constraints.emplace_back(*features_);
    if (!std::isfinite(row.constraints[c])) continue;
    const double beyond = Beyond(row.constraints[c]);
    designs.constraints[c].Add(rows_[index], 1 / (1 + beyond * beyond / (kFarBeyond * kFarBeyond)));
  }
}

// Of one objective its values or, where the model explains them better, their logarithms. Gives the targets.
std::vector<double> Guided::LearnObjective(const Design& design, const std::vector<const TrialRow*>& timed, Rng& rng) {
  if (timed.front()->values.size() > 1) {
    std::vector<double> targets = Scalarized(timed, rng);
    objective_.emplace(design, targets);
    return targets;
  }
  std::vector<double> values, logs;
  double stretch = 0;
  for (const TrialRow* row : timed) {
    values.push_back(row->values[0]);
    logs.push_back(std::log(std::max(row->values[0], 1e-300)));
    stretch += logs.back();
  }
  objective_.emplace(design, values);
  if (*std::min_element(values.begin(), values.end()) <= 0) return values;
  AdditiveModel logarithmic(design, logs);
  if (logarithmic.evidence() - stretch <= objective_->evidence()) return values;
  objective_ = std::move(logarithmic);
  return logs;
}

bool Guided::Learn(const StudyMemory& memory, Rng& rng) {
  std::optional<Designs> own;
  std::vector<const Features::Sparse*> running, timed_rows;
  std::vector<const TrialRow*> timed;
  std::vector<std::vector<double>> beyond;
  std::vector<double> failures;
  bool failed = false;
  for (size_t i = 0; i < memory.rows().size(); ++i) {
    const TrialRow& row = memory.rows()[i];
    if (row.point.empty()) continue;
    if (row.standing == Standing::kRunning) {
      running.push_back(&rows_[i]);
      continue;
    }
    if (i >= told_.size()) {
      if (!own) own.emplace(*designs_);
      Tell(row, i, *own);
    }
    failures.push_back(IsFailure(row) ? 1 : 0);
    failed = failed || IsFailure(row);
    beyond.resize(std::max(beyond.size(), row.constraints.size()));
    for (size_t c = 0; c < row.constraints.size(); ++c) {
      if (std::isfinite(row.constraints[c])) beyond[c].push_back(Beyond(row.constraints[c]));
    }
    if (row.standing != Standing::kFeasible) continue;
    timed.push_back(&row);
    timed_rows.push_back(&rows_[i]);
  }
  if (failures.size() < kFewest) return false;
  const Designs& designs = own ? *own : *designs_;
  objective_.reset();
  incumbent_.reset();
  failure_.reset();
  constraints_.clear();
  if (!timed.empty()) {
    const std::vector<double> targets = LearnObjective(designs.timed, timed, rng);
    for (size_t i = 0; i < targets.size(); ++i) {
      // Between what was measured once, with chance in it, and what the model makes of all.
      const double expected = 0.5 * (objective_->MeanAt(*timed_rows[i]) + targets[i]);
      incumbent_ = std::min(incumbent_.value_or(expected), expected);
    }
    objective_->Believe(running);
  }
  for (size_t c = 0; c < beyond.size(); ++c) {
    if (beyond[c].empty()) continue;
    constraints_.emplace_back(designs.constraints[c], beyond[c]);
    constraints_.back().Believe(running);
  }
  if (failed) failure_.emplace(designs.ended, failures);
  return objective_.has_value() || !constraints_.empty() || failure_.has_value();
}

Guided::Spot Guided::SpotAt(const Point& point) {
  for (const auto& [f, value] : here_) dense_[f] = 0;
  features_->Describe(point, here_);
  for (const auto& [f, value] : here_) dense_[f] = value;
  Spot spot;
  spot.point = point;
  if (objective_) spot.objective.emplace(*objective_, here_);
  if (failure_) spot.failure.emplace(*failure_, here_);
  for (const AdditiveModel& constraint : constraints_) spot.constraints.emplace_back(constraint, here_);
  spot.worth = Look(spot, point).worth;
  return spot;
}

// What the point is worth, by how it differs from the spot. The spot must be the last one made.
Guided::Step Guided::Look(const Spot& spot, const Point& point) {
  features_->Describe(point, there_);
  ++stamp_;
  change_.clear();
  for (const auto& [f, value] : there_) {
    if (value != dense_[f]) change_.emplace_back(f, value - dense_[f]);
    seen_[f] = stamp_;
  }
  for (const auto& [f, value] : here_) {
    if (seen_[f] != stamp_) change_.emplace_back(f, -value);
  }
  Step step{point, 0, false};
  if (spot.objective && incumbent_) {
    const Guess guess = spot.objective->At(change_);
    step.worth += LogImprovement(*incumbent_, guess);
    step.is_faster = guess.mean < spot.objective->At({}).mean;
  }
  for (size_t c = 0; c < spot.constraints.size(); ++c) {
    const Guess guess = spot.constraints[c].At(change_);
    step.worth += LogNormalCdf(-guess.mean / std::max(std::hypot(guess.deviation, constraints_[c].noise()), 1e-9));
  }
  if (spot.failure) step.worth += std::log(std::clamp(1 - spot.failure->At(change_).mean, 0.01, 1.0));
  return step;
}

void Guided::Consider(const StudyMemory& memory, const Step& step) {
  if ((!best_ || step.worth > best_worth_) && !memory.IsTaken(step.point)) {
    best_ = step.point;
    best_worth_ = step.worth;
  }
}

// Every dimension's other values; some of them where they are many.
std::vector<Guided::Step> Guided::Singles(const StudyMemory& memory, const Spot& spot, Rng& rng) {
  const CodedSpace& space = memory.space();
  std::vector<Step> steps;
  for (size_t d = 0; d < space.size(); ++d) {
    if (spot.point[d] == kAbsent || space[d].IsFixed()) continue;
    const bool all = !space[d].continuous && space[d].points <= kMostValues;
    for (uint64_t i = 0; i < (all ? space[d].points : kMostValues / 2); ++i) {
      Point point = spot.point;
      point[d] = all ? static_cast<double>(i) : space[d].Any(rng);
      if (point[d] == spot.point[d] || !space.Repair(point)) continue;
      steps.push_back(Look(spot, point));
      Consider(memory, steps.back());
    }
  }
  return steps;
}

std::optional<Guided::Step> Guided::BestPair(const StudyMemory& memory, const Spot& spot, std::vector<Step> singles,
                                             Rng& rng) {
  const CodedSpace& space = memory.space();
  std::optional<Step> best;
  const auto look = [&](const Point& point) {
    Step step = Look(spot, point);
    Consider(memory, step);
    if (!best || step.worth > best->worth) best = std::move(step);
  };
  std::stable_sort(singles.begin(), singles.end(), [](const Step& a, const Step& b) { return a.worth > b.worth; });
  std::vector<const Step*> faster, slower;
  for (const Step& step : singles) {
    auto& kind = step.is_faster ? faster : slower;
    if (kind.size() < kPaired) kind.push_back(&step);
  }
  for (const Step* one : faster) {
    for (const Step* other : slower) {
      Point point = one->point;
      for (size_t d = 0; d < point.size(); ++d) {
        if (other->point[d] != spot.point[d]) point[d] = other->point[d];
      }
      if (space.Repair(point)) look(point);
    }
  }
  for (int pair = 0; pair < kChancePairs; ++pair) {
    Point point = spot.point;
    if (MutateOnce(space, point, rng) && MutateOnce(space, point, rng)) look(point);
  }
  return best;
}

void Guided::Climb(const StudyMemory& memory, const Point& start, Rng& rng) {
  Spot spot = SpotAt(start);
  Consider(memory, {spot.point, spot.worth, false});
  for (int step = 0; step < kMostSteps; ++step) {
    // From here an earlier climb went on.
    if (!climbed_.insert(spot.point).second) return;
    std::vector<Step> singles = Singles(memory, spot, rng);
    const auto most = std::max_element(singles.begin(), singles.end(),
                                       [](const Step& a, const Step& b) { return a.worth < b.worth; });
    if (most != singles.end() && most->worth > spot.worth) {
      spot = SpotAt(Point(most->point));
      continue;
    }
    const auto pair = BestPair(memory, spot, std::move(singles), rng);
    if (!pair || !(pair->worth > spot.worth)) return;
    spot = SpotAt(pair->point);
  }
}

std::optional<Point> Guided::Propose(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng) {
  Remember(memory, hints);
  if (features_->IsTooLarge() || !Learn(memory, rng)) return std::nullopt;
  best_.reset();
  climbed_.clear();
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
    if (has_groups) Climb(memory, cheap, rng);
  }
  if (const auto assignment = memory.space().space().Draw(rng)) {
    if (const auto point = memory.space().Encode(*assignment)) Climb(memory, *point, rng);
  }
  return best_;
}

}  // namespace hone
