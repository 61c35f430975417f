#include "coordinator/redis/connection.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <sys/stat.h>

#include <string_view>
#include <utility>

#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr uint64_t kMaxPasswordBytes = 4096;
constexpr size_t kMaxErrorBytes = 200;

Result<std::string> Decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    const auto digit = [&](size_t at) -> int {
      if (at >= text.size()) return -1;
      const char c = text[at];
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const int high = digit(i + 1);
    const int low = digit(i + 2);
    if (high < 0 || low < 0) return Fail(ErrorCode::kUsage, "after % stand two hexadecimal digits");
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return decoded;
}

tl::unexpected<Error> Malformed(const std::string& cause) {
  return Fail(ErrorCode::kUsage, "the Redis URL: " + cause,
              "Write redis://[user[:password]@]host[:port][/database] or unix:///path[?db=N]");
}

Result<uint32_t> ParseDatabase(std::string_view text) {
  const auto number = ParseInteger(text);
  if (!number || *number < 0 || *number > 65535) return Malformed("its database is no number");
  return static_cast<uint32_t>(*number);
}

Result<std::string> ReadPassword(const std::filesystem::path& file) {
  TRY_ASSIGN(const RegularFile opened, OpenRegular(file));
  if ((opened.mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Fail(ErrorCode::kDenied, fmt::format("{}: others than its owner can read this password", file.string()),
                fmt::format("chmod 600 {}", file.string()));
  }
  if (opened.size_bytes > kMaxPasswordBytes)
    return Fail(ErrorCode::kRejected, fmt::format("{}: it is no password", file.string()));
  std::string bytes(opened.size_bytes, '\0');
  TRY_ASSIGN(const size_t count, ReadSome(opened.descriptor.get(), bytes.data(), bytes.size(), file));
  bytes.resize(count);
  return std::string(Trim(bytes));
}

Result<> ParseAuthority(std::string_view text, RedisAddress& address) {
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = text.substr(0, at);
    const size_t colon = login.find(':');
    TRY_ASSIGN(address.user, Decoded(login.substr(0, colon)));
    if (colon != std::string_view::npos) {
      TRY_ASSIGN(address.password, Decoded(login.substr(colon + 1)));
    }
    text.remove_prefix(at + 1);
  }
  std::string_view host = text;
  const size_t colon = text.rfind(':');
  const bool ipv6 = text.starts_with('[');
  if (colon != std::string_view::npos && (!ipv6 || text[colon - 1] == ']')) {
    const auto port = ParseInteger(text.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) return Malformed("its port is no number from 1 to 65535");
    address.port = static_cast<uint16_t>(*port);
    host = text.substr(0, colon);
  }
  if (ipv6) {
    if (host.size() < 4 || host.back() != ']') return Malformed("its host is malformed");
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty()) return Malformed("it names no host");
  address.host = host;
  return {};
}

timeval TimevalOf(std::chrono::milliseconds time) { return {time.count() / 1000, (time.count() % 1000) * 1000}; }

// In place of arrays, which nothing that is sent here is answered by: hiredis takes it for a failure.
template <class... Arguments>
void* NoArray(Arguments...) {
  return nullptr;
}
template <class... Arguments>
auto NoArrayLike(void* (*)(Arguments...)) {
  return &NoArray<Arguments...>;
}

}  // namespace

std::string RedisAddress::Text() const {
  const std::string login = user.empty() ? "" : user + "@";
  return path.empty() ? fmt::format("redis://{}{}:{}/{}", login, host, port, database)
                      : fmt::format("unix://{}?db={}", path, database);
}

Result<RedisAddress> ParseRedisUrl(const std::string& url, const std::filesystem::path& password_file) {
  constexpr std::string_view kTcp = "redis://";
  constexpr std::string_view kUnix = "unix://";
  RedisAddress address;
  std::string_view rest = url;
  if (rest.starts_with(kUnix)) {
    rest.remove_prefix(kUnix.size());
    const size_t query = rest.find('?');
    address.path = rest.substr(0, query);
    if (address.path.empty() || address.path.front() != '/') return Malformed("it names no absolute path");
    if (query != std::string_view::npos) {
      if (!rest.substr(query + 1).starts_with("db=")) return Malformed("after ? stands db=N");
      TRY_ASSIGN(address.database, ParseDatabase(rest.substr(query + 4)));
    }
  } else if (rest.starts_with(kTcp)) {
    rest.remove_prefix(kTcp.size());
    const size_t slash = rest.find('/', rest.rfind('@') == std::string_view::npos ? 0 : rest.rfind('@'));
    if (slash != std::string_view::npos && slash + 1 < rest.size()) {
      TRY_ASSIGN(address.database, ParseDatabase(rest.substr(slash + 1)));
    }
    TRY(ParseAuthority(rest.substr(0, slash), address));
  } else {
    return Malformed("it begins with neither redis:// nor unix://");
  }
  if (!password_file.empty()) {
    TRY_ASSIGN(address.password, ReadPassword(password_file));
  }
  return address;
}

Result<RedisConnection> RedisConnection::Open(const RedisAddress& address, std::chrono::milliseconds timeout) {
  const timeval limit = TimevalOf(timeout);
  RedisConnection connection(address.path.empty() ? redisConnectWithTimeout(address.host.c_str(), address.port, limit)
                                                  : redisConnectUnixWithTimeout(address.path.c_str(), limit));
  redisContext* const raw = connection.context_;
  if (raw == nullptr) return Fail(ErrorCode::kExhausted, "no memory for a connection");
  if (raw->err != 0) return Fail(ErrorCode::kUnreachable, raw->errstr);
  if (redisSetTimeout(raw, limit) != REDIS_OK) return Fail(ErrorCode::kUnreachable, "no time-out could be set");
  static redisReplyObjectFunctions functions = [&] {
    redisReplyObjectFunctions bounded = *raw->reader->fn;
    bounded.createArray = NoArrayLike(bounded.createArray);
    return bounded;
  }();
  raw->reader->fn = &functions;
  if (!address.password.empty()) {
    TRY(connection.LogIn(address.user.empty() ? RedisCommand{"AUTH", address.password}
                                              : RedisCommand{"AUTH", address.user, address.password},
                         "log in"));
  }
  if (address.database != 0) TRY(connection.LogIn({"SELECT", std::to_string(address.database)}, "select the database"));
  return connection;
}

RedisConnection::~RedisConnection() {
  if (context_ != nullptr) redisFree(context_);
}

RedisConnection::RedisConnection(RedisConnection&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)), most_bytes_(other.most_bytes_) {}

RedisConnection& RedisConnection::operator=(RedisConnection&& other) noexcept {
  std::swap(context_, other.context_);
  std::swap(most_bytes_, other.most_bytes_);
  return *this;
}

void RedisConnection::Append(const RedisCommand& command) {
  std::vector<const char*> words;
  std::vector<size_t> sizes;
  for (const std::string& word : command) {
    words.push_back(word.data());
    sizes.push_back(word.size());
  }
  redisAppendCommandArgv(context_, static_cast<int>(words.size()), words.data(), sizes.data());
}

Result<> RedisConnection::Flush() {
  int done = 0;
  while (done == 0) {
    if (redisBufferWrite(context_, &done) != REDIS_OK) return Fail(ErrorCode::kUnreachable, context_->errstr);
  }
  return {};
}

Result<RedisReply> RedisConnection::NextReply() {
  void* raw = nullptr;
  while (true) {
    if (redisReaderGetReply(context_->reader, &raw) != REDIS_OK) {
      return Fail(ErrorCode::kRejected, fmt::format("it does not speak as Redis does: {}",
                                                    Printable(context_->reader->errstr, kMaxErrorBytes)));
    }
    if (raw != nullptr) break;
    if (context_->reader->len > most_bytes_) return Fail(ErrorCode::kRejected, "its reply is too long");
    if (redisBufferRead(context_) != REDIS_OK) return Fail(ErrorCode::kUnreachable, context_->errstr);
  }
  auto* const answer = static_cast<redisReply*>(raw);
  RedisReply reply;
  const std::string_view text =
      answer->str == nullptr ? std::string_view() : std::string_view(answer->str, answer->len);
  if (answer->type == REDIS_REPLY_ERROR) reply.refusal = Printable(text, kMaxErrorBytes);
  if (answer->type == REDIS_REPLY_STRING && text.size() <= most_bytes_) reply.value = text;
  if (answer->type == REDIS_REPLY_INTEGER) reply.number = answer->integer;
  freeReplyObject(answer);
  return reply;
}

Result<RedisReply> RedisConnection::Call(const RedisCommand& command) {
  Append(command);
  TRY(Flush());
  return NextReply();
}

Result<> RedisConnection::LogIn(const RedisCommand& command, const char* purpose) {
  TRY_ASSIGN(const RedisReply reply, Call(command));
  return reply.refusal ? Result<>(Fail(ErrorCode::kDenied, fmt::format("{}: {}", purpose, *reply.refusal)))
                       : Result<>();
}

}  // namespace hone
