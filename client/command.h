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
};

const std::vector<Command>& Commands();

// `words` without the program's name. Prints, reports errors, returns the exit code.
int RunCommandLine(const std::vector<std::string>& words);

// The text of `hone --help`, at most 40 lines.
std::string TopHelp();

// One function a command, in client/commands/.
Run DefineOptimize(Flags& flags);
Run DefineApply(Flags& flags);
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
Run DefineNightly(Flags& flags);
Run DefineDoctor(Flags& flags);

}  // namespace hone
