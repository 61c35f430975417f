// What a process gives up before it looks at a model that somebody sent, and how much of that this machine allows.
//
// Walls, from the outside in: namespaces of its own for processes, network and IPC (the whole zygote, see
// runner_host.cc); no new privileges, no capabilities, bounded resources; a view of the file system (Landlock) that
// shows libraries, the work's own files and little else, and is writable in its scratch and output folders alone; no
// signals outside; a filter of system calls that leaves no network, no programs and nothing of the kernel's own
// affairs. Memory, processes, time and scratch are bounded by the supervisor, which sees what is used; an address-space
// limit would forbid what runtimes only reserve. docs/sandbox.md tells it to people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/supervisor/landlock.h"

namespace hone {

enum class SandboxLevel { none, partial, full };

const char* WordOf(SandboxLevel level);                       // "none", "partial", "full"

// Walls that stand or do not.
inline constexpr uint32_t kPrivileges = 1 << 0;    // No new privileges, no capabilities, bounded resources.
inline constexpr uint32_t kSystemCalls = 1 << 1;   // The filter; no network.
inline constexpr uint32_t kFiles = 1 << 2;         // The view of the file system.
inline constexpr uint32_t kSignals = 1 << 3;       // No signals to processes outside.
inline constexpr uint32_t kNamespaces = 1 << 4;    // Of its own: processes, network, IPC.
inline constexpr uint32_t kGroups = 1 << 5;  // A control group of its own; found by the supervisor (control_group.h).

struct Sandbox {
  uint32_t parts = 0;

  bool Has(uint32_t wanted) const { return (parts & wanted) == wanted; }
  // full: everything but kNamespaces and kGroups, which are second walls behind the others; partial: some of it.
  SandboxLevel level() const;
  // For people: what stands, and what does not with its reason.
  std::vector<std::string> Applied() const;
  std::vector<std::string> Missing() const;
};

// Parts that $HONE_SANDBOX_OFF turns off (names as in Applied's first words: privileges, system_calls, files, signals,
// namespaces, groups, separated by commas), for a driver that does not work behind them. They count as missing.
uint32_t PartsTurnedOff();

// What this machine allows, tried out in a child process. `standing`: parts that stand already. Single-threaded callers
// only.
Sandbox ProbeSandbox(uint32_t standing = 0);

// The files that a task is about: models and data to read, its output and cache folders to write; and what every task
// needs of the system. Makes the machine lock's files if they are missing.
FileView ViewOf(const proto::Task& task);

// Who runs the task: a worker's runner, or a person in the foreground, who may read files of other owners if root.
enum class Owner { service, person };

// Confines this process for good, and all it forks: every part that the machine allows, except those turned off. Fails
// (kEnvironment) where a part of `required` does not come to stand. Single-threaded callers only.
Result<Sandbox> ConfineThisProcess(const FileView& view, Owner owner, uint32_t required, uint32_t standing = 0);

// Keeps of the environment what runtimes are set by, and points HOME and TMPDIR to `scratch`.
void CleanEnvironment(const std::string& scratch);

}  // namespace hone
