#include "client/configuration.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/yaml_reader.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = 64 << 10;

std::string EnvironmentText(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// $VARIABLE/hone, else $HOME/otherwise/hone; "" without a home.
fs::path FolderOf(const char* variable, const char* otherwise) {
  const std::string named = EnvironmentText(variable);
  if (!named.empty() && fs::path(named).is_absolute()) return fs::path(named) / "hone";
  const std::string home = EnvironmentText("HOME");
  return home.empty() ? fs::path() : fs::path(home) / otherwise / "hone";
}

// The working folder's own, else that of a folder above it, but no further than the repository's root.
fs::path FindProjectFile() {
  std::error_code failure;
  const fs::path here = fs::current_path(failure);
  if (failure) return {};
  fs::path root;
  for (fs::path folder = here; root.empty(); folder = folder.parent_path()) {
    if (fs::exists(folder / ".git", failure)) root = folder;
    if (folder == folder.parent_path()) break;
  }
  for (fs::path folder = here;; folder = folder.parent_path()) {
    if (fs::is_regular_file(folder / ".hone.yaml", failure)) return folder / ".hone.yaml";
    if (root.empty() || folder == root || folder == folder.parent_path()) return {};
  }
}

std::vector<std::string> Keys() {
  std::vector<std::string> keys;
  for (const SettingInfo& info : SettingCatalogue()) keys.emplace_back(info.key);
  return keys;
}

size_t IndexOf(std::string_view key) {
  const auto& rows = SettingCatalogue();
  return static_cast<size_t>(
      std::find_if(rows.begin(), rows.end(), [&](const SettingInfo& info) { return key == info.key; }) - rows.begin());
}

struct FileSetting {
  size_t index;
  Setting setting;
};

// Paths of a file are beside it.
std::string ResolvePath(const fs::path& file, const std::string& value) {
  if (value.empty() || value[0] == '/') return value;
  if (value.compare(0, 2, "~/") == 0) return (fs::path(EnvironmentText("HOME")) / value.substr(2)).string();
  return (file.parent_path() / value).string();
}

// The settings of a file; none where there is no file.
Result<std::vector<FileSetting>> ReadSettings(const fs::path& file, bool of_project) {
  std::vector<FileSetting> found;
  if (file.empty()) return found;
  const Result<std::string> text = ReadFile(file, kMostBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return found;
  if (!text) return Fail(ErrorCode::kRejected, text.error().message, text.error().remedy);
  TRY_ASSIGN(const YamlNode root, ParseYamlTree(*text, file.string(), "configuration"));
  const yaml::Context context{file.string()};
  if (root.kind == YamlNode::Kind::kNull) return found;
  if (root.kind != YamlNode::Kind::kMap)
    return yaml::WrongKind(context, root, "the configuration", "a map of settings");
  for (const YamlEntry& entry : root.entries) {
    const size_t index = IndexOf(entry.key);
    if (index == SettingCatalogue().size()) {
      return yaml::FailAt(context, entry.place,
                          fmt::format("unknown setting {}{}", yaml::Quoted(entry.key), DidYouMean(entry.key, Keys())),
                          "Known here are " + Join(Keys(), ", "));
    }
    if (of_project && !SettingCatalogue()[index].of_project) {
      return yaml::FailAt(
          context, entry.place,
          fmt::format("'{}' is not taken from a project's file, which may be somebody else's", entry.key),
          "Set it in your own configuration: " + (ConfigurationPlaces::Find().user / "config.yaml").string());
    }
    TRY_ASSIGN(std::string value, yaml::ReadText(context, entry.value, fmt::format("'{}'", entry.key)));
    if (entry.key == "keys") value = ResolvePath(file, value);
    found.push_back({index, {std::move(value), fmt::format("{}:{}", file.string(), entry.place.line)}});
  }
  return found;
}

Result<ContextInfo> ReadContext(const fs::path& file) {
  TRY_ASSIGN(const std::vector<FileSetting> settings, ReadSettings(file, false));
  ContextInfo context;
  context.name = file.stem().string();
  for (const FileSetting& one : settings) {
    const std::string_view key = SettingCatalogue()[one.index].key;
    if (key == "coordinator") context.coordinator = one.setting.value;
    if (key == "keys") context.keys = one.setting.value;
  }
  if (!context.coordinator.empty()) return context;
  return Fail(Error{ErrorCode::kRejected, "a context names its coordinator", "write `coordinator: tcp://host:port`",
                    file.string(), 1, 1});
}

fs::path ContextFile(const ConfigurationPlaces& places, const std::string& name) {
  return places.contexts() / (name + ".yaml");
}

Result<> RequireFolder(const fs::path& folder) {
  if (!folder.empty()) return {};
  return Fail(ErrorCode::kRejected, "there is no place for settings: neither HOME nor the XDG variables are set",
              "set HOME");
}

Result<> CheckSettings(const Configuration& configuration) {
  const Setting& color = configuration.Get("color");
  const std::vector<std::string> colors = {"auto", "always", "never"};
  if (std::find(colors.begin(), colors.end(), color.value) == colors.end()) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: color must be auto, always or never, is '{}'", color.origin,
                                                  Printable(color.value, 40)));
  }
  const Setting& interval = configuration.Get("progress_interval");
  if (interval.value == "0" || ParseDuration(interval.value)) return {};
  return Fail(ErrorCode::kRejected,
              fmt::format("{}: progress_interval must be a time such as 30s, or 0 for none, is '{}'", interval.origin,
                          Printable(interval.value, 40)));
}

std::optional<Configuration>& Current() {
  static std::optional<Configuration> current;
  return current;
}

}  // namespace

const std::vector<SettingInfo>& SettingCatalogue() {
  static const std::vector<SettingInfo> rows = {
      {"coordinator", "HONE_COORDINATOR", "tcp://127.0.0.1:5710", "the coordinator that commands speak to"},
      {"keys", "HONE_KEYS", "", "the folder of this machine's keys", false},
      {"context", "HONE_CONTEXT", "", "the context in use: a named coordinator with its keys"},
      {"color", "HONE_COLOR", "auto", "auto, always or never"},
      {"pager", "HONE_PAGER", "", "shows long answers on a terminal (default: $PAGER, else less); `cat`: none", false},
      {"progress_interval", "HONE_PROGRESS_INTERVAL", "30s",
       "how often watch gives a sign of life where it writes lines; 0: never"},
  };
  return rows;
}

ConfigurationPlaces ConfigurationPlaces::Find() {
  ConfigurationPlaces places;
  places.project = FindProjectFile();
  places.user = FolderOf("XDG_CONFIG_HOME", ".config");
  places.state = FolderOf("XDG_STATE_HOME", ".local/state");
  return places;
}

Result<Configuration> Configuration::Load(const ConfigurationPlaces& places) {
  Configuration configuration;
  configuration.places_ = places;
  for (const SettingInfo& info : SettingCatalogue()) configuration.settings_.push_back({info.otherwise, "default"});

  // From the weakest to the strongest; a context stands just below what its own layer says of coordinator and keys.
  const fs::path user = places.user.empty() ? fs::path() : places.user / "config.yaml";
  TRY_ASSIGN(const std::vector<FileSetting> system, ReadSettings(places.system, false));
  TRY_ASSIGN(const std::vector<FileSetting> own, ReadSettings(user, false));
  TRY_ASSIGN(const std::vector<FileSetting> project, ReadSettings(places.project, true));
  std::vector<FileSetting> environment;
  for (size_t i = 0; i < SettingCatalogue().size(); ++i) {
    const std::string value = EnvironmentText(SettingCatalogue()[i].variable);
    if (!value.empty()) environment.push_back({i, {value, SettingCatalogue()[i].variable}});
  }
  const auto apply = [&](const std::vector<FileSetting>& layer) -> Result<> {
    for (const FileSetting& one : layer) {
      if (one.index == IndexOf("context")) TRY(configuration.ApplyContext(one.setting.value, one.setting.origin));
    }
    for (const FileSetting& one : layer) configuration.settings_[one.index] = one.setting;
    return {};
  };
  TRY(apply(system));
  // The context that `hone context use` chose is the user's, below what the user's file says outright.
  const fs::path selected = places.state.empty() ? fs::path() : places.state / "context";
  if (const auto name = selected.empty() ? Result<std::string>("") : ReadFile(selected, 1024);
      name && !Trim(*name).empty()) {
    const std::string chosen(Trim(*name));
    TRY(apply({{IndexOf("context"), {chosen, selected.string()}}}));
  }
  TRY(apply(own));
  TRY(apply(project));
  TRY(apply(environment));
  TRY(CheckSettings(configuration));
  return configuration;
}

const Setting& Configuration::Get(std::string_view key) const {
  const size_t index = IndexOf(key);
  CHECK_THAT(index < settings_.size());
  return settings_[index];
}

Setting& Configuration::At(std::string_view key) { return settings_[IndexOf(key)]; }

Result<> Configuration::ApplyContext(const std::string& name, const std::string& origin) {
  auto context = FindContext(places_, name);
  if (!context) return FailWith(origin, context.error());
  At("coordinator") = {context->coordinator, "context " + name};
  At("keys") = {context->keys, "context " + name};
  return {};
}

Result<> Configuration::UseContext(const std::string& name) {
  TRY(FindContext(places_, name));
  TRY(ApplyContext(name, "--context"));
  At("context") = {name, "--context"};
  return {};
}

const Configuration& TheConfiguration() {
  if (!Current()) {
    // Without files: what a program that is not `hone` itself sees.
    auto plain = Configuration::Load({.project = {}, .user = {}, .state = {}, .system = {}});
    CHECK_THAT(plain.has_value());
    Current() = std::move(*plain);
  }
  return *Current();
}

void SetTheConfiguration(Configuration configuration) { Current() = std::move(configuration); }

Result<std::vector<ContextInfo>> ListContexts(const ConfigurationPlaces& places) {
  std::vector<ContextInfo> contexts;
  if (places.user.empty()) return contexts;
  std::error_code failure;
  std::vector<fs::path> files;
  for (fs::directory_iterator file(places.contexts(), failure), end; !failure && file != end; file.increment(failure)) {
    if (file->path().extension() == ".yaml") files.push_back(file->path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    TRY_ASSIGN(ContextInfo context, ReadContext(file));
    contexts.push_back(std::move(context));
  }
  return contexts;
}

Result<ContextInfo> FindContext(const ConfigurationPlaces& places, const std::string& name) {
  TRY(CheckContextName(name));
  std::error_code failure;
  if (!places.user.empty() && fs::is_regular_file(ContextFile(places, name), failure))
    return ReadContext(ContextFile(places, name));
  TRY_ASSIGN(const std::vector<ContextInfo> contexts, ListContexts(places));
  std::vector<std::string> names;
  for (const ContextInfo& context : contexts) names.push_back(context.name);
  return Fail(ErrorCode::kNotFound, fmt::format("there is no context '{}'{}", name, DidYouMean(name, names)),
              names.empty() ? "make one: hone context add NAME --coordinator tcp://host:5710"
                            : "known are " + Join(names, ", "));
}

Result<> CheckContextName(const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (!name.empty() && name.size() <= 64 && name[0] != '.' && std::all_of(name.begin(), name.end(), fits)) return {};
  return Fail(ErrorCode::kUsage, fmt::format("'{}' is no name of a context", Printable(name, 100)),
              "use letters, digits, '-', '_' and '.'");
}

Result<> SaveContext(const ConfigurationPlaces& places, const ContextInfo& context) {
  TRY(CheckContextName(context.name));
  TRY(RequireFolder(places.user));
  TRY(MakeFolder(places.contexts()));
  const auto quoted = [](const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
    return out + "'";
  };
  std::string text = fmt::format("coordinator: {}\n", quoted(context.coordinator));
  if (!context.keys.empty()) text += fmt::format("keys: {}\n", quoted(context.keys));
  return WriteFile(ContextFile(places, context.name), text);
}

Result<> RemoveContext(const ConfigurationPlaces& places, const std::string& name) {
  TRY(FindContext(places, name));
  std::error_code failure;
  fs::remove(ContextFile(places, name), failure);
  if (failure) return Fail(ErrorCode::kFailed, fmt::format("remove context {}: {}", name, failure.message()));
  const auto selected = ReadFile(places.state / "context", 1024);
  return selected && Trim(*selected) == name ? SelectContext(places, "") : Result<>();
}

Result<> SelectContext(const ConfigurationPlaces& places, const std::string& name) {
  TRY(RequireFolder(places.state));
  if (!name.empty()) TRY(FindContext(places, name));
  TRY(MakeFolder(places.state));
  if (!name.empty()) return WriteFile(places.state / "context", name + "\n");
  std::error_code failure;
  fs::remove(places.state / "context", failure);
  return failure ? Result<>(Fail(ErrorCode::kFailed,
                                 fmt::format("remove {}: {}", (places.state / "context").string(), failure.message())))
                 : Result<>();
}

}  // namespace hone
