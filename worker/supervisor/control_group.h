// Control groups (version 2) for runners, where the system lets this process make them: a service with Delegate=yes, a
// container with a group of its own, root. Everything in a group dies by one write, however it forked; where the memory
// and pids controllers are delegated too, the kernel bounds both and tells whom its out-of-memory killer took
// (Documentation/admin-guide/cgroup-v2.rst).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "common/base/open_file.h"
#include "common/base/result.h"

namespace hone {

// A group that a runner joins, and that goes with this object. One thread at a time.
class ControlGroup {
 public:
  ~ControlGroup();   // Kills what is left in it and waits for that, two seconds at most.
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;

  // Open for writing: a process that writes "0" to it, in whatever namespace and user, is in the group with all that it
  // starts.
  int entrance() const { return entrance_.get(); }
  void Kill();
  // Processes that the kernel killed because the group's memory was used up; 0 where memory is not bounded.
  uint64_t OutOfMemoryKills() const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  friend class ControlGroups;
  ControlGroup(std::filesystem::path folder, Descriptor entrance)
      : folder_(std::move(folder)), entrance_(std::move(entrance)) {}
  bool Occupied() const;

  const std::filesystem::path folder_;
  const Descriptor entrance_;
};

class ControlGroups {
 public:
  struct Limits {
    uint64_t memory_bytes = 0;   // 0: none.
    uint64_t tasks = 0;          // Processes and threads; 0: none.
  };

  // Tries one out beneath this process's own group, and removes what workers that were killed left there. kEnvironment
  // with the reason where none can be made. Where the controllers can be had only by moving this process into a leaf of
  // its own, and nobody else is in the group, it moves.
  static Result<std::unique_ptr<ControlGroups>> Find(const std::filesystem::path& root = "/");

  Result<std::unique_ptr<ControlGroup>> Make(const Limits& limits);

 private:
  explicit ControlGroups(std::filesystem::path own) : own_(std::move(own)) {}
  void TakeControllers();
  void RemoveStale() const;

  const std::filesystem::path own_;
  bool memory_ = false;
  bool pids_ = false;
  uint64_t next_ = 1;
};

}  // namespace hone
