#include "worker/supervisor/stop_signal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "common/base/result.h"

namespace hone {

StopSignal::StopSignal() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK_THAT(descriptor_ >= 0); }

StopSignal::~StopSignal() { close(descriptor_); }

void StopSignal::Stop(StopReason reason) {
  StopReason none = StopReason::kNone;
  if (!reason_.compare_exchange_strong(none, reason)) return;
  eventfd_write(descriptor_, 1);
}

void StopSignal::Clear() {
  eventfd_t count = 0;
  eventfd_read(descriptor_, &count);
  reason_.store(StopReason::kNone);
}

bool StopSignal::WaitFor(std::chrono::milliseconds duration) const {
  pollfd waiting{descriptor_, POLLIN, 0};
  poll(&waiting, 1, static_cast<int>(duration.count()));
  return stopped();
}

}  // namespace hone
