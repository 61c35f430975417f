// Cancelled jobs.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

proto::Frame Cancel(uint64_t job) {
  return FrameOf([&](auto& frame) {
    frame.mutable_cancel_job()->set_job(job);
    frame.mutable_cancel_job()->set_reason("changed my mind");
  });
}

TEST(CancelTest, WorkerIsToldToStopAtOnceAndUnfinishedTrialsArePruned) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  one.Work(3);
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  const uint64_t waiting = harness.Post("one", one.SyncFrame(0, 1000));
  EXPECT_FALSE(harness.Reply(waiting));
  const auto reply = harness.Call("client", Cancel(job));
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->cancel_job_reply().was_running());
  const auto told = harness.Reply(waiting);
  ASSERT_TRUE(told);
  EXPECT_THAT(told->synchronize_reply().drop(), ElementsAre(lease->id()));

  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_CANCELLED);
  EXPECT_EQ(summary.studies(0).counts().waiting() + summary.studies(0).counts().running(), 0U);
  EXPECT_EQ(summary.studies(0).counts().pruned(), 1U);
  EXPECT_THAT(harness.Query("SELECT attempt FROM attempts WHERE outcome = 'open'"), IsEmpty());

  // What it reports now changes nothing, and a second cancel finds nothing to do.
  one.reports[lease->id()] = one.Do(*lease);
  one.held.clear();
  ASSERT_TRUE(one.Sync(1));
  EXPECT_THAT(one.reports, IsEmpty());
  EXPECT_THAT(one.held, IsEmpty());
  EXPECT_FALSE(harness.Call("client", Cancel(job))->cancel_job_reply().was_running());
  EXPECT_FALSE(harness.Call("client", Cancel(99)));
}

TEST(CancelTest, BuildThatAnotherJobWaitsForGoesOn) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  const std::string recipe = "passes: [clean]\nbackends: {onnxruntime: {}}\n";
  const uint64_t first = harness.Submit(recipe);
  one.Finish(*one.Take());
  const auto build = one.Take();
  ASSERT_TRUE(build && build->has_build());
  const uint64_t second = harness.Submit(recipe);
  two.Work();  // The second baseline; then it waits for the same build.
  ASSERT_TRUE(harness.Call("client", Cancel(first)));
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(one.dropped, IsEmpty());
  one.Finish(*build);
  while (one.Work() + two.Work() > 0) {
  }
  EXPECT_EQ(harness.Job(second).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(first).state(), proto::JOB_CANCELLED);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM attempts WHERE kind = 'build'"), ElementsAre("1"));
}

TEST(CancelTest, WatcherOfAnEndedJobIsAnsweredAtOnce) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  ASSERT_TRUE(harness.Call("client", Cancel(job)));
  const uint64_t watch = harness.Post("client", FrameOf([&](auto& frame) {
                                        frame.mutable_watch_events()->set_job(job);
                                        frame.mutable_watch_events()->set_after(1000);
                                        frame.mutable_watch_events()->set_wait_ms(20000);
                                      }));
  const auto reply = harness.Reply(watch);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->watch_events_reply().state(), proto::JOB_CANCELLED);
}

}  // namespace
}  // namespace hone::test
