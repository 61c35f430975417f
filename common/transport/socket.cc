#include "common/transport/socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <climits>
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
constexpr int kReconnectMs = 50;
constexpr int kLongestReconnectMs = 1000;

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
    return Fail(ErrorCode::kRejected, fmt::format("a message of {} bytes is larger than the {} that a frame may have", bytes, kMaxFrameBytes));
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
    : context_(std::exchange(other.context_, nullptr)), socket_(std::exchange(other.socket_, nullptr)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    Close();
    context_ = std::exchange(other.context_, nullptr);
    socket_ = std::exchange(other.socket_, nullptr);
  }
  return *this;
}

void Socket::Close() {
  if (socket_ != nullptr) zmq_close(socket_);
  if (context_ != nullptr) {
    while (zmq_ctx_term(context_) != 0 && errno == EINTR) {
    }
  }
  socket_ = nullptr;
  context_ = nullptr;
}

void Socket::Set(int option, int value) { CHECK_THAT(zmq_setsockopt(socket_, option, &value, sizeof value) == 0); }

void Socket::Set64(int option, int64_t value) { CHECK_THAT(zmq_setsockopt(socket_, option, &value, sizeof value) == 0); }

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

}  // namespace hone
