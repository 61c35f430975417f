// Many simulated workers in one thread. Each speaks the whole worker protocol over a connection of its own (hello,
// synchronize, leases, reports) and makes up the results at once, so that what is measured is the coordinator.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "common/transport/keys.h"
#include "proto/wire.pb.h"

namespace hone::bench {

struct CrowdOptions {
  std::string endpoint;
  uint32_t workers = 64;
  uint32_t settings = 1;            // Settings of the one backend that is advertised, integers from 0 to 10^9.
  std::string name = "sim";         // Of worker number N: name-N.
  std::vector<DialerKeys> keys;     // One a worker, by number; none: without keys.
};

// What happened since the start.
struct CrowdCounters {
  uint64_t registered = 0;          // Workers whose hello was answered.
  uint64_t trials = 0;              // Measurements whose report was acknowledged.
  uint64_t replies = 0;
  uint64_t errors = 0;
  std::string last_error;
  std::vector<double> dispatch_ms;  // From sending a report to holding the next lease.
  std::vector<double>
      idle_ms;  // Round trips of a Synchronize that was answered with neither lease nor acknowledgement.
};

// One thread.
class WorkerCrowd {
 public:
  explicit WorkerCrowd(const CrowdOptions& options);
  ~WorkerCrowd();

  // Connects all and sends their hellos.
  void Start();
  // Serves what arrives for at most `timeout`; returns after the first batch.
  void Turn(std::chrono::milliseconds timeout);
  // No new leases are asked for; heartbeats go on.
  void Pause() { working_ = false; }
  void Resume();
  const CrowdCounters& counters() const { return counters_; }
  CrowdCounters& counters() { return counters_; }

 private:
  struct Worker {
    zmq::socket_t socket;
    std::string name, session;
    uint64_t next_request = 1;
    bool known = false;
    bool idle = false;                       // Has an unanswered Synchronize that asks for work.
    std::vector<proto::Report> reports;      // Not acknowledged.
    std::chrono::steady_clock::time_point sent, reported;
    bool awaits_lease = false;
  };

  void SendHello(Worker& worker);
  void SendSynchronize(Worker& worker);
  void Send(Worker& worker, proto::Frame& frame);
  void Drain(Worker& worker);
  void Take(Worker& worker, const proto::Frame& frame);
  proto::Report Done(const proto::Lease& lease) const;

  const CrowdOptions options_;
  zmq::context_t context_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::deque<std::pair<std::chrono::steady_clock::time_point, Worker*>> unused_;
  int epoll_ = -1;
  bool working_ = true;
  CrowdCounters counters_;
};

}  // namespace hone::bench
