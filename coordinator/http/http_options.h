// How HTTP is served.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace hone {

struct HttpOptions {
  std::string listen;         // "127.0.0.1:5780"; "": not at all. Port 0: a free one.
  bool behind_proxy = false;  // A proxy does TLS: plain HTTP off the loopback too; nobody asks without a token.
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  std::filesystem::path tokens;   // The list of tokens (common/transport/tokens.h).
  std::filesystem::path nightly;  // The history of nightly runs; "": none.
  std::filesystem::path data;     // The coordinator's folder.
  bool keys = false;              // The coordinator works with keys: questions need a token on the loopback too.
  size_t streams = 1200;
  size_t connections = 1500;
  int64_t request_ms = 30'000;  // For a whole request to come.

  // Whether questions are answered without a token; found out when the address is known.
  bool open_reading = false;
  bool loopback = false;
};

}  // namespace hone
