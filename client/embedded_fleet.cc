#include "client/embedded_fleet.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "client/interrupt.h"
#include "client/local_task.h"
#include "common/base/clock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kLook{20};
constexpr int64_t kStartMs = 60'000;
// What was acknowledged is durable, so a daemon that is slow to stop loses nothing by being killed.
constexpr milliseconds kGrace{3'000};
constexpr int kMaxRestarts = 5;
constexpr int64_t kHandoverMs = 15'000;
constexpr milliseconds kBetweenTries{200};
// sun_path holds 108 bytes; a socket's name is added to the folder.
constexpr size_t kLongestSocketFolder = 80;
constexpr const char* kWorkerName = "local";
// A job of one machine writes little beside its models.
constexpr const char* kReserve = "8MiB";

fs::path SocketParent() {
  for (const char* name : {"XDG_RUNTIME_DIR", "TMPDIR"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value == '/' && std::string_view(value).size() < kLongestSocketFolder - 20 &&
        access(value, W_OK | X_OK) == 0) {
      return value;
    }
  }
  return "/tmp";
}

// The first `count` cores that this process may use.
Result<cpu_set_t> FirstCores(uint64_t count, const cpu_set_t& allowed) {
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  for (int core = 0; core < CPU_SETSIZE && static_cast<uint64_t>(CPU_COUNT(&chosen)) < count; ++core) {
    if (CPU_ISSET(core, &allowed)) CPU_SET(core, &chosen);
  }
  if (static_cast<uint64_t>(CPU_COUNT(&chosen)) < count) {
    return Fail(ErrorCode::kRejected,
                fmt::format("--threads {}: this machine allows {} cores", count, CPU_COUNT(&allowed)));
  }
  return chosen;
}

}  // namespace

Result<std::unique_ptr<EmbeddedFleet>> EmbeddedFleet::Start(const FleetOptions& options) {
  const HoldInterrupts hold;
  std::unique_ptr<EmbeddedFleet> fleet(new EmbeddedFleet(options));
  TRY(fleet->LockState());
  TRY(fleet->StartCoordinator());
  TRY(fleet->StartWorker());
  return fleet;
}

EmbeddedFleet::~EmbeddedFleet() {
  Stop();
  if (lock_fd_ >= 0) close(lock_fd_);
}

Result<> EmbeddedFleet::LockState() {
  const fs::path path = options_.state / "optimize.lock";
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_fd_ < 0) return Fail(ErrnoError("open", path, errno));
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK) return Fail(ErrnoError("lock", path, errno));
  return Fail(ErrorCode::kConflict, fmt::format("another hone works in {}", options_.state.string()),
              "wait for it to end, or name another folder with -o or --state");
}

Result<> EmbeddedFleet::StartCoordinator() {
  TRY_ASSIGN(const fs::path program, FindProgram("hone-coordinator", "HONE_COORDINATOR_PROGRAM"));
  TRY_ASSIGN(sockets_, ScopedFolder::Make(SocketParent(), "hone-"));
  endpoint_ = "ipc://" + (sockets_->path() / "c").string();
  ready_file_ = sockets_->path() / "ready";
  const fs::path log = options_.state / "coordinator.log";
  coordinator_.name = "hone-coordinator";
  coordinator_.options.arguments = {program.string(), "--listen", endpoint_, "--data", options_.state.string(),
                                    "--ready-file", ready_file_.string(), "--reserve", kReserve};
  // Its folder is the user's alone; keys are for services.
  coordinator_.options.environment["HONE_KEYS"] = "";
  coordinator_.options.stdout_file = log;
  coordinator_.options.stderr_file = log;
  TRY(Launch(coordinator_));
  TRY(AwaitReady());
  TRY_ASSIGN(client_, Client::Connect(endpoint_));
  return {};
}

Result<> EmbeddedFleet::StartWorker() {
  TRY_ASSIGN(const fs::path program, FindProgram("hone-worker", "HONE_WORKER"));
  TRY(MakeFolder(options_.state / "worker"));
  const fs::path log = options_.state / "worker.log";
  worker_.name = "hone-worker";
  worker_.options.arguments = {
      program.string(), "--coordinator", endpoint_, "--data", (options_.state / "worker").string(),
      "--name",         kWorkerName};
  worker_.options.environment["HONE_KEYS"] = "";
  worker_.options.stdout_file = log;
  worker_.options.stderr_file = log;
  TRY(LaunchWorker());
  return AwaitWorker();
}

Result<> EmbeddedFleet::Launch(Daemon& daemon) {
  daemon.process.reset();
  TRY_ASSIGN(daemon.process, Process::Start(daemon.options));
  return {};
}

// The worker inherits this thread's cores. With fewer cores everything that it runs, the baseline included, has the
// same ones.
Result<> EmbeddedFleet::LaunchWorker() {
  if (!options_.threads) return Launch(worker_);
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return Fail(ErrorCode::kFailed, "the cores of this process could not be read");
  TRY_ASSIGN(const cpu_set_t chosen, FirstCores(*options_.threads, allowed));
  if (sched_setaffinity(0, sizeof chosen, &chosen) != 0)
    return Fail(ErrorCode::kFailed, "the worker could not be bound to its cores");
  const Result<> launched = Launch(worker_);
  sched_setaffinity(0, sizeof allowed, &allowed);
  return launched;
}

Result<> EmbeddedFleet::AwaitReady() {
  const int64_t start = SystemClock().SteadyMs();
  while (SystemClock().SteadyMs() - start < kStartMs) {
    if (fs::exists(ready_file_)) return {};
    if (Interrupted()) return FailInterrupted("interrupted");
    TRY_ASSIGN(const std::optional<ExitStatus> ended, coordinator_.process->Wait(kLook));
    if (ended) TRY(RetryIfInUse(coordinator_, *ended, start, &EmbeddedFleet::LaunchCoordinator));
  }
  return Fail(ErrorCode::kFailed, fmt::format("hone-coordinator was not ready within {}", HumanDuration(kStartMs)),
              "its log: " + coordinator_.options.stderr_file.string());
}

Result<> EmbeddedFleet::AwaitWorker() {
  const int64_t start = SystemClock().SteadyMs();
  // A worker of an earlier run may still be listed; ours was seen after now. Its clock is this machine's.
  const auto since = static_cast<uint64_t>(SystemClock().UnixMs());
  while (SystemClock().SteadyMs() - start < kStartMs) {
    if (Interrupted()) return FailInterrupted("interrupted");
    TRY_ASSIGN(const std::vector<proto::WorkerSummary> workers, client_->Workers());
    for (const proto::WorkerSummary& worker : workers) {
      if (worker.name() == kWorkerName && worker.state() != "lost" && worker.last_seen_unix_ms() >= since) return {};
    }
    TRY_ASSIGN(const std::optional<ExitStatus> ended, worker_.process->Wait(kLook));
    if (ended) TRY(RetryIfInUse(worker_, *ended, start, &EmbeddedFleet::LaunchWorker));
  }
  return Fail(ErrorCode::kFailed, fmt::format("hone-worker did not register within {}", HumanDuration(kStartMs)),
              "its log: " + worker_.options.stderr_file.string());
}

// Daemons of a run that was killed may still be on their way out, with their folders locked; nobody else can be in
// them, because this process holds the lock above them.
Result<> EmbeddedFleet::RetryIfInUse(Daemon& daemon, const ExitStatus& status, int64_t since_ms,
                                     Result<> (EmbeddedFleet::*launch)()) {
  const bool in_use = status.signal == 0 && status.code == ExitCode(ErrorCode::kConflict);
  if (!in_use || SystemClock().SteadyMs() - since_ms > kHandoverMs) return Fail(EarlyEnd(daemon, status));
  std::this_thread::sleep_for(kBetweenTries);
  return (this->*launch)();
}

Error EmbeddedFleet::EarlyEnd(const Daemon& daemon, const ExitStatus& status) const {
  const std::string how =
      status.signal != 0 ? fmt::format("signal {}", status.signal) : fmt::format("status {}", status.code);
  const std::string tail = TailOf(daemon.options.stderr_file);
  return Error{
      ErrorCode::kFailed, fmt::format("{} ended with {}", daemon.name, how),
      tail.empty() ? "its log is empty; `hone doctor` checks the installation" : "the end of its log:\n" + tail};
}

Result<> EmbeddedFleet::Revive(Daemon& daemon, Result<> (EmbeddedFleet::*launch)()) {
  TRY_ASSIGN(const std::optional<ExitStatus> ended, daemon.process->Wait(milliseconds(0)));
  if (!ended) return {};
  if (++daemon.restarts > kMaxRestarts) return Fail(EarlyEnd(daemon, *ended));
  if (options_.note) options_.note(EarlyEnd(daemon, *ended).message + "; it is started again");
  return (this->*launch)();
}

Result<> EmbeddedFleet::Tend() {
  TRY(Revive(coordinator_, &EmbeddedFleet::LaunchCoordinator));
  return Revive(worker_, &EmbeddedFleet::LaunchWorker);
}

void EmbeddedFleet::Stop() {
  if (worker_.process) {
    // The first signal lets the work in hand end, which may take seconds; the second returns it at once. They must not
    // arrive as one.
    worker_.process->Signal(SIGTERM);
    const Result<std::optional<ExitStatus>> ended = worker_.process->Wait(milliseconds(100));
    if (!ended || !*ended) worker_.process->Stop(kGrace);
  }
  worker_.process.reset();
  if (coordinator_.process) coordinator_.process->Stop(kGrace);
  coordinator_.process.reset();
}

}  // namespace hone
