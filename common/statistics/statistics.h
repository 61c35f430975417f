// The few statistics that measurements and verdicts use.
#pragma once

#include <cstdint>
#include <vector>

namespace hone {

// Of a non-empty sample; the mean of the two middle values where the count is even.
double Median(std::vector<double> values);
// Linear interpolation between order statistics (Hyndman & Fan 1996, type 7; numpy's default). q in [0, 1].
double Quantile(std::vector<double> values, double q);
double Mean(const std::vector<double>& values);

struct Interval {
  double low = 0;
  double high = 0;
};

// Distribution-free interval of the median from order statistics (binomial, e.g. Hahn & Meeker 1991); the whole range
// where n is too small for the confidence.
Interval MedianInterval(std::vector<double> values, double confidence);

// Percentile-bootstrap interval of the median of `values` (Efron & Tibshirani 1993), `resamples` draws from a
// std::mt19937_64 seeded with `seed`; deterministic.
Interval BootstrapMedian(const std::vector<double>& values, double confidence, int resamples, uint64_t seed);

struct Ratio {
  double median = 1;     // exp(median(log(baseline/candidate)))
  double low = 1;
  double high = 1;
  int pairs = 0;
};
// Speed-up of paired measurements: element i of both was measured side by side. 99 % bootstrap interval of the median
// log ratio. Pairs without two positive finite values are left out (and not counted).
Ratio PairedSpeedup(const std::vector<double>& baseline, const std::vector<double>& candidate, uint64_t seed);

}  // namespace hone
