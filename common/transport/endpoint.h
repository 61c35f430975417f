// Endpoints as people write them, checked before ZeroMQ sees them.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"

namespace hone {

struct Endpoint {
  enum class Kind { kTcp, kIpc };
  Kind kind = Kind::kTcp;
  std::string host;     // tcp: as written; an IPv6 address without its brackets.
  uint16_t port = 0;
  bool ipv6 = false;    // tcp: the host was written in brackets.
  std::string path;     // ipc.

  // For zmq_bind and zmq_connect.
  std::string Text() const;
};

// tcp://host:port, tcp://[::1]:port or ipc://path (at most 107 bytes: the kernel's limit for a socket's name). Errors
// have the code given.
Result<Endpoint> ParseEndpoint(const std::string& text, ErrorCode code);

// localhost, 127.0.0.0/8 or ::1. A name other than localhost is not: what it resolves to may change.
bool IsLoopback(const Endpoint& endpoint);

}  // namespace hone
