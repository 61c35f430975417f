// hone-worker: the service, and one task in the foreground.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/result.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/external/declarations.h"
#include "worker/passes/pass.h"
#include "worker/runner/catalogue.h"
#include "worker/runner/task.h"
#include "worker/supervisor/agent.h"
#include "worker/supervisor/runner_host.h"
#include "worker/supervisor/sandbox.h"
#include "worker/supervisor/zygote.h"

namespace hone {
namespace {

constexpr int kExitUsage = static_cast<int>(ErrorCode::kUsage);

int Report(const Error& error) {
  fmt::print(stderr, "hone-worker: {}\n", error.message);
  if (!error.remedy.empty()) fmt::print(stderr, "{}\n", error.remedy);
  return ExitCode(error.code);
}

// --- declared passes
// ---------------------------------------------------------------------------------------------------------------

// Reads the file that --passes (or $HONE_PASSES) names, and lets children find it. Their names must not be hone's own.
Result<> LoadDeclared(const std::string& file) {
  if (file.empty()) return {};
  const std::string absolute = std::filesystem::absolute(file).string();
  TRY(LoadExternalPasses(absolute));
  for (const ExternalPass& pass : ExternalPasses()) {
    if (!FindPass(pass.info.name())) continue;
    return Fail(ErrorCode::kConfiguration,
                fmt::format("{}: '{}' is the name of a pass of hone's own", absolute, pass.info.name()),
                "Give it another name");
  }
  setenv(kExternalPassesVariable, absolute.c_str(), 1);
  return {};
}

void ProbeDeclared(std::string_view only = {}) {
  for (const std::string& failure : ProbeExternalPasses(only)) spdlog::warn("{}", failure);
}

// --- the service
// ---------------------------------------------------------------------------------------------------------------

struct ServiceFlags {
  AgentOptions agent;
  std::string memory;
  std::string cache;
  std::string scratch;
  std::string sandbox;
  std::string keys;
  std::string log_level = "info";
};

Result<> ParseSizes(ServiceFlags& flags) {
  if (!flags.memory.empty()) {
    TRY_ASSIGN(flags.agent.memory_bytes, ParseBytes(flags.memory));
  }
  if (!flags.cache.empty()) {
    TRY_ASSIGN(flags.agent.cache_bytes, ParseBytes(flags.cache));
  }
  if (!flags.scratch.empty()) {
    TRY_ASSIGN(flags.agent.scratch_bytes, ParseBytes(flags.scratch));
  }
  if (flags.sandbox == "full") flags.agent.least_sandbox = SandboxLevel::full;
  if (flags.sandbox == "partial") flags.agent.least_sandbox = SandboxLevel::partial;
  return {};
}

// Signals that come before there is an agent are counted and handed to it.
std::atomic<Agent*> serving_agent{nullptr};
std::atomic<int> early_stops{0};

void StopOnSignal(int) {
  if (Agent* const agent = serving_agent.load()) {
    agent->RequestStop();
  } else {
    early_stops.fetch_add(1);
  }
}

void ListenToSignals() {
  struct sigaction action {};
  action.sa_handler = StopOnSignal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGTERM, SIGINT}) sigaction(number, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int Serve(ServiceFlags& flags) {
  if (flags.agent.coordinator.empty() || flags.agent.data_folder.empty()) {
    return Report({ErrorCode::kUsage, "a worker needs --coordinator and --data",
                   "For example: hone-worker --coordinator tcp://127.0.0.1:5710 --data /var/lib/hone-worker"});
  }
  if (const auto sizes = ParseSizes(flags); !sizes)
    return Report({ErrorCode::kUsage, sizes.error().message, sizes.error().remedy});
  spdlog::set_level(spdlog::level::from_str(flags.log_level));
  if (!flags.keys.empty()) {
    auto keys = LoadDialerKeys(flags.keys, KeyKind::worker);
    if (!keys) return Report(keys.error());
    flags.agent.keys = std::move(*keys);
  }
  ListenToSignals();
  const auto agent = Agent::Open(flags.agent);
  if (!agent) return Report(agent.error());
  serving_agent.store(agent->get());
  for (int stops = early_stops.exchange(0); stops > 0; --stops) (*agent)->RequestStop();
  const auto served = (*agent)->Serve();
  serving_agent.store(nullptr);
  return served ? 0 : Report(served.error());
}

// --- one task
// ------------------------------------------------------------------------------------------------------------------

// The task is worked by a child that is confined for good; this process waits for it, brings its result where it
// belongs and ends as the child did.

volatile sig_atomic_t confined_child = 0;
volatile sig_atomic_t ended_by = 0;

void EndChild(int signal) {
  ended_by = signal;
  if (confined_child > 0) kill(static_cast<pid_t>(confined_child), SIGKILL);
}

[[noreturn]] void WorkConfined(const proto::Task& task, const std::string& scratch, pid_t parent) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) std::signal(number, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_FAILURE);
  FileView view = ViewOf(task);
  view.Write(scratch);
  CleanEnvironment(scratch);
  const auto sandbox = ConfineThisProcess(view, Owner::person, 0);
  view = {};  // The places need not stay open.
  if (sandbox && (!sandbox->Has(kSystemCalls) || !sandbox->Has(kFiles))) {
    spdlog::warn("the work is not fully confined (sandbox={}): {}", WordOf(sandbox->level()),
                 Join(sandbox->Missing(), "; "));
  }
  const auto written = WriteFile(scratch + "/" + kResultFile, RunTask(task).SerializeAsString());
  const int status = written ? 0 : Report(written.error());
  std::fflush(nullptr);
  _exit(status);  // Destructors of runtimes have nothing to add.
}

Result<> BringResult(const std::string& scratch, const std::string& result_path) {
  TRY_ASSIGN(const std::string bytes, ReadFile(scratch + "/" + kResultFile, kMaxTaskBytes));
  return WriteFile(result_path, bytes);
}

[[noreturn]] void EndBySignal(int number) {
  std::signal(number, SIG_DFL);
  raise(number);
  _exit(128 + number);
}

int RunOnce(const std::string& request_path, const std::string& result_path) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto bytes = ReadFile(request_path, kMaxTaskBytes);
  if (!bytes) return Report({ErrorCode::kUsage, bytes.error().message, {}});
  proto::Task task;
  if (!task.ParseFromString(*bytes)) return Report({ErrorCode::kUsage, request_path + " holds no task", {}});
  std::error_code error;
  const auto temporary = std::filesystem::temp_directory_path(error);
  if (error)
    return Report({ErrorCode::kEnvironment, "the temporary folder: " + error.message(),
                   "Set TMPDIR to a folder that can be written"});
  // Only what the task is about is asked for its version.
  if (task.has_catalogue()) ProbeDeclared();
  if (task.has_build() && !task.build().step().pass().empty()) ProbeDeclared(task.build().step().pass());
  int status = 0;
  {
    auto scratch = ScopedFolder::Make(temporary, "hone-run-");
    if (!scratch) return Report(scratch.error());
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) std::signal(number, EndChild);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) return Report({ErrorCode::kExhausted, std::string("start the work: ") + std::strerror(errno), {}});
    if (child == 0) WorkConfined(task, std::filesystem::absolute(scratch->path()).string(), parent);
    confined_child = child;
    if (ended_by != 0) kill(child, SIGKILL);  // Before it was noted.
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && ended_by == 0) {
      if (const auto brought = BringResult(scratch->path().string(), result_path); !brought)
        return Report(brought.error());
    }
  }
  if (ended_by != 0) EndBySignal(static_cast<int>(ended_by));
  if (WIFSIGNALED(status)) EndBySignal(WTERMSIG(status));
  return WEXITSTATUS(status);
}

// --- the sandbox
// ---------------------------------------------------------------------------------------------------------------

int ShowSandbox(bool json) {
  const auto host = RunnerHost::Start();
  if (!host) return Report(host.error());
  const Sandbox& sandbox = (*host)->sandbox();
  if (json) {
    const nlohmann::json document = {{"schema", "hone.sandbox/1"},
                                     {"level", WordOf(sandbox.level())},
                                     {"applied", sandbox.Applied()},
                                     {"missing", sandbox.Missing()}};
    fmt::print("{}\n", document.dump(2));
    return 0;
  }
  fmt::print("sandbox={}\n", WordOf(sandbox.level()));
  for (const std::string& text : sandbox.Applied()) fmt::print("  has    {}\n", text);
  for (const std::string& text : sandbox.Missing()) fmt::print("  lacks  {}\n", text);
  return 0;
}

// --- the catalogue
// -------------------------------------------------------------------------------------------------------------

void PrintParameters(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& parameters) {
  for (const proto::ParameterInfo& parameter : parameters) {
    const std::string otherwise = parameter.default_value().kind_case() == proto::Value::KIND_NOT_SET
                                      ? "unset"
                                      : ToText(parameter.default_value());
    fmt::print("    {} = {}  {}\n", parameter.name(), otherwise, parameter.help());
  }
}

void PrintCatalogue(const proto::Catalogue& catalogue) {
  for (const proto::PassInfo& pass : catalogue.passes()) {
    fmt::print("pass {}  {}\n", pass.name(), pass.summary());
    PrintParameters(pass.parameters());
  }
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    fmt::print("backend {} {}  {}\n", backend.name(), backend.version(),
               Join({backend.devices().begin(), backend.devices().end()}, " "));
    PrintParameters(backend.settings());
  }
  const proto::Fingerprint& machine = catalogue.fingerprint();
  fmt::print("machine {}, {} cores, {}, kernel {}\n", machine.cpu_model(), machine.cores_allowed(),
             HumanBytes(machine.memory_bytes()), machine.kernel());
  fmt::print("tags {}\n", Join({catalogue.tags().begin(), catalogue.tags().end()}, " "));
}

int ShowCatalogue(bool json) {
  ProbeDeclared();
  const proto::Catalogue catalogue = AssembleCatalogue();
  if (!json) {
    PrintCatalogue(catalogue);
    return 0;
  }
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = true;
  std::string text;
  const auto converted = google::protobuf::util::MessageToJsonString(catalogue, &text, options);
  if (!converted.ok()) return Report({ErrorCode::kBug, "write the catalogue as JSON: " + converted.ToString(), {}});
  fmt::print("{}\n", text);
  return 0;
}

int Main(int argument_count, char** arguments) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("hone-worker"));
  CLI::App app{"Does the work of a coordinator on this machine", "hone-worker"};
  app.set_version_flag("--version", HONE_VERSION);
  ServiceFlags flags;
  app.add_option("--coordinator", flags.agent.coordinator, "Its endpoint, such as tcp://127.0.0.1:5710");
  app.add_option("--data", flags.agent.data_folder, "This worker's own folder");
  app.add_option("--name", flags.agent.name, "Its name in the fleet (default: one kept in the folder)");
  app.add_option("--keys", flags.keys, "The folder of this machine's keys (hone keys)")->envname("HONE_KEYS");
  app.add_option("--tag", flags.agent.tags, "A hardware tag beside those detected; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--memory", flags.memory,
                 "The most a task may use, such as 8GiB (default: 85 % of what this machine allows)");
  app.add_option("--cache-bytes", flags.cache,
                 "Bound of the artifact cache (default: 20 GiB or half of the free disk)");
  app.add_option("--scratch-bytes", flags.scratch,
                 "The most a task may write (default: half of the free disk, 64 GiB at most)");
  app.add_option("--sandbox", flags.sandbox,
                 "How well runners must be confined at least: full or partial (default: as well as this machine can)")
      ->check(CLI::IsMember({"full", "partial"}));
  std::string passes;
  app.add_option("--passes", passes,
                 "A file that declares programs of this machine as passes (docs/external_passes.md)")
      ->envname(kExternalPassesVariable);
  app.add_option("--log-level", flags.log_level)
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));

  std::string request;
  std::string result;
  CLI::App* const run = app.add_subcommand("run", "Runs one task in this process");
  run->add_option("--request", request, "A file that holds a hone.proto.Task")->required();
  run->add_option("--result", result, "Where the hone.proto.TaskResult goes")->required();
  bool json = false;
  CLI::App* const catalogue = app.add_subcommand("catalogue", "Shows what this machine can do");
  catalogue->add_flag("--json", json, "As one JSON document");
  CLI::App* const sandbox = app.add_subcommand("sandbox", "Shows how well this machine confines runners");
  sandbox->add_flag("--json", json, "As one JSON document");
  app.require_subcommand(0, 1);

  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (const auto declared = LoadDeclared(passes); !declared) return Report(declared.error());
  if (run->parsed()) return RunOnce(request, result);
  if (catalogue->parsed()) return ShowCatalogue(json);
  if (sandbox->parsed()) return ShowSandbox(json);
  return Serve(flags);
}

}  // namespace
}  // namespace hone

int main(int argument_count, char** arguments) {
  int exit_status = 0;
  if (hone::RunAsZygote(argument_count, arguments, hone::RunTask, exit_status)) return exit_status;
  return hone::Main(argument_count, arguments);
}
