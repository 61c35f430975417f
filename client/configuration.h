// The client's settings: flag, then HONE_* variable, then ./.hone.yaml (looked for up to the repository's root), then
// $XDG_CONFIG_HOME/hone/config.yaml, then /etc/hone/client.yaml, then the default. docs/cli.md tells the keys.
//
// A context is a named coordinator with its keys, one file each in $XDG_CONFIG_HOME/hone/contexts; which one is in use
// stands in $XDG_STATE_HOME/hone/context.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

// A value and where it came from: "HONE_COLOR", "/home/u/.config/hone/config.yaml:3", "context lab", "default".
struct Setting {
  std::string value;
  std::string origin;

  bool is_default() const { return origin == "default"; }
};

struct SettingInfo {
  const char* key;
  const char* variable;
  const char* otherwise;    // The default.
  const char* help;
  // What runs a program or names secrets is not taken from ./.hone.yaml, which may be somebody else's.
  bool of_project = true;
};
const std::vector<SettingInfo>& SettingCatalogue();

// Where the files are; "" for what there is none of.
struct ConfigurationPlaces {
  std::filesystem::path project;    // The nearest .hone.yaml, from the working folder up to the repository's root.
  std::filesystem::path user;       // $XDG_CONFIG_HOME/hone
  std::filesystem::path state;      // $XDG_STATE_HOME/hone
  std::filesystem::path system = "/etc/hone/client.yaml";

  static ConfigurationPlaces Find();
  std::filesystem::path contexts() const { return user / "contexts"; }
};

struct ContextInfo {
  std::string name;
  std::string coordinator;
  std::string keys;
};

// What holds for this process.
class Configuration {
 public:
  // Reads files and environment. kRejected with file, line, column and the nearest key for a file that is not well.
  static Result<Configuration> Load(const ConfigurationPlaces& places);

  // A key of the catalogue.
  const Setting& Get(std::string_view key) const;
  // With the --context of a command: its coordinator and keys stand above all but --coordinator and --keys. kNotFound.
  Result<> UseContext(const std::string& name);

  const ConfigurationPlaces& places() const { return places_; }

 private:
  Result<> ApplyContext(const std::string& name, const std::string& origin);
  Setting& At(std::string_view key);

  ConfigurationPlaces places_;
  std::vector<Setting> settings_;   // In the catalogue's order.
};

// The process's own; defaults and environment until it is set, once, by the command line.
const Configuration& TheConfiguration();
void SetTheConfiguration(Configuration configuration);

// By name. kRejected for a file that is not well.
Result<std::vector<ContextInfo>> ListContexts(const ConfigurationPlaces& places);
// kNotFound with the nearest name.
Result<ContextInfo> FindContext(const ConfigurationPlaces& places, const std::string& name);
// Letters, digits, '-', '_' and '.'; kUsage.
Result<> CheckContextName(const std::string& name);
Result<> SaveContext(const ConfigurationPlaces& places, const ContextInfo& context);
Result<> RemoveContext(const ConfigurationPlaces& places, const std::string& name);
// "" ends the use of any.
Result<> SelectContext(const ConfigurationPlaces& places, const std::string& name);

}  // namespace hone
