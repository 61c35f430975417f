// The metrics that a measurement may give: what objectives, constraints and `accuracy` of a recipe can name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct MetricInfo {
  const char* name;
  bool larger_is_better;
  const char* help;
  // What a recipe's accuracy can be; the rest follow from it or are not about accuracy.
  bool is_accuracy = false;
  bool needs_labels = false;
  // Values that are possible; a bound beyond them is a mistake.
  double least = 0;
  double most = 1e300;
  // Fewest timed inferences from which it can be told: ten lie beyond a percentile.
  uint32_t runs = 0;
};
const std::vector<MetricInfo>& MetricCatalogue();

// nullptr if there is none of this name.
const MetricInfo* FindMetric(std::string_view name);
// kRejected with the nearest name.
Result<const MetricInfo*> RequireMetric(std::string_view name);
// The same among those that `accuracy` can name.
Result<const MetricInfo*> RequireAccuracyMetric(std::string_view name);

// Whether more of the metric is better, where the job's accuracy is measured as `accuracy_metric` ("" = auto):
// `accuracy` itself has no direction of its own.
bool LargerIsBetter(const MetricInfo& metric, std::string_view accuracy_metric);

}  // namespace hone
