#include "common/statistics/regression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/strings.h"
#include "common/statistics/distributions.h"
#include "common/statistics/significance.h"

namespace hone {
namespace {

constexpr std::pair<NightVerdict, std::string_view> kNames[] = {
    {NightVerdict::regression, "regression"},   {NightVerdict::improvement, "improvement"},
    {NightVerdict::equivalent, "equivalent"},   {NightVerdict::inconclusive, "inconclusive"},
    {NightVerdict::environment, "environment"}, {NightVerdict::error, "error"}};

// Below this the bootstrap interval of a median is too short for its confidence.
constexpr size_t kFewPairs = 8;
constexpr double kPower = 0.9;
// Of a normal sample: standard deviation over median absolute deviation, and the median's standard error over the
// mean's.
constexpr double kSigmaOverMad = 1.4826;
constexpr double kMedianOverMean = 1.2533;
constexpr double kRateConfidence = 0.95;

double Share(double log_ratio) { return std::expm1(log_ratio); }

// What the spread of the differences would have let be seen: outside the interval, and beyond delta.
double SmallestEffect(const std::vector<double>& differences, double median, const JudgeOptions& options) {
  if (differences.size() < 2) return std::numeric_limits<double>::infinity();
  std::vector<double> deviations;
  for (const double difference : differences) deviations.push_back(std::abs(difference - median));
  const double error =
      kMedianOverMean * kSigmaOverMad * Median(deviations) / std::sqrt(static_cast<double>(differences.size()));
  const double z_interval = NormalQuantile(1 - (1 - options.confidence) / 2);
  const double z_power = NormalQuantile(kPower);
  return Share(std::max((z_interval + z_power) * error, std::log1p(options.delta) + z_power * error));
}

bool IsFinding(const Judgement& judgement) {
  return judgement.verdict == NightVerdict::regression || judgement.verdict == NightVerdict::improvement;
}

NightVerdict Decide(const Judgement& judgement, const JudgeOptions& options) {
  const auto& [low, high] = judgement.interval;
  const bool testable = judgement.pairs >= static_cast<int>(kFewPairs) || judgement.p <= 1 - options.confidence;
  if (testable && low > 0 && judgement.effect > options.delta) return NightVerdict::regression;
  // A ratio and its inverse are the same change.
  const double least = Share(-std::log1p(options.delta));
  if (testable && high < 0 && judgement.effect < least) return NightVerdict::improvement;
  return low >= least && high <= options.delta && judgement.pairs >= 2 ? NightVerdict::equivalent
                                                                       : NightVerdict::inconclusive;
}

}  // namespace

std::string_view NameOf(NightVerdict verdict) {
  return std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& row) { return row.first == verdict; })
      ->second;
}

Result<NightVerdict> ParseNightVerdict(std::string_view name) {
  for (const auto& [verdict, known] : kNames) {
    if (name == known) return verdict;
  }
  return Fail(ErrorCode::kRejected, fmt::format("'{}' is no verdict", Printable(name, 100)));
}

std::vector<double> LogRatios(const std::vector<double>& accepted, const std::vector<double>& tonight, Better better) {
  CHECK_THAT(accepted.size() == tonight.size());
  std::vector<double> ratios;
  for (size_t i = 0; i < accepted.size(); ++i) {
    const double ratio = std::log(tonight[i]) - std::log(accepted[i]);
    if (std::isfinite(ratio)) ratios.push_back(better == Better::lower ? ratio : -ratio);
  }
  return ratios;
}

Judgement Judge(const std::vector<double>& log_ratios, const JudgeOptions& options) {
  Judgement judgement;
  judgement.pairs = static_cast<int>(log_ratios.size());
  judgement.smallest_effect = std::numeric_limits<double>::infinity();
  if (log_ratios.empty()) return judgement;
  const double median = Median(log_ratios);
  const Interval interval = BootstrapMedian(log_ratios, options.confidence, options.resamples, options.seed);
  judgement.effect = Share(median);
  judgement.interval = {Share(interval.low), Share(interval.high)};
  judgement.smallest_effect = SmallestEffect(log_ratios, median, options);
  judgement.p = SignedRankP(log_ratios);
  judgement.verdict = Decide(judgement, options);
  return judgement;
}

Judgement Confirm(const std::vector<double>& first, const std::vector<double>& fresh, const JudgeOptions& options) {
  const Judgement before = Judge(first, options);
  if (!IsFinding(before)) return before;
  const Judgement again = Judge(fresh, options);
  std::vector<double> both = first;
  both.insert(both.end(), fresh.begin(), fresh.end());
  Judgement together = Judge(both, options);
  const bool same_side = before.effect > 0 ? again.interval.low > 0 : again.interval.high < 0;
  if (fresh.empty() || !same_side || together.verdict != before.verdict) together.verdict = NightVerdict::inconclusive;
  return together;
}

Judgement JudgeExact(double change, double threshold) {
  Judgement judgement;
  judgement.effect = change;
  judgement.interval = {change, change};
  judgement.pairs = 1;
  judgement.smallest_effect = threshold;
  judgement.p = change == 0 ? 1 : 0;
  judgement.verdict = NightVerdict::equivalent;
  if (!std::isfinite(change)) judgement.verdict = NightVerdict::inconclusive;
  if (change > threshold) judgement.verdict = NightVerdict::regression;
  if (change < -threshold) judgement.verdict = NightVerdict::improvement;
  return judgement;
}

void CorrectMany(std::vector<Judgement*>& night, double q) {
  std::vector<double> p_values;
  for (const Judgement* judgement : night) p_values.push_back(judgement->p);
  const std::vector<bool> stands = BenjaminiHochberg(p_values, q);
  for (size_t i = 0; i < night.size(); ++i) {
    if (IsFinding(*night[i]) && !stands[i]) night[i]->verdict = NightVerdict::inconclusive;
  }
}

AlarmRate AlarmRateOf(uint64_t alarms, uint64_t comparisons) {
  AlarmRate rate{comparisons, alarms, 0, {0, 1}};
  if (comparisons == 0) return rate;
  rate.rate = static_cast<double>(alarms) / static_cast<double>(comparisons);
  rate.interval = BinomialInterval(alarms, comparisons, kRateConfidence);
  return rate;
}

}  // namespace hone
