// Why a study's best is its best: what ended the search, which parameters mattered, what each pass bought, which
// constraints kept trials out. Pure functions over what the coordinator tells of a job.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/results/messages.h"
#include "proto/wire.pb.h"

namespace hone {

// A parameter (or the presence of a pass, the backend) and the share of the variance of the log of the first objective,
// between 0 and 1, that its values alone explain over the complete trials: epsilon squared (Kelley 1935), the one-way
// analysis of variance corrected for chance.
struct Importance {
  std::string parameter;  // "backend", "pass fp16", "static_int8.observer", "openvino.hint"
  double share = 0;
  uint64_t trials = 0;
};

// What one step of the best pipeline changed: the objective with it over without it, all else equal.
struct Contribution {
  std::string step;
  std::optional<double>
      ratio;  // Of the first objective (below 1: the step made it smaller); nullopt: no trial differs in it alone.
  std::optional<double> size_ratio;
  uint64_t trials = 0;  // Pairs of trials that differ in it alone; ratios are medians over them.
};

struct KeptOut {
  std::string metric;
  uint64_t trials = 0;
  uint64_t best_trial = 0;  // The one that came closest to being the best but for the constraint; 0: none was timed.
  std::string reason;       // Of a trial.
};

struct Explanation {
  uint32_t study = 0;
  std::string ended_by;  // trials, time, machine_time, patience, goal, space; "" while it runs.
  std::optional<uint64_t> best;
  std::optional<uint64_t> rival;       // The best other trial whose interval overlaps the best's: not measurably worse.
  std::vector<Importance> importance;  // Largest share first.
  std::vector<Contribution> contributions;  // In the pipeline's order.
  std::vector<KeptOut> kept_out;            // Most trials first.
};

Explanation Explain(const proto::JobSummary& job, const proto::StudySummary& study,
                    const std::vector<proto::TrialSummary>& trials);

Json ExplanationJson(const Explanation& explanation);
// hone.explain/1
Json ExplanationsJson(uint64_t job, const std::vector<Explanation>& explanations);

// Two trials side by side. With speed-ups over the same baseline: by how much b is faster than a, with an interval that
// holds whatever the two have in common (it divides the ends of theirs).
struct Comparison {
  std::optional<double> speedup, low, high;
  const char* verdict = "undecided";  // faster, slower, undecided
};
Comparison Compare(const proto::TrialSummary& a, const proto::TrialSummary& b);
// hone.compare/1
Json ComparisonJson(const proto::TrialSummary& a, const proto::TrialSummary& b);

}  // namespace hone
