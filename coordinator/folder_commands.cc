#include "coordinator/folder_commands.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/result.h"
#include "common/base/strings.h"
#include "coordinator/backup.h"
#include "coordinator/fsck.h"
#include "coordinator/redis/connection.h"

namespace hone {
namespace {

// The words after the command: one folder, and options of which each but --quick and --json has a value.
struct FolderWords {
  std::string folder;
  std::string output;
  FsckOptions fsck;
};

Result<> TakeOption(const std::string& name, const std::string& value, FolderWords& words) {
  if (name == "--log") words.fsck.log = value;
  if (name == "-o" || name == "--output") words.output = value;
  if (name != "--lease-ms") return {};
  TRY_ASSIGN(const int64_t lease_ms, ParseInteger(value));
  if (lease_ms < 1 || lease_ms > 3'600'000) return Fail(ErrorCode::kUsage, "--lease-ms takes 1 to 3600000");
  words.fsck.limits.lease_ms = static_cast<uint32_t>(lease_ms);
  return {};
}

Result<FolderWords> ParseWords(const std::vector<std::string>& words, const std::vector<std::string>& valued) {
  FolderWords parsed;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json") continue;
    if (word == "--quick" && words[0] == "fsck") {
      parsed.fsck.quick = true;
    } else if (std::find(valued.begin(), valued.end(), word) != valued.end()) {
      if (i + 1 == words.size()) return Fail(ErrorCode::kUsage, fmt::format("{} needs a value", word));
      TRY(TakeOption(word, words[++i], parsed));
    } else if (!word.empty() && word[0] != '-' && parsed.folder.empty()) {
      parsed.folder = word;
    } else {
      return Fail(ErrorCode::kUsage,
                  fmt::format("hone-coordinator {} does not take '{}'", words[0], Printable(word, 100)));
    }
  }
  if (parsed.folder.empty())
    return Fail(ErrorCode::kUsage, fmt::format("hone-coordinator {} needs the data folder", words[0]));
  return parsed;
}

struct Done {
  std::string document;
  int code = 0;
};

Result<Done> DoFsck(const std::vector<std::string>& words) {
  TRY_ASSIGN(const FolderWords parsed, ParseWords(words, {"--log", "--lease-ms"}));
  TRY_ASSIGN(const FsckReport report, Fsck(parsed.folder, parsed.fsck));
  return Done{FsckJson(report), report.ok() ? 0 : ExitCode(ErrorCode::kNo)};
}

Result<Done> DoBackup(const std::vector<std::string>& words) {
  TRY_ASSIGN(const FolderWords parsed, ParseWords(words, {"-o", "--output"}));
  if (parsed.output.empty()) return Fail(ErrorCode::kUsage, "hone-coordinator backup needs -o FILE");
  TRY_ASSIGN(const BackupReport report, Backup(parsed.folder, parsed.output));
  return Done{BackupJson(report)};
}

// Not of a folder, and as fsck and backup for `hone`, which links no hiredis: whether a Redis does what a coordinator
// asks of it.
Result<Done> DoRedis(const std::vector<std::string>& words) {
  const bool with_password = words.size() == 4 && words[2] == "--password-file";
  if (words.size() != 2 && !with_password)
    return Fail(ErrorCode::kUsage, "hone-coordinator redis takes URL [--password-file FILE]");
  TRY_ASSIGN(const RedisAddress address, ParseRedisUrl(words[1], with_password ? words[3] : ""));
  auto connection = RedisConnection::Open(address, std::chrono::seconds(2));
  if (!connection) return FailWith(address.Text(), connection.error());
  // What is written here for a second is read by nobody.
  const std::string key = "hone:doctor";
  const RedisCommand commands[] = {{"SET", key, "x", "EX", "1"},
                                   {"STRLEN", key},
                                   {"GET", key},
                                   {"GETRANGE", key, "0", "0"},
                                   {"SETRANGE", key, "0", "y"},
                                   {"EXPIRE", key, "1"},
                                   {"DEL", key},
                                   {"XADD", key, "NOMKSTREAM", "*", "kind", "doctor"}};
  for (const RedisCommand& command : commands) {
    TRY_ASSIGN(const RedisReply reply, connection->Call(command));
    if (reply.refusal) {
      return Fail(ErrorCode::kDenied, fmt::format("{} refuses {}: {}", address.Text(), command.front(), *reply.refusal),
                  "docs/redis.md has the line for an ACL user.");
    }
  }
  return Done{nlohmann::ordered_json({{"schema", "hone.redis/1"}, {"address", address.Text()}}).dump(2)};
}

struct FolderCommand {
  const char* name;
  Result<Done> (*run)(const std::vector<std::string>& words);
};
constexpr FolderCommand kCommands[] = {{"fsck", DoFsck}, {"backup", DoBackup}, {"redis", DoRedis}};

}  // namespace

std::optional<int> RunFolderCommand(const std::vector<std::string>& words) {
  if (words.empty()) return std::nullopt;
  for (const FolderCommand& command : kCommands) {
    if (words[0] != command.name) continue;
    // The document is all that is said.
    spdlog::set_level(spdlog::level::off);
    const auto done = command.run(words);
    const nlohmann::ordered_json refused = done ? nlohmann::ordered_json()
                                                : nlohmann::ordered_json{{"schema", "hone.error/1"},
                                                                         {"code", ExitCode(done.error().code)},
                                                                         {"message", done.error().message},
                                                                         {"remedy", done.error().remedy}};
    const std::string text =
        done ? done->document : refused.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    const bool written = std::printf("%s\n", text.c_str()) >= 0 && std::fflush(stdout) == 0;
    if (!written) return ExitCode(ErrorCode::kFailed);
    return done ? done->code : ExitCode(done.error().code);
  }
  return std::nullopt;
}

}  // namespace hone
