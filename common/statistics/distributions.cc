#include "common/statistics/distributions.h"

#include <math.h>

#include <cmath>
#include <limits>

#include "common/base/result.h"

namespace hone {
namespace {

constexpr double kEpsilon = 1e-16;
constexpr double kTiny = 1e-300;
constexpr int kMostTerms = 10'000;
constexpr int kBisections = 200;

double AwayFromZero(double x) { return std::abs(x) < kTiny ? kTiny : x; }

// The continued fraction of the incomplete beta function, by Lentz's method (Press et al., Numerical Recipes, 6.4).
double BetaFraction(double a, double b, double x) {
  double c = 1;
  double d = 1 / AwayFromZero(1 - (a + b) * x / (a + 1));
  double fraction = d;
  for (int m = 1; m < kMostTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / AwayFromZero(1 + even * d);
    c = AwayFromZero(1 + even / c);
    fraction *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / AwayFromZero(1 + odd * d);
    c = AwayFromZero(1 + odd / c);
    const double change = d * c;
    fraction *= change;
    if (std::abs(change - 1) < kEpsilon) break;
  }
  return fraction;
}

// Where a function that grows over [low, high] passes `value`.
template <class Function>
double Bisect(double low, double high, double value, const Function& function) {
  for (int i = 0; i < kBisections && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (function(middle) < value ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

}  // namespace

double LogGamma(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

double NormalTail(double z) { return std::erfc(z / std::sqrt(2.0)) / 2; }

double NormalQuantile(double p) {
  CHECK_THAT(p > 0 && p < 1);
  if (p < 0.5) return -NormalQuantile(1 - p);
  return Bisect(0, 40, p - 0.5, [](double z) { return 0.5 - NormalTail(z); });
}

double IncompleteBeta(double a, double b, double x) {
  CHECK_THAT(a > 0 && b > 0);
  if (!(x > 0)) return std::isnan(x) ? x : 0;
  if (x >= 1) return 1;
  const double front = std::exp(LogGamma(a + b) - LogGamma(a) - LogGamma(b) + a * std::log(x) + b * std::log1p(-x));
  // The fraction converges quickly on the near side of the mean.
  if (x < (a + 1) / (a + b + 2)) return front * BetaFraction(a, b, x) / a;
  return 1 - front * BetaFraction(b, a, 1 - x) / b;
}

double StudentTwoSided(double t, double degrees) {
  if (std::isnan(t)) return std::numeric_limits<double>::quiet_NaN();
  return IncompleteBeta(degrees / 2, 0.5, degrees / (degrees + t * t));
}

Interval BinomialInterval(uint64_t hits, uint64_t trials, double confidence) {
  CHECK_THAT(trials > 0 && hits <= trials);
  CHECK_THAT(confidence > 0 && confidence < 1);
  const double outside = (1 - confidence) / 2;
  const auto k = static_cast<double>(hits);
  const auto n = static_cast<double>(trials);
  Interval interval{0, 1};
  if (hits > 0) interval.low = Bisect(0, 1, outside, [&](double x) { return IncompleteBeta(k, n - k + 1, x); });
  if (hits < trials)
    interval.high = Bisect(0, 1, 1 - outside, [&](double x) { return IncompleteBeta(k + 1, n - k, x); });
  return interval;
}

}  // namespace hone
