// ONNX Runtime on its CPU provider.
#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <latch>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/backends/engines.h"
#include "worker/backends/onnxruntime_kernels.h"
#include "worker/backends/onnxruntime_profile.h"
#include "worker/backends/pins.h"
#include "worker/backends/settings.h"
#include "worker/data/signature.h"
#include "worker/fingerprint.h"
#include "worker/model/model.h"

namespace hone {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Settings = google::protobuf::RepeatedPtrField<proto::Parameter>;

// Made at the first use, so that nothing of the runtime starts in a process that forks others; never destroyed, since
// other statics may still hold sessions when the process ends.
Ort::Env& Environment() {
  static Ort::Env* const environment = new Ort::Env(ORT_LOGGING_LEVEL_ERROR, "hone");
  return *environment;
}

// A library older than the headers has no such table of functions.
Result<> CheckLibrary() {
  if (OrtGetApiBase()->GetApi(ORT_API_VERSION) != nullptr) return {};
  return Fail(ErrorCode::kEnvironment,
              fmt::format("ONNX Runtime {} is older than hone was built for (API {})",
                          OrtGetApiBase()->GetVersionString(), ORT_API_VERSION),
              "install the version that ops/setup names");
}

int ThreadsOr(int64_t wished) { return wished > 0 ? static_cast<int>(wished) : static_cast<int>(AllowedCores()); }

// --- settings --------------------------------------------------------------------------------------------------

const char* OneOrZero(const proto::Value& value) { return value.boolean() ? "1" : "0"; }

struct Level {
  const char* name;
  GraphOptimizationLevel level;
};
constexpr Level kLevels[] = {{"disabled", ORT_DISABLE_ALL},
                             {"basic", ORT_ENABLE_BASIC},
                             {"extended", ORT_ENABLE_EXTENDED},
                             {"layout", ORT_ENABLE_LAYOUT},
                             {"all", ORT_ENABLE_ALL}};

std::vector<std::string> LevelNames() {
  std::vector<std::string> names;
  for (const Level& level : kLevels) names.push_back(level.name);
  return names;
}

void SetLevel(Ort::SessionOptions& options, const proto::Value& value) {
  for (const Level& level : kLevels) {
    if (value.text() == level.name) options.SetGraphOptimizationLevel(level.level);
  }
}

struct SettingRow {
  proto::ParameterInfo info;
  void (*apply)(Ort::SessionOptions& options, const proto::Value& value);
};

const std::vector<SettingRow>& SettingRows() {
  using Options = Ort::SessionOptions;
  using Value = proto::Value;
  static const std::vector<SettingRow> rows = {
      {IntSetting("intra_op_threads", 1, 1024,
                  "Threads that share the work of one operator; unset takes all allowed cores."),
       [](Options& options, const Value& value) { options.SetIntraOpNumThreads(static_cast<int>(value.integer())); }},
      {IntSetting("inter_op_threads", 1, 1024,
                  "Operators that run at once where execution_mode is parallel; unset lets the runtime choose."),
       [](Options& options, const Value& value) { options.SetInterOpNumThreads(static_cast<int>(value.integer())); }},
      {TextSetting("graph_optimization", "all", LevelNames(), "How far the graph is rewritten before it runs."),
       SetLevel},
      {TextSetting("execution_mode", "sequential", {"sequential", "parallel"},
                   "Whether independent operators run at once."),
       [](Options& options, const Value& value) {
         options.SetExecutionMode(value.text() == "parallel" ? ExecutionMode::ORT_PARALLEL
                                                             : ExecutionMode::ORT_SEQUENTIAL);
       }},
      {BoolSetting("allow_spinning", true,
                   "Whether idle threads wait by spinning: faster alone, costly to neighbours."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsConfigAllowIntraOpSpinning, OneOrZero(value));
         options.AddConfigEntry(kOrtSessionOptionsConfigAllowInterOpSpinning, OneOrZero(value));
       }},
      {BoolSetting("memory_pattern", true, "Whether memory is planned ahead where shapes stay the same."),
       [](Options& options, const Value& value) {
         value.boolean() ? options.EnableMemPattern() : options.DisableMemPattern();
       }},
      {BoolSetting("cpu_arena", true, "Whether freed memory is kept for the next inference."),
       [](Options& options, const Value& value) {
         value.boolean() ? options.EnableCpuMemArena() : options.DisableCpuMemArena();
       }},
      {IntSetting("dynamic_block_base", 1, 64,
                  "Splits the work of an operator into shrinking blocks from this size on; unset splits evenly."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsConfigDynamicBlockBase, fmt::format("{}", value.integer()).c_str());
       }},
      {BoolSetting("denormal_as_zero", false, "Whether denormal floats count as zero."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsConfigSetDenormalAsZero, OneOrZero(value));
       }},
      {BoolSetting("prepacking", true,
                   "Whether weights are rearranged for the kernels at load: more memory, faster runs."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsConfigDisablePrepacking, value.boolean() ? "0" : "1");
       }},
      {ChoiceSetting("matmulnbits_accuracy_level", {0, 1, 2, 3, 4},
                     "What dequantize-and-multiply pairs compute in once fused: 1 f32, 2 f16, 3 bf16, 4 int8; unset "
                     "lets the runtime choose."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsQDQMatMulNBitsAccuracyLevel,
                                fmt::format("{}", value.integer()).c_str());
       }},
      {BoolSetting("qdq_cleanup", false, "Whether leftover pairs of quantize and dequantize are removed."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsEnableQuantQDQCleanup, OneOrZero(value));
       }},
      {BoolSetting("gelu_approximation", false, "Whether Gelu is computed by its tanh approximation."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsEnableGeluApproximation, OneOrZero(value));
       }},
      {BoolSetting("avoid_saturation", false,
                   "Whether int8 products avoid 16-bit saturation on x86 processors without VNNI, at some speed."),
       [](Options& options, const Value& value) {
         options.AddConfigEntry(kOrtSessionOptionsAvx2PrecisionMode, OneOrZero(value));
       }},
  };
  return rows;
}

// Settings as they take effect: given or default, the thread count resolved; what the runtime decides is left out.
Settings EffectiveSettings(const Settings& given) {
  Settings effective;
  for (const SettingRow& row : SettingRows()) {
    std::optional<proto::Value> value = SettingValue(row.info, given);
    if (!value && row.info.name() == "intra_op_threads") value = IntValue(ThreadsOr(0));
    if (!value) continue;
    proto::Parameter& parameter = *effective.Add();
    parameter.set_name(row.info.name());
    *parameter.mutable_value() = *value;
  }
  return effective;
}

Ort::SessionOptions MakeOptions(const Settings& effective, const std::map<std::string, int64_t>& named_dims) {
  Ort::SessionOptions options;
  for (const SettingRow& row : SettingRows()) {
    if (const proto::Value* value = Find(effective, row.info.name())) row.apply(options, *value);
  }
  for (const auto& [name, value] : named_dims) options.AddFreeDimensionOverrideByName(name.c_str(), value);
  return options;
}

// --- pins ------------------------------------------------------------------------------------------------------

// Names of free dimensions that the pins settle. A name without a letter or digit ("?") says nothing, and one that
// would need two values is left to the shapes of the inputs.
Result<std::map<std::string, int64_t>> NamedDims(const std::filesystem::path& file,
                                                 const google::protobuf::RepeatedPtrField<proto::InputShape>& pins) {
  if (pins.empty()) return std::map<std::string, int64_t>{};
  TRY_ASSIGN(const onnx::ModelProto model, LoadOnnx(file, Weights::leave_external));
  std::map<std::string, std::optional<int64_t>> values;
  for (const onnx::ValueInfoProto* input : RealInputs(model.graph())) {
    const auto& shape = input->type().tensor_type().shape();
    for (const proto::InputShape& pin : pins) {
      if (pin.name() != input->name() || pin.dims_size() != shape.dim_size()) continue;
      for (int i = 0; i < shape.dim_size(); ++i) {
        const std::string& name = shape.dim(i).dim_param();
        const bool telling =
            std::any_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
        if (!telling || pin.dims(i) < 1) continue;
        const auto [place, added] = values.emplace(name, pin.dims(i));
        if (!added && place->second != pin.dims(i)) place->second = std::nullopt;
      }
    }
  }
  std::map<std::string, int64_t> settled;
  for (const auto& [name, value] : values) {
    if (value) settled[name] = *value;
  }
  return settled;
}

// --- session ---------------------------------------------------------------------------------------------------

Ort::Value Borrow(const Tensor& tensor) {
  static const Ort::MemoryInfo cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  // The runtime takes inputs by a pointer to mutable memory and does not write there.
  return Ort::Value::CreateTensor(cpu, const_cast<std::byte*>(tensor.bytes.data()), tensor.bytes.size(),
                                  tensor.dims.data(), tensor.dims.size(),
                                  static_cast<ONNXTensorElementDataType>(tensor.type));
}

Ort::Value Copy(const Tensor& tensor) {
  Ort::AllocatorWithDefaultOptions allocator;
  Ort::Value value = Ort::Value::CreateTensor(allocator, tensor.dims.data(), tensor.dims.size(),
                                              static_cast<ONNXTensorElementDataType>(tensor.type));
  if (!tensor.bytes.empty()) std::memcpy(value.GetTensorMutableRawData(), tensor.bytes.data(), tensor.bytes.size());
  return value;
}

// Appends the value to outputs.
Result<> TakeOut(const Ort::Value& value, const std::string& name, std::vector<Tensor>& outputs) {
  if (!value || !value.IsTensor())
    return Fail(ErrorCode::kFailed, fmt::format("output '{}' holds no tensor", Printable(name, 256)));
  const auto info = value.GetTensorTypeAndShapeInfo();
  Tensor tensor{name, static_cast<ElementType>(info.GetElementType()), info.GetShape(), {}};
  const size_t bytes = info.GetElementCount() * ElementBytes(tensor.type);
  const auto* data = static_cast<const std::byte*>(value.GetTensorRawData());
  if (bytes > 0) tensor.bytes.assign(data, data + bytes);
  outputs.push_back(std::move(tensor));
  return {};
}

class OnnxRuntimeLane : public Session::Lane {
 public:
  OnnxRuntimeLane(Ort::Session& session, Ort::IoBinding binding) : session_(session), binding_(std::move(binding)) {}
  Result<> Run() override {
    return CallEngine(ErrorCode::kFailed, "run the model in ONNX Runtime",
                      [&] { session_.Run(Ort::RunOptions{nullptr}, binding_); });
  }

 private:
  Ort::Session& session_;
  Ort::IoBinding binding_;
};

class OnnxRuntimeSession : public Session {
 public:
  // `file` is empty for a model from memory; `profiles` is where the profiler writes, where it is on.
  OnnxRuntimeSession(Ort::Session session, std::filesystem::path file, Settings effective,
                     std::map<std::string, int64_t> named_dims, std::optional<ScopedFolder> profiles)
      : profiles_(std::move(profiles)),
        session_(std::move(session)),
        file_(std::move(file)),
        effective_(std::move(effective)),
        named_dims_(std::move(named_dims)) {}

  // Reads inputs and outputs; before any other call.
  Result<> Describe(const google::protobuf::RepeatedPtrField<proto::InputShape>& pins) {
    std::vector<DeclaredInput> declared;
    TRY(CallEngine(ErrorCode::kRejected, "read the model's inputs", [&] {
      const std::vector<std::string> names = session_.GetInputNames();
      for (size_t i = 0; i < names.size(); ++i) declared.push_back(Declare(names[i], session_.GetInputTypeInfo(i)));
      outputs_ = session_.GetOutputNames();
      for (size_t i = 0; i < outputs_.size(); ++i)
        output_types_.push_back(Declare(outputs_[i], session_.GetOutputTypeInfo(i)).signature.type);
    }));
    TRY_ASSIGN(inputs_, PinSignature(declared, pins));
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (ElementBytes(output_types_[i]) != 0) continue;
      return Fail(ErrorCode::kRejected,
                  fmt::format("output '{}' holds {}, which hone cannot read", Printable(outputs_[i], 256),
                              output_types_[i] == 0 ? "no tensor" : ElementName(output_types_[i]) + " elements"));
    }
    for (const InputSignature& input : inputs_) input_names_.push_back(input.name.c_str());
    for (const std::string& output : outputs_) output_names_.push_back(output.c_str());
    return {};
  }

  const std::vector<InputSignature>& inputs() const override { return inputs_; }
  const std::vector<std::string>& outputs() const override { return outputs_; }

  Result<std::vector<Tensor>> Run(const std::vector<Tensor>& inputs) override {
    TRY(CheckFeed(inputs_, inputs));
    std::vector<Tensor> outputs;
    Result<> taken;
    TRY(CallEngine(ErrorCode::kFailed, "run the model in ONNX Runtime", [&] {
      std::vector<Ort::Value> values;
      for (const Tensor& input : inputs) values.push_back(input.bytes.empty() ? Copy(input) : Borrow(input));
      const std::vector<Ort::Value> results = session_.Run(Ort::RunOptions{nullptr}, input_names_.data(), values.data(),
                                                           values.size(), output_names_.data(), output_names_.size());
      for (size_t i = 0; i < results.size() && taken; ++i) taken = TakeOut(results[i], outputs_[i], outputs);
    }));
    TRY(std::move(taken));
    return outputs;
  }

  Result<> Bind(const std::vector<Tensor>& inputs) override {
    TRY(CheckFeed(inputs_, inputs));
    return CallEngine(ErrorCode::kFailed, "bind inputs in ONNX Runtime", [&] {
      bound_.clear();
      for (const Tensor& input : inputs) bound_.push_back(Copy(input));
      binding_.emplace(MakeBinding());
    });
  }

  Result<> RunBound() override {
    CHECK_THAT(binding_.has_value());
    return CallEngine(ErrorCode::kFailed, "run the model in ONNX Runtime",
                           [&] { session_.Run(Ort::RunOptions{nullptr}, *binding_); });
  }

  Result<Throughput> RunMany(uint32_t requests, uint32_t duration_ms) override {
    CHECK_THAT(binding_.has_value());
    if (requests == 0) requests = AdvisedRequests();
    std::vector<Ort::IoBinding> bindings;
    TRY(CallEngine(ErrorCode::kFailed, "bind inputs in ONNX Runtime", [&] {
      for (uint32_t i = 0; i < requests; ++i) bindings.push_back(MakeBinding());
    }));

    std::mutex mutex;
    std::optional<Error> failure;  // Guarded by mutex, as are the next two.
    uint64_t inferences = 0;
    SteadyClock::time_point last_end{};
    std::latch ready(static_cast<std::ptrdiff_t>(requests) + 1);
    SteadyClock::time_point begin{};  // Written before the latch opens.
    const auto work = [&](Ort::IoBinding& binding) {
      ready.arrive_and_wait();
      const auto deadline = begin + std::chrono::milliseconds(duration_ms);
      uint64_t finished = 0;
      Result<> ran;
      SteadyClock::time_point end;
      do {
        ran = CallEngine(ErrorCode::kFailed, "run the model in ONNX Runtime",
                              [&] { session_.Run(Ort::RunOptions{nullptr}, binding); });
        end = SteadyClock::now();
        finished += ran ? 1 : 0;
      } while (ran && end < deadline);
      const std::lock_guard lock(mutex);
      if (!ran) failure = ran.error();
      inferences += finished;
      last_end = std::max(last_end, end);
    };
    {
      std::vector<std::jthread> threads;
      auto started = CallEngine(ErrorCode::kExhausted, "start threads for inferences", [&] {
        for (Ort::IoBinding& binding : bindings) threads.emplace_back(work, std::ref(binding));
      });
      begin = SteadyClock::now();
      // The places of threads that could not start are taken here, so that the others come to their end.
      ready.count_down(static_cast<std::ptrdiff_t>(requests - threads.size()));
      ready.arrive_and_wait();
      if (!started) {
        const std::lock_guard lock(mutex);
        failure = std::move(started.error());
      }
    }
    if (failure) return Fail(*failure);
    return Throughput{inferences, std::chrono::duration<double>(last_end - begin).count(), requests};
  }

  Result<std::unique_ptr<Lane>> NewLane() override {
    CHECK_THAT(binding_.has_value());
    return CallEngine(ErrorCode::kFailed, "bind inputs in ONNX Runtime", [&]() -> std::unique_ptr<Lane> {
      return std::make_unique<OnnxRuntimeLane>(session_, MakeBinding());
    });
  }

  // The threads of one session share its pool, so a second caller fills the gaps of the first and more only queue.
  uint32_t AdvisedRequests() const override { return std::min(2u, AllowedCores()); }

  Result<proto::Profile> Profile(uint32_t runs) override {
    CHECK_THAT(profiles_.has_value());
    constexpr uint32_t kWarmRuns = 1;
    for (uint32_t run = 0; run < kWarmRuns + runs; ++run) TRY(RunBound());
    std::string written;
    TRY(CallEngine(ErrorCode::kFailed, "end the profile in ONNX Runtime", [&] {
      Ort::AllocatorWithDefaultOptions allocator;
      written = session_.EndProfilingAllocated(allocator).get();
    }));
    TRY_ASSIGN(const auto forms, WithOptimized([](const std::filesystem::path& model) { return FormsOfNodes(model); }));
    return ReadOnnxProfile(written, kWarmRuns, forms);
  }

  Result<proto::Execution> Execution() override {
    if (file_.empty()) {
      return Fail(ErrorCode::kFailed, "what ONNX Runtime executes cannot be read back for a model loaded from memory",
                  "load it from a file");
    }
    proto::Execution execution;
    execution.set_backend("onnxruntime");
    execution.set_version(Ort::GetVersionString());
    *execution.mutable_effective() = effective_;
    TRY_ASSIGN(const KernelCounts kernels, WithOptimized(&CountOnnxKernels));
    kernels.Write(execution);
    return execution;
  }

 private:
  static DeclaredInput Declare(const std::string& name, const Ort::TypeInfo& type) {
    DeclaredInput declared{{name, 0, {}}, true};
    // Sequences, maps and optional values keep type 0, which nothing can feed.
    if (type.GetONNXType() != ONNX_TYPE_TENSOR) return declared;
    const auto info = type.GetTensorTypeAndShapeInfo();
    declared.signature.type = static_cast<ElementType>(info.GetElementType());
    declared.has_rank = info.HasShape();
    if (declared.has_rank) declared.signature.dims = info.GetShape();
    for (int64_t& dim : declared.signature.dims) dim = dim < 0 ? -1 : dim;
    return declared;
  }

  // Inputs are the bound ones, shared; outputs are the runtime's own, reused from run to run.
  Ort::IoBinding MakeBinding() {
    static const Ort::MemoryInfo cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::IoBinding binding(session_);
    for (size_t i = 0; i < bound_.size(); ++i) binding.BindInput(input_names_[i], bound_[i]);
    for (const char* output : output_names_) binding.BindOutput(output, cpu);
    return binding;
  }

  // What `read` finds in the model as it is executed: it is optimized once more under the same settings and written
  // down; weights go beside it, so that only the graph is parsed.
  template <class Read>
  auto WithOptimized(const Read& read) const -> decltype(read(std::filesystem::path())) {
    TRY_ASSIGN(const ScopedFolder folder,
               ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-optimized-"));
    const std::filesystem::path optimized = folder.path() / "optimized.onnx";
    TRY(CallEngine(ErrorCode::kFailed, "write the optimized model in ONNX Runtime", [&] {
      Ort::SessionOptions options = MakeOptions(effective_, named_dims_);
      options.SetOptimizedModelFilePath(optimized.c_str());
      options.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersFileName, "weights");
      options.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersMinSizeInBytes, "1024");
      const Ort::Session written(Environment(), file_.c_str(), options);
    }));
    return read(optimized);
  }

  std::optional<ScopedFolder> profiles_;  // Outlives the session, which writes there.
  Ort::Session session_;
  const std::filesystem::path file_;
  const Settings effective_;
  const std::map<std::string, int64_t> named_dims_;
  std::vector<InputSignature> inputs_;
  std::vector<std::string> outputs_;
  std::vector<ElementType> output_types_;
  std::vector<const char*> input_names_;  // Of inputs_ and outputs_.
  std::vector<const char*> output_names_;
  std::vector<Ort::Value> bound_;
  std::optional<Ort::IoBinding> binding_;
};

struct Source {
  std::filesystem::path file;  // Or, where empty,
  std::string_view bytes = {};
};

Result<std::unique_ptr<Session>> Load(const Source& source, Settings effective,
                                      const google::protobuf::RepeatedPtrField<proto::InputShape>& pins,
                                      bool profiling = false) {
  TRY(CheckLibrary());
  std::optional<ScopedFolder> profiles;
  if (profiling) {
    TRY_ASSIGN(profiles, ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-profile-"));
  }
  std::map<std::string, int64_t> named_dims;
  if (!source.file.empty()) {
    TRY_ASSIGN(named_dims, NamedDims(source.file, pins));
  }
  std::unique_ptr<OnnxRuntimeSession> session;
  TRY(CallEngine(ErrorCode::kRejected, "load the model in ONNX Runtime", [&] {
    Ort::SessionOptions options = MakeOptions(effective, named_dims);
    if (profiles) options.EnableProfiling((profiles->path() / "profile").c_str());
    Ort::Session loaded = source.file.empty()
                              ? Ort::Session(Environment(), source.bytes.data(), source.bytes.size(), options)
                              : Ort::Session(Environment(), source.file.c_str(), options);
    session = std::make_unique<OnnxRuntimeSession>(std::move(loaded), source.file, std::move(effective),
                                                   std::move(named_dims), std::move(profiles));
  }));
  TRY(session->Describe(pins));
  return session;
}

Settings PlainSettings(int threads, bool optimize) {
  Settings settings;
  const auto add = [&](const char* name, proto::Value value) {
    proto::Parameter& parameter = *settings.Add();
    parameter.set_name(name);
    *parameter.mutable_value() = std::move(value);
  };
  add("intra_op_threads", IntValue(ThreadsOr(threads)));
  add("graph_optimization", TextValue(optimize ? "all" : "disabled"));
  return EffectiveSettings(settings);
}

}  // namespace

proto::BackendInfo OnnxRuntimeInfo() {
  proto::BackendInfo info;
  info.set_name("onnxruntime");
  info.set_version(OrtGetApiBase()->GetVersionString());
  info.add_devices("CPU");
  info.add_formats("onnx");
  for (const SettingRow& row : SettingRows()) *info.add_settings() = row.info;
  info.set_reference(true);
  return info;
}

Result<std::unique_ptr<Session>> LoadInOnnxRuntime(const proto::LocalBundle& model, const LoadOptions& options) {
  const proto::BackendInfo info = OnnxRuntimeInfo();
  TRY(CheckFormat(info, model.bundle().format()));
  TRY(CheckParameters(info.settings(), options.settings, "backend onnxruntime"));
  TRY_ASSIGN(const std::filesystem::path file, MainFile(model));
  return Load({file}, EffectiveSettings(options.settings), options.inputs, options.profiling);
}

Result<std::unique_ptr<Session>> LoadOnnxBytes(std::string_view model, int threads, bool optimize) {
  return Load({{}, model}, PlainSettings(threads, optimize), {});
}

Result<std::unique_ptr<Session>> LoadOnnxFile(const std::filesystem::path& model, int threads, bool optimize) {
  return Load({model}, PlainSettings(threads, optimize), {});
}

}  // namespace hone
