// A request to give work up, from one thread to another that may be waiting in poll(2).
#pragma once

#include <atomic>
#include <chrono>

namespace hone {

enum class StopReason {
  kNone,
  kCancelled,   // The coordinator wants it no more.
  kReturned,    // The worker is stopping.
};

// Thread-safe. The first reason stays until Clear.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void Stop(StopReason reason);
  void Clear();
  StopReason reason() const { return reason_.load(); }
  bool stopped() const { return reason() != StopReason::kNone; }
  // Readable once stopped.
  int descriptor() const { return descriptor_; }
  // Returns early, with true, when stopped.
  bool WaitFor(std::chrono::milliseconds duration) const;

 private:
  std::atomic<StopReason> reason_{StopReason::kNone};
  int descriptor_ = -1;
};

}  // namespace hone
