#include "worker/supervisor/zygote.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/transport/transport.h"
#include "worker/external/declarations.h"
#include "worker/supervisor/passed_descriptor.h"
#include "worker/supervisor/process_tree.h"
#include "worker/supervisor/sandbox.h"

namespace hone {
namespace {

constexpr int kRunnerBroken = 70;              // Exit status of a runner that could not do its part.
constexpr int64_t kFamilyDeadlineMs = 2000;    // SIGKILL takes effect at once, save for a process stuck in a driver.
constexpr size_t kFamilyLimit = 1 << 20;

[[noreturn]] void RunnerFailed(std::string_view what) {
  fmt::print(stderr, "runner: {}\n", what);
  std::fflush(nullptr);
  _exit(kRunnerBroken);
}

// --- in the runner
// -------------------------------------------------------------------------------------------------------------

void RedirectStreams(const std::string& folder) {
  const int null = open("/dev/null", O_RDONLY);
  const int log = open((folder + "/" + kOutputFile).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  if (null < 0 || log < 0) _exit(kRunnerBroken);
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
}

void RestoreSignals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

proto::Task ReadTask(const std::string& folder) {
  const auto bytes = ReadFile(std::filesystem::path(folder) / kRequestFile, kMaxTaskBytes);
  if (!bytes) RunnerFailed(bytes.error().message);
  proto::Task task;
  if (!task.ParseFromString(*bytes)) RunnerFailed("request.pb holds no task");
  return task;
}

proto::TaskResult Refusal(const Error& error) {
  proto::TaskResult result;
  *result.mutable_error() = ToProto(error);
  return result;
}

// The life of a runner. It ends by _exit: destructors of runtimes that were interrupted in the middle have nothing to
// add.
[[noreturn]] void RunnerMain(const std::string& folder, int group, pid_t zygote, TaskFunction task,
                             const Sandbox& promised, uint32_t standing) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != zygote) _exit(kRunnerBroken);  // It died before the line above.
  RedirectStreams(folder);
  if (group >= 0 && write(group, "0", 1) != 1)
    RunnerFailed(fmt::format("join the control group: {}", std::strerror(errno)));
  close_range(3, ~0U, 0);
  RestoreSignals();
  const std::string scratch = folder + "/" + kScratchFolder;
  if (chdir(scratch.c_str()) != 0) RunnerFailed(fmt::format("enter {}: {}", scratch, std::strerror(errno)));
  const proto::Task request = ReadTask(folder);
  FileView view = ViewOf(request);
  view.Write(scratch);
  CleanEnvironment(scratch);
  proto::TaskResult result;
  try {
    const auto confined = ConfineThisProcess(view, Owner::service, promised.parts, standing);
    view = {};  // The places need not stay open.
    result = confined ? task(request) : Refusal(confined.error());
  } catch (const std::exception& exception) {
    RunnerFailed(fmt::format("the task threw: {}", exception.what()));
  }
  if (const auto written = WriteFile(std::filesystem::path(scratch) / kResultFile, result.SerializeAsString());
      !written) {
    RunnerFailed(written.error().message);
  }
  std::fflush(nullptr);
  _exit(0);
}

// --- in the zygote
// -------------------------------------------------------------------------------------------------------------

class Zygote {
 public:
  Zygote(int socket, TaskFunction task) : socket_(socket), task_(task) {}

  int Main() {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "hone-zygote");
    ListenToSignals();
    sandbox_ = ProbeSandbox(standing_);
    ZygoteEvent ready;
    ready.kind = ZygoteEvent::kReady;
    ready.parts = sandbox_.parts;
    if (!Tell(ready)) return EXIT_FAILURE;
    for (;;) {
      pollfd waiting[2] = {{socket_, POLLIN, 0}, {signals_, POLLIN, 0}};
      if (poll(waiting, 2, -1) < 0 && errno != EINTR) return EXIT_FAILURE;
      if (waiting[1].revents != 0) DrainSignals();
      Reap();
      if (waiting[0].revents != 0 && !HandleRequest()) break;
    }
    KillAll();
    return EXIT_SUCCESS;
  }

 private:
  // A terminal's Ctrl-C and a service manager's SIGTERM reach the zygote too; only the supervisor decides when it ends.
  void ListenToSignals() {
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, SIG_IGN);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, nullptr);
    signals_ = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
  }

  void DrainSignals() {
    signalfd_siginfo information;
    while (read(signals_, &information, sizeof(information)) > 0) {
    }
  }

  bool HandleRequest() {
    ZygoteRequest request;
    Descriptor group;
    const ssize_t got = ReceiveWithDescriptor(socket_, &request, sizeof(request), group);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got != static_cast<ssize_t>(sizeof(request))) return false;  // 0: the supervisor is gone.
    if (request.kind == ZygoteRequest::kRun) return StartRunner(request, group.get());
    for (const auto& [pid, id] : runners_) {
      if (id == request.id) KillGroup(pid);
    }
    return true;
  }

  bool StartRunner(const ZygoteRequest& request, int group) {
    const std::string folder(request.folder, strnlen(request.folder, sizeof(request.folder)));
    const pid_t self = getpid();
    const pid_t pid = fork();
    if (pid == 0) RunnerMain(folder, group, self, task_, sandbox_, standing_);
    ZygoteEvent event;
    event.id = request.id;
    if (pid < 0) {
      event.kind = ZygoteEvent::kRefused;
      event.error_number = errno;
    } else {
      event.kind = ZygoteEvent::kStarted;
      event.pid = pid;
      runners_[pid] = request.id;
    }
    return Tell(event);
  }

  // The runner may not have made its group yet, so it is named as well.
  static void KillGroup(pid_t leader) {
    kill(-leader, SIGKILL);
    kill(leader, SIGKILL);
  }

  bool Tell(const ZygoteEvent& event) {
    ssize_t sent = 0;
    do {
      sent = send(socket_, &event, sizeof(event), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(sizeof(event));
  }

  // Looks before it reaps: while the dead leader is a zombie nobody else can get its number, so the kill of its group
  // hits the right one.
  void Reap() {
    for (;;) {
      siginfo_t ended{};
      if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
      if (const auto runner = runners_.find(ended.si_pid); runner != runners_.end()) {
        EndRunner(runner->first, runner->second);
      } else {
        waitpid(ended.si_pid, nullptr, WNOHANG);
      }
    }
  }

  void EndRunner(pid_t pid, uint64_t id) {
    kill(-pid, SIGKILL);
    ZygoteEvent event;
    event.kind = ZygoteEvent::kEnded;
    event.id = id;
    event.pid = pid;
    rusage usage{};
    wait4(pid, &event.status, 0, &usage);
    event.peak_resident_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
    runners_.erase(pid);
    event.unkillable = KillOrphans();
    Tell(event);
  }

  // Kills what dead runners left behind, again and again until none is left: killing one hands its children to us.
  // Returns how many would not die.
  int KillOrphans() {
    const int64_t deadline = SystemClock().SteadyMs() + kFamilyDeadlineMs;
    for (;;) {
      const int alive = first_of_namespace_ ? KillNamespace() : KillStrays();
      if (alive == 0 || SystemClock().SteadyMs() > deadline) return alive;
      pollfd waiting{signals_, POLLIN, 0};
      poll(&waiting, 1, 5);
      DrainSignals();
    }
  }

  // A child that is no runner and stays in no living runner's session is what a dead runner left behind.
  int KillStrays() {
    int alive = 0;
    for (const pid_t child : ChildrenOf(getpid())) {
      if (runners_.contains(child) || runners_.contains(getsid(child))) continue;
      kill(child, SIGKILL);
      if (waitpid(child, nullptr, WNOHANG) != child) ++alive;
    }
    return alive;
  }

  // One call kills all of the namespace but its first process. While another runner lives, what this one left waits for
  // that one's end.
  int KillNamespace() {
    if (!runners_.empty()) return 0;
    kill(-1, SIGKILL);
    pid_t reaped = 0;
    while ((reaped = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    return reaped == 0 ? 1 : 0;  // Negative: no child is left.
  }

  void KillAll() {
    for (const auto& [pid, id] : runners_) KillGroup(pid);
    if (!first_of_namespace_) {
      for (const pid_t descendant : DescendantsOf(getpid(), kFamilyLimit)) kill(descendant, SIGKILL);
    }
    runners_.clear();
    KillOrphans();
  }

  const int socket_;
  const TaskFunction task_;
  const bool first_of_namespace_ = getpid() == 1;
  const uint32_t standing_ = first_of_namespace_ ? kNamespaces : 0;
  Sandbox sandbox_;
  int signals_ = -1;
  std::map<pid_t, uint64_t> runners_;  // Living runners and their ids.
};

}  // namespace

int ZygoteMain(int descriptor, TaskFunction task) { return Zygote(descriptor, task).Main(); }

bool RunAsZygote(int argument_count, char** arguments, TaskFunction task, int& exit_status) {
  if (argument_count != 3 || std::string_view(arguments[1]) != kZygoteFlag) return false;
  const int descriptor = std::atoi(arguments[2]);
  fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  // Children know the declared programs by what is loaded here: none of them may read the file.
  const char* declared = std::getenv(kExternalPassesVariable);
  const auto loaded = LoadExternalPasses(declared == nullptr ? "" : declared);
  if (loaded) {
    for (const std::string& failure : ProbeExternalPasses()) spdlog::warn("{}", failure);
  } else {
    spdlog::error("{}", loaded.error().message);
  }
  exit_status = ZygoteMain(descriptor, task);
  return true;
}

}  // namespace hone
