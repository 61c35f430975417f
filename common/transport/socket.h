// ZeroMQ's C interface behind values: the only file pair that calls it besides dialer and listener.
#pragma once

#include <zmq.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

using SteadyTime = std::chrono::steady_clock::time_point;

// now + timeout, with absurd timeouts made bearable.
SteadyTime DeadlineAfter(std::chrono::milliseconds timeout);
// For poll: milliseconds until the deadline, at least 0.
int MillisecondsUntil(SteadyTime deadline);

// One part of a message.
class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  // kExhausted if there is no memory.
  static Result<Message> OfSize(size_t bytes);
  ~Message() { zmq_msg_close(&message_); }
  Message(Message&& other) noexcept {
    zmq_msg_init(&message_);
    zmq_msg_move(&message_, &other.message_);
  }
  Message& operator=(Message&& other) noexcept {
    zmq_msg_move(&message_, &other.message_);
    return *this;
  }

  char* data() { return static_cast<char*>(zmq_msg_data(&message_)); }
  size_t size() const { return zmq_msg_size(&message_); }
  std::string_view bytes() { return {data(), size()}; }
  // What libzmq knows of the connection that a received part came through ("User-Id", "__fd"); "" if nothing. Valid
  // while the part lives.
  std::string_view Property(const char* name) {
    const char* const text = zmq_msg_gets(&message_, name);
    return text == nullptr ? std::string_view() : std::string_view(text);
  }
  zmq_msg_t* raw() { return &message_; }

 private:
  zmq_msg_t message_;
};

// The frame as one message. kRejected if it is larger than kMaxFrameBytes.
Result<Message> Serialize(const proto::Frame& frame);

// A socket with a context of its own. Closing drops what was not sent.
class Socket {
 public:
  static Result<Socket> Make(int type);
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;

  void Set(int option, int value);
  void Set64(int option, int64_t value);
  void SetText(int option, const std::string& value);
  void* raw() const { return socket_; }
  void* context() const { return context_; }
  int EventFd() const;

  // Without waiting: false if the queue is full.
  bool Send(Message& message, int flags = 0);
  // The next message without waiting: its parts, at most `max_parts` of them kept, one more standing for any beyond.
  // Empty if there is none.
  std::vector<Message> Receive(size_t max_parts);

  // How the handshakes of this socket's own connections ended, once WatchHandshakes was called. handshakes() is for
  // zmq_poll; nullptr before.
  enum class Handshake { succeeded, broken_off, refused, other_mechanism };
  Result<> WatchHandshakes();
  std::optional<Handshake> NextHandshake();
  void* handshakes() const { return handshakes_; }

 private:
  Socket(void* context, void* socket) : context_(context), socket_(socket) {}
  void Close();
  void* context_ = nullptr;
  void* socket_ = nullptr;
  void* handshakes_ = nullptr;
};

}  // namespace hone
