#include "common/transport/greeting.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/base/open_file.h"
#include "common/transport/socket.h"

namespace hone {
namespace {

// Signature and version; a greeting goes on with the mechanism's name, padded with zeros, and ends after 64 bytes.
constexpr unsigned char kBeginning[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3};
constexpr size_t kMechanismAt = 12;
constexpr size_t kMechanismBytes = 20;

bool Await(int fd, short events, SteadyTime deadline) {
  pollfd item = {fd, events, 0};
  while (true) {
    const int ready = poll(&item, 1, MillisecondsUntil(deadline));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

Descriptor Open(int family, const sockaddr* address, socklen_t size, SteadyTime deadline) {
  Descriptor fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return {};
  if (connect(fd.get(), address, size) == 0) return fd;
  if (errno != EINPROGRESS || !Await(fd.get(), POLLOUT, deadline)) return {};
  int error = 0;
  socklen_t error_size = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &error_size);
  return error == 0 ? std::move(fd) : Descriptor();
}

Descriptor OpenPath(const std::string& path, SteadyTime deadline) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return {};
  std::memcpy(address.sun_path, path.data(), path.size());
  return Open(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline);
}

Descriptor OpenHost(const Endpoint& endpoint, SteadyTime deadline) {
  addrinfo hints = {};
  hints.ai_family = endpoint.ipv6 ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    Descriptor fd = Open(one->ai_family, one->ai_addr, one->ai_addrlen, deadline);
    if (fd.get() >= 0) return fd;
  }
  return {};
}

}  // namespace

std::optional<std::string> ListenersMechanism(const Endpoint& endpoint, std::chrono::milliseconds timeout) {
  const SteadyTime deadline = DeadlineAfter(timeout);
  const Descriptor fd =
      endpoint.kind == Endpoint::Kind::kIpc ? OpenPath(endpoint.path, deadline) : OpenHost(endpoint, deadline);
  if (fd.get() < 0) return std::nullopt;
  if (send(fd.get(), kBeginning, sizeof kBeginning, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof kBeginning))
    return std::nullopt;
  std::array<char, kMechanismAt + kMechanismBytes> greeting = {};
  for (size_t have = 0; have < greeting.size();) {
    if (!Await(fd.get(), POLLIN, deadline)) return std::nullopt;
    const ssize_t got = recv(fd.get(), greeting.data() + have, greeting.size() - have, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return std::nullopt;
    have += static_cast<size_t>(got);
  }
  const bool is_greeting = static_cast<unsigned char>(greeting[0]) == 0xff && greeting[9] == 0x7f && greeting[10] >= 3;
  if (!is_greeting) return std::nullopt;
  return std::string(greeting.data() + kMechanismAt, strnlen(greeting.data() + kMechanismAt, kMechanismBytes));
}

}  // namespace hone
