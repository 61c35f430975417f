// A backup of a folder at work is whole, and a coordinator that begins with it takes no report of what came after it.
#include <gmock/gmock.h>

#include <fstream>

#include "coordinator/backup.h"
#include "coordinator/fsck.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::IsEmpty;

std::vector<std::string> Lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// As docs/operations.md tells it.
void Restore(const BackupReport& backup, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(backup.file, folder / "hone.db");
  for (const auto& line : Lines(backup.list)) {
    std::filesystem::create_directories((folder / line).parent_path());
    std::filesystem::copy_file(backup.folder / line, folder / line);
  }
}

TEST(BackupTest, RestoredFolderIsSoundAndGoesOnWithTheSearch) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work(5);
  const auto held = worker.Take();
  ASSERT_TRUE(held);
  const auto file = harness.options.data.parent_path() / "backup.db";
  const auto backup = Backup(harness.options.data, file);
  ASSERT_TRUE(backup) << backup.error().message;
  EXPECT_EQ(backup->jobs, 1U);
  EXPECT_EQ(backup->missing, 0U);
  EXPECT_EQ(backup->digest, *DigestOfFile(file));
  EXPECT_EQ(Lines(backup->list).size(), backup->artifacts);
  EXPECT_GT(backup->artifacts, 0U);
  EXPECT_FALSE(std::filesystem::exists(file.string() + "-wal"));

  // What comes after the backup is of another future.
  worker.Finish(*held);
  const auto later = worker.Take();
  ASSERT_TRUE(later);
  const proto::Report future = worker.Do(*later);
  worker.held.clear();

  harness.coordinator.reset();
  harness.options.data = harness.options.data.parent_path() / "restored";
  Restore(*backup, harness.options.data);
  const auto report = Fsck(harness.options.data, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->ok()) << FsckJson(*report);
  harness.Start();
  ASSERT_TRUE(worker.Hello());
  // The lease that was open in the backup is the worker's still; a report under it counts, one of the other future does
  // not.
  worker.reports[held->id()] = worker.Do(*held);
  ASSERT_TRUE(worker.Sync(0));
  const auto again = worker.Take();
  ASSERT_TRUE(again);
  EXPECT_GT(again->token(), future.token() + 1'000'000);
  worker.reports[future.lease()] = future;
  ASSERT_TRUE(worker.Sync(0));
  EXPECT_THAT(
      harness.Query("SELECT attempt FROM attempts WHERE outcome = 'done' AND attempt > " + std::to_string(held->id())),
      IsEmpty());
  worker.Finish(*again);
  worker.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).counts().complete(), kCandidates);
  EXPECT_TRUE(Fsck(harness.options.data, {})->ok());
}

TEST(BackupTest, FileIsReplacedWholeAndWhatCannotBeDoneLeavesItAlone) {
  Harness harness;
  harness.Worker("one");
  harness.Submit();
  const auto parent = harness.options.data.parent_path();
  std::ofstream(parent / "old.db") << "earlier";
  EXPECT_EQ(Backup(parent / "nowhere", parent / "old.db").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Lines(parent / "old.db"), std::vector<std::string>{"earlier"});
  EXPECT_EQ(Backup(harness.options.data, parent / "nowhere" / "x.db").error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(Backup(harness.options.data, parent / "old.db"));
  EXPECT_TRUE(Database::OpenToRead(parent / "old.db"));
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".hone-backup")) << entry.path();
  }
}

}  // namespace
}  // namespace hone::test
