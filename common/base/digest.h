// SHA-256 (OpenSSL), written as "sha256:" and 64 lower-case hexadecimal digits everywhere in hone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace hone {

// Incremental hash. One thread at a time.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void Update(std::string_view bytes);
  // "sha256:..."; the hasher must not be used afterwards.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string DigestOf(std::string_view bytes);
Result<std::string> DigestOfFile(const std::filesystem::path& path);

// Whether text has the form "sha256:" + 64 lower-case hexadecimal digits.
bool IsDigest(std::string_view text);

}  // namespace hone
