#include "worker/external/declarations.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"
#include "common/recipe/value.h"
#include "common/recipe/yaml_tree.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxPrograms = 100;
constexpr std::chrono::seconds kVersionTime{60};
constexpr size_t kMaxVersion = 200;

std::vector<ExternalPass>& Loaded() {
  static std::vector<ExternalPass> passes;
  return passes;
}

bool IsPassName(const std::string& name) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), fits);
}

class Reader {
 public:
  explicit Reader(fs::path file) : file_(std::move(file)) {}

  Result<std::vector<ExternalPass>> Read(const YamlNode& root) const {
    TRY(Keys(root, "the file", {"passes"}));
    const YamlNode* list = Find(root, "passes");
    if (list == nullptr || list->kind != YamlNode::Kind::kList)
      return Wrong(root, "passes must be a list of declarations");
    if (list->items.size() > kMaxPrograms)
      return Wrong(*list, fmt::format("at most {} passes can be declared", kMaxPrograms));
    std::vector<ExternalPass> passes;
    for (const YamlNode& item : list->items) {
      TRY_ASSIGN(ExternalPass pass, ReadPass(item));
      const auto same = [&](const ExternalPass& other) { return other.info.name() == pass.info.name(); };
      if (std::any_of(passes.begin(), passes.end(), same))
        return Wrong(item, fmt::format("pass '{}' is declared twice", pass.info.name()));
      passes.push_back(std::move(pass));
    }
    return passes;
  }

 private:
  tl::unexpected<Error> Wrong(const YamlNode& node, std::string message) const {
    Error error{ErrorCode::kConfiguration, std::move(message),
                "docs/external_passes.md tells what a declaration holds"};
    error.file = file_.string();
    error.line = node.place.line;
    error.column = node.place.column;
    return Fail(std::move(error));
  }

  static const YamlNode* Find(const YamlNode& map, std::string_view key) {
    for (const YamlEntry& entry : map.entries) {
      if (entry.key == key) return &entry.value;
    }
    return nullptr;
  }

  Result<> Keys(const YamlNode& map, const std::string& what, const std::vector<std::string>& known) const {
    if (map.kind != YamlNode::Kind::kMap) return Wrong(map, what + " must be a map");
    for (const YamlEntry& entry : map.entries) {
      if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
      YamlNode at;
      at.place = entry.place;
      return Wrong(at, fmt::format("{} has an unknown key '{}'{}", what, Printable(entry.key, 100),
                                   DidYouMean(entry.key, known)));
    }
    return {};
  }

  Result<std::string> Text(const YamlNode& map, std::string_view key, bool required = false) const {
    const YamlNode* node = Find(map, key);
    if (node == nullptr && !required) return std::string();
    if (node == nullptr || node->kind != YamlNode::Kind::kScalar || node->text.empty())
      return Wrong(node ? *node : map, fmt::format("{} must be a text", key));
    return node->text;
  }

  Result<std::vector<std::string>> Texts(const YamlNode& map, std::string_view key, bool required = false) const {
    const YamlNode* node = Find(map, key);
    std::vector<std::string> texts;
    if (node == nullptr && !required) return texts;
    if (node == nullptr || node->kind != YamlNode::Kind::kList || (required && node->items.empty()))
      return Wrong(node ? *node : map, fmt::format("{} must be a list of texts", key));
    for (const YamlNode& item : node->items) {
      if (item.kind != YamlNode::Kind::kScalar) return Wrong(item, fmt::format("{} must hold texts", key));
      texts.push_back(item.text);
    }
    return texts;
  }

  // Beside the file of declarations, unless it is a plain name of a program.
  std::string Place(const std::string& word) const {
    if (word.find('/') == std::string::npos || fs::path(word).is_absolute()) return word;
    return (fs::absolute(file_).parent_path() / word).lexically_normal().string();
  }

  // Words with a '/' that exist beside the file are files; others are the program's own.
  Result<std::vector<std::string>> Command(const YamlNode& map, std::string_view key) const {
    TRY_ASSIGN(std::vector<std::string> words, Texts(map, key, true));
    words[0] = Place(words[0]);
    for (size_t i = 1; i < words.size(); ++i) {
      std::error_code failure;
      const fs::path beside = fs::absolute(file_).parent_path() / words[i];
      if (words[i].find('{') == std::string::npos && !words[i].empty() && fs::is_regular_file(beside, failure))
        words[i] = beside.lexically_normal().string();
    }
    return words;
  }

  Result<proto::Value> ValueOf(const YamlNode& node, const proto::ParameterInfo& info, std::string_view what) const {
    proto::Value value = node.plain ? ParseValue(node.text) : TextValue(node.text);
    if (info.type() == proto::ParameterInfo::TEXT) value = TextValue(node.text);
    proto::ParameterInfo type_alone;
    type_alone.set_name(info.name());
    type_alone.set_type(info.type());
    const Result<> fits = CheckValue(type_alone, value, what);
    if (node.kind != YamlNode::Kind::kScalar || !fits)
      return Wrong(node, fits ? fmt::format("{} must be one value", what) : fits.error().message);
    return value;
  }

  Result<proto::ParameterInfo> ReadParameter(const YamlEntry& entry) const {
    const YamlNode& map = entry.value;
    TRY(Keys(map, fmt::format("parameter '{}'", Printable(entry.key, 100)),
             {"type", "default", "choices", "minimum", "maximum", "help"}));
    if (!IsPassName(entry.key))
      return Wrong(
          map, fmt::format("'{}' is no name of a parameter: small letters, digits and '_'", Printable(entry.key, 100)));
    static constexpr std::pair<const char*, proto::ParameterInfo::Type> kTypes[] = {
        {"boolean", proto::ParameterInfo::BOOLEAN},
        {"integer", proto::ParameterInfo::INTEGER},
        {"real", proto::ParameterInfo::REAL},
        {"text", proto::ParameterInfo::TEXT}};
    proto::ParameterInfo info;
    info.set_name(entry.key);
    TRY_ASSIGN(const std::string type, Text(map, "type", true));
    for (const auto& [word, value] : kTypes) {
      if (type == word) info.set_type(value);
    }
    if (info.type() == proto::ParameterInfo::TYPE_UNSPECIFIED)
      return Wrong(map, fmt::format("type '{}' must be boolean, integer, real or text", Printable(type, 100)));
    TRY_ASSIGN(const std::string help, Text(map, "help"));
    info.set_help(help);
    const auto take = [&](std::string_view key, auto set) -> Result<> {
      const YamlNode* node = Find(map, key);
      if (node == nullptr) return {};
      TRY_ASSIGN(proto::Value value, ValueOf(*node, info, entry.key));
      set(std::move(value));
      return {};
    };
    TRY(take("minimum", [&](proto::Value value) { *info.mutable_minimum() = std::move(value); }));
    TRY(take("maximum", [&](proto::Value value) { *info.mutable_maximum() = std::move(value); }));
    if (const YamlNode* choices = Find(map, "choices"); choices != nullptr) {
      if (choices->kind != YamlNode::Kind::kList || choices->items.empty())
        return Wrong(*choices, "choices must be a list");
      for (const YamlNode& item : choices->items) {
        TRY_ASSIGN(*info.add_choices(), ValueOf(item, info, entry.key));
      }
    }
    TRY(take("default", [&](proto::Value value) { *info.mutable_default_value() = std::move(value); }));
    if (info.has_default_value()) {
      if (const Result<> allowed = CheckValue(info, info.default_value(), "its default"); !allowed)
        return Wrong(map, allowed.error().message);
    }
    return info;
  }

  Result<> ReadCalibration(const YamlNode& map, proto::PassInfo& info) const {
    TRY_ASSIGN(const std::string word, Text(map, "calibration"));
    if (word == "required")
      info.set_needs_calibration(true);
    else if (word == "optional")
      info.set_takes_calibration(true);
    else if (!word.empty() && word != "none")
      return Wrong(map, fmt::format("calibration '{}' must be none, optional or required", Printable(word, 100)));
    return {};
  }

  Result<> ReadLimits(const YamlNode& map, ExternalPass& pass) const {
    const YamlNode* limits = Find(map, "limits");
    if (limits == nullptr) return {};
    TRY(Keys(*limits, "limits", {"time", "memory"}));
    TRY_ASSIGN(const std::string time, Text(*limits, "time"));
    TRY_ASSIGN(const std::string memory, Text(*limits, "memory"));
    if (!time.empty()) {
      const Result<int64_t> ms = ParseDuration(time);
      if (!ms || *ms < 1)
        return Wrong(*limits, fmt::format("time '{}' is no duration, such as 30m", Printable(time, 100)));
      pass.time = std::chrono::milliseconds(*ms);
    }
    if (!memory.empty()) {
      const Result<uint64_t> bytes = ParseBytes(memory);
      if (!bytes || *bytes == 0)
        return Wrong(*limits, fmt::format("memory '{}' is no size, such as 8GiB", Printable(memory, 100)));
      pass.memory_bytes = *bytes;
    }
    return {};
  }

  Result<ExternalPass> ReadPass(const YamlNode& map) const {
    TRY(Keys(map, "a declaration",
             {"name", "summary", "command", "version", "accepts", "produces", "main", "calibration", "precisions",
              "tags", "reads", "environment", "limits", "parameters"}));
    ExternalPass pass;
    TRY_ASSIGN(const std::string name, Text(map, "name", true));
    if (!IsPassName(name))
      return Wrong(map, fmt::format("'{}' is no name of a pass: small letters, digits and '_'", Printable(name, 100)));
    pass.info.set_name(name);
    TRY_ASSIGN(*pass.info.mutable_summary(), Text(map, "summary", true));
    TRY_ASSIGN(pass.command, Command(map, "command"));
    TRY_ASSIGN(pass.version_command, Command(map, "version"));
    TRY_ASSIGN(const auto accepts, Texts(map, "accepts", true));
    for (const std::string& format : accepts) pass.info.add_accepts(format);
    TRY_ASSIGN(*pass.info.mutable_produces(), Text(map, "produces", true));
    TRY_ASSIGN(pass.main, Text(map, "main"));
    TRY_ASSIGN(const auto precisions, Texts(map, "precisions"));
    for (const std::string& precision : precisions) pass.info.add_precisions(precision);
    TRY_ASSIGN(pass.tags, Texts(map, "tags"));
    TRY_ASSIGN(pass.reads, Texts(map, "reads"));
    for (std::string& place : pass.reads)
      place = fs::path(place).is_absolute() ? place
                                            : (fs::absolute(file_).parent_path() / place).lexically_normal().string();
    TRY(ReadCalibration(map, pass.info));
    TRY(ReadLimits(map, pass));
    if (const YamlNode* environment = Find(map, "environment"); environment != nullptr) {
      if (environment->kind != YamlNode::Kind::kMap) return Wrong(*environment, "environment must be a map of texts");
      for (const YamlEntry& entry : environment->entries) pass.environment[entry.key] = entry.value.text;
    }
    if (const YamlNode* parameters = Find(map, "parameters"); parameters != nullptr) {
      if (parameters->kind != YamlNode::Kind::kMap) return Wrong(*parameters, "parameters must be a map");
      for (const YamlEntry& entry : parameters->entries) {
        TRY_ASSIGN(*pass.info.add_parameters(), ReadParameter(entry));
      }
    }
    pass.declaration = pass.info.SerializeAsString() + Join(pass.command, "\n") + pass.main;
    return pass;
  }

  fs::path file_;
};

ProcessOptions VersionProcess(const ExternalPass& pass) {
  ProcessOptions options;
  options.arguments = pass.version_command;
  options.environment = pass.environment;
  return options;
}

// Version numbers are compared as numbers; a program's is a text, so the number is made of everything that decides on
// its bytes.
uint32_t NumberOf(const ExternalPass& pass, const std::string& version) {
  const std::string digest = DigestOf(pass.declaration + "\n" + version);
  return static_cast<uint32_t>(std::stoul(digest.substr(digest.find(':') + 1, 8), nullptr, 16)) | 1U;
}

}  // namespace

Result<std::vector<ExternalPass>> ParseExternalPasses(std::string_view text, const fs::path& file) {
  Result<YamlNode> root = ParseYamlTree(text, file.string(), "file of passes");
  if (!root) {
    root.error().code = ErrorCode::kConfiguration;
    return Fail(std::move(root.error()));
  }
  return Reader(file).Read(*root);
}

Result<> LoadExternalPasses(const fs::path& file) {
  Loaded().clear();
  if (file.empty()) return {};
  Result<std::string> text = ReadFile(file, kMaxYamlBytes);
  if (!text)
    return Fail(ErrorCode::kConfiguration, "the declared passes: " + text.error().message,
                "Name another file with --passes");
  TRY_ASSIGN(Loaded(), ParseExternalPasses(*text, file));
  return {};
}

std::vector<std::string> ProbeExternalPasses(std::string_view only) {
  std::vector<std::string> failures;
  for (ExternalPass& pass : Loaded()) {
    if (!only.empty() && pass.info.name() != only) continue;
    const Result<CommandOutput> told = RunCommand(VersionProcess(pass), kVersionTime, 1 << 16);
    std::string version = told ? std::string(Trim(told->out)) : std::string();
    version = Printable(version.substr(0, version.find('\n')), kMaxVersion);
    pass.available = told && told->status.code == 0 && told->status.signal == 0 && !version.empty();
    if (!pass.available) {
      const std::string why = !told ? told.error().message
                                    : fmt::format("it told no version (exit status {}): {}", told->status.code,
                                                  Printable(Trim(told->err), 300));
      failures.push_back(
          fmt::format("pass '{}' is not offered: {}: {}", pass.info.name(), Join(pass.version_command, " "), why));
      continue;
    }
    pass.info.set_program_version(version);
    pass.info.set_version(NumberOf(pass, version));
  }
  return failures;
}

const std::vector<ExternalPass>& ExternalPasses() { return Loaded(); }

const ExternalPass* FindExternalPass(std::string_view name) {
  for (const ExternalPass& pass : Loaded()) {
    if (pass.available && pass.info.name() == name) return &pass;
  }
  return nullptr;
}

}  // namespace hone
