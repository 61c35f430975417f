// A worker's supervisor: speaks with the coordinator and keeps a bench at work.
//
// Two threads. The network thread (the caller of Serve) synchronizes: it tells what is held and what ended, and is told
// what is new, what to drop and what was acknowledged; nothing that takes long happens there, so a heartbeat is never
// late behind a transfer or a task. The work thread takes one lease after the other to its bench. They share a small
// state under one mutex.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/transport/keys.h"
#include "worker/supervisor/runner_host.h"

namespace hone {

struct AgentOptions {
  std::string coordinator;                  // Endpoint, as Dialer::Connect takes it.
  std::optional<DialerKeys> keys;           // The name is then that of the key.
  std::filesystem::path data_folder;
  std::string name;                         // "" = the folder's own.
  std::vector<std::string> tags;            // Beside those detected.
  uint64_t memory_bytes = 0;                // The most that a runner may use; 0: 85 % of what this machine allows.
  uint64_t cache_bytes = 0;                 // Bound of the artifact cache; 0: by the disk.
  uint64_t scratch_bytes = 0;               // The most that a task may write; 0: half of the free disk, 64 GiB at most.
  SandboxLevel least_sandbox = SandboxLevel::none;   // A machine that allows less is refused.
  RunnerHostOptions runner;

  std::chrono::milliseconds stop_grace{10000};        // For the work in hand when asked to stop; then it is returned.
  std::chrono::milliseconds farewell{2000};  // For the last reports to be acknowledged; what is not stays spooled.
  std::chrono::milliseconds longest_back_off{1000};   // Between attempts to reach a coordinator.
};

class Agent {
 public:
  // Takes the data folder, removes what an earlier process left half done, and asks a runner what this machine can do.
  // kConflict if the folder is in use; kUsage for a malformed name, tag or endpoint.
  static Result<std::unique_ptr<Agent>> Open(const AgentOptions& options);
  virtual ~Agent() = default;

  virtual const std::string& name() const = 0;

  // Works until stopped. A coordinator that is not there is waited for. Fails only where the coordinator refuses this
  // worker for good (kDenied, kRejected).
  virtual Result<> Serve() = 0;

  // The first call takes no new work and lets the work in hand end within the grace; the second returns it at once. May
  // be called from a signal handler or another thread.
  virtual void RequestStop() = 0;
};

}  // namespace hone
