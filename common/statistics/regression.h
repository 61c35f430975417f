// What one night says of a series: the accepted artifact (A) and tonight's (B) measured side by side.
//
// The unit is a process launch. d_i = ln(B_i / A_i), signed so that above zero is worse; the effect is exp(median d) -
// 1 with a 99 % bootstrap interval. Stored figures of other nights are never compared with: a machine differs from
// itself of yesterday by more than the changes that matter, whatever the test. docs/nightly.md tells the rules,
// bench/nightly their error rates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/statistics/statistics.h"

namespace hone {

enum class NightVerdict { regression, improvement, equivalent, inconclusive, environment, error };
std::string_view NameOf(NightVerdict verdict);
Result<NightVerdict> ParseNightVerdict(std::string_view name);

enum class Better { lower, higher };

struct JudgeOptions {
  double delta = 0.02;  // Effects up to this share do not matter.
  double confidence = 0.99;
  int resamples = 2000;
  uint64_t seed = 1;
};

// Effects are shares; above zero is worse.
struct Judgement {
  NightVerdict verdict = NightVerdict::inconclusive;
  double effect = 0;
  Interval interval;
  int pairs = 0;
  double smallest_effect =
      0;         // Would have been called with 90 % probability, by the spread that was seen; infinite below 2 pairs.
  double p = 1;  // Two-sided signed-rank test, for the correction over many series.
};

// Signed logarithms of the ratios; pairs without two positive finite values are left out.
std::vector<double> LogRatios(const std::vector<double>& accepted, const std::vector<double>& tonight, Better better);

// regression: the interval lies above zero and the effect above delta; improvement: the mirror; equivalent: the
// interval lies within
// [-delta, delta]; else inconclusive. With fewer than 8 pairs, where a bootstrap interval is too short, a regression or
// improvement must also pass the exact test at the same level, which so few pairs cannot.
Judgement Judge(const std::vector<double>& log_ratios, const JudgeOptions& options);

// A finding is called once a fresh session (new processes, later) agrees: its own interval lies on the same side of
// zero, and both sessions together have an effect above delta. The first session's verdict where it found nothing;
// inconclusive where the second does not agree. Effect, interval and pairs are of both sessions together.
Judgement Confirm(const std::vector<double>& first, const std::vector<double>& fresh, const JudgeOptions& options);

// A figure without noise (bytes, counts, accuracy on fixed data): its change alone decides. `change` above zero is
// worse.
Judgement JudgeExact(double change, double threshold);

// Takes back the findings that do not stand among all of the night's series (Benjamini-Hochberg): they become
// inconclusive.
void CorrectMany(std::vector<Judgement*>& night, double q = 0.05);

// How often the accepted artifact against itself was called a finding: the false alarms that this machine and method
// make.
struct AlarmRate {
  uint64_t comparisons = 0;
  uint64_t alarms = 0;
  double rate = 0;
  Interval interval{0, 1};  // Exact, 95 %.
};
AlarmRate AlarmRateOf(uint64_t alarms, uint64_t comparisons);

}  // namespace hone
