#include "common/base/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "common/base/open_file.h"

namespace hone {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr size_t kHexDigits = 64;
constexpr size_t kReadBytes = 1 << 20;

}  // namespace

struct Hasher::State {
  State() : context(EVP_MD_CTX_new()) {
    CHECK_THAT(context != nullptr);
    CHECK_THAT(EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  EVP_MD_CTX* context;
};

Hasher::Hasher() : state_(std::make_unique<State>()) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::Update(std::string_view bytes) {
  CHECK_THAT(state_ != nullptr);
  CHECK_THAT(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

std::string Hasher::Finish() {
  CHECK_THAT(state_ != nullptr);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  CHECK_THAT(EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1);
  state_.reset();
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(kPrefix);
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

std::string DigestOf(std::string_view bytes) {
  Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

Result<std::string> DigestOfFile(const std::filesystem::path& path) {
  TRY_ASSIGN(const RegularFile file, OpenRegular(path));
  Hasher hasher;
  std::vector<char> buffer(kReadBytes);
  while (true) {
    TRY_ASSIGN(const size_t count, ReadSome(file.descriptor.get(), buffer.data(), buffer.size(), path));
    if (count == 0) return hasher.Finish();
    hasher.Update({buffer.data(), count});
  }
}

bool IsDigest(std::string_view text) {
  if (text.size() != kPrefix.size() + kHexDigits || !text.starts_with(kPrefix)) return false;
  text.remove_prefix(kPrefix.size());
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace hone
