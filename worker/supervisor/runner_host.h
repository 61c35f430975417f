// Keeps runners: starts them through the zygote, holds them to their limits and tells how they ended. Never parses what
// they work on.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/supervisor/control_group.h"
#include "worker/supervisor/sandbox.h"
#include "worker/supervisor/stop_signal.h"

namespace hone {

struct RunLimits {
  std::chrono::milliseconds timeout{0};    // 0: none. Waiting for the machine lock does not count.
  std::chrono::milliseconds stall{0};      // Longest time without using a processor or writing anything; 0: for ever.
  uint64_t scratch_bytes = 0;              // Of scratch and output folders and files without a name; 0: no bound.
  uint64_t scratch_files = 200'000;
  uint64_t memory_bytes = 0;               // Of the runner and all it starts; 0: none.
  size_t processes = 1024;                 // More is a fork bomb: a runner needs a handful.
  uint64_t output_bytes = 64 << 20;        // The output file is emptied past this.
};

// How a run ended.
struct RunOutcome {
  enum class End { kResult, kCrashed, kTimedOut, kOutOfMemory, kScratchFull, kStopped };
  End end = End::kCrashed;
  proto::TaskResult result;       // kResult
  int signal = 0;                 // kCrashed: not 0 where a signal ended it.
  int exit_status = 0;
  std::string explanation;        // For people; "" with kResult.
  std::string output_tail;        // The last 64 KiB of its output.
  int64_t wall_ms = 0;
  uint64_t peak_memory_bytes = 0;
};

struct RunnerHostOptions {
  std::filesystem::path program = "/proc/self/exe";   // Must lead to RunAsZygote when given kZygoteFlag.
};

// One thread at a time (any thread). The destructor ends the zygote and whatever runs.
class RunnerHost {
 public:
  // Starts the zygote. kEnvironment if the machine does not allow it.
  static Result<std::unique_ptr<RunnerHost>> Start(const RunnerHostOptions& options = {});
  ~RunnerHost();

  // Executes a task in `folder`, which exists and is the runner's own. Returns once the runner and everything it
  // started are gone: at the latest a second after a limit was passed or `stop` was given. A zygote that died is
  // replaced. Fails only where the work could not be started (kEnvironment, kExhausted).
  Result<RunOutcome> Run(const proto::Task& task, const std::filesystem::path& folder, const RunLimits& limits,
                         const StopSignal& stop);

  // What every runner is confined by, found out by trying.
  const Sandbox& sandbox() const;

  // Of the zygote, for tests.
  pid_t zygote_pid() const;

 private:
  class Zygote;
  class Watch;
  void FindGroups();
  Result<RunOutcome> RunOnce(const proto::Task& task, const std::filesystem::path& folder, const RunLimits& limits,
                             const StopSignal& stop, bool& never_began);
  explicit RunnerHost(const RunnerHostOptions& options);
  Result<> EnsureZygote();

  const RunnerHostOptions options_;
  std::unique_ptr<Zygote> zygote_;
  std::unique_ptr<ControlGroups> groups_;   // nullptr where this machine gives none.
  Sandbox sandbox_;                // Of the first zygote; later ones must allow as much.
  bool started_ = false;
  uint64_t next_id_ = 1;
};

}  // namespace hone
