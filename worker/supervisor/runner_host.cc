#include "worker/supervisor/runner_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/supervisor/output_log.h"
#include "worker/supervisor/process_tree.h"
#include "worker/supervisor/zygote.h"

namespace hone {
namespace {

constexpr int kWatchMs = 50;               // Between looks at a running family.
constexpr int64_t kFamilyWalkMs = 200;     // Between walks that find new members; a look at known ones costs microseconds.
constexpr int64_t kKillDeadlineMs = 5000;  // A family that survives SIGKILL so long is stuck in the kernel.
// A SIGKILL that we did not send, at this share of the limit, was the kernel's out-of-memory killer.
constexpr double kHighMemory = 0.6;

// An unexplained death by one of these while the worker is told to stop is the same stop, delivered to the whole service.
constexpr auto kStopNotice = std::chrono::milliseconds(500);

bool IsStopRequest(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

}  // namespace

// The supervisor's end: the process and the socket to it.
class RunnerHost::Zygote {
 public:
  static Result<std::unique_ptr<Zygote>> Start(const std::filesystem::path& program) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return Fail(ErrorCode::kEnvironment, fmt::format("make a socket for the zygote: {}", std::strerror(errno)));
    }
    // Everything the child needs is made before the fork: this process may have threads.
    const std::string path = program.string();
    const std::string descriptor = std::to_string(ends[1]);
    std::string name = "hone-zygote";
    std::string flag = kZygoteFlag;
    std::string number = descriptor;
    char* arguments[] = {name.data(), flag.data(), number.data(), nullptr};
    const pid_t pid = fork();
    if (pid == 0) {
      close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
      fcntl(ends[1], F_SETFD, 0);
      execv(path.c_str(), arguments);
      _exit(127);
    }
    const int fork_error = errno;
    close(ends[1]);
    if (pid < 0) {
      close(ends[0]);
      return Fail(ErrorCode::kEnvironment, fmt::format("start the zygote: {}", std::strerror(fork_error)));
    }
    return std::unique_ptr<Zygote>(new Zygote(pid, ends[0]));
  }

  // Closing the socket tells it to kill its runners and go; one that does not go is stopped, or its program is no zygote.
  ~Zygote() {
    close(socket_);
    for (int waited = 0; waited < 300; ++waited) {
      if (waitpid(pid_, nullptr, WNOHANG) != 0) return;
      poll(nullptr, 0, 10);
    }
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  int socket() const { return socket_; }

  bool Send(const ZygoteRequest& request) {
    ssize_t sent = 0;
    do {
      sent = send(socket_, &request, sizeof(request), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(sizeof(request));
  }

  // The next event, if one is there. alive() tells afterwards whether the zygote still listens.
  std::optional<ZygoteEvent> Receive() {
    ZygoteEvent event;
    ssize_t got = 0;
    do {
      got = recv(socket_, &event, sizeof(event), MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got == static_cast<ssize_t>(sizeof(event))) return event;
    if (got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) alive_ = false;
    return std::nullopt;
  }

  bool alive() const { return alive_; }
  void GiveUp() { alive_ = false; }

 private:
  Zygote(pid_t pid, int socket) : pid_(pid), socket_(socket) {}

  const pid_t pid_;
  const int socket_;
  bool alive_ = true;
};

// One run, from the request to the last member of its family.
class RunnerHost::Watch {
 public:
  Watch(Zygote& zygote, uint64_t id, const std::filesystem::path& folder, const RunLimits& limits, const StopSignal& stop)
      : zygote_(zygote), id_(id), limits_(limits), stop_(stop), log_(folder / kOutputFile, limits.output_bytes), folder_(folder) {}

  Result<RunOutcome> Run() {
    TRY(Request());
    while (!ended_) {
      Wait();
      TakeEvents();
      if (refused_) return Fail(ErrorCode::kEnvironment, fmt::format("start a runner: {}", std::strerror(refused_)));
      if (ended_) break;
      if (!zygote_.alive()) {
        LoseZygote();
        break;
      }
      log_.Bound();
      LookAtFamily();
      CheckLimits();
    }
    return Outcome();
  }

  // The zygote was gone before the runner began: nobody has worked on the task.
  bool never_began() const { return !zygote_.alive() && pid_ == 0; }

 private:
  int64_t Now() const { return SystemClock().SteadyMs(); }

  Result<> Request() {
    ZygoteRequest request;
    request.kind = ZygoteRequest::kRun;
    request.id = id_;
    const std::string text = folder_.string();
    if (text.size() >= sizeof(request.folder)) return Fail(ErrorCode::kConfiguration, "the work folder's path is too long: " + text);
    std::memcpy(request.folder, text.data(), text.size());
    started_ms_ = Now();
    if (!zygote_.Send(request)) {
      zygote_.GiveUp();
      return Fail(ErrorCode::kEnvironment, "the zygote does not answer");
    }
    return {};
  }

  void Wait() {
    pollfd waiting[2] = {{zygote_.socket(), POLLIN, 0}, {stop_.descriptor(), POLLIN, 0}};
    poll(waiting, end_ ? 1 : 2, kWatchMs);  // Once it is being killed, a stop changes nothing.
  }

  void TakeEvents() {
    while (const auto event = zygote_.Receive()) {
      if (event->id != id_) continue;  // Of a run that was given up.
      if (event->kind == ZygoteEvent::kStarted) pid_ = event->pid;
      if (event->kind == ZygoteEvent::kRefused) refused_ = event->error_number;
      if (event->kind == ZygoteEvent::kEnded) ended_ = *event;
    }
  }

  void LookAtFamily() {
    if (pid_ == 0) return;
    const int64_t now = Now();
    if (now - walked_ms_ >= kFamilyWalkMs || family_.empty()) {
      walked_ms_ = now;
      family_ = DescendantsOf(zygote_.pid(), limits_.processes + 1);  // Everything below the zygote is this run's.
    }
    resident_bytes_ = ResidentBytes(family_);
    if (limits_.memory_bytes != 0 && resident_bytes_ > limits_.memory_bytes) resident_bytes_ = ProportionalBytes(family_);
    peak_bytes_ = std::max(peak_bytes_, resident_bytes_);
  }

  void CheckLimits() {
    const int64_t now = Now();
    if (end_) {
      if (now - killed_ms_ > kKillDeadlineMs) AbandonStuckFamily();
      return;
    }
    if (stop_.stopped()) return Kill(RunOutcome::End::kStopped, "stopped on request");
    if (limits_.timeout.count() > 0 && now - started_ms_ >= limits_.timeout.count()) {
      return Kill(RunOutcome::End::kTimedOut, fmt::format("not done after {}", HumanDuration(limits_.timeout.count())));
    }
    if (limits_.memory_bytes != 0 && resident_bytes_ > limits_.memory_bytes) {
      return Kill(RunOutcome::End::kOutOfMemory,
                  fmt::format("used {}, more than the {} allowed", HumanBytes(resident_bytes_), HumanBytes(limits_.memory_bytes)));
    }
    if (family_.size() > limits_.processes) {
      return Kill(RunOutcome::End::kCrashed, fmt::format("started more than {} processes", limits_.processes));
    }
  }

  void Kill(RunOutcome::End end, std::string why) {
    end_ = end;
    explanation_ = std::move(why);
    killed_ms_ = Now();
    ZygoteRequest request;
    request.kind = ZygoteRequest::kKill;
    request.id = id_;
    if (!zygote_.Send(request)) zygote_.GiveUp();
  }

  // The zygote does not answer although it was told to kill: it is replaced.
  void AbandonStuckFamily() {
    spdlog::error("runner {} did not die; it may be stuck in a driver", pid_);
    explanation_ += "; the process could not be killed";
    LoseZygote();
  }

  // Without the zygote the group, and whom the last walk saw, are all we can name. The runner itself dies with its parent.
  void LoseZygote() {
    zygote_.GiveUp();
    kill(zygote_.pid(), SIGKILL);
    if (pid_ > 0) kill(-pid_, SIGKILL);
    for (const pid_t member : family_) kill(member, SIGKILL);
    ended_ = ZygoteEvent{};
    ended_->status = SIGKILL;  // As wait(2) tells death by a signal.
    if (!end_) {
      end_ = RunOutcome::End::kCrashed;
      explanation_ = "the zygote died while the runner was at work";
    }
  }

  RunOutcome Outcome() {
    RunOutcome outcome;
    outcome.wall_ms = Now() - started_ms_;
    outcome.peak_memory_bytes = std::max(peak_bytes_, ended_->peak_resident_bytes);
    outcome.output_tail = log_.Tail();
    if (ended_->unkillable > 0) spdlog::error("{} processes of runner {} did not die", ended_->unkillable, ended_->pid);
    outcome.explanation = explanation_;
    if (WIFSIGNALED(ended_->status)) outcome.signal = WTERMSIG(ended_->status);
    if (WIFEXITED(ended_->status)) outcome.exit_status = WEXITSTATUS(ended_->status);
    if (end_) {
      outcome.end = *end_;
    } else {
      Judge(outcome);
    }
    return outcome;
  }

  // Nobody here ended it.
  void Judge(RunOutcome& outcome) const {
    if (outcome.signal != 0) return JudgeSignal(outcome);
    outcome.end = RunOutcome::End::kCrashed;
    if (outcome.exit_status != 0) {
      outcome.explanation = fmt::format("the runner exited with status {}", outcome.exit_status);
      return;
    }
    const auto bytes = ReadFile(folder_ / kResultFile, kMaxTaskBytes);
    if (!bytes) {
      outcome.explanation = bytes.error().code == ErrorCode::kNotFound ? "the runner exited with status 0 but left no result"
                                                                       : "the runner's result: " + bytes.error().message;
    } else if (!outcome.result.ParseFromString(*bytes) || outcome.result.kind_case() == proto::TaskResult::KIND_NOT_SET) {
      outcome.explanation = "the runner left a result that is none";
    } else {
      outcome.end = RunOutcome::End::kResult;
    }
  }

  void JudgeSignal(RunOutcome& outcome) const {
    outcome.end = RunOutcome::End::kCrashed;
    outcome.explanation = fmt::format("the runner was ended by signal {} ({})", outcome.signal, strsignal(outcome.signal));
    const double high = kHighMemory * static_cast<double>(limits_.memory_bytes);
    if (outcome.signal == SIGKILL && limits_.memory_bytes != 0 && static_cast<double>(outcome.peak_memory_bytes) >= high) {
      outcome.end = RunOutcome::End::kOutOfMemory;
      outcome.explanation = fmt::format("killed by the system at {}; it was out of memory", HumanBytes(outcome.peak_memory_bytes));
    } else if (IsStopRequest(outcome.signal) && stop_.WaitFor(kStopNotice)) {
      outcome.end = RunOutcome::End::kStopped;
    }
  }

  Zygote& zygote_;
  const uint64_t id_;
  const RunLimits& limits_;
  const StopSignal& stop_;
  OutputLog log_;
  const std::filesystem::path folder_;

  int64_t started_ms_ = 0;
  int64_t killed_ms_ = 0;
  int64_t walked_ms_ = 0;
  pid_t pid_ = 0;
  int refused_ = 0;
  std::vector<pid_t> family_;
  uint64_t resident_bytes_ = 0;
  uint64_t peak_bytes_ = 0;
  std::optional<ZygoteEvent> ended_;
  std::optional<RunOutcome::End> end_;   // Why we killed it.
  std::string explanation_;
};

RunnerHost::RunnerHost(const RunnerHostOptions& options) : options_(options) {}
RunnerHost::~RunnerHost() = default;

Result<std::unique_ptr<RunnerHost>> RunnerHost::Start(const RunnerHostOptions& options) {
  std::unique_ptr<RunnerHost> host(new RunnerHost(options));
  TRY(host->EnsureZygote());
  return host;
}

pid_t RunnerHost::zygote_pid() const { return zygote_ ? zygote_->pid() : -1; }

Result<> RunnerHost::EnsureZygote() {
  if (zygote_) {
    while (zygote_->Receive()) {  // Notices a closed socket; events of runs that were given up mean nothing.
    }
    if (zygote_->alive()) return {};
    spdlog::warn("the zygote is gone; starting another");
    zygote_.reset();
  }
  TRY_ASSIGN(zygote_, Zygote::Start(options_.program));
  return {};
}

Result<RunOutcome> RunnerHost::Run(const proto::Task& task, const std::filesystem::path& folder, const RunLimits& limits,
                                   const StopSignal& stop) {
  TRY(EnsureZygote());
  std::error_code ignored;
  std::filesystem::remove(folder / kResultFile, ignored);  // Of an earlier run in the same folder.
  TRY(WriteFile(folder / kRequestFile, task.SerializeAsString()));
  Watch watch(*zygote_, next_id_++, folder, limits, stop);
  auto outcome = watch.Run();
  if (!watch.never_began() || stop.stopped()) return outcome;
  TRY(EnsureZygote());  // It died unnoticed since the last run; a second one that dies so soon is the machine's fault.
  return Watch(*zygote_, next_id_++, folder, limits, stop).Run();
}

}  // namespace hone
