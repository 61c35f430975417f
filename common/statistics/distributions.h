// Distribution functions behind tests and intervals.
#pragma once

#include <cstdint>

#include "common/statistics/statistics.h"

namespace hone {

// The logarithm of gamma(x) for x > 0; lgamma itself writes a global.
double LogGamma(double x);
// Quantile of the standard normal distribution; p in (0, 1).
double NormalQuantile(double p);
// P(Z > z) of the standard normal distribution.
double NormalTail(double z);
// I_x(a, b), the regularized incomplete beta function; a, b > 0, x in [0, 1].
double IncompleteBeta(double a, double b, double x);
// P(|T| >= |t|) of Student's distribution; NaN for a t that is NaN.
double StudentTwoSided(double t, double degrees);
// The exact interval of a share from `hits` of `trials` (Clopper & Pearson 1934); trials > 0.
Interval BinomialInterval(uint64_t hits, uint64_t trials, double confidence);

}  // namespace hone
