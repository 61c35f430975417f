// A web server for a few requests: it keeps them as they came and answers each with the next of the given codes.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace hone::test {

class HookServer {
 public:
  explicit HookServer(std::vector<int> codes)
      : codes_(std::move(codes)), socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const bool listens = bind(socket_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(socket_, 8) == 0 &&
                         getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    if (!listens) throw std::runtime_error("no port of the loopback is free");
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { Serve(); });
  }
  ~HookServer() {
    Requests();
    close(socket_);
  }

  std::string Url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }

  // As they came, once there were as many as there are codes, or nobody came for a while.
  const std::vector<std::string>& Requests() {
    if (thread_.joinable()) thread_.join();
    return requests_;
  }

 private:
  static constexpr int kPatienceMs = 30'000;

  static bool Readable(int fd) {
    pollfd waited{fd, POLLIN, 0};
    return poll(&waited, 1, kPatienceMs) == 1;
  }

  void Serve() {
    for (const int code : codes_) {
      if (!Readable(socket_)) return;
      const int peer = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) return;
      requests_.push_back(Read(peer));
      const std::string answer =
          "HTTP/1.1 " + std::to_string(code) + " x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      (void)!send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
      close(peer);
    }
  }

  // Head and body, whose length the head tells.
  static std::string Read(int peer) {
    std::string text;
    size_t wanted = std::string::npos;
    while (text.size() < wanted && Readable(peer)) {
      char bytes[4096];
      const ssize_t got = recv(peer, bytes, sizeof bytes, 0);
      if (got <= 0) break;
      text.append(bytes, static_cast<size_t>(got));
      const size_t head = text.find("\r\n\r\n");
      const size_t length = text.find("Content-Length: ");
      if (head != std::string::npos && length < head) wanted = head + 4 + std::stoul(text.substr(length + 16));
    }
    return text;
  }

  const std::vector<int> codes_;
  const int socket_;
  int port_ = 0;
  std::vector<std::string> requests_;  // Of the thread until it is joined.
  std::jthread thread_;
};

}  // namespace hone::test
