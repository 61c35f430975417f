// Which trial is better: objectives as values to be minimized, constraints, the best and the Pareto front. Pure
// functions.
//
// latency_ms_p50 is ranked by the paired speed-up, not by milliseconds: candidate and baseline ran side by side, so the
// ratio is free of the machine's drift between trials. Its value here is 1/speedup (the latency in units of the
// baseline's); a trial without a paired figure uses its latency over that of trial 0. decode_tokens_per_s is ranked by
// the paired speed-up as well: it counts the same steps.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/records.h"
#include "coordinator/search/sampler.h"
#include "coordinator/store.h"

namespace hone {

// What ranking needs to know of a measured trial.
struct Measured {
  std::map<std::string, double> metrics;
  std::optional<double> speedup;
  std::optional<double> most_speedup;    // The upper end of its interval.
};
Measured MeasuredOf(const AttemptMetrics& metrics);
// Of every trial of a study that has a result.
Result<std::map<uint64_t, Measured>> MeasuredOf(Store& store, uint64_t job, uint32_t study);
Measured MeasuredOf(const Measurement& measurement);

// The objectives that hold where the recipe names none: the median latency.
std::vector<proto::Objective> ObjectivesOf(const proto::Recipe& recipe);

// To be minimized; nullopt where the trial has no such metric. baseline may be null.
std::optional<double> ObjectiveValue(const proto::Objective& objective, const Measured& trial,
                                     const Measured* baseline);
// The value at the better end of its interval; the value itself where it has none.
std::optional<double> OptimisticValue(const proto::Objective& objective, const Measured& trial,
                                      const Measured* baseline);
// One an objective; the error names the first that is missing.
Result<std::vector<double>> ObjectiveValues(const std::vector<proto::Objective>& objectives, const Measured& trial,
                                            const Measured* baseline);

// "size_bytes 12000000 is above 10000000", the first broken constraint; nullopt where all hold. kFailed where a
// constraint's metric is missing.
Result<std::optional<std::string>> BrokenConstraint(const proto::Recipe& recipe, const Measured& trial);
// Whether the trial has a metric for every bound of `goal` and all hold. False for an empty goal.
bool Reaches(const google::protobuf::RepeatedPtrField<proto::Constraint>& goal, const Measured& trial);
// Sum over the broken constraints of the excess in units of the bound; 0 where none of the metrics that are there
// breaks one.
double Violation(const proto::Recipe& recipe, const Measured& trial);

// One a constraint: how far the metric is beyond its bound, in units of the bound (of 1 where that is 0), negative
// within; of two bounds the nearer one. NaN where the metric is missing.
std::vector<double> Excesses(const proto::Recipe& recipe, const Measured& trial);

// A complete trial for picking the best and the front.
struct Contender {
  uint64_t trial = 0;
  Measured measured;
  bool final_done = false;
};
// Trial numbers by first objective, best first; ties by number.
std::vector<uint64_t> Ranked(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                             const Measured* baseline);
// The best of those measured again, or of all where none was.
std::optional<uint64_t> Best(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                             const Measured* baseline);
// Trial numbers of the front over the objectives, by the first one. With a single objective the axes are that one and,
// where every contender has them, latency_ms_p50, size_bytes and accuracy_drop.
std::vector<uint64_t> Front(const std::vector<proto::Objective>& objectives, const std::vector<Contender>& contenders,
                            const Measured* baseline);

}  // namespace hone
