#include "tests/agent/poison.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

// Writes the pids of what it starts, one a line, to the work folder.
void NotePid(pid_t pid) {
  const int file = open("pids", O_WRONLY | O_CREAT | O_APPEND, 0600);
  const std::string line = fmt::format("{}\n", pid);
  [[maybe_unused]] const ssize_t written = write(file, line.data(), line.size());
  close(file);
}

void StartSleeper(bool own_session) {
  const pid_t pid = fork();
  if (pid != 0) {
    NotePid(pid);
    return;
  }
  if (own_session) {
    setsid();
    if (fork() != 0) _exit(0);  // A daemon's second fork.
    NotePid(getpid());
  }
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
  NotePid(getpid());
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

std::string TryNetwork(int family) {
  const int opened = socket(family, SOCK_STREAM, 0);
  if (opened >= 0) return "open";
  return std::strerror(errno);
}

proto::TaskResult LookAround(const proto::BuildTask&) {
  const char* const temporary = getenv("TMPDIR");
  return Notes({fmt::format("network {}", TryNetwork(AF_INET)), fmt::format("network6 {}", TryNetwork(AF_INET6)),
                fmt::format("unix {}", TryNetwork(AF_UNIX)), fmt::format("folder {}", std::filesystem::current_path().string()),
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
