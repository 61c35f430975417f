// So much at once, so much a second: for messages and for mistakes of one peer.
#pragma once

#include <algorithm>
#include <chrono>

namespace hone {

// One thread at a time.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Full at first. per_second 0: everything is taken.
  TokenBucket(double per_second, double burst) : per_second_(per_second), burst_(burst), left_(burst) {}

  // Whether there was one left at `now`; it is gone then.
  bool Take(Time now) {
    if (per_second_ <= 0) return true;
    if (filled_ != Time())
      left_ = std::min(burst_, left_ + per_second_ * std::chrono::duration<double>(now - filled_).count());
    filled_ = now;
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }

 private:
  double per_second_;
  double burst_;
  double left_;
  Time filled_{};
};

}  // namespace hone
