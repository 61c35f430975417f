// What a coordinator tells Redis: its events as a stream, its live workers as keys that expire. Redis is never asked anything that work depends
// on: killed, flushed, slow or wrong, it changes nothing but what its readers see (docs/redis.md).
//
// A thread of its own holds the connection. Between it and the coordinator's loop stands a queue with a bound: a full one loses its oldest
// commands, which are counted. Replies are those of a stranger: bounded, of few kinds, and none of their content is used.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct RedisAddress {
  std::string host;              // "" for a unix socket.
  uint16_t port = 6379;
  std::string path;              // Of a unix socket.
  std::string user;              // "": the default one.
  std::string password;
  uint32_t database = 0;

  // Without the password.
  std::string Text() const;
};

// redis://[user[:password]@]host[:port][/database] or unix:///path[?db=N], with %XX for what a URL cannot hold. password_file, where not
// empty, holds the password instead (mode 0600). kUsage for a malformed one, which is never repeated in the message: it may hold a password.
Result<RedisAddress> ParseRedisUrl(const std::string& url, const std::filesystem::path& password_file = {});

struct RedisOptions {
  size_t queue = 10'000;                                 // Commands that wait.
  size_t queue_bytes = 16 << 20;
  std::chrono::milliseconds timeout{1000};               // To connect, to write, for a reply.
  std::chrono::milliseconds longest_back_off{5000};
};

// Thread-safe.
class RedisPublisher {
 public:
  using Command = std::vector<std::string>;

  static std::unique_ptr<RedisPublisher> Start(RedisAddress address, const RedisOptions& options = {});
  // Ends within about two time-outs; what waits then is lost.
  ~RedisPublisher();

  // Never waits.
  void Push(Command command);

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
  class Connection;
  RedisPublisher(RedisAddress address, const RedisOptions& options) : address_(std::move(address)), options_(options) {}
  void Run();
  Result<> SendBatch(Connection& connection, const std::vector<Command>& batch, uint64_t number);
  // `number` is that of the first; `stop`: the thread shall end.
  std::vector<Command> NextBatch(uint64_t& number, bool& stop);
  void NoteFailure(const Error& error);

  const RedisAddress address_;
  const RedisOptions options_;

  mutable std::mutex mutex_;       // Guards what follows.
  std::condition_variable wake_;
  std::deque<Command> queue_;
  size_t queue_bytes_ = 0;
  uint64_t first_ = 0;             // Number of the queue's first command: what was dropped meanwhile is not taken off twice.
  bool stop_ = false;
  State state_;

  std::thread thread_;
};

}  // namespace hone
