// What a ZeroMQ listener tells of itself before any handshake.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "common/transport/endpoint.h"

namespace hone {

// The security mechanism in the greeting of a listener ("NULL", "CURVE"): ZMTP 3.1 (rfc.zeromq.org/spec/37),
// section 2.1. nullopt where none came within the time: nobody listens, or something else than ZeroMQ does.
//
// A listener that finds another mechanism than its own in a connection's greeting may close before the rest of its own
// greeting went out, so a socket of libzmq does not always learn why. This one sends no mechanism, and waits for the
// other's.
std::optional<std::string> ListenersMechanism(const Endpoint& endpoint, std::chrono::milliseconds timeout);

}  // namespace hone
