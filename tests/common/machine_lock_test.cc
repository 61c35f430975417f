#include "common/base/machine_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstdlib>

#include "tests/common/scratch.h"

namespace hone {
namespace {

using MachineLockTest = Scratch;

const std::function<bool()> kAtOnce = [] { return true; };

// A child that takes the lock, tells 'h' and keeps it.
std::function<int(int)> Holder(const std::filesystem::path& path, bool exclusive) {
  return [=](int pipe) {
    auto lock = MachineLock::Open(path);
    if (!lock || !(exclusive ? lock->Exclusive() : lock->Shared())) return 1;
    Tell(pipe, 'h');
    while (true) pause();
  };
}

TEST_F(MachineLockTest, ReadersShareAndAWriterIsAlone) {
  auto first = MachineLock::Open(Path("lock"));
  auto second = MachineLock::Open(Path("lock"));
  ASSERT_TRUE(first && second);
  ASSERT_TRUE(first->Shared());
  ASSERT_TRUE(second->Shared(kAtOnce));
  EXPECT_EQ(CodeOf(second->Exclusive(kAtOnce)), ErrorCode::kCancelled);
  first->Release();
  ASSERT_TRUE(second->Exclusive(kAtOnce));
  EXPECT_EQ(CodeOf(first->Shared(kAtOnce)), ErrorCode::kCancelled);
  EXPECT_EQ(CodeOf(first->Exclusive(kAtOnce)), ErrorCode::kCancelled);
  second->Release();
  EXPECT_TRUE(first->Exclusive(kAtOnce));
}

TEST_F(MachineLockTest, WaitThatWasGivenUpHoldsNothing) {
  auto holder = MachineLock::Open(Path("lock"));
  auto waiter = MachineLock::Open(Path("lock"));
  auto third = MachineLock::Open(Path("lock"));
  ASSERT_TRUE(holder->Shared());
  ASSERT_FALSE(waiter->Exclusive(kAtOnce));
  EXPECT_TRUE(third->Shared(kAtOnce));
}

TEST_F(MachineLockTest, MovedAndDestroyedLocksRelease) {
  auto other = MachineLock::Open(Path("lock"));
  {
    auto lock = MachineLock::Open(Path("lock"));
    ASSERT_TRUE(lock->Exclusive());
    MachineLock moved = std::move(*lock);
    EXPECT_EQ(CodeOf(other->Shared(kAtOnce)), ErrorCode::kCancelled);
  }
  EXPECT_TRUE(other->Exclusive(kAtOnce));
}

TEST_F(MachineLockTest, DeathOfTheHolderReleases) {
  Child child(Holder(Path("lock"), true));
  ASSERT_EQ(child.Read(), 'h');
  auto lock = MachineLock::Open(Path("lock"));
  EXPECT_EQ(CodeOf(lock->Shared(kAtOnce)), ErrorCode::kCancelled);
  child.Kill(SIGKILL);
  EXPECT_EQ(child.Wait(), -SIGKILL);
  EXPECT_TRUE(lock->Exclusive(kAtOnce));
}

TEST_F(MachineLockTest, NewReadersDoNotPassAWaitingWriter) {
  Child reader(Holder(Path("lock"), false));
  ASSERT_EQ(reader.Read(), 'h');
  Child writer([&](int pipe) {
    auto lock = MachineLock::Open(Path("lock"));
    bool told = false;
    // Asked once it waits: the turnstile is free, so it is the reader that it waits for.
    const auto taken = lock->Exclusive([&] {
      if (!std::exchange(told, true)) Tell(pipe, 'w');
      return false;
    });
    Tell(pipe, taken ? 'h' : 'x');
    while (true) pause();
    return 0;
  });
  ASSERT_EQ(writer.Read(), 'w');
  auto late = MachineLock::Open(Path("lock"));
  EXPECT_EQ(CodeOf(late->Shared(kAtOnce)), ErrorCode::kCancelled);
  reader.Kill(SIGKILL);
  EXPECT_EQ(writer.Read(), 'h');
  EXPECT_EQ(CodeOf(late->Shared(kAtOnce)), ErrorCode::kCancelled);
  writer.Kill(SIGKILL);
  writer.Wait();
  EXPECT_TRUE(late->Shared());
}

TEST_F(MachineLockTest, ContendingProcessesNeverOverlap) {
  constexpr int kRounds = 100;
  Write("counter", "0");
  const auto count = [&](int) {
    auto lock = MachineLock::Open(Path("lock"));
    for (int i = 0; i < kRounds; ++i) {
      if (!lock->Exclusive()) return 1;
      const int value = std::stoi(*ReadFile(Path("counter"), 100));
      if (!WriteFile(Path("counter"), std::to_string(value + 1))) return 2;
      lock->Release();
      if (!lock->Shared()) return 3;
      lock->Release();
    }
    return 0;
  };
  {
    Child first(count), second(count), third(count);
    EXPECT_EQ(first.Wait(), 0);
    EXPECT_EQ(second.Wait(), 0);
    EXPECT_EQ(third.Wait(), 0);
  }
  EXPECT_EQ(ReadFile(Path("counter"), 100).value(), std::to_string(3 * kRounds));
}

TEST_F(MachineLockTest, FilesAreForEverybodyWhateverTheUmask) {
  const mode_t before = umask(0077);
  const auto lock = MachineLock::Open(Path("lock"));
  umask(before);
  ASSERT_TRUE(lock);
  for (const char* name : {"lock", "lock.gate"}) {
    EXPECT_EQ(static_cast<int>(std::filesystem::status(Path(name)).permissions()), 0666) << name;
  }
}

TEST_F(MachineLockTest, LinksPipesAndMissingFoldersAreRefused) {
  Write("target", "precious");
  std::filesystem::create_symlink(Path("target"), Path("link"));
  EXPECT_EQ(CodeOf(MachineLock::Open(Path("link"))), ErrorCode::kRejected);
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0666), 0);
  EXPECT_EQ(CodeOf(MachineLock::Open(Path("pipe"))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(MachineLock::Open(Path("nowhere/lock"))), ErrorCode::kNotFound);
}

TEST_F(MachineLockTest, EnvironmentChoosesThePlace) {
  const char* set = std::getenv("HONE_MACHINE_LOCK");
  const std::string before = set != nullptr ? set : "";
  setenv("HONE_MACHINE_LOCK", "/somewhere/else", 1);
  EXPECT_EQ(MachineLock::DefaultPath(), "/somewhere/else");
  setenv("HONE_MACHINE_LOCK", "", 1);
  EXPECT_EQ(MachineLock::DefaultPath(), "/tmp/hone-machine-lock");
  if (set != nullptr) setenv("HONE_MACHINE_LOCK", before.c_str(), 1);
  else unsetenv("HONE_MACHINE_LOCK");
}

}  // namespace
}  // namespace hone
