// A worker without models: it speaks the protocol over a real connection, makes up its results from what it is asked
// (the same work gives the same result), and can be killed, frozen and made to repeat itself. Its spool survives its
// death, as the files of a real worker do.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/transport/transport.h"
#include "tests/chaos/client_log.h"

namespace hone::test {

class SimWorker {
 public:
  struct Options {
    std::string endpoint;
    std::string name;
    std::string tag = "sim";
    uint64_t seed = 1;
    int longest_work_ms = 15;          // A piece takes up to so long.
    int repeats = 3;                   // An acknowledged report is sent up to so often again.
    double crashes = 0.02;             // Share of pieces reported as crashed.
    uint32_t wait_ms = 1;              // How long an answer may be held back while a piece is being worked on.
  };
  SimWorker(Options options, ClientLog& log);
  ~SimWorker();

  // As kill -9 and a start: what it held is forgotten, what it had reported and not delivered is sent by the next life.
  void Restart();
  void Kill();
  void Start();
  // From now on nothing is sent; what waits for an answer may still get it.
  void KillWithoutWaiting() { ++life_; }
  // Says and does nothing for so long, then goes on as if nothing had been.
  void Freeze(std::chrono::milliseconds time);

  std::vector<uint64_t> held() const;
  uint64_t done() const { return done_; }
  uint64_t dropped() const { return dropped_; }       // Leases that the coordinator told it to drop.
  uint64_t repeated() const { return repeated_; }     // Reports sent again after they were acknowledged.

 private:
  struct Work {
    proto::Lease lease;
    std::chrono::steady_clock::time_point ready;
  };
  struct Repeat {
    proto::Report report;
    int left = 0;
  };

  void Run(uint64_t life);
  Result<> Say(Dialer& dialer);
  Result<> Synchronize(Dialer& dialer);
  void Finish(Dialer& dialer);
  Result<proto::BuildResult> Build(Dialer& dialer, const proto::BuildWork& work);
  bool Stopped(uint64_t life) const { return life_ != life; }

  const Options options_;
  ClientLog& log_;
  std::atomic<uint64_t> life_{0};
  std::atomic<int64_t> frozen_until_ms_{0};
  std::atomic<uint64_t> done_{0}, dropped_{0}, repeated_{0};

  mutable std::mutex mutex_;                          // Guards held_ alone; the rest is the thread's.
  std::map<uint64_t, Work> held_;

  std::map<uint64_t, proto::Report> spool_;
  std::vector<Repeat> repeats_;
  std::string session_;
  bool registered_ = false;
  std::mt19937_64 random_;
  std::thread thread_;
};

}  // namespace hone::test
