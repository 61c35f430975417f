// Tokens: who may ask over HTTP. A token is "hone_" and 43 characters of base64url, 32 random bytes; its list holds
// what SHA-256 makes of it, so who reads the list can ask nothing. Roles are those of keys (common/transport/keys.h).
//
// The list is text, mode 0600: a line "role name digest" each; role revoked: no longer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/transport/keys.h"

namespace hone {

// A fresh one. kFailed where the machine has no randomness.
Result<std::string> MakeToken();
// 64 hexadecimal digits.
std::string TokenDigest(std::string_view token);

// A value.
class TokenList {
 public:
  struct Entry {
    Role role = Role::client;  // Of a revoked one: everyone.
    std::string name;
    std::string digest;
    bool revoked = false;
  };

  // kRejected, with the line, for anything but entries, comments (#) and empty lines.
  static Result<TokenList> Parse(std::string_view text, const std::string& file);
  // Empty where there is no file. kDenied for one that others than its owner can read or change.
  static Result<TokenList> Read(const std::filesystem::path& file);
  Result<> Write(const std::filesystem::path& file) const;

  // Whose token it is; nullptr for one that is not there or was revoked. Takes as long for a wrong one as for a right
  // one.
  const Entry* Find(std::string_view token) const;
  const std::vector<Entry>& entries() const { return entries_; }
  // kConflict for a name that has a token already; kUsage for what is no name.
  Result<> Add(Entry entry);
  // Returns whether one was in force; kNotFound for a name that has none.
  Result<bool> Revoke(std::string_view name);

 private:
  std::vector<Entry> entries_;
};

}  // namespace hone
