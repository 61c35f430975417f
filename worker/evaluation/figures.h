// Figures as measurements report them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/statistics/statistics.h"
#include "proto/work.pb.h"

namespace hone {

using Metrics = google::protobuf::RepeatedPtrField<proto::Metric>;

inline constexpr double kFigureConfidence = 0.99;
// Throughput is not measured unasked where one run lasts longer.
inline constexpr double kThroughputLongestRunMs = 1000;

// What is not finite is no figure: it stays absent.
void AddMetric(Metrics& metrics, const std::string& name, double value, uint64_t samples,
               std::optional<Interval> interval = {});
void AddSamples(google::protobuf::RepeatedPtrField<proto::Samples>& all, const std::string& series,
                const std::vector<double>& values);

// latency_ms_p50, or another name: the median of all runs. Runs of a block or of a launch are not independent, so the
// interval is over the medians of those units.
void AddMedianLatency(Metrics& metrics, const std::vector<double>& runs_ms, const std::vector<double>& units_ms,
                      uint64_t seed, const char* name = "latency_ms_p50");

// "speedup" over what element i of `first` was measured beside element i of `other`.
proto::Metric SpeedupOf(const std::vector<double>& first, const std::vector<double>& other, uint64_t seed);

}  // namespace hone
