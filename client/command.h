// The commands of `hone`: one row each. Everything that lists them loops over the rows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "client/console.h"
#include "client/flags.h"
#include "common/base/result.h"

namespace hone {

// Runs a parsed command; the value is the exit code.
using Run = std::function<Result<int>(Console&)>;

struct Command {
  const char* name;
  const char* group;      // Heading in `hone --help`.
  const char* usage;      // What follows the name.
  const char* summary;
  const char* details;    // Below the options in `hone NAME --help`; may be "".
  Run (*define)(Flags& flags);   // Declares the arguments; what they bind to lives in the returned function.
  const char* examples = "";  // Lines to type; a tab parts each from what it is for. Shown first in `hone NAME --help`.
};

const std::vector<Command>& Commands();

// `words` without the program's name. Prints, reports errors, returns the exit code.
int RunCommandLine(const std::vector<std::string>& words);

// The text of `hone --help`, at most 40 lines.
std::string TopHelp();
// Whether `hone --help` tells the name alone, in a line with others of its group.
bool IsListedByName(const Command& command);
// The flags that every command has, bound to nothing: for help, man pages and completions.
void AddGlobalFlags(Flags& flags);
// hone __complete WORDS: what can stand next, for the shells' completions.
Result<int> RunComplete(const std::vector<std::string>& words, Console& console);

// One function a command, in client/commands/.
Run DefineOptimize(Flags& flags);
Run DefineApply(Flags& flags);
Run DefineCompose(Flags& flags);
Run DefineBenchmark(Flags& flags);
Run DefineEvaluate(Flags& flags);
Run DefineInspect(Flags& flags);
Run DefineSensitivity(Flags& flags);
Run DefinePasses(Flags& flags);
Run DefineBackends(Flags& flags);
Run DefineImport(Flags& flags);
Run DefineOlive(Flags& flags);
Run DefineExport(Flags& flags);
Run DefineReproduce(Flags& flags);
Run DefineSubmit(Flags& flags);
Run DefineCheck(Flags& flags);
Run DefineJobs(Flags& flags);
Run DefineStatus(Flags& flags);
Run DefineWatch(Flags& flags);
Run DefineWait(Flags& flags);
Run DefineTrials(Flags& flags);
Run DefineBest(Flags& flags);
Run DefinePareto(Flags& flags);
Run DefineExplain(Flags& flags);
Run DefineCompare(Flags& flags);
Run DefineGet(Flags& flags);
Run DefineCancel(Flags& flags);
Run DefineLogs(Flags& flags);
Run DefineRetry(Flags& flags);
Run DefineWorkers(Flags& flags);
Run DefineDrain(Flags& flags);
Run DefineFsck(Flags& flags);
Run DefineBackup(Flags& flags);
Run DefineKeys(Flags& flags);
Run DefineToken(Flags& flags);
Run DefineReport(Flags& flags);
Run DefineNightly(Flags& flags);
Run DefineDoctor(Flags& flags);
Run DefinePlan(Flags& flags);
Run DefineConfig(Flags& flags);
Run DefineContext(Flags& flags);
Run DefineCompletion(Flags& flags);

}  // namespace hone
