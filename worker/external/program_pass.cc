#include "worker/external/program_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::chrono::hours kLongest{24};
constexpr size_t kMaxFiles = 10'000;
constexpr size_t kTailBytes = 2000;

Json JsonOf(const proto::Value& value) {
  switch (value.kind_case()) {
    case proto::Value::kBoolean:
      return value.boolean();
    case proto::Value::kInteger:
      return value.integer();
    case proto::Value::kReal:
      return value.real();
    case proto::Value::kText:
      return value.text();
    case proto::Value::KIND_NOT_SET:
      break;
  }
  return nullptr;
}

// Every declared parameter, as given or by default.
Json ParametersOf(const ExternalPass& pass, const proto::BuildTask& task) {
  Json parameters = Json::object();
  for (const proto::ParameterInfo& info : pass.info.parameters()) {
    const proto::Value* given = Find(task.step().parameters(), info.name());
    parameters[info.name()] = JsonOf(given != nullptr ? *given : info.default_value());
  }
  return parameters;
}

std::string MainPath(const proto::LocalBundle& local) {
  return local.bundle().main().empty() ? local.folder() : (fs::path(local.folder()) / local.bundle().main()).string();
}

Json RequestOf(const ExternalPass& pass, const proto::BuildTask& task, const fs::path& output, int threads) {
  Json inputs = Json::object();
  for (const proto::InputShape& input : task.inputs())
    inputs[input.name()] = std::vector<int64_t>(input.dims().begin(), input.dims().end());
  Json request = {{"schema", "hone.external_pass/1"},
                  {"pass", pass.info.name()},
                  {"model", MainPath(task.model())},
                  {"format", task.model().bundle().format()},
                  {"output", output.string()},
                  {"main", pass.main},
                  {"parameters", ParametersOf(pass, task)},
                  {"inputs", inputs},
                  {"calibration", nullptr},
                  {"seed", task.seed()},
                  {"threads", threads}};
  if (task.has_calibration()) {
    request["calibration"] = {{"path", MainPath(task.calibration().data())},
                              {"format", task.calibration().data().bundle().format()},
                              {"from", task.calibration().from()},
                              {"samples", task.calibration().samples()}};
  }
  return request;
}

// "{model}", "{output}", "{request}" and "{parameter.NAME}" of a word.
std::string Filled(std::string word, const Json& request, const std::string& request_file) {
  const auto replace = [&](const std::string& mark, const std::string& text) {
    for (size_t at = word.find(mark); at != std::string::npos; at = word.find(mark, at + text.size()))
      word.replace(at, mark.size(), text);
  };
  replace("{model}", request["model"].get<std::string>());
  replace("{output}", request["output"].get<std::string>());
  replace("{request}", request_file);
  for (const auto& [name, value] : request["parameters"].items())
    replace("{parameter." + name + "}", value.is_string() ? value.get<std::string>() : value.dump());
  return word;
}

std::string Tail(const std::string& text) {
  const std::string_view trimmed = Trim(text);
  return Printable(trimmed.substr(trimmed.size() - std::min(trimmed.size(), kTailBytes)), kTailBytes);
}

ErrorCode CodeOf(int status) {
  if (status == static_cast<int>(ErrorCode::kRejected)) return ErrorCode::kRejected;
  return status == static_cast<int>(ErrorCode::kExhausted) ? ErrorCode::kExhausted : ErrorCode::kFailed;
}

Result<> RunProgram(const ExternalPass& pass, const ProcessOptions& options) {
  const auto longest =
      pass.time.count() > 0 ? pass.time : std::chrono::duration_cast<std::chrono::milliseconds>(kLongest);
  Result<CommandOutput> ran = RunCommand(options, longest, 1 << 20);
  if (!ran && ran.error().code == ErrorCode::kTimeout) {
    return Fail(ErrorCode::kFailed, fmt::format("the program was still at work after {}, its declared limit",
                                                HumanDuration(longest.count())));
  }
  if (!ran) return Fail(ran.error());
  if (ran->status.signal != 0)
    return Fail(ErrorCode::kFailed,
                fmt::format("the program was ended by signal {}: {}", ran->status.signal, Tail(ran->err)));
  if (ran->status.code != 0)
    return Fail(CodeOf(ran->status.code),
                fmt::format("the program ended with status {}: {}", ran->status.code, Tail(ran->err)));
  return {};
}

// The regular files that it left; links would lead out of the folder.
Result<std::vector<std::string>> FilesBeneath(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, failure)) {
    if (entry.is_directory(failure) && !entry.is_symlink(failure)) continue;
    const std::string path = entry.path().lexically_relative(folder).string();
    if (entry.is_symlink(failure) || !entry.is_regular_file(failure))
      return Fail(ErrorCode::kFailed, fmt::format("the program left {}, which is no plain file", Printable(path, 300)));
    files.push_back(path);
    if (files.size() > kMaxFiles)
      return Fail(ErrorCode::kFailed, fmt::format("the program left more than {} files", kMaxFiles));
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) return Fail(ErrorCode::kFailed, "the program ended well but left no file in its output folder");
  return files;
}

Result<proto::Bundle> BundleOf(const ExternalPass& pass, const fs::path& folder) {
  TRY_ASSIGN(const std::vector<std::string> files, FilesBeneath(folder));
  proto::Bundle bundle;
  bundle.set_format(pass.info.produces());
  bundle.set_main(pass.main);
  if (!pass.main.empty() && std::find(files.begin(), files.end(), pass.main) == files.end()) {
    return Fail(ErrorCode::kFailed, fmt::format("the program ended well but did not leave {}", pass.main));
  }
  for (const std::string& path : files) {
    proto::File& file = *bundle.add_files();
    file.set_path(path);
    TRY_ASSIGN(*file.mutable_digest(), DigestOfFile(folder / path));
    file.set_size_bytes(fs::file_size(folder / path));
  }
  return bundle;
}

}  // namespace

Result<proto::Bundle> RunProgramPass(const ExternalPass& pass, const proto::BuildTask& task, int threads) {
  const fs::path output = task.output_folder();
  TRY_ASSIGN(const ScopedFolder work, ScopedFolder::Make(fs::temp_directory_path(), "hone-pass-"));
  const std::string request_file = (work.path() / "request.json").string();
  const Json request = RequestOf(pass, task, output, threads);
  TRY(WriteFile(request_file, request.dump(2) + "\n"));
  ProcessOptions options;
  for (const std::string& word : pass.command) options.arguments.push_back(Filled(word, request, request_file));
  options.environment = pass.environment;
  options.folder = work.path();
  options.max_data_bytes = pass.memory_bytes;
  TRY(RunProgram(pass, options));
  return BundleOf(pass, output);
}

}  // namespace hone
