// Child processes for programs that start others (the client its embedded daemons, tests the real binaries).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

// stdin is /dev/null; descriptors beyond the three streams are closed; signals are at their defaults.
struct ProcessOptions {
  std::vector<std::string> arguments;              // [0] is the program's path; a bare name is looked up in PATH.
  std::map<std::string, std::string> environment;  // Added to (or replacing) the parent's.
  std::filesystem::path folder;                    // Working folder; empty: the parent's.
  std::filesystem::path stdout_file;               // Empty: inherited. Appended to.
  std::filesystem::path stderr_file;               // Empty: inherited.
  bool new_group = true;                           // Own process group, so that a terminal's Ctrl-C does not reach it.
  uint64_t max_data_bytes = 0;  // RLIMIT_DATA: of its heap and its other private memory; 0: the parent's.
  bool die_with_parent = true;  // PR_SET_PDEATHSIG SIGTERM: it goes when the thread that started it ends.
};

struct ExitStatus {
  int code = 0;     // Of a normal exit.
  int signal = 0;   // Not 0: ended by this signal.
};

struct CommandOutput;

// A running child. Movable; the destructor kills (SIGKILL to the group) and reaps what still runs. One thread at a
// time.
class Process {
 public:
  static Result<Process> Start(const ProcessOptions& options);
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  pid_t pid() const { return pid_; }
  // Waits at most `timeout`; empty while it still runs.
  Result<std::optional<ExitStatus>> Wait(std::chrono::milliseconds timeout);
  // Sends a signal to the child alone.
  void Signal(int signal);
  // SIGTERM to the child; once it ended, or after `grace`, SIGKILL to what is left of its group; reaps it.
  ExitStatus Stop(std::chrono::milliseconds grace);

 private:
  friend Result<CommandOutput> RunCommand(const ProcessOptions& options, std::chrono::milliseconds timeout,
                                          size_t max_bytes);
  Process(pid_t pid, bool own_group) : pid_(pid), own_group_(own_group) {}
  void Kill();
  pid_t pid_ = -1;
  bool own_group_ = false;
  std::optional<ExitStatus> ended_;
};

struct CommandOutput {
  ExitStatus status;
  std::string out;   // The first max_bytes of each; what is beyond is dropped.
  std::string err;
};
// Runs to the end (or kills at the timeout: kTimeout) with stdin from /dev/null and both streams captured.
Result<CommandOutput> RunCommand(const ProcessOptions& options, std::chrono::milliseconds timeout,
                                 size_t max_bytes = 16 << 20);

// The program of that name in a folder of PATH (/usr/local/bin:/usr/bin:/bin without one); relative folders are passed over:
// what they mean changes with the working folder.
std::optional<std::filesystem::path> FindOnPath(const std::string& name);

// The folder of the running executable.
std::filesystem::path ExecutableFolder();

}  // namespace hone
