#include "worker/evaluation/early_rejection.h"

#include <gtest/gtest.h>

#include <random>

namespace hone {
namespace {

const AccuracyMetric& MetricNamed(const std::string& name) {
  for (const auto& metric : AccuracyMetrics()) {
    if (name == metric.name) return metric;
  }
  throw std::runtime_error(name);
}

google::protobuf::RepeatedPtrField<proto::Constraint> Drop(double maximum) {
  google::protobuf::RepeatedPtrField<proto::Constraint> constraints;
  constraints.Add()->set_metric("accuracy_drop");
  constraints.Mutable(0)->set_maximum(maximum);
  return constraints;
}

TEST(EarlyRejectionTest, HopelessCandidateIsTurnedDownAsSoonAsTheBestEndIsOutOfReach) {
  const auto constraints = Drop(0.01);
  EarlyRejection early(MetricNamed("cosine"), constraints, 100, 1.0);
  std::vector<double> values;
  for (int i = 0; i < 10; ++i) {
    values.push_back(0.9);  // Ten samples of 0.9 leave a mean of at most 0.99.
    EXPECT_FALSE(early.Check(values)) << i;
  }
  values.push_back(0.9);
  const auto reason = early.Check(values);
  ASSERT_TRUE(reason);
  EXPECT_NE(reason->find("after 11 of 100 samples"), std::string::npos) << *reason;
}

// Over many random candidates: turned down early only if turned down at the end.
TEST(EarlyRejectionTest, NoneThatWouldHavePassedIsTurnedDown) {
  std::mt19937 random(1);
  const double baseline = 0.95;
  const auto constraints = Drop(0.02);
  int early_rejections = 0, rejections = 0;
  for (int run = 0; run < 2000; ++run) {
    const double rate = 0.85 + 0.15 * static_cast<double>(random() % 1000) / 1000;
    std::vector<double> all;
    for (int i = 0; i < 200; ++i) all.push_back(static_cast<double>(random() % 1000) / 1000 < rate ? 1 : 0);
    double mean = 0;
    for (const double value : all) mean += value / 200;
    const bool kept = baseline - mean <= 0.02 + 1e-12;
    EarlyRejection early(MetricNamed("top1"), constraints, all.size(), baseline);
    std::vector<double> seen;
    bool rejected = false;
    for (const double value : all) {
      seen.push_back(value);
      rejected = rejected || early.Check(seen).has_value();
    }
    EXPECT_FALSE(rejected && kept) << run;
    early_rejections += rejected ? 1 : 0;
    rejections += kept ? 0 : 1;
  }
  EXPECT_GT(early_rejections, rejections / 2);
}

TEST(EarlyRejectionTest, UnboundedMetricsAndUnknownBaselinesAreNeverTurnedDownEarly) {
  const auto constraints = Drop(0.01);
  EarlyRejection unbounded(MetricNamed("sqnr_db"), constraints, 10, 1.0);
  EXPECT_FALSE(unbounded.Check({-100, -100, -100}));
  EarlyRejection unknown(MetricNamed("top1"), constraints, 10, std::nullopt);
  EXPECT_FALSE(unknown.Check({0, 0, 0, 0, 0}));
}

TEST(EarlyRejectionTest, MinimumOfTheMetricItselfCounts) {
  google::protobuf::RepeatedPtrField<proto::Constraint> constraints;
  constraints.Add()->set_metric("cosine");
  constraints.Mutable(0)->set_minimum(0.9);
  EarlyRejection early(MetricNamed("cosine"), constraints, 4, 1.0);
  EXPECT_FALSE(early.Check({0.7}));
  EXPECT_TRUE(early.Check({0.7, 0.7}));
}

}  // namespace
}  // namespace hone
