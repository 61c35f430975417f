// Times of a model on a machine that is never twice the same: what the simulation of nightly runs draws its
// measurements from.
//
// A night has an offset of its own (standard deviation 2 %), within it the machine drifts slowly (a sine of 2.5 % root
// mean square that takes two to ten sessions for a turn), a process launch has an offset (1.5 %: where its memory came
// to lie), an iteration 1 % and, in 3 % of cases, a spike of 5 to 50 %.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <random>
#include <vector>

#include "common/statistics/statistics.h"

namespace hone::nightly_bench {

struct Launch {
  double median = 0;
  std::vector<double> iterations;
};

class Night {
 public:
  explicit Night(std::mt19937_64& random) : random_(random), offset_(0.02 * normal_(random_)) {
    phase_ = uniform_(random_);
    turns_ = 0.1 + 0.4 * uniform_(random_);
  }

  // A launch at `time` of the session, in [0, 1], of a model that is slower by `effect`.
  Launch Run(double time, double effect, size_t iterations = 20) {
    const double drift = 0.025 * std::numbers::sqrt2 * std::sin(2 * std::numbers::pi * (phase_ + turns_ * time));
    const double level = (1 + effect) * std::exp(offset_ + drift + 0.015 * normal_(random_));
    Launch launch;
    for (size_t i = 0; i < iterations; ++i) {
      const double spike = uniform_(random_) < 0.03 ? 0.05 + 0.45 * uniform_(random_) : 0;
      launch.iterations.push_back(level * (1 + 0.01 * normal_(random_)) * (1 + spike));
    }
    launch.median = Median(launch.iterations);
    return launch;
  }

  // ln(tonight / accepted) of `pairs` pairs of launches, side by side in an order drawn anew for each.
  std::vector<double> Pairs(size_t pairs, double effect) {
    std::vector<double> ratios;
    for (size_t i = 0; i < pairs; ++i) {
      const bool accepted_first = uniform_(random_) < 0.5;
      const double early = static_cast<double>(2 * i) / static_cast<double>(2 * pairs);
      const double late = static_cast<double>(2 * i + 1) / static_cast<double>(2 * pairs);
      const double accepted = Run(accepted_first ? early : late, 0).median;
      ratios.push_back(std::log(Run(accepted_first ? late : early, effect).median / accepted));
    }
    return ratios;
  }

 private:
  std::mt19937_64& random_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_;
  double offset_;
  double phase_ = 0;
  double turns_ = 0;
};

}  // namespace hone::nightly_bench
