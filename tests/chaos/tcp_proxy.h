// A TCP proxy that misbehaves on request, between workers or clients and a coordinator: bytes come late, stop, come
// again, or not at all.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/base/open_file.h"

namespace hone::test {

// Listens on a free port of the loopback and forwards every connection to another port there. Calls are safe from any
// thread; one thread of its own moves the bytes.
class TcpProxy {
 public:
  TcpProxy(uint16_t target_port, uint64_t seed);
  ~TcpProxy();
  std::string endpoint() const;

  // Every connection ends at once, as when a cable is pulled and the kernels notice.
  void CutAll();
  // The next connection on which so many more bytes passed ends there, in the middle of a frame.
  void CutAfter(uint64_t bytes);
  // Nothing passes for so long; it is kept and comes late.
  void Stall(std::chrono::milliseconds time);
  // Every piece of bytes comes `delay` late, in order. A lost segment delays it and what follows by the
  // retransmissions' time-outs: `rto`, doubled for each loss in a row.
  struct Weather {
    std::chrono::milliseconds delay{0};
    double loss = 0;
    std::chrono::milliseconds rto{200};
    uint64_t bytes_per_s = 0;        // Of one direction of one connection; 0: as fast as it goes.
  };
  void Set(const Weather& weather);
  // Sends what clients sent on earlier connections again, byte for byte, each on a new connection; answers are read and
  // dropped. Returns how many connections.
  size_t Replay();

  uint64_t lost_segments() const { return lost_segments_; }
  uint64_t connections() const { return accepted_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Piece {
    Time due;
    std::string bytes;
  };
  struct Way {                       // One direction.
    int from = -1;
    int to = -1;
    std::deque<Piece> pieces;
    size_t queued = 0;
    Time last_due;
    bool ended = false;              // No more will come.
    bool shut = false;               // And the receiver knows.
  };
  struct Connection {
    Descriptor client;
    Descriptor server;
    Way up, down;
    std::string record;
    bool recorded = true;            // All of it is in `record`.
    bool dead = false;
  };

  void Run();
  void Accept();
  void Read(Connection& connection, Way& way, bool is_up);
  void Write(Connection& connection, Way& way, Time now);
  std::chrono::milliseconds LossDelay();
  void Remember(Connection& connection);
  void Wake();

  const uint16_t target_port_;
  uint16_t port_ = 0;                // Before the listener, which sets it.
  Descriptor listener_;
  Descriptor wake_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> lost_segments_{0};
  std::atomic<uint64_t> accepted_{0};

  std::mutex mutex_;                 // Guards what follows.
  std::list<Connection> connections_;
  std::deque<std::string> records_;
  std::vector<std::string> replays_;
  Weather weather_;
  Time stalled_until_;
  bool cut_all_ = false;
  uint64_t cut_after_ = 0;
  std::mt19937_64 random_;

  std::thread thread_;
};

}  // namespace hone::test
