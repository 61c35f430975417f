#include "common/base/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/common/scratch.h"

namespace hone {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class SubprocessTest : public Scratch {
 protected:
  static ProcessOptions Shell(const std::string& script) {
    ProcessOptions options;
    options.arguments = {"/bin/sh", "-c", script};
    return options;
  }
};

TEST_F(SubprocessTest, ExitCodeAndSignalAreTold) {
  auto normal = Process::Start(Shell("exit 7"));
  ASSERT_TRUE(normal);
  const auto status = normal->Wait(30s);
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->code, 7);
  EXPECT_EQ((*status)->signal, 0);
  EXPECT_EQ((*normal->Wait(0s))->code, 7);   // And again.

  auto killed = Process::Start(Shell("kill -9 $$"));
  EXPECT_EQ((*killed->Wait(30s))->signal, SIGKILL);
}

TEST_F(SubprocessTest, WaitEndsAtItsTimeoutWhileTheChildRuns) {
  auto process = Process::Start(Shell("exec sleep 1000"));
  ASSERT_TRUE(process);
  const auto status = process->Wait(20ms);
  ASSERT_TRUE(status);
  EXPECT_FALSE(*status);
  process->Signal(SIGINT);
  EXPECT_EQ((*process->Wait(30s))->signal, SIGINT);
}

TEST_F(SubprocessTest, ProgramThatIsMissingIsNotFoundAndNamed) {
  ProcessOptions options;
  options.arguments = {"/no/such/program"};
  EXPECT_EQ(CodeOf(Process::Start(options)), ErrorCode::kNotFound);
  EXPECT_THAT(MessageOf(Process::Start(options)), HasSubstr("/no/such/program"));
  options.arguments = {"no-such-program-in-path"};
  EXPECT_EQ(CodeOf(RunCommand(options, 30s)), ErrorCode::kNotFound);
  options.arguments = {Write("text", "no program").string()};
  EXPECT_EQ(CodeOf(Process::Start(options)), ErrorCode::kDenied);
  options.arguments = {};
  EXPECT_EQ(CodeOf(Process::Start(options)), ErrorCode::kUsage);
}

TEST_F(SubprocessTest, FolderThatIsMissingIsNamed) {
  ProcessOptions options = Shell("exit 0");
  options.folder = Path("nowhere");
  EXPECT_EQ(CodeOf(Process::Start(options)), ErrorCode::kNotFound);
  EXPECT_THAT(MessageOf(Process::Start(options)), HasSubstr("nowhere"));
}

TEST_F(SubprocessTest, FolderEnvironmentAndArgumentsArrive) {
  setenv("HONE_TEST_KEPT", "kept", 1);
  setenv("HONE_TEST_REPLACED", "old", 1);
  ProcessOptions options = Shell("pwd; echo \"$HONE_TEST_KEPT $HONE_TEST_REPLACED $HONE_TEST_ADDED $1\"");
  options.arguments.insert(options.arguments.end(), {"sh", "an argument"});
  options.environment = {{"HONE_TEST_REPLACED", "new"}, {"HONE_TEST_ADDED", "added"}};
  options.folder = std::filesystem::canonical(Path("."));
  const auto output = RunCommand(options, 30s);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->out, options.folder.string() + "\nkept new added an argument\n");
  EXPECT_EQ(output->status.code, 0);
}

TEST_F(SubprocessTest, MemoryIsLimitedOfTheChildAlone) {
  ProcessOptions options = Shell("ulimit -d");
  options.max_data_bytes = 64 << 20;
  const auto output = RunCommand(options, 30s);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->out, "65536\n");
  rlimit own{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &own), 0);
  EXPECT_NE(own.rlim_cur, options.max_data_bytes);
}

TEST_F(SubprocessTest, NameAloneIsFoundInThePath) {
  ProcessOptions options;
  options.arguments = {"sh", "-c", "echo here"};
  EXPECT_EQ(RunCommand(options, 30s)->out, "here\n");
}

TEST_F(SubprocessTest, StreamsAreAppendedToFiles) {
  Write("out", "before\n");
  ProcessOptions options = Shell("echo out; echo err >&2");
  options.stdout_file = Path("out");
  options.stderr_file = Path("err");
  auto process = Process::Start(options);
  ASSERT_TRUE(process && process->Wait(30s));
  EXPECT_EQ(ReadFile(Path("out"), 100).value(), "before\nout\n");
  EXPECT_EQ(ReadFile(Path("err"), 100).value(), "err\n");
}

TEST_F(SubprocessTest, OpenDescriptorsDoNotReachTheChild) {
  const int leaked = open("/dev/null", O_RDONLY);   // Without O_CLOEXEC.
  const auto output = RunCommand(Shell("ls /proc/self/fd | wc -l; readlink /proc/self/fd/0"), 30s);
  close(leaked);
  ASSERT_TRUE(output);
  // 0, 1, 2 and the folder that ls reads.
  EXPECT_EQ(output->out, "4\n/dev/null\n");
}

TEST_F(SubprocessTest, SignalStateOfTheParentDoesNotReachTheChild) {
  const auto before = signal(SIGTERM, SIG_IGN);
  auto process = Process::Start(Shell("kill -TERM $$; exit 3"));
  signal(SIGTERM, before);
  ASSERT_TRUE(process);
  EXPECT_EQ((*process->Wait(30s))->signal, SIGTERM);
}

TEST_F(SubprocessTest, StopKillsWhatIgnoresTheRequest) {
  ASSERT_EQ(mkfifo(Path("ready").c_str(), 0600), 0);
  const Descriptor ready(open(Path("ready").c_str(), O_RDWR | O_CLOEXEC));
  auto process =
      Process::Start(Shell("trap '' TERM; echo r > " + Path("ready").string() + "; while :; do sleep 1; done"));
  ASSERT_TRUE(process);
  char byte = 0;
  ASSERT_EQ(read(ready.get(), &byte, 1), 1);
  EXPECT_EQ(process->Stop(50ms).signal, SIGKILL);
  EXPECT_EQ(process->Stop(50ms).signal, SIGKILL);
}

TEST_F(SubprocessTest, StopLetsTheChildEndByItselfFirst) {
  ASSERT_EQ(mkfifo(Path("ready").c_str(), 0600), 0);
  const Descriptor ready(open(Path("ready").c_str(), O_RDWR | O_CLOEXEC));
  auto process = Process::Start(
      Shell("trap 'exit 5' TERM; echo r > " + Path("ready").string() + "; while :; do sleep 0.01; done"));
  ASSERT_TRUE(process);
  char byte = 0;
  ASSERT_EQ(read(ready.get(), &byte, 1), 1);
  EXPECT_EQ(process->Stop(30s).code, 5);
}

// Grandchildren are found again as children of this process.
class SubreaperTest : public SubprocessTest {
 protected:
  void SetUp() override { ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  void TearDown() override { prctl(PR_SET_CHILD_SUBREAPER, 0); }

  // Blocks until it ended.
  static int SignalThatEnded(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
      if (errno != EINTR) return -1;
    }
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
};

TEST_F(SubreaperTest, DestructorKillsTheWholeGroup) {
  ASSERT_EQ(mkfifo(Path("pid").c_str(), 0600), 0);
  const Descriptor pid_pipe(open(Path("pid").c_str(), O_RDWR | O_CLOEXEC));
  std::string text(32, '\0');
  {
    auto process = Process::Start(Shell("sleep 1000 & echo $! > " + Path("pid").string() + "; wait"));
    ASSERT_TRUE(process);
    const ssize_t count = read(pid_pipe.get(), text.data(), text.size());
    ASSERT_GT(count, 0);
    text.resize(static_cast<size_t>(count));
  }
  EXPECT_EQ(SignalThatEnded(std::stoi(text)), SIGKILL);
}

TEST_F(SubreaperTest, ChildDiesWithItsParent) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child parent([&](int pipe_fd) {
    auto process = Process::Start(Shell("exec sleep 1000"));
    if (!process) return 1;
    const pid_t pid = process->pid();
    if (write(ends[1], &pid, sizeof pid) != static_cast<ssize_t>(sizeof pid)) return 2;
    Tell(pipe_fd, 'r');
    while (true) pause();
    return 0;
  });
  ASSERT_EQ(parent.Read(), 'r');
  pid_t pid = 0;
  ASSERT_EQ(read(ends[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  parent.Kill(SIGKILL);
  parent.Wait();
  EXPECT_EQ(SignalThatEnded(pid), SIGTERM);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(SubprocessTest, OutputBeyondTheBoundIsDroppedAndTheChildGoesOn) {
  const auto output = RunCommand(Shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2; exit 4"), 60s, 1000);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->out, std::string(1000, 'x'));
  EXPECT_EQ(output->err, "end\n");
  EXPECT_EQ(output->status.code, 4);
}

TEST_F(SubprocessTest, BothStreamsAreCapturedWhole) {
  const auto output = RunCommand(Shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero"), 60s);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->out.size(), 1'000'000u);
  EXPECT_EQ(output->err.size(), 1'000'000u);
}

TEST_F(SubprocessTest, CommandThatHangsIsKilledAtTheTimeout) {
  const auto output = RunCommand(Shell("echo $$; exec sleep 1000"), 50ms);
  EXPECT_EQ(CodeOf(output), ErrorCode::kTimeout);
}

TEST_F(SubprocessTest, GrandchildThatKeepsThePipeIsNotWaitedFor) {
  const auto begin = std::chrono::steady_clock::now();
  const auto output = RunCommand(Shell("sleep 20 & echo done"), 60s);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->out, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 15s);
}

TEST_F(SubprocessTest, ExecutableFolderHoldsThisProgram) {
  EXPECT_TRUE(std::filesystem::equivalent(
      ExecutableFolder() / std::filesystem::read_symlink("/proc/self/exe").filename(), "/proc/self/exe"));
}

}  // namespace
}  // namespace hone
