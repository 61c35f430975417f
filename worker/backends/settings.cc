#include "worker/backends/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "common/base/strings.h"
#include "common/statistics/statistics.h"
#include "worker/model/model.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

proto::ParameterInfo Setting(const char* name, proto::ParameterInfo::Type type, const char* help) {
  proto::ParameterInfo info;
  info.set_name(name);
  info.set_type(type);
  info.set_help(help);
  return info;
}

// Runtimes tell of a failed allocation only in their words.
bool TellsOfMissingMemory(std::string_view text) {
  constexpr std::string_view words[] = {"bad_alloc",         "bad allocation", "Failed to allocate memory",
                                        "out of memory",     "Out of memory",  "Cannot allocate memory",
                                        "could not allocate"};
  return std::any_of(std::begin(words), std::end(words),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

std::string OneLine(std::string_view text) {
  std::vector<std::string> lines;
  for (const std::string& line : Split(text, '\n')) {
    const std::string_view trimmed = Trim(line);
    // OpenVINO begins with the places in its own source where an exception passed.
    if (!trimmed.empty() && !trimmed.starts_with("Exception from ")) lines.emplace_back(trimmed);
  }
  return Printable(lines.empty() ? std::string(Trim(text)) : Join(lines, "; "), 1500);
}

}  // namespace

proto::ParameterInfo BoolSetting(const char* name, std::optional<bool> otherwise, const char* help) {
  proto::ParameterInfo info = Setting(name, proto::ParameterInfo::BOOLEAN, help);
  if (otherwise) *info.mutable_default_value() = BoolValue(*otherwise);
  return info;
}

proto::ParameterInfo IntSetting(const char* name, int64_t minimum, int64_t maximum, const char* help) {
  proto::ParameterInfo info = Setting(name, proto::ParameterInfo::INTEGER, help);
  *info.mutable_minimum() = IntValue(minimum);
  *info.mutable_maximum() = IntValue(maximum);
  return info;
}

proto::ParameterInfo ChoiceSetting(const char* name, const std::vector<int64_t>& choices, const char* help) {
  proto::ParameterInfo info = Setting(name, proto::ParameterInfo::INTEGER, help);
  for (const int64_t choice : choices) *info.add_choices() = IntValue(choice);
  return info;
}

proto::ParameterInfo ShareSetting(const char* name, const char* help) {
  proto::ParameterInfo info = Setting(name, proto::ParameterInfo::REAL, help);
  *info.mutable_minimum() = RealValue(0);
  *info.mutable_maximum() = RealValue(1);
  return info;
}

proto::ParameterInfo TextSetting(const char* name, const char* otherwise, const std::vector<std::string>& choices,
                                 const char* help) {
  proto::ParameterInfo info = Setting(name, proto::ParameterInfo::TEXT, help);
  if (otherwise != nullptr) *info.mutable_default_value() = TextValue(otherwise);
  for (const std::string& choice : choices) *info.add_choices() = TextValue(choice);
  return info;
}

std::optional<proto::Value> SettingValue(const proto::ParameterInfo& info,
                                         const google::protobuf::RepeatedPtrField<proto::Parameter>& settings) {
  const proto::Value* given = Find(settings, info.name());
  const proto::Value& value = given != nullptr ? *given : info.default_value();
  if (value.kind_case() == proto::Value::KIND_NOT_SET) return std::nullopt;
  return value;
}

Result<> CheckFormat(const proto::BackendInfo& info, std::string_view format) {
  if (std::find(info.formats().begin(), info.formats().end(), format) != info.formats().end()) return {};
  const std::vector<std::string> formats(info.formats().begin(), info.formats().end());
  return Fail(ErrorCode::kRejected, fmt::format("{} loads {}; the model's format is '{}'", info.name(),
                                                Join(formats, ", "), Printable(format, 64)));
}

Result<std::filesystem::path> MainFile(const proto::LocalBundle& model) {
  const std::filesystem::path file = std::filesystem::path(model.folder()) / model.bundle().main();
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("load model {}: there is no such file", Printable(file.string(), 512)));
  }
  if (model.bundle().format() != "onnx") return file;
  TRY_ASSIGN(const std::vector<std::string> external, ExternalFiles(file));
  const auto& files = model.bundle().files();
  for (const std::string& location : external) {
    const auto is_it = [&](const proto::File& known) { return known.path() == location; };
    if (std::any_of(files.begin(), files.end(), is_it)) continue;
    return Fail(ErrorCode::kRejected, fmt::format("load model {}: its external data file '{}' is no part of its bundle",
                                                  file.string(), location));
  }
  return file;
}

Error RuntimeError(ErrorCode code, std::string_view attempt, std::string_view text) {
  if (TellsOfMissingMemory(text)) {
    return Error{ErrorCode::kExhausted, fmt::format("{}: out of memory ({})", attempt, OneLine(text)),
                 "raise the memory limit of the work"};
  }
  return Error{code, fmt::format("{}: {}", attempt, OneLine(text))};
}

void FinishProfile(const std::vector<double>& run_ms, proto::Profile& profile) {
  profile.set_runs(static_cast<uint32_t>(run_ms.size()));
  profile.set_run_ms(Median(run_ms));
  auto& operators = *profile.mutable_operators();
  std::stable_sort(operators.begin(), operators.end(), [](const auto& a, const auto& b) { return a.ms() > b.ms(); });
}

void KernelCounts::Add(const std::string& type, const std::string& precision, const std::string& kernel) {
  const auto found = std::find_if(kernels_.begin(), kernels_.end(), [&](const proto::Execution::Kernel& known) {
    return known.type() == type && known.precision() == precision && known.kernel() == kernel;
  });
  if (found != kernels_.end()) {
    found->set_count(found->count() + 1);
    return;
  }
  proto::Execution::Kernel added;
  added.set_type(type);
  added.set_precision(precision);
  added.set_kernel(kernel);
  added.set_count(1);
  kernels_.push_back(std::move(added));
}

void KernelCounts::Write(proto::Execution& execution) const {
  std::vector<proto::Execution::Kernel> ordered = kernels_;
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    if (a.count() != b.count()) return a.count() > b.count();
    return std::tie(a.type(), a.precision(), a.kernel()) < std::tie(b.type(), b.precision(), b.kernel());
  });
  for (proto::Execution::Kernel& kernel : ordered) *execution.add_kernels() = std::move(kernel);
}

}  // namespace hone
