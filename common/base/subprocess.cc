// Between fork and exec a child of a threaded program may make plain system calls alone, so everything that allocates
// (argument vectors, the environment, open files) is prepared before. What goes wrong in the child comes back through a
// pipe that a successful exec closes.
#include "common/base/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>

#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

extern char** environ;

namespace hone {
namespace {

using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;
namespace fs = std::filesystem;

constexpr unsigned int kCloseRangeCloexec = 4;  // CLOSE_RANGE_CLOEXEC; old headers lack the name.
constexpr milliseconds kForever{1000LL * 3600 * 24 * 365 * 10};
constexpr milliseconds kPollStep{20};           // Where the kernel has no pidfd_open.

enum class Stage : int { kGroup, kDeathSignal, kFolder, kStreams, kMemory, kExecute };

struct Failure {
  Stage stage = Stage::kExecute;
  int error_number = 0;
};

// What the child needs, all allocated before the fork.
struct Launch {
  std::string program;
  std::vector<std::string> environment;
  std::vector<char*> argument_pointers;
  std::vector<char*> environment_pointers;
  const char* folder = nullptr;
  std::array<int, 3> streams = {-1, -1, -1};   // -1: inherited.
  bool new_group = true;
  uint64_t max_data_bytes = 0;
  bool die_with_parent = true;
  pid_t parent = 0;
  int failure_fd = -1;
};

SteadyTime DeadlineAfter(milliseconds timeout) {
  return std::chrono::steady_clock::now() + std::clamp(timeout, milliseconds{0}, kForever);
}

int PollTimeout(SteadyTime deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

// "name" is looked up in PATH, "./name" and "/name" are taken as they are, from the parent's folder.
fs::path ProgramOf(const std::string& name) {
  if (name.find('/') != std::string::npos) return fs::absolute(name);
  return FindOnPath(name).value_or(name);
}

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> merged;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!changes.contains(std::string(text.substr(0, text.find('='))))) merged.emplace_back(text);
  }
  for (const auto& [name, value] : changes) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void ChildFails(const Launch& launch, Stage stage) {
  const Failure failure{stage, errno};
  ssize_t written = 0;
  do {
    written = write(launch.failure_fd, &failure, sizeof failure);
  } while (written < 0 && errno == EINTR);
  _exit(127);
}

void ResetSignals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Every descriptor but the three streams closes at exec, whoever forgot O_CLOEXEC.
void CloseOthersAtExec() {
  if (syscall(SYS_close_range, 3u, ~0u, kCloseRangeCloexec) == 0) return;
  const long limit = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < std::clamp<long>(limit, 256, 65536); ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void PlaceStreams(const Launch& launch) {
  // A prepared descriptor may itself be 0, 1 or 2 where the parent had closed those: move all out of the way first.
  std::array<int, 3> moved = {-1, -1, -1};
  for (size_t i = 0; i < moved.size(); ++i) {
    if (launch.streams[i] < 0) continue;
    moved[i] = fcntl(launch.streams[i], F_DUPFD_CLOEXEC, 3);
    if (moved[i] < 0) ChildFails(launch, Stage::kStreams);
  }
  for (size_t i = 0; i < moved.size(); ++i) {
    if (moved[i] >= 0 && dup2(moved[i], static_cast<int>(i)) < 0) ChildFails(launch, Stage::kStreams);
  }
}

[[noreturn]] void RunChild(const Launch& launch) {
  if (launch.new_group && setpgid(0, 0) != 0) ChildFails(launch, Stage::kGroup);
  if (launch.die_with_parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) ChildFails(launch, Stage::kDeathSignal);
    // The parent may have died before the call above: its signal would never come.
    if (getppid() != launch.parent) _exit(127);
  }
  PlaceStreams(launch);
  if (launch.folder != nullptr && chdir(launch.folder) != 0) ChildFails(launch, Stage::kFolder);
  CloseOthersAtExec();
  ResetSignals();
  // Last: a sanitizer's own mappings count too.
  const rlimit memory{launch.max_data_bytes, launch.max_data_bytes};
  if (launch.max_data_bytes > 0 && setrlimit(RLIMIT_DATA, &memory) != 0) ChildFails(launch, Stage::kMemory);
  execve(launch.program.c_str(), launch.argument_pointers.data(), launch.environment_pointers.data());
  ChildFails(launch, Stage::kExecute);
}

Error FailureError(const Failure& failure, const ProcessOptions& options) {
  switch (failure.stage) {
    case Stage::kFolder: return ErrnoError("start a program in", options.folder, failure.error_number);
    case Stage::kExecute: return ErrnoError("start", options.arguments.front(), failure.error_number);
    case Stage::kGroup: return ErrnoError("make a process group for", options.arguments.front(), failure.error_number);
    case Stage::kDeathSignal:
      return ErrnoError("set the death signal of", options.arguments.front(), failure.error_number);
    case Stage::kMemory: return ErrnoError("limit the memory of", options.arguments.front(), failure.error_number);
    case Stage::kStreams: return ErrnoError("set the streams of", options.arguments.front(), failure.error_number);
  }
  return ErrnoError("start", options.arguments.front(), failure.error_number);
}

struct Pipe {
  Descriptor read;
  Descriptor write;
};
Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Fail(ErrnoError("make", "a pipe", errno));
  return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

Result<Descriptor> OpenNull() {
  Descriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return Fail(ErrnoError("open", "/dev/null", errno));
  return null;
}

Result<Descriptor> OpenLog(const fs::path& path) {
  if (path.empty()) return Descriptor();
  Descriptor log(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!log) return Fail(ErrnoError("open", path, errno));
  return log;
}

// Forks with all signals blocked, so that no handler of the parent runs in the child.
pid_t Fork(const Launch& launch) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  if (pid == 0) RunChild(launch);
  const int error_number = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error_number;
  return pid;
}

int ReapBlocking(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return 0;
  }
  return status;
}

Result<pid_t> Spawn(const ProcessOptions& options, std::array<int, 3> streams) {
  if (options.arguments.empty() || options.arguments.front().empty()) {
    return Fail(ErrorCode::kUsage, "start a program: no program was named");
  }
  TRY_ASSIGN(Pipe failures, MakePipe());
  Launch launch;
  launch.program = ProgramOf(options.arguments.front()).string();
  launch.environment = MergedEnvironment(options.environment);
  launch.argument_pointers = Pointers(options.arguments);
  launch.environment_pointers = Pointers(launch.environment);
  launch.folder = options.folder.empty() ? nullptr : options.folder.c_str();
  launch.streams = streams;
  launch.new_group = options.new_group;
  launch.max_data_bytes = options.max_data_bytes;
  launch.die_with_parent = options.die_with_parent;
  launch.parent = getpid();
  launch.failure_fd = failures.write.get();
  const pid_t pid = Fork(launch);
  if (pid < 0) return Fail(ErrnoError("start", options.arguments.front(), errno));
  failures.write.Close();
  Failure failure;
  ssize_t count = 0;
  do {
    count = read(failures.read.get(), &failure, sizeof failure);
  } while (count < 0 && errno == EINTR);
  if (count == static_cast<ssize_t>(sizeof failure)) {
    ReapBlocking(pid);
    return Fail(FailureError(failure, options));
  }
  return pid;
}

ExitStatus FromWaitStatus(int status) {
  return WIFSIGNALED(status) ? ExitStatus{0, WTERMSIG(status)} : ExitStatus{WEXITSTATUS(status), 0};
}

// Whether the child has ended; it stays a zombie, so its number cannot go to another process yet.
bool HasEnded(pid_t pid) {
  siginfo_t info{};
  int result = 0;
  do {
    result = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  } while (result != 0 && errno == EINTR);
  // ECHILD: somebody else reaped it.
  return result != 0 || info.si_pid == pid;
}

Descriptor OpenPid(pid_t pid) { return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0u))); }

// Until it ended (true) or the deadline.
bool AwaitEnd(pid_t pid, SteadyTime deadline) {
  const Descriptor handle = OpenPid(pid);
  while (!HasEnded(pid)) {
    const int left = PollTimeout(deadline);
    if (left == 0) return false;
    if (handle) {
      pollfd entry{handle.get(), POLLIN, 0};
      poll(&entry, 1, left);
    } else {
      std::this_thread::sleep_for(std::min<milliseconds>(kPollStep, milliseconds(left)));
    }
  }
  return true;
}

// One captured stream: what is beyond the bound is read and dropped, so that the child never blocks on it.
struct Capture {
  Descriptor descriptor;
  std::string* text = nullptr;
  size_t max_bytes = 0;

  // Reads what is there; closes at the end.
  void Drain() {
    std::array<char, 65536> buffer;
    while (descriptor) {
      const ssize_t count = read(descriptor.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) {
        descriptor.Close();
        return;
      }
      text->append(buffer.data(), std::min(static_cast<size_t>(count), max_bytes - text->size()));
    }
  }
};

void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

// Gathers both streams until the child ended. A grandchild may keep the pipes open beyond that: nobody waits for it.
// False at the deadline.
bool Gather(pid_t pid, std::array<Capture, 2>& captures, SteadyTime deadline) {
  const Descriptor handle = OpenPid(pid);
  while (true) {
    const bool ended = HasEnded(pid);
    for (Capture& capture : captures) capture.Drain();
    if (ended) return true;
    int left = PollTimeout(deadline);
    if (left == 0) return false;
    if (!handle) left = std::min(left, static_cast<int>(kPollStep.count()));
    // Closed ones are -1, which poll ignores.
    std::array<pollfd, 3> entries = {pollfd{captures[0].descriptor.get(), POLLIN, 0},
                                     pollfd{captures[1].descriptor.get(), POLLIN, 0}, pollfd{handle.get(), POLLIN, 0}};
    poll(entries.data(), entries.size(), left);
  }
}

}  // namespace

Result<Process> Process::Start(const ProcessOptions& options) {
  TRY_ASSIGN(const Descriptor in, OpenNull());
  TRY_ASSIGN(const Descriptor out, OpenLog(options.stdout_file));
  TRY_ASSIGN(const Descriptor err, OpenLog(options.stderr_file));
  TRY_ASSIGN(const pid_t pid, Spawn(options, {in.get(), out.get(), err.get()}));
  return Process(pid, options.new_group);
}

Process::~Process() { Kill(); }

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      own_group_(other.own_group_),
      ended_(std::exchange(other.ended_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    Kill();
    pid_ = std::exchange(other.pid_, -1);
    own_group_ = other.own_group_;
    ended_ = std::exchange(other.ended_, std::nullopt);
  }
  return *this;
}

Result<std::optional<ExitStatus>> Process::Wait(milliseconds timeout) {
  if (ended_) return ended_;
  if (pid_ < 0) return Fail(ErrorCode::kBug, "wait for a process: there is none");
  if (!AwaitEnd(pid_, DeadlineAfter(timeout))) return std::optional<ExitStatus>();
  int status = 0;
  pid_t reaped = 0;
  do {
    reaped = waitpid(pid_, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  if (reaped < 0) {
    const int error_number = errno;
    return Fail(ErrnoError("wait for process", std::to_string(std::exchange(pid_, -1)), error_number));
  }
  ended_ = FromWaitStatus(status);
  return ended_;
}

void Process::Signal(int signal) {
  if (pid_ > 0 && !ended_) kill(pid_, signal);
}

ExitStatus Process::Stop(milliseconds grace) {
  if (pid_ > 0 && !ended_) {
    kill(pid_, SIGTERM);
    AwaitEnd(pid_, DeadlineAfter(grace));
    Kill();
  }
  return ended_.value_or(ExitStatus{});
}

void Process::Kill() {
  if (pid_ <= 0 || ended_) return;
  // Not reaped yet, so neither the number nor the group's can be another's. A stopped process dies of SIGKILL too.
  if (own_group_) kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
  ended_ = FromWaitStatus(ReapBlocking(pid_));
}

Result<CommandOutput> RunCommand(const ProcessOptions& options, milliseconds timeout, size_t max_bytes) {
  const SteadyTime deadline = DeadlineAfter(timeout);
  TRY_ASSIGN(const Descriptor in, OpenNull());
  TRY_ASSIGN(Pipe out, MakePipe());
  TRY_ASSIGN(Pipe err, MakePipe());
  TRY_ASSIGN(const pid_t pid, Spawn(options, {in.get(), out.write.get(), err.write.get()}));
  Process process(pid, options.new_group);
  out.write.Close();
  err.write.Close();
  SetNonBlocking(out.read.get());
  SetNonBlocking(err.read.get());
  CommandOutput output;
  std::array<Capture, 2> captures = {Capture{std::move(out.read), &output.out, max_bytes},
                                     Capture{std::move(err.read), &output.err, max_bytes}};
  if (!Gather(pid, captures, deadline)) {
    return Fail(ErrorCode::kTimeout,
                fmt::format("run {}: it did not end within {}", options.arguments.front(),
                            HumanDuration(std::clamp(timeout, milliseconds{0}, kForever).count())));
  }
  TRY_ASSIGN(const auto status, process.Wait(milliseconds{0}));
  output.status = status.value_or(ExitStatus{});
  return output;
}

std::optional<fs::path> FindOnPath(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (const std::string& folder : Split(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    const fs::path program = fs::path(folder) / name;
    std::error_code error;
    if (program.is_absolute() && access(program.c_str(), X_OK) == 0 && fs::is_regular_file(program, error)) {
      return program;
    }
  }
  return std::nullopt;
}

fs::path ExecutableFolder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::current_path(error) : program.parent_path();
}

}  // namespace hone
