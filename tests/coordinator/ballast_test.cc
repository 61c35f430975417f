// The reserve for a full disk: by itself, in a coordinator, and on a real small disk.
#include "coordinator/ballast.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "coordinator/fsck.h"
#include "tests/coordinator/harness.h"
#include "tests/support/small_disk.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kReserve = 1 << 20;

class BallastTest : public ::testing::Test {
 protected:
  BallastTest() {
    auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-ballast-");
    EXPECT_TRUE(folder);
    folder_.emplace(std::move(*folder));
  }
  std::filesystem::path File() const { return folder_->path() / "reserve"; }
  Ballast::FreeSpace Free() {
    return [this](const std::filesystem::path&) -> Result<uint64_t> { return free_; };
  }

  std::optional<ScopedFolder> folder_;
  uint64_t free_ = 100 << 20;
};

TEST_F(BallastTest, ReserveIsRealAndGoesWithTheCoordinator) {
  {
    const Ballast ballast(folder_->path(), kReserve, Free());
    struct stat status {};
    ASSERT_EQ(::stat(File().c_str(), &status), 0);
    EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, kReserve);
    EXPECT_FALSE(ballast.spent());
    EXPECT_EQ(ballast.Reason(), "");
  }
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(BallastTest, IsGivenUpAtLowWaterAndComesBackWithARoomToSpare) {
  Ballast ballast(folder_->path(), kReserve, Free());
  int64_t now = 0;
  const auto tend = [&](uint64_t free) {
    free_ = free;
    ballast.Tend(now += Ballast::kLookMs);
    return ballast.spent();
  };
  EXPECT_FALSE(tend(ballast.low_water_bytes()));
  EXPECT_TRUE(tend(ballast.low_water_bytes() - 1));
  EXPECT_FALSE(std::filesystem::exists(File()));
  EXPECT_THAT(ballast.Reason(), HasSubstr(folder_->path().string()));
  // What it gave up itself must not bring it back.
  EXPECT_TRUE(tend(kReserve + ballast.low_water_bytes() - 1));
  EXPECT_FALSE(tend(kReserve + 2 * ballast.low_water_bytes()));
  EXPECT_TRUE(std::filesystem::exists(File()));
  // Looks at the disk once a second only.
  free_ = 0;
  ballast.Tend(now + Ballast::kLookMs - 1);
  EXPECT_FALSE(ballast.spent());
  ballast.Spend(now);
  EXPECT_TRUE(ballast.spent());
}

TEST_F(BallastTest, WithoutAReserveNothingIsRefused) {
  Ballast ballast(folder_->path(), 0, Free());
  free_ = 0;
  ballast.Tend(5000);
  ballast.Spend(6000);
  EXPECT_FALSE(ballast.spent());
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(BallastTest, CrashedLifesReserveIsTakenOver) {
  std::ofstream(File()) << std::string(3 * kReserve, 'x');
  const Ballast ballast(folder_->path(), kReserve, Free());
  EXPECT_EQ(std::filesystem::file_size(File()), kReserve);
  EXPECT_FALSE(ballast.spent());
}

TEST_F(BallastTest, FullDiskStoresWhatRunsRefusesWhatIsNewAndRecovers) {
  const auto disk = folder_->path() / "disk";
  const SmallDisk mounted(disk, 6);
  if (!mounted.mounted()) GTEST_SKIP() << "no file system can be mounted here: " << mounted.why();
  Harness harness;
  harness.coordinator.reset();
  harness.options.data = disk / "data";
  harness.options.reserve_bytes = 2 << 20;
  harness.Start();
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work(2);
  const auto held = worker.Take();
  ASSERT_TRUE(held);
  mounted.Fill();
  harness.Advance(2 * Ballast::kLookMs);
  EXPECT_TRUE(harness.coordinator->ballast().spent());
  // The disk is filled again behind the coordinator's back, but for what the reserve left: results still fit.
  const auto refused = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_submit_job(); }));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(ExitCode(refused.error().code), 12);
  EXPECT_THAT(refused.error().message, HasSubstr((disk / "data").string()));
  const auto upload = harness.Call("client", FrameOf([](auto& frame) {
                                     auto& chunk = *frame.mutable_put_chunk();
                                     chunk.set_digest(DigestOf("new"));
                                     chunk.set_size_bytes(3);
                                     chunk.set_data("new");
                                   }));
  ASSERT_FALSE(upload);
  EXPECT_EQ(upload.error().code, ErrorCode::kExhausted);
  const auto ping = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_ping(); }));
  ASSERT_TRUE(ping);
  EXPECT_THAT(ping->ping_reply().disk(), HasSubstr("full"));
  worker.reports[held->id()] = worker.Do(*held);
  worker.held.clear();
  const auto sync = worker.Sync(1);
  ASSERT_TRUE(sync);
  EXPECT_THAT(sync->acknowledged(), ::testing::ElementsAre(held->id()));
  EXPECT_EQ(sync->leases_size(), 0) << "nothing new is begun";
  // kill -9 and a start on the full disk keep what was acknowledged.
  harness.Restart();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_RUNNING);
  ASSERT_TRUE(worker.Hello());
  // Room comes back.
  mounted.Free();
  const int64_t freed_ms = harness.clock.now_ms;
  while (harness.coordinator->ballast().spent()) {
    harness.Advance(50);
    ASSERT_LE(harness.clock.now_ms - freed_ms, 5000);
  }
  worker.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), kCandidates);
  harness.Submit(kRecipe, "another");
  worker.Work();
  const auto report = Fsck(harness.options.data, {});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok()) << FsckJson(*report);
  harness.coordinator.reset();
}

}  // namespace
}  // namespace hone::test
