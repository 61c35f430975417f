// Throughput of a good client at a real hone-coordinator: without keys, with keys, and with keys beside those who mean
// no good. Each row is the median of several rounds; the rounds of all rows take turns, so that the machine's moods
// fall on all of them.
//
//   security_bench [SECONDS A ROUND] [ROUNDS]
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <zmq.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bench/support/coordinator_process.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/transport/transport.h"

namespace hone::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kCall{20'000};
constexpr size_t kIdle = 1000;

// Calls a second, one after the other.
double Calls(Dialer& dialer, double seconds) {
  proto::Frame ping;
  ping.mutable_ping();
  uint64_t calls = 0;
  const auto begin = Clock::now();
  double passed = 0;
  do {
    Must(dialer.Call(ping, kCall));
    ++calls;
    passed = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (passed < seconds);
  return static_cast<double>(calls) / passed;
}

// Something that goes on in a thread until the object ends.
class Background {
 public:
  explicit Background(std::function<void(const std::atomic<bool>&)> work)
      : thread_([this, work = std::move(work)] { work(stop_); }) {}
  ~Background() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Frames that are none from a key that is let in, 10,000 a second.
void SendBadFrames(const std::string& endpoint, const std::optional<DialerKeys>& keys, const std::atomic<bool>& stop) {
  void* context = zmq_ctx_new();
  void* socket = zmq_socket(context, ZMQ_DEALER);
  const int none = 0;
  zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
  if (keys) {
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys->coordinator.data(), keys->coordinator.size());
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->own.public_key.data(), keys->own.public_key.size());
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->own.secret_key.data(), keys->own.secret_key.size());
  }
  zmq_connect(socket, endpoint.c_str());
  const std::string bad = "\xff\xff\xff these are no frames of hone, and never will be";
  auto next = Clock::now();
  while (!stop) {
    for (int i = 0; i < 10; ++i) zmq_send(socket, bad.data(), bad.size(), ZMQ_DONTWAIT);
    next += milliseconds(1);
    std::this_thread::sleep_until(next);
  }
  zmq_close(socket);
  zmq_ctx_term(context);
}

Descriptor ConnectRaw(uint16_t port) {
  Descriptor raw(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!raw || connect(raw.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return raw;
}

// Connections that say something that is no handshake, 1,000 a second.
void Knock(uint16_t port, const std::atomic<bool>& stop) {
  auto next = Clock::now();
  while (!stop) {
    if (const Descriptor raw = ConnectRaw(port)) {
      [[maybe_unused]] const ssize_t ignored = send(raw.get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    }
    next += milliseconds(1);
    std::this_thread::sleep_until(next);
  }
}

// Connections that say nothing, kept up as the coordinator closes them.
void SitThere(uint16_t port, const std::atomic<bool>& stop) {
  std::vector<Descriptor> idle(kIdle);
  for (size_t i = 0; !stop; i = (i + 1) % kIdle) {
    idle[i] = ConnectRaw(port);
    // All of them anew every two seconds, before the handshake's three are over.
    if (idle[kIdle - 1]) std::this_thread::sleep_for(milliseconds(2));
  }
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  RaiseDescriptorLimit();
  const ScopedFolder folder = Must(ScopedFolder::Make(fs::temp_directory_path(), "hone-security-bench-"));
  Membership members(folder.path() / "keys");
  const DialerKeys good = members.Member("good", Role::client);
  const DialerKeys bad = members.Member("bad", Role::client);
  members.Write();
  CoordinatorProcess plain(folder.path() / "plain");
  CoordinatorProcess curve(folder.path() / "curve", members.folder());
  plain.Start();
  curve.Start();
  const auto to_plain = Must(Dialer::Connect(plain.endpoint()));
  const auto to_curve = Must(Dialer::Connect(curve.endpoint(), {good}));

  struct Row {
    const char* name;
    Dialer* dialer;
    std::function<void(const std::atomic<bool>&)> beside;
    std::vector<double> calls = {};
  };
  std::vector<Row> rows = {
      {"without keys", to_plain.get(), {}},
      {"without keys, beside 10,000 bad frames/s", to_plain.get(),
       [&](const auto& stop) { SendBadFrames(plain.endpoint(), std::nullopt, stop); }},
      {"with keys", to_curve.get(), {}},
      {"with keys, beside 10,000 bad frames/s of a key that is let in", to_curve.get(),
       [&](const auto& stop) { SendBadFrames(curve.endpoint(), bad, stop); }},
      {"with keys, beside 1,000 connections/s without a handshake", to_curve.get(),
       [&](const auto& stop) { Knock(curve.port(), stop); }},
      {"with keys, beside 1,000 idle connections", to_curve.get(),
       [&](const auto& stop) { SitThere(curve.port(), stop); }},
  };
  for (const Row& row : rows) Calls(*row.dialer, 0.2);
  for (int round = 0; round < rounds; ++round) {
    for (Row& row : rows) {
      std::optional<Background> beside;
      if (row.beside) {
        beside.emplace(row.beside);
        Calls(*row.dialer, 0.3);   // Until it is at its full strength.
      }
      row.calls.push_back(Calls(*row.dialer, seconds));
    }
  }
  fmt::print("{:<64} {:>10} {:>8}\n", "", "calls/s", "");
  double alone = 0;
  for (const Row& row : rows) {
    const double calls = Median(row.calls);
    if (!row.beside) alone = calls;
    fmt::print("{:<64} {:>10.0f} {:>7.0f}%\n", row.name, calls, 100 * calls / alone);
  }
  return 0;
}

}  // namespace
}  // namespace hone::bench

int main(int argc, char** argv) { return hone::bench::Main(argc, argv); }
