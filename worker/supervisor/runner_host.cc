#include "worker/supervisor/passed_descriptor.h"
#include "worker/supervisor/runner_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
#include "common/base/machine_lock.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "worker/supervisor/output_log.h"
#include "worker/supervisor/process_tree.h"
#include "worker/supervisor/progress.h"
#include "worker/supervisor/scratch_use.h"
#include "worker/supervisor/zygote.h"

namespace hone {
namespace {

constexpr int kWatchMs = 50;               // Between looks at a running family.
constexpr int64_t kFamilyWalkMs = 200;  // Between walks that find new members; a look at known ones costs microseconds.
constexpr int64_t kKillDeadlineMs = 5000;  // A family that survives SIGKILL so long is stuck in the kernel.
// A SIGKILL that we did not send, at this share of the limit, was the kernel's out-of-memory killer.
constexpr double kHighMemory = 0.6;

constexpr uint64_t kTasksPerProcess = 8;   // A control group counts threads as well.
constexpr int64_t kScratchLookMs = 250;    // Between looks at what was written.
constexpr int64_t kTellWaitingMs = 10 * 60 * 1000;
constexpr int64_t kReadyDeadlineMs = 60'000;  // A loaded machine links the runtimes slowly.

// An unexplained death by one of these while the worker is told to stop is the same stop, delivered to the whole
// service.
constexpr auto kStopNotice = std::chrono::milliseconds(500);

// --- namespaces
// ------------------------------------------------------------------------------------------------------------------

constexpr int kIsolating = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;

// fork, with flags. The child shares nothing and must execute a program without allocating memory, as after any fork of
// a process with threads.
pid_t ForkInto(int namespaces) {
  if (namespaces == 0) return fork();
  return static_cast<pid_t>(syscall(SYS_clone, namespaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

// In a new user namespace this user stays who he is, and nobody else exists. Texts are made before the fork.
class IdentityMap {
 public:
  IdentityMap() : user_(fmt::format("{0} {0} 1", geteuid())), group_(fmt::format("{0} {0} 1", getegid())) {}
  bool Apply(int namespaces) const {
    if ((namespaces & CLONE_NEWUSER) == 0) return true;
    constexpr char deny[] = "deny";
    return Write("/proc/self/setgroups", deny, sizeof deny - 1) &&
           Write("/proc/self/uid_map", user_.data(), user_.size()) &&
           Write("/proc/self/gid_map", group_.data(), group_.size());
  }

 private:
  static bool Write(const char* path, const char* text, size_t bytes) {
    const int file = open(path, O_WRONLY | O_CLOEXEC);
    const bool written = file >= 0 && write(file, text, bytes) == static_cast<ssize_t>(bytes);
    if (file >= 0) close(file);
    return written;
  }
  const std::string user_;
  const std::string group_;
};

bool CanFork(int namespaces) {
  const IdentityMap identities;
  const pid_t pid = ForkInto(namespaces);
  if (pid == 0) _exit(identities.Apply(namespaces) ? 0 : 1);
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// 0 where none are allowed. Who may make them without a user namespace keeps the view of all users.
int AllowedNamespaces() {
  static const int allowed = [] {
    if (CanFork(kIsolating)) return kIsolating;
    return CanFork(kIsolating | CLONE_NEWUSER) ? kIsolating | CLONE_NEWUSER : 0;
  }();
  return (PartsTurnedOff() & kNamespaces) != 0 ? 0 : allowed;
}

// --- what a task writes and waits for
// -----------------------------------------------------------------------------------------------

std::vector<std::filesystem::path> WrittenFolders(const proto::Task& task, const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> folders = {folder / kScratchFolder};
  if (task.has_build() && !task.build().output_folder().empty()) folders.emplace_back(task.build().output_folder());
  return folders;
}

std::vector<std::filesystem::path> LockFiles(const proto::Task& task) {
  std::vector<std::filesystem::path> files;
  const auto add = [&](const std::filesystem::path& lock) {
    files.push_back(lock);
    files.push_back(lock.string() + ".gate");
  };
  add(MachineLock::DefaultPath());
  if (!task.measure().exclusive_lock().empty()) add(task.measure().exclusive_lock());
  if (!task.sensitivity().exclusive_lock().empty()) add(task.sensitivity().exclusive_lock());
  return files;
}

// The runner may have put anything in the result's place.
Result<std::string> ReadResult(const std::filesystem::path& path) {
  TRY_ASSIGN(const RegularFile file, OpenRegular(path, Links::refuse));
  if (file.size_bytes > kMaxTaskBytes)
    return Fail(ErrorCode::kRejected, fmt::format("it has {}", HumanBytes(file.size_bytes)));
  std::string bytes(file.size_bytes, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    TRY_ASSIGN(const size_t got, ReadSome(file.descriptor.get(), bytes.data() + done, bytes.size() - done, path));
    if (got == 0) break;
    done += got;
  }
  bytes.resize(done);
  return bytes;
}

bool IsStopRequest(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

}  // namespace

// The supervisor's end: the process and the socket to it.
class RunnerHost::Zygote {
 public:
  // In namespaces of its own where the machine allows them.
  static Result<std::unique_ptr<Zygote>> Start(const std::filesystem::path& program) {
    const int namespaces = AllowedNamespaces();
    auto started = StartIn(namespaces, program);
    if (started || namespaces == 0) return started;
    spdlog::warn("the zygote does not start in namespaces of its own ({}); it is started without",
                 started.error().message);
    return StartIn(0, program);
  }

 private:
  static Result<std::unique_ptr<Zygote>> StartIn(int namespaces, const std::filesystem::path& program) {
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
    const IdentityMap identities;
    const pid_t pid = ForkInto(namespaces);
    if (pid == 0) {
      if (!identities.Apply(namespaces)) _exit(126);
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
    std::unique_ptr<Zygote> zygote(new Zygote(pid, ends[0], namespaces != 0));
    TRY(zygote->AwaitReady());
    return zygote;
  }

  Result<> AwaitReady() {
    const int64_t deadline = SystemClock().SteadyMs() + kReadyDeadlineMs;
    for (;;) {
      if (const auto event = Receive(); event && event->kind == ZygoteEvent::kReady) {
        sandbox_.parts = event->parts;
        return {};
      }
      const int64_t left = deadline - SystemClock().SteadyMs();
      if (!alive_ || left <= 0) return Fail(ErrorCode::kEnvironment, "start the zygote: it did not get ready");
      pollfd waiting{socket_, POLLIN, 0};
      poll(&waiting, 1, static_cast<int>(left));
    }
  }

 public:
  // Closing the socket tells it to kill its runners and go; one that does not go is stopped, or its program is no
  // zygote.
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
  const Sandbox& sandbox() const { return sandbox_; }
  // Its process numbers are not ours, and its death is that of all beneath it.
  bool own_namespace() const { return own_namespace_; }

  // With a descriptor where it is not negative.
  bool Send(const ZygoteRequest& request, int descriptor = -1) {
    return SendWithDescriptor(socket_, &request, sizeof(request), descriptor);
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
  Zygote(pid_t pid, int socket, bool own_namespace) : pid_(pid), socket_(socket), own_namespace_(own_namespace) {}

  const pid_t pid_;
  const int socket_;
  const bool own_namespace_;
  Sandbox sandbox_;
  bool alive_ = true;
};

// One run, from the request to the last member of its family.
class RunnerHost::Watch {
 public:
  // `group` may be nullptr.
  Watch(Zygote& zygote, ControlGroup* group, uint64_t id, const proto::Task& task, const std::filesystem::path& folder,
        const RunLimits& limits, const StopSignal& stop)
      : zygote_(zygote),
        group_(group),
        id_(id),
        limits_(limits),
        stop_(stop),
        log_(folder / kOutputFile, limits.output_bytes),
        folder_(folder),
        written_folders_(WrittenFolders(task, folder)),
        progress_(LockFiles(task)) {}

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
      LookAtFiles();
      CheckLimits();
    }
    // What was written last is beyond the bound as well.
    if (!end_ && limits_.scratch_bytes != 0) {
      MeasureFiles();
      CheckScratch();
    }
    return Outcome();
  }

  // The zygote was gone before the runner began: nobody has worked on the task. A runner opens its output first of all;
  // the zygote may die between the fork and the word about it.
  bool never_began() const {
    std::error_code ignored;
    return !zygote_.alive() && pid_ == 0 && !std::filesystem::exists(folder_ / kOutputFile, ignored);
  }

 private:
  int64_t Now() const { return SystemClock().SteadyMs(); }

  Result<> Request() {
    ZygoteRequest request;
    request.kind = ZygoteRequest::kRun;
    request.id = id_;
    const std::string text = folder_.string();
    if (text.size() >= sizeof(request.folder))
      return Fail(ErrorCode::kConfiguration, "the work folder's path is too long: " + text);
    std::memcpy(request.folder, text.data(), text.size());
    started_ms_ = Now();
    if (!zygote_.Send(request, group_ != nullptr ? group_->entrance() : -1)) {
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
    resident_bytes_ = ResidentBytes(family_) + nameless_.memory;
    if (limits_.memory_bytes != 0 && resident_bytes_ > limits_.memory_bytes)
      resident_bytes_ = ProportionalBytes(family_) + nameless_.memory;
    peak_bytes_ = std::max(peak_bytes_, resident_bytes_);
  }

  void LookAtFiles() {
    const int64_t now = Now();
    if (pid_ == 0 || now - measured_ms_ < kScratchLookMs) return;
    measured_ms_ = now;
    nameless_ = NamelessBytesOf(family_);
    MeasureFiles();
    progress_.Look(family_, scratch_.bytes + scratch_.entries + log_.written_bytes(), now);
    if (progress_.holder() && now - told_waiting_ms_ >= kTellWaitingMs) {
      if (told_waiting_ms_ != 0) {
        spdlog::warn("runner {} has waited {} for the machine, which process {} holds", pid_,
                     HumanDuration(progress_.WaitedMs()), *progress_.holder());
      }
      told_waiting_ms_ = now;
    }
  }

  void MeasureFiles() {
    scratch_ = {};
    for (const auto& folder : written_folders_) {
      const FolderUse use = MeasureFolder(folder, limits_.scratch_files);
      scratch_.bytes += use.bytes;
      scratch_.entries += use.entries;
      scratch_.complete = scratch_.complete && use.complete;
    }
    scratch_.bytes += nameless_.disk;
  }

  void CheckScratch() {
    if (limits_.scratch_bytes == 0) return;
    if (scratch_.bytes > limits_.scratch_bytes) {
      return Kill(RunOutcome::End::kScratchFull,
                  fmt::format("scratch quota: wrote {}, more than the {} allowed", HumanBytes(scratch_.bytes),
                              HumanBytes(limits_.scratch_bytes)));
    }
    if (!scratch_.complete) {
      Kill(RunOutcome::End::kScratchFull,
           fmt::format("scratch quota: made more than the {} files allowed", limits_.scratch_files));
    }
  }

  void CheckLimits() {
    const int64_t now = Now();
    if (end_) {
      if (now - killed_ms_ > kKillDeadlineMs) AbandonStuckFamily();
      return;
    }
    if (stop_.stopped()) return Kill(RunOutcome::End::kStopped, "stopped on request");
    const int64_t waited = progress_.WaitedMs();
    if (limits_.timeout.count() > 0 && now - started_ms_ - waited >= limits_.timeout.count() && !progress_.holder()) {
      return Kill(
          RunOutcome::End::kTimedOut,
          fmt::format("not done after {}{}", HumanDuration(limits_.timeout.count()),
                      waited > 0 ? fmt::format(" (and {} of waiting for the machine)", HumanDuration(waited)) : ""));
    }
    if (limits_.stall.count() > 0 && progress_.StandstillMs(now) >= limits_.stall.count()) {
      return Kill(RunOutcome::End::kTimedOut, fmt::format("no progress: it used no processor and wrote nothing for {}",
                                                          HumanDuration(limits_.stall.count())));
    }
    if (limits_.memory_bytes != 0 && resident_bytes_ > limits_.memory_bytes) {
      return Kill(RunOutcome::End::kOutOfMemory,
                  fmt::format("used {}, more than the {} allowed", HumanBytes(resident_bytes_),
                              HumanBytes(limits_.memory_bytes)));
    }
    if (family_.size() > limits_.processes) {
      return Kill(RunOutcome::End::kCrashed, fmt::format("started more than {} processes", limits_.processes));
    }
    CheckScratch();
  }

  void Kill(RunOutcome::End end, std::string why) {
    end_ = end;
    explanation_ = std::move(why);
    killed_ms_ = Now();
    ZygoteRequest request;
    request.kind = ZygoteRequest::kKill;
    request.id = id_;
    if (!zygote_.Send(request)) zygote_.GiveUp();
    if (group_ != nullptr) group_->Kill();
  }

  // The zygote does not answer although it was told to kill: it is replaced.
  void AbandonStuckFamily() {
    spdlog::error("runner {} did not die; it may be stuck in a driver", pid_);
    explanation_ += "; the process could not be killed";
    LoseZygote();
  }

  // Without the zygote the group, and whom the last walk saw, are all we can name. The runner itself dies with its
  // parent.
  void LoseZygote() {
    zygote_.GiveUp();
    kill(zygote_.pid(), SIGKILL);
    if (pid_ > 0 && !zygote_.own_namespace()) kill(-pid_, SIGKILL);
    for (const pid_t member : family_) kill(member, SIGKILL);
    if (group_ != nullptr) group_->Kill();
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
    const auto bytes = ReadResult(folder_ / kScratchFolder / kResultFile);
    if (!bytes) {
      outcome.explanation = bytes.error().code == ErrorCode::kNotFound
                                ? "the runner exited with status 0 but left no result"
                                : "the runner's result: " + bytes.error().message;
    } else if (!outcome.result.ParseFromString(*bytes) ||
               outcome.result.kind_case() == proto::TaskResult::KIND_NOT_SET) {
      outcome.explanation = "the runner left a result that is none";
    } else {
      outcome.end = RunOutcome::End::kResult;
    }
  }

  void JudgeSignal(RunOutcome& outcome) const {
    outcome.end = RunOutcome::End::kCrashed;
    outcome.explanation =
        fmt::format("the runner was ended by signal {} ({})", outcome.signal, strsignal(outcome.signal));
    const double high = kHighMemory * static_cast<double>(limits_.memory_bytes);
    const bool told = group_ != nullptr && group_->OutOfMemoryKills() > 0;
    const bool likely = limits_.memory_bytes != 0 && static_cast<double>(outcome.peak_memory_bytes) >= high;
    if (outcome.signal == SIGKILL && (told || likely)) {
      outcome.end = RunOutcome::End::kOutOfMemory;
      outcome.explanation =
          fmt::format("killed by the system at {}; it was out of memory", HumanBytes(outcome.peak_memory_bytes));
    } else if (IsStopRequest(outcome.signal) && stop_.WaitFor(kStopNotice)) {
      outcome.end = RunOutcome::End::kStopped;
    }
  }

  Zygote& zygote_;
  ControlGroup* const group_;
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
  const std::vector<std::filesystem::path> written_folders_;
  Progress progress_;
  FolderUse scratch_;
  NamelessBytes nameless_;
  int64_t measured_ms_ = 0;
  int64_t told_waiting_ms_ = 0;
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
  host->FindGroups();
  TRY(host->EnsureZygote());
  return host;
}

void RunnerHost::FindGroups() {
  if ((PartsTurnedOff() & kGroups) != 0) return;
  auto groups = ControlGroups::Find();
  if (groups) {
    groups_ = std::move(*groups);
  } else {
    spdlog::debug("runners get no control groups: {}", groups.error().message);
  }
}

const Sandbox& RunnerHost::sandbox() const { return sandbox_; }

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
  const bool first = !std::exchange(started_, true);
  if (first) {
    sandbox_ = zygote_->sandbox();
    if (groups_) sandbox_.parts |= kGroups;
    return {};
  }
  // What was told to others about this worker must still hold.
  if (zygote_->sandbox().Has(sandbox_.parts & ~kGroups)) return {};
  zygote_.reset();
  return Fail(ErrorCode::kEnvironment, "this machine no longer allows what this worker's runners were confined by",
              "Start the worker again");
}

Result<RunOutcome> RunnerHost::Run(const proto::Task& task, const std::filesystem::path& folder,
                                   const RunLimits& limits, const StopSignal& stop) {
  TRY(EnsureZygote());
  std::error_code ignored;
  std::filesystem::remove_all(folder / kScratchFolder, ignored);  // Of an earlier run in the same folder.
  std::filesystem::remove(folder / kOutputFile, ignored);
  TRY(MakeFolder(folder / kScratchFolder));
  TRY(WriteFile(folder / kRequestFile, task.SerializeAsString()));
  bool never_began = false;
  auto outcome = RunOnce(task, folder, limits, stop, never_began);
  if (!never_began || stop.stopped()) return outcome;
  TRY(EnsureZygote());  // It died unnoticed since the last run; a second one that dies so soon is the machine's fault.
  return RunOnce(task, folder, limits, stop, never_began);
}

Result<RunOutcome> RunnerHost::RunOnce(const proto::Task& task, const std::filesystem::path& folder,
                                       const RunLimits& limits, const StopSignal& stop, bool& never_began) {
  std::unique_ptr<ControlGroup> group;
  if (groups_) {
    auto made = groups_->Make({limits.memory_bytes, kTasksPerProcess * limits.processes});
    if (made) {
      group = std::move(*made);
    } else {
      spdlog::warn("the runner is held by the other walls alone: {}", made.error().message);
    }
  }
  Watch watch(*zygote_, group.get(), next_id_++, task, folder, limits, stop);
  auto outcome = watch.Run();
  never_began = watch.never_began();
  return outcome;
}

}  // namespace hone
