// hone-worker: the service, and one task in the foreground.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/result.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/runner/catalogue.h"
#include "worker/runner/task.h"
#include "worker/supervisor/agent.h"
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

// --- the service ---------------------------------------------------------------------------------------------------------------

struct ServiceFlags {
  AgentOptions agent;
  std::string memory;
  std::string cache;
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
  if (const auto sizes = ParseSizes(flags); !sizes) return Report({ErrorCode::kUsage, sizes.error().message, sizes.error().remedy});
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

// --- one task ------------------------------------------------------------------------------------------------------------------

int RunOnce(const std::string& request_path, const std::string& result_path) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto bytes = ReadFile(request_path, kMaxTaskBytes);
  if (!bytes) return Report({ErrorCode::kUsage, bytes.error().message, {}});
  proto::Task task;
  if (!task.ParseFromString(*bytes)) return Report({ErrorCode::kUsage, request_path + " holds no task", {}});
  if (const auto confined = ConfineThisProcess(); !confined) spdlog::warn("not fully confined: {}", confined.error().message);
  const auto written = WriteFile(result_path, RunTask(task).SerializeAsString());
  const int status = written ? 0 : Report(written.error());
  std::fflush(nullptr);
  _exit(status);  // Destructors of runtimes have nothing to add.
}

// --- the catalogue -------------------------------------------------------------------------------------------------------------

void PrintParameters(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& parameters) {
  for (const proto::ParameterInfo& parameter : parameters) {
    const std::string otherwise = parameter.default_value().kind_case() == proto::Value::KIND_NOT_SET ? "unset" : ToText(parameter.default_value());
    fmt::print("    {} = {}  {}\n", parameter.name(), otherwise, parameter.help());
  }
}

void PrintCatalogue(const proto::Catalogue& catalogue) {
  for (const proto::PassInfo& pass : catalogue.passes()) {
    fmt::print("pass {}  {}\n", pass.name(), pass.summary());
    PrintParameters(pass.parameters());
  }
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    fmt::print("backend {} {}  {}\n", backend.name(), backend.version(), Join({backend.devices().begin(), backend.devices().end()}, " "));
    PrintParameters(backend.settings());
  }
  const proto::Fingerprint& machine = catalogue.fingerprint();
  fmt::print("machine {}, {} cores, {}, kernel {}\n", machine.cpu_model(), machine.cores_allowed(), HumanBytes(machine.memory_bytes()),
             machine.kernel());
  fmt::print("tags {}\n", Join({catalogue.tags().begin(), catalogue.tags().end()}, " "));
}

int ShowCatalogue(bool json) {
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
  ServiceFlags flags;
  app.add_option("--coordinator", flags.agent.coordinator, "Its endpoint, such as tcp://127.0.0.1:5710");
  app.add_option("--data", flags.agent.data_folder, "This worker's own folder");
  app.add_option("--name", flags.agent.name, "Its name in the fleet (default: one kept in the folder)");
  app.add_option("--keys", flags.keys, "The folder of this machine's keys (hone keys)")->envname("HONE_KEYS");
  app.add_option("--tag", flags.agent.tags, "A hardware tag beside those detected; may be repeated")->allow_extra_args(false);
  app.add_option("--memory", flags.memory, "The most a task may use, such as 8GiB (default: 85 % of what this machine allows)");
  app.add_option("--cache-bytes", flags.cache, "Bound of the artifact cache (default: 20 GiB or half of the free disk)");
  app.add_option("--log-level", flags.log_level)->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));

  std::string request;
  std::string result;
  CLI::App* const run = app.add_subcommand("run", "Runs one task in this process");
  run->add_option("--request", request, "A file that holds a hone.proto.Task")->required();
  run->add_option("--result", result, "Where the hone.proto.TaskResult goes")->required();
  bool json = false;
  CLI::App* const catalogue = app.add_subcommand("catalogue", "Shows what this machine can do");
  catalogue->add_flag("--json", json, "As one JSON document");
  app.require_subcommand(0, 1);

  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (run->parsed()) return RunOnce(request, result);
  if (catalogue->parsed()) return ShowCatalogue(json);
  return Serve(flags);
}

}  // namespace
}  // namespace hone

int main(int argument_count, char** arguments) {
  int exit_status = 0;
  if (hone::RunAsZygote(argument_count, arguments, hone::RunTask, exit_status)) return exit_status;
  return hone::Main(argument_count, arguments);
}
