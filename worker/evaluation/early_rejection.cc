#include "worker/evaluation/early_rejection.h"

#include <fmt/format.h>

#include <string_view>

namespace hone {
namespace {

constexpr double kRounding = 1e-9;

bool IsMeanOfAtMostOne(const AccuracyMetric& metric) {
  const std::string_view name = metric.name;
  return name == "cosine" || name == "top1_agreement" || name == "top1" || name == "top5";
}

}  // namespace

EarlyRejection::EarlyRejection(const AccuracyMetric& metric,
                               const google::protobuf::RepeatedPtrField<proto::Constraint>& constraints, size_t samples,
                               std::optional<double> baseline)
    : metric_(metric), constraints_(constraints), samples_(samples), baseline_(baseline) {}

std::optional<std::string> EarlyRejection::Check(const std::vector<double>& candidate) {
  if (!IsMeanOfAtMostOne(metric_) || candidate.size() >= samples_) return std::nullopt;
  for (; seen_ < candidate.size(); ++seen_) sum_ += candidate[seen_];
  const auto all = static_cast<double>(samples_);
  const double at_best = (sum_ + static_cast<double>(samples_ - seen_)) / all;
  for (const proto::Constraint& constraint : constraints_) {
    const bool about_value = constraint.metric() == "accuracy" || constraint.metric() == metric_.name;
    if (about_value && constraint.has_minimum() && at_best < constraint.minimum() - kRounding) {
      return fmt::format("{} is at most {:.6g} after {} of {} samples, allowed is at least {:.6g}", constraint.metric(),
                         at_best, seen_, samples_, constraint.minimum());
    }
    if (constraint.metric() == "accuracy_drop" && constraint.has_maximum() && baseline_ &&
        *baseline_ - at_best > constraint.maximum() + kRounding) {
      return fmt::format("accuracy_drop is at least {:.6g} after {} of {} samples, allowed is at most {:.6g}",
                         *baseline_ - at_best, seen_, samples_, constraint.maximum());
    }
  }
  return std::nullopt;
}

}  // namespace hone
