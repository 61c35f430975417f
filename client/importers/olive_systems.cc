// Olive's systems, devices and execution providers, as targets and backends.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

struct SystemState {
  Olive& olive;
  Ledger& ledger;
  bool wanted = false;  // The target of the configuration; others are only told of.
  std::string device;   // Of the accelerator.
};

template <Fate fate>
Result<> ToldOf(SystemState& state, const ConfigNode& node, const char* text) {
  state.ledger.Tell(node, fate, text);
  return {};
}

// The provider as a target with a backend.
Result<> TakeProvider(SystemState& state, const ConfigNode& node) {
  // A name, or a name with the path of its library.
  const ConfigNode& name_node = node.IsList() && !node.items.empty() ? node.items.front() : node;
  TRY_ASSIGN(const std::string name, TextOf(name_node));
  const ProviderRow* provider = FindProvider(name);
  if (provider == nullptr) {
    std::vector<std::string> known;
    for (const ProviderRow& row : Providers()) known.emplace_back(row.name);
    return FailAt(name_node,
                  fmt::format("there is no execution provider '{}'{}", Printable(name, 80), DidYouMean(name, known)),
                  "There are " + Join(known, ", "));
  }
  if (!state.wanted) return {};
  const std::string tag = TagFor(*provider, state.device);
  state.olive.import.AddTarget({tag});
  state.olive.import.SetBackend(provider->backend, "", {});
  if (std::string_view(provider->backend) == "openvino")
    state.olive.openvino_devices.insert(tag.substr(tag.find('.') + 1));
  const bool here = std::string_view(provider->backend) == "openvino" || tag == "cpu";
  state.ledger.Tell(
      node, here ? Fate::done : Fate::changed,
      here ? fmt::format("targets: [{}], backend {}", tag, provider->backend)
           : fmt::format("targets: [{}], which needs a worker with that provider; --target cpu searches on processors",
                         tag));
  return {};
}

Result<> TakeProviders(SystemState& state, const ConfigNode& node) {
  if (node.IsText()) return TakeProvider(state, node);
  if (!node.IsList()) return WrongKind(node, "a list of execution providers");
  for (const ConfigNode& item : node.items) TRY(TakeProvider(state, item));
  return {};
}

Result<> TakeDevice(SystemState& state, const ConfigNode& node) {
  static const std::vector<Word> kDevices = {{"cpu", "cpu"}, {"cpu_spr", "cpu"},      {"gpu", "gpu"}, {"npu", "npu"},
                                             {"vpu", "npu"}, {"intel_myriad", "npu"}, {"any", ""}};
  TRY_ASSIGN(const Converted device, ToWord(node, kDevices));
  state.device = device.value.text();
  state.ledger.Tell(node, Fate::done, "targets");
  return {};
}

const std::vector<Rule<SystemState>> kAccelerator = {
    {"device", nullptr},
    {"execution_providers", TakeProviders},
    {"memory",
     [](SystemState& state, const ConfigNode& node) {
       return ToldOf<Fate::ignored>(state, node, "of splitting models; measure.memory bounds the work on a worker");
     }},
};

Result<> TakeAccelerator(SystemState& state, const ConfigNode& node) {
  // Older configurations name the device alone: "accelerators": ["cpu"].
  if (node.IsText()) {
    TRY(TakeDevice(state, node));
    if (state.wanted) state.olive.import.AddTarget({state.device.empty() ? "cpu" : state.device});
    return {};
  }
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "", state.ledger));
  state.device.clear();
  if (const ConfigNode* device = section.Find("device"); device != nullptr && !device->IsNull())
    TRY(TakeDevice(state, *device));
  if (state.wanted && section.Find("execution_providers") == nullptr &&
      (state.device == "cpu" || state.device.empty())) {
    state.olive.import.AddTarget({"cpu"});
  } else if (state.wanted && section.Find("execution_providers") == nullptr) {
    state.olive.import.AddTarget({state.device});
  }
  return ApplyRules(section, kAccelerator, state);
}

Result<> TakeAccelerators(SystemState& state, const ConfigNode& node) {
  if (!node.IsList()) return WrongKind(node, "a list of accelerators");
  for (const ConfigNode& item : node.items) TRY(TakeAccelerator(state, item));
  return {};
}

Result<> TakeSystemType(SystemState& state, const ConfigNode& node) {
  static const std::vector<Word> kSystemTypes = {{"LocalSystem", "here"},
                                                 {"PythonEnvironment", "python"},
                                                 {"Docker", "docker"},
                                                 {"AzureML", "azure"},
                                                 {"IsolatedORT", "python"}};
  TRY_ASSIGN(const std::string type, TextOf(node));
  // Aliases of machines that Azure and Surface had: "AzureND12SSystem".
  if (Lower(type).ends_with("system") && Lower(type) != "localsystem") {
    state.ledger.Tell(node, Fate::changed, "workers with the target's tags");
    return {};
  }
  const Result<Converted> known = ToWord(node, kSystemTypes);
  if (!known) return Fail(known.error());
  const std::string& kind = known->value.text();
  if (kind == "here") {
    state.ledger.Tell(node, Fate::done, "workers with the target's tags");
  } else {
    state.ledger.Tell(node, Fate::changed, "workers with the target's tags; a worker brings its own runtimes");
  }
  return {};
}

template <class State>
Result<> OtherPlace(State& state, const ConfigNode& node) {
  state.ledger.Tell(node, Fate::ignored, "a worker brings its own programs");
  return {};
}

const std::vector<Rule<SystemState>> kSystem = {
    {"type", TakeSystemType},
    {"accelerators", TakeAccelerators},
    {"device",
     [](SystemState& state, const ConfigNode& node) -> Result<> {
       TRY(TakeDevice(state, node));
       if (state.wanted) state.olive.import.AddTarget({state.device.empty() ? "cpu" : state.device});
       return {};
     }},
    {"python_environment_path", OtherPlace<SystemState>},
    {"environment_variables", OtherPlace<SystemState>},
    {"prepend_to_path", OtherPlace<SystemState>},
    {"olive_managed_env", OtherPlace<SystemState>},
    {"requirements_file", OtherPlace<SystemState>},
    {"hf_token", OtherPlace<SystemState>},
    {"dockerfile", OtherPlace<SystemState>},
    {"build_context_path", OtherPlace<SystemState>},
    {"image_name", OtherPlace<SystemState>},
    {"work_dir", OtherPlace<SystemState>},
    {"build_args", OtherPlace<SystemState>},
    {"run_params", OtherPlace<SystemState>},
    {"clean_image", OtherPlace<SystemState>},
    {"local_docker_config", OtherPlace<SystemState>},
    {"is_dev", OtherPlace<SystemState>},
    {"azureml_client_config", OtherPlace<SystemState>},
    {"aml_compute", OtherPlace<SystemState>},
    {"aml_docker_config", OtherPlace<SystemState>},
    {"aml_environment_config", OtherPlace<SystemState>},
    {"resources", OtherPlace<SystemState>},
    {"instance_count", OtherPlace<SystemState>},
    {"datastores", OtherPlace<SystemState>},
    {"tags", OtherPlace<SystemState>},
};

Result<> TakeSystem(Olive& olive, const ConfigNode& node, bool wanted) {
  SystemState state{olive, olive.ledger, wanted, {}};
  if (node.IsText()) {  // "systems": {"local": "LocalSystem"}, and aliases of the 0.3 era.
    olive.ledger.Tell(node, Fate::changed, "workers with the target's tags");
    return {};
  }
  TRY_ASSIGN(const Section section, Section::Open(node, "'" + node.path + "'", "config", olive.ledger));
  TRY(ApplyRules(section, kSystem, state));
  if (!wanted) olive.ledger.Tell(node, Fate::ignored, "no target refers to it");
  return {};
}

// The processor is OpenVINO's default; other devices are named.
void SetOpenvinoDevices(Olive& olive) {
  if (olive.openvino_devices.empty() || olive.openvino_devices == std::set<std::string>{"cpu"}) return;
  std::vector<proto::Value> values;
  for (std::string device : olive.openvino_devices) {
    std::transform(device.begin(), device.end(), device.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    values.push_back(TextValue(device));
  }
  olive.import.SetBackend("openvino", "device", values);
}

// The system a key refers to; nullptr where it is not given.
Result<const ConfigNode*> Referred(Olive& olive, const ConfigNode* reference) {
  if (reference == nullptr || reference->IsNull()) return nullptr;
  if (reference->IsMap()) return reference;
  TRY_ASSIGN(const std::string name, TextOf(*reference));
  const auto system = olive.systems.find(name);
  if (system != olive.systems.end()) {
    olive.ledger.Tell(*reference, Fate::done, "targets");
    return system->second;
  }
  // An alias: "local_system" without a section of its own.
  if (olive.systems.empty() || Lower(name).find("local") != std::string::npos) {
    olive.ledger.Tell(*reference, Fate::changed, "targets: [cpu]");
    return nullptr;
  }
  std::vector<std::string> names;
  for (const auto& [known, node] : olive.systems) names.push_back(known);
  return FailAt(*reference, fmt::format("there is no system '{}'{}", Printable(name, 80), DidYouMean(name, names)),
                "There are " + Join(names, ", "));
}

// --- inference settings --------------------------------------------------------------------------

struct SettingsState {
  Import& import;
  Ledger& ledger;
};

struct SettingRow {
  const char* key;      // Olive's, or ONNX Runtime's own.
  const char* setting;  // "" where hone has none.
  std::vector<Word> words;
  const char* text;  // Where hone has none.
};

const std::vector<SettingRow> kSettings = {
    {"intra_op_num_threads", "intra_op_threads", {}, ""},
    {"inter_op_num_threads", "inter_op_threads", {}, ""},
    {"execution_mode",
     "execution_mode",
     {{"0", "sequential"}, {"1", "parallel"}, {"ORT_SEQUENTIAL", "sequential"}, {"ORT_PARALLEL", "parallel"}},
     ""},
    {"graph_optimization_level",
     "graph_optimization",
     {{"0", "disabled"},
      {"1", "basic"},
      {"2", "extended"},
      {"3", "layout"},
      {"99", "all"},
      {"ORT_DISABLE_ALL", "disabled"},
      {"ORT_ENABLE_BASIC", "basic"},
      {"ORT_ENABLE_EXTENDED", "extended"},
      {"ORT_ENABLE_ALL", "all"}},
     ""},
    {"enable_mem_pattern", "memory_pattern", {{"true", "true"}, {"false", "false"}}, ""},
    {"enable_cpu_mem_arena", "cpu_arena", {{"true", "true"}, {"false", "false"}}, ""},
    {"session.intra_op.allow_spinning", "allow_spinning", {{"0", "false"}, {"1", "true"}}, ""},
    {"session.inter_op.allow_spinning", "", {}, "allow_spinning serves both pools"},
    {"session.dynamic_block_base", "dynamic_block_base", {}, ""},
    {"session.set_denormal_as_zero", "denormal_as_zero", {{"0", "false"}, {"1", "true"}}, ""},
    {"session.disable_prepacking", "prepacking", {{"0", "true"}, {"1", "false"}}, ""},
    {"session.qdq_matmulnbits_accuracy_level", "matmulnbits_accuracy_level", {}, ""},
    {"session.enable_quant_qdq_cleanup", "qdq_cleanup", {{"0", "false"}, {"1", "true"}}, ""},
    {"optimization.enable_gelu_approximation", "gelu_approximation", {{"0", "false"}, {"1", "true"}}, ""},
    {"session.x64quantprecision", "avoid_saturation", {{"0", "false"}, {"1", "true"}}, ""},
    {"enable_profiling", "", {}, "hone keeps what the runtime executed with every measurement"},
    {"log_severity_level", "", {}, "hone has its own logs"},
    {"io_bind", "", {}, "hone binds inputs and outputs in every measurement"},
    {"tuning_op_result", "", {}, "hone has no tunable operators"},
    {"provider_options", "", {}, "hone has no options of providers"},
    {"provider_selection_policy", "", {}, "the target decides where the model runs"},
};

// Settings of ONNX Runtime that change how it loads or runs a model, of which hone keeps the default.
constexpr const char* kDefaultKept[] = {"session.disable_cpu_ep_fallback",
                                        "session.use_device_allocator_for_initializers",
                                        "session.use_env_allocators",
                                        "session.use_ort_model_bytes_directly",
                                        "session.load_model_format",
                                        "session.save_model_format",
                                        "session.intra_op_thread_affinities",
                                        "session.force_spinning_stop",
                                        "session.disable_aot_function_inlining",
                                        "session.disable_quant_qdq",
                                        "session.disable_double_qdq_remover",
                                        "session.qdqisint8allowed",
                                        "session.enable_dq_matmulnbits_fusion",
                                        "session.qdq_matmulnbits_block_size",
                                        "session.graph_optimizations_loop_level",
                                        "session.strict_shape_type_inference",
                                        "optimization.enable_cast_chain_elimination",
                                        "optimization.disable_specified_optimizers",
                                        "mlas.enable_gemm_fastmath_arm64_bfloat16",
                                        "mlas.use_lut_gemm",
                                        "ep.context_enable",
                                        "ep.context_embed_mode",
                                        "ep.context_file_path"};

Result<> TakeSetting(Import& import, const ConfigNode& node, const std::string& key) {
  const auto row =
      std::find_if(kSettings.begin(), kSettings.end(), [&](const SettingRow& each) { return key == each.key; });
  const bool kept =
      std::any_of(std::begin(kDefaultKept), std::end(kDefaultKept), [&](const char* each) { return key == each; });
  if (row == kSettings.end() && kept) {
    import.ledger.Tell(node, Fate::changed, "ONNX Runtime's default stays");
    return {};
  }
  if (row == kSettings.end()) {
    import.ledger.Tell(node, Fate::impossible, "hone has no such setting; `hone backends` tells those it has");
    return {};
  }
  if (node.IsNull() || *row->setting == '\0') {
    import.ledger.Tell(node, Fate::ignored, node.IsNull() ? "null is the default" : row->text);
    return {};
  }
  proto::Value value;
  if (row->words.empty()) {
    TRY_ASSIGN(const int64_t number, IntOf(node, 0, 4096));
    if (number == 0 && key.ends_with("threads")) {
      import.ledger.Tell(node, Fate::ignored, "0 leaves the threads to the runtime");
      return {};
    }
    value = IntValue(number);
  } else {
    TRY_ASSIGN(const Converted word, ToWord(node, row->words));
    value = ParseValue(word.value.text());
  }
  import.SetBackend("onnxruntime", row->setting, {value});
  import.ledger.Tell(node, Fate::done, fmt::format("backends.onnxruntime.{}", row->setting));
  return {};
}

}  // namespace

const std::vector<ProviderRow>& Providers() {
  static const std::vector<ProviderRow> rows = {
      {"CPUExecutionProvider", "onnxruntime", "cpu", "cpu"},
      {"OpenVINOExecutionProvider", "openvino", "openvino.", "cpu,gpu,npu"},
      {"CUDAExecutionProvider", "onnxruntime", "ort.cuda", "gpu"},
      {"TensorrtExecutionProvider", "onnxruntime", "ort.tensorrt", "gpu"},
      {"NvTensorRTRTXExecutionProvider", "onnxruntime", "ort.nvtensorrtrtx", "gpu"},
      {"DmlExecutionProvider", "onnxruntime", "ort.dml", "gpu,npu"},
      {"ROCMExecutionProvider", "onnxruntime", "ort.rocm", "gpu"},
      {"MIGraphXExecutionProvider", "onnxruntime", "ort.migraphx", "gpu"},
      {"QNNExecutionProvider", "onnxruntime", "ort.qnn", "npu,gpu,cpu"},
      {"VitisAIExecutionProvider", "onnxruntime", "ort.vitisai", "npu"},
      {"WebGpuExecutionProvider", "onnxruntime", "ort.webgpu", "gpu"},
      {"JsExecutionProvider", "onnxruntime", "ort.js", "gpu,cpu"},
  };
  return rows;
}

const ProviderRow* FindProvider(const std::string& name) {
  for (const ProviderRow& row : Providers()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

std::string TagFor(const ProviderRow& provider, const std::string& device) {
  const std::string tag = provider.tag;
  return tag.ends_with('.') ? tag + (device.empty() ? "cpu" : device) : tag;
}

Result<> ImportSystems(Olive& olive) {
  TRY_ASSIGN(const ConfigNode* target, Referred(olive, olive.target));
  TRY_ASSIGN(const ConfigNode* host, Referred(olive, olive.host));
  if (target == nullptr && olive.target == nullptr) target = host;
  // Olive takes the only system there is.
  if (target == nullptr && olive.target == nullptr && olive.systems.size() == 1) target = olive.systems.begin()->second;
  if (target != nullptr) TRY(TakeSystem(olive, *target, true));
  for (const auto& [name, system] : olive.systems) {
    if (system != target) TRY(TakeSystem(olive, *system, false));
  }
  if (host != nullptr && host != target) {
    TRY(TakeSystem(olive, *host, false));
    olive.ledger.Tell(*host, Fate::ignored, "every worker that has a pass may build");
  }
  if (olive.providers != nullptr) {
    SystemState state{olive, olive.ledger, true, {}};
    TRY(TakeProviders(state, *olive.providers));
  }
  SetOpenvinoDevices(olive);
  if (olive.import.recipe.targets_size() > 1) olive.import.recipe.set_skip_unavailable(true);
  return {};
}

Result<> ImportInferenceSettings(Import& import, const ConfigNode& settings) {
  if (!settings.IsMap()) return WrongKind(settings, "a map of settings");
  if (settings.entries.empty()) import.ledger.Tell(settings, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : settings.entries) {
    const bool inner = entry.key == "session_options" || entry.key == "extra_session_config" || entry.key == "onnx";
    if (inner && entry.value.IsMap()) {
      TRY(ImportInferenceSettings(import, entry.value));
    } else if (entry.key == "execution_provider") {
      import.ledger.Tell(entry.value, Fate::ignored, "the target decides where the model runs");
    } else {
      TRY(TakeSetting(import, entry.value, entry.key));
    }
  }
  return {};
}

void AddSystemKeys(std::vector<std::string>& keys) {
  AddKeys(kSystem, keys);
  AddKeys(kAccelerator, keys);
  for (const SettingRow& row : kSettings) keys.emplace_back(row.key);
}

}  // namespace hone::importers
