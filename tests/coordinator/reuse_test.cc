// What is known is not measured again; searches begin warm; searches that end before their space does.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

size_t Measurements(const FakeWorker& worker) {
  return static_cast<size_t>(
      std::count_if(worker.log.begin(), worker.log.end(), [](const auto& lease) { return lease.has_measure(); }));
}

TEST(ReuseTest, SecondJobOfTheSameKindMeasuresNothingAndHasTheSameBest) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t first = harness.Submit();
  worker.Work();
  const size_t before = Measurements(worker);
  const uint64_t second = harness.Submit();
  worker.Work();
  EXPECT_EQ(Measurements(worker), before);
  EXPECT_EQ(harness.Job(second).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(second).studies(0).best().trial(), harness.Job(first).studies(0).best().trial());
  EXPECT_EQ(harness.Table(first), harness.Table(second));
  for (const auto& trial : harness.Trials(second)) {
    EXPECT_THAT(trial.notes(), Contains(HasSubstr("of job " + std::to_string(first))));
  }
  EXPECT_THAT(harness.EventTexts(second, "measure.reused"), SizeIs(testing::Ge(kCandidates)));
}

TEST(ReuseTest, ReuseOffMeasuresAgain) {
  Harness harness;
  auto worker = harness.Worker("one");
  harness.Submit();
  worker.Work();
  const size_t before = Measurements(worker);
  harness.Submit(std::string(kRecipe) + "measure: {reuse: false}\n");
  worker.Work();
  EXPECT_EQ(Measurements(worker), 2 * before);
}

TEST(ReuseTest, OtherMachineOtherConstraintsOrOtherDataMeasureAnew) {
  Harness harness;
  {
    auto worker = harness.Worker("one");
    harness.Submit();
    worker.Work();
    const size_t before = Measurements(worker);
    harness.Submit(std::string(kRecipe) + "constraints: {accuracy_drop: 0.5}\n");
    worker.Work();
    // The baseline owes nothing to the constraints.
    EXPECT_EQ(Measurements(worker), 2 * before - 1);
    proto::Frame frame = harness.Submission(kRecipe);
    *frame.mutable_submit_job()->mutable_evaluation()->mutable_bundle() =
        UploadModel(harness.As("client"), "other samples", "npz");
    ASSERT_TRUE(harness.Call("client", frame));
    worker.Work();
    EXPECT_EQ(Measurements(worker), 3 * before - 1);
  }
  harness.Advance(60'000);
  FakeWorker other(harness.As("two"), "two");
  other.catalogue.mutable_fingerprint()->set_digest(DigestOf("another machine"));
  ASSERT_TRUE(other.Hello());
  harness.Submit();
  other.Work();
  EXPECT_GE(Measurements(other), kCandidates);
}

TEST(ReuseTest, InfeasibleStaysInfeasibleWithItsReason) {
  Harness harness;
  auto worker = harness.Worker("one");
  const std::string recipe = std::string(kRecipe) + "constraints: {size_bytes: {max: 1}}\n";
  harness.Submit(recipe);
  worker.Work();
  const size_t before = Measurements(worker);
  const uint64_t second = harness.Submit(recipe);
  worker.Work();
  EXPECT_EQ(Measurements(worker), before);
  for (const auto& trial : harness.Trials(second)) {
    if (trial.trial() == 0) continue;
    EXPECT_EQ(trial.state(), proto::TRIAL_INFEASIBLE);
    EXPECT_THAT(trial.reason(), HasSubstr("size_bytes"));
  }
}

TEST(ReuseTest, AdaptiveSearchBeginsWithWhatWasBestBefore) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t first = harness.Submit();
  worker.Work();
  const auto best = harness.Job(first).studies(0).best();
  const std::string adaptive = "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]\n"
                               "backends: {onnxruntime: {}, openvino: {}}\n";
  const uint64_t warm = harness.Submit(adaptive + "search: {trials: 3}\n");
  const uint64_t cold = harness.Submit(adaptive + "search: {trials: 3, warm_start: false}\n");
  worker.Work();
  ASSERT_THAT(harness.Trials(warm), SizeIs(4));
  EXPECT_EQ(CanonicalCandidate(harness.Trials(warm)[1].candidate()), CanonicalCandidate(best.candidate()));
  ASSERT_THAT(harness.Trials(cold), SizeIs(4));
  EXPECT_NE(CanonicalCandidate(harness.Trials(cold)[1].candidate()), CanonicalCandidate(best.candidate()));
}

// --- ends ---

std::string EndedBy(Harness& harness, uint64_t job) {
  const auto rows = harness.Query("SELECT ended_by FROM studies WHERE job = " + std::to_string(job));
  return rows.empty() ? "no study" : rows.front();
}

TEST(EndTest, SearchEndsWithItsSpaceOrItsTrials) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t all = harness.Submit();
  const uint64_t three = harness.Submit(
      "passes: [{choose: [none, half]}]\nbackends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: exhaustive, "
      "trials: 3}\n");
  worker.Work();
  EXPECT_EQ(EndedBy(harness, all), "space");
  EXPECT_EQ(EndedBy(harness, three), "trials");
}

TEST(EndTest, GoalEndsTheSearchAtTheFirstTrialThatReachesIt) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit(
      "passes: [{choose: [none, half, int8]}]\nbackends: {onnxruntime: {}, openvino: {}}\n"
      "search: {sampler: exhaustive, goal: {speedup: {min: 1}}}\n");
  worker.Work();
  EXPECT_EQ(EndedBy(harness, job), "goal");
  EXPECT_THAT(harness.Trials(job), SizeIs(2));
}

TEST(EndTest, PatienceEndsTheSearchWhenNothingGetsBetter) {
  Harness harness;
  auto worker = harness.Worker("one");
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline()) return;
    report.mutable_result()->mutable_measure()->mutable_speedup()->set_value(1.5);
  };
  const uint64_t job = harness.Submit(
      "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]\n"
      "backends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: exhaustive, patience: 3}\n");
  worker.Work();
  EXPECT_EQ(EndedBy(harness, job), "patience");
  EXPECT_THAT(harness.Trials(job), SizeIs(1 + 1 + 3));
}

TEST(EndTest, MachineTimeEndsTheSearch) {
  Harness harness;
  auto worker = harness.Worker("one");
  worker.alter = [](const proto::Lease&, proto::Report& report) { report.set_wall_ms(40'000); };
  const uint64_t job = harness.Submit(
      "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]\n"
      "backends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: exhaustive, machine_time: 1m}\n");
  worker.Work();
  EXPECT_EQ(EndedBy(harness, job), "machine_time");
  EXPECT_THAT(harness.Trials(job), SizeIs(testing::Le(4)));
}

}  // namespace
}  // namespace hone::test
