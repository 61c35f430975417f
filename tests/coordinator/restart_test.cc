// A coordinator that dies and comes back goes on with the same search.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const char* const kRandom = R"(
passes: [clean, {choose: [none, half, {int8: {per_channel: [true, false]}}]}]
backends: {onnxruntime: {}, openvino: {}}
search: {sampler: random, trials: 6, seed: 11}
)";

TEST(RestartTest, WorkInHandContinuesAndItsReportCounts) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  one.Work(2);
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  harness.Restart();
  // The new process does not know the session; the worker says hello again and keeps what it holds.
  const auto sync = one.Sync(0);
  ASSERT_TRUE(sync);
  EXPECT_TRUE(sync->unknown());
  ASSERT_TRUE(one.Hello());
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(one.dropped, IsEmpty());
  one.Finish(*lease);
  EXPECT_THAT(harness.Query("SELECT outcome FROM attempts WHERE attempt = " + std::to_string(lease->id())),
              ElementsAre("done"));
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), kCandidates);
}

TEST(RestartTest, ReportBeforeHelloIsTaken) {
  Harness harness;
  auto one = harness.Worker("one");
  harness.Submit();
  const auto lease = one.Take();
  harness.Restart();
  one.reports[lease->id()] = one.Do(*lease);
  one.held.clear();
  const auto sync = one.Sync(0);
  ASSERT_TRUE(sync);
  EXPECT_TRUE(sync->unknown());
  EXPECT_THAT(sync->acknowledged(), ElementsAre(lease->id()));
  EXPECT_THAT(harness.Query("SELECT state FROM trials WHERE trial = 0"), ElementsAre("complete"));
}

TEST(RestartTest, LeasesOfALostWorkerExpireAFullLeaseTimeAfterTheRestart) {
  Harness harness;
  auto one = harness.Worker("one");
  harness.Submit();
  ASSERT_TRUE(one.Take());
  harness.Advance(harness.options.lease_ms - 500);
  harness.Restart();
  harness.Advance(harness.options.lease_ms - 500);
  EXPECT_THAT(harness.Query("SELECT outcome FROM attempts"), ElementsAre("open"));
  harness.Advance(600);
  EXPECT_THAT(harness.Query("SELECT outcome FROM attempts"), ElementsAre("worker_lost"));
}

TEST(RestartTest, RestartsAtEveryStepGiveTheSameTableAsNone) {
  const auto run = [](bool restarts) {
    Harness harness;
    auto one = harness.Worker("one");
    const uint64_t job = harness.Submit(kRandom);
    for (int step = 0; step < 200; ++step) {
      if (restarts) {
        harness.Restart();
        EXPECT_TRUE(one.Hello());
      }
      const auto lease = one.Take();
      if (!lease) break;
      if (restarts) {
        harness.Restart();
        EXPECT_TRUE(one.Hello());
      }
      one.Finish(*lease);
    }
    EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
    auto table = harness.Table(job);
    table.push_back("best " + std::to_string(harness.Job(job).studies(0).best().trial()));
    // Nothing was done twice.
    EXPECT_THAT(harness.Query("SELECT build FROM attempts WHERE kind = 'build' GROUP BY build HAVING count(*) > 1"),
                IsEmpty());
    EXPECT_THAT(harness.Query("SELECT trial FROM attempts WHERE kind = 'measure' GROUP BY trial HAVING count(*) > 1"),
                IsEmpty());
    return table;
  };
  const auto plain = run(false);
  EXPECT_THAT(plain, SizeIs(8));
  EXPECT_EQ(plain, run(true));
}

TEST(RestartTest, FinishedJobsStayAsTheyWere) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  one.Work();
  const auto before = harness.Job(job).SerializeAsString();
  harness.Restart();
  EXPECT_EQ(harness.Job(job).SerializeAsString(), before);
  const auto workers = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_list_workers(); }));
  EXPECT_EQ(workers->list_workers_reply().workers(0).state(), "lost");
}

}  // namespace
}  // namespace hone::test
