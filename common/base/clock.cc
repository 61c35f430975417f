#include "common/base/clock.h"

#include <chrono>

namespace hone {
namespace {

class MachineClock final : public Clock {
 public:
  int64_t SteadyMs() const override { return Milliseconds(std::chrono::steady_clock::now()); }
  int64_t UnixMs() const override { return Milliseconds(std::chrono::system_clock::now()); }

 private:
  template <class TimePoint>
  static int64_t Milliseconds(TimePoint now) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  }
};

}  // namespace

const Clock& SystemClock() {
  static const MachineClock* const clock = new MachineClock;
  return *clock;
}

}  // namespace hone
