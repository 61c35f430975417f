// The connections of the HTTP server: how many there may be, and for how long one may be about to ask. A client that
// sends its request a byte at a time is cut off; TLS is begun here where it is used.
#pragma once

#include <event2/http.h>
#include <openssl/ssl.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <unordered_map>

#include "common/base/clock.h"
#include "common/base/result.h"

struct bufferevent;
struct evconnlistener;

namespace hone {

struct FreeTls {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using Tls = std::unique_ptr<SSL_CTX, FreeTls>;
// TLS 1.2 and later. kConfiguration for files that are no certificate and key that fit.
Result<Tls> LoadTls(const std::filesystem::path& certificate, const std::filesystem::path& key);

// The server's thread alone.
class Connections {
 public:
  struct Limits {
    size_t connections = 1500;
    int64_t request_ms = 30'000;  // From the first byte, or the answer before, to the whole request.
  };
  // `http` gets its connections from here. Without `tls` they are plain.
  Connections(evhttp* http, SSL_CTX* tls, const Clock& clock, Limits limits);
  ~Connections();
  void Use(evconnlistener* listener) { listener_ = listener; }
  // The request came whole; it is answered for as long as that takes.
  void Began(evhttp_request* request);
  // Several times a second.
  void Tick();
  // The server ends: its connections are its own.
  void Let();
  size_t open() const { return open_.size(); }

 private:
  struct Connection {
    Connections* owner = nullptr;
    int64_t since_ms = 0;
    bool answering = false;
  };
  static bufferevent* Make(event_base* base, void* self);
  static void OnComplete(evhttp_request* request, void* self);

  SSL_CTX* const tls_;
  const Clock& clock_;
  const Limits limits_;
  evconnlistener* listener_ = nullptr;
  bool accepting_ = true;
  // Each held by a reference of ours, so that the pointer stays valid until a tick sees that the server let go of it.
  std::unordered_map<bufferevent*, Connection> open_;
};

}  // namespace hone
