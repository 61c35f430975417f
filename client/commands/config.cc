// hone config and context: the client's settings and where each comes from; named coordinators.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "client/command.h"
#include "client/configuration.h"
#include "client/remote.h"
#include "client/table.h"
#include "common/base/strings.h"
#include "common/transport/endpoint.h"

namespace hone {
namespace {

struct ConfigOptions {
  std::string action;
  std::string name;
  CoordinatorFlags coordinator;
  bool origin = false;
};

Error UnknownAction(const std::string& command, const std::string& action, const std::vector<std::string>& known) {
  return Error{ErrorCode::kUsage,
               fmt::format("hone {} has no action '{}'{}", command, Printable(action, 100), DidYouMean(action, known)),
               fmt::format("actions: {}", Join(known, ", "))};
}

Result<int> ShowConfiguration(const ConfigOptions& options, Console& console) {
  const Configuration& configuration = TheConfiguration();
  Json settings = Json::object();
  Table table({{"", Align::left, false}, {"", Align::left, true}, {"", Align::left, true}});
  for (const SettingInfo& info : SettingCatalogue()) {
    const Setting& setting = configuration.Get(info.key);
    settings[info.key] = {{"value", setting.value}, {"origin", setting.origin}};
    table.Row({info.key, setting.value.empty() ? "-" : Printable(setting.value), options.origin ? setting.origin : ""});
  }
  TRY(console.json ? console.PrintJson({{"schema", "hone.config/1"}, {"settings", settings}})
                   : console.Print(table.Text(console.table_width())));
  return 0;
}

Result<int> ShowPlaces(Console& console) {
  const ConfigurationPlaces& places = TheConfiguration().places();
  const std::pair<const char*, std::string> rows[] = {
      {"project", places.project.string()},
      {"user", places.user.empty() ? "" : (places.user / "config.yaml").string()},
      {"system", places.system.string()},
      {"contexts", places.user.empty() ? "" : places.contexts().string()}};
  Json paths = Json::object();
  Table table({{"", Align::left, false}, {"", Align::left, true}});
  for (const auto& [name, path] : rows) {
    paths[name] = path.empty() ? Json(nullptr) : Json(path);
    table.Row({name, path.empty() ? "none" : path});
  }
  TRY(console.json ? console.PrintJson({{"schema", "hone.config.path/1"}, {"paths", paths}})
                   : console.Print(table.Text(console.table_width())));
  return 0;
}

Result<int> RunConfig(const ConfigOptions& options, Console& console) {
  if (options.action.empty() || options.action == "show") return ShowConfiguration(options, console);
  if (options.action == "path") return ShowPlaces(console);
  return Fail(UnknownAction("config", options.action, {"show", "path"}));
}

Result<int> ListAll(Console& console) {
  TRY_ASSIGN(const std::vector<ContextInfo> contexts, ListContexts(TheConfiguration().places()));
  const std::string& used = TheConfiguration().Get("context").value;
  Json rows = Json::array();
  Table table({{"", Align::left, false},
               {"context", Align::left, false},
               {"coordinator", Align::left, true},
               {"keys", Align::left, true}});
  for (const ContextInfo& context : contexts) {
    rows.push_back({{"name", context.name},
                    {"coordinator", context.coordinator},
                    {"keys", context.keys.empty() ? Json(nullptr) : Json(context.keys)},
                    {"in_use", context.name == used}});
    table.Row({context.name == used ? "*" : "", context.name, Printable(context.coordinator),
               context.keys.empty() ? "-" : Printable(context.keys)});
  }
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.contexts/1"}, {"contexts", rows}}));
  } else {
    TRY(console.Print(contexts.empty() ? "no contexts; make one: hone context add NAME --coordinator tcp://host:5710\n"
                                       : table.Text(console.table_width())));
  }
  return 0;
}

Result<int> Changed(const char* change, const std::string& name, const std::string& text, Console& console) {
  const Json document = {{"schema", "hone.contexts.change/1"}, {"change", change}, {"name", name}};
  TRY(console.json ? console.PrintJson(document) : console.Print(text + "\n"));
  return 0;
}

Result<int> RunContext(const ConfigOptions& options, Console& console) {
  const ConfigurationPlaces& places = TheConfiguration().places();
  if (options.action.empty() || options.action == "list") return ListAll(console);
  static const std::vector<std::string> kActions = {"list", "add", "use", "remove"};
  if (std::find(kActions.begin(), kActions.end(), options.action) == kActions.end()) {
    return Fail(UnknownAction("context", options.action, kActions));
  }
  if (options.name.empty()) {
    return Fail(ErrorCode::kUsage, fmt::format("hone context {} needs the name of a context", options.action),
                "see `hone context --help`");
  }
  if (options.action == "add") {
    if (options.coordinator.endpoint.empty()) {
      return Fail(ErrorCode::kUsage, "a context names its coordinator",
                  fmt::format("hone context add {} --coordinator tcp://host:5710", options.name));
    }
    TRY(ParseEndpoint(options.coordinator.endpoint, ErrorCode::kUsage));
    const std::string keys =
        options.coordinator.keys.empty() ? "" : std::filesystem::absolute(options.coordinator.keys).string();
    TRY(SaveContext(places, {options.name, options.coordinator.endpoint, keys}));
    return Changed("added", options.name,
                   fmt::format("context {} is there; take it up with: hone context use {}", options.name, options.name),
                   console);
  }
  if (options.action == "use") {
    TRY(SelectContext(places, options.name));
    return Changed("in use", options.name, fmt::format("commands now speak to context {}", options.name), console);
  }
  TRY(RemoveContext(places, options.name));
  return Changed("removed", options.name, fmt::format("context {} is gone", options.name), console);
}

}  // namespace

Run DefineConfig(Flags& flags) {
  auto options = std::make_shared<ConfigOptions>();
  flags.OptionalArgument("ACTION", "show (the default) or path", options->action);
  flags.Toggle("--origin", "also tell where each value comes from", options->origin);
  return [options](Console& console) { return RunConfig(*options, console); };
}

Run DefineContext(Flags& flags) {
  auto options = std::make_shared<ConfigOptions>();
  flags.OptionalArgument("ACTION", "list (the default), add, use or remove", options->action);
  flags.OptionalArgument("NAME", "the context", options->name);
  flags.Text("--coordinator", "EP", "of add: tcp://host:port or ipc://path", options->coordinator.endpoint);
  flags.Text("--keys", "DIR", "of add: the folder of the keys for it", options->coordinator.keys);
  return [options](Console& console) { return RunContext(*options, console); };
}

}  // namespace hone
