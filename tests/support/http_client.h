// A small HTTP/1.1 client on a blocking socket, for tests and bench: it sends exactly what it is told, also what no
// proper client would.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/open_file.h"

namespace hone::test {

struct HttpReply {
  int status = 0;                              // 0: the connection ended without an answer.
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;                            // Unpacked.
  size_t transferred = 0;                      // Bytes of the body on the wire.

  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
  std::string Header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

inline std::string Gunzip(const std::string& packed) {
  constexpr int kWindowOfGzip = 15 + 16;
  z_stream stream{};
  if (inflateInit2(&stream, kWindowOfGzip) != Z_OK) return "";
  std::string text, block(1 << 16, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    result = inflate(&stream, Z_NO_FLUSH);
    text.append(block, 0, block.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  return text;
}

// One connection. Reading waits for at most `patience_s`.
class HttpConnection {
 public:
  explicit HttpConnection(uint16_t port, int patience_s = 20)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience = {patience_s, 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    open_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool open() const { return open_; }
  int fd() const { return socket_.get(); }

  bool Send(std::string_view bytes) {
    while (open_ && !bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return open_ = false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return open_;
  }
  // Up to and with `end`; what came instead where the connection ended.
  std::string Until(std::string_view end) {
    size_t found;
    while ((found = held_.find(end)) == std::string::npos) {
      if (!Receive()) return std::exchange(held_, {});
    }
    return Take(found + end.size());
  }
  std::string Exactly(size_t bytes) {
    while (held_.size() < bytes && Receive()) {
    }
    return Take(bytes);
  }
  // The head of an answer; the body is still to be read.
  HttpReply Head() {
    HttpReply reply;
    const std::string head = Until("\r\n\r\n");
    if (!head.starts_with("HTTP/1.")) return reply;
    reply.status = std::atoi(head.c_str() + 9);
    for (size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
      const size_t end = head.find("\r\n", at + 2);
      const size_t colon = head.find(':', at);
      if (end == std::string::npos || colon == std::string::npos || colon > end) continue;
      std::string name = head.substr(at + 2, colon - at - 2);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const size_t value = head.find_first_not_of(' ', colon + 1);
      reply.headers[name] = head.substr(value, end - value);
    }
    return reply;
  }
  HttpReply Answer(bool has_body = true) {
    HttpReply reply = Head();
    if (reply.status == 0 || !has_body || reply.status == 204 || reply.status == 304) return reply;
    if (reply.Header("transfer-encoding") == "chunked") {
      while (const auto chunk = Chunk()) reply.body += *chunk;
    } else {
      reply.body = Exactly(std::strtoull(reply.Header("content-length").c_str(), nullptr, 10));
    }
    reply.transferred = reply.body.size();
    if (reply.Header("content-encoding") == "gzip") reply.body = Gunzip(reply.body);
    return reply;
  }
  // nullopt at the end.
  std::optional<std::string> Chunk() {
    const std::string size = Until("\r\n");
    const size_t bytes = std::strtoull(size.c_str(), nullptr, 16);
    const std::string chunk = Exactly(bytes);
    (void)Exactly(2);
    if (bytes == 0 || chunk.size() < bytes) return std::nullopt;
    return chunk;
  }

 private:
  bool Receive() {
    char block[1 << 16];
    const ssize_t received = open_ ? ::recv(socket_.get(), block, sizeof block, 0) : 0;
    if (received <= 0) return open_ = false;
    held_.append(block, static_cast<size_t>(received));
    return true;
  }
  std::string Take(size_t bytes) {
    std::string taken = held_.substr(0, bytes);
    held_.erase(0, taken.size());
    return taken;
  }
  Descriptor socket_;
  bool open_ = false;
  std::string held_;
};

using HttpHeaders = std::map<std::string, std::string>;

inline std::string HttpRequestText(const std::string& method, const std::string& target, HttpHeaders headers,
                                   const std::string& body, uint16_t port) {
  if (headers.count("Host") == 0) headers["Host"] = "127.0.0.1:" + std::to_string(port);
  if (!body.empty() && headers.count("Content-Type") == 0) headers["Content-Type"] = "application/json";
  if (!body.empty() || method == "POST" || method == "PUT") headers["Content-Length"] = std::to_string(body.size());
  std::string text = method + " " + target + " HTTP/1.1\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  return text + "\r\n" + body;
}

// One request on a connection of its own.
inline HttpReply HttpCall(uint16_t port, const std::string& method, const std::string& target,
                          const HttpHeaders& headers = {}, const std::string& body = "") {
  HttpConnection connection(port);
  if (!connection.Send(HttpRequestText(method, target, headers, body, port))) return {};
  return connection.Answer(method != "HEAD");
}

}  // namespace hone::test
