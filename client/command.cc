#include "client/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "client/table.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr const char* kHere = "Optimise a model, here";
constexpr const char* kService = "Ask a coordinator";
constexpr const char* kUpkeep = "Olive's command lines, exports; machines and the service";   // Listed by name alone.

struct ExitCodeRow {
  int code;
  const char* meaning;
};
constexpr ExitCodeRow kExitCodes[] = {
    {0, "done, or the answer is yes"},
    {1, "ran properly and the answer is no: no feasible candidate, a regression, a fault found"},
    {2, "usage: unknown command, flag or argument"},
    {3, "the data cannot decide, or nothing was measured"},
    {4, "failed"},
    {5, "the machine is unfit for measuring"},
    {6, "the coordinator cannot be reached"},
    {7, "denied"},
    {8, "not found: job, trial, worker, pass"},
    {9, "input rejected: model, data, recipe, configuration"},
    {10, "time-out; the work continues"},
    {11, "cancelled"},
    {12, "exhausted: disk, quota, memory"},
    {70, "a bug in hone"},
    {130, "interrupted"},
};

std::vector<std::string> CommandNames() {
  std::vector<std::string> names = {"help"};
  for (const Command& command : Commands()) names.emplace_back(command.name);
  return names;
}

const Command* FindCommand(const std::string& name) {
  const auto row = std::find_if(Commands().begin(), Commands().end(), [&](const Command& command) { return name == command.name; });
  return row == Commands().end() ? nullptr : &*row;
}

Error UnknownCommand(const std::string& name) {
  return Error{ErrorCode::kUsage, fmt::format("there is no command '{}'{}", Printable(name, 100), DidYouMean(name, CommandNames())),
               "see `hone --help`"};
}

std::string ExitCodesText() {
  std::string text;
  for (const ExitCodeRow& row : kExitCodes) text += fmt::format("{:>4}  {}\n", row.code, row.meaning);
  return text;
}

// What every command has.
struct GlobalFlags {
  bool json = false;
  bool quiet = false;
  ColorChoice color = ColorChoice::automatic;
};

void AddGlobalFlags(Flags& flags, GlobalFlags& global) {
  flags.Toggle("--json", "one JSON document on stdout", global.json);
  flags.Toggle("-q,--quiet", "no progress, no notes", global.quiet);
  flags.Add({"--color", Flags::Kind::value, "WHEN", "auto, always or never", [&global](const std::string& word) -> Result<> {
               static constexpr std::pair<const char*, ColorChoice> kChoices[] = {
                   {"auto", ColorChoice::automatic}, {"always", ColorChoice::always}, {"never", ColorChoice::never}};
               for (const auto& [name, choice] : kChoices) {
                 if (word != name) continue;
                 global.color = choice;
                 return {};
               }
               return Fail(ErrorCode::kUsage, "must be auto, always or never");
             }});
}

std::string CommandHelp(const Command& command, const Flags& flags) {
  std::string text = fmt::format("hone {} {}\n{}.\n\n{}", command.name, command.usage, command.summary, flags.HelpText());
  if (*command.details != '\0') text += fmt::format("\n{}\n", command.details);
  return text;
}

Result<int> RunCommand(const Command& command, const std::vector<std::string>& words, Console& console) {
  GlobalFlags global;
  Flags flags;
  const Run run = command.define(flags);
  AddGlobalFlags(flags, global);
  TRY_ASSIGN(const Flags::Outcome outcome, flags.Parse(command.name, words));
  if (outcome == Flags::Outcome::help) {
    TRY(console.Print(CommandHelp(command, flags)));
    return 0;
  }
  console.json = global.json;
  console.quiet = global.quiet;
  console.color = global.color;
  return run(console);
}

Result<int> Help(const std::vector<std::string>& words, Console& console) {
  if (words.empty()) {
    TRY(console.Print(TopHelp()));
    return 0;
  }
  if (words[0] == "exit-codes") {
    TRY(console.Print(ExitCodesText()));
    return 0;
  }
  const Command* command = FindCommand(words[0]);
  if (command == nullptr) return Fail(UnknownCommand(words[0]));
  return RunCommand(*command, {"--help"}, console);
}

Result<int> Dispatch(const std::vector<std::string>& words, Console& console) {
  if (words.empty()) return Fail(ErrorCode::kUsage, "no command was given", TopHelp());
  const std::string& first = words[0];
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  if (first == "--help" || first == "-h" || first == "help") return Help(first == "help" ? rest : std::vector<std::string>{}, console);
  if (first == "--version" || first == "version") {
    TRY(console.Print(fmt::format("hone {}\n", HONE_VERSION)));
    return 0;
  }
  const Command* command = FindCommand(first);
  if (command == nullptr && !first.empty() && first[0] == '-') {
    return Fail(ErrorCode::kUsage, fmt::format("options come after the command; '{}' came first", Printable(first, 100)), "see `hone --help`");
  }
  if (command == nullptr) return Fail(UnknownCommand(first));
  return RunCommand(*command, rest, console);
}

}  // namespace

const std::vector<Command>& Commands() {
  static const std::vector<Command> rows = {
      {"optimize", kHere, "[MODEL] [--recipe R] -o DIR", "Find the best deployable form of a model on this machine",
       "The job's state stays in DIR/.hone: the same command resumes an interrupted job and reuses earlier builds.\n"
       "Exit codes: 0 with a best model, 1 when no candidate is feasible, 9 for bad input, 130 on Ctrl-C.",
       DefineOptimize},
      {"apply", kHere, "MODEL --pass NAME[:key=value,...] ... -o OUT", "Apply passes in order, without a search",
       "OUT is a file (.onnx, .xml) or a folder; it is written only when every pass succeeded.", DefineApply},
      {"benchmark", kHere, "MODEL [--backend B] [--vs MODEL2 [--expect faster|not-slower|equal]]",
       "Measure one model, or two interleaved",
       "The verdict compares the 99 % interval of the speed-up with --delta. With --expect: 0 yes, 1 no, 3 undecided.", DefineBenchmark},
      {"evaluate", kHere, "MODEL --against REF|labels --data D", "Accuracy of a model against another, or against labels", "", DefineEvaluate},
      {"inspect", kHere, "MODEL", "Inputs, outputs, operators, sizes, and what is quantized", "", DefineInspect},
      {"sensitivity", kHere, "MODEL --data D [--pass NAME[:key=value,...] ...]", "What each group of layers loses under a pass, and gains",
       "Each group alone is put into the pass's form; worst first. `--pass static_int8:exclude=@FILE:K` leaves out the K\n"
       "worst groups of the document that --json (or -o FILE) gives.", DefineSensitivity},
      {"passes", kHere, "[NAME]", "The passes, or one with its parameters and defaults", "", DefinePasses},
      {"backends", kHere, "", "The backends with their settings and defaults", "", DefineBackends},
      {"import", kHere, "TOOL FILE [-o RECIPE]", "A recipe from another tool's configuration: olive, nncf, onnxruntime, neural-compressor",
       "Every value of the configuration is done, changed, ignored or impossible, and the report says why; docs/olive.md tells the rules.\n"
       "Exit codes: 0 imported whole, 1 imported in part (the report names what is impossible), 9 no such configuration.",
       DefineImport},
      {"submit", kService, "[MODEL] [--recipe R]", "Submit a job; prints its number", "", DefineSubmit},
      {"check", kService, "RECIPE [--model M]", "Check a recipe against the fleet, or against this machine",
       "Without --coordinator and HONE_COORDINATOR the passes and backends of this machine decide.", DefineCheck},
      {"jobs", kService, "", "List jobs, newest first", "", DefineJobs},
      {"status", kService, "JOB", "Where a job stands", "", DefineStatus},
      {"watch", kService, "JOB", "Follow a job until it is over; exits as `wait`", "Ctrl-C leaves the job running.", DefineWatch},
      {"wait", kService, "JOB", "Wait for a job: 0 with a best, 1 without, 4 failed, 11 cancelled", "", DefineWait},
      {"trials", kService, "JOB", "Every trial of a job", "", DefineTrials},
      {"best", kService, "JOB", "The best candidate for each target", "", DefineBest},
      {"pareto", kService, "JOB", "The candidates that nothing else beats", "", DefinePareto},
      {"explain", kService, "JOB", "Why the best is the best: ends, passes, parameters, constraints", "As `hone best JOB --why`.", DefineExplain},
      {"compare", kService, "A B", "Two trials side by side", "A and B are JOB (its best), JOB/TRIAL or JOB/baseline.", DefineCompare},
      {"get", kService, "JOB[/TRIAL] -o DIR", "Download the best models of a job, or a trial's", "", DefineGet},
      {"logs", kService, "JOB[/TRIAL]", "What the attempts at failed trials left behind, and how to repeat them", "", DefineLogs},
      {"retry", kService, "JOB[/TRIAL]", "Take failed trials up again", "", DefineRetry},
      {"cancel", kService, "JOB", "Cancel a job", "", DefineCancel},
      {"nightly", kService, "ACTION SUITE", "Regression runs of a suite: run, report, accept, pin, history ...",
       "run       measures every model beside what is accepted for it; the worst verdict is the exit code: 0 well, 1 a regression,\n"
       "          3 undecided, 4 something could not be measured, 5 the machine is unfit\n"
       "report    tells a night again; history: every series with its changes\n"
       "accept    makes what was measured last the accepted; pin: a file\n"
       "annotate  leaves a note; mute: silences series until a day\n"
       "export    copies the history, import brings nights from a copy\n"
       "docs/nightly.md tells the suite and the rules.",
       DefineNightly},
      {"olive", kUpkeep, "FORM [OPTIONS]", "Olive's command lines with hone at work: run, auto-opt, optimize, quantize ...",
       "run                   a configuration: --config FILE\n"
       "auto-opt, optimize    a model for --device, --provider and --precision\n"
       "quantize              a model by --algorithm and --precision\n"
       "run-pass              one pass: --pass-name, --pass-config\n"
       "tune-session-params   settings of ONNX Runtime\n"
       "The other forms of Olive's are refused with what to do instead. Exit codes are those of `hone optimize`.",
       DefineOlive},
      {"export", kUpkeep, "SOURCE --format F -o DIR", "Lay a model out: for a server, for Olive, or with programs that run it",
       "Formats: folder, openvino-model-server, triton, kserve, olive. Each has a model card and a manifest; docs/serving.md tells them.",
       DefineExport},
      {"reproduce", kUpkeep, "MANIFEST [--model FILE] [-o DIR]", "Make an exported model again and compare every step's digest",
       "Exit codes: 0 the same bytes, 1 a step gives others (it is named), 9 the source or the data are not those of the manifest.",
       DefineReproduce},
      {"workers", kUpkeep, "", "The workers and what they do", "", DefineWorkers},
      {"drain", kUpkeep, "NAME", "Let a worker finish its work and take nothing new", "", DefineDrain},
      {"fsck", kUpkeep, "DIR", "Whether a coordinator's folder holds what was promised",
       "Reads alone, so the coordinator may run meanwhile. Exit codes: 0 sound, 1 an invariant is broken, 8 no such folder,\n"
       "9 not a folder of hone-coordinator.",
       DefineFsck},
      {"backup", kUpkeep, "DIR -o FILE", "Copy a coordinator's database, running or not, with the list of its files",
       "docs/operations.md tells how to restore it.", DefineBackup},
      {"keys", kUpkeep, "ACTION [NAME] --keys DIR", "Key pairs, and who is let in: new, show, list, allow, revoke, trust",
       "new     makes a key pair for a process of this machine and prints its public key\n"
       "show    prints the public key of a pair; list: the folder's keys, and those that its coordinator lets in\n"
       "allow   lets a public key in, at once; revoke: no longer, and its connections end\n"
       "trust   names the coordinator's public key on a worker's or a client's machine\n"
       "docs/security.md sets three machines up.",
       DefineKeys},
      {"token", kUpkeep, "ACTION [NAME] --tokens FILE", "Who may ask over HTTP: create, list, revoke",
       "create  makes a token and prints it once: the list holds its digest alone\n"
       "revoke  ends it, within a second\n"
       "docs/http.md tells how it is used.",
       DefineToken},
      {"doctor", kUpkeep, "", "What works on this machine",
       "hone sends nothing anywhere but to the coordinator that you name.", DefineDoctor},
  };
  return rows;
}

std::string TopHelp() {
  std::string text =
      "hone finds the best deployable form of a model for the hardware you own.\n\n"
      "  hone optimize model.onnx --data samples.npz -o out      search here, write the best model to out/\n"
      "  hone apply model.onnx --pass dynamic_int8 -o int8.onnx  one pass, no search\n"
      "  hone benchmark int8.onnx --vs model.onnx --expect faster\n"
      "  hone submit model.onnx --recipe recipe.yaml             a job for the fleet; then hone watch, hone get\n";
  const char* group = "";
  for (const Command& command : Commands()) {
    if (std::string_view(command.group) != group) text += fmt::format("\n{}\n", command.group);
    group = command.group;
    text += std::string_view(group) == kUpkeep ? fmt::format("  {}", command.name) : fmt::format("  {:<11} {}\n", command.name, command.summary);
  }
  text += "\n\n`hone COMMAND --help` tells its options, `hone help exit-codes` what a command's status means.\n";
  return text;
}

int RunCommandLine(const std::vector<std::string>& words) {
  Console console(TerminalTraits::Detect());
  // A usage error comes before the flags are known, and a script that asked for JSON wants it as JSON.
  console.json = std::find(words.begin(), words.end(), "--json") != words.end();
  const Result<int> code = Dispatch(words, console);
  if (code) return *code;
  console.Report(code.error());
  return ExitCode(code.error().code);
}

}  // namespace hone
