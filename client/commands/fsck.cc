// hone fsck and hone backup: a coordinator's data folder. The coordinator's own program does both: the client links no
// database.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "client/command.h"
#include "client/sister_program.h"
#include "client/table.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// Hashing every artifact of a large store takes hours at worst.
constexpr std::chrono::hours kLongest{48};
constexpr size_t kListed = 5;

Result<ProgramAnswer> AskCoordinator(const std::vector<std::string>& words) {
  return AskProgram("hone-coordinator", "HONE_COORDINATOR_PROGRAM", words, kLongest);
}

std::string FsckText(const Json& document, size_t width) {
  Table table({{"", Align::left, false},
               {"invariant", Align::left, true},
               {"checked", Align::right, false},
               {"broken", Align::right, false}});
  std::string details;
  uint64_t broken = 0;
  for (const Json& check : document.at("checks")) {
    const Json& violations = check.at("violations");
    const uint64_t count = violations.size() + check.at("more").get<uint64_t>();
    broken += count;
    const std::string id = check.at("id");
    table.Row({id, check.at("name"), fmt::format("{}", check.at("checked").get<uint64_t>()),
               count == 0 ? "-" : fmt::format("{}", count)});
    for (size_t i = 0; i < violations.size() && i < kListed; ++i) {
      const Json& one = violations[i];
      details +=
          fmt::format("{}  {}: {}\n      {}\n", id, Printable(one.at("row").get<std::string>()),
                      Printable(one.at("message").get<std::string>()), Printable(one.at("remedy").get<std::string>()));
    }
    if (count > kListed) details += fmt::format("{}  and {} more (--json lists a hundred)\n", id, count - kListed);
  }
  std::string text = table.Text(width);
  if (!details.empty()) text += "\n" + details;
  const size_t open = document.at("open_attempts").size();
  text += fmt::format(
      "\n{}{}, schema {}{}, {:.1f} s: {}\n", Printable(document.at("folder").get<std::string>()),
      document.at("running").get<bool>() ? ", its coordinator runs" : "", document.at("schema_version").get<int64_t>(),
      open == 0 ? std::string() : fmt::format(", {} leases open", open), document.at("wall_s").get<double>(),
      broken == 0 ? std::string("sound") : fmt::format("{} violations", broken));
  return text;
}

struct FsckFlags {
  std::string folder;
  std::string log;
  bool quick = false;
};

// Relative to where the person is.
std::string Absolute(const std::string& path) { return fs::absolute(path).string(); }

Result<int> RunFsck(const FsckFlags& flags, Console& console) {
  std::vector<std::string> words = {"fsck", Absolute(flags.folder), "--json"};
  if (flags.quick) words.push_back("--quick");
  if (!flags.log.empty()) words.insert(words.end(), {"--log", Absolute(flags.log)});
  TRY_ASSIGN(const ProgramAnswer answer, AskCoordinator(words));
  TRY(console.json ? console.PrintJson(answer.document)
                   : console.Print(FsckText(answer.document, console.table_width())));
  return answer.code;
}

struct BackupFlags {
  std::string folder;
  std::string output;
};

Result<int> RunBackup(const BackupFlags& flags, Console& console) {
  TRY_ASSIGN(const ProgramAnswer answer,
             AskCoordinator({"backup", Absolute(flags.folder), "-o", Absolute(flags.output)}));
  const Json& document = answer.document;
  if (console.json) {
    TRY(console.PrintJson(document));
    return answer.code;
  }
  const uint64_t missing = document.at("missing").get<uint64_t>();
  TRY(console.Print(
      fmt::format("{} ({}, {} jobs)\n{} ({} artifacts, {})\n", Printable(document.at("file").get<std::string>()),
                  HumanBytes(document.at("database_bytes").get<uint64_t>()), document.at("jobs").get<uint64_t>(),
                  Printable(document.at("list").get<std::string>()), document.at("artifacts").get<uint64_t>(),
                  HumanBytes(document.at("artifact_bytes").get<uint64_t>()))));
  if (missing > 0)
    console.Note(fmt::format("hone: {} artifacts are missing in the folder: `hone fsck` names them", missing));
  return answer.code;
}

}  // namespace

Run DefineFsck(Flags& flags) {
  auto options = std::make_shared<FsckFlags>();
  flags.Argument("DIR", "the coordinator's --data folder, or what `hone optimize -o` wrote", options->folder);
  flags.Toggle("--quick", "sizes of artifacts instead of their digests", options->quick);
  flags.Text("--log", "FILE", "also check that what FILE says was acknowledged is there", options->log);
  return [options](Console& console) { return RunFsck(*options, console); };
}

Run DefineBackup(Flags& flags) {
  auto options = std::make_shared<BackupFlags>();
  flags.Argument("DIR", "the coordinator's --data folder", options->folder);
  flags.RequiredText("-o,--output", "FILE", "the database's copy; FILE.artifacts lists the files that belong to it",
                     options->output);
  return [options](Console& console) { return RunBackup(*options, console); };
}

}  // namespace hone
