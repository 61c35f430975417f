// What a budget's last tenth is for, and what samplers are told of constraints.
#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "coordinator/job_state.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

// 40 possible candidates a backend: more than the budget holds.
const std::string kWide =
    "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}, {choose: [none, clean]}]\n"
    "backends: {onnxruntime: {threads: [1, 2, 3, 4, 5]}, openvino: {}}\n";

class RaceTest : public ::testing::Test {
 protected:
  RaceTest() : worker_(harness_.As("one"), "one") {
    proto::ParameterInfo& threads = *worker_.catalogue.mutable_backends(0)->add_settings();
    threads.set_name("threads");
    threads.set_type(proto::ParameterInfo::INTEGER);
    EXPECT_TRUE(worker_.Hello());
  }

  // Every first look sees a speed-up by chance, that may be wrong by `doubt`; looks with more pairs see it times
  // `truth`.
  void Measure(double doubt, double truth) {
    worker_.alter = [=](const proto::Lease& lease, proto::Report& report) {
      if (!lease.has_measure() || lease.measure().is_baseline()) return;
      proto::Metric& speedup = *report.mutable_result()->mutable_measure()->mutable_speedup();
      if (lease.measure().pairs() == 20) speedup.set_value(speedup.value() * truth);
      speedup.set_low(speedup.value() * (1 - doubt));
      speedup.set_high(speedup.value() * (1 + doubt));
    };
  }

  std::vector<uint64_t> MeasuredAgain() {
    std::vector<uint64_t> trials;
    for (const auto& lease : worker_.log) {
      if (lease.has_measure() && lease.measure().pairs() == 20) trials.push_back(lease.trial());
    }
    return trials;
  }

  proto::StudySummary Run(const std::string& search) {
    const uint64_t job = harness_.Submit(kWide + search);
    worker_.Work();
    const auto summary = harness_.Job(job);
    EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
    return summary.studies(0);
  }

  Harness harness_;
  FakeWorker worker_;
};

TEST_F(RaceTest, TheLastTenthOfTheBudgetMeasuresTheBestFewAgain) {
  // Whoever is measured well turns out slower than what any of the others may be.
  Measure(0.5, 0.5);
  const auto study = Run("search: {trials: 30, seed: 3}\nmeasure: {final_pairs: 20, reuse: false}\n");
  EXPECT_EQ(study.ended_by(), "trials");
  EXPECT_EQ(study.counts().complete(), 27u);  // And three trials' worth for the race.
  EXPECT_THAT(MeasuredAgain(), SizeIs(3 + 3));
}

TEST_F(RaceTest, NobodyIsRacedWhoCannotBeTheBestAnyMore) {
  Measure(0.0001, 1);
  Run("search: {trials: 30, seed: 3}\nmeasure: {final_pairs: 20, reuse: false}\n");
  EXPECT_THAT(MeasuredAgain(), SizeIs(3));
}

TEST_F(RaceTest, TheLikeliestGoesFirstAndTheBestOfThoseMeasuredWellIsTaken) {
  Measure(0.5, 0.5);
  const auto study = Run("search: {trials: 30, seed: 3}\nmeasure: {final_pairs: 20, reuse: false}\n");
  // First looks in the order of what they saw.
  std::vector<std::pair<double, uint64_t>> looks;
  for (const auto& lease : worker_.log) {
    if (!lease.has_measure() || lease.measure().is_baseline() || lease.measure().pairs() == 20) continue;
    looks.emplace_back(-FakeWorker::Measured(lease.measure()).speedup().value(), lease.trial());
  }
  std::sort(looks.begin(), looks.end());
  const auto again = MeasuredAgain();
  ASSERT_EQ(again.size(), 6u);
  // The finalists come together, then one racer after the other.
  std::set<uint64_t> finalists, best;
  for (size_t i = 0; i < 3; ++i) {
    finalists.insert(again[i]);
    best.insert(looks[i].second);
  }
  EXPECT_EQ(finalists, best);
  for (size_t i = 3; i < again.size(); ++i) EXPECT_EQ(again[i], looks[i].second) << i;
  EXPECT_EQ(study.best().trial(), looks.front().second);
  EXPECT_EQ(study.best().pairs(), 20u);
}

TEST_F(RaceTest, SamplersThatDoNotLeaveAReserveUseTheWholeBudget) {
  Measure(0.5, 0.5);
  const auto study = Run("search: {sampler: random, trials: 30, seed: 3}\nmeasure: {final_pairs: 20, reuse: false}\n");
  EXPECT_EQ(study.counts().complete(), 30u);
  EXPECT_THAT(MeasuredAgain(), SizeIs(3));
}

TEST_F(RaceTest, SamplersAreToldHowFarEachTrialIsBeyondEachConstraint) {
  worker_.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline() || lease.trial() != 1) return;
    for (proto::Metric& metric : *report.mutable_result()->mutable_measure()->mutable_metrics()) {
      if (metric.name() == "size_bytes") metric.set_value(3000);
    }
  };
  const uint64_t job = harness_.Submit(kWide +
                                       "search: {sampler: random, trials: 30}\nconstraints: {accuracy_drop: 0.004, "
                                       "size_bytes: {min: 100, max: 2000}}\n");
  worker_.Work(9);
  Store& store = harness_.coordinator->store();
  ASSERT_TRUE(store.Begin());
  const auto loaded = LoadJob(store, job, 0);
  store.Rollback();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto& observations = loaded->studies.at(0).observations;
  ASSERT_GE(observations.size(), 2u);
  // accuracy_drop 0.001 of at most 0.004, in units of the bound; size 3000 of at most 2000.
  ASSERT_THAT(observations[0].constraints, SizeIs(2));
  EXPECT_NEAR(observations[0].constraints[0], -0.75, 1e-9);
  EXPECT_NEAR(observations[0].constraints[1], 0.5, 1e-9);
  EXPECT_EQ(observations[0].state, proto::TRIAL_INFEASIBLE);
  EXPECT_NEAR(observations[0].violation, 0.5, 1e-9);
  for (const Observation& observation : observations) {
    if (observation.state == proto::TRIAL_WAITING || observation.state == proto::TRIAL_RUNNING) {
      EXPECT_THAT(observation.constraints, SizeIs(0));
    } else {
      EXPECT_THAT(observation.constraints, SizeIs(2));
    }
  }
}

TEST_F(RaceTest, AConstraintThatWasNotMeasuredIsNotKnown) {
  // Accuracy was enough to turn the candidate down; it was never timed.
  worker_.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline()) return;
    proto::MeasureResult& result = *report.mutable_result()->mutable_measure();
    result.set_infeasible(true);
    result.set_infeasible_reason("accuracy_drop 0.5 is above 0.004");
    result.clear_metrics();
    *result.add_metrics() = MetricOf("accuracy_drop", 0.5);
    result.clear_speedup();
  };
  const uint64_t job = harness_.Submit(
      kWide + "search: {sampler: random, trials: 30}\nconstraints: {accuracy_drop: 0.004, latency_ms_p50: 5}\n");
  worker_.Work(6);
  Store& store = harness_.coordinator->store();
  ASSERT_TRUE(store.Begin());
  const auto loaded = LoadJob(store, job, 0);
  store.Rollback();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const Observation& observation = loaded->studies.at(0).observations.at(0);
  ASSERT_THAT(observation.constraints, SizeIs(2));
  EXPECT_NEAR(observation.constraints[0], 124, 1e-9);
  EXPECT_TRUE(std::isnan(observation.constraints[1]));
}

}  // namespace
}  // namespace hone::test
