#include "worker/passes/pass.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>

#include "common/artifact/bundle.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/external/program_pass.h"
#include "worker/fingerprint.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr const char* kGenaiFile = "genai_config.json";

// What a caller sees of a model: names and types of what it feeds and gets.
struct Port {
  std::string name;
  std::string type;  // "": the model does not say.
};
struct Interface {
  std::vector<Port> inputs;
  std::vector<Port> outputs;
};

// The type without shapes, so that equal texts mean types that a caller cannot tell apart.
std::string TypeText(const onnx::TypeProto& type) {
  if (type.has_tensor_type() && type.tensor_type().elem_type() == onnx::TensorProto::UNDEFINED) return "";
  if (type.has_tensor_type()) return ElementName(type.tensor_type().elem_type());
  if (type.has_sparse_tensor_type()) return "sparse " + ElementName(type.sparse_tensor_type().elem_type());
  if (type.has_sequence_type()) return "sequence of " + TypeText(type.sequence_type().elem_type());
  if (type.has_optional_type()) return "optional " + TypeText(type.optional_type().elem_type());
  if (type.has_map_type())
    return "map of " + ElementName(type.map_type().key_type()) + " to " + TypeText(type.map_type().value_type());
  return "";
}

Interface InterfaceOf(const onnx::GraphProto& graph) {
  Interface ports;
  for (const auto* input : RealInputs(graph)) ports.inputs.push_back({input->name(), TypeText(input->type())});
  for (const auto& output : graph.output()) ports.outputs.push_back({output.name(), TypeText(output.type())});
  return ports;
}

enum class Types { compare, ignore };

bool IsKept(const std::vector<Port>& before, const std::vector<Port>& after, Types types) {
  return std::equal(before.begin(), before.end(), after.begin(), after.end(), [&](const Port& a, const Port& b) {
    return a.name == b.name && (types == Types::ignore || a.type.empty() || a.type == b.type);
  });
}

bool IsKept(const Interface& before, const Interface& after, Types types) {
  return IsKept(before.inputs, after.inputs, types) && IsKept(before.outputs, after.outputs, types);
}

// Peak resident memory since ResetPeak, from the kernel's own books.
uint64_t PeakMemoryBytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (!line.starts_with("VmHWM:")) continue;
    return std::strtoull(line.c_str() + std::strlen("VmHWM:"), nullptr, 10) * 1024;
  }
  return 0;
}

// Where the kernel refuses, the peak is that of the whole process, which is never too small.
void ResetPeak() {
  const int fd = ::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(fd, "5", 1);
  ::close(fd);
}

int ResolveThreads(uint32_t asked) {
  return asked > 0 ? static_cast<int>(asked) : static_cast<int>(std::max(1U, AllowedCores()));
}

std::string FormatOf(const proto::BuildTask& task) { return task.model().bundle().format(); }

const proto::Value* ValueOf(const PassContext& context, std::string_view name) {
  const proto::Value* given = Find(context.task->step().parameters(), name);
  if (given != nullptr && given->kind_case() != proto::Value::KIND_NOT_SET) return given;
  for (const auto& info : context.info->parameters()) {
    if (info.name() == name && info.default_value().kind_case() != proto::Value::KIND_NOT_SET)
      return &info.default_value();
  }
  return nullptr;
}

// Values of parameters may need data though the pass does not.
Result<> CheckCalibration(const proto::PassInfo& info, const proto::BuildTask& task) {
  if (task.has_calibration()) return {};
  const char* const kRemedy = "Give data.calibration in the recipe, or --calibration on the command line.";
  if (info.needs_calibration())
    return Fail(ErrorCode::kRejected, fmt::format("pass '{}' needs calibration data", info.name()), kRemedy);
  const PassContext context{&info, &task, 1, {}, false, false};
  for (const auto& parameter : info.parameters()) {
    const proto::Value* value = ValueOf(context, parameter.name());
    for (const auto& needy : parameter.needs_calibration()) {
      if (value == nullptr || ToText(*value) != ToText(needy)) continue;
      return Fail(ErrorCode::kRejected, fmt::format("pass '{}' needs calibration data with {}={}", info.name(),
                                                    parameter.name(), ToText(needy)), kRemedy);
    }
  }
  return {};
}

Result<> CheckTask(const proto::PassInfo& info, const proto::BuildTask& task) {
  const std::string owner = fmt::format("pass '{}'", info.name());
  TRY(CheckParameters(info.parameters(), task.step().parameters(), owner));
  TRY(CheckTogether(info.impossible(), info.parameters(), task.step().parameters(), owner));
  const std::vector<std::string> accepts(info.accepts().begin(), info.accepts().end());
  if (std::find(accepts.begin(), accepts.end(), FormatOf(task)) == accepts.end()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("pass '{}' takes {} models, not {}", info.name(), Join(accepts, ", "), FormatOf(task)));
  }
  return CheckCalibration(info, task);
}

// A pass that makes an invalid model of a valid one is at fault itself.
Result<> VerifyModel(const onnx::ModelProto& model) {
  const Result<> valid = CheckModel(model);
  if (!valid) return Fail(ErrorCode::kBug, "the result is invalid: " + valid.error().message);
  return {};
}

Result<proto::Bundle> RunOnnxPass(const PassRow& row, PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const auto file = std::filesystem::path(source.folder()) / source.bundle().main();
  MappedWeights mapped;
  TRY_ASSIGN(onnx::ModelProto model, row.maps_weights ? MapOnnx(file, mapped) : LoadOnnx(file));
  TRY(CheckModel(model));
  const Interface before = InterfaceOf(model.graph());
  TRY(row.onnx(model, context));
  TRY(SortNodes(*model.mutable_graph()));
  RemoveUnused(*model.mutable_graph());
  TRY(VerifyModel(model));
  if (!context.changes_ports &&
      !IsKept(before, InterfaceOf(model.graph()), context.changes_types ? Types::ignore : Types::compare)) {
    return Fail(ErrorCode::kBug, "the result has other inputs or outputs than the model");
  }
  return SaveOnnx(std::move(model), context.task->output_folder());
}

Result<proto::Bundle> RunFilePass(FilePassFunction apply, PassContext& context) {
  TRY_ASSIGN(proto::Bundle bundle, apply(context));
  const Result<> sound = CheckBundle(bundle);
  if (!sound) return Fail(ErrorCode::kBug, "the result is invalid: " + sound.error().message);
  return bundle;
}

constexpr uint64_t kMostCarriedBytes = 1 << 30;

// What lies beside a language model's graph - its vocabulary, its settings of text generation - stays beside it,
// whatever a pass does to the graph.
Result<> CarryFiles(const proto::BuildTask& task, proto::Bundle& bundle) {
  // Of a checkpoint, the pass that builds the model says what it needs.
  if (FormatOf(task) == "checkpoint" || FormatOf(task) == "gguf") return {};
  auto& files = *bundle.mutable_files();
  for (const proto::File& file : task.model().bundle().files()) {
    const bool is_settings = file.path() == kGenaiFile && bundle.format() == "onnx";
    const auto& carried = CarriedFiles();
    if (!is_settings && std::find(carried.begin(), carried.end(), file.path()) == carried.end()) continue;
    if (std::any_of(files.begin(), files.end(), [&](const auto& made) { return made.path() == file.path(); })) continue;
    // Not linked: a runner may change no modes, which a link's stand-in, a copy, does.
    TRY_ASSIGN(const std::string bytes, ReadFile(PathIn(task.model().folder(), file), kMostCarriedBytes));
    TRY(WriteFile(PathIn(task.output_folder(), file), bytes));
    *files.Add() = file;
  }
  std::sort(files.begin(), files.end(),
            [](const proto::File& a, const proto::File& b) { return a.path() < b.path(); });
  return {};
}

// What a step's name stands for: a row of the table, or a program that this worker's owner declared.
struct Chosen {
  proto::PassInfo info;
  const PassRow* row = nullptr;
  const ExternalPass* program = nullptr;
};

Result<Chosen> ChoosePass(std::string_view name) {
  if (const ExternalPass* program = FindExternalPass(name)) return Chosen{program->info, nullptr, program};
  TRY_ASSIGN(const PassRow* row, FindPass(name));
  return Chosen{row->info(), row, nullptr};
}

// A program's model is looked at as a stranger's.
Result<proto::Bundle> RunProgram(const ExternalPass& program, PassContext& context) {
  TRY_ASSIGN(proto::Bundle bundle, RunProgramPass(program, *context.task, context.threads));
  const Result<> sound = CheckBundle(bundle);
  if (!sound) return FailWith("the program's files", sound.error());
  if (bundle.format() != "onnx") return bundle;
  TRY_ASSIGN(const onnx::ModelProto model,
             LoadOnnx(std::filesystem::path(context.task->output_folder()) / bundle.main()));
  TRY(CheckModel(model));
  return bundle;
}

// Whatever a library throws through a pass becomes that pass's failure.
Result<proto::Bundle> RunChosen(const Chosen& chosen, PassContext& context) try {
  if (chosen.program != nullptr) return RunProgram(*chosen.program, context);
  return chosen.row->onnx != nullptr ? RunOnnxPass(*chosen.row, context) : RunFilePass(chosen.row->files, context);
} catch (const std::bad_alloc&) {
  return Fail(ErrorCode::kExhausted, "not enough memory");
} catch (const std::exception& error) {
  return Fail(ErrorCode::kFailed, Printable(error.what(), 1000));
}

proto::ParameterInfo Parameter(const char* name, proto::ParameterInfo::Type type, const char* help) {
  proto::ParameterInfo info;
  info.set_name(name);
  info.set_type(type);
  info.set_help(help);
  return info;
}

const proto::Value& RequiredValue(const PassContext& context, std::string_view name) {
  const proto::Value* value = ValueOf(context, name);
  CHECK_THAT(value != nullptr);
  return *value;
}

}  // namespace

bool PassContext::Bool(std::string_view name) const { return RequiredValue(*this, name).boolean(); }

int64_t PassContext::Int(std::string_view name) const {
  const proto::Value& value = RequiredValue(*this, name);
  return value.kind_case() == proto::Value::kReal ? static_cast<int64_t>(value.real()) : value.integer();
}

double PassContext::Real(std::string_view name) const {
  const proto::Value& value = RequiredValue(*this, name);
  return value.kind_case() == proto::Value::kInteger ? static_cast<double>(value.integer()) : value.real();
}

std::string PassContext::Text(std::string_view name) const { return RequiredValue(*this, name).text(); }
bool PassContext::Has(std::string_view name) const { return ValueOf(*this, name) != nullptr; }

Result<const PassRow*> FindPass(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& row : Passes()) {
    names.push_back(row.info().name());
    if (names.back() == name) return &row;
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("there is no pass '{}'{}", Printable(name, 100), DidYouMean(name, names)),
              "The passes: " + Join(names, ", ") + ".");
}

Result<proto::BuildResult> RunPass(const proto::BuildTask& task) {
  TRY_ASSIGN(const Chosen chosen, ChoosePass(task.step().pass()));
  const proto::PassInfo& info = chosen.info;
  TRY(CheckTask(info, task));
  ResetPeak();
  const int64_t start_ms = SystemClock().SteadyMs();
  PassContext context{&info, &task, ResolveThreads(task.threads()), {}, false, false};
  Result<proto::Bundle> bundle = RunChosen(chosen, context);
  if (bundle) TRY(CarryFiles(task, *bundle));
  if (!bundle) return FailWith(fmt::format("pass '{}'", info.name()), std::move(bundle.error()));
  proto::BuildResult result;
  *result.mutable_model() = std::move(*bundle);
  result.set_wall_ms(static_cast<uint64_t>(SystemClock().SteadyMs() - start_ms));
  result.set_peak_memory_bytes(PeakMemoryBytes());
  for (const auto& note : context.notes) result.add_notes(note);
  return result;
}

proto::ParameterInfo BoolParameter(const char* name, bool otherwise, const char* help) {
  proto::ParameterInfo info = Parameter(name, proto::ParameterInfo::BOOLEAN, help);
  *info.mutable_default_value() = BoolValue(otherwise);
  return info;
}

proto::ParameterInfo IntParameter(const char* name, int64_t otherwise, std::vector<int64_t> choices, const char* help) {
  proto::ParameterInfo info = Parameter(name, proto::ParameterInfo::INTEGER, help);
  *info.mutable_default_value() = IntValue(otherwise);
  for (const int64_t choice : choices) *info.add_choices() = IntValue(choice);
  return info;
}

proto::ParameterInfo RealParameter(const char* name, double otherwise, double low, double high, const char* help) {
  proto::ParameterInfo info = Parameter(name, proto::ParameterInfo::REAL, help);
  *info.mutable_default_value() = RealValue(otherwise);
  *info.mutable_minimum() = RealValue(low);
  *info.mutable_maximum() = RealValue(high);
  return info;
}

proto::ParameterInfo TextParameter(const char* name, const char* otherwise, std::vector<const char*> choices,
                                   const char* help) {
  proto::ParameterInfo info = Parameter(name, proto::ParameterInfo::TEXT, help);
  *info.mutable_default_value() = TextValue(otherwise);
  for (const char* choice : choices) *info.add_choices() = TextValue(choice);
  return info;
}

proto::ParameterInfo WithCalibrated(proto::ParameterInfo info, std::vector<const char*> choices) {
  for (const char* choice : choices) *info.add_needs_calibration() = TextValue(choice);
  return info;
}

proto::Impossible::Term OneOf(const char* parameter, std::vector<proto::Value> values) {
  proto::Impossible::Term term;
  term.set_parameter(parameter);
  for (proto::Value& value : values) *term.add_values() = std::move(value);
  return term;
}

proto::Impossible::Term Below(const char* parameter, double number) {
  proto::Impossible::Term term;
  term.set_parameter(parameter);
  *term.mutable_below() = RealValue(number);
  return term;
}

proto::Impossible Never(std::vector<proto::Impossible::Term> terms, const char* reason) {
  proto::Impossible rule;
  for (proto::Impossible::Term& term : terms) *rule.add_terms() = std::move(term);
  rule.set_reason(reason);
  return rule;
}

}  // namespace hone
