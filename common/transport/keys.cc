#include "common/transport/keys.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeyCharacters = 40;
constexpr size_t kMaxNameBytes = 64;
constexpr uint64_t kMaxKeyFileBytes = 4096;
constexpr uint64_t kMaxListBytes = 16 << 20;
constexpr std::string_view kZ85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
constexpr mode_t kOthersRead = S_IRWXG | S_IRWXO;
constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;

struct RoleWord {
  const char* word;
  Role role;
  bool revoked;
};
constexpr RoleWord kRoleWords[] = {{"client", Role::client, false},
                                   {"worker", Role::worker, false},
                                   {"admin", Role::admin, false},
                                   {"revoked", Role::client, true}};

const char* WordOf(const AllowList::Entry& entry) { return entry.revoked ? "revoked" : RoleName(entry.role); }

bool IsLetterOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

std::vector<std::string_view> Words(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  std::vector<std::string_view> words;
  for (size_t at = line.find_first_not_of(kBlank); at != std::string_view::npos;
       at = line.find_first_not_of(kBlank, at)) {
    const size_t end = std::min(line.find_first_of(kBlank, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

// The whole file, unless somebody else than its owner has more of the rights than `forbidden` allows.
Result<std::string> ReadGuarded(const fs::path& file, mode_t forbidden, const char* danger, const char* remedy,
                                uint64_t max_bytes) {
  TRY_ASSIGN(const RegularFile opened, OpenRegular(file));
  struct stat status {};
  if (fstat(opened.descriptor.get(), &status) != 0) return Fail(ErrnoError("look at", file, errno));
  if ((status.st_mode & forbidden) != 0) {
    return Fail(ErrorCode::kDenied, fmt::format("{}: {} (mode {:04o})", file.string(), danger, status.st_mode & 07777u),
                fmt::format("{} {}", remedy, file.string()));
  }
  if (status.st_uid != geteuid() && status.st_uid != 0) {
    return Fail(ErrorCode::kDenied, fmt::format("{}: it belongs to another user", file.string()),
                fmt::format("chown it to the user that runs hone"));
  }
  if (opened.size_bytes > max_bytes)
    return Fail(ErrorCode::kRejected, fmt::format("{}: it is larger than {}", file.string(), HumanBytes(max_bytes)));
  std::string bytes(opened.size_bytes, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    TRY_ASSIGN(const size_t count, ReadSome(opened.descriptor.get(), bytes.data() + done, bytes.size() - done, file));
    if (count == 0) break;
    done += count;
  }
  bytes.resize(done);
  return bytes;
}

Result<> WriteWithMode(const fs::path& file, std::string_view bytes, mode_t mode) {
  TRY_ASSIGN(TemporaryFile temporary, TemporaryFile::Make(FolderOf(file)));
  if (fchmod(temporary.fd(), mode) != 0) return Fail(ErrnoError("set the rights of", file, errno));
  TRY(WriteAll(temporary.fd(), bytes, file));
  TRY(temporary.Sync());
  TRY(temporary.Commit(file));
  return SyncFolder(FolderOf(file));
}

// "word value" lines; every word once and known.
Result<KeyPair> ParseKeyFile(const std::string& text, const fs::path& file) {
  KeyPair pair;
  const std::pair<std::string_view, std::string*> fields[] = {
      {"name", &pair.name}, {"public", &pair.public_key}, {"secret", &pair.secret_key}};
  uint32_t number = 0;
  for (const std::string& line : Split(text, '\n')) {
    ++number;
    const std::vector<std::string_view> words = Words(line);
    if (words.empty() || words[0].front() == '#') continue;
    const auto field =
        std::find_if(std::begin(fields), std::end(fields), [&](const auto& one) { return one.first == words[0]; });
    if (field == std::end(fields) || words.size() != 2 || !field->second->empty()) {
      return Fail(Error{ErrorCode::kRejected, "this is no line of a key file",
                        "Make a new key pair with `hone keys new`", file.string(), number, 1});
    }
    *field->second = words[1];
  }
  if (!IsKeyName(pair.name) || !IsKey(pair.public_key) || (!pair.secret_key.empty() && !IsKey(pair.secret_key))) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: it holds no name and key", file.string()),
                "Make a new key pair with `hone keys new`");
  }
  return pair;
}

std::string PublicText(const KeyPair& pair) {
  return fmt::format("# A public key of hone: may be given away.\nname {}\npublic {}\n", pair.name, pair.public_key);
}

std::string SecretText(const KeyPair& pair) {
  return fmt::format("# A secret key of hone: stays on this machine.\nname {}\npublic {}\nsecret {}\n", pair.name,
                     pair.public_key, pair.secret_key);
}

// A missing file is told with what makes it.
Error Missing(Error error, const std::string& remedy) {
  if (error.code == ErrorCode::kNotFound) error.remedy = remedy;
  return error;
}

}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::everyone: return "";
    case Role::client: return "client";
    case Role::worker: return "worker";
    case Role::admin: return "admin";
  }
  return "";
}

const char* KindName(KeyKind kind) {
  switch (kind) {
    case KeyKind::coordinator: return "coordinator";
    case KeyKind::worker: return "worker";
    case KeyKind::client: return "client";
  }
  return "";
}

bool IsKey(std::string_view text) {
  // Every group of five characters must also stand for no more than 32 bits, or ZeroMQ does not decode it.
  if (text.size() != kKeyCharacters) return false;
  for (size_t group = 0; group < text.size(); group += 5) {
    uint64_t value = 0;
    for (size_t i = group; i < group + 5; ++i) {
      const size_t digit = kZ85.find(text[i]);
      if (digit == std::string_view::npos) return false;
      value = value * kZ85.size() + digit;
    }
    if (value > UINT32_MAX) return false;
  }
  return true;
}

bool IsKeyName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && IsLetterOrDigit(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

Result<KeyPair> MakeKeyPair(const std::string& name) {
  if (!IsKeyName(name)) {
    return Fail(ErrorCode::kUsage, fmt::format("'{}' is no name for a key", Printable(name, 100)),
                "Write letters, digits and . _ -, at most 64 of them, beginning with a letter or a digit");
  }
  std::array<char, kKeyCharacters + 1> public_key{};
  std::array<char, kKeyCharacters + 1> secret_key{};
  do {
    if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
      return Fail(ErrorCode::kEnvironment, fmt::format("make a key pair: {}", zmq_strerror(errno)),
                  "Install a libzmq that was built with CURVE");
    }
  } while (!IsLetterOrDigit(public_key[0]));
  return KeyPair{name, public_key.data(), secret_key.data()};
}

fs::path SecretFile(const fs::path& folder, KeyKind kind) { return folder / fmt::format("{}.secret", KindName(kind)); }
fs::path PublicFile(const fs::path& folder, KeyKind kind) { return folder / fmt::format("{}.public", KindName(kind)); }
fs::path AllowedFile(const fs::path& folder) { return folder / "allowed"; }

Result<KeyPair> ReadKeyPair(const fs::path& folder, KeyKind kind) {
  const fs::path file = SecretFile(folder, kind);
  const auto text =
      ReadGuarded(file, kOthersRead, "others than its owner can use this secret key", "chmod 600", kMaxKeyFileBytes);
  if (!text) {
    return Fail(Missing(text.error(), fmt::format("Make it with `hone keys new NAME --role {} --keys {}`",
                                                  KindName(kind), folder.string())));
  }
  TRY_ASSIGN(KeyPair pair, ParseKeyFile(*text, file));
  std::array<char, kKeyCharacters + 1> derived{};
  if (pair.secret_key.empty() || zmq_curve_public(derived.data(), pair.secret_key.c_str()) != 0 ||
      pair.public_key != derived.data()) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: its secret and its public key are no pair", file.string()),
                "Make a new key pair with `hone keys new --replace`");
  }
  return pair;
}

Result<> WriteKeyPair(const fs::path& folder, KeyKind kind, const KeyPair& pair) {
  if (!fs::exists(folder)) {
    TRY(MakeFolder(folder));
    if (chmod(folder.c_str(), S_IRWXU) != 0) return Fail(ErrnoError("set the rights of", folder, errno));
  }
  TRY(WriteWithMode(SecretFile(folder, kind), SecretText(pair), S_IRUSR | S_IWUSR));
  return WritePublicKey(PublicFile(folder, kind), pair);
}

Result<KeyPair> ReadPublicKey(const fs::path& file) {
  TRY_ASSIGN(const std::string text, ReadGuarded(file, kOthersWrite, "others than its owner can change this key",
                                                 "chmod go-w", kMaxKeyFileBytes));
  TRY_ASSIGN(KeyPair pair, ParseKeyFile(text, file));
  pair.secret_key.clear();
  return pair;
}

Result<> WritePublicKey(const fs::path& file, const KeyPair& pair) {
  return WriteWithMode(file, PublicText(pair), S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
}

Result<DialerKeys> LoadDialerKeys(const fs::path& folder, KeyKind kind) {
  DialerKeys keys;
  TRY_ASSIGN(keys.own, ReadKeyPair(folder, kind));
  const auto coordinator = ReadPublicKey(PublicFile(folder, KeyKind::coordinator));
  if (!coordinator) {
    return Fail(Missing(
        coordinator.error(),
        fmt::format("Name the coordinator's public key: `hone keys trust --key KEY --keys {}`", folder.string())));
  }
  keys.coordinator = coordinator->public_key;
  return keys;
}

Result<ListenerKeys> LoadListenerKeys(const fs::path& folder) {
  ListenerKeys keys;
  TRY_ASSIGN(keys.own, ReadKeyPair(folder, KeyKind::coordinator));
  keys.allowed = AllowedFile(folder);
  TRY(AllowList::Read(keys.allowed));
  return keys;
}

Result<AllowList> AllowList::Parse(std::string_view text, const std::string& file) {
  AllowList list;
  uint32_t number = 0;
  for (const std::string& line : Split(text, '\n')) {
    ++number;
    const auto wrong = [&](std::string cause) {
      return Fail(Error{ErrorCode::kRejected, std::move(cause), "Write: role name key", file, number, 1});
    };
    const std::vector<std::string_view> words = Words(line);
    if (words.empty() || words[0].front() == '#') continue;
    if (words.size() != 3) return wrong("a line of the list has a role, a name and a key");
    const auto role = std::find_if(std::begin(kRoleWords), std::end(kRoleWords),
                                   [&](const RoleWord& row) { return words[0] == row.word; });
    if (role == std::end(kRoleWords))
      return wrong(fmt::format("'{}' is none of client, worker, admin, revoked", Printable(words[0], 40)));
    if (!IsKeyName(words[1])) return wrong(fmt::format("'{}' is no name for a key", Printable(words[1], 100)));
    if (!IsKey(words[2])) return wrong("the third word is no key: 40 characters of Z85");
    if (list.Find(words[2]) != nullptr) return wrong("this key stands here twice");
    list.index_.emplace(words[2], list.entries_.size());
    list.entries_.push_back({std::string(words[2]), std::string(words[1]), role->role, role->revoked});
  }
  return list;
}

Result<AllowList> AllowList::Read(const fs::path& file) {
  const auto text =
      ReadGuarded(file, kOthersWrite, "others than its owner can let keys in", "chmod go-w", kMaxListBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return AllowList();
  if (!text) return Fail(text.error());
  return Parse(*text, file.string());
}

Result<> AllowList::Write(const fs::path& file) const {
  std::string text =
      "# Who may speak to this coordinator: role name key. `hone keys allow` and `hone keys revoke` write it.\n";
  for (const Entry& entry : entries_) text += fmt::format("{} {} {}\n", WordOf(entry), entry.name, entry.key);
  return WriteWithMode(file, text, S_IRUSR | S_IWUSR);
}

const AllowList::Entry* AllowList::Find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Result<> AllowList::Allow(Entry entry) {
  if (const Entry* known = Find(entry.key)) {
    if (known->revoked) {
      return Fail(ErrorCode::kConflict, fmt::format("the key of {} was revoked", known->name),
                  "Make a new key pair with `hone keys new --replace`");
    }
    if (known->name == entry.name && known->role == entry.role) return {};
    return Fail(ErrorCode::kConflict,
                fmt::format("the key is that of {} already, as {}", known->name, RoleName(known->role)),
                "Each name and role has keys of its own");
  }
  index_.emplace(entry.key, entries_.size());
  entries_.push_back(std::move(entry));
  return {};
}

Result<size_t> AllowList::Revoke(std::string_view name, std::string_view key) {
  size_t found = 0;
  size_t changed = 0;
  for (Entry& entry : entries_) {
    if (entry.name != name || (!key.empty() && entry.key != key)) continue;
    ++found;
    if (!std::exchange(entry.revoked, true)) ++changed;
  }
  if (found > 0) return changed;
  return Fail(ErrorCode::kNotFound, fmt::format("the list has no such key of {}", Printable(name, 100)),
              "`hone keys list` shows what it has");
}

}  // namespace hone
