// The zygote: a process without threads that forks a runner for each task, so that loading the runtimes' libraries is
// paid once.
//
//   supervisor --(SOCK_SEQPACKET: run [+ the entrance of a control group], kill)--> zygote --fork--> runner (own
//   session and process group) --> what it forks
//              <--(started, ended, refused)----
//
// The zygote is the subreaper of everything that runners fork, so a process that leaves its group or outlives its
// parent comes back to it and is killed with the rest. Ended is told only after the runner's whole family is gone. When
// the supervisor's end of the socket closes, the zygote kills all runners and ends. Where the machine allows it, the
// zygote is the first process of a process namespace (and has a network and an IPC namespace of its own): then its
// death is the kernel's kill of everything beneath it, and process numbers that it tells are its own, not the
// supervisor's.
//
// The zygote's first word is ready, with the walls that every runner will stand behind (sandbox.h). A runner behind
// which one of them does not come to stand works on nothing: its result is that error.
#pragma once

#include <climits>
#include <cstdint>
#include <type_traits>

#include "proto/work.pb.h"

namespace hone {

// Executes one task in the runner process.
using TaskFunction = proto::TaskResult (*)(const proto::Task& task);

// The command-line word after which the zygote finds its descriptor: `program --zygote-fd 5`.
inline constexpr char kZygoteFlag[] = "--zygote-fd";

// Files of a work folder. The runner sees the folder and may write to scratch alone (and where its task says); it
// starts there, and its temporary files go there.
inline constexpr char kRequestFile[] = "request.pb";   // proto::Task, written by the supervisor.
inline constexpr char kOutputFile[] = "output.log";    // The runner's stdout and stderr.
inline constexpr char kScratchFolder[] = "scratch";
inline constexpr char kResultFile[] = "result.pb";  // In scratch: proto::TaskResult, renamed into place by the runner.

inline constexpr uint64_t kMaxTaskBytes = 256 << 20;   // Of request and result files.

struct ZygoteRequest {
  enum Kind : uint32_t { kRun = 1, kKill = 2 };
  uint32_t kind = 0;
  uint64_t id = 0;                // Names the runner in later messages.
  char folder[PATH_MAX] = {};     // kRun: the work folder, absolute.
};

struct ZygoteEvent {
  enum Kind : uint32_t { kStarted = 1, kEnded = 2, kRefused = 3, kReady = 4 };
  uint32_t kind = 0;
  uint64_t id = 0;
  int32_t pid = 0;                // Of the runner, also its process group; in the zygote's own namespace.
  uint32_t parts = 0;             // kReady: of a Sandbox.
  int32_t status = 0;             // kEnded: as wait(2) tells.
  int32_t error_number = 0;       // kRefused: of fork.
  int32_t unkillable = 0;         // kEnded: processes that did not die within two seconds.
  uint64_t peak_resident_bytes = 0;
};
static_assert(std::is_trivially_copyable_v<ZygoteRequest> && std::is_trivially_copyable_v<ZygoteEvent>);

// The zygote's life; returns its exit status. Must be called first thing in main, before any thread exists.
int ZygoteMain(int descriptor, TaskFunction task);

// If the arguments ask for a zygote, runs it and returns true with its exit status; for the first line of main.
bool RunAsZygote(int argument_count, char** arguments, TaskFunction task, int& exit_status);

}  // namespace hone
