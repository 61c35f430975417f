#include "common/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/open_file.h"
#include "tests/common/scratch.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using FileTest = Scratch;
using DigestTest = Scratch;

TEST_F(FileTest, WrittenFileReadsBack) {
  const std::string bytes("a\0b\n\xff", 5);
  ASSERT_TRUE(WriteFile(Path("x"), bytes, Durable::yes));
  EXPECT_EQ(ReadFile(Path("x"), 5).value(), bytes);
  ASSERT_TRUE(WriteFile(Path("x"), ""));
  EXPECT_EQ(ReadFile(Path("x"), 0).value(), "");
  EXPECT_EQ(EntriesIn(Path("x").parent_path()), 1u);
}

TEST_F(FileTest, FileLargerThanTheBoundIsRejected) {
  Write("x", "12345");
  EXPECT_EQ(CodeOf(ReadFile(Path("x"), 4)), ErrorCode::kRejected);
}

TEST_F(FileTest, FileOfProcWithoutASizeIsReadToItsEnd) {
  EXPECT_THAT(ReadFile("/proc/self/status", 1 << 20).value(), HasSubstr("Pid:"));
  EXPECT_EQ(CodeOf(ReadFile("/proc/self/status", 10)), ErrorCode::kRejected);
}

TEST_F(FileTest, MissingFileIsNotFoundAndNamed) {
  const auto missing = ReadFile(Path("nothing"), 10);
  EXPECT_EQ(CodeOf(missing), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr(Path("nothing").string() + ": No such file or directory"));
  Write("file", "x");
  EXPECT_EQ(CodeOf(ReadFile(Path("file") / "below", 10)), ErrorCode::kNotFound);
}

TEST_F(FileTest, FolderAndPipeAreRejectedWithoutWaiting) {
  EXPECT_EQ(CodeOf(ReadFile(Path("."), 10)), ErrorCode::kRejected);
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(CodeOf(ReadFile(Path("pipe"), 10)), ErrorCode::kRejected);
}

TEST_F(FileTest, WriteThatFailsLeavesTheTargetAndNoTemporary) {
  Write("x", "before");
  Child child([&](int) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto written = WriteFile(Path("x"), std::string(5000, 'x'));
    return !written && written.error().code == ErrorCode::kExhausted ? 0 : 1;
  });
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(ReadFile(Path("x"), 100).value(), "before");
  EXPECT_EQ(EntriesIn(Path("x").parent_path()), 1u);
}

TEST_F(FileTest, WriteOverAFolderFailsAndLeavesIt) {
  ASSERT_TRUE(MakeFolder(Path("folder/below")));
  EXPECT_FALSE(WriteFile(Path("folder"), "x"));
  EXPECT_TRUE(fs::is_directory(Path("folder/below")));
  EXPECT_EQ(EntriesIn(Path("folder").parent_path()), 1u);
}

TEST_F(FileTest, FolderInPlaceOfAFileIsRefused) {
  Write("file", "x");
  EXPECT_FALSE(MakeFolder(Path("file")));
  EXPECT_FALSE(MakeFolder(Path("file/below")));
  EXPECT_TRUE(MakeFolder(Path("a/b/c")));
  EXPECT_TRUE(MakeFolder(Path("a/b/c")));
}

TEST_F(FileTest, LinkOrCopyReplacesTheTargetAndKeepsTheMode) {
  Write("from", "content");
  Write("to", "old");
  ASSERT_EQ(chmod(Path("from").c_str(), 0444), 0);
  ASSERT_TRUE(LinkOrCopy(Path("from"), Path("to")));
  EXPECT_EQ(ReadFile(Path("to"), 100).value(), "content");
  EXPECT_EQ(fs::status(Path("to")).permissions(), static_cast<fs::perms>(0444));
  // Again, where both may be one file by now.
  ASSERT_TRUE(LinkOrCopy(Path("from"), Path("to")));
  EXPECT_EQ(EntriesIn(Path("from").parent_path()), 2u);
  EXPECT_EQ(CodeOf(LinkOrCopy(Path("nothing"), Path("to"))), ErrorCode::kNotFound);
  EXPECT_EQ(ReadFile(Path("to"), 100).value(), "content");
}

TEST_F(FileTest, LinkOrCopyCrossesFileSystems) {
  if (!fs::is_directory("/dev/shm")) GTEST_SKIP() << "/dev/shm is not there";
  const auto other = ScopedFolder::Make("/dev/shm", "hone-test-");
  ASSERT_TRUE(other);
  const std::string bytes(3 << 20, 'y');
  Write("from", bytes);
  ASSERT_TRUE(LinkOrCopy(Path("from"), other->path() / "to"));
  EXPECT_EQ(ReadFile(other->path() / "to", 4 << 20).value(), bytes);
}

TEST_F(FileTest, ScopedFolderIsRemovedWithReadOnlyFoldersInside) {
  fs::path path;
  {
    const auto folder = ScopedFolder::Make(Path("."), "work-");
    ASSERT_TRUE(folder);
    path = folder->path();
    ASSERT_TRUE(MakeFolder(path / "locked"));
    ASSERT_TRUE(WriteFile(path / "locked/file", "x"));
    fs::permissions(path / "locked", fs::perms::owner_read);
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(FileTest, ScopedFolderMovesAndReleases) {
  auto first = ScopedFolder::Make(Path("."), "work-");
  auto second = ScopedFolder::Make(Path("."), "work-");
  ASSERT_TRUE(first && second);
  const fs::path first_path = first->path();
  const fs::path second_path = second->path();
  *first = std::move(*second);
  EXPECT_FALSE(fs::exists(first_path));
  EXPECT_EQ(first->Release(), second_path);
  *first = std::move(*second);
  EXPECT_TRUE(fs::exists(second_path));
  EXPECT_EQ(CodeOf(ScopedFolder::Make(Path("nowhere"), "x")), ErrorCode::kNotFound);
}

TEST_F(DigestTest, KnownAnswers) {
  EXPECT_EQ(DigestOf(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(DigestOf("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Hasher hasher;
  for (int i = 0; i < 1000; ++i) hasher.Update(std::string(1000, 'a'));
  EXPECT_EQ(hasher.Finish(), "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_F(DigestTest, FileAndBytesAgree) {
  const std::string bytes((3 << 20) + 7, 'q');
  EXPECT_EQ(DigestOfFile(Write("x", bytes)).value(), DigestOf(bytes));
  EXPECT_EQ(CodeOf(DigestOfFile(Path("nothing"))), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(DigestOfFile(Path("."))), ErrorCode::kRejected);
}

TEST_F(DigestTest, OnlyTheExactFormIsADigest) {
  const std::string digest = DigestOf("x");
  EXPECT_TRUE(IsDigest(digest));
  std::string upper = digest;
  upper[70] = 'A';
  std::string slash = digest;
  slash[20] = '/';
  for (const std::string& wrong : {upper, slash, digest + "0", digest.substr(0, 70), digest.substr(7),
                                   "sha512:" + digest.substr(7), std::string()}) {
    EXPECT_FALSE(IsDigest(wrong)) << wrong;
  }
}

TEST(ClockTest, MachineClocksAdvance) {
  const Clock& clock = SystemClock();
  const int64_t before = clock.SteadyMs();
  EXPECT_GE(clock.SteadyMs(), before);
  EXPECT_GT(clock.UnixMs(), 1'600'000'000'000);
}

}  // namespace
}  // namespace hone
