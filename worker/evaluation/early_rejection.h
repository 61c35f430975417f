// Tells, while accuracy is evaluated, that a constraint cannot be kept any more, whatever the samples that are left
// will give. The bound is exact: a candidate that would have kept the constraint over all samples is never turned down.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "proto/recipe.pb.h"
#include "worker/evaluation/accuracy.h"

namespace hone {

class EarlyRejection {
 public:
  // For metrics that are the mean over samples of values that are at most 1 (cosine, top1_agreement, top1, top5);
  // others are never rejected early. baseline: the original's value over all samples, where it is known. Metric and
  // constraints must outlive the object.
  EarlyRejection(const AccuracyMetric& metric, const google::protobuf::RepeatedPtrField<proto::Constraint>& constraints,
                 size_t samples, std::optional<double> baseline);

  // The values so far, one a sample; called with the same vector as it grows. The reason, once a constraint is out of
  // reach.
  std::optional<std::string> Check(const std::vector<double>& candidate);

 private:
  const AccuracyMetric& metric_;
  const google::protobuf::RepeatedPtrField<proto::Constraint>& constraints_;
  const size_t samples_;
  const std::optional<double> baseline_;
  size_t seen_ = 0;
  double sum_ = 0;
};

}  // namespace hone
