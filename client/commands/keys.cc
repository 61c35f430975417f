// hone keys: the key pairs of this machine, and who is let in by its coordinator.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "client/command.h"
#include "client/remote.h"
#include "client/table.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/keys.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

struct KeysOptions {
  std::string action;
  std::string name;
  std::string folder;
  std::string role;
  std::string key;
  bool replace = false;
};

constexpr KeyKind kKinds[] = {KeyKind::coordinator, KeyKind::worker, KeyKind::client};

// What a word for a role means to a key pair: whose file it is, and what the coordinator shall let it do.
struct RoleRow {
  const char* word;
  KeyKind kind;
  Role role;        // everyone: the coordinator itself, on nobody's list.
};
constexpr RoleRow kRoles[] = {{"client", KeyKind::client, Role::client},
                              {"admin", KeyKind::client, Role::admin},
                              {"worker", KeyKind::worker, Role::worker},
                              {"coordinator", KeyKind::coordinator, Role::everyone}};

Result<RoleRow> FindRole(const std::string& word) {
  for (const RoleRow& row : kRoles) {
    if (word == row.word) return row;
  }
  return Fail(ErrorCode::kUsage,
              fmt::format("--role: '{}' is none of client, admin, worker, coordinator", Printable(word, 40)));
}

Result<fs::path> KeysFolderFor(const KeysOptions& options) {
  const std::string folder = KeysFolder(options.folder);
  if (!folder.empty()) return fs::path(folder);
  return Fail(ErrorCode::kUsage, "the folder of the keys is not given", "name it with --keys DIR or HONE_KEYS");
}

Result<> CheckKey(const std::string& key) {
  if (IsKey(key)) return {};
  return Fail(ErrorCode::kUsage, "--key: this is no key",
              "a key is the 40 characters that `hone keys new` printed; put it in single quotes");
}

// Two commands that change one list take turns.
Result<Descriptor> LockFolder(const fs::path& folder) {
  Descriptor lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || flock(lock.get(), LOCK_EX) != 0) return Fail(ErrnoError("open", folder, errno));
  return lock;
}

Result<> AllowIn(const fs::path& folder, AllowList::Entry entry) {
  TRY_ASSIGN(const Descriptor lock, LockFolder(folder));
  TRY_ASSIGN(AllowList list, AllowList::Read(AllowedFile(folder)));
  TRY(list.Allow(std::move(entry)));
  return list.Write(AllowedFile(folder));
}

Json PairJson(KeyKind kind, const KeyPair& pair) {
  return {{"kind", KindName(kind)}, {"name", pair.name}, {"public", pair.public_key}};
}

// --- the actions
// ---------------------------------------------------------------------------------------------------------------

// What is left to do elsewhere once a pair is made.
std::string NextSteps(const fs::path& folder, const RoleRow& role, const KeyPair& pair, bool allowed_here) {
  if (role.kind == KeyKind::coordinator) {
    return fmt::format("start it:                hone-coordinator --listen tcp://0.0.0.0:5710 --data DIR --keys {}\n"
                       "on the other machines:   hone keys new NAME --role worker --coordinator '{}' --keys DIR\n",
                       folder.string(), pair.public_key);
  }
  if (allowed_here) return "the coordinator of this folder lets it in\n";
  return fmt::format("on the coordinator's machine:   hone keys allow {} --role {} --key '{}' --keys DIR\n", pair.name,
                     role.word, pair.public_key);
}

Result<int> New(const KeysOptions& options, const std::string& coordinator, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  TRY_ASSIGN(const RoleRow role, FindRole(options.role.empty() ? "client" : options.role));
  if (!coordinator.empty()) TRY(CheckKey(coordinator));
  std::error_code ignored;
  if (!options.replace && fs::exists(SecretFile(folder, role.kind), ignored)) {
    return Fail(ErrorCode::kConflict, fmt::format("{} exists", SecretFile(folder, role.kind).string()),
                "--replace makes a new pair in its place");
  }
  TRY_ASSIGN(const KeyPair pair, MakeKeyPair(options.name));
  TRY(WriteKeyPair(folder, role.kind, pair));
  if (!coordinator.empty())
    TRY(WritePublicKey(PublicFile(folder, KeyKind::coordinator), {"coordinator", coordinator, ""}));
  // Who can read the coordinator's secret may let in whom he likes.
  const bool is_here =
      role.kind != KeyKind::coordinator && fs::exists(SecretFile(folder, KeyKind::coordinator), ignored);
  if (is_here) TRY(AllowIn(folder, {pair.public_key, pair.name, role.role, false}));
  if (console.json) {
    Json document = {{"schema", "hone.key/1"}, {"folder", folder.string()}, {"role", role.word}};
    document.update(PairJson(role.kind, pair));
    document["allowed"] = is_here;
    TRY(console.PrintJson(document));
    return 0;
  }
  TRY(console.Print(fmt::format("{}  {}\n{}\n", SecretFile(folder, role.kind).string(), pair.name, pair.public_key)));
  if (!console.quiet) TRY(console.Print(NextSteps(folder, role, pair, is_here)));
  return 0;
}

Result<int> Show(const KeysOptions& options, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  for (const KeyKind kind : kKinds) {
    if (!options.name.empty() && options.name != KindName(kind)) continue;
    const auto pair = ReadPublicKey(PublicFile(folder, kind));
    if (!pair && pair.error().code == ErrorCode::kNotFound && options.name.empty()) continue;
    if (!pair) return Fail(pair.error());
    if (console.json) {
      Json document = {{"schema", "hone.key/1"}, {"folder", folder.string()}};
      document.update(PairJson(kind, *pair));
      TRY(console.PrintJson(document));
    } else {
      TRY(console.Print(pair->public_key + "\n"));
    }
    return 0;
  }
  return Fail(
      ErrorCode::kNotFound,
      fmt::format("{} holds no key{}", folder.string(), options.name.empty() ? "" : " of the kind " + options.name),
      "the kinds are coordinator, worker and client");
}

Result<int> List(const KeysOptions& options, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  TRY_ASSIGN(const AllowList list, AllowList::Read(AllowedFile(folder)));
  Table table({{"ROLE", Align::left}, {"NAME", Align::left}, {"KEY", Align::left}});
  Json pairs = Json::array();
  Json allowed = Json::array();
  for (const KeyKind kind : kKinds) {
    const auto pair = ReadPublicKey(PublicFile(folder, kind));
    if (!pair && pair.error().code == ErrorCode::kNotFound) continue;
    if (!pair) return Fail(pair.error());
    std::error_code ignored;
    const bool secret = fs::exists(SecretFile(folder, kind), ignored);
    Json one = PairJson(kind, *pair);
    one["secret"] = secret;
    pairs.push_back(one);
    table.Row({fmt::format("({}{})", secret ? "this " : "their ", KindName(kind)), pair->name, pair->public_key});
  }
  for (const AllowList::Entry& entry : list.entries()) {
    const std::string role = entry.revoked ? "revoked" : RoleName(entry.role);
    allowed.push_back({{"role", role}, {"name", entry.name}, {"public", entry.key}});
    table.Row({role, entry.name, entry.key});
  }
  if (console.json) {
    TRY(console.PrintJson(
        {{"schema", "hone.keys/1"}, {"folder", folder.string()}, {"keys", pairs}, {"allowed", allowed}}));
  } else {
    TRY(console.Print(table.empty() ? fmt::format("{} holds no keys\n", folder.string())
                                    : table.Text(console.table_width())));
  }
  return 0;
}

Result<> PrintChange(const char* change, const KeysOptions& options, size_t keys, Console& console) {
  if (console.json)
    return console.PrintJson(
        {{"schema", "hone.keys.change/1"}, {"change", change}, {"name", options.name}, {"keys", keys}});
  return console.Print(fmt::format("{} {}: {} {}\n", options.name, change, keys, keys == 1 ? "key" : "keys"));
}

Result<int> Allow(const KeysOptions& options, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  TRY_ASSIGN(const RoleRow role, FindRole(options.role.empty() ? "client" : options.role));
  if (role.role == Role::everyone)
    return Fail(ErrorCode::kUsage, "--role: a coordinator lets in clients, workers and administrators");
  if (!IsKeyName(options.name))
    return Fail(ErrorCode::kUsage, fmt::format("'{}' is no name for a key", Printable(options.name, 100)));
  TRY(CheckKey(options.key));
  TRY(AllowIn(folder, {options.key, options.name, role.role, false}));
  TRY(PrintChange("allowed", options, 1, console));
  return 0;
}

Result<int> Revoke(const KeysOptions& options, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  if (!options.key.empty()) TRY(CheckKey(options.key));
  TRY_ASSIGN(const Descriptor lock, LockFolder(folder));
  TRY_ASSIGN(AllowList list, AllowList::Read(AllowedFile(folder)));
  TRY_ASSIGN(const size_t revoked, list.Revoke(options.name, options.key));
  TRY(list.Write(AllowedFile(folder)));
  TRY(PrintChange("revoked", options, revoked, console));
  return 0;
}

Result<int> Trust(const KeysOptions& options, Console& console) {
  TRY_ASSIGN(const fs::path folder, KeysFolderFor(options));
  TRY(CheckKey(options.key));
  std::error_code ignored;
  if (fs::exists(SecretFile(folder, KeyKind::coordinator), ignored)) {
    return Fail(ErrorCode::kConflict, fmt::format("{} is the coordinator's own folder", folder.string()));
  }
  TRY(WritePublicKey(PublicFile(folder, KeyKind::coordinator), {"coordinator", options.key, ""}));
  KeysOptions named = options;
  named.name = "coordinator";
  TRY(PrintChange("trusted", named, 1, console));
  return 0;
}

struct ActionRow {
  const char* name;
  bool takes_name;
  Result<int> (*run)(const KeysOptions& options, Console& console);
};
constexpr ActionRow kActions[] = {{"show", false, Show},   {"list", false, List},     {"allow", true, Allow},
                                  {"revoke", true, Revoke}, {"trust", false, Trust}};

Result<int> Keys(const KeysOptions& options, const std::string& coordinator, Console& console) {
  const bool is_new = options.action == "new";
  const auto row = std::find_if(std::begin(kActions), std::end(kActions),
                                [&](const ActionRow& one) { return options.action == one.name; });
  if (!is_new && row == std::end(kActions)) {
    std::vector<std::string> names = {"new"};
    for (const ActionRow& one : kActions) names.emplace_back(one.name);
    return Fail(
        ErrorCode::kUsage,
        fmt::format("hone keys has no action '{}'{}", Printable(options.action, 40), DidYouMean(options.action, names)),
        fmt::format("one of: {}", Join(names, ", ")));
  }
  if ((is_new || row->takes_name) && options.name.empty())
    return Fail(ErrorCode::kUsage, fmt::format("hone keys {} needs a NAME", options.action));
  return is_new ? New(options, coordinator, console) : row->run(options, console);
}

}  // namespace

Run DefineKeys(Flags& flags) {
  auto options = std::make_shared<KeysOptions>();
  auto coordinator = std::make_shared<std::string>();
  flags.Argument("ACTION", "new, show, list, allow, revoke or trust", options->action);
  flags.OptionalArgument("NAME", "whose key: a person, a machine; of show: coordinator, worker or client",
                         options->name);
  flags.Text("--keys", "DIR", "the keys folder; else $HONE_KEYS", options->folder);
  flags.Text("--role", "ROLE", "client (the default), admin, worker, or of new: coordinator", options->role);
  flags.Text("--key", "KEY", "of allow: the public key; of revoke: that one alone; of trust: the coordinator's",
             options->key);
  flags.Text("--coordinator", "KEY", "of new: the coordinator's public key, as trust", *coordinator);
  flags.Toggle("--replace", "of new: in place of the pair that is there", options->replace);
  return [options, coordinator](Console& console) { return Keys(*options, *coordinator, console); };
}

}  // namespace hone
