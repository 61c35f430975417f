#include "common/transport/endpoint.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <string_view>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr size_t kMaxIpcPathBytes = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kMaxHostBytes = 255;
constexpr int64_t kMaxPort = 65535;
constexpr const char* kForms = "Write tcp://host:port or ipc://path";

bool IsHostName(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHostBytes && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

bool IsIpv6(const std::string& host) {
  in6_addr address{};
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

std::string Endpoint::Text() const {
  if (kind == Kind::kIpc) return "ipc://" + path;
  return ipv6 ? fmt::format("tcp://[{}]:{}", host, port) : fmt::format("tcp://{}:{}", host, port);
}

Result<Endpoint> ParseEndpoint(const std::string& text, ErrorCode code) {
  const auto malformed = [&](const std::string& cause, const std::string& remedy = kForms) {
    return Fail(code, fmt::format("endpoint '{}': {}", Printable(text, 200), cause), remedy);
  };
  constexpr std::string_view kTcp = "tcp://";
  constexpr std::string_view kIpc = "ipc://";
  Endpoint endpoint;
  if (text.starts_with(kIpc)) {
    endpoint.kind = Endpoint::Kind::kIpc;
    endpoint.path = text.substr(kIpc.size());
    if (endpoint.path.empty()) return malformed("it names no path");
    // ZeroMQ reads '*' as "any name" and '@' as a name outside the file system, where no permissions hold.
    if (endpoint.path == "*" || endpoint.path.front() == '@')
      return malformed("it must name a path in the file system");
    if (endpoint.path.find('\0') != std::string::npos) return malformed("the path holds a zero byte");
    if (endpoint.path.size() > kMaxIpcPathBytes) {
      return malformed(
          fmt::format("the path has {} bytes; the system allows {}", endpoint.path.size(), kMaxIpcPathBytes),
          "Choose a shorter path, for example one beneath /tmp");
    }
    return endpoint;
  }
  if (!text.starts_with(kTcp)) return malformed("it begins with neither tcp:// nor ipc://");
  const size_t colon = text.rfind(':');
  std::string host = text.substr(kTcp.size(), colon < kTcp.size() ? std::string::npos : colon - kTcp.size());
  if (colon < kTcp.size()) return malformed("it has no port");
  const auto port = ParseInteger(text.substr(colon + 1));
  if (!port || *port < 0 || *port > kMaxPort) return malformed("its port is not a number from 0 to 65535");
  endpoint.port = static_cast<uint16_t>(*port);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    endpoint.ipv6 = true;
    host = host.substr(1, host.size() - 2);
  }
  const bool valid = endpoint.ipv6 ? IsIpv6(host) : host == "*" || IsHostName(host);
  if (!valid) return malformed("its host is malformed");
  endpoint.host = host;
  return endpoint;
}

bool IsLoopback(const Endpoint& endpoint) {
  if (endpoint.host == "localhost") return true;
  if (endpoint.ipv6) {
    in6_addr address{};
    return inet_pton(AF_INET6, endpoint.host.c_str(), &address) == 1 && IN6_IS_ADDR_LOOPBACK(&address);
  }
  in_addr address{};
  return inet_pton(AF_INET, endpoint.host.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

}  // namespace hone
