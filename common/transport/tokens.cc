#include "common/transport/tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr std::string_view kTokenPrefix = "hone_";
constexpr size_t kTokenBytes = 32;
constexpr size_t kDigestDigits = 64;
constexpr uint64_t kMaxTokenList = 1 << 20;
constexpr std::array kTokenRoles = {Role::client, Role::worker, Role::admin};

bool IsTokenDigest(std::string_view text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<TokenList::Entry> ParseTokenLine(const std::vector<std::string>& words) {
  TokenList::Entry entry;
  entry.revoked = words[0] == "revoked";
  entry.role = Role::everyone;
  for (const Role role : kTokenRoles) {
    if (words[0] == RoleName(role)) entry.role = role;
  }
  if (!entry.revoked && entry.role == Role::everyone) {
    return Fail(ErrorCode::kRejected,
                fmt::format("'{}' is none of client, worker, admin, revoked", Printable(words[0], 40)));
  }
  entry.name = words[1];
  entry.digest = words[2];
  if (!IsKeyName(entry.name))
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is no name", Printable(entry.name, 80)));
  if (!IsTokenDigest(entry.digest)) return Fail(ErrorCode::kRejected, "a token's digest has 64 hexadecimal digits");
  return entry;
}

}  // namespace

Result<std::string> MakeToken() {
  std::array<unsigned char, kTokenBytes> bytes{};
  if (RAND_bytes(bytes.data(), kTokenBytes) != 1) return Fail(ErrorCode::kFailed, "make a token: no randomness");
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string token(kTokenPrefix);
  uint32_t bits = 0;
  int held = 0;
  for (const unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    held += 8;
    for (; held >= 6; held -= 6) token += kLetters[bits >> (held - 6) & 63];
  }
  token += kLetters[bits << (6 - held) & 63];
  return token;
}

std::string TokenDigest(std::string_view token) {
  const std::string digest = DigestOf(token);
  return digest.substr(digest.find(':') + 1);
}

Result<TokenList> TokenList::Parse(std::string_view text, const std::string& file) {
  TokenList list;
  uint32_t number = 0;
  for (const std::string& line : Split(text, '\n')) {
    ++number;
    std::vector<std::string> words;
    for (const std::string& word : Split(Trim(line), ' ')) {
      if (!word.empty()) words.push_back(word);
    }
    if (words.empty() || words[0].starts_with('#')) continue;
    auto entry =
        words.size() == 3 ? ParseTokenLine(words) : Fail(ErrorCode::kRejected, "a line is \"role name digest\"");
    if (!entry) {
      Error error = entry.error();
      error.file = file;
      error.line = number;
      return Fail(std::move(error));
    }
    list.entries_.push_back(std::move(*entry));
  }
  return list;
}

Result<TokenList> TokenList::Read(const std::filesystem::path& file) {
  const auto opened = OpenRegular(file);
  if (!opened && opened.error().code == ErrorCode::kNotFound) return TokenList();
  if (!opened) return Fail(opened.error());
  if ((opened->mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Fail(ErrorCode::kDenied, fmt::format("{}: others than its owner can use this list of tokens", file.string()),
                fmt::format("chmod 600 {}", ShellWord(file.string())));
  }
  if (opened->size_bytes > kMaxTokenList)
    return Fail(ErrorCode::kRejected, fmt::format("{}: too large for a list of tokens", file.string()));
  TRY_ASSIGN(const std::string text, ReadFile(file, kMaxTokenList));
  return Parse(text, file.string());
}

Result<> TokenList::Write(const std::filesystem::path& file) const {
  std::string text = "# Who may ask over HTTP (hone token): role, name, SHA-256 of the token.\n";
  for (const Entry& entry : entries_) {
    text += fmt::format("{} {} {}\n", entry.revoked ? "revoked" : RoleName(entry.role), entry.name, entry.digest);
  }
  TRY_ASSIGN(TemporaryFile temporary, TemporaryFile::Make(FolderOf(file)));
  if (fchmod(temporary.fd(), S_IRUSR | S_IWUSR) != 0) return Fail(ErrnoError("set the rights of", file, errno));
  TRY(WriteAll(temporary.fd(), text, file));
  TRY(temporary.Sync());
  TRY(temporary.Commit(file));
  return SyncFolder(FolderOf(file));
}

const TokenList::Entry* TokenList::Find(std::string_view token) const {
  const std::string digest = TokenDigest(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    const bool same = CRYPTO_memcmp(entry.digest.data(), digest.data(), kDigestDigits) == 0;
    if (same && !entry.revoked) found = &entry;
  }
  return found;
}

Result<> TokenList::Add(Entry entry) {
  if (!IsKeyName(entry.name)) {
    return Fail(ErrorCode::kUsage, fmt::format("'{}' is no name for a token", Printable(entry.name, 80)),
                "letters, digits and . _ -, at most 64");
  }
  for (const Entry& known : entries_) {
    if (known.name == entry.name && !known.revoked) {
      return Fail(ErrorCode::kConflict, fmt::format("{} has a token already", entry.name),
                  fmt::format("`hone token revoke {}` first", entry.name));
    }
  }
  entries_.push_back(std::move(entry));
  return {};
}

Result<bool> TokenList::Revoke(std::string_view name) {
  bool known = false, was_in_force = false;
  std::vector<std::string> names;
  for (Entry& entry : entries_) {
    names.push_back(entry.name);
    if (entry.name != name) continue;
    known = true;
    was_in_force = was_in_force || !entry.revoked;
    entry.revoked = true;
  }
  if (known) return was_in_force;
  return Fail(ErrorCode::kNotFound, fmt::format("no token is {}'s{}", Printable(name, 80), DidYouMean(name, names)));
}

}  // namespace hone
