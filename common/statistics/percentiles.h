// Percentiles of a tail, with what the sample can vouch for.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace hone {

struct TailPercentile {
  double value = 0;  // Quantile (type 7) of the sample.
  double bound = 0;  // With the given confidence the true percentile is at most this.
};

// Fewest samples from which a percentile p in (0.5, 1) is told: with the largest one left out, what is left still
// bounds the percentile from above with that confidence. With 99 %: 64 for p90, 662 for p99, 6,636 for p99.9.
size_t FewestForPercentile(double p, double confidence);

// nullopt where the sample is too small.
std::optional<TailPercentile> PercentileOf(std::vector<double> values, double p, double confidence);

}  // namespace hone
