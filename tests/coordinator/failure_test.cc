// Work that fails: said why, crashed, given back; and a database that takes no more.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Every int8 build ends so.
std::function<void(const proto::Lease&, proto::Report&)> Int8Builds(proto::Report::Outcome outcome) {
  return [outcome](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_build() || lease.build().step().pass() != "int8") return;
    report.clear_result();
    report.set_outcome(outcome);
    if (outcome == proto::Report::CRASHED) {
      report.set_signal(11);
      report.set_output_tail("first line\nthe last words\n");
    }
    if (outcome == proto::Report::FAILED) {
      report.mutable_error()->set_code(proto::Error::REJECTED);
      report.mutable_error()->set_message("no MatMul to quantize");
    }
  };
}

TEST(FailureTest, BuildThatSaysWhyFailsEveryTrialThatNeedsItAfterOneTry) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = Int8Builds(proto::Report::FAILED);
  const uint64_t job = harness.Submit();
  one.Work();
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE);
  EXPECT_EQ(summary.studies(0).counts().failed(), 4U);
  EXPECT_EQ(summary.studies(0).counts().complete(), 4U);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM attempts WHERE outcome = 'failed'"), ElementsAre("2"));
  for (const auto& trial : harness.Trials(job)) {
    if (trial.state() != proto::TRIAL_FAILED) continue;
    EXPECT_EQ(trial.reason(), "int8: no MatMul to quantize");
  }
}

TEST(FailureTest, WorkThatCrashesOnTwoWorkersIsSetAsideWithItsEvidence) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  one.alter = two.alter = Int8Builds(proto::Report::CRASHED);
  const uint64_t job = harness.Submit();
  while (one.Work(1) + two.Work(1) > 0) {
  }
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
  EXPECT_EQ(summary.studies(0).counts().failed(), 4U);
  // Two builds, each tried once on each worker.
  EXPECT_THAT(harness.Query("SELECT DISTINCT count(*) FROM attempts WHERE outcome = 'crashed' GROUP BY build, worker"),
              ElementsAre("1"));
  EXPECT_THAT(harness.Query("SELECT count(*) FROM attempts WHERE outcome = 'crashed'"), ElementsAre("4"));
  EXPECT_THAT(harness.Query("SELECT output_tail FROM attempts WHERE outcome = 'crashed'"),
              Each(HasSubstr("the last words")));
  for (const auto& trial : harness.Trials(job)) {
    if (trial.state() != proto::TRIAL_FAILED) continue;
    EXPECT_THAT(trial.reason(), HasSubstr("signal 11"));
    EXPECT_THAT(trial.reason(), HasSubstr("one and two"));
  }
}

// Three in ten candidates crash, hang or run out of memory, always.
proto::Report::Outcome FateOf(const proto::MeasureWork& work) {
  const std::string about = BundleId(work.model()) + work.backend() + CanonicalParameters(work.settings());
  const uint64_t chance = std::stoull(DigestOf("fate" + about).substr(7, 8), nullptr, 16) % 10;
  if (work.is_baseline() || chance > 2) return proto::Report::DONE;
  return chance == 0 ? proto::Report::CRASHED : chance == 1 ? proto::Report::TIMED_OUT : proto::Report::OUT_OF_MEMORY;
}

TEST(FailureTest, CandidatesThatCrashHangOrStarveLeaveTheBestOfTheOthers) {
  Harness harness;
  auto worker = harness.Worker("one");
  proto::ParameterInfo& strength = *worker.catalogue.mutable_passes(1)->add_parameters();
  strength.set_name("strength");
  strength.set_type(proto::ParameterInfo::INTEGER);
  *strength.mutable_minimum() = IntValue(1);
  *strength.mutable_maximum() = IntValue(100);
  ASSERT_TRUE(worker.Hello());
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || FateOf(lease.measure()) == proto::Report::DONE) return;
    report.clear_result();
    report.set_outcome(FateOf(lease.measure()));
    report.set_signal(report.outcome() == proto::Report::CRASHED ? 11 : 0);
  };
  const uint64_t job = harness.Submit(
      "passes: [{half: {strength: {range: [1, 40], step: 1}}}]\nbackends: {onnxruntime: {}, openvino: {}}\n"
      "search: {sampler: exhaustive}\n");
  worker.Work();
  const auto summary = harness.Job(job);
  ASSERT_EQ(summary.state(), proto::JOB_COMPLETE);
  EXPECT_EQ(summary.studies(0).counts().complete() + summary.studies(0).counts().failed(), 80U);
  EXPECT_GT(summary.studies(0).counts().failed(), 10U);
  double best = 0;
  uint64_t number = 0;
  for (const auto& lease : worker.log) {
    if (!lease.has_measure() || lease.measure().is_baseline() || FateOf(lease.measure()) != proto::Report::DONE)
      continue;
    const double speedup = FakeWorker::Measured(lease.measure()).speedup().value();
    if (speedup > best) number = lease.trial();
    best = std::max(best, speedup);
  }
  EXPECT_EQ(summary.studies(0).best().trial(), number);
  EXPECT_EQ(summary.studies(0).best().speedup().value(), best);
  // What fails is tried a bounded number of times: less work in all than a fifth more than without failures.
  const auto pieces = static_cast<double>(worker.log.size());
  EXPECT_LE(pieces, 1.2 * (80 * 2 + 1 + 3) + 2.0 * summary.studies(0).counts().failed());
}

TEST(FailureTest, WithOneWorkerTwoCrashesAreEnough) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = Int8Builds(proto::Report::OUT_OF_MEMORY);
  const uint64_t job = harness.Submit();
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM attempts WHERE outcome = 'out_of_memory'"), ElementsAre("4"));
}

TEST(FailureTest, CrashOnOneWorkerOnlyIsRepairedByTheOther) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  one.alter = Int8Builds(proto::Report::TIMED_OUT);
  const uint64_t job = harness.Submit();
  while (one.Work(1) + two.Work(1) > 0) {
  }
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), kCandidates);
}

TEST(FailureTest, DoneWithoutResultOrWithoutFilesIsACrash) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_build()) return;
    if (lease.build().step().pass() == "half") report.clear_result();
    if (lease.build().step().pass() == "int8") {
      report.mutable_result()->mutable_build()->mutable_model()->mutable_files(0)->set_digest(
          DigestOf("never uploaded"));
    }
  };
  const uint64_t job = harness.Submit();
  one.Work();
  EXPECT_EQ(harness.Job(job).studies(0).counts().failed(), 6U);
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), 2U);
}

TEST(FailureTest, ReturnedWorkIsDoneByAnotherWithoutBlame) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  for (int i = 0; i < 5; ++i) {
    const auto lease = one.Take();
    ASSERT_TRUE(lease);
    proto::Report report;
    report.set_lease(lease->id());
    report.set_token(lease->token());
    report.set_outcome(proto::Report::RETURNED);
    one.reports[lease->id()] = report;
    one.held.clear();
    ASSERT_TRUE(one.Sync(0));
  }
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).counts().failed(), 0U);
  EXPECT_EQ(harness.Trials(job)[0].attempts(), 6U);
}

TEST(FailureTest, WorkThatIsNeverFinishedIsGivenUpInTheEnd) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = [](const proto::Lease&, proto::Report& report) { report.set_outcome(proto::Report::RETURNED); };
  const uint64_t job = harness.Submit();
  EXPECT_EQ(one.Work(), static_cast<int>(harness.options.unblamed_attempts));
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_FAILED);
}

TEST(FailureTest, FailedBaselineFailsTheJobAndSaysWhy) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = [](const proto::Lease&, proto::Report& report) {
    report.mutable_result()->mutable_error()->set_code(proto::Error::REJECTED);
    report.mutable_result()->mutable_error()->set_message("unsupported opset 99");
  };
  const uint64_t job = harness.Submit();
  one.Work();
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_FAILED);
  EXPECT_THAT(summary.error(), HasSubstr("unsupported opset 99"));
  EXPECT_THAT(harness.Trials(job), SizeIs(1));
}

TEST(FailureTest, AllTrialsFailedIsAFailedJob) {
  Harness harness;
  auto one = harness.Worker("one");
  one.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (lease.has_measure() && !lease.measure().is_baseline()) report.set_outcome(proto::Report::FAILED);
  };
  const uint64_t job = harness.Submit();
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_FAILED);
  EXPECT_THAT(harness.Job(job).error(), HasSubstr("all 8 trials failed"));
}

TEST(FailureTest, FinalMeasurementThatFailsLeavesTheTrialWithItsFirstLook) {
  Harness harness;
  auto one = harness.Worker("one");
  uint64_t failed = 0;
  one.alter = [&](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().pairs() != 20 || failed != 0) return;
    failed = lease.trial();
    report.set_outcome(proto::Report::FAILED);
  };
  const uint64_t job = harness.Submit();
  one.Work();
  const auto study = harness.Job(job).studies(0);
  EXPECT_EQ(study.counts().complete(), kCandidates);
  ASSERT_TRUE(study.has_best());
  EXPECT_NE(study.best().trial(), failed);
  // Another one took its place among the finalists.
  EXPECT_THAT(harness.EventTexts(job, "trial.measured_again"), SizeIs(3));
  EXPECT_THAT(harness.EventTexts(job, "trial.final_failed"), SizeIs(1));
  EXPECT_EQ(harness.Trials(job)[failed].pairs(), 6U);
}

TEST(FailureTest, FullDatabaseRefusesWorkLosesNothingAndRecovers) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  one.Work(2);
  const auto lease = one.Take();
  ASSERT_TRUE(lease && lease->has_measure());

  Store& store = harness.coordinator->store();
  const auto pages = store.Pages();
  ASSERT_TRUE(pages);
  ASSERT_TRUE(store.LimitPages(*pages));
  // A report with much to store does not fit; it is not acknowledged, and the worker keeps it.
  proto::Report report = one.Do(*lease);
  auto& samples = *report.mutable_result()->mutable_measure()->add_samples();
  samples.set_series("much");
  for (int i = 0; i < 200'000; ++i) samples.add_values(i);
  one.reports[lease->id()] = report;
  one.held.clear();
  for (int i = 0; i < 3; ++i) {
    const auto refused = one.Sync(0);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
    EXPECT_THAT(one.reports, SizeIs(1));
    // Questions are answered all the while.
    EXPECT_EQ(harness.Job(job).state(), proto::JOB_RUNNING);
    EXPECT_EQ(harness.Trials(job)[2].metrics_size(), 0);
  }
  // Small jobs fit until the last page is full; each is stored or refused.
  size_t stored = 1;
  auto submitted = harness.Call("client", harness.Submission(kRecipe));
  for (; submitted && stored < 100; ++stored) submitted = harness.Call("client", harness.Submission(kRecipe));
  ASSERT_FALSE(submitted);
  EXPECT_EQ(submitted.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM jobs"), ElementsAre(std::to_string(stored)));

  ASSERT_TRUE(store.LimitPages(0));
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(one.reports, SizeIs(0));
  harness.Advance(2000);
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), kCandidates);
  EXPECT_THAT(harness.Query("SELECT DISTINCT state FROM jobs"), ElementsAre("complete"));
  EXPECT_THAT(harness.Query("PRAGMA integrity_check"), ElementsAre("ok"));
}

TEST(FailureTest, MessageThatIsNoRequestIsRefused) {
  Harness harness;
  const auto reply = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_ping_reply(); }));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace hone::test
