// What a search will cost and what it can tell apart, from trials that were measured before. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "proto/wire.pb.h"

namespace hone {

struct Estimate {
  double low = 0;      // 10 %
  double middle = 0;
  double high = 0;     // 90 %
};

// Seconds of one worker that a trial took, build and measurement; nullopt without finished trials.
std::optional<Estimate> SecondsPerTrial(const std::vector<proto::TrialSummary>& trials);

// The standard deviation of the logarithm of one pair's ratio, from the 99 % intervals of speed-ups and their pairs:
// the median over the trials. nullopt where none has an interval over at least 3 pairs.
std::optional<double> NoiseOfPairs(const std::vector<proto::TrialSummary>& trials);

// The smallest relative difference that so many pairs find in 9 of 10 cases while crying wolf in 1 of 100.
double SmallestDifference(double noise, uint64_t pairs);
// The fewest pairs that find a difference so small.
uint64_t PairsToResolve(double noise, double difference);

// The wall time of `trials` on `workers`, 10 to 90 %.
Estimate SecondsOfSearch(const Estimate& per_trial, uint64_t trials, uint64_t workers);

}  // namespace hone
