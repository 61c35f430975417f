#include "worker/evaluation/figures.h"

#include <cmath>

namespace hone {

void AddMetric(Metrics& metrics, const std::string& name, double value, uint64_t samples,
               std::optional<Interval> interval) {
  if (!std::isfinite(value)) return;
  proto::Metric& metric = *metrics.Add();
  metric.set_name(name);
  metric.set_value(value);
  metric.set_samples(samples);
  if (interval) {
    metric.set_low(interval->low);
    metric.set_high(interval->high);
  }
}

void AddSamples(google::protobuf::RepeatedPtrField<proto::Samples>& all, const std::string& series,
                const std::vector<double>& values) {
  proto::Samples& samples = *all.Add();
  samples.set_series(series);
  samples.mutable_values()->Add(values.begin(), values.end());
}

void AddMedianLatency(Metrics& metrics, const std::vector<double>& runs_ms, const std::vector<double>& units_ms,
                      uint64_t seed, const char* name) {
  const Interval interval = BootstrapMedian(units_ms, kFigureConfidence, 2000, seed);
  AddMetric(metrics, name, Median(runs_ms), runs_ms.size(), interval);
}

proto::Metric SpeedupOf(const std::vector<double>& first, const std::vector<double>& other, uint64_t seed) {
  const Ratio ratio = PairedSpeedup(first, other, seed);
  proto::Metric speedup;
  speedup.set_name("speedup");
  speedup.set_value(ratio.median);
  speedup.set_low(ratio.low);
  speedup.set_high(ratio.high);
  speedup.set_samples(static_cast<uint64_t>(ratio.pairs));
  return speedup;
}

}  // namespace hone
