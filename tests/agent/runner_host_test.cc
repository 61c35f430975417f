#include "worker/supervisor/runner_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/open_file.h"
#include "tests/agent/poison.h"
#include "worker/supervisor/output_log.h"
#include "worker/supervisor/process_tree.h"
#include "worker/supervisor/progress.h"
#include "worker/supervisor/zygote.h"

namespace hone {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

// By when a runner's family has been started, sanitized or not.
#ifdef HONE_SANITIZED
constexpr milliseconds kFamilyIsUp{3000};
#else
constexpr milliseconds kFamilyIsUp{300};
#endif

class RunnerHostTest : public testing::Test {
 protected:
  RunnerHostTest() : folder_(ScopedFolder::Make(std::filesystem::temp_directory_path(), "runner-").value()) {
    limits_.timeout = milliseconds(20000);
    host_ = RunnerHost::Start().value();
  }

  RunOutcome Run(const std::string& poison) {
    auto outcome = host_->Run(PoisonRequest(poison), folder_.path(), limits_, stop_);
    EXPECT_TRUE(outcome) << outcome.error().message;
    // Whatever happened, nobody of the runner's family is left.
    EXPECT_TRUE(DescendantsOf(host_->zygote_pid(), 100).empty());
    return outcome.value_or(RunOutcome{});
  }

  // What the next task gets is a healthy runner.
  void ExpectHealthy() {
    limits_ = RunLimits{};
    const RunOutcome outcome = Run("look_around");
    EXPECT_EQ(outcome.end, RunOutcome::End::kResult) << outcome.explanation << outcome.output_tail;
  }

  std::vector<pid_t> NotedPids() const {
    std::ifstream file(folder_.path() / kScratchFolder / "pids");
    std::vector<pid_t> pids;
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    return pids;
  }

  ScopedFolder folder_;
  RunLimits limits_;
  StopSignal stop_;
  std::unique_ptr<RunnerHost> host_;
};

bool IsAlive(pid_t pid) { return kill(pid, 0) == 0; }

Descriptor Listening(const std::filesystem::path& path, int type) {
  Descriptor end(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(bind(end.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(listen(end.get(), 4), 0);
  }
  return end;
}

TEST_F(RunnerHostTest, SegmentationFaultIsACrashWithItsSignal) {
  const RunOutcome outcome = Run("segfault");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_EQ(outcome.signal, SIGSEGV);
  EXPECT_THAT(outcome.explanation, HasSubstr("signal 11"));
  ExpectHealthy();
}

TEST_F(RunnerHostTest, AbortIsACrashWithTheEndOfItsOutput) {
  const RunOutcome outcome = Run("abort");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_EQ(outcome.signal, SIGABRT);
  EXPECT_THAT(outcome.output_tail, HasSubstr("about to abort"));
}

TEST_F(RunnerHostTest, ExitWithoutResultIsACrashThatSaysSo) {
  const RunOutcome outcome = Run("exit_without_result");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_EQ(outcome.signal, 0);
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.explanation, HasSubstr("left no result"));
}

TEST_F(RunnerHostTest, ResultOfAnEarlierRunIsNotTakenForThisOne) {
  EXPECT_EQ(Run("look_around").end, RunOutcome::End::kResult);
  EXPECT_EQ(Run("exit_without_result").end, RunOutcome::End::kCrashed);
}

TEST_F(RunnerHostTest, ExitStatusIsTold) {
  const RunOutcome outcome = Run("exit_with_status");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_EQ(outcome.exit_status, 3);
}

TEST_F(RunnerHostTest, ExceptionIsACrashWithItsText) {
  const RunOutcome outcome = Run("throw");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_THAT(outcome.output_tail, HasSubstr("thrown on purpose"));
}

TEST_F(RunnerHostTest, GarbageInPlaceOfAResultIsACrash) {
  const RunOutcome outcome = Run("garbage");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_THAT(outcome.explanation, HasSubstr("is none"));
}

// How late this machine wakes a thread: the sum over short waits, for as long as the object lives.
class Lateness {
 public:
  Lateness() : thread_([this](const std::stop_token& stop) { Watch(stop); }) {}
  int64_t TotalMs() {
    thread_.request_stop();
    thread_.join();
    return late_ms_;
  }

 private:
  void Watch(const std::stop_token& stop) {
    constexpr int kStepMs = 5;
    while (!stop.stop_requested()) {
      const int64_t before = SystemClock().SteadyMs();
      poll(nullptr, 0, kStepMs);
      late_ms_ += std::max<int64_t>(0, SystemClock().SteadyMs() - before - kStepMs - 1);
    }
  }
  int64_t late_ms_ = 0;
  std::jthread thread_;
};

TEST_F(RunnerHostTest, EndlessLoopIsGoneWithinASecondOfItsDeadline) {
  limits_.timeout = milliseconds(200);
  Lateness lateness;
  const RunOutcome outcome = Run("loop");
  // On a busy machine everything is late; what is asked for is a second beyond that.
  const int64_t late_ms = lateness.TotalMs();
  EXPECT_EQ(outcome.end, RunOutcome::End::kTimedOut);
  EXPECT_GE(outcome.wall_ms, 200);
  EXPECT_LE(outcome.wall_ms, 1200 + 2 * late_ms) << "the machine was " << late_ms << " ms late meanwhile";
  ExpectHealthy();
}

TEST_F(RunnerHostTest, MemoryHogIsStoppedAtItsLimit) {
  limits_.memory_bytes = 200 << 20;
  const RunOutcome outcome = Run("hog");
  EXPECT_EQ(outcome.end, RunOutcome::End::kOutOfMemory) << outcome.explanation;
  EXPECT_GT(outcome.peak_memory_bytes, uint64_t{150} << 20);
  ExpectHealthy();
}

TEST_F(RunnerHostTest, MemoryOfAllProcessesTogetherCounts) {
  limits_.memory_bytes = 120 << 20;
  EXPECT_EQ(Run("hog_together").end, RunOutcome::End::kOutOfMemory);
}

TEST_F(RunnerHostTest, ProcessesLeftBehindAreGoneWhenTheRunIsOver) {
  const RunOutcome outcome = Run("leave_family");
  EXPECT_EQ(outcome.end, RunOutcome::End::kResult);
  ASSERT_EQ(NotedPids().size(), 2u);
  for (const pid_t pid : NotedPids()) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RunnerHostTest, DaemonThatLeftTheGroupIsGoneToo) {
  const RunOutcome outcome = Run("leave_daemon");
  EXPECT_EQ(outcome.end, RunOutcome::End::kResult);
  ASSERT_FALSE(NotedPids().empty());
  for (const pid_t pid : NotedPids()) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RunnerHostTest, TimeOutKillsTheWholeFamily) {
  limits_.timeout = kFamilyIsUp;
  EXPECT_EQ(Run("loop_with_family").end, RunOutcome::End::kTimedOut);
  for (const pid_t pid : NotedPids()) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RunnerHostTest, ForkBombIsStopped) {
  limits_.processes = 50;
  const RunOutcome outcome = Run("bomb");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_THAT(outcome.explanation, HasSubstr("more than 50 processes"));
  ExpectHealthy();
}

TEST_F(RunnerHostTest, FloodOfOutputIsBoundedAndItsEndKept) {
  limits_.output_bytes = 1 << 20;
  const RunOutcome outcome = Run("flood");
  EXPECT_EQ(outcome.end, RunOutcome::End::kResult);
  EXPECT_LE(outcome.output_tail.size(), kOutputTailBytes);
  EXPECT_THAT(outcome.output_tail, EndsWith("the last line\n"));
}

TEST_F(RunnerHostTest, ErrorOfTheWorkIsAResult) {
  const RunOutcome outcome = Run("refuse");
  EXPECT_EQ(outcome.end, RunOutcome::End::kResult);
  EXPECT_EQ(outcome.result.error().message(), "the model is no model");
}

TEST_F(RunnerHostTest, RunnerHasItsOwnGroupFolderAndNoNetwork) {
  const RunOutcome outcome = Run("look_around");
  const std::set<std::string> notes(outcome.result.build().notes().begin(), outcome.result.build().notes().end());
  EXPECT_THAT(notes, Contains("network Permission denied"));
  EXPECT_THAT(notes, Contains("network6 Permission denied"));
  EXPECT_THAT(notes, Contains("unix Permission denied"));
  EXPECT_THAT(notes, Contains("folder " + (folder_.path() / kScratchFolder).string()));
  EXPECT_THAT(notes, Contains("tmpdir " + (folder_.path() / kScratchFolder).string()));
  EXPECT_THAT(notes, Contains("leader true"));
  EXPECT_THAT(notes, Contains("privileges 1"));
}

TEST_F(RunnerHostTest, WhatLiesOutsideCannotBeReached) {
  if (host_->sandbox().level() != SandboxLevel::full)
    GTEST_SKIP() << "this machine lacks " << host_->sandbox().Missing().front();
  const ScopedFolder outside = ScopedFolder::Make(std::filesystem::temp_directory_path(), "outside-").value();
  std::ofstream(outside.path() / "secret") << "secret";
  const Descriptor listener = Listening(outside.path() / "socket", SOCK_STREAM);
  const Descriptor datagrams = Listening(outside.path() / "datagrams", SOCK_DGRAM);
  proto::Task task = PoisonRequest("reach_out");
  task.mutable_build()->mutable_step()->add_parameters()->set_name(outside.path().string());
  task.mutable_build()->mutable_step()->add_parameters()->set_name(std::to_string(getpid()));
  const auto outcome = host_->Run(task, folder_.path(), limits_, stop_);
  ASSERT_TRUE(outcome) << outcome.error().message;
  ASSERT_EQ(outcome->end, RunOutcome::End::kResult) << outcome->explanation << outcome->output_tail;
  EXPECT_GE(outcome->result.build().notes_size(), 20);
  for (const std::string& note : outcome->result.build().notes()) EXPECT_THAT(note, Not(HasSubstr("DONE")));
  EXPECT_EQ(ReadFile(outside.path() / "secret", 100).value(), "secret");
}

TEST_F(RunnerHostTest, WriterOfMoreThanItsScratchIsStopped) {
  limits_.scratch_bytes = 20 << 20;
  for (const char* poison : {"fill_scratch", "fill_nameless"}) {
    const RunOutcome outcome = Run(poison);
    EXPECT_EQ(outcome.end, RunOutcome::End::kScratchFull) << poison << ": " << outcome.explanation;
    EXPECT_THAT(outcome.explanation, HasSubstr("scratch quota"));
  }
  ExpectHealthy();
}

TEST_F(RunnerHostTest, MakerOfMoreFilesThanAllowedIsStopped) {
  limits_.scratch_bytes = uint64_t{8} << 30;
  limits_.scratch_files = 1000;
  const RunOutcome outcome = Run("many_files");
  EXPECT_EQ(outcome.end, RunOutcome::End::kScratchFull) << outcome.explanation;
  EXPECT_THAT(outcome.explanation, HasSubstr("1000 files"));
}

TEST_F(RunnerHostTest, MemoryThatIsMappedNowhereCounts) {
  limits_.memory_bytes = 200 << 20;
  EXPECT_EQ(Run("fill_memory_file").end, RunOutcome::End::kOutOfMemory);
}

TEST_F(RunnerHostTest, StandstillIsToldFromSlowness) {
  limits_.stall = milliseconds(600);
  const RunOutcome outcome = Run("stand_still");
  EXPECT_EQ(outcome.end, RunOutcome::End::kTimedOut);
  EXPECT_THAT(outcome.explanation, HasSubstr("no progress"));
  limits_.timeout = milliseconds(1500);
  const RunOutcome busy = Run("loop");
  EXPECT_THAT(busy.explanation, HasSubstr("not done after"));
}

// A lock of this test's own: other tests may hold the machine's.
class MachineLockRunTest : public RunnerHostTest {
 protected:
  MachineLockRunTest() {
    setenv("HONE_MACHINE_LOCK", (folder_.path() / "lock").c_str(), 1);
    host_ = RunnerHost::Start().value();
  }
  ~MachineLockRunTest() override { unsetenv("HONE_MACHINE_LOCK"); }
};

TEST_F(MachineLockRunTest, WaitingForTheMachineCountsNeitherAsTimeNorAsStandstill) {
  MachineLock lock = MachineLock::Open(folder_.path() / "lock").value();
  ASSERT_TRUE(lock.Exclusive());
  limits_.timeout = milliseconds(700);
  limits_.stall = milliseconds(700);
  std::thread releaser([&] {
    // The runner has waited for longer than it may work.
    while (!HolderWaitedFor({folder_.path() / "lock.gate", folder_.path() / "lock"},
                            DescendantsOf(host_->zygote_pid(), 10))) {
      std::this_thread::yield();
    }
    std::this_thread::sleep_for(milliseconds(2000));
    lock.Release();
  });
  const RunOutcome outcome = Run("wait_for_machine");
  releaser.join();
  EXPECT_EQ(outcome.end, RunOutcome::End::kResult) << outcome.explanation;
  EXPECT_GE(outcome.wall_ms, 2000);
}

TEST_F(MachineLockRunTest, WaitingForAChildOfItsOwnIsNoExcuse) {
  limits_.timeout = milliseconds(600);
  EXPECT_EQ(Run("wait_for_own_child").end, RunOutcome::End::kTimedOut);
}

TEST_F(RunnerHostTest, PoisonLeavesSupervisorAndNeighbourUnharmed) {
  const ScopedFolder other = ScopedFolder::Make(std::filesystem::temp_directory_path(), "neighbour-").value();
  const auto neighbour = RunnerHost::Start().value();
  StopSignal stop_neighbour;
  RunOutcome neighbour_outcome;
  std::thread thread([&] {
    neighbour_outcome = neighbour->Run(PoisonRequest("loop_noted"), other.path(), RunLimits{}, stop_neighbour).value();
  });
  Run("look_around");  // What is allocated once is allocated now.
  Run("flood");
  const uint64_t before = ResidentBytes({getpid()});
  for (const char* poison : {"segfault", "abort", "exit_without_result", "loop", "bomb", "hog", "flood", "fill_scratch",
                             "garbage", "throw"}) {
    limits_ = RunLimits{};
    limits_.timeout = milliseconds(std::string_view(poison) == "loop" ? 300 : 20000);
    limits_.memory_bytes = 200 << 20;
    limits_.processes = 50;
    limits_.output_bytes = 1 << 20;
    limits_.scratch_bytes = 20 << 20;
    const RunOutcome outcome = Run(poison);
    EXPECT_TRUE(outcome.end != RunOutcome::End::kResult || std::string_view(poison) == "flood") << poison;
  }
  const uint64_t after = ResidentBytes({getpid()});
  RecordProperty("grown_bytes", std::to_string(after > before ? after - before : 0));
#ifndef HONE_SANITIZED
  EXPECT_LE(after, before + (5 << 20));
#endif
  stop_neighbour.Stop(StopReason::kCancelled);
  thread.join();
  EXPECT_EQ(neighbour_outcome.end, RunOutcome::End::kStopped) << neighbour_outcome.explanation;
}

// --- machines that allow less
// --------------------------------------------------------------------------------------------------------

class SandboxOffTest : public RunnerHostTest {
 protected:
  void StartWithout(const char* parts) {
    setenv("HONE_SANDBOX_OFF", parts, 1);
    host_ = RunnerHost::Start().value();
  }
  ~SandboxOffTest() override { unsetenv("HONE_SANDBOX_OFF"); }
};

TEST_F(SandboxOffTest, WhatIsMissingIsToldAndLowersTheLevel) {
  StartWithout("files,signals,namespaces");
  EXPECT_EQ(host_->sandbox().level(), SandboxLevel::partial);
  EXPECT_THAT(host_->sandbox().Missing(), Contains(HasSubstr("files: turned off")));
  EXPECT_EQ(Run("look_around").end, RunOutcome::End::kResult);
}

TEST_F(SandboxOffTest, WithoutNamespacesTheFamilyIsKilledAsWell) {
  StartWithout("namespaces");
  limits_.timeout = kFamilyIsUp;
  EXPECT_EQ(Run("loop_with_family").end, RunOutcome::End::kTimedOut);
  ASSERT_EQ(NotedPids().size(), 2u);
  for (const pid_t pid : NotedPids()) EXPECT_FALSE(IsAlive(pid));
  limits_ = RunLimits{};
  EXPECT_EQ(Run("leave_daemon").end, RunOutcome::End::kResult);
  for (const pid_t pid : NotedPids()) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(SandboxOffTest, NothingAtAllIsCalledNone) {
  StartWithout("privileges,system_calls,files,signals,namespaces");
  EXPECT_EQ(host_->sandbox().level(), SandboxLevel::none);
}

TEST_F(SandboxOffTest, PartThatWasPromisedAndDoesNotStandIsAnError) {
  // In a child: confinement is for good.
  const pid_t pid = fork();
  if (pid == 0) {
    setenv("HONE_SANDBOX_OFF", "system_calls", 1);
    const auto confined = ConfineThisProcess(FileView(), Owner::service, kSystemCalls);
    _exit(!confined && confined.error().code == ErrorCode::kEnvironment ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(RunnerHostTest, StopFromAnotherThreadEndsTheRun) {
  std::thread stopper([this] {
    while (DescendantsOf(host_->zygote_pid(), 10).empty()) std::this_thread::yield();
    stop_.Stop(StopReason::kCancelled);
  });
  const RunOutcome outcome = Run("loop");
  stopper.join();
  EXPECT_EQ(outcome.end, RunOutcome::End::kStopped);
}

TEST_F(RunnerHostTest, StopBeforeTheStartEndsTheRunAtOnce) {
  stop_.Stop(StopReason::kReturned);
  EXPECT_EQ(Run("loop").end, RunOutcome::End::kStopped);
}

TEST_F(RunnerHostTest, TerminationThatNobodyAskedForIsACrash) {
  const RunOutcome outcome = Run("terminate");
  EXPECT_EQ(outcome.end, RunOutcome::End::kCrashed);
  EXPECT_EQ(outcome.signal, SIGTERM);
}

TEST_F(RunnerHostTest, KilledZygoteIsReplacedForTheNextRun) {
  const pid_t first = host_->zygote_pid();
  kill(first, SIGKILL);
  ExpectHealthy();
  EXPECT_NE(host_->zygote_pid(), first);
}

TEST_F(RunnerHostTest, ZygoteKilledDuringARunIsACrashAndTheRunnerDies) {
  std::thread killer([this] {
    while (NotedPids().empty()) std::this_thread::yield();
    kill(host_->zygote_pid(), SIGKILL);
  });
  const auto outcome = host_->Run(PoisonRequest("loop_noted"), folder_.path(), limits_, stop_);
  killer.join();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->end, RunOutcome::End::kCrashed);
  EXPECT_THAT(outcome->explanation, HasSubstr("zygote"));
  ExpectHealthy();
}

// A supervisor that dies leaves nothing behind: here its end of the socket closes while a runner is at work.
TEST_F(RunnerHostTest, NothingOutlivesTheSupervisor) {
  const pid_t zygote = host_->zygote_pid();
  limits_.timeout = milliseconds(0);
  std::vector<pid_t> family;
  std::thread stopper([&] {
    while (NotedPids().empty()) std::this_thread::yield();
    family = DescendantsOf(zygote, 10);
    stop_.Stop(StopReason::kReturned);
  });
  Run("loop_with_family");
  stopper.join();
  host_.reset();
  EXPECT_FALSE(IsAlive(zygote));
  for (const pid_t pid : family) EXPECT_FALSE(IsAlive(pid));
}

TEST(ProcessTreeTest, OwnMemoryIsSeenAndSharedPagesCountOnce) {
  const uint64_t resident = ResidentBytes({getpid()});
  EXPECT_GT(resident, uint64_t{1} << 20);
  EXPECT_GT(ProportionalBytes({getpid()}), uint64_t{1} << 19);
  EXPECT_LE(ProportionalBytes({getpid()}), resident + (uint64_t{8} << 20));
  EXPECT_EQ(ResidentBytes({-1}), 0u);
}

TEST(OutputLogTest, ShortOutputIsItsOwnTail) {
  const ScopedFolder folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "log-").value();
  const auto path = folder.path() / "log";
  OutputLog log(path, 100);
  EXPECT_EQ(log.Tail(), "");
  std::ofstream(path) << "one line\n";
  log.Bound();
  EXPECT_EQ(log.Tail(), "one line\n");
}

TEST(OutputLogTest, LongOutputIsEmptiedAndItsTailContinues) {
  const ScopedFolder folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "log-").value();
  const auto path = folder.path() / "log";
  OutputLog log(path, 100);
  std::ofstream writer(path, std::ios::app);
  writer << std::string(200, 'a') << std::flush;
  log.Bound();
  EXPECT_EQ(std::filesystem::file_size(path), 0u);
  writer << "end" << std::flush;
  EXPECT_EQ(log.Tail(), std::string(200, 'a') + "end");
}

TEST(OutputLogTest, LinkInTheLogsPlaceIsNotFollowed) {
  const ScopedFolder folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "log-").value();
  std::ofstream(folder.path() / "secret") << "secret";
  std::filesystem::create_symlink(folder.path() / "secret", folder.path() / "log");
  OutputLog log(folder.path() / "log", 1);
  log.Bound();
  EXPECT_EQ(log.Tail(), "");
  EXPECT_EQ(std::filesystem::file_size(folder.path() / "secret"), 6u);
}

}  // namespace
}  // namespace hone
