// From statistics to the range that codes are spread over.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "worker/calibration/statistics.h"

namespace hone {

enum class Observer { minmax, moving_average, mean_minmax, percentile, entropy, mse };

struct ObserverOptions {
  Observer observer = Observer::minmax;
  double percentile = 99.999;  // Of the values, in (50, 100]; each side gives up half of the rest.
  int levels = 256;            // Codes that the range is spread over (entropy, mse).
  bool symmetric = false;      // entropy and mse search [-t, t] instead of two ends.
};

struct ObservedRange {
  float low = 0, high = 0;  // Always within what was seen; finite.
};

// minmax: what was seen. moving_average, mean_minmax: over samples. percentile: cut by rank. entropy: the threshold
// that loses least by Kullback-Leibler divergence between the values and their codes (Migacz, GTC 2017), searched over
// the histogram. mse: the ends that give the least mean squared error, clipping and rounding together. The last three
// need a histogram. Both searches know that zero has a code of its own, so values that are exactly zero decide nothing.
ObservedRange Observe(const TensorStatistics& statistics, const ObserverOptions& options);

// "minmax" ...; for parameter declarations and messages.
const std::vector<const char*>& ObserverNames();
Result<Observer> ParseObserver(std::string_view name);

}  // namespace hone
