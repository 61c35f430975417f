// What of the coordinator goes to Redis: each event once it is committed, and the live workers every few seconds.
//
//   hone:events           a stream; an entry has job, study, trial, sequence, kind, text, unix_ms, coordinator; the
//   oldest are trimmed hone:worker:<name>    the worker's coordinator; expires unless it is said again
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/coordinator.h"
#include "coordinator/redis/publisher.h"

namespace hone {

// The loop's thread alone.
class Feed {
 public:
  // Events that are there already are not told again.
  Feed(RedisAddress address, Coordinator& coordinator, std::string endpoint);
  // After a round. Reads the database as far as there is news; waits for nobody.
  void Tell(Coordinator& coordinator);
  RedisPublisher::State state() const { return publisher_->state(); }

 private:
  void TellEvents(Coordinator& coordinator);
  void TellWorkers(const Coordinator& coordinator, int64_t now_ms);

  const std::string endpoint_;
  const std::unique_ptr<RedisPublisher> publisher_;
  uint64_t told_ = 0;               // The last event.
  int64_t next_workers_ms_ = 0;     // Steady clock.
};

}  // namespace hone
