#include "common/statistics/statistics.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "common/base/result.h"
#include "common/statistics/distributions.h"

namespace hone {
namespace {

constexpr double kSpeedupConfidence = 0.99;
constexpr int kSpeedupResamples = 10000;

double MedianOf(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  // Halves first: the sum of two large values would overflow.
  return *std::max_element(values.begin(), middle) / 2 + *middle / 2;
}

double QuantileOfSorted(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const double floor = std::floor(place);
  const auto below = static_cast<size_t>(floor);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double fraction = place - floor;
  return fraction == 0 ? sorted[below] : sorted[below] + fraction * (sorted[below + 1] - sorted[below]);
}

// Uniform below `bound`. The standard leaves uniform_int_distribution's algorithm open, and results must be the same
// everywhere: numbers of the last, incomplete stretch of length `bound` are drawn again.
uint64_t Below(std::mt19937_64& generator, uint64_t bound) {
  const uint64_t excess = (UINT64_MAX % bound + 1) % bound;
  while (true) {
    const uint64_t number = generator();
    if (number <= UINT64_MAX - excess) return number % bound;
  }
}

}  // namespace

double Median(std::vector<double> values) {
  CHECK_THAT(!values.empty());
  return MedianOf(values);
}

double Quantile(std::vector<double> values, double q) {
  CHECK_THAT(!values.empty());
  CHECK_THAT(q >= 0 && q <= 1);
  std::sort(values.begin(), values.end());
  return QuantileOfSorted(values, q);
}

double Mean(const std::vector<double>& values) {
  CHECK_THAT(!values.empty());
  // Neumaier's compensated sum: as good for a long series as for a short one.
  double sum = 0;
  double lost = 0;
  for (const double value : values) {
    const double next = sum + value;
    lost += std::abs(sum) >= std::abs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  return (sum + lost) / static_cast<double>(values.size());
}

// The k-th smallest and k-th largest of n values enclose the median with probability 1 - 2 P(B <= k-1), B ~ Binomial(n,
// 1/2). The largest k that reaches the confidence gives the shortest interval.
Interval MedianInterval(std::vector<double> values, double confidence) {
  CHECK_THAT(!values.empty());
  CHECK_THAT(confidence > 0 && confidence < 1);
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  const double log_all = static_cast<double>(n) * std::log(2.0);
  double tail = 0;   // P(B <= k).
  size_t rank = 0;   // Counted from 0.
  for (size_t k = 0; k < n / 2; ++k) {
    const auto chosen = static_cast<double>(k);
    const double log_ways =
        LogGamma(static_cast<double>(n) + 1) - LogGamma(chosen + 1) - LogGamma(static_cast<double>(n) - chosen + 1);
    tail += std::exp(log_ways - log_all);
    if (1 - 2 * tail < confidence) break;
    rank = k;
  }
  return {values[rank], values[n - 1 - rank]};
}

Interval BootstrapMedian(const std::vector<double>& values, double confidence, int resamples, uint64_t seed) {
  CHECK_THAT(!values.empty());
  CHECK_THAT(confidence > 0 && confidence < 1);
  CHECK_THAT(resamples > 0);
  std::mt19937_64 generator(seed);
  std::vector<double> medians;
  medians.reserve(static_cast<size_t>(resamples));
  std::vector<double> draw(values.size());
  for (int i = 0; i < resamples; ++i) {
    for (double& value : draw) value = values[Below(generator, values.size())];
    medians.push_back(MedianOf(draw));
  }
  std::sort(medians.begin(), medians.end());
  const double outside = (1 - confidence) / 2;
  return {QuantileOfSorted(medians, outside), QuantileOfSorted(medians, 1 - outside)};
}

Ratio PairedSpeedup(const std::vector<double>& baseline, const std::vector<double>& candidate, uint64_t seed) {
  CHECK_THAT(baseline.size() == candidate.size());
  std::vector<double> logs;
  for (size_t i = 0; i < baseline.size(); ++i) {
    const double log_ratio = std::log(baseline[i]) - std::log(candidate[i]);
    // A pair with a time of zero or less measured nothing.
    if (std::isfinite(log_ratio)) logs.push_back(log_ratio);
  }
  if (logs.empty()) return {};
  const Interval interval = BootstrapMedian(logs, kSpeedupConfidence, kSpeedupResamples, seed);
  return {std::exp(Median(logs)), std::exp(interval.low), std::exp(interval.high), static_cast<int>(logs.size())};
}

}  // namespace hone
