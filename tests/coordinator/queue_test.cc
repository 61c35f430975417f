// Whose work goes first, failed trials that are tried again, what attempts leave behind, and how long events are kept.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

uint64_t SubmitWith(Harness& harness, const std::string& model, int32_t priority) {
  proto::Frame frame = harness.Submission(kRecipe, model);
  frame.mutable_submit_job()->set_priority(priority);
  auto reply = harness.Call("client", std::move(frame));
  EXPECT_TRUE(reply) << reply.error().message;
  return reply ? reply->submit_job_reply().job() : 0;
}

// The jobs of the pieces that a worker did, in order.
std::vector<uint64_t> JobsOf(const FakeWorker& worker) {
  std::vector<uint64_t> jobs;
  for (const auto& lease : worker.log) jobs.push_back(lease.job());
  return jobs;
}

TEST(QueueTest, HigherPriorityIsDoneFirst) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t low = SubmitWith(harness, "low", -5);
  const uint64_t high = SubmitWith(harness, "high", 5);
  worker.Work();
  const auto jobs = JobsOf(worker);
  const auto last_high = std::find(jobs.rbegin(), jobs.rend(), high);
  const auto first_low = std::find(jobs.begin(), jobs.end(), low);
  // One piece of the job that was there first may have been handed out before the other was submitted; none was here.
  EXPECT_LT(last_high.base() - jobs.begin(), first_low - jobs.begin() + 1);
  EXPECT_EQ(harness.Job(high).priority(), 5);
}

TEST(QueueTest, JobsOfOnePriorityTakeTurns) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  const uint64_t first = SubmitWith(harness, "first", 0);
  const uint64_t second = SubmitWith(harness, "second", 0);
  const auto a = one.Take();
  const auto b = two.Take();
  ASSERT_TRUE(a && b);
  EXPECT_EQ((std::set<uint64_t>{a->job(), b->job()}), (std::set<uint64_t>{first, second}));
}

TEST(QueueTest, PrioritiesBeyondTheBoundsAreTheBounds) {
  Harness harness;
  harness.Worker("one");
  EXPECT_EQ(harness.Job(SubmitWith(harness, "m", 1'000'000)).priority(), 100);
}

TEST(QueueTest, ManyJobsHoldFewProposals) {
  Harness harness;
  for (int i = 0; i < 8; ++i) harness.Worker("w" + std::to_string(i));
  for (int i = 0; i < 40; ++i)
    harness.Submit("backends: {onnxruntime: {}, openvino: {}}\npasses: [{choose: [none, half, clean]}]\n",
                   "model " + std::to_string(i));
  harness.Advance(1000);
  // The baselines, and no candidate before its baseline is known.
  EXPECT_THAT(harness.Query("SELECT count(*) FROM trials"), ElementsAre("40"));
}

// A job that is over: every measurement of its second backend crashed, and does until told otherwise.
class FailedJobTest : public testing::Test {
 protected:
  void SetUp() override {
    worker.alter = [this](const proto::Lease& lease, proto::Report& report) {
      if (!broken || !lease.has_measure() || lease.measure().backend() != "openvino") return;
      report.clear_result();
      report.set_outcome(proto::Report::CRASHED);
      report.set_signal(6);
      report.set_output_tail("assertion failed\n");
    };
    job = harness.Submit();
    worker.Work();
  }

  Harness harness;
  FakeWorker worker = harness.Worker("one");
  bool broken = true;
  uint64_t job = 0;
};

Result<proto::Frame> AskRetry(Harness& harness, uint64_t job, std::optional<uint64_t> trial = {}) {
  return harness.Call("client", FrameOf([&](auto& frame) {
    frame.mutable_retry_job()->set_job(job);
    if (trial) frame.mutable_retry_job()->set_trial(*trial);
  }));
}

TEST_F(FailedJobTest, FailedTrialsAreTriedAgainAndTheJobEndsAnew) {
  ASSERT_EQ(harness.Job(job).studies(0).counts().failed(), 4U);
  broken = false;
  const auto retried = AskRetry(harness, job);
  ASSERT_TRUE(retried) << retried.error().message;
  EXPECT_EQ(retried->retry_job_reply().trials(), 4U);
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_RUNNING);
  worker.Work();
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
  EXPECT_EQ(summary.studies(0).counts().complete(), kCandidates);
  EXPECT_EQ(summary.studies(0).counts().failed(), 0U);
}

TEST_F(FailedJobTest, RetriedTrialThatFailsAgainFailsWithFreshAttempts) {
  const auto before = harness.Query("SELECT attempt FROM attempts WHERE outcome = 'crashed'");
  ASSERT_TRUE(AskRetry(harness, job));
  worker.Work();
  EXPECT_EQ(harness.Job(job).studies(0).counts().failed(), 4U);
  EXPECT_THAT(harness.Query("SELECT attempt FROM attempts WHERE outcome = 'crashed'"), SizeIs(2 * before.size()));
}

TEST_F(FailedJobTest, OneTrialIsRetriedAlone) {
  broken = false;
  const auto trials = harness.Trials(job);
  const auto failed = std::find_if(trials.begin(), trials.end(),
                                   [](const auto& trial) { return trial.state() == proto::TRIAL_FAILED; });
  ASSERT_NE(failed, trials.end());
  ASSERT_TRUE(AskRetry(harness, job, failed->trial()));
  worker.Work();
  EXPECT_EQ(harness.Job(job).studies(0).counts().failed(), 3U);
}

TEST(QueueTest, RetryWithNothingFailedSaysSo) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work();
  const auto refused = AskRetry(harness, job);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(AskRetry(harness, 99).error().code, ErrorCode::kNotFound);
}

TEST_F(FailedJobTest, LogHoldsEachAttemptWithItsOutputAndTheCommandThatRepeatsIt) {
  const auto trials = harness.Trials(job);
  const auto failed = std::find_if(trials.begin(), trials.end(), [](const auto& trial) {
    return trial.state() == proto::TRIAL_FAILED && trial.candidate().pipeline_size() > 0;
  });
  ASSERT_NE(failed, trials.end());
  const auto reply = harness.Call("client", FrameOf([&](auto& frame) {
    frame.mutable_get_log()->set_job(job);
    frame.mutable_get_log()->set_trial(failed->trial());
  }));
  ASSERT_TRUE(reply) << reply.error().message;
  const proto::GetLogReply& log = reply->get_log_reply();
  int crashed = 0;
  for (const auto& attempt : log.attempts()) {
    if (attempt.outcome() != "crashed") continue;
    ++crashed;
    EXPECT_EQ(attempt.signal(), 6);
    EXPECT_EQ(attempt.worker(), "one");
    EXPECT_THAT(attempt.output_tail(), HasSubstr("assertion failed"));
  }
  EXPECT_EQ(crashed, 2);
  EXPECT_THAT(log.command(), HasSubstr("--pass " + failed->candidate().pipeline(0).pass()));
  EXPECT_THAT(log.command(), HasSubstr("--backend openvino"));
}

TEST(QueueTest, OldEventsAreDroppedAndTheGapIsTold) {
  Harness harness;
  harness.options.kept_events = 5;
  harness.Restart();
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work();
  harness.Advance(1000);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM events"), ElementsAre("5"));
  const auto watch = harness.Call("client", FrameOf([&](auto& frame) { frame.mutable_watch_events()->set_job(job); }));
  ASSERT_TRUE(watch);
  EXPECT_GT(watch->watch_events_reply().gap(), 0U);
  // What was dropped was before the job that is new: nothing of it is missing.
  const uint64_t fresh = harness.Submit(kRecipe, "another model");
  const auto from_start =
      harness.Call("client", FrameOf([&](auto& frame) { frame.mutable_watch_events()->set_job(fresh); }));
  ASSERT_TRUE(from_start);
  EXPECT_EQ(from_start->watch_events_reply().gap(), 0U);
  const uint64_t last = watch->watch_events_reply().last();
  const auto later = harness.Call("client", FrameOf([&](auto& frame) {
    frame.mutable_watch_events()->set_job(job);
    frame.mutable_watch_events()->set_after(last);
  }));
  ASSERT_TRUE(later);
  EXPECT_EQ(later->watch_events_reply().gap(), 0U);
  EXPECT_THAT(later->watch_events_reply().events(), IsEmpty());
}

}  // namespace
}  // namespace hone::test
