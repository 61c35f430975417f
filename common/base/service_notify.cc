#include "common/base/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace hone {
namespace {

// A connected socket; -1 where nobody asks, or where the address is none.
int Connect(const char* name) {
  if (name == nullptr || (*name != '/' && *name != '@')) return -1;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = std::strlen(name);
  if (length >= sizeof address.sun_path) return -1;
  std::memcpy(address.sun_path, name, length);
  // An abstract name begins with a zero, written as '@'.
  if (*name == '@') address.sun_path[0] = '\0';
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), size) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

}  // namespace

ServiceNotifier ServiceNotifier::FromEnvironment() {
  ServiceNotifier notifier;
  notifier.socket_ = Connect(std::getenv("NOTIFY_SOCKET"));
  const char* watchdog = std::getenv("WATCHDOG_USEC");
  if (notifier.socket_ >= 0 && watchdog != nullptr)
    notifier.beat_every_ms_ = std::strtoll(watchdog, nullptr, 10) / 4000;
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  return notifier;
}

ServiceNotifier::ServiceNotifier(ServiceNotifier&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      beat_every_ms_(other.beat_every_ms_),
      next_beat_ms_(other.next_beat_ms_) {}

ServiceNotifier::~ServiceNotifier() {
  if (socket_ >= 0) ::close(socket_);
}

void ServiceNotifier::Send(const std::string& text) const {
  // A manager that went away is not the service's trouble.
  if (socket_ >= 0) (void)::send(socket_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ServiceNotifier::Ready(std::string_view status) { Send("READY=1\nSTATUS=" + std::string(status)); }

void ServiceNotifier::Beat(int64_t steady_ms) {
  if (beat_every_ms_ <= 0 || steady_ms < next_beat_ms_) return;
  Send("WATCHDOG=1");
  next_beat_ms_ = steady_ms + beat_every_ms_;
}

void ServiceNotifier::Stopping() { Send("STOPPING=1"); }

}  // namespace hone
