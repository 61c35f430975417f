#include "common/base/service_notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "common/base/file.h"

namespace hone::test {
namespace {

// The manager's end: a datagram socket in a folder of its own.
class Manager {
 public:
  Manager() : folder_(std::move(*ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-notify-"))) {
    const std::string name = (folder_.path() / "s").string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~Manager() { ::close(socket_); }
  std::string Heard() {
    char text[512];
    const ssize_t size = ::recv(socket_, text, sizeof text, 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

 private:
  ScopedFolder folder_;
  int socket_ = -1;
};

TEST(ServiceNotifyTest, ReadyBeatsAndTheEndAreToldAtAQuarterOfTheWatchdog) {
  Manager manager;
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  ServiceNotifier notifier = ServiceNotifier::FromEnvironment();
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  notifier.Ready("serving");
  EXPECT_EQ(manager.Heard(), "READY=1\nSTATUS=serving");
  notifier.Beat(10'000);
  notifier.Beat(10'500);
  notifier.Beat(10'999);
  EXPECT_EQ(manager.Heard(), "WATCHDOG=1");
  EXPECT_EQ(manager.Heard(), "");
  notifier.Beat(11'000);
  EXPECT_EQ(manager.Heard(), "WATCHDOG=1");
  notifier.Stopping();
  EXPECT_EQ(manager.Heard(), "STOPPING=1");
}

TEST(ServiceNotifyTest, NobodyAsksAndNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  ServiceNotifier notifier = ServiceNotifier::FromEnvironment();
  notifier.Ready("serving");
  notifier.Beat(1);
  notifier.Stopping();
}

}  // namespace
}  // namespace hone::test
