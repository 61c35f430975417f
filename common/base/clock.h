// Time, given as an argument so that tests own it.
#pragma once

#include <cstdint>
#include <memory>

namespace hone {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic milliseconds since an arbitrary start; leases and timeouts use this alone.
  virtual int64_t SteadyMs() const = 0;
  // Milliseconds since 1970; for people and records, never for deadlines.
  virtual int64_t UnixMs() const = 0;
};

// The machine's clocks; lives for ever.
const Clock& SystemClock();

}  // namespace hone
