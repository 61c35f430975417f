#include "tests/agent/poison.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string_view>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "worker/supervisor/zygote.h"

namespace hone {
namespace {

proto::TaskResult Notes(std::initializer_list<std::string> notes) {
  proto::TaskResult result;
  for (const std::string& note : notes) result.mutable_build()->add_notes(note);
  return result;
}

void DieBy(int signal) {
  std::signal(signal, SIG_DFL);  // Sanitizers catch some.
  raise(signal);
}

proto::TaskResult Segfault(const proto::BuildTask&) {
  DieBy(SIGSEGV);
  return {};
}

proto::TaskResult Abort(const proto::BuildTask&) {
  fmt::print(stderr, "about to abort\n");
  DieBy(SIGABRT);
  return {};
}

proto::TaskResult Terminate(const proto::BuildTask&) {
  DieBy(SIGTERM);
  return {};
}

proto::TaskResult ExitWithoutResult(const proto::BuildTask&) { _exit(0); }
proto::TaskResult ExitWithStatus(const proto::BuildTask&) { _exit(3); }

proto::TaskResult Throw(const proto::BuildTask&) { throw std::runtime_error("thrown on purpose"); }

proto::TaskResult Garbage(const proto::BuildTask&) {
  (void)WriteFile(std::filesystem::current_path() / kResultFile, "\xff\xff no message");
  _exit(0);
}

proto::TaskResult Loop(const proto::BuildTask&) {
  volatile unsigned turns = 0;
  for (;;) {
    const unsigned next = turns + 1;
    turns = next;
  }
}

// Takes 8 MiB at a time, touching every page, for ever.
proto::TaskResult Hog(const proto::BuildTask&) {
  constexpr size_t bytes = 8 << 20;
  for (;;) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) _exit(1);
    std::memset(memory, 1, bytes);
    usleep(5000);  // So that the test's machine stays far from its own limit between two looks.
  }
}

// The memory is held by children, each far below the limit.
proto::TaskResult HogTogether(const proto::BuildTask& task) {
  for (int i = 0; i < 4; ++i) {
    if (fork() != 0) continue;
    constexpr size_t bytes = 40 << 20;
    std::memset(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, bytes);
    for (;;) pause();
  }
  return Loop(task);
}

// Writes the pid of the calling process, as the machine counts and not its namespace, to the work folder.
void NotePid() {
  char own[32] = {};
  [[maybe_unused]] const ssize_t got = readlink("/proc/self", own, sizeof own - 1);
  const int file = open("pids", O_WRONLY | O_CREAT | O_APPEND, 0600);
  const std::string line = fmt::format("{}\n", own);
  [[maybe_unused]] const ssize_t written = write(file, line.data(), line.size());
  close(file);
}

void StartSleeper(bool own_session) {
  int ready[2];
  if (pipe(ready) != 0) _exit(1);
  if (fork() != 0) {
    char byte = 0;
    close(ready[1]);
    [[maybe_unused]] const ssize_t got = read(ready[0], &byte, 1);  // It has noted itself.
    close(ready[0]);
    return;
  }
  if (own_session) {
    setsid();
    if (fork() != 0) _exit(0);  // A daemon's second fork.
  }
  NotePid();
  close(ready[0]);
  [[maybe_unused]] const ssize_t told = write(ready[1], "x", 1);
  close(ready[1]);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) std::signal(number, SIG_IGN);
  for (;;) pause();
}

proto::TaskResult LeaveFamily(const proto::BuildTask&) {
  StartSleeper(false);
  StartSleeper(false);
  return Notes({"left two behind"});
}

proto::TaskResult LeaveDaemon(const proto::BuildTask&) {
  StartSleeper(true);
  while (!std::filesystem::exists("pids")) usleep(1000);
  return Notes({"left a daemon behind"});
}

proto::TaskResult LoopNoted(const proto::BuildTask& task) {
  NotePid();
  return Loop(task);
}

proto::TaskResult LoopWithFamily(const proto::BuildTask& task) {
  StartSleeper(false);
  StartSleeper(true);
  return Loop(task);
}

proto::TaskResult Bomb(const proto::BuildTask&) {
  for (;;) {
    if (fork() == 0) {
      for (;;) pause();
    }
    usleep(500);
  }
}

proto::TaskResult Flood(const proto::BuildTask&) {
  const std::string line(1023, 'x');
  for (int i = 0; i < 20'000; ++i) std::puts(line.c_str());
  std::puts("the last line");
  return Notes({"flooded"});
}

proto::TaskResult Refuse(const proto::BuildTask&) {
  proto::TaskResult result;
  result.mutable_error()->set_code(proto::Error::REJECTED);
  result.mutable_error()->set_message("the model is no model");
  return result;
}

proto::TaskResult WrongKind(const proto::BuildTask&) {
  proto::TaskResult result;
  result.mutable_inspect()->set_format("onnx");
  return result;
}

// --- scratch, memory and time
// ------------------------------------------------------------------------------------------------------

// Fills a file for ever, slowly enough that it is seen long before the disk is full.
void FillFile(int file) {
  const std::string block(1 << 20, 'x');
  for (;;) {
    if (write(file, block.data(), block.size()) < 0) _exit(1);
    usleep(5000);
  }
}

proto::TaskResult FillScratch(const proto::BuildTask&) {
  FillFile(open("filling", O_WRONLY | O_CREAT, 0600));
  return {};
}

// The file has no name any more, so no look at the folder shows it.
proto::TaskResult FillNameless(const proto::BuildTask&) {
  const int file = open("filling", O_WRONLY | O_CREAT, 0600);
  unlink("filling");
  FillFile(file);
  return {};
}

// Memory that is mapped nowhere.
proto::TaskResult FillMemoryFile(const proto::BuildTask&) {
  FillFile(memfd_create("hog", 0));
  return {};
}

proto::TaskResult ManyFiles(const proto::BuildTask&) {
  for (int i = 0;; ++i) close(open(fmt::format("file-{}", i).c_str(), O_WRONLY | O_CREAT, 0600));
}

proto::TaskResult StandStill(const proto::BuildTask&) {
  for (;;) pause();
}

// Takes the machine lock alone and says so.
proto::TaskResult WaitForMachine(const proto::BuildTask&) {
  auto lock = MachineLock::Open(MachineLock::DefaultPath());
  if (!lock || !lock->Exclusive()) return Notes({"no lock"});
  return Notes({"had the machine alone"});
}

// Waits for the machine lock that its own child holds.
proto::TaskResult WaitForOwnChild(const proto::BuildTask& task) {
  int held[2];
  if (pipe(held) != 0) _exit(1);
  if (fork() == 0) {
    auto lock = MachineLock::Open(MachineLock::DefaultPath());
    if (!lock || !lock->Exclusive()) _exit(1);
    [[maybe_unused]] const ssize_t told = write(held[1], "x", 1);
    for (;;) pause();
  }
  char byte = 0;
  [[maybe_unused]] const ssize_t got = read(held[0], &byte, 1);
  return WaitForMachine(task);
}

// --- what lies outside
// -------------------------------------------------------------------------------------------------------------

std::string Told(std::string_view what, bool done) {
  return fmt::format("{}: {}", what, done ? "DONE" : std::strerror(errno));
}

bool Connects(const sockaddr_un& address, socklen_t length) {
  const int end = socket(AF_UNIX, SOCK_STREAM, 0);
  return end >= 0 && connect(end, reinterpret_cast<const sockaddr*>(&address), length) == 0;
}

bool ConnectsTo(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return Connects(address, sizeof address);
}

// A datagram of a connected pair, sent elsewhere.
bool SendsTo(const std::string& path) {
  int ends[2];
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0 &&
         sendto(ends[0], "x", 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 1;
}

// The first parameter names a folder that holds what the runner must not reach, the second the supervisor's process.
proto::TaskResult ReachOut(const proto::BuildTask& task) {
  const std::string outside = task.step().parameters(0).name();
  const auto supervisor = static_cast<pid_t>(std::stol(task.step().parameters(1).name()));
  const std::string secret = outside + "/secret";
  char* const arguments[] = {const_cast<char*>("true"), nullptr};
  proto::TaskResult result;
  const auto add = [&](std::string_view what, bool done) { result.mutable_build()->add_notes(Told(what, done)); };
  add("read", open(secret.c_str(), O_RDONLY) >= 0);
  add("read its link", symlink(secret.c_str(), "link") == 0 && open("link", O_RDONLY) >= 0);
  add("link", link(secret.c_str(), "hard_link") == 0);
  add("write", open(secret.c_str(), O_WRONLY) >= 0);
  add("truncate", truncate(secret.c_str(), 0) == 0);
  add("open and truncate", open(secret.c_str(), O_RDONLY | O_TRUNC) >= 0);
  add("create", open((outside + "/new").c_str(), O_WRONLY | O_CREAT, 0600) >= 0);
  add("create beside scratch", open("../new", O_WRONLY | O_CREAT, 0600) >= 0);
  add("remove", unlink(secret.c_str()) == 0);
  add("rename", rename(secret.c_str(), "taken") == 0);
  add("list", opendir(outside.c_str()) != nullptr);
  add("change mode", chmod(secret.c_str(), 0777) == 0);
  add("change times", utimensat(AT_FDCWD, secret.c_str(), nullptr, 0) == 0);
  add("password file", open("/etc/shadow", O_RDONLY) >= 0);
  add("environment", open(fmt::format("/proc/{}/environ", supervisor).c_str(), O_RDONLY) >= 0);
  add("memory", open(fmt::format("/proc/{}/mem", supervisor).c_str(), O_RDONLY) >= 0);
  add("signal", kill(supervisor, SIGUSR1) == 0);
  add("signal its parent", kill(getppid(), SIGUSR1) == 0);
  add("execute", execv("/bin/true", arguments) == 0);
  add("trace", ptrace(PTRACE_SEIZE, supervisor, nullptr, nullptr) == 0);
  add("namespace", unshare(CLONE_NEWUSER) == 0);
  add("unix socket", ConnectsTo(outside + "/socket"));
  add("unix datagram", SendsTo(outside + "/datagrams"));
  return result;
}

std::string TryNetwork(int family) {
  const int opened = socket(family, SOCK_STREAM, 0);
  if (opened >= 0) return "open";
  return std::strerror(errno);
}

proto::TaskResult LookAround(const proto::BuildTask&) {
  const char* const temporary = getenv("TMPDIR");
  return Notes({fmt::format("network {}", TryNetwork(AF_INET)), fmt::format("network6 {}", TryNetwork(AF_INET6)),
                fmt::format("unix {}", TryNetwork(AF_UNIX)),
                fmt::format("folder {}", std::filesystem::current_path().string()),
                fmt::format("tmpdir {}", temporary == nullptr ? "" : temporary),
                fmt::format("leader {}", getpgrp() == getpid() && getsid(0) == getpid()),
                fmt::format("privileges {}", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))});
}

// The well-behaved one: writes "built from <model>" and says so.
proto::TaskResult Build(const proto::BuildTask& task) {
  const auto input = ReadFile(PathIn(task.model().folder(), task.model().bundle().files(0)), 1 << 20);
  proto::TaskResult result;
  if (!input) {
    result.mutable_error()->set_message(input.error().message);
    return result;
  }
  const std::string bytes = "built from " + *input;
  (void)WriteFile(std::filesystem::path(task.output_folder()) / "model.onnx", bytes);
  proto::Bundle& bundle = *result.mutable_build()->mutable_model();
  bundle.set_format("onnx");
  bundle.set_main("model.onnx");
  proto::File& file = *bundle.add_files();
  file.set_path("model.onnx");
  file.set_digest(DigestOf(bytes));
  file.set_size_bytes(bytes.size());
  return result;
}

// Says it built a file, and puts a link to somebody else's in its place.
proto::TaskResult BuildLink(const proto::BuildTask& task) {
  proto::TaskResult result = Build(task);
  const std::filesystem::path path = std::filesystem::path(task.output_folder()) / "model.onnx";
  std::filesystem::rename(path, path.string() + ".real");
  std::filesystem::create_symlink(path.string() + ".real", path);
  return result;
}

proto::TaskResult Escape(const proto::BuildTask& task) {
  proto::TaskResult result = Build(task);
  result.mutable_build()->mutable_model()->mutable_files(0)->set_path("../../escaped");
  result.mutable_build()->mutable_model()->set_main("../../escaped");
  return result;
}

struct PoisonRow {
  std::string_view name;
  proto::TaskResult (*run)(const proto::BuildTask& task);
};
constexpr PoisonRow kPoisons[] = {
    {"segfault", Segfault},
    {"abort", Abort},
    {"terminate", Terminate},
    {"exit_without_result", ExitWithoutResult},
    {"exit_with_status", ExitWithStatus},
    {"throw", Throw},
    {"garbage", Garbage},
    {"loop", Loop},
    {"hog", Hog},
    {"hog_together", HogTogether},
    {"leave_family", LeaveFamily},
    {"leave_daemon", LeaveDaemon},
    {"loop_noted", LoopNoted},
    {"loop_with_family", LoopWithFamily},
    {"bomb", Bomb},
    {"flood", Flood},
    {"refuse", Refuse},
    {"wrong_kind", WrongKind},
    {"look_around", LookAround},
    {"fill_scratch", FillScratch},
    {"fill_nameless", FillNameless},
    {"fill_memory_file", FillMemoryFile},
    {"many_files", ManyFiles},
    {"stand_still", StandStill},
    {"wait_for_machine", WaitForMachine},
    {"wait_for_own_child", WaitForOwnChild},
    {"reach_out", ReachOut},
    {"build", Build},
    {"build_link", BuildLink},
    {"escape", Escape},
};

proto::TaskResult Measured(const proto::MeasureTask& task) {
  proto::TaskResult result;
  proto::Metric& metric = *result.mutable_measure()->add_metrics();
  metric.set_name("latency_ms_p50");
  metric.set_value(1.5);
  result.mutable_measure()->add_notes(task.has_baseline() ? "with baseline" : "alone");
  return result;
}

}  // namespace

proto::TaskResult PoisonTask(const proto::Task& task) {
  proto::TaskResult result;
  if (task.has_catalogue()) {
    result.mutable_catalogue()->add_tags("cpu");
    return result;
  }
  if (task.has_measure()) return Measured(task.measure());
  for (const PoisonRow& row : kPoisons) {
    if (row.name == task.build().step().pass()) return row.run(task.build());
  }
  result.mutable_error()->set_message("no such poison: " + task.build().step().pass());
  return result;
}

proto::Task PoisonRequest(const std::string& name) {
  proto::Task task;
  task.mutable_build()->mutable_step()->set_pass(name);
  return task;
}

}  // namespace hone
