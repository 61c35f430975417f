// One coordinator and one worker as children of this process: what `hone optimize` searches with. Their state lies in
// one folder and outlives them, so that a second run finds earlier builds and an interrupted job.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "client/client.h"
#include "common/base/file.h"
#include "common/base/subprocess.h"

namespace hone {

struct FleetOptions {
  std::filesystem::path state;               // Exists. The coordinator's data, worker/, both logs, a lock.
  std::optional<uint64_t> threads;           // Cores that the worker may use; all allowed ones without it.
  std::function<void(const std::string&)> note;  // Told when a daemon had to be started again.
};

// Not thread-safe. The destructor stops what runs.
class EmbeddedFleet {
 public:
  // Both are up and know each other when it returns. kConflict where another process holds the state folder, kFailed
  // with the end of the log for a daemon that ends early, kInterrupted on Ctrl-C.
  static Result<std::unique_ptr<EmbeddedFleet>> Start(const FleetOptions& options);
  ~EmbeddedFleet();

  Client& client() { return *client_; }
  // Starts a daemon again that died; kFailed when it keeps dying.
  Result<> Tend();
  // SIGTERM, and SIGKILL after a few seconds; worker first, so that it can return its lease.
  void Stop();

 private:
  struct Daemon {
    std::string name;                        // The program's.
    ProcessOptions options;
    std::optional<Process> process;
    int restarts = 0;
  };
  explicit EmbeddedFleet(FleetOptions options) : options_(std::move(options)) {}
  Result<> LockState();
  Result<> StartCoordinator();
  Result<> StartWorker();
  Result<> Launch(Daemon& daemon);
  Result<> LaunchWorker();
  Result<> Revive(Daemon& daemon, Result<> (EmbeddedFleet::*launch)());
  Result<> LaunchCoordinator() { return Launch(coordinator_); }
  Result<> AwaitReady();
  Result<> AwaitWorker();
  Result<> RetryIfInUse(Daemon& daemon, const ExitStatus& status, int64_t since_ms,
                        Result<> (EmbeddedFleet::*launch)());
  Error EarlyEnd(const Daemon& daemon, const ExitStatus& status) const;

  FleetOptions options_;
  int lock_fd_ = -1;
  std::optional<ScopedFolder> sockets_;
  std::string endpoint_;
  std::filesystem::path ready_file_;
  std::optional<Client> client_;
  Daemon coordinator_;
  Daemon worker_;
};

}  // namespace hone
