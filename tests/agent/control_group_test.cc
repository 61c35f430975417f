// Groups of the machine's own version-2 hierarchy, where it lets this process make some.
#include "worker/supervisor/control_group.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "common/base/file.h"
#include "worker/cgroup.h"
#include "worker/supervisor/passed_descriptor.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ControlGroupTest : public testing::Test {
 protected:
  void SetUp() override {
    auto groups = ControlGroups::Find();
    if (!groups) GTEST_SKIP() << "this machine gives no control groups: " << groups.error().message;
    groups_ = std::move(*groups);
  }

  std::unique_ptr<ControlGroup> Make() {
    auto made = groups_->Make({uint64_t{1} << 30, 100});
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(*made) : nullptr;
  }

  std::unique_ptr<ControlGroups> groups_;
};

// A child that joins the group, starts a grandchild in a session of its own, and waits for ever. Returns once both are
// there.
pid_t StartFamily(int entrance) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (write(entrance, "0", 1) != 1) _exit(1);
    if (fork() == 0) {
      setsid();
      if (write(ends[1], "x", 1) != 1) _exit(1);
    }
    for (;;) pause();
  }
  close(ends[1]);
  char there = 0;
  EXPECT_EQ(read(ends[0], &there, 1), 1);
  close(ends[0]);
  return child;
}

TEST_F(ControlGroupTest, WholeFamilyEndsWithTheGroupWhateverSessionItMade) {
  auto group = Make();
  ASSERT_NE(group, nullptr);
  const fs::path folder = group->folder();
  const pid_t child = StartFamily(group->entrance());
  group->Kill();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(group->OutOfMemoryKills(), 0u);
  group.reset();   // Goes only if the grandchild is dead too.
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(ControlGroupTest, GroupEndsWhatIsLeftInItWhenItGoes) {
  auto group = Make();
  ASSERT_NE(group, nullptr);
  const fs::path folder = group->folder();
  const pid_t child = StartFamily(group->entrance());
  group.reset();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(ControlGroupTest, FoldersOfWorkersThatAreGoneAreRemovedAndOthersStay) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  const auto group = Make();
  ASSERT_NE(group, nullptr);
  const fs::path stale = group->folder().parent_path() / ("hone-run-" + std::to_string(child) + "-1");
  fs::create_directory(stale);
  ASSERT_TRUE(ControlGroups::Find());
  EXPECT_FALSE(fs::exists(stale));
  EXPECT_TRUE(fs::exists(group->folder()));
}

TEST(ControlGroupsTest, MachineWithoutThemSaysSo) {
  const ScopedFolder root = ScopedFolder::Make(fs::temp_directory_path(), "groups-").value();
  const auto groups = ControlGroups::Find(root.path());
  ASSERT_FALSE(groups);
  EXPECT_EQ(groups.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(groups.error().message, HasSubstr("version 2"));
}

TEST(PassedDescriptorTest, DescriptorComesBesideItsMessageAndNothingBesideOthers) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor near(ends[0]), far(ends[1]);
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const Descriptor reader(pipe_ends[0]), writer(pipe_ends[1]);
  ASSERT_TRUE(SendWithDescriptor(near.get(), "one", 3, writer.get()));
  ASSERT_TRUE(SendWithDescriptor(near.get(), "two", 3, -1));
  char text[8] = {};
  Descriptor passed;
  ASSERT_EQ(ReceiveWithDescriptor(far.get(), text, sizeof text, passed), 3);
  ASSERT_TRUE(passed);
  ASSERT_EQ(write(passed.get(), "x", 1), 1);
  EXPECT_EQ(read(reader.get(), text, 1), 1);
  Descriptor none;
  ASSERT_EQ(ReceiveWithDescriptor(far.get(), text, sizeof text, none), 3);
  EXPECT_FALSE(none);
  EXPECT_LT(ReceiveWithDescriptor(far.get(), text, sizeof text, none), 0);
}

}  // namespace
}  // namespace hone
