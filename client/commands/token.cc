// hone token: who may ask a coordinator over HTTP. Works on the list of tokens, on the coordinator's machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "client/command.h"
#include "client/table.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/tokens.h"

namespace hone {
namespace {

struct TokenOptions {
  std::string action, name, file;
  std::string role = "client";
};

Result<std::filesystem::path> TokenFileOf(const TokenOptions& options) {
  if (!options.file.empty()) return std::filesystem::path(options.file);
  if (const char* file = std::getenv("HONE_TOKENS"); file != nullptr && *file != '\0')
    return std::filesystem::path(file);
  return Fail(ErrorCode::kUsage, "the list of tokens is not given",
              "name it with --tokens FILE or HONE_TOKENS; a coordinator's is DIR/tokens of its --data");
}

// Two commands that change one list take turns.
Result<Descriptor> LockTokens(const std::filesystem::path& file) {
  const std::filesystem::path folder = FolderOf(file);
  Descriptor lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || flock(lock.get(), LOCK_EX) != 0) return Fail(ErrnoError("open", folder, errno));
  return lock;
}

Result<Role> TokenRoleOf(const std::string& word) {
  for (const Role role : {Role::client, Role::admin, Role::worker}) {
    if (word == RoleName(role)) return role;
  }
  return Fail(ErrorCode::kUsage, fmt::format("--role: '{}' is none of client, admin, worker{}", Printable(word, 40),
                                             DidYouMean(word, {"client", "admin", "worker"})));
}

Result<int> CreateToken(const TokenOptions& options, const std::filesystem::path& file, Console& console) {
  TRY_ASSIGN(const Role role, TokenRoleOf(options.role));
  TRY_ASSIGN(const Descriptor lock, LockTokens(file));
  TRY_ASSIGN(TokenList list, TokenList::Read(file));
  TRY_ASSIGN(const std::string token, MakeToken());
  TRY(list.Add({role, options.name, TokenDigest(token), false}));
  TRY(list.Write(file));
  if (console.json) {
    TRY(console.PrintJson(
        {{"schema", "hone.token/1"}, {"name", options.name}, {"role", options.role}, {"token", token}}));
    return 0;
  }
  TRY(console.Print(token + "\n"));
  console.Note("This is shown once; the list holds its digest alone. Use it as  Authorization: Bearer TOKEN");
  return 0;
}

Result<int> ListTokens(const TokenOptions&, const std::filesystem::path& file, Console& console) {
  TRY_ASSIGN(const TokenList list, TokenList::Read(file));
  Table table({{"ROLE", Align::left}, {"NAME", Align::left}, {"DIGEST", Align::left}});
  Json tokens = Json::array();
  for (const TokenList::Entry& entry : list.entries()) {
    const std::string role = entry.revoked ? "revoked" : RoleName(entry.role);
    tokens.push_back({{"role", role}, {"name", entry.name}, {"digest", entry.digest}});
    table.Row({role, entry.name, entry.digest.substr(0, 12)});
  }
  TRY(console.json ? console.PrintJson({{"schema", "hone.tokens/1"}, {"file", file.string()}, {"tokens", tokens}})
                   : console.Print(table.empty() ? fmt::format("{} holds no tokens\n", file.string())
                                                 : table.Text(console.table_width())));
  return 0;
}

Result<int> RevokeToken(const TokenOptions& options, const std::filesystem::path& file, Console& console) {
  TRY_ASSIGN(const Descriptor lock, LockTokens(file));
  TRY_ASSIGN(TokenList list, TokenList::Read(file));
  TRY_ASSIGN(const bool was_in_force, list.Revoke(options.name));
  TRY(list.Write(file));
  TRY(console.json ? console.PrintJson({{"schema", "hone.tokens.change/1"},
                                        {"change", "revoked"},
                                        {"name", options.name},
                                        {"was_in_force", was_in_force}})
                   : console.Print(fmt::format("{} revoked{}\n", options.name, was_in_force ? "" : " before")));
  return 0;
}

struct TokenActionRow {
  const char* name;
  bool takes_name;
  Result<int> (*run)(const TokenOptions& options, const std::filesystem::path& file, Console& console);
};
constexpr TokenActionRow kTokenActions[] = {
    {"create", true, CreateToken}, {"list", false, ListTokens}, {"revoke", true, RevokeToken}};

Result<int> ActOnTokens(const TokenOptions& options, Console& console) {
  std::vector<std::string> names;
  for (const TokenActionRow& row : kTokenActions) {
    names.emplace_back(row.name);
    if (options.action != row.name) continue;
    if (row.takes_name && options.name.empty())
      return Fail(ErrorCode::kUsage, fmt::format("hone token {} needs a NAME", row.name));
    TRY_ASSIGN(const std::filesystem::path file, TokenFileOf(options));
    return row.run(options, file, console);
  }
  return Fail(
      ErrorCode::kUsage,
      fmt::format("hone token has no action '{}'{}", Printable(options.action, 40), DidYouMean(options.action, names)),
      fmt::format("one of: {}", Join(names, ", ")));
}

}  // namespace

Run DefineToken(Flags& flags) {
  auto options = std::make_shared<TokenOptions>();
  flags.Argument("ACTION", "create, list or revoke", options->action);
  flags.OptionalArgument("NAME", "whose token", options->name);
  flags.Text("--tokens", "FILE", "the list; else $HONE_TOKENS. A coordinator's is DIR/tokens of its --data",
             options->file);
  flags.Text("--role", "ROLE", "of create: client (the default), admin or worker", options->role);
  return [options](Console& console) { return ActOnTokens(*options, console); };
}

}  // namespace hone
