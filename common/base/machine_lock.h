// The host-wide timing lock: performance runs alone on its machine, whoever else of hone works there.
//
// Readers (builds, accuracy) share it; a timing holds it alone. A turnstile file keeps new readers from starving a
// waiting timing. Locks are flock(2) on files, so the kernel releases them when a process dies.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>

#include "common/base/result.h"

namespace hone {

class MachineLock {
 public:
  // Default location: $HONE_MACHINE_LOCK, else /tmp/hone-machine-lock (mode 0666, so that several users share it).
  static std::filesystem::path DefaultPath();

  static Result<MachineLock> Open(const std::filesystem::path& path);
  ~MachineLock();
  MachineLock(MachineLock&& other) noexcept;
  MachineLock& operator=(MachineLock&& other) noexcept;

  // Blocks until held; give_up is asked at least every 50 ms and ends the wait with kCancelled. A lock that is already
  // held is released first (a change of kind is no single step: others may pass in between). A forked child shares the
  // lock until it closes or executes.
  Result<> Shared(const std::function<bool()>& give_up = {});
  Result<> Exclusive(const std::function<bool()>& give_up = {});
  void Release();

 private:
  MachineLock() = default;
  int gate_fd_ = -1;
  int main_fd_ = -1;
};

}  // namespace hone
