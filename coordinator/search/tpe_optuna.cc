// Tree-structured Parzen estimators (Bergstra, Bardenet, Bengio, Kegl 2011) as Optuna 5.0.0 has them; how it does it
// was read from its source.
//
// Trials are split into the best few ("below") and the rest ("above", running ones among them). On each side a mixture
// with one component an observation and one for the prior is a density over the parameters; 24 points are drawn from
// the lower one, and the one with the largest ratio of the densities is taken. One objective: the parameters that all
// finished trials share are drawn together, a product of kernels a component. Several objectives: each parameter by
// itself. The first ten trials are random.
//
// Numbers are those of numpy's RandomState: 53-bit uniforms of two outputs of a Mersenne twister, two generators with
// the same seed (one for random trials). The order of uniforms is part of the algorithm.
#include "coordinator/search/tpe_optuna.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "coordinator/search/multi_objective.h"

namespace hone {
namespace {

constexpr size_t kStartupTrials = 10;
constexpr size_t kCandidates = 24;
constexpr size_t kOptunaFlatWeights = 25;
constexpr double kOptunaMostBelow = 25;
constexpr double kTie = 1e-9;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kLogSqrtTwoPi = std::log(std::sqrt(2 * M_PI));

// --- the normal distribution in logarithms ---

double Phi(double a) {
  const double x = a / std::sqrt(2.0);
  if (x < -std::sqrt(0.5)) return 0.5 * std::erfc(-x);
  if (x < std::sqrt(0.5)) return 0.5 + 0.5 * std::erf(x);
  return 1 - 0.5 * std::erfc(x);
}

// log Phi; in the far tail by its asymptotic series.
double LogPhi(double a) {
  if (a > 6) return -Phi(-a);
  if (a > -20) return std::log(Phi(a));
  const double leading = -0.5 * a * a - std::log(-a) - 0.5 * std::log(2 * M_PI);
  double sum = 1, before = 0, term = 1;
  for (int i = 1; std::fabs(before - sum) > std::numeric_limits<double>::epsilon(); ++i) {
    before = sum;
    term *= -(2.0 * i - 1) / (a * a);
    sum += term;
  }
  return leading + std::log(sum);
}

double LogDifference(double p, double q) { return p + std::log(std::fabs(-std::expm1(q - p))); }

double LogSum(double p, double q) {
  const double most = std::max(p, q);
  return most == -kInfinity ? most : most + std::log1p(std::exp(-std::fabs(p - q)));
}

// log of the mass between a and b, computed in the left tail where it is exact.
double LogMass(double a, double b) {
  if (b <= 0) return LogDifference(LogPhi(b), LogPhi(a));
  if (a > 0) return LogDifference(LogPhi(-a), LogPhi(-b));
  return std::log1p(-(0.5 + 0.5 * std::erf(a / std::sqrt(2.0))) - (0.5 + 0.5 * std::erf(-b / std::sqrt(2.0))));
}

// x with log Phi(x) = y, by Newton's method.
double InverseLogPhi(double y) {
  const bool flipped = y > -1e-2;
  const double z = flipped ? std::log(-std::expm1(y)) : y;
  double x = z < -5 ? -std::sqrt(-2 * (z + kLogSqrtTwoPi)) : -std::sqrt(3.0) / M_PI * std::log(std::expm1(-z));
  for (int i = 0; i < 100; ++i) {
    const double log_phi = LogPhi(x);
    const double step = (log_phi - z) * std::exp(log_phi + 0.5 * x * x + kLogSqrtTwoPi);
    x -= step;
    if (std::fabs(step) < 1e-14 * std::fabs(x)) break;
  }
  return flipped ? -x : x;
}

// The quantile of a normal distribution cut off at a and b.
double Quantile(double q, double a, double b) {
  if (q == 0) return a;
  const double mass = LogMass(a, b);
  if (a < 0) return InverseLogPhi(LogSum(LogPhi(a), std::log(q) + mass));
  return -InverseLogPhi(LogSum(LogPhi(-b), std::log1p(-q) + mass));
}

// --- one parameter of a side ---

struct Kernels {
  bool categorical = false;
  std::vector<std::vector<double>> chances;   // Of a categorical one, by component.
  std::vector<double> mu, sigma;
  std::vector<double> whole;                  // log of the mass that the kernel has within the bounds.
  double low = 0, high = 0;                   // Widened by half a step, in logarithms if log.
};

Kernels CategoricalKernels(const std::vector<double>& observed, size_t choices) {
  Kernels kernels;
  kernels.categorical = true;
  const auto count = static_cast<double>(choices);
  if (observed.empty()) {
    kernels.chances.assign(1, std::vector<double>(choices, 1 / count));
    return kernels;
  }
  const double prior = 1 / static_cast<double>(observed.size() + 1);
  for (size_t k = 0; k <= observed.size(); ++k) {
    std::vector<double> chance(choices, prior);
    if (k < observed.size()) chance[static_cast<size_t>(observed[k])] += 1;
    const double sum = std::accumulate(chance.begin(), chance.end(), 0.0);
    for (double& one : chance) one /= sum;
    kernels.chances.push_back(std::move(chance));
  }
  return kernels;
}

Kernels NumericalKernels(const std::vector<double>& observed, const OptunaParameter& parameter) {
  Kernels kernels;
  kernels.low = parameter.low - parameter.step / 2;
  kernels.high = parameter.high + parameter.step / 2;
  kernels.mu = observed;
  if (parameter.log) {
    for (double& mu : kernels.mu) mu = std::log(mu);
    kernels.low = std::log(kernels.low);
    kernels.high = std::log(kernels.high);
  }
  const size_t count = observed.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return kernels.mu[a] < kernels.mu[b]; });
  const auto at = [&](size_t place) {
    return place == 0 ? kernels.low : place == count + 1 ? kernels.high : kernels.mu[order[place - 1]];
  };
  const double widest = kernels.high - kernels.low;
  const double narrowest = widest / std::min(100.0, 2.0 + static_cast<double>(count));
  kernels.sigma.assign(count, 0);
  for (size_t place = 1; place <= count; ++place) {
    double sigma = std::max(at(place) - at(place - 1), at(place + 1) - at(place));
    if (count >= 2 && place == 1) sigma = at(2) - at(1);
    if (count >= 2 && place == count) sigma = at(count) - at(count - 1);
    kernels.sigma[order[place - 1]] = std::min(std::max(sigma, narrowest), widest);
  }
  kernels.mu.push_back(0.5 * (kernels.low + kernels.high));
  kernels.sigma.push_back(widest);
  for (size_t k = 0; k <= count; ++k) {
    kernels.whole.push_back(
        LogMass((kernels.low - kernels.mu[k]) / kernels.sigma[k], (kernels.high - kernels.mu[k]) / kernels.sigma[k]));
  }
  return kernels;
}

// --- one side ---

class Side {
 public:
  Side(const std::vector<const OptunaTrial*>& trials, const std::vector<OptunaParameter>& space, bool equal_weights)
      : space_(space) {
    std::vector<const OptunaTrial*> complete;
    for (const OptunaTrial* trial : trials) {
      const auto has = [&](const OptunaParameter& parameter) { return trial->parameters.contains(parameter.name); };
      if (std::all_of(space.begin(), space.end(), has)) complete.push_back(trial);
    }
    Weigh(complete.size(), equal_weights);
    for (const OptunaParameter& parameter : space) {
      std::vector<double> observed;
      for (const OptunaTrial* trial : complete) observed.push_back(trial->parameters.at(parameter.name).second);
      kernels_.push_back(parameter.choices > 0 ? CategoricalKernels(observed, parameter.choices)
                                               : NumericalKernels(observed, parameter));
    }
  }

  // By parameter, then candidate.
  template <class Uniform>
  std::vector<std::vector<double>> Sample(Uniform&& uniform) const {
    std::vector<size_t> components;
    for (size_t c = 0; c < kCandidates; ++c) components.push_back(Component(uniform()));
    std::vector<std::vector<double>> values(space_.size(), std::vector<double>(kCandidates));
    for (size_t d = 0; d < space_.size(); ++d) {
      if (!kernels_[d].categorical) continue;
      for (size_t c = 0; c < kCandidates; ++c) values[d][c] = Choice(kernels_[d].chances[components[c]], uniform());
    }
    for (size_t d = 0; d < space_.size(); ++d) {
      if (kernels_[d].categorical) continue;
      for (size_t c = 0; c < kCandidates; ++c) values[d][c] = Number(d, components[c], uniform());
    }
    return values;
  }

  // By candidate.
  std::vector<double> LogDensities(const std::vector<std::vector<double>>& values) const {
    std::vector<std::vector<double>> terms(kCandidates, std::vector<double>(weights_.size(), 0));
    for (size_t d = 0; d < space_.size(); ++d) {
      // Candidates share values of categories and steps.
      std::map<double, std::vector<double>> kernels;
      for (size_t c = 0; c < kCandidates; ++c) {
        std::vector<double>& kernel = kernels[values[d][c]];
        for (size_t k = kernel.size(); k < weights_.size(); ++k) kernel.push_back(LogKernel(d, k, values[d][c]));
        for (size_t k = 0; k < weights_.size(); ++k) terms[c][k] += kernel[k];
      }
    }
    std::vector<double> logs;
    for (std::vector<double>& term : terms) {
      for (size_t k = 0; k < weights_.size(); ++k) term[k] += std::log(weights_[k]);
      double most = *std::max_element(term.begin(), term.end());
      if (most == -kInfinity) most = 0;
      double sum = 0;
      for (const double one : term) sum += std::exp(one - most);
      logs.push_back(std::log(sum) + most);
    }
    return logs;
  }

 private:
  // Old trials count less, linearly, but for the newest 25.
  void Weigh(size_t count, bool equal) {
    weights_.assign(count + 1, 1);
    if (!equal && count > kOptunaFlatWeights) {
      const size_t ramp = count - kOptunaFlatWeights;
      const double first = 1 / static_cast<double>(count);
      for (size_t i = 0; i < ramp; ++i) {
        weights_[i] =
            ramp == 1 ? first : first + static_cast<double>(i) * ((1 - first) / static_cast<double>(ramp - 1));
      }
      if (ramp > 1) weights_[ramp - 1] = 1;
    }
    const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    for (double& weight : weights_) weight /= sum;
    std::partial_sum(weights_.begin(), weights_.end(), std::back_inserter(cumulated_));
    const double last = cumulated_.back();
    for (double& one : cumulated_) one /= last;
  }

  size_t Component(double u) const {
    return static_cast<size_t>(std::upper_bound(cumulated_.begin(), cumulated_.end(), u) - cumulated_.begin());
  }

  static double Choice(const std::vector<double>& chances, double u) {
    double sum = 0;
    size_t choice = 0;
    for (size_t i = 0; i + 1 < chances.size(); ++i) {
      sum += chances[i];
      choice += sum < u ? 1 : 0;
    }
    return static_cast<double>(choice);
  }

  double Number(size_t d, size_t k, double u) const {
    const Kernels& kernels = kernels_[d];
    const OptunaParameter& parameter = space_[d];
    const double mu = kernels.mu[k], sigma = kernels.sigma[k];
    double value = Quantile(u, (kernels.low - mu) / sigma, (kernels.high - mu) / sigma) * sigma + mu;
    if (parameter.log) value = std::exp(value);
    if (parameter.step == 0) return value;
    const double steps = std::nearbyint((value - parameter.low) / parameter.step);
    return std::clamp(parameter.low + steps * parameter.step, parameter.low, parameter.high);
  }

  double LogKernel(size_t d, size_t k, double value) const {
    const Kernels& kernels = kernels_[d];
    if (kernels.categorical) return std::log(kernels.chances[k][static_cast<size_t>(value)]);
    const OptunaParameter& parameter = space_[d];
    const double mu = kernels.mu[k], sigma = kernels.sigma[k], whole = kernels.whole[k];
    const auto scaled = [&](double x) { return ((parameter.log ? std::log(x) : x) - mu) / sigma; };
    if (parameter.step != 0)
      return LogMass(scaled(value - parameter.step / 2), scaled(value + parameter.step / 2)) - whole;
    const double x = scaled(value);
    return -(x * x) / 2 - kLogSqrtTwoPi - whole - std::log(sigma);
  }

  const std::vector<OptunaParameter>& space_;
  std::vector<double> weights_, cumulated_;
  std::vector<Kernels> kernels_;
};

bool IsSingle(const OptunaParameter& parameter) {
  return parameter.choices > 0 ? parameter.choices == 1 : parameter.low == parameter.high;
}

bool SameDistribution(const OptunaParameter& a, const OptunaParameter& b) {
  return a.choices == b.choices && a.low == b.low && a.high == b.high && a.step == b.step && a.log == b.log &&
         a.integer == b.integer;
}

}  // namespace

OptunaTpe::OptunaTpe(uint32_t seed, size_t objectives) : objectives_(objectives), tpe_(seed), random_(seed) {}

double OptunaTpe::Uniform(std::mt19937& generator) {
  const auto high = static_cast<double>(generator() >> 5);
  const auto low = static_cast<double>(generator() >> 6);
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

void OptunaTpe::Begin(std::vector<OptunaTrial> history) {
  history_ = std::move(history);
  finished_ = static_cast<size_t>(std::count_if(
      history_.begin(), history_.end(), [](const OptunaTrial& trial) { return trial.state != OptunaTrial::kRunning; }));
  joint_ = {};
  if (objectives_ > 1 || finished_ < kStartupTrials) return;
  const Space space = JointSpace();
  if (!space.empty()) joint_ = DrawFrom(space);
}

double OptunaTpe::Suggest(const OptunaParameter& parameter) {
  const auto joint = joint_.candidates.find(parameter.name);
  last_is_joint_ = joint != joint_.candidates.end();
  if (last_is_joint_) return joint->second[joint_.best];
  single_ = {};
  if (IsSingle(parameter)) return parameter.choices > 0 ? 0 : parameter.low;
  if (finished_ < kStartupTrials) return AtRandom(parameter);
  single_ = DrawFrom({parameter});
  return single_.candidates.at(parameter.name)[single_.best];
}

bool OptunaTpe::IsTied(const OptunaParameter& parameter, double value) const {
  const Draw& draw = last_is_joint_ ? joint_ : single_;
  const auto candidates = draw.candidates.find(parameter.name);
  if (candidates == draw.candidates.end()) return false;
  for (size_t c = 0; c < draw.scores.size(); ++c) {
    if (candidates->second[c] == value && draw.scores[c] >= draw.scores[draw.best] - kTie) return true;
  }
  return false;
}

// What all finished trials have with the same distribution, by name, single-valued ones aside.
OptunaTpe::Space OptunaTpe::JointSpace() const {
  std::optional<std::map<std::string, OptunaParameter>> common;
  for (const OptunaTrial& trial : history_) {
    if (trial.state == OptunaTrial::kRunning) continue;
    if (!common) {
      common.emplace();
      for (const auto& [name, given] : trial.parameters) common->emplace(name, given.first);
      continue;
    }
    std::erase_if(*common, [&](const auto& entry) {
      const auto given = trial.parameters.find(entry.first);
      return given == trial.parameters.end() || !SameDistribution(given->second.first, entry.second);
    });
  }
  Space space;
  if (!common) return space;
  for (const auto& [name, parameter] : *common) {
    if (!IsSingle(parameter)) space.push_back(parameter);
  }
  return space;
}

std::vector<const OptunaTrial*> OptunaTpe::BestComplete(const std::vector<const OptunaTrial*>& complete,
                                                        size_t count) const {
  if (objectives_ <= 1) {
    std::vector<const OptunaTrial*> sorted = complete;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const OptunaTrial* a, const OptunaTrial* b) { return a->values.front() < b->values.front(); });
    sorted.resize(count);
    return sorted;
  }
  if (count == 0 || count == complete.size()) return count == 0 ? std::vector<const OptunaTrial*>{} : complete;
  std::vector<Values> values;
  for (const OptunaTrial* trial : complete) values.push_back(trial->values);
  const std::vector<size_t> ranks = NonDominationRanks(values, count);
  std::vector<const OptunaTrial*> best;
  for (size_t rank = 0; best.size() < count; ++rank) {
    std::vector<size_t> layer;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank) layer.push_back(i);
    }
    std::vector<Values> of_layer;
    for (const size_t i : layer) of_layer.push_back(values[i]);
    const size_t wanted = std::min(layer.size(), count - best.size());
    for (const size_t i : SelectByHypervolume(of_layer, wanted, ReferencePointOf(of_layer)))
      best.push_back(complete[layer[i]]);
  }
  return best;
}

void OptunaTpe::Split(std::vector<const OptunaTrial*>& below, std::vector<const OptunaTrial*>& above) const {
  const double tenth = std::ceil(0.1 * static_cast<double>(finished_));
  auto wanted = static_cast<size_t>(objectives_ <= 1 ? std::min(tenth, kOptunaMostBelow) : tenth);
  std::vector<const OptunaTrial*> complete, pruned, infeasible;
  for (const OptunaTrial& trial : history_) {
    if (trial.state == OptunaTrial::kRunning) continue;
    (trial.violation > 0 ? infeasible : trial.state == OptunaTrial::kComplete ? complete : pruned).push_back(&trial);
  }
  below = BestComplete(complete, std::min(wanted, complete.size()));
  const auto pruned_key = [](const OptunaTrial* trial) {
    if (trial->reports.empty()) return std::pair(1.0, 0.0);
    const auto& [step, value] = *std::max_element(trial->reports.begin(), trial->reports.end());
    return std::pair(-step, std::isnan(value) ? kInfinity : value);
  };
  std::stable_sort(pruned.begin(), pruned.end(),
                   [&](const OptunaTrial* a, const OptunaTrial* b) { return pruned_key(a) < pruned_key(b); });
  std::stable_sort(infeasible.begin(), infeasible.end(),
                   [](const OptunaTrial* a, const OptunaTrial* b) { return a->violation < b->violation; });
  for (const auto* group : {&pruned, &infeasible}) {
    const size_t taken = std::min(wanted - std::min(wanted, below.size()), group->size());
    below.insert(below.end(), group->begin(), group->begin() + static_cast<std::ptrdiff_t>(taken));
  }
  std::sort(below.begin(), below.end(),
            [](const OptunaTrial* a, const OptunaTrial* b) { return a->number < b->number; });
  for (const OptunaTrial& trial : history_) {
    if (std::find(below.begin(), below.end(), &trial) == below.end()) above.push_back(&trial);
  }
}

OptunaTpe::Draw OptunaTpe::DrawFrom(const Space& space) {
  std::vector<const OptunaTrial*> below, above;
  Split(below, above);
  const Side good(below, space, objectives_ > 1), bad(above, space, false);
  const auto values = good.Sample([this] { return Uniform(tpe_); });
  Draw draw;
  const std::vector<double> of_good = good.LogDensities(values), of_bad = bad.LogDensities(values);
  for (size_t c = 0; c < kCandidates; ++c) draw.scores.push_back(of_good[c] - of_bad[c]);
  draw.best = static_cast<size_t>(std::max_element(draw.scores.begin(), draw.scores.end()) - draw.scores.begin());
  for (size_t d = 0; d < space.size(); ++d) draw.candidates[space[d].name] = values[d];
  return draw;
}

double OptunaTpe::AtRandom(const OptunaParameter& parameter) {
  if (parameter.choices > 0) {
    std::vector<double> draws;
    for (size_t i = 0; i < parameter.choices; ++i) draws.push_back(Uniform(random_));
    return static_cast<double>(std::max_element(draws.begin(), draws.end()) - draws.begin());
  }
  double low = parameter.low - parameter.step / 2, high = parameter.high + parameter.step / 2;
  if (parameter.log) {
    low = std::log(low);
    high = std::log(high);
  }
  const double drawn = low + (high - low) * Uniform(random_);
  if (parameter.integer && !parameter.log) {
    const double steps = std::floor((drawn - parameter.low) / parameter.step + 0.5);
    return std::clamp(steps * parameter.step + parameter.low, parameter.low, parameter.high);
  }
  if (parameter.integer) return std::clamp(std::nearbyint(std::exp(drawn)), parameter.low, parameter.high);
  if (parameter.step > 0) {
    return std::clamp(std::nearbyint((drawn - parameter.low) / parameter.step) * parameter.step + parameter.low,
                      parameter.low, parameter.high);
  }
  const double last = std::nextafter(parameter.high, parameter.low);
  return parameter.log ? std::clamp(std::exp(drawn), parameter.low, last) : std::min(drawn, last);
}

}  // namespace hone
