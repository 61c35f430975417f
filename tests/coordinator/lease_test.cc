// Leases: who holds what, and what late words change (nothing, but a result that there is no other of).
#include <gmock/gmock.h>

#include "coordinator/lease_table.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

AttemptRecord AttemptOf(uint64_t id, const std::string& session) {
  AttemptRecord attempt;
  attempt.id = id;
  attempt.token = id;
  attempt.worker = "worker";
  attempt.session = session;
  return attempt;
}

TEST(LeaseTableTest, ExtendingASessionMovesAllItsDeadlines) {
  LeaseTable table;
  table.Open(AttemptOf(1, "a"), 100);
  table.Open(AttemptOf(2, "b"), 100);
  table.Open(AttemptOf(3, "a"), 50);
  EXPECT_EQ(table.NextDeadline(), 50);
  table.Extend("a", 300);
  EXPECT_THAT(table.Due(100), ElementsAre(2));
  EXPECT_THAT(table.Due(300), ElementsAre(2, 1, 3));
  table.Close(2);
  EXPECT_EQ(table.NextDeadline(), 300);
  EXPECT_THAT(table.OfSession("b"), IsEmpty());
  EXPECT_THAT(table.OfOtherSessions("worker", "b"), ElementsAre(1, 3));
}

TEST(LeaseTest, SilentWorkerLosesItsLeaseAndAnotherFinishes) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  auto two = harness.Worker("two");
  EXPECT_FALSE(two.Take());
  harness.Advance(harness.options.lease_ms - 100);
  EXPECT_FALSE(two.Take());
  harness.Advance(200);
  const auto again = two.Take();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->trial(), lease->trial());
  EXPECT_GT(again->token(), lease->token());
  EXPECT_THAT(harness.EventTexts(job, "attempt.worker_lost"), SizeIs(1));

  // A report under an expired lease whose work another has done is acknowledged and stored nowhere.
  two.Finish(*again);
  const auto metrics = harness.Query("SELECT count(*) FROM metrics");
  one.reports[lease->id()] = one.Do(*lease);
  one.held.clear();
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(one.reports, IsEmpty());
  EXPECT_EQ(harness.Query("SELECT count(*) FROM metrics"), metrics);
  EXPECT_THAT(harness.Query("SELECT outcome FROM attempts ORDER BY attempt LIMIT 2"),
              ElementsAre("worker_lost", "done"));
  EXPECT_THAT(harness.EventTexts(job, "report.stale"), SizeIs(1));
  EXPECT_THAT(harness.Query("SELECT a.worker FROM trials t JOIN attempts a ON a.attempt = t.result"),
              ElementsAre("two"));
  // Losing a worker is nobody's fault.
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

// A worker whose lease of the first piece of a job was lost with the work done.
class LateResultTest : public testing::Test {
 protected:
  void SetUp() override {
    job = harness.Submit();
    lease = one.Take();
    ASSERT_TRUE(lease);
    report = one.Do(*lease);
    one.held.clear();
    harness.Advance(harness.options.lease_ms + 100);
    ASSERT_THAT(harness.EventTexts(job, "attempt.worker_lost"), SizeIs(1));
  }
  void Tell(FakeWorker& worker) {
    worker.reports[lease->id()] = report;
    const auto reply = worker.Sync(0);
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->acknowledged(), ElementsAre(lease->id()));
  }
  std::vector<std::string> Outcomes() { return harness.Query("SELECT outcome FROM attempts ORDER BY attempt"); }

  Harness harness;
  FakeWorker one = harness.Worker("one");
  uint64_t job = 0;
  std::optional<proto::Lease> lease;
  proto::Report report;
};

TEST_F(LateResultTest, IsTakenWhereNobodyElseDidTheWork) {
  Tell(one);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
  EXPECT_THAT(Outcomes(), ElementsAre("done"));
  EXPECT_THAT(harness.Query("SELECT late_reports FROM attempts"), ElementsAre("1"));
  EXPECT_THAT(harness.EventTexts(job, "report.late"), SizeIs(1));
  // Once.
  Tell(one);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM metrics WHERE name = 'size_bytes'"), ElementsAre("1"));
  EXPECT_THAT(harness.Query("SELECT late_reports FROM attempts"), ElementsAre("2"));
  EXPECT_THAT(harness.EventTexts(job, "trial.complete"), SizeIs(1));
}

TEST_F(LateResultTest, StopsWhoDoesTheSameWorkAgain) {
  auto two = harness.Worker("two");
  const auto again = two.Take();
  ASSERT_TRUE(again);
  Tell(one);
  EXPECT_EQ(harness.Trials(job)[0].worker(), "one");
  EXPECT_THAT(Outcomes(), ElementsAre("done", "cancelled"));
  ASSERT_TRUE(two.Sync(0));
  EXPECT_THAT(two.dropped, ElementsAre(again->id()));
  // It had ended already, when it was told.
  two.reports[again->id()] = two.Do(*again);
  ASSERT_TRUE(two.Sync(0));
  EXPECT_THAT(Outcomes(), ElementsAre("done", "cancelled"));
  EXPECT_THAT(harness.Query("SELECT count(*) FROM metrics WHERE name = 'size_bytes'"), ElementsAre("1"));
}

TEST_F(LateResultTest, IsTakenFromTheSameWorkerStartedAnew) {
  auto anew = harness.Worker("one", {"cpu"}, "one-2");
  Tell(anew);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST_F(LateResultTest, IsTakenAfterARestartOfTheCoordinator) {
  harness.Restart();
  ASSERT_TRUE(one.Hello());
  Tell(one);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST_F(LateResultTest, OfAnotherTokenOrWorkerOrAFailureChangesNothing) {
  auto two = harness.Worker("two");
  Tell(two);
  const proto::Report good = report;
  report.set_token(report.token() + 1);
  Tell(one);
  report = good;
  report.set_outcome(proto::Report::CRASHED);
  Tell(one);
  report = good;
  report.clear_result();
  Tell(one);
  EXPECT_THAT(Outcomes(), ElementsAre("worker_lost"));
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_WAITING);
  report = good;
  Tell(one);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST_F(LateResultTest, OfACancelledJobChangesNothing) {
  ASSERT_TRUE(harness.Call("client", FrameOf([&](auto& frame) { frame.mutable_cancel_job()->set_job(job); })));
  Tell(one);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_PRUNED);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM metrics"), ElementsAre("0"));
}

// The baseline is measured by hand, so that the next piece is a build.
TEST(LateBuildTest, IsTakenAndTheSearchGoesOn) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit("passes: [half]\nbackends: {onnxruntime: {}}\n");
  one.Finish(*one.Take());
  const auto lease = one.Take();
  ASSERT_TRUE(lease && lease->has_build());
  const auto report = one.Do(*lease);
  one.held.clear();
  harness.Advance(harness.options.lease_ms + 100);
  auto two = harness.Worker("two");
  ASSERT_TRUE(two.Take());
  one.reports[lease->id()] = report;
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(harness.EventTexts(job, "build.done"), SizeIs(1));
  EXPECT_THAT(harness.EventTexts(job, "report.late"), SizeIs(1));
  one.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
}

TEST(LeaseTest, HeartbeatsKeepALeaseForAsLongAsItTakes) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  for (int i = 0; i < 30; ++i) {
    harness.Advance(1000);
    ASSERT_TRUE(one.Sync(0));
  }
  EXPECT_THAT(one.dropped, IsEmpty());
  one.Finish(*lease);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST(LeaseTest, ReportSentManyTimesIsAcceptedOnce) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  const auto report = one.Do(*lease);
  one.held.clear();
  for (int i = 0; i < 10; ++i) {
    one.reports[lease->id()] = report;
    const auto reply = one.Sync(0);
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->acknowledged(), ElementsAre(lease->id()));
  }
  EXPECT_THAT(harness.Query("SELECT late_reports FROM attempts WHERE attempt = " + std::to_string(lease->id())),
              ElementsAre("9"));
  EXPECT_THAT(harness.Query("SELECT count(*) FROM metrics WHERE name = 'size_bytes'"), ElementsAre("1"));
  EXPECT_THAT(harness.EventTexts(job, "report.duplicate"), SizeIs(1));
  EXPECT_THAT(harness.EventTexts(job, "trial.complete"), SizeIs(1));
}

TEST(LeaseTest, ReportWithAnotherTokenOrSessionChangesNothing) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  auto report = one.Do(*lease);
  two.reports[lease->id()] = report;
  ASSERT_TRUE(two.Sync(0));
  report.set_token(report.token() + 1);
  one.reports[lease->id()] = report;
  ASSERT_TRUE(one.Sync(0));
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_RUNNING);
  one.Finish(*lease);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST(LeaseTest, LeaseWhoseReplyWasLostIsSentAgain) {
  Harness harness;
  auto one = harness.Worker("one");
  harness.Submit();
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  one.held.clear();  // The reply never arrived.
  const auto again = one.Take();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->id(), lease->id());
  EXPECT_EQ(again->token(), lease->token());
}

TEST(LeaseTest, ConfirmedLeaseThatItsWorkerNoLongerNamesExpires) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  ASSERT_TRUE(one.Sync(0));
  one.held.clear();
  // Named again in time it is as before: a message takes only so many reports.
  EXPECT_FALSE(one.Take());
  harness.Advance(3000);
  one.held[lease->id()] = *lease;
  ASSERT_TRUE(one.Sync(0));
  one.held.clear();
  std::optional<proto::Lease> next;
  for (int i = 0; i < 6 && !next; ++i) {
    harness.Advance(1000);
    next = one.Take();
  }
  ASSERT_TRUE(next);
  EXPECT_GT(next->id(), lease->id());
  EXPECT_THAT(harness.EventTexts(job, "attempt.worker_lost"), SizeIs(1));
}

TEST(LeaseTest, NewSessionOfAWorkerGivesUpWhatTheOldOneHeld) {
  Harness harness;
  auto old = harness.Worker("one");
  const uint64_t job = harness.Submit();
  ASSERT_TRUE(old.Take());
  auto fresh = harness.Worker("one", {"cpu"}, "one-2");
  EXPECT_THAT(harness.EventTexts(job, "attempt.worker_lost"), SizeIs(1));
  ASSERT_TRUE(fresh.Take());
  // The old process is told that it is nobody; it cannot come back under the name.
  const auto sync = old.Sync(1);
  ASSERT_TRUE(sync);
  EXPECT_TRUE(sync->unknown());
  const auto hello = old.Hello();
  ASSERT_FALSE(hello);
  EXPECT_EQ(hello.error().code, ErrorCode::kConflict);
}

TEST(LeaseTest, UnknownSessionIsAskedToSayHello) {
  Harness harness;
  FakeWorker stranger(harness.As("stranger"), "stranger");
  const auto reply = stranger.Sync(1);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->unknown());
}

TEST(LeaseTest, WaitingWorkerGetsWorkAsSoonAsThereIsSome) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t call = harness.Post("one", one.SyncFrame(1, 1000));
  EXPECT_FALSE(harness.Reply(call));
  harness.Submit();
  const auto reply = harness.Reply(call);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->synchronize_reply().leases_size(), 1);
}

TEST(LeaseTest, WaitingWorkerIsAnsweredInTimeForItsHeartbeat) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t call = harness.Post("one", one.SyncFrame(1, 60000));
  harness.Advance(harness.options.heartbeat_ms + 50);
  EXPECT_TRUE(harness.Reply(call));
}

TEST(LeaseTest, StoppedCoordinatorDoesNotBlameTheWorkers) {
  Harness harness;
  auto one = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const auto lease = one.Take();
  // The process was frozen for a minute: nobody could have been heard.
  harness.clock.now_ms += 60'000;
  ASSERT_TRUE(one.Sync(0));
  EXPECT_THAT(one.dropped, IsEmpty());
  one.Finish(*lease);
  EXPECT_EQ(harness.Trials(job)[0].state(), proto::TRIAL_COMPLETE);
}

TEST(LeaseTest, DrainedWorkerFinishesAndTakesNothingNew) {
  Harness harness;
  auto one = harness.Worker("one");
  harness.Submit();
  const auto lease = one.Take();
  const auto drain = [&](bool undrain) {
    return harness.Call("client", FrameOf([&](auto& frame) {
                          frame.mutable_drain_worker()->set_name("one");
                          frame.mutable_drain_worker()->set_undrain(undrain);
                        }));
  };
  ASSERT_TRUE(drain(false));
  const auto told = one.Sync(0);
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->drain());
  one.Finish(*lease);
  EXPECT_FALSE(one.Take());
  auto workers = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_list_workers(); }));
  ASSERT_TRUE(workers);
  EXPECT_EQ(workers->list_workers_reply().workers(0).state(), "draining");
  ASSERT_TRUE(drain(true));
  EXPECT_TRUE(one.Take());
  const auto unknown =
      harness.Call("client", FrameOf([](auto& frame) { frame.mutable_drain_worker()->set_name("on"); }));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
}

TEST(LeaseTest, ListTellsWhoIsLostAndWhatEachDoes) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  harness.Submit();
  ASSERT_TRUE(one.Take());
  ASSERT_TRUE(one.Sync(0));
  for (int i = 0; i < 5; ++i) {
    harness.Advance(1000);
    ASSERT_TRUE(one.Sync(0));
  }
  const auto reply = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_list_workers(); }));
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->list_workers_reply().workers_size(), 2);
  EXPECT_EQ(reply->list_workers_reply().workers(0).state(), "busy");
  EXPECT_THAT(reply->list_workers_reply().workers(0).work(), HasSubstr("measure trial 0 of job 1 (running)"));
  EXPECT_EQ(reply->list_workers_reply().workers(1).state(), "lost");
  const auto catalogue = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_get_catalogue(); }));
  EXPECT_EQ(catalogue->get_catalogue_reply().catalogue().passes_size(), 3);
}

}  // namespace
}  // namespace hone::test
