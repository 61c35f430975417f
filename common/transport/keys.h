// Who may speak: CURVE key pairs in a folder, and the list of public keys that a coordinator lets in. docs/security.md
// tells how they are used; `hone keys` writes the files.
//
// A keys folder holds, as text:
//   coordinator.secret, worker.secret, client.secret   a key pair of this machine's process of that kind (mode 0600)
//   coordinator.public, ...                            what may be given away; a worker and a client need
//   coordinator.public allowed                                            a coordinator's list: a line "role name key"
//   each; role revoked: no longer
// A key is 40 characters of Z85, as ZeroMQ writes them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct KeyPair {
  std::string name;
  std::string public_key;
  std::string secret_key;
};

// What a key may ask for. Without keys everybody may ask for everything.
enum class Role { everyone, client, worker, admin };
const char* RoleName(Role role);                    // "" for everyone.

// Whose process a key pair is: the first part of its files' names.
enum class KeyKind { coordinator, worker, client };
const char* KindName(KeyKind kind);

// What a dialer needs: its own pair and the only coordinator that it speaks to.
struct DialerKeys {
  KeyPair own;
  std::string coordinator;                          // Public key.
};
// What a listener needs. The list is read again whenever the file changes.
struct ListenerKeys {
  KeyPair own;
  std::filesystem::path allowed;
};

bool IsKey(std::string_view text);                  // 40 characters of Z85.
// Letters, digits and . _ -, at most 64 of them.
bool IsKeyName(std::string_view text);

// A fresh pair. Its public key begins with a letter or a digit, so that no shell takes it for an option.
Result<KeyPair> MakeKeyPair(const std::string& name);

// Files of a keys folder. kNotFound where one is missing; kDenied for a secret that others than its owner can read, and
// for a list that others can write; kRejected for content that is none. Writes are whole or not at all, and durable.
std::filesystem::path SecretFile(const std::filesystem::path& folder, KeyKind kind);
std::filesystem::path PublicFile(const std::filesystem::path& folder, KeyKind kind);
std::filesystem::path AllowedFile(const std::filesystem::path& folder);
Result<KeyPair> ReadKeyPair(const std::filesystem::path& folder, KeyKind kind);
Result<> WriteKeyPair(const std::filesystem::path& folder, KeyKind kind, const KeyPair& pair);
// Name and key of a .public file; secret_key stays empty.
Result<KeyPair> ReadPublicKey(const std::filesystem::path& file);
Result<> WritePublicKey(const std::filesystem::path& file, const KeyPair& pair);

Result<DialerKeys> LoadDialerKeys(const std::filesystem::path& folder, KeyKind kind);
Result<ListenerKeys> LoadListenerKeys(const std::filesystem::path& folder);

// The list of keys that are let in. A value.
class AllowList {
 public:
  struct Entry {
    std::string key;
    std::string name;
    Role role = Role::client;
    bool revoked = false;
  };

  // kRejected, with the line, for anything but "role name key", comments (#) and empty lines; for a key that stands
  // there twice.
  static Result<AllowList> Parse(std::string_view text, const std::string& file);
  // Empty where there is no file.
  static Result<AllowList> Read(const std::filesystem::path& file);
  Result<> Write(const std::filesystem::path& file) const;

  // nullptr for a key that is not there. Revoked ones are found.
  const Entry* Find(std::string_view key) const;
  // In the order of the file.
  const std::vector<Entry>& entries() const { return entries_; }
  // kConflict for a key that is there under another name or role, or was revoked.
  Result<> Allow(Entry entry);
  // Every key of the name, or that one key of it. Returns how many were not revoked before; kNotFound if the list has
  // none such.
  Result<size_t> Revoke(std::string_view name, std::string_view key);

 private:
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t, TextHash, std::equal_to<>> index_;
};

}  // namespace hone
