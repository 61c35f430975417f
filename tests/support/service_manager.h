#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "common/base/file.h"

namespace hone::test {

// A service manager's end of sd_notify(3): a datagram socket in a folder of its own, named in the environment.
class ServiceManager {
 public:
  ServiceManager() : folder_(std::move(*ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-notify-"))) {
    const std::string name = (folder_.path() / "s").string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~ServiceManager() { ::close(socket_); }
  // The next datagram; "" where none is there.
  std::string Heard() {
    char text[512];
    const ssize_t size = ::recv(socket_, text, sizeof text, 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

 private:
  ScopedFolder folder_;
  int socket_ = -1;
};

}  // namespace hone::test
