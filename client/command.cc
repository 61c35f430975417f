#include "client/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "client/configuration.h"
#include "client/help.h"
#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"

namespace hone {
namespace {

constexpr const char* kHere = "Optimise a model, here";
constexpr const char* kService = "Ask a coordinator";
// Listed by name alone.
constexpr const char* kLook = "Look closer";
constexpr const char* kTools = "Nights and other tools";
constexpr const char* kUpkeep = "Machines and settings";

std::vector<std::string> CommandNames() {
  std::vector<std::string> names = {"help"};
  for (const Command& command : Commands()) names.emplace_back(command.name);
  return names;
}

const Command* FindCommand(const std::string& name) {
  const auto row =
      std::find_if(Commands().begin(), Commands().end(), [&](const Command& command) { return name == command.name; });
  return row == Commands().end() ? nullptr : &*row;
}

Error UnknownCommand(const std::string& name) {
  return Error{ErrorCode::kUsage,
               fmt::format("there is no command '{}'{}", Printable(name, 100),
                           DidYouMean(WordKind::command, name, CommandNames())),
               "see `hone --help`"};
}

// What every command has.
struct GlobalFlags {
  bool json = false;
  bool quiet = false;
  std::string color;
};

void AddGlobalFlags(Flags& flags, GlobalFlags& global) {
  flags.Toggle("--json", "one JSON document on stdout", global.json);
  flags.Toggle("-q,--quiet", "no progress, no notes", global.quiet);
  flags.Text("--color", "WHEN", "auto, always or never", global.color);
  flags.Choose({"auto", "always", "never"});
}

ColorChoice ColorOf(const std::string& word) {
  if (word == "always") return ColorChoice::always;
  return word == "never" ? ColorChoice::never : ColorChoice::automatic;
}

Result<int> RunCommand(const Command& command, const std::vector<std::string>& words, Console& console) {
  auto configuration = Configuration::Load(ConfigurationPlaces::Find());
  if (configuration) SetTheConfiguration(*configuration);
  GlobalFlags global;
  Flags flags;
  const Run run = command.define(flags);
  AddGlobalFlags(flags, global);
  TRY_ASSIGN(const Flags::Outcome outcome, flags.Parse(command.name, words));
  console.json = global.json;
  console.quiet = global.quiet;
  console.color = ColorOf(global.color.empty() ? TheConfiguration().Get("color").value : global.color);
  console.pager = TheConfiguration().Get("pager").value;
  if (outcome == Flags::Outcome::help) {
    TRY(console.Print(CommandHelp(command, flags, console.table_width())));
    return 0;
  }
  // Doctor tells of it among what else is wrong.
  if (!configuration && std::string_view(command.name) != "doctor") return Fail(configuration.error());
  return run(console);
}

// hone help --man [COMMAND|exit-codes]
Result<int> PrintManPage(const std::vector<std::string>& words, Console& console) {
  if (words.empty()) {
    TRY(console.Print(ManPage()));
    return 0;
  }
  if (words[0] == "exit-codes") {
    TRY(console.Print(ExitCodesManPage()));
    return 0;
  }
  const Command* command = FindCommand(words[0]);
  if (command == nullptr) return Fail(UnknownCommand(words[0]));
  TRY(console.Print(ManPage(*command)));
  return 0;
}

Json HelpJson() {
  Json commands = Json::array();
  for (const Command& command : Commands()) {
    commands.push_back(
        {{"name", command.name}, {"group", command.group}, {"usage", command.usage}, {"summary", command.summary}});
  }
  Json codes = Json::array();
  for (const ExitCodeRow& row : ExitCodes())
    codes.push_back({{"code", row.code}, {"name", row.name}, {"meaning", row.meaning}});
  return {{"schema", "hone.help/1"}, {"version", HONE_VERSION}, {"commands", commands}, {"exit_codes", codes}};
}

Result<int> Help(const std::vector<std::string>& words, Console& console) {
  if (words.empty()) {
    TRY(console.Print(TopHelp()));
    return 0;
  }
  if (words[0] == "--man") return PrintManPage({words.begin() + 1, words.end()}, console);
  if (words[0] == "--json") {
    TRY(console.PrintJson(HelpJson()));
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
  if (first == "--help" || first == "-h" || first == "help")
    return Help(first == "help" ? rest : std::vector<std::string>{}, console);
  if (first == "--version" || first == "version") {
    TRY(console.Print(fmt::format("hone {}\n", HONE_VERSION)));
    return 0;
  }
  if (first == "__complete") return RunComplete(rest, console);
  const Command* command = FindCommand(first);
  if (command == nullptr && !first.empty() && first[0] == '-') {
    return Fail(ErrorCode::kUsage,
                fmt::format("options come after the command; '{}' came first", Printable(first, 100)),
                "see `hone --help`");
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
       DefineOptimize,
       "hone optimize model.onnx --data samples.npz -o out\tthe built-in recipe; the best model lands in out/\n"
       "hone optimize model.onnx --data samples.npz --max-accuracy-drop 0.01 --time 10m -o out\tbounds on loss and "
       "time\n"
       "hone optimize --recipe recipe.yaml -o out\tmodel, data and passes as the recipe says"},
      {"apply", kHere, "MODEL --pass NAME[:key=value,...] ... -o OUT", "Apply passes in order, without a search",
       "OUT is a file (.onnx, .xml) or a folder; it is written only when every pass succeeded.", DefineApply,
       "hone apply model.onnx --pass dynamic_int8 -o int8.onnx\n"
       "hone apply model.onnx --pass simplify --pass static_int8:observer=entropy --calibration samples.npz -o "
       "int8.onnx"
       "\tseveral, with parameters and data"},
      {"benchmark", kHere, "MODEL [--backend B] [--vs MODEL2 [--expect faster|not-slower|equal]]",
       "Measure one model, or two interleaved",
       "The verdict compares the 99 % interval of the speed-up with --delta. With --expect: 0 yes, 1 no, 3 undecided.",
       DefineBenchmark,
       "hone benchmark model.onnx --backend openvino\tone model, with intervals\n"
       "hone benchmark int8.onnx --vs model.onnx --expect faster\ta gate for scripts: 0 yes, 1 no, 3 undecided\n"
       "hone benchmark model.onnx --sweep threads=1,2,4\tevery number of threads beside each other"},
      {"evaluate", kHere, "MODEL --against REF|labels --data D",
       "Accuracy of a model against another, or against labels", "", DefineEvaluate,
       "hone evaluate int8.onnx --against model.onnx --data samples.npz\n"
       "hone evaluate int8.onnx --against labels --data labelled.npz --metric top1"},
      {"inspect", kHere, "MODEL", "Inputs, outputs, operators, sizes, and what is quantized", "", DefineInspect,
       "hone inspect model.onnx"},
      {"submit", kService, "[MODEL] [--recipe R]", "Submit a job; prints its number", "", DefineSubmit,
       "hone submit model.onnx --recipe recipe.yaml\n"
       "hone submit model.onnx --recipe recipe.yaml --dry-run\tevery check, and what would be searched\n"
       "job=$(hone submit model.onnx --recipe recipe.yaml) && hone wait \"$job\" && hone get \"$job\" -o out\tin a "
       "script"},
      {"check", kService, "RECIPE [--model M]", "Check a recipe against the fleet, or against this machine",
       "Without a coordinator named by flag, variable or configuration, the passes and backends of this machine "
       "decide.",
       DefineCheck, "hone check recipe.yaml --model model.onnx --data samples.npz"},
      {"plan", kService, "[MODEL] [--recipe R]", "What a search will cost, and the smallest difference it can see",
       "Spends no machine time: the cost of a trial and the noise are those of earlier trials of the coordinator, of "
       "the same model "
       "first. With --probe the model is timed against itself on this machine for a few seconds. Exit codes: 0, 3 "
       "where nothing is "
       "known of cost and noise, 9 for a recipe that no worker can serve.",
       DefinePlan,
       "hone plan model.onnx --recipe recipe.yaml --resolve 1%\tspace, workers, cost, and what it takes to see 1 %\n"
       "hone plan model.onnx --recipe recipe.yaml --probe\tby timing the model against itself here"},
      {"jobs", kService, "", "List jobs, newest first", "", DefineJobs, "hone jobs\nhone jobs --limit 100 --json"},
      {"status", kService, "JOB", "Where a job stands", "", DefineStatus, "hone status 42"},
      {"watch", kService, "JOB", "Follow a job until it is over; exits as `wait`",
       "On a terminal a block is redrawn in place; elsewhere a line is written for each change, a sign of life every "
       "30 s, and one last line with the verdict and the next command. Ctrl-C leaves the job running; so does the key q "
       "on a terminal, where p pauses the view and c asks whether to cancel the job.",
       DefineWatch,
       "hone watch 42\n"
       "hone watch 42 --compact > watch.log\tonly what matters: bests, lost workers, failures, the end\n"
       "hone watch 42 --replay 60x\ta finished search as it happened, sixty times as fast"},
      {"wait", kService, "JOB", "Wait for a job: 0 with a best, 1 without, 4 failed, 11 cancelled", "", DefineWait,
       "hone wait 42 --timeout 1h\t10 when the hour is over; the job goes on"},
      {"best", kService, "JOB", "The best candidate for each target", "", DefineBest,
       "hone best 42\nhone best 42 --why\twhat each pass bought"},
      {"compare", kService, "A B", "Two trials side by side, with intervals",
       "A and B are JOB (its best), JOB/TRIAL or JOB/baseline. --fresh downloads both and measures them interleaved on "
       "this machine.\n"
       "With --expect: 0 yes, 1 no, 3 undecided or not measured.",
       DefineCompare,
       "hone compare 42 42/baseline\tby what is stored\n"
       "hone compare 42/17 42/21 --fresh --expect faster\tmeasured again, interleaved, here"},
      {"get", kService, "JOB[/TRIAL] -o DIR", "Download the best models of a job, or a trial's", "", DefineGet,
       "hone get 42 -o out\nhone get 42/17 -o out"},
      {"cancel", kService, "JOB", "Cancel a job", "", DefineCancel, "hone cancel 42 --reason \"wrong data\""},
      {"trials", kLook, "JOB", "Every trial of a job", "", DefineTrials,
       "hone trials 42\nhone trials 42 --format csv > trials.csv"},
      {"pareto", kLook, "JOB", "The candidates that nothing else beats", "", DefinePareto, "hone pareto 42"},
      {"explain", kLook, "JOB", "Why the best is the best: ends, passes, parameters, constraints",
       "As `hone best JOB --why`.", DefineExplain, "hone explain 42"},
      {"logs", kLook, "JOB[/TRIAL]", "What the attempts at failed trials left behind, and how to repeat them", "",
       DefineLogs, "hone logs 42\tthe failed trials\nhone logs 42/17"},
      {"retry", kLook, "JOB[/TRIAL]", "Take failed trials up again", "", DefineRetry, "hone retry 42/17"},
      {"sensitivity", kLook, "MODEL --data D [--pass NAME[:key=value,...] ...]",
       "What each group of layers loses under a pass, and gains",
       "Each group alone is put into the pass's form; worst first. `--pass static_int8:exclude=@FILE:K` leaves out "
       "the K worst groups of the document that --json (or -o FILE) gives.",
       DefineSensitivity, "hone sensitivity model.onnx --data samples.npz"},
      {"passes", kLook, "[NAME]", "The passes, or one with its parameters and defaults", "", DefinePasses,
       "hone passes\nhone passes static_int8"},
      {"backends", kLook, "", "The backends with their settings and defaults", "", DefineBackends, "hone backends"},
      {"report", kLook, "JOB --html FILE", "A job as one page that opens anywhere: plots, table, data",
       "The page of `hone-coordinator --http`, as it is now, in one file of at most 100 kB. It fetches nothing and "
       "needs no coordinator.",
       DefineReport, "hone report 42 --html job-42.html"},
      {"nightly", kTools, "ACTION SUITE", "Regression runs of a suite: run, report, accept, pin, history ...",
       "run       measures every model beside what is accepted for it; the worst verdict is the exit code: 0 well, 1 a "
       "regression, 3 undecided, 4 something could not be measured, 5 the machine is unfit\n"
       "report    tells a night again; history: every series with its changes\n"
       "accept    makes what was measured last the accepted; pin: a file\n"
       "annotate  leaves a note; mute: silences series until a day\n"
       "export    copies the history, import brings nights from a copy\n"
       "docs/nightly.md tells the suite and the rules.",
       DefineNightly, "hone nightly run suite.yaml\nhone nightly history suite.yaml"},
      {"import", kTools, "TOOL FILE [-o RECIPE]",
       "A recipe from another tool's configuration: olive, nncf, onnxruntime, neural-compressor",
       "Every value of the configuration is done, changed, ignored or impossible, and the report says why; "
       "docs/olive.md tells the rules.\n"
       "Exit codes: 0 imported whole, 1 imported in part (the report names what is impossible), 9 no such "
       "configuration.",
       DefineImport, "hone import olive config.json -o recipe.yaml"},
      {"olive", kTools, "FORM [OPTIONS]",
       "Olive's command lines with hone at work: run, auto-opt, optimize, quantize ...",
       "run                   a configuration: --config FILE\n"
       "auto-opt, optimize    a model for --device, --provider and --precision\n"
       "quantize              a model by --algorithm and --precision\n"
       "run-pass              one pass: --pass-name, --pass-config\n"
       "tune-session-params   settings of ONNX Runtime\n"
       "The other forms of Olive's are refused with what to do instead. Exit codes are those of `hone optimize`.",
       DefineOlive, "hone olive run --config config.json"},
      {"compose", kTools, "FIRST SECOND [--then MODEL ...] -o OUT", "Join ONNX models, one behind another, into one",
       "An input takes the output of its name that a model before it gives; where there is none, inputs take the "
       "outputs of the model before in their order. The pass split does the reverse.",
       DefineCompose,
       "hone compose backbone.onnx head.onnx -o whole.onnx\n"
       "hone apply whole.onnx --pass split:parts=2 -o parts\tthe reverse"},
      {"export", kUpkeep, "SOURCE --format F -o DIR",
       "Lay a model out: for a server, for Olive, or with programs that run it",
       "Formats: folder, openvino-model-server, triton, kserve, olive. Each has a model card and a manifest; "
       "docs/serving.md tells them.",
       DefineExport,
       "hone export out/model.onnx --format triton -o serving\nhone export 42 --format openvino-model-server -o "
       "serving\tthe best of a job"},
      {"reproduce", kUpkeep, "MANIFEST [--model FILE] [-o DIR]",
       "Make an exported model again and compare every step's digest",
       "Exit codes: 0 the same bytes, 1 a step gives others (it is named), 9 the source or the data are not those of "
       "the manifest.",
       DefineReproduce, "hone reproduce serving/manifest.json --model model.onnx"},
      {"workers", kUpkeep, "", "The workers and what they do", "", DefineWorkers, "hone workers"},
      {"drain", kUpkeep, "NAME", "Let a worker finish its work and take nothing new", "", DefineDrain,
       "hone drain lab-1\nhone drain lab-1 --undo\tit takes work again"},
      {"fsck", kUpkeep, "DIR", "Whether a coordinator's folder holds what was promised",
       "Reads alone, so the coordinator may run meanwhile. Exit codes: 0 sound, 1 an invariant is broken, 8 no such "
       "folder, 9 not a folder of hone-coordinator.",
       DefineFsck, "hone fsck /var/lib/hone-coordinator"},
      {"backup", kUpkeep, "DIR -o FILE", "Copy a coordinator's database, running or not, with the list of its files",
       "docs/operations.md tells how to restore it.", DefineBackup,
       "hone backup /var/lib/hone-coordinator -o backup.db"},
      {"keys", kUpkeep, "ACTION [NAME] --keys DIR",
       "Key pairs, and who is let in: new, show, list, allow, revoke, trust",
       "new     makes a key pair for a process of this machine and prints its public key\n"
       "show    prints the public key of a pair; list: the folder's keys, and those that its coordinator lets in\n"
       "allow   lets a public key in, at once; revoke: no longer, and its connections end\n"
       "trust   names the coordinator's public key on a worker's or a client's machine\n"
       "docs/security.md sets three machines up.",
       DefineKeys, "hone keys new client --keys ~/.config/hone/keys\nhone keys list --keys /etc/hone/keys"},
      {"token", kUpkeep, "ACTION [NAME] --tokens FILE", "Who may ask over HTTP: create, list, revoke",
       "create  makes a token and prints it once: the list holds its digest alone\n"
       "revoke  ends it, within a second\n"
       "docs/http.md tells how it is used.",
       DefineToken,
       "hone token create ci --tokens /var/lib/hone-coordinator/tokens\nhone token list --tokens "
       "/var/lib/hone-coordinator/tokens"},
      {"context", kUpkeep, "[ACTION] [NAME]", "Named coordinators with their keys: list, add, use, remove", "",
       DefineContext,
       "hone context add lab --coordinator tcp://lab-1:5710 --keys ~/.config/hone/lab\n"
       "hone context use lab\tfrom now on\nhone jobs --context lab\tthis once"},
      {"config", kUpkeep, "[ACTION]", "The client's settings, and where each comes from: show, path",
       "flag > HONE_* variable > ./.hone.yaml (up to the repository's root) > $XDG_CONFIG_HOME/hone/config.yaml > "
       "/etc/hone/client.yaml.",
       DefineConfig, "hone config show --origin"},
      {"completion", kUpkeep, "SHELL", "Completions for bash, zsh or fish", "", DefineCompletion,
       "hone completion bash > /etc/bash_completion.d/hone\n"
       "hone completion zsh > \"${fpath[1]}/_hone\"\n"
       "hone completion fish > ~/.config/fish/completions/hone.fish"},
      {"doctor", kUpkeep, "", "What works on this machine, and what to do about the rest",
       "Looks in the order in which things depend on each other, and blames nothing for what came before it.\n"
       "hone sends nothing anywhere but to the coordinator that you name.",
       DefineDoctor,
       "hone doctor\nhone doctor --coordinator tcp://lab-1:5710 --keys ~/.config/hone/keys\twith the way to a "
       "coordinator"},
  };
  return rows;
}

bool IsListedByName(const Command& command) {
  const std::string_view group = command.group;
  return group == kLook || group == kTools || group == kUpkeep;
}

void AddGlobalFlags(Flags& flags) {
  static GlobalFlags unused;
  AddGlobalFlags(flags, unused);
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
