#include "client/forecast.h"

#include <algorithm>
#include <cmath>

namespace hone {
namespace {

// Quantiles of the normal distribution: of a 99 % interval, of 90 % power, of a 10 to 90 % range.
constexpr double kTwoSided99 = 2.5758;
constexpr double kPower90 = 1.2816;
constexpr double kTenToNinety = 1.2816;
constexpr uint64_t kFewestPairs = 3;

double QuantileOf(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

}  // namespace

std::optional<Estimate> SecondsPerTrial(const std::vector<proto::TrialSummary>& trials) {
  std::vector<double> seconds;
  for (const proto::TrialSummary& trial : trials) {
    const bool worked = trial.state() == proto::TRIAL_COMPLETE || trial.state() == proto::TRIAL_INFEASIBLE;
    if (worked && trial.wall_ms() > 0) seconds.push_back(static_cast<double>(trial.wall_ms()) / 1000);
  }
  if (seconds.empty()) return std::nullopt;
  std::sort(seconds.begin(), seconds.end());
  return Estimate{QuantileOf(seconds, 0.1), QuantileOf(seconds, 0.5), QuantileOf(seconds, 0.9)};
}

std::optional<double> NoiseOfPairs(const std::vector<proto::TrialSummary>& trials) {
  std::vector<double> noises;
  for (const proto::TrialSummary& trial : trials) {
    if (!trial.has_speedup()) continue;
    const proto::Metric& speedup = trial.speedup();
    if (!speedup.has_low() || !speedup.has_high() || !(speedup.low() > 0) || speedup.samples() < kFewestPairs) continue;
    const double half = (std::log(speedup.high()) - std::log(speedup.low())) / 2;
    if (std::isfinite(half) && half >= 0)
      noises.push_back(half / kTwoSided99 * std::sqrt(static_cast<double>(speedup.samples())));
  }
  if (noises.empty()) return std::nullopt;
  std::sort(noises.begin(), noises.end());
  return QuantileOf(noises, 0.5);
}

double SmallestDifference(double noise, uint64_t pairs) {
  return std::exp((kTwoSided99 + kPower90) * noise / std::sqrt(static_cast<double>(std::max<uint64_t>(1, pairs)))) - 1;
}

uint64_t PairsToResolve(double noise, double difference) {
  const double root = (kTwoSided99 + kPower90) * noise / std::log1p(difference);
  return std::max(kFewestPairs, static_cast<uint64_t>(std::ceil(std::min(root * root, 1e9))));
}

Estimate SecondsOfSearch(const Estimate& per_trial, uint64_t trials, uint64_t workers) {
  const auto count = static_cast<double>(trials);
  const auto share = static_cast<double>(std::max<uint64_t>(1, workers));
  const double deviation = std::max(per_trial.high - per_trial.low, 0.0) / (2 * kTenToNinety);
  const double middle = per_trial.middle * count / share;
  const double spread = kTenToNinety * deviation * std::sqrt(count) / share;
  // The last trials do not fill all workers.
  const double tail = workers > 1 ? per_trial.middle * (share - 1) / share / 2 : 0;
  return {std::max(0.0, middle - spread), middle + tail, middle + spread + 2 * tail};
}

}  // namespace hone
