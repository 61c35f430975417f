// Whether a family of processes gets on, judged from outside: it uses a processor, writes, or waits for the machine to
// be free.
//
// Waiting for the machine lock is nobody's fault: that time counts neither as a standstill nor against the time that
// the work has. It is read from the kernel's own list (/proc/locks), not from what the work says: a member of the
// family waits for one of the lock's files, somebody outside the family holds it, and the family uses no processor
// meanwhile.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace hone {

// Who outside the family holds a lock file that a member waits for; empty where nobody waits.
std::optional<pid_t> HolderWaitedFor(const std::vector<std::filesystem::path>& lock_files,
                                     const std::vector<pid_t>& family);

// Looks must come in order of time. One thread.
class Progress {
 public:
  explicit Progress(std::vector<std::filesystem::path> lock_files) : lock_files_(std::move(lock_files)) {}

  // written: any count that grows with what the family writes.
  void Look(const std::vector<pid_t>& family, uint64_t written, int64_t now_ms);

  // Since the last sign of progress or waiting; 0 before the first look.
  int64_t StandstillMs(int64_t now_ms) const { return since_ms_ ? now_ms - *since_ms_ : 0; }
  // In all, spent waiting for the machine.
  int64_t WaitedMs() const { return waited_ms_; }
  // Whom the family waits for now.
  std::optional<pid_t> holder() const { return holder_; }

 private:
  const std::vector<std::filesystem::path> lock_files_;
  std::optional<int64_t> since_ms_;   // The last sign of progress ...
  uint64_t processor_ms_ = 0;         // ... and what the figures were then.
  uint64_t written_ = 0;
  size_t members_ = 0;
  int64_t looked_ms_ = 0;
  uint64_t looked_processor_ms_ = 0;
  std::optional<pid_t> holder_;
  int64_t waited_ms_ = 0;
};

}  // namespace hone
