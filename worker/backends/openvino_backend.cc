// OpenVINO on the devices it finds.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>
#include <openvino/runtime/intel_cpu/properties.hpp>
#include <optional>
#include <utility>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/backends/engines.h"
#include "worker/backends/openvino_ports.h"
#include "worker/backends/pins.h"
#include "worker/backends/settings.h"
#include "worker/data/signature.h"
#include "worker/fingerprint.h"

namespace hone {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Settings = google::protobuf::RepeatedPtrField<proto::Parameter>;

// Made at the first use, so that nothing of the runtime starts in a process that forks others; never destroyed, since
// the runtime's own statics may be gone when ours would be.
ov::Core& Core() {
  static ov::Core* const core = new ov::Core();
  return *core;
}

// --- settings --------------------------------------------------------------------------------------------------

const std::vector<std::string>& Devices() {
  static const std::vector<std::string> devices = CallEngine(ErrorCode::kEnvironment, "list OpenVINO's devices", [] {
                                                    return Core().get_available_devices();
                                                  }).value_or(std::vector<std::string>{});
  return devices;
}

template <class Enum>
struct Named {
  const char* name;
  Enum value;
};
constexpr Named<ov::hint::PerformanceMode> kHints[] = {
    {"latency", ov::hint::PerformanceMode::LATENCY},
    {"throughput", ov::hint::PerformanceMode::THROUGHPUT},
    {"cumulative_throughput", ov::hint::PerformanceMode::CUMULATIVE_THROUGHPUT}};
constexpr Named<ov::hint::ExecutionMode> kModes[] = {{"performance", ov::hint::ExecutionMode::PERFORMANCE},
                                                     {"accuracy", ov::hint::ExecutionMode::ACCURACY}};
constexpr Named<ov::element::Type_t> kPrecisions[] = {
    {"f32", ov::element::Type_t::f32}, {"bf16", ov::element::Type_t::bf16}, {"f16", ov::element::Type_t::f16}};

template <class Enum, size_t N>
std::optional<Enum> ByName(const Named<Enum> (&rows)[N], std::string_view name) {
  for (const Named<Enum>& row : rows) {
    if (name == row.name) return row.value;
  }
  return std::nullopt;
}

template <class Enum, size_t N>
proto::Value NameOf(const Named<Enum> (&rows)[N], Enum value) {
  for (const Named<Enum>& row : rows) {
    if (row.value == value) return TextValue(row.name);
  }
  return proto::Value{};
}

// A setting: how it goes into a compilation, and how the compiled model tells what became of it (not set: it does not).
// device, hint and cache are dealt with where the model is compiled.
struct SettingRow {
  proto::ParameterInfo info;
  void (*apply)(ov::AnyMap& properties, const proto::Value& value);
  const char* property;
  proto::Value (*read)(const ov::CompiledModel& compiled);
};

const std::vector<SettingRow>& SettingRows() {
  using Map = ov::AnyMap;
  using Value = proto::Value;
  using Compiled = ov::CompiledModel;
  const auto elsewhere = [](Map&, const Value&) {};
  static const std::vector<SettingRow> rows = {
      {TextSetting("device", "CPU", Devices(), "The device that runs the model."), elsewhere,
       ov::execution_devices.name(),
       [](const Compiled& compiled) { return TextValue(Join(compiled.get_property(ov::execution_devices), ",")); }},
      {TextSetting("hint", "latency", {"latency", "throughput", "cumulative_throughput", "none"},
                   "What the runtime chooses streams and threads for; none leaves them to the other settings."),
       elsewhere, ov::hint::performance_mode.name(),
       [](const Compiled& compiled) { return NameOf(kHints, compiled.get_property(ov::hint::performance_mode)); }},
      {TextSetting("inference_precision", nullptr, {"f32", "bf16", "f16"},
                   "The precision that float layers may run in; unset is the runtime's own choice, bf16 where the "
                   "processor has it."),
       [](Map& map, const Value& value) {
         map[ov::hint::inference_precision.name()] = ov::element::Type(*ByName(kPrecisions, value.text()));
       },
       ov::hint::inference_precision.name(),
       [](const Compiled& compiled) {
         return TextValue(compiled.get_property(ov::hint::inference_precision).get_type_name());
       }},
      {IntSetting("threads", 1, 1024, "Threads for inference; unset takes all allowed cores."),
       [](Map& map, const Value& value) {
         map[ov::inference_num_threads.name()] = static_cast<int32_t>(value.integer());
       },
       ov::inference_num_threads.name(),
       [](const Compiled& compiled) { return IntValue(compiled.get_property(ov::inference_num_threads)); }},
      {IntSetting("streams", 1, 1024,
                  "Inferences that run at once, each on its part of the threads; unset follows the hint."),
       [](Map& map, const Value& value) {
         map[ov::num_streams.name()] = ov::streams::Num(static_cast<int32_t>(value.integer()));
       },
       ov::num_streams.name(),
       [](const Compiled& compiled) { return IntValue(compiled.get_property(ov::num_streams).num); }},
      {IntSetting("num_requests", 1, 4096, "How many requests the hint plans for; unset follows the hint."),
       [](Map& map, const Value& value) {
         map[ov::hint::num_requests.name()] = static_cast<uint32_t>(value.integer());
       },
       ov::hint::num_requests.name(),
       [](const Compiled& compiled) { return IntValue(compiled.get_property(ov::hint::num_requests)); }},
      {BoolSetting("cpu_pinning", std::nullopt, "Whether threads are bound to cores; unset lets the runtime choose."),
       [](Map& map, const Value& value) { map[ov::hint::enable_cpu_pinning.name()] = value.boolean(); },
       ov::hint::enable_cpu_pinning.name(),
       [](const Compiled& compiled) { return BoolValue(compiled.get_property(ov::hint::enable_cpu_pinning)); }},
      {BoolSetting("hyper_threading", std::nullopt,
                   "Whether both threads of a core are used; unset lets the runtime choose."),
       [](Map& map, const Value& value) { map[ov::hint::enable_hyper_threading.name()] = value.boolean(); },
       ov::hint::enable_hyper_threading.name(),
       [](const Compiled& compiled) { return BoolValue(compiled.get_property(ov::hint::enable_hyper_threading)); }},
      {TextSetting("execution_mode", nullptr, {"performance", "accuracy"},
                   "Whether the runtime may trade accuracy for speed; unset is the runtime's own choice."),
       [](Map& map, const Value& value) { map[ov::hint::execution_mode.name()] = *ByName(kModes, value.text()); },
       ov::hint::execution_mode.name(),
       [](const Compiled& compiled) { return NameOf(kModes, compiled.get_property(ov::hint::execution_mode)); }},
      {ChoiceSetting("dynamic_quantization_group_size", {0, 32, 64, 128},
                     "Group size in which activations of layers with compressed weights are quantized at run time; 0 "
                     "turns it off."),
       [](Map& map, const Value& value) {
         map[ov::hint::dynamic_quantization_group_size.name()] = static_cast<uint64_t>(value.integer());
       },
       ov::hint::dynamic_quantization_group_size.name(),
       [](const Compiled& compiled) {
         return IntValue(static_cast<int64_t>(compiled.get_property(ov::hint::dynamic_quantization_group_size)));
       }},
      {TextSetting("kv_cache_precision", nullptr, {"f32", "bf16", "f16", "u8"},
                   "The type of a language model's key and value cache."),
       [](Map& map, const Value& value) { map[ov::hint::kv_cache_precision.name()] = ov::element::Type(value.text()); },
       ov::hint::kv_cache_precision.name(),
       [](const Compiled& compiled) {
         return TextValue(compiled.get_property(ov::hint::kv_cache_precision).get_type_name());
       }},
      {ShareSetting("sparse_weights_rate",
                    "Share of zeros from which on int8 weights are kept without their zeros; takes effect on "
                    "processors with AMX. "
                    "1 turns it off."),
       [](Map& map, const Value& value) {
         const bool whole = value.kind_case() == Value::kInteger;
         map[ov::intel_cpu::sparse_weights_decompression_rate.name()] =
             static_cast<float>(whole ? static_cast<double>(value.integer()) : value.real());
       },
       ov::intel_cpu::sparse_weights_decompression_rate.name(),
       [](const Compiled& compiled) {
         return RealValue(compiled.get_property(ov::intel_cpu::sparse_weights_decompression_rate));
       }},
      {BoolSetting("cache", false, "Whether the compiled model is kept in the work's cache folder for the next load."),
       elsewhere, ov::loaded_from_cache.name(), [](const Compiled&) { return Value{}; }},
  };
  return rows;
}

// Cores of the affinity mask, which is all that OpenVINO looks at.
unsigned CoresInMask() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return 0;
  return static_cast<unsigned>(CPU_COUNT(&mask));
}

struct Compilation {
  std::string device;
  ov::AnyMap properties;
};

Result<Compilation> PlanCompilation(const LoadOptions& options) {
  Compilation plan;
  const auto value_of = [&](std::string_view name) -> std::optional<proto::Value> {
    for (const SettingRow& row : SettingRows()) {
      if (row.info.name() == name) return SettingValue(row.info, options.settings);
    }
    return std::nullopt;
  };
  for (const SettingRow& row : SettingRows()) {
    if (const auto value = SettingValue(row.info, options.settings)) row.apply(plan.properties, *value);
  }
  plan.device = value_of("device")->text();
  // An explicit number of streams speaks against a hint that nobody gave.
  const bool hint_given = Find(options.settings, "hint") != nullptr;
  if (hint_given || Find(options.settings, "streams") == nullptr) {
    if (const auto hint = ByName(kHints, value_of("hint")->text()))
      plan.properties[ov::hint::performance_mode.name()] = *hint;
  }
  // A cgroup's quota below the mask would otherwise be overlooked, and its threads throttled.
  if (plan.device == "CPU" && Find(options.settings, "threads") == nullptr && AllowedCores() < CoresInMask()) {
    plan.properties[ov::inference_num_threads.name()] = static_cast<int32_t>(AllowedCores());
  }
  if (value_of("cache")->boolean()) {
    if (options.cache_folder.empty()) {
      return Fail(ErrorCode::kRejected, "backend openvino: cache is wanted, and this work has no cache folder",
                  "remove the setting `cache`");
    }
    plan.properties[ov::cache_dir.name()] = options.cache_folder;
  }
  if (options.profiling) plan.properties[ov::enable_profiling.name()] = true;
  return plan;
}

// --- session ---------------------------------------------------------------------------------------------------

Tensor TakeOut(const ov::Tensor& value, const std::string& name) {
  const ov::Shape shape = value.get_shape();
  Tensor tensor{name, OurType(value.get_element_type()), std::vector<int64_t>(shape.begin(), shape.end()), {}};
  if (value.get_size() > 0) {
    const auto* data = static_cast<const std::byte*>(value.data());
    tensor.bytes.assign(data, data + value.get_byte_size());
  }
  return tensor;
}

// What the requests of one RunMany share. Callbacks hold it, so it outlives the last of them.
struct Flight {
  std::mutex mutex;
  std::condition_variable landed;
  // All guarded by mutex.
  uint32_t flying = 0;
  uint64_t inferences = 0;
  std::exception_ptr failure;
  SteadyClock::time_point deadline;
  SteadyClock::time_point last_end;

  // Whether the request that ended shall start again.
  bool Ended(const std::exception_ptr& thrown) {
    const std::lock_guard lock(mutex);
    last_end = std::max(last_end, SteadyClock::now());
    if (thrown) {
      failure = thrown;
    } else {
      ++inferences;
    }
    if (!failure && last_end < deadline) return true;
    Land();
    return false;
  }
  void Failed(const std::exception_ptr& thrown) {
    const std::lock_guard lock(mutex);
    failure = thrown;
    Land();
  }

 private:
  void Land() {
    if (--flying == 0) landed.notify_all();
  }
};

std::string InfoText(const ov::RTMap& info, const char* key) {
  const auto found = info.find(key);
  return found == info.end() ? "" : found->second.as<std::string>();
}

// Types of constants that feed a layer, where they are narrower than a float: "weights u4".
std::string NarrowWeights(const ov::Node& layer) {
  constexpr std::string_view narrow[] = {"u4", "i4", "u8", "i8", "u2", "u1", "nf4", "f4e2m1", "f8e4m3", "f8e5m2"};
  for (size_t i = 0; i < layer.get_input_size(); ++i) {
    const ov::RTMap& info = layer.get_input_node_ptr(i)->get_rt_info();
    const std::string type = InfoText(info, "outputPrecisions");
    if (InfoText(info, "layerType") != "Const") continue;
    if (std::find(std::begin(narrow), std::end(narrow), type) != std::end(narrow)) return "weights " + type;
  }
  return "";
}

KernelCounts CountKernels(const ov::Model& executed) {
  KernelCounts counts;
  for (const auto& layer : executed.get_ordered_ops()) {
    const ov::RTMap& info = layer->get_rt_info();
    const std::string type = InfoText(info, "layerType");
    if (type.empty() || type == "Const" || type == "Input" || type == "Output") continue;
    std::string kernel = InfoText(info, "primitiveType");
    if (const std::string weights = NarrowWeights(*layer); !weights.empty()) kernel += " " + weights;
    counts.Add(type, InfoText(info, "runtimePrecision"), kernel);
  }
  return counts;
}

// Layers by their name: what the compiled graph says of each.
std::map<std::string, std::string> PrecisionsOfLayers(const ov::Model& executed) {
  std::map<std::string, std::string> precisions;
  for (const auto& layer : executed.get_ordered_ops())
    precisions[layer->get_friendly_name()] = InfoText(layer->get_rt_info(), "runtimePrecision");
  return precisions;
}

// Sums over inferences, one row a layer that ran.
class LayerTimes {
 public:
  void Add(const std::vector<ov::ProfilingInfo>& layers) {
    for (const ov::ProfilingInfo& layer : layers) {
      if (layer.status != ov::ProfilingInfo::Status::EXECUTED) continue;
      const auto [place, added] = rows_.emplace(layer.node_name, rows_.size());
      if (added) times_.push_back(layer);
      else times_[place->second].real_time += layer.real_time;
    }
  }
  void Write(uint32_t runs, const std::map<std::string, std::string>& precisions, proto::Profile& profile) const {
    for (const ov::ProfilingInfo& layer : times_) {
      proto::OperatorTime& row = *profile.add_operators();
      row.set_name(ToUtf8(layer.node_name));
      row.set_type(layer.node_type);
      row.set_kernel(layer.exec_type);
      if (const auto found = precisions.find(layer.node_name); found != precisions.end())
        row.set_precision(found->second);
      row.set_ms(static_cast<double>(layer.real_time.count()) / 1000 / runs);
      row.set_calls(1);
    }
  }

 private:
  std::map<std::string, size_t> rows_;
  std::vector<ov::ProfilingInfo> times_;
};

class OpenVinoLane : public Session::Lane {
 public:
  explicit OpenVinoLane(ov::InferRequest request) : request_(std::move(request)) {}
  Result<> Run() override {
    return CallEngine(ErrorCode::kFailed, "run the model in OpenVINO", [&] { request_.infer(); });
  }

 private:
  ov::InferRequest request_;
};

class OpenVinoSession : public Session {
 public:
  OpenVinoSession(ov::CompiledModel compiled, std::vector<InputSignature> inputs, std::vector<std::string> outputs)
      : compiled_(std::move(compiled)), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  const std::vector<InputSignature>& inputs() const override { return inputs_; }
  const std::vector<std::string>& outputs() const override { return outputs_; }

  Result<std::vector<Tensor>> Run(const std::vector<Tensor>& inputs) override {
    TRY(CheckFeed(inputs_, inputs));
    return CallEngine(ErrorCode::kFailed, "run the model in OpenVINO", [&] {
      if (!request_) request_ = compiled_.create_infer_request();
      for (size_t i = 0; i < inputs.size(); ++i)
        request_.set_input_tensor(i, inputs[i].bytes.empty() ? CopyTensor(inputs[i]) : BorrowTensor(inputs[i]));
      request_.infer();
      std::vector<Tensor> outputs;
      for (size_t i = 0; i < outputs_.size(); ++i)
        outputs.push_back(TakeOut(request_.get_output_tensor(i), outputs_[i]));
      return outputs;
    });
  }

  Result<> Bind(const std::vector<Tensor>& inputs) override {
    TRY(CheckFeed(inputs_, inputs));
    return CallEngine(ErrorCode::kFailed, "bind inputs in OpenVINO", [&] {
      bound_.clear();
      for (const Tensor& input : inputs) bound_.push_back(CopyTensor(input));
      if (bound_request_) {
        SetBound(bound_request_);
      } else {
        bound_request_ = MakeBoundRequest();
      }
    });
  }

  Result<> RunBound() override {
    CHECK_THAT(bound_request_.operator bool());
    return CallEngine(ErrorCode::kFailed, "run the model in OpenVINO", [&] { bound_request_.infer(); });
  }

  Result<Throughput> RunMany(uint32_t requests, uint32_t duration_ms) override {
    CHECK_THAT(bound_request_.operator bool());
    return CallEngine(ErrorCode::kFailed, "run the model in OpenVINO", [&] {
      const uint32_t count = requests != 0 ? requests : AdvisedRequests();
      std::vector<ov::InferRequest> pool;
      for (uint32_t i = 0; i < count; ++i) pool.push_back(MakeBoundRequest());
      return Fly(pool, std::chrono::milliseconds(duration_ms));
    });
  }

  Result<std::unique_ptr<Lane>> NewLane() override {
    CHECK_THAT(bound_request_.operator bool());
    return CallEngine(ErrorCode::kFailed, "bind inputs in OpenVINO",
                      [&]() -> std::unique_ptr<Lane> { return std::make_unique<OpenVinoLane>(MakeBoundRequest()); });
  }

  uint32_t AdvisedRequests() const override {
    const auto advised = CallEngine(ErrorCode::kFailed, "ask OpenVINO for its number of requests",
                                    [&] { return compiled_.get_property(ov::optimal_number_of_infer_requests); });
    return std::max(1u, advised.value_or(1));
  }

  Result<proto::Profile> Profile(uint32_t runs) override {
    CHECK_THAT(bound_request_.operator bool());
    return CallEngine(ErrorCode::kFailed, "profile the model in OpenVINO", [&] {
      bound_request_.infer();
      LayerTimes times;
      std::vector<double> run_ms;
      for (uint32_t run = 0; run < runs; ++run) {
        const auto start = SteadyClock::now();
        bound_request_.infer();
        run_ms.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count());
        times.Add(bound_request_.get_profiling_info());
      }
      proto::Profile profile;
      times.Write(runs, PrecisionsOfLayers(*compiled_.get_runtime_model()), profile);
      FinishProfile(run_ms, profile);
      return profile;
    });
  }

  Result<proto::Execution> Execution() override {
    return CallEngine(ErrorCode::kFailed, "read back what OpenVINO executes", [&] {
      proto::Execution execution;
      execution.set_backend("openvino");
      execution.set_version(ov::get_openvino_version().buildNumber);
      WriteEffective(execution);
      CountKernels(*compiled_.get_runtime_model()).Write(execution);
      return execution;
    });
  }

 private:
  void SetBound(ov::InferRequest& request) {
    for (size_t i = 0; i < bound_.size(); ++i) request.set_input_tensor(i, bound_[i]);
  }
  ov::InferRequest MakeBoundRequest() {
    ov::InferRequest request = compiled_.create_infer_request();
    SetBound(request);
    return request;
  }

  // Each request starts itself again from its callback, so none waits for a thread of ours to wake.
  static Throughput Fly(std::vector<ov::InferRequest>& pool, std::chrono::milliseconds duration) {
    const auto flight = std::make_shared<Flight>();
    flight->flying = static_cast<uint32_t>(pool.size());
    for (ov::InferRequest& request : pool) {
      request.set_callback([flight, &request](const std::exception_ptr& thrown) {
        if (!flight->Ended(thrown)) return;
        try {
          request.start_async();
        } catch (...) {
          flight->Failed(std::current_exception());
        }
      });
    }
    const auto begin = SteadyClock::now();
    flight->deadline = begin + duration;
    for (ov::InferRequest& request : pool) {
      try {
        request.start_async();
      } catch (...) {
        flight->Failed(std::current_exception());
      }
    }
    {
      std::unique_lock lock(flight->mutex);
      flight->landed.wait(lock, [&] { return flight->flying == 0; });
    }
    // The last callback may still be on its way out of the request.
    for (ov::InferRequest& request : pool) {
      try {
        request.wait();
      } catch (...) {
        flight->failure = std::current_exception();
      }
      request.set_callback([](const std::exception_ptr&) {});
    }
    if (flight->failure) std::rethrow_exception(flight->failure);
    return {flight->inferences, std::chrono::duration<double>(flight->last_end - begin).count(),
            static_cast<uint32_t>(pool.size())};
  }

  void WriteEffective(proto::Execution& execution) const {
    const std::vector<ov::PropertyName> supported = compiled_.get_property(ov::supported_properties);
    const auto add = [&](const std::string& name, const proto::Value& value) {
      if (value.kind_case() == proto::Value::KIND_NOT_SET) return;
      proto::Parameter& parameter = *execution.add_effective();
      parameter.set_name(name);
      *parameter.mutable_value() = value;
    };
    for (const SettingRow& row : SettingRows()) {
      if (std::find(supported.begin(), supported.end(), row.property) != supported.end())
        add(row.info.name(), row.read(compiled_));
    }
    add("optimal_requests", IntValue(compiled_.get_property(ov::optimal_number_of_infer_requests)));
  }

  ov::CompiledModel compiled_;
  const std::vector<InputSignature> inputs_;
  const std::vector<std::string> outputs_;
  ov::InferRequest request_;  // For Run; made when first needed.
  std::vector<ov::Tensor> bound_;
  ov::InferRequest bound_request_;  // For RunBound.
};

// --- formats ---------------------------------------------------------------------------------------------------

struct FormatRow {
  const char* frontend;
  const char* format;
};
constexpr FormatRow kFormats[] = {
    {"onnx", "onnx"}, {"ir", "openvino_ir"}, {"tflite", "tflite"}, {"tf", "tensorflow"}, {"paddle", "paddle"}};

// Those whose reader can really be loaded. The readers stay: a library that is unloaded loses hold of what it keeps.
std::vector<std::string> LoadableFormats() {
  const std::vector<std::string> frontends = CallEngine(ErrorCode::kEnvironment, "list OpenVINO's model readers", [] {
                                               static auto* const manager = new ov::frontend::FrontEndManager();
                                               return manager->get_available_front_ends();
                                             }).value_or(std::vector<std::string>{});
  std::vector<std::string> formats;
  for (const FormatRow& row : kFormats) {
    if (std::find(frontends.begin(), frontends.end(), row.frontend) != frontends.end()) formats.push_back(row.format);
  }
  return formats;
}

// A SavedModel is read by its folder.
std::filesystem::path PathToRead(const std::filesystem::path& file) {
  return file.filename() == "saved_model.pb" ? file.parent_path() : file;
}

}  // namespace

proto::BackendInfo OpenVinoInfo() {
  static const std::vector<std::string> formats = LoadableFormats();
  proto::BackendInfo info;
  info.set_name("openvino");
  info.set_version(ov::get_openvino_version().buildNumber);
  for (const std::string& device : Devices()) info.add_devices(device);
  for (const std::string& format : formats) info.add_formats(format);
  for (const SettingRow& row : SettingRows()) *info.add_settings() = row.info;
  return info;
}

Result<std::unique_ptr<Session>> LoadInOpenVino(const proto::LocalBundle& model, const LoadOptions& options) {
  const proto::BackendInfo info = OpenVinoInfo();
  TRY(CheckFormat(info, model.bundle().format()));
  TRY(CheckParameters(info.settings(), options.settings, "backend openvino"));
  TRY_ASSIGN(const std::filesystem::path file, MainFile(model));
  TRY_ASSIGN(const Compilation plan, PlanCompilation(options));

  std::shared_ptr<ov::Model> read;
  std::vector<DeclaredInput> declared;
  std::vector<std::string> outputs;
  TRY(CallEngine(ErrorCode::kRejected, "read the model in OpenVINO", [&] {
    read = Core().read_model(PathToRead(file).string());
    for (const auto& port : read->inputs()) declared.push_back(Declare(port));
    for (const auto& port : read->outputs()) outputs.push_back(Declare(port).signature.name);
  }));
  TRY_ASSIGN(const std::vector<InputSignature> inputs, PinSignature(declared, options.inputs));
  return CallEngine(ErrorCode::kRejected, "compile the model in OpenVINO", [&]() -> std::unique_ptr<Session> {
    if (!options.inputs.empty()) {
      std::map<ov::Output<ov::Node>, ov::PartialShape> shapes;
      for (size_t i = 0; i < inputs.size(); ++i) shapes[read->input(i)] = TheirShape(inputs[i].dims);
      read->reshape(shapes);
    }
    return std::make_unique<OpenVinoSession>(Core().compile_model(read, plan.device, plan.properties), inputs, outputs);
  });
}

}  // namespace hone
