#include "tests/chaos/tcp_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

namespace hone::test {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kMostQueued = 4 << 20;      // Beyond that the sender waits, as with a full window.
constexpr size_t kMostRecorded = 256 << 10;
constexpr size_t kRecords = 6;
constexpr int kMostLosses = 6;

Descriptor Listen(uint16_t* port) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool good = ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                    ::listen(listener.get(), 1024) == 0 &&
                    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0;
  if (!good) throw std::runtime_error("the proxy cannot listen");
  *port = ntohs(address.sin_port);
  return listener;
}

Descriptor Dial(uint16_t port) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Descriptor();
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

void SendAtOnce(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// A reset, so that neither side waits for the other's rest.
void Abort(int socket) {
  const linger now{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

TcpProxy::TcpProxy(uint16_t target_port, uint64_t seed)
    : target_port_(target_port),
      listener_(Listen(&port_)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      random_(seed) {
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  stop_ = true;
  Wake();
  thread_.join();
}

std::string TcpProxy::endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

void TcpProxy::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(wake_.get(), &one, sizeof one);
}

void TcpProxy::CutAll() {
  const std::lock_guard lock(mutex_);
  cut_all_ = true;
  Wake();
}

void TcpProxy::CutAfter(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  cut_after_ = std::max<uint64_t>(1, bytes);
}

void TcpProxy::Stall(milliseconds time) {
  const std::lock_guard lock(mutex_);
  stalled_until_ = std::max(stalled_until_, Steady::now() + time);
}

void TcpProxy::Set(const Weather& weather) {
  const std::lock_guard lock(mutex_);
  weather_ = weather;
}

size_t TcpProxy::Replay() {
  const std::lock_guard lock(mutex_);
  replays_.assign(records_.begin(), records_.end());
  // What connections that still live have sent so far is a connection that broke off there.
  for (const Connection& connection : connections_) {
    if (connection.recorded && !connection.record.empty()) replays_.push_back(connection.record);
  }
  Wake();
  return replays_.size();
}

milliseconds TcpProxy::LossDelay() {
  milliseconds delay{0};
  milliseconds rto = weather_.rto;
  std::bernoulli_distribution lost(weather_.loss);
  for (int i = 0; i < kMostLosses && lost(random_); ++i) {
    ++lost_segments_;
    delay += rto;
    rto *= 2;
  }
  return delay;
}

void TcpProxy::Remember(Connection& connection) {
  if (!connection.recorded || connection.record.empty()) return;
  records_.push_back(std::move(connection.record));
  if (records_.size() > kRecords) records_.pop_front();
}

void TcpProxy::Accept() {
  for (;;) {
    Descriptor client(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) return;
    ++accepted_;
    Descriptor server = Dial(target_port_);
    // Nobody there: the client sees what it would see without us.
    if (!server) {
      Abort(client.get());
      continue;
    }
    SendAtOnce(client.get());
    SendAtOnce(server.get());
    Connection& connection = connections_.emplace_back();
    connection.up.from = connection.down.to = client.get();
    connection.up.to = connection.down.from = server.get();
    connection.client = std::move(client);
    connection.server = std::move(server);
  }
}

void TcpProxy::Read(Connection& connection, Way& way, bool is_up) {
  std::string bytes(kReadBytes, '\0');
  const ssize_t got = ::recv(way.from, bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    way.ended = true;
    // A reset passes at once.
    connection.dead = connection.dead || got < 0;
    return;
  }
  bytes.resize(static_cast<size_t>(got));
  if (cut_after_ > 0) {
    const uint64_t passes = std::min<uint64_t>(cut_after_, bytes.size());
    cut_after_ -= passes;
    if (cut_after_ == 0) {
      bytes.resize(passes);
      [[maybe_unused]] const ssize_t ignored = ::send(way.to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      connection.dead = true;
      return;
    }
  }
  if (is_up && connection.recorded) {
    connection.recorded = connection.record.size() + bytes.size() <= kMostRecorded;
    if (connection.recorded) connection.record += bytes;
  }
  const Time now = Steady::now();
  Time due = std::max({now + weather_.delay + LossDelay(), way.last_due, stalled_until_});
  if (weather_.bytes_per_s > 0) {
    due = std::max(due, way.last_due) + std::chrono::microseconds(bytes.size() * 1'000'000 / weather_.bytes_per_s);
  }
  way.last_due = due;
  way.queued += bytes.size();
  way.pieces.push_back({due, std::move(bytes)});
}

void TcpProxy::Write(Connection& connection, Way& way, Time now) {
  while (!way.pieces.empty() && way.pieces.front().due <= now && now >= stalled_until_) {
    std::string& bytes = way.pieces.front().bytes;
    const ssize_t sent = ::send(way.to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0) {
      connection.dead = true;
      return;
    }
    way.queued -= static_cast<size_t>(sent);
    bytes.erase(0, static_cast<size_t>(sent));
    if (!bytes.empty()) return;
    way.pieces.pop_front();
  }
  if (way.ended && way.pieces.empty() && !way.shut) {
    ::shutdown(way.to, SHUT_WR);
    way.shut = true;
  }
}

void TcpProxy::Run() {
  std::vector<pollfd> waiting;
  while (!stop_) {
    int wait_ms = 200;
    {
      const std::lock_guard lock(mutex_);
      for (const std::string& record : replays_) {
        Descriptor server = Dial(target_port_);
        if (!server) continue;
        Connection& connection = connections_.emplace_back();
        connection.recorded = false;
        connection.server = std::move(server);
        connection.up.to = connection.down.from = connection.server.get();
        connection.up.pieces.push_back({Steady::now(), record});
        connection.up.queued = record.size();
        connection.up.ended = true;
      }
      replays_.clear();
      const Time now = Steady::now();
      for (auto it = connections_.begin(); it != connections_.end();) {
        Connection& connection = *it;
        if (!connection.dead) Write(connection, connection.up, now);
        if (!connection.dead && connection.down.to >= 0) Write(connection, connection.down, now);
        const bool over =
            (connection.up.shut && connection.down.shut) || (connection.down.to < 0 && connection.down.ended);
        if (cut_all_ || connection.dead || over) {
          if (cut_all_ || connection.dead) {
            if (connection.client) Abort(connection.client.get());
            Abort(connection.server.get());
          }
          Remember(connection);
          it = connections_.erase(it);
        } else {
          ++it;
        }
      }
      cut_all_ = false;
      waiting.assign({{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}});
      for (Connection& connection : connections_) {
        for (Way* way : {&connection.up, &connection.down}) {
          if (way->from >= 0 && !way->ended && way->queued < kMostQueued) waiting.push_back({way->from, POLLIN, 0});
          if (way->pieces.empty()) continue;
          const Time due = std::max(way->pieces.front().due, stalled_until_);
          const auto left = std::chrono::duration_cast<milliseconds>(due - now).count();
          if (left > 0) {
            wait_ms = std::min<int>(wait_ms, static_cast<int>(left) + 1);
          } else {
            waiting.push_back({way->to, POLLOUT, 0});
          }
        }
      }
    }
    ::poll(waiting.data(), waiting.size(), wait_ms);
    const std::lock_guard lock(mutex_);
    if (waiting[0].revents != 0) {
      uint64_t count = 0;
      [[maybe_unused]] const ssize_t ignored = ::read(wake_.get(), &count, sizeof count);
    }
    if (waiting[1].revents != 0) Accept();
    std::vector<int> readable;
    for (size_t i = 2; i < waiting.size(); ++i) {
      if ((waiting[i].events & POLLIN) != 0 && waiting[i].revents != 0) readable.push_back(waiting[i].fd);
    }
    for (Connection& connection : connections_) {
      if (std::find(readable.begin(), readable.end(), connection.up.from) != readable.end())
        Read(connection, connection.up, true);
      if (std::find(readable.begin(), readable.end(), connection.down.from) != readable.end()) {
        Read(connection, connection.down, false);
        // The answers to a replay are nobody's.
        if (connection.down.to < 0) connection.down.pieces.clear(), connection.down.queued = 0;
      }
    }
  }
}

}  // namespace hone::test
