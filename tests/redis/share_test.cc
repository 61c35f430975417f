// Coordinators that share results through a real redis-server, and what becomes of it when the server does not do as it
// should.
#include <gmock/gmock.h>

#include "coordinator/fsck.h"
#include "coordinator/redis/share.h"
#include "tests/coordinator/harness.h"
#include "tests/redis/redis_server.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A coordinator with its worker, its data and its share.
struct Site {
  explicit Site(const std::string& url, const RedisShareOptions& options = {}) {
    auto address = ParseRedisUrl(url);
    EXPECT_TRUE(address) << address.error().message;
    auto started = RedisShare::Start(*address, harness.options.data / "artifacts", options);
    EXPECT_TRUE(started) << started.error().message;
    share = std::move(*started);
    harness.coordinator->Use(share.get());
  }
  bool Connected() {
    return Eventually([&] { return share->state().connected; });
  }
  // Until the job is over; the worker does what nobody else did. Time stands still while an answer is under way.
  bool WorkToEnd(uint64_t job) {
    return Eventually([&] {
      if (share->state().waiting > 0) return false;
      worker.Work();
      harness.Advance(50);
      return harness.Job(job).state() != proto::JOB_RUNNING;
    });
  }
  // Without its worker.
  bool AwaitEnd(uint64_t job) {
    return Eventually([&] { return harness.Job(job).state() != proto::JOB_RUNNING; });
  }
  std::string Count(const std::string& where) {
    return harness.Query("SELECT count(*) FROM attempts WHERE " + where)[0];
  }
  void ExpectSound() {
    const auto report = Fsck(harness.options.data, {});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->ok()) << FsckJson(*report);
  }

  Harness harness;
  std::unique_ptr<RedisShare> share;
  FakeWorker worker = harness.Worker("one");
};

class ShareTest : public RedisTest {
 protected:
  // One coordinator does a job, and all that it did is in Redis.
  void SetUp() override {
    RedisTest::SetUp();
    if (IsSkipped()) return;
    first_ = std::make_unique<Site>(Url());
    ASSERT_TRUE(first_->Connected());
    first_job_ = first_->harness.Submit();
    ASSERT_TRUE(first_->WorkToEnd(first_job_));
    const std::string done = first_->Count("outcome = 'done'");
    ASSERT_TRUE(Eventually([&] { return std::to_string(first_->share->state().offered) == done; }))
        << first_->share->state().error;
  }
  void TearDown() override {
    first_.reset();
    RedisTest::TearDown();
  }
  std::vector<std::string> FirstTable() { return first_->harness.Table(first_job_); }
  // The keys of all results.
  std::vector<std::string> ResultKeys() {
    auto& harness = first_->harness;
    auto keys = harness.Query(
        "SELECT 'hone:result:measure:' || measure_key || ':' || (SELECT digest FROM fingerprints) || "
        "CASE kind WHEN 'final' THEN ':final' ELSE ':first' END FROM attempts WHERE kind <> 'build'");
    for (auto& key : harness.Query("SELECT 'hone:result:build:' || build FROM builds")) keys.push_back(key);
    return keys;
  }

  std::unique_ptr<Site> first_;
  uint64_t first_job_ = 0;
};

TEST_F(ShareTest, AnotherCoordinatorFindsResultsAndFilesAndItsWorkerDoesNothing) {
  Site second(Url());
  ASSERT_TRUE(second.Connected());
  const uint64_t job = second.harness.Submit();
  ASSERT_TRUE(second.AwaitEnd(job));
  EXPECT_EQ(second.harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(second.harness.Table(job), FirstTable());
  EXPECT_EQ(second.harness.Job(job).studies(0).best().trial(),
            first_->harness.Job(first_job_).studies(0).best().trial());
  EXPECT_EQ(second.Count("session <> 'shared'"), "0");
  EXPECT_EQ(second.Count("worker = 'one' AND outcome = 'done'"), first_->Count("outcome = 'done'"));
  EXPECT_EQ(second.harness.Job(job).studies(0).builds_run(), 0U);
  EXPECT_EQ(second.share->state().offered, 0U);
  second.ExpectSound();
}

TEST_F(ShareTest, SpoiledResultsAreNotBelieved) {
  const auto keys = ResultKeys();
  ASSERT_GT(keys.size(), 10U);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_NE(AskRoot({"STRLEN", keys[i]}), "0") << keys[i];
    switch (i % 4) {
      case 0: AskRoot({"SETRANGE", keys[i], "120", "X"}); break;
      case 1: AskRoot({"SET", keys[i], "some text\nof another program"}); break;
      case 2: AskRoot({"COPY", keys[(i + 3) % keys.size()], keys[i], "REPLACE"}); break;
      default: AskRoot({"SETRANGE", keys[i], "2000000", "far too long"}); break;
    }
  }
  Site second(Url());
  ASSERT_TRUE(second.Connected());
  const uint64_t job = second.harness.Submit();
  ASSERT_TRUE(second.WorkToEnd(job));
  EXPECT_EQ(second.harness.Table(job), FirstTable());
  EXPECT_EQ(second.Count("session = 'shared'"), "0");
  EXPECT_EQ(second.Count("outcome <> 'done'"), "0");
  EXPECT_GT(second.share->state().unsound, 0U);
  second.ExpectSound();
  // What was spoiled is written anew, and found again.
  const std::string done = second.Count("outcome = 'done'");
  ASSERT_TRUE(Eventually([&] { return std::to_string(second.share->state().offered) == done; }));
  Site third(Url());
  ASSERT_TRUE(third.Connected());
  EXPECT_TRUE(third.AwaitEnd(third.harness.Submit()));
}

TEST_F(ShareTest, SpoiledFilesAreNotStored) {
  const auto digests =
      first_->harness.Query("SELECT digest FROM artifacts WHERE digest IN (SELECT output_id FROM builds)");
  ASSERT_THAT(digests, ::testing::Not(IsEmpty()));
  for (const std::string& digest : digests) AskRoot({"SETRANGE", "hone:artifact:" + digest, "0", "Z"});
  Site second(Url());
  ASSERT_TRUE(second.Connected());
  const uint64_t job = second.harness.Submit();
  ASSERT_TRUE(second.WorkToEnd(job));
  EXPECT_EQ(second.harness.Table(job), FirstTable());
  EXPECT_EQ(second.Count("kind = 'build' AND session = 'shared'"), "0");
  EXPECT_EQ(second.share->state().unsound, digests.size());
  second.ExpectSound();
}

TEST_F(ShareTest, ResultsOfAnotherMachineAreNotTaken) {
  Site second(Url());
  ASSERT_TRUE(second.Connected());
  second.worker.catalogue.mutable_fingerprint()->set_digest(DigestOf("another machine"));
  ASSERT_TRUE(second.worker.Hello());
  const uint64_t job = second.harness.Submit();
  ASSERT_TRUE(second.WorkToEnd(job));
  EXPECT_EQ(second.Count("kind <> 'build' AND session = 'shared'"), "0");
  // Builds are of no machine.
  EXPECT_EQ(second.harness.Job(job).studies(0).builds_run(), 0U);
}

TEST_F(ShareTest, RecipeThatMeasuresAnewTakesBuildsAlone) {
  Site second(Url());
  ASSERT_TRUE(second.Connected());
  const uint64_t job = second.harness.Submit(std::string(kRecipe) + "measure: {reuse: false}\n");
  ASSERT_TRUE(second.WorkToEnd(job));
  EXPECT_EQ(second.Count("kind <> 'build' AND session = 'shared'"), "0");
  EXPECT_EQ(second.harness.Job(job).studies(0).builds_run(), 0U);
}

TEST_F(ShareTest, WhateverBecomesOfTheServerTheWorkGoesOn) {
  const std::vector<std::function<void()>> blows = {[&] { AskRoot({"FLUSHALL"}); }, [&] { server_->Signal(SIGSTOP); },
                                                    [&] { Kill(); }};
  for (const auto& blow : blows) {
    Site second(Url(), {.timeout = 200ms});
    ASSERT_TRUE(second.Connected());
    blow();
    const uint64_t job = second.harness.Submit();
    ASSERT_TRUE(second.WorkToEnd(job));
    EXPECT_EQ(second.harness.Table(job), FirstTable());
    EXPECT_EQ(second.Count("session = 'shared'"), "0");
    if (server_) server_->Signal(SIGCONT);
  }
  // The one that was there all the time finds the new server, and tells it what is new.
  Start();
  ASSERT_TRUE(first_->Connected());
  const uint64_t before = first_->share->state().offered;
  ASSERT_TRUE(first_->WorkToEnd(first_->harness.Submit(kRecipe, "another model")));
  EXPECT_TRUE(Eventually([&] { return first_->share->state().offered > before; }));
}

TEST_F(ShareTest, FilesBeyondTheBoundAreNotShared) {
  Site second(Url(), {.file_bytes = 4});
  ASSERT_TRUE(second.Connected());
  const uint64_t job = second.harness.Submit();
  ASSERT_TRUE(second.WorkToEnd(job));
  EXPECT_EQ(second.Count("kind = 'build' AND session = 'shared'"), "0");
  EXPECT_NE(second.Count("kind <> 'build' AND session = 'shared'"), "0");
}

TEST_F(ShareTest, WithoutTheRightPasswordNobodyIsAsked) {
  Site second(Url("hone:other"));
  ASSERT_TRUE(Eventually([&] { return second.share->state().error.find("log in") != std::string::npos; }));
  const uint64_t job = second.harness.Submit();
  // Nothing is held back either.
  EXPECT_GT(second.worker.Work(), 0);
  EXPECT_EQ(second.harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(second.share->state().asked, 0U);
}

}  // namespace
}  // namespace hone::test
