// A listener with keys and who knocks at it: members with keys of their own, raw sockets, a recording wire tap. All on
// the loopback.
#pragma once

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/transport.h"
#include "tests/support/programs.h"

namespace hone::test {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

template <class T>
ErrorCode CodeOf(const Result<T>& result) {
  return result ? ErrorCode{0} : result.error().code;
}

inline proto::Frame Ping() {
  proto::Frame frame;
  frame.mutable_ping();
  return frame;
}

// A coordinator's keys folder and the members that it knows.
class KeyRing {
 public:
  KeyRing() {
    auto pair = MakeKeyPair("coordinator");
    EXPECT_TRUE(pair);
    coordinator_ = *pair;
    EXPECT_TRUE(WriteKeyPair(folder(), KeyKind::coordinator, coordinator_));
    EXPECT_TRUE(AllowList().Write(AllowedFile(folder())));
  }
  std::filesystem::path folder() const { return folder_ / "keys"; }

  ListenerOptions Options() const {
    ListenerOptions options;
    auto keys = LoadListenerKeys(folder());
    EXPECT_TRUE(keys) << keys.error().message;
    if (keys) options.keys = *keys;
    return options;
  }
  // A pair that nobody knows.
  DialerOptions Stranger(const std::string& name) const {
    auto pair = MakeKeyPair(name);
    EXPECT_TRUE(pair);
    return {DialerKeys{*pair, coordinator_.public_key}};
  }
  DialerOptions Member(const std::string& name, Role role) const {
    DialerOptions options = Stranger(name);
    Allow(options, role);
    return options;
  }
  void Allow(const DialerOptions& member, Role role) const {
    Change([&](AllowList& list) {
      EXPECT_TRUE(list.Allow({member.keys->own.public_key, member.keys->own.name, role, false}));
    });
  }
  void Revoke(const DialerOptions& member) const {
    Change([&](AllowList& list) { EXPECT_TRUE(list.Revoke(member.keys->own.name, member.keys->own.public_key)); });
  }

 private:
  template <class Edit>
  void Change(Edit edit) const {
    auto list = AllowList::Read(AllowedFile(folder()));
    ASSERT_TRUE(list) << list.error().message;
    edit(*list);
    ASSERT_TRUE(list->Write(AllowedFile(folder())));
  }
  TempFolder folder_;
  KeyPair coordinator_;
};

// A listener in a thread of its own that answers pings and remembers who asked.
class Server {
 public:
  explicit Server(const ListenerOptions& options, const std::string& endpoint = "tcp://127.0.0.1:0") {
    spdlog::set_level(spdlog::level::off);
    auto listener = Listener::Bind(endpoint, options);
    EXPECT_TRUE(listener) << listener.error().message;
    listener_ = std::move(*listener);
    endpoint_ = listener_->endpoint();
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    stop_ = true;
    const uint64_t one = 1;
    EXPECT_EQ(write(listener_->EventFd(), &one, sizeof one), 8);
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  uint16_t port() const { return static_cast<uint16_t>(std::stoi(endpoint_.substr(endpoint_.rfind(':') + 1))); }
  // Frames that reached the one who answers, by the sender's name.
  uint64_t Frames(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = frames_.find(name);
    return found == frames_.end() ? 0 : found->second;
  }
  uint64_t Frames() const {
    const std::lock_guard lock(mutex_);
    uint64_t all = 0;
    for (const auto& [name, count] : frames_) all += count;
    return all;
  }
  ListenerCounters counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
  }
  std::optional<Listener::Incoming> last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  void Serve() {
    while (!stop_) {
      for (auto& incoming : listener_->Receive(20ms, 1024)) {
        proto::Frame reply;
        reply.set_request(incoming.frame.request());
        reply.mutable_ping_reply()->set_role(RoleName(incoming.identity.role));
        const std::string peer = incoming.peer;
        {
          // Counted before it is answered: who has the answer may ask for the count.
          const std::lock_guard lock(mutex_);
          ++frames_[incoming.identity.name];
          last_ = std::move(incoming);
        }
        listener_->Send(peer, std::move(reply));
      }
      const std::lock_guard lock(mutex_);
      counters_ = listener_->counters();
    }
  }

  std::unique_ptr<Listener> listener_;
  std::string endpoint_;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> frames_;
  ListenerCounters counters_;
  std::optional<Listener::Incoming> last_;
  std::thread thread_;
};

inline std::unique_ptr<Dialer> Dial(const std::string& endpoint, const DialerOptions& options = {}) {
  auto dialer = Dialer::Connect(endpoint, options);
  EXPECT_TRUE(dialer) << dialer.error().message;
  return std::move(*dialer);
}

// Bytes to a port, without ZeroMQ.
class RawTcp {
 public:
  explicit RawTcp(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = socket_ && connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  // False once the other side has closed.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Whether the other side closes within the time; what it says meanwhile is dropped.
  bool IsClosedWithin(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      pollfd item{socket_.get(), POLLIN, 0};
      if (poll(&item, 1, 100) <= 0) continue;
      char bytes[4096];
      if (recv(socket_.get(), bytes, sizeof bytes, 0) <= 0) return true;
    }
    return false;
  }

 private:
  Descriptor socket_;
  bool connected_ = false;
};

// Speaks ZeroMQ with a member's key, but not our frames.
class RawMember {
 public:
  RawMember(const std::string& endpoint, const DialerOptions& options)
      : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
    const int none = 0;
    const int timeout_ms = 30000;
    zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    if (options.keys) {
      const auto set = [this](int option, const std::string& key) {
        EXPECT_EQ(zmq_setsockopt(socket_, option, key.data(), key.size()), 0);
      };
      set(ZMQ_CURVE_SERVERKEY, options.keys->coordinator);
      set(ZMQ_CURVE_PUBLICKEY, options.keys->own.public_key);
      set(ZMQ_CURVE_SECRETKEY, options.keys->own.secret_key);
    }
    EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0);
  }
  ~RawMember() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  RawMember(const RawMember&) = delete;
  RawMember& operator=(const RawMember&) = delete;

  // False where the queue is full.
  bool Send(std::string_view bytes) { return zmq_send(socket_, bytes.data(), bytes.size(), ZMQ_DONTWAIT) >= 0; }
  // Takes what has arrived and forgets it; a connection whose answers nobody reads stands still.
  void Drain() {
    char bytes[1024];
    while (zmq_recv(socket_, bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0) {
    }
  }
  std::optional<proto::Frame> Receive() {
    std::string bytes(1 << 16, '\0');
    const int count = zmq_recv(socket_, bytes.data(), bytes.size(), 0);
    proto::Frame frame;
    if (count < 0 || !frame.ParseFromArray(bytes.data(), count)) return std::nullopt;
    return frame;
  }

 private:
  void* context_;
  void* socket_;
};

}  // namespace hone::test
