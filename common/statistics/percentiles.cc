// The rule is that of MLPerf's early stopping. Of n independent samples, the number that lie at or above the true
// percentile p is binomial with probability 1 - p. If the (t + 1)-th largest sample lies below the percentile, at most
// t of them do, and the chance of that is P(X <= t). So that sample is an upper bound with confidence 1 - P(X <= t); t
// is taken as large as the confidence allows, and below t = 1 nothing is told: the bound would be the largest sample
// that happened to be seen.
#include "common/statistics/percentiles.h"

#include <algorithm>
#include <cmath>

#include "common/statistics/statistics.h"

namespace hone {
namespace {

// The largest t with P(Binomial(n, 1 - p) <= t) <= 1 - confidence; -1 where there is none.
long LargestDiscard(size_t n, double p, double confidence) {
  const double count = static_cast<double>(n);
  double sum = 0;
  for (size_t k = 0; k <= n; ++k) {
    const double hits = static_cast<double>(k);
    const double log_term = std::lgamma(count + 1) - std::lgamma(hits + 1) - std::lgamma(count - hits + 1) +
                            hits * std::log1p(-p) + (count - hits) * std::log(p);
    sum += std::exp(log_term);
    if (sum > 1 - confidence) return static_cast<long>(k) - 1;
  }
  return static_cast<long>(n);
}

}  // namespace

size_t FewestForPercentile(double p, double confidence) {
  // P(X <= 1) falls as n grows: doubling finds a bound, halving the place.
  size_t high = 2;
  while (LargestDiscard(high, p, confidence) < 1) high *= 2;
  size_t low = high / 2;
  while (low + 1 < high) {
    const size_t middle = low + (high - low) / 2;
    (LargestDiscard(middle, p, confidence) < 1 ? low : high) = middle;
  }
  return high;
}

std::optional<TailPercentile> PercentileOf(std::vector<double> values, double p, double confidence) {
  const long discard = LargestDiscard(values.size(), p, confidence);
  if (discard < 1) return std::nullopt;
  std::sort(values.begin(), values.end());
  TailPercentile percentile;
  percentile.bound = values[values.size() - 1 - static_cast<size_t>(discard)];
  percentile.value = Quantile(std::move(values), p);
  return percentile;
}

}  // namespace hone
