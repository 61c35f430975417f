#include "common/transport/socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "common/transport/transport.h"

namespace hone {
namespace {

constexpr std::chrono::milliseconds kForever{1000LL * 3600 * 24 * 365 * 10};

// Messages of one peer that wait in a queue, each at most kMaxFrameBytes.
constexpr int kQueuedMessages = 64;
// A peer that says nothing at all for this long is gone: its host vanished without closing the connection.
constexpr int kHeartbeatMs = 10000;
constexpr int kHeartbeatTimeoutMs = 30000;
// A connection that has not shown who it is after this long is closed: one that says nothing costs nobody anything.
constexpr int kHandshakeMs = 3000;
constexpr int kReconnectMs = 50;
constexpr int kLongestReconnectMs = 1000;

constexpr const char* kHandshakes = "inproc://hone.handshakes";
constexpr int kWatchedEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

struct Option {
  int name;
  int value;
};
constexpr Option kOptions[] = {
    {ZMQ_LINGER, 0},
    {ZMQ_SNDHWM, kQueuedMessages},
    {ZMQ_RCVHWM, kQueuedMessages},
    {ZMQ_HEARTBEAT_IVL, kHeartbeatMs},
    {ZMQ_HEARTBEAT_TIMEOUT, kHeartbeatTimeoutMs},
    {ZMQ_HANDSHAKE_IVL, kHandshakeMs},
    {ZMQ_RECONNECT_IVL, kReconnectMs},
    {ZMQ_RECONNECT_IVL_MAX, kLongestReconnectMs},
};

}  // namespace

SteadyTime DeadlineAfter(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + std::clamp(timeout, std::chrono::milliseconds{0}, kForever);
}

int MillisecondsUntil(SteadyTime deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

Result<Message> Message::OfSize(size_t bytes) {
  Message message;
  zmq_msg_close(&message.message_);
  if (zmq_msg_init_size(&message.message_, bytes) != 0) {
    zmq_msg_init(&message.message_);
    return Fail(ErrorCode::kExhausted, fmt::format("make a message of {} bytes: out of memory", bytes));
  }
  return message;
}

Result<Message> Serialize(const proto::Frame& frame) {
  const size_t bytes = frame.ByteSizeLong();
  if (bytes > kMaxFrameBytes) {
    return Fail(ErrorCode::kRejected, fmt::format("a message of {} bytes is larger than the {} that a frame may have",
                                                  bytes, kMaxFrameBytes));
  }
  TRY_ASSIGN(Message message, Message::OfSize(bytes));
  CHECK_THAT(frame.SerializeToArray(message.data(), static_cast<int>(bytes)));
  return message;
}

Result<Socket> Socket::Make(int type) {
  void* context = zmq_ctx_new();
  if (context == nullptr) return Fail(ErrorCode::kExhausted, fmt::format("open a connection: {}", zmq_strerror(errno)));
  void* raw = zmq_socket(context, type);
  if (raw == nullptr) {
    const int error_number = errno;
    zmq_ctx_term(context);
    return Fail(ErrorCode::kExhausted, fmt::format("open a connection: {}", zmq_strerror(error_number)));
  }
  Socket socket(context, raw);
  for (const Option& option : kOptions) socket.Set(option.name, option.value);
  // libzmq closes the connection of a peer that announces more.
  socket.Set64(ZMQ_MAXMSGSIZE, static_cast<int64_t>(kMaxFrameBytes));
  return socket;
}

Socket::~Socket() { Close(); }

Socket::Socket(Socket&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)),
      socket_(std::exchange(other.socket_, nullptr)),
      handshakes_(std::exchange(other.handshakes_, nullptr)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    Close();
    context_ = std::exchange(other.context_, nullptr);
    socket_ = std::exchange(other.socket_, nullptr);
    handshakes_ = std::exchange(other.handshakes_, nullptr);
  }
  return *this;
}

void Socket::Close() {
  if (handshakes_ != nullptr) {
    // libzmq waits for a reader of the events that is gone; so the events end first.
    zmq_socket_monitor(socket_, nullptr, 0);
    zmq_close(handshakes_);
    handshakes_ = nullptr;
  }
  if (socket_ != nullptr) zmq_close(socket_);
  if (context_ != nullptr) {
    while (zmq_ctx_term(context_) != 0 && errno == EINTR) {
    }
  }
  socket_ = nullptr;
  context_ = nullptr;
}

void Socket::Set(int option, int value) { CHECK_THAT(zmq_setsockopt(socket_, option, &value, sizeof value) == 0); }

void Socket::Set64(int option, int64_t value) {
  CHECK_THAT(zmq_setsockopt(socket_, option, &value, sizeof value) == 0);
}

void Socket::SetText(int option, const std::string& value) {
  CHECK_THAT(zmq_setsockopt(socket_, option, value.data(), value.size()) == 0);
}

int Socket::EventFd() const {
  int fd = -1;
  size_t size = sizeof fd;
  CHECK_THAT(zmq_getsockopt(socket_, ZMQ_FD, &fd, &size) == 0);
  return fd;
}

bool Socket::Send(Message& message, int flags) {
  while (zmq_msg_send(message.raw(), socket_, flags | ZMQ_DONTWAIT) < 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

std::vector<Message> Socket::Receive(size_t max_parts) {
  std::vector<Message> parts;
  bool more = true;
  while (more) {
    Message part;
    // A message arrives whole or not at all, so only its first part can be missing.
    while (zmq_msg_recv(part.raw(), socket_, ZMQ_DONTWAIT) < 0) {
      if (errno != EINTR) return parts;
    }
    more = zmq_msg_more(part.raw()) != 0;
    if (parts.size() <= max_parts) parts.push_back(std::move(part));
  }
  return parts;
}

Result<> Socket::WatchHandshakes() {
  void* const reader = zmq_socket(context_, ZMQ_PAIR);
  if (reader == nullptr) return Fail(ErrorCode::kExhausted, fmt::format("open a connection: {}", zmq_strerror(errno)));
  const int none = 0;
  zmq_setsockopt(reader, ZMQ_LINGER, &none, sizeof none);
  // Unbounded: libzmq's thread must not wait for somebody who may look seldom. There is an event a connection, which is
  // one a second at most.
  zmq_setsockopt(reader, ZMQ_RCVHWM, &none, sizeof none);
  if (zmq_socket_monitor(socket_, kHandshakes, kWatchedEvents) != 0 || zmq_connect(reader, kHandshakes) != 0) {
    const int error_number = errno;
    zmq_socket_monitor(socket_, nullptr, 0);
    zmq_close(reader);
    return Fail(ErrorCode::kExhausted, fmt::format("watch a connection: {}", zmq_strerror(error_number)));
  }
  handshakes_ = reader;
  return {};
}

std::optional<Socket::Handshake> Socket::NextHandshake() {
  if (handshakes_ == nullptr) return std::nullopt;
  // An event: two bytes of kind and four of value, then the address in a part of its own.
  Message event;
  while (zmq_msg_recv(event.raw(), handshakes_, ZMQ_DONTWAIT) < 0) {
    if (errno != EINTR) return std::nullopt;
  }
  Message address;
  if (zmq_msg_more(event.raw()) != 0) zmq_msg_recv(address.raw(), handshakes_, ZMQ_DONTWAIT);
  uint16_t kind = 0;
  uint32_t value = 0;
  if (event.size() < sizeof kind + sizeof value) return Handshake::broken_off;
  std::memcpy(&kind, event.data(), sizeof kind);
  std::memcpy(&value, event.data() + sizeof kind, sizeof value);
  if (kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return Handshake::succeeded;
  if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return Handshake::refused;
  const bool other = kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH;
  return other ? Handshake::other_mechanism : Handshake::broken_off;
}

}  // namespace hone
