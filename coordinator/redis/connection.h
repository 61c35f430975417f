// A Redis by its URL, and one connection to it. Its replies are those of a stranger: bounded, and of few kinds.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

struct redisContext;

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

// redis://[user[:password]@]host[:port][/database] or unix:///path[?db=N], with %XX for what a URL cannot hold.
// password_file, where not empty, holds the password instead (mode 0600). kUsage for a malformed one, which is never
// repeated in the message: it may hold a password.
Result<RedisAddress> ParseRedisUrl(const std::string& url, const std::filesystem::path& password_file = {});

using RedisCommand = std::vector<std::string>;

// What a command was answered with.
struct RedisReply {
  std::optional<std::string> refusal;    // An error of Redis; for people.
  std::optional<std::string> value;      // A text; nullopt: there is none under that key.
  int64_t number = 0;                    // Of a reply that is a number.
};

// One thread at a time. No wait for bytes is longer than the time-out. An error means that the connection is of no more
// use: kUnreachable; kRejected where it does not speak as Redis does (arrays, replies beyond their bound).
class RedisConnection {
 public:
  // kDenied where it does not let in.
  static Result<RedisConnection> Open(const RedisAddress& address, std::chrono::milliseconds timeout);
  ~RedisConnection();
  RedisConnection(RedisConnection&& other) noexcept;
  RedisConnection& operator=(RedisConnection&& other) noexcept;

  // Commands appended are sent by Flush and answered in order, each by one NextReply.
  void Append(const RedisCommand& command);
  Result<> Flush();
  Result<RedisReply> NextReply();
  // All three for one command.
  Result<RedisReply> Call(const RedisCommand& command);
  // Of the replies that follow; 64 KiB at first.
  void BoundReplies(size_t bytes) { most_bytes_ = bytes; }

 private:
  explicit RedisConnection(redisContext* context) : context_(context) {}
  Result<> LogIn(const RedisCommand& command, const char* purpose);

  redisContext* context_;
  size_t most_bytes_ = 64 << 10;
};

}  // namespace hone
