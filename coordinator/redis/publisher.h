// What a coordinator tells Redis: its events as a stream, its live workers as keys that expire. Redis is never asked
// anything that work depends on: killed, flushed, slow or wrong, it changes nothing but what its readers see
// (docs/redis.md).
//
// A thread of its own holds the connection. Between it and the coordinator's loop stands a queue with a bound: a full
// one loses its oldest commands, which are counted. Replies are those of a stranger: bounded, of few kinds, and none of
// their content is used.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/redis/connection.h"

namespace hone {

struct RedisOptions {
  size_t queue = 10'000;                                 // Commands that wait.
  size_t queue_bytes = 16 << 20;
  std::chrono::milliseconds timeout{1000};               // To connect, to write, for a reply.
  std::chrono::milliseconds longest_back_off{5000};
};

// Thread-safe.
class RedisPublisher {
 public:
  static std::unique_ptr<RedisPublisher> Start(RedisAddress address, const RedisOptions& options = {});
  // Ends within about two time-outs; what waits then is lost.
  ~RedisPublisher();

  // Never waits.
  void Push(RedisCommand command);

  struct State {
    bool connected = false;
    uint64_t sent = 0;             // Taken by Redis.
    uint64_t dropped = 0;          // The queue was full.
    uint64_t refused = 0;          // Redis answered with an error.
    uint64_t broken = 0;           // Connections that failed or said something odd.
    std::string error;             // The last one; "" while connected.
  };
  State state() const;

 private:
  RedisPublisher(RedisAddress address, const RedisOptions& options) : address_(std::move(address)), options_(options) {}
  void Run();
  Result<> SendBatch(RedisConnection& connection, const std::vector<RedisCommand>& batch, uint64_t number);
  // `number` is that of the first; `stop`: the thread shall end.
  std::vector<RedisCommand> NextBatch(uint64_t& number, bool& stop);
  void NoteFailure(const Error& error);

  const RedisAddress address_;
  const RedisOptions options_;

  mutable std::mutex mutex_;       // Guards what follows.
  std::condition_variable wake_;
  std::deque<RedisCommand> queue_;
  size_t queue_bytes_ = 0;
  uint64_t first_ = 0;  // Number of the queue's first command: what was dropped meanwhile is not taken off twice.
  bool stop_ = false;
  State state_;

  std::thread thread_;
};

}  // namespace hone
