// What a service manager is told (sd_notify(3)): that the service is ready, what it does, that it is alive. Nothing
// happens where none asks for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hone {

// Of one thread: the loop whose life matters.
class ServiceNotifier {
 public:
  // By NOTIFY_SOCKET and WATCHDOG_USEC. They are taken out of the environment, so that children do not speak for the
  // service.
  static ServiceNotifier FromEnvironment();
  ServiceNotifier(ServiceNotifier&& other) noexcept;
  ServiceNotifier& operator=(ServiceNotifier&&) = delete;
  ~ServiceNotifier();

  // May be told again with another status.
  void Ready(std::string_view status);
  // A sign of life, as often as one likes: it is passed on at a quarter of the watchdog's time.
  void Beat(int64_t steady_ms);
  void Stopping();

 private:
  ServiceNotifier() = default;
  void Send(const std::string& text) const;

  int socket_ = -1;
  int64_t beat_every_ms_ = 0;   // 0: nobody watches.
  int64_t next_beat_ms_ = 0;
};

}  // namespace hone
