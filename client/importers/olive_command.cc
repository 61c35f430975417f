#include "client/importers/olive_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

using FlagKind = OliveFlagKind;

constexpr const char* kAll = "run run-pass auto-opt optimize quantize tune-session-params";
constexpr const char* kModelForms = "run run-pass auto-opt optimize quantize";
constexpr const char* kCheckpoint = "of exporting a checkpoint; hone takes the ONNX file";

bool Given(const OliveArguments& arguments, const std::string& key) { return arguments.contains(key); }

std::string OneOf(const OliveArguments& arguments, const std::string& key, const std::string& otherwise = "") {
  const auto found = arguments.find(key);
  return found == arguments.end() || found->second.empty() ? otherwise : found->second.front();
}

// Values of one or more words, or of one word with commas.
std::vector<std::string> ManyOf(const OliveArguments& arguments, const std::string& key) {
  std::vector<std::string> words;
  const auto found = arguments.find(key);
  if (found == arguments.end()) return words;
  for (const std::string& value : found->second) {
    for (const std::string& part : Split(value, ',')) {
      if (!Trim(part).empty()) words.emplace_back(Trim(part));
    }
  }
  return words;
}

bool IsOneOf(const std::string& list, const std::string& word) {
  const std::vector<std::string> words = Split(list, ' ');
  return std::find(words.begin(), words.end(), word) != words.end();
}

ConfigNode ListOf(const std::vector<std::string>& words) {
  std::vector<ConfigNode> items;
  for (const std::string& word : words) items.push_back(ScalarNode(ParseValue(word)));
  return ListNode(std::move(items));
}

// A pass with parameters as YAML writes them; "" leaves one out.
ConfigNode PassNode(const std::string& type, const std::vector<std::pair<std::string, std::string>>& parameters) {
  ConfigNode pass = MapNode();
  Add(pass, "type", TextNode(type));
  for (const auto& [key, value] : parameters) {
    if (!value.empty()) Add(pass, key, ScalarNode(ParseValue(value)));
  }
  return pass;
}

// --- which pass gives a precision ----------------------------------------------------------------

enum class Needs { nothing, no_data, data };

struct PrecisionRow {
  const char* precision;
  bool openvino;  // For OpenVINOExecutionProvider, else for the others.
  Needs needs;
  const char* pass;  // Olive's; "" where none is needed.
  std::vector<std::pair<std::string, std::string>> parameters;
};

const std::vector<PrecisionRow>& Precisions() {
  static const std::vector<PrecisionRow> rows = {
      {"fp32", false, Needs::nothing, "", {}},
      {"fp16", false, Needs::nothing, "OnnxFloatToFloat16", {{"keep_io_types", "true"}}},
      {"int8", false, Needs::no_data, "OnnxDynamicQuantization", {{"precision", "int8"}}},
      {"int8", false, Needs::data, "OnnxStaticQuantization", {{"precision", "int8"}, {"activation_type", "uint8"}}},
      {"uint8", false, Needs::no_data, "OnnxDynamicQuantization", {{"precision", "uint8"}}},
      {"uint8", false, Needs::data, "OnnxStaticQuantization", {{"precision", "uint8"}, {"activation_type", "uint8"}}},
      {"int16", false, Needs::data, "OnnxStaticQuantization", {{"precision", "int8"}, {"activation_type", "int16"}}},
      {"uint16", false, Needs::data, "OnnxStaticQuantization", {{"precision", "uint8"}, {"activation_type", "uint16"}}},
      {"int4", false, Needs::nothing, "OnnxBlockWiseRtnQuantization", {{"is_symmetric", "true"}}},
      {"uint4", false, Needs::nothing, "OnnxBlockWiseRtnQuantization", {{"is_symmetric", "false"}}},
      {"nf4", false, Needs::nothing, "OnnxBnb4Quantization", {{"precision", "nf4"}}},
      {"fp32", true, Needs::nothing, "", {}},
      {"bf16", true, Needs::nothing, "", {}},
      {"fp16", true, Needs::nothing, "OpenVINOConversion", {{"compress_to_fp16", "true"}}},
      {"int8", true, Needs::data, "OpenVINOQuantization", {}},
      {"int8", true, Needs::no_data, "OpenVINOWeightCompression", {{"mode", "int8_asym"}}},
      {"uint8", true, Needs::data, "OpenVINOQuantization", {}},
      {"uint8", true, Needs::no_data, "OpenVINOWeightCompression", {{"mode", "int8_asym"}}},
      {"int4", true, Needs::nothing, "OpenVINOWeightCompression", {{"mode", "int4_sym"}}},
      {"uint4", true, Needs::nothing, "OpenVINOWeightCompression", {{"mode", "int4_asym"}}},
      {"nf4", true, Needs::nothing, "OpenVINOWeightCompression", {{"mode", "nf4"}}},
  };
  return rows;
}

Result<const PrecisionRow*> FindPrecision(const std::string& precision, bool openvino, bool has_data) {
  bool without_data = false;
  std::vector<std::string> served;
  for (const PrecisionRow& row : Precisions()) {
    if (row.openvino != openvino) continue;
    const bool fits = row.needs == Needs::nothing || (row.needs == Needs::data) == has_data;
    if (precision == row.precision && fits) return &row;
    without_data = without_data || precision == row.precision;
    if (std::find(served.begin(), served.end(), row.precision) == served.end()) served.emplace_back(row.precision);
  }
  if (without_data) {
    return Fail(ErrorCode::kRejected,
                fmt::format("--precision {} measures activations, and there are no samples", precision),
                "Give some: --calibration D (an .npz with one array an input, or a folder of images)");
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("--precision {}: nothing here computes in it with {}", Printable(precision, 40),
                          openvino ? "OpenVINOExecutionProvider" : "this execution provider"),
              fmt::format("There are {}; bf16 is OpenVINO's", Join(served, ", ")));
}

// --- algorithms of `quantize` --------------------------------------------------------------------

struct AlgorithmRow {
  const char* algorithm;
  const char* precisions;  // "" for any.
  const char* pass;
  std::vector<std::pair<std::string, std::string>> parameters;
};

const std::vector<AlgorithmRow>& Algorithms() {
  static const std::vector<AlgorithmRow> rows = {
      {"rtn", "int4", "OnnxBlockWiseRtnQuantization", {{"is_symmetric", "true"}}},
      {"rtn", "uint4", "OnnxBlockWiseRtnQuantization", {{"is_symmetric", "false"}}},
      {"rtn", "nf4", "OnnxBnb4Quantization", {{"precision", "nf4"}}},
      {"hqq", "int4 uint4", "OnnxHqqQuantization", {}},
      {"kquant", "int4 uint4", "OnnxKQuantQuantization", {{"bits", "4"}}},
      {"kquant", "int8 uint8", "OnnxKQuantQuantization", {{"bits", "8"}}},
      {"gptq", "int4", "Gptq", {{"bits", "4"}, {"sym", "true"}}},
      {"gptq", "uint4", "Gptq", {{"bits", "4"}, {"sym", "false"}}},
      {"awq", "int4", "AutoAWQQuantizer", {{"bits", "4"}, {"sym", "true"}}},
      {"awq", "uint4", "AutoAWQQuantizer", {{"bits", "4"}, {"sym", "false"}}},
      {"quarot", "", "QuaRot", {}},
      {"spinquant", "", "SpinQuant", {}},
      {"lpbq", "", "AimetQuantization", {}},
      {"seqmse", "", "AimetQuantization", {}},
      {"adaround", "", "AimetQuantization", {}},
  };
  return rows;
}

// --- the parts of a configuration ----------------------------------------------------------------

Result<ConfigNode> SystemsOf(const std::string& form, const OliveArguments& arguments) {
  std::string device = Lower(OneOf(arguments, "device", ""));
  const std::string list = form == "tune-session-params" ? "providers_list" : "provider";
  std::vector<std::string> names = ManyOf(arguments, list);
  // Olive's default is the processor's; of another device the provider that most machines have for it.
  if (names.empty())
    names = {device == "gpu"   ? "CUDAExecutionProvider"
             : device == "npu" ? "QNNExecutionProvider"
                               : "CPUExecutionProvider"};
  for (const std::string& name : names) {
    const ProviderRow* provider = FindProvider(name);
    if (provider == nullptr) {
      std::vector<std::string> known;
      for (const ProviderRow& row : Providers()) known.emplace_back(row.name);
      return Fail(ErrorCode::kUsage,
                  fmt::format("--{}: there is no execution provider '{}'{}", list, Printable(name, 80),
                              DidYouMean(name, known)),
                  "There are " + Join(known, ", "));
    }
    const std::vector<std::string> devices = Split(provider->devices, ',');
    if (device.empty()) device = devices.front();
    if (std::find(devices.begin(), devices.end(), device) == devices.end()) {
      // Olive corrects the device of a provider that has one alone.
      if (devices.size() > 1 || std::string_view(provider->name) == "CPUExecutionProvider") {
        return Fail(ErrorCode::kUsage, fmt::format("{} does not run on device '{}'", name, Printable(device, 40)),
                    fmt::format("It runs on {}", Join(devices, ", ")));
      }
      device = devices.front();
    }
  }
  ConfigNode accelerator = MapNode();
  Add(accelerator, "device", TextNode(device));
  Add(accelerator, "execution_providers", ListOf(names));
  ConfigNode system = MapNode();
  Add(system, "type", TextNode("LocalSystem"));
  Add(system, "accelerators", ListNode({std::move(accelerator)}));
  ConfigNode systems = MapNode();
  Add(systems, "local_system", std::move(system));
  return systems;
}

// Fixed shapes by the names of dimensions: --dim_param of optimize, the long names of auto-opt.
void AddShapes(const OliveArguments& arguments, ConfigNode& passes) {
  static constexpr std::pair<const char*, const char*> kNames[] = {
      {"dim_param", "dim_value"}, {"dynamic-to-fixed-shape-dim-param", "dynamic-to-fixed-shape-dim-value"}};
  for (const auto& [names, values] : kNames) {
    if (!Given(arguments, names)) continue;
    ConfigNode pass = PassNode("DynamicToFixedShape", {});
    Add(pass, "dim_param", ListOf(ManyOf(arguments, names)));
    Add(pass, "dim_value", ListOf(ManyOf(arguments, values)));
    Add(passes, "fixed_shapes", std::move(pass));
  }
}

void AddSurgeries(const OliveArguments& arguments, ConfigNode& passes) {
  const std::vector<std::string> names = ManyOf(arguments, "surgeries");
  if (names.empty()) return;
  std::vector<ConfigNode> surgeries;
  for (const std::string& name : names) {
    ConfigNode surgery = MapNode();
    Add(surgery, "surgeon", TextNode(name));
    surgeries.push_back(std::move(surgery));
  }
  ConfigNode pass = PassNode("GraphSurgeries", {});
  Add(pass, "surgeries", ListNode(std::move(surgeries)));
  Add(passes, "surgeries", std::move(pass));
}

Result<> AddPrecision(const OliveArguments& arguments, bool has_data, ConfigNode& passes) {
  const bool openvino = OneOf(arguments, "provider") == "OpenVINOExecutionProvider";
  TRY_ASSIGN(const PrecisionRow* row, FindPrecision(OneOf(arguments, "precision", "fp32"), openvino, has_data));
  if (*row->pass == '\0') return {};
  std::vector<std::pair<std::string, std::string>> parameters = row->parameters;
  const std::string act = OneOf(arguments, "act_precision");
  for (auto& [key, value] : parameters) {
    if (key == "activation_type" && !act.empty()) value = act;
  }
  const std::string block = OneOf(arguments, "block_size");
  if (!block.empty() && std::string_view(row->pass) == "OnnxBlockWiseRtnQuantization")
    parameters.emplace_back("block_size", block);
  if (!block.empty() && std::string_view(row->pass) == "OpenVINOWeightCompression")
    parameters.emplace_back("group_size", block);
  Add(passes, "precision", PassNode(row->pass, parameters));
  return {};
}

Result<> AddAlgorithm(const OliveArguments& arguments, bool has_data, ConfigNode& passes) {
  const std::string algorithm = Lower(OneOf(arguments, "algorithm", "rtn"));
  const std::string precision = OneOf(arguments, "precision", "int8");
  std::vector<std::string> served;
  for (const AlgorithmRow& row : Algorithms()) {
    if (algorithm != row.algorithm) continue;
    if (*row.precisions == '\0' || IsOneOf(row.precisions, precision)) {
      Add(passes, "quantize", PassNode(row.pass, row.parameters));
      return {};
    }
    served.emplace_back(row.precisions);
  }
  if (algorithm == "rtn") return AddPrecision(arguments, has_data, passes);
  if (served.empty()) {
    return Fail(ErrorCode::kUsage, fmt::format("--algorithm: there is no '{}'", Printable(algorithm, 40)),
                "There are awq, gptq, hqq, kquant, rtn, spinquant, quarot, lpbq, seqmse and adaround");
  }
  return Fail(ErrorCode::kRejected, fmt::format("--algorithm {} does not give {}", algorithm, Printable(precision, 40)),
              fmt::format("It gives {}", Join(served, ", ")));
}

Result<> AddOnePass(const OliveArguments& arguments, ConfigNode& passes) {
  const std::string name = OneOf(arguments, "pass-name");
  if (name.empty()) return Fail(ErrorCode::kUsage, "--pass-name NAME is missing", "see `hone olive --help`");
  ConfigNode pass = PassNode(name, {});
  if (Given(arguments, "pass-config")) {
    TRY_ASSIGN(ConfigNode parameters, ParseConfig(OneOf(arguments, "pass-config"), "--pass-config"));
    for (ConfigEntry& entry : parameters.entries) {
      if (entry.key != "type") pass.entries.push_back(std::move(entry));
    }
  }
  Add(passes, Lower(name), std::move(pass));
  return {};
}

Result<> AddTuning(const OliveArguments& arguments, ConfigNode& passes) {
  ConfigNode pass = PassNode("OrtSessionParamsTuning", {});
  for (const char* key :
       {"cpu_cores", "execution_mode_list", "opt_level_list", "intra_thread_num_list", "inter_thread_num_list"}) {
    if (Given(arguments, key)) Add(pass, key, ListOf(ManyOf(arguments, key)));
  }
  for (const char* key :
       {"io_bind", "enable_cuda_graph", "trt_fp16_enable", "enable_profiling", "disable_force_evaluate_other_eps"}) {
    if (Given(arguments, key)) Add(pass, key, ScalarNode(BoolValue(true)));
  }
  if (Given(arguments, "extra_session_config")) {
    TRY_ASSIGN(ConfigNode extra, ParseConfig(OneOf(arguments, "extra_session_config"), "--extra_session_config"));
    Add(pass, "extra_session_config", std::move(extra));
  }
  Add(passes, "tuning", std::move(pass));
  return {};
}

Result<ConfigNode> PassesOf(const std::string& form, const OliveArguments& arguments, bool has_data) {
  ConfigNode passes = MapNode();
  if (form == "run-pass") {
    TRY(AddOnePass(arguments, passes));
    return passes;
  }
  if (form == "tune-session-params") {
    TRY(AddTuning(arguments, passes));
    return passes;
  }
  Add(passes, "peephole", PassNode("OnnxPeepholeOptimizer", {}));
  AddShapes(arguments, passes);
  AddSurgeries(arguments, passes);
  if (form == "quantize") {
    TRY(AddAlgorithm(arguments, has_data, passes));
  } else {
    TRY(AddPrecision(arguments, has_data, passes));
  }
  const bool pairs = Given(arguments, "use_qdq_encoding") || Given(arguments, "use_qdq_format");
  const ConfigNode* last = passes.entries.empty() ? nullptr : passes.entries.back().value.Find("type");
  const bool blocks = last != nullptr && last->value.text().find("RtnQ") != std::string::npos;
  if (pairs &&
      (blocks || (form == "quantize" && last != nullptr &&
                  (last->value.text() == "OnnxHqqQuantization" || last->value.text() == "OnnxKQuantQuantization")))) {
    ConfigNode pass = PassNode("MatMulNBitsToQDQ", {});
    Add(pass, "use_int4", ScalarNode(BoolValue(true)));
    Add(passes, "pairs", std::move(pass));
  }
  return passes;
}

}  // namespace

const std::vector<OliveFlag>& OliveFlags() {
  static const std::vector<OliveFlag> rows = {
      {"-m,--model_name_or_path", FlagKind::text, "MODEL", "the model, an ONNX file", kAll, ""},
      {"-o,--output_path", FlagKind::text, "DIR", "folder for the result", kAll, ""},
      {"--config,--run-config", FlagKind::text, "FILE", "of run: the configuration", "run", ""},
      {"--pass-name", FlagKind::text, "NAME", "of run-pass: Olive's pass", "run-pass", ""},
      {"--pass-config", FlagKind::text, "JSON", "of run-pass: its parameters", "run-pass", ""},
      {"--list-passes", FlagKind::toggle, "", "of run-pass: Olive's passes and what takes their place", "run-pass", ""},
      {"--device", FlagKind::text, "D", "cpu, gpu or npu", "run-pass auto-opt optimize tune-session-params", ""},
      {"--provider", FlagKind::text, "EP", "execution provider: CPUExecutionProvider, OpenVINOExecutionProvider ...",
       "run-pass auto-opt optimize", ""},
      {"--providers_list", FlagKind::list, "EP", "of tune-session-params: execution providers", "tune-session-params",
       ""},
      {"--precision", FlagKind::text, "P", "fp32, fp16, bf16, int8, uint8, int16, uint16, int4, uint4, nf4",
       "auto-opt optimize quantize", ""},
      {"--act_precision", FlagKind::text, "P", "of the activations: int8, uint8, int16, uint16", "optimize quantize",
       ""},
      {"--algorithm", FlagKind::text, "A", "of quantize: rtn, hqq, kquant, gptq, awq", "quantize", ""},
      {"--block_size", FlagKind::text, "N", "values that share a scale", "optimize", ""},
      {"--use_qdq_encoding", FlagKind::toggle, "", "pairs of quantize and dequantize instead of MatMulNBits",
       "auto-opt quantize", ""},
      {"--use_qdq_format", FlagKind::toggle, "", "the same", "optimize", ""},
      {"--surgeries", FlagKind::list, "S", "graph surgeons, separated by commas", "optimize", ""},
      {"--dim_param", FlagKind::list, "NAME", "dimensions to fix, separated by commas", "optimize", ""},
      {"--dim_value", FlagKind::list, "N", "their sizes", "optimize", ""},
      {"--dynamic-to-fixed-shape-dim-param", FlagKind::list, "NAME", "dimensions to fix", "auto-opt", ""},
      {"--dynamic-to-fixed-shape-dim-value", FlagKind::list, "N", "their sizes", "auto-opt", ""},
      {"-d,--data_name", FlagKind::text, "D", "samples: an .npz, or a folder", "auto-opt quantize", ""},
      {"--cpu_cores", FlagKind::text, "N", "of tune-session-params", "tune-session-params", ""},
      {"--execution_mode_list", FlagKind::list, "N", "of tune-session-params", "tune-session-params", ""},
      {"--opt_level_list", FlagKind::list, "N", "of tune-session-params", "tune-session-params", ""},
      {"--intra_thread_num_list", FlagKind::list, "N", "of tune-session-params", "tune-session-params", ""},
      {"--inter_thread_num_list", FlagKind::list, "N", "of tune-session-params", "tune-session-params", ""},
      {"--extra_session_config", FlagKind::text, "JSON", "of tune-session-params", "tune-session-params", ""},
      {"--io_bind", FlagKind::toggle, "", "", "tune-session-params",
       "hone binds inputs and outputs in every measurement"},
      {"--enable_cuda_graph", FlagKind::toggle, "", "of tune-session-params", "tune-session-params", ""},
      {"--trt_fp16_enable", FlagKind::toggle, "", "of tune-session-params", "tune-session-params", ""},
      {"--enable_profiling", FlagKind::toggle, "", "", "tune-session-params",
       "hone keeps what the runtime executed with every measurement"},
      {"--disable_force_evaluate_other_eps", FlagKind::toggle, "", "", "tune-session-params",
       "every target is measured"},
      {"--predict_with_kv_cache", FlagKind::toggle, "", "", "tune-session-params", "the model's inputs are the file's"},
      {"--dry_run", FlagKind::toggle, "", "print the recipe, run nothing", kAll, ""},
      {"--save_config_file", FlagKind::toggle, "", "keep the recipe in the output folder", kAll, ""},
      {"-t,--task", FlagKind::text, "", "", kModelForms, kCheckpoint},
      {"--trust_remote_code", FlagKind::toggle, "", "", kModelForms, kCheckpoint},
      {"--test", FlagKind::toggle, "", "", kModelForms, kCheckpoint},
      {"-a,--adapter_path", FlagKind::text, "", "", kModelForms, kCheckpoint},
      {"--model_script", FlagKind::text, "", "", kModelForms, kCheckpoint},
      {"--script_dir", FlagKind::text, "", "", kModelForms, kCheckpoint},
      {"--use_dynamo_exporter", FlagKind::toggle, "", "", "auto-opt", kCheckpoint},
      {"--use_model_builder", FlagKind::toggle, "", "", "auto-opt", kCheckpoint},
      {"--use_ort_genai", FlagKind::toggle, "", "", "auto-opt", "hone writes no genai_config.json"},
      {"--exporter", FlagKind::text, "", "", "optimize", kCheckpoint},
      {"--extra_mb_options", FlagKind::text, "", "", "optimize", kCheckpoint},
      {"--modality", FlagKind::text, "", "", "optimize", "hone looks at the graph"},
      {"--num-splits", FlagKind::text, "", "", "auto-opt", "hone does not split models"},
      {"--num_split", FlagKind::text, "", "", "optimize", "hone does not split models"},
      {"--cost-model", FlagKind::text, "", "", "auto-opt", "hone does not split models"},
      {"--memory", FlagKind::text, "", "", "run-pass auto-opt optimize tune-session-params", "of splitting models"},
      {"--mixed-precision-overrides-config", FlagKind::list, "", "", "auto-opt", "hone has no precision per tensor"},
      {"--enable_aot", FlagKind::toggle, "", "", "optimize", "hone compiles for no NPU"},
      {"--qnn_env_path", FlagKind::text, "", "", "optimize", "hone compiles for no NPU"},
      {"--implementation", FlagKind::text, "", "", "quantize", "hone has its own"},
      {"--split", FlagKind::text, "", "", "auto-opt quantize", "the samples are a file"},
      {"--subset", FlagKind::text, "", "", "auto-opt quantize", "the samples are a file"},
      {"--input_cols", FlagKind::list, "", "", "auto-opt quantize", "the samples are a file"},
      {"--data_files", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--text_field", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--text_template", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--use_chat_template", FlagKind::toggle, "", "", "quantize", "the samples are a file"},
      {"--max_seq_len", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--add_special_tokens", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--max_samples", FlagKind::text, "", "", "quantize", "the samples are a file"},
      {"--batch_size", FlagKind::text, "", "", "auto-opt quantize", "hone feeds sample by sample"},
      {"--list_required_packages", FlagKind::toggle, "", "", "run", "hone needs no Python packages"},
      {"--tempdir", FlagKind::text, "", "", "run", "hone keeps its state in the output folder"},
      {"--package-config", FlagKind::text, "", "", "run", "hone needs no Python packages"},
      {"--account_name", FlagKind::text, "", "", kAll, "a coordinator's workers share what they build"},
      {"--container_name", FlagKind::text, "", "", kAll, "a coordinator's workers share what they build"},
      {"--log_level", FlagKind::text, "", "", kAll, "hone has its own logs; -q silences progress"},
      {"--disable_telemetry", FlagKind::toggle, "", "", kAll, "hone sends nothing anywhere"},
  };
  return rows;
}

std::string KeyOf(const OliveFlag& flag) {
  for (const std::string& name : Split(flag.names, ',')) {
    if (name.starts_with("--")) return name.substr(2);
  }
  return "";
}

const std::vector<OliveForm>& OliveForms() {
  static const std::vector<OliveForm> rows = {
      {"run", "hone-output", ""},
      {"run-pass", "run-pass-output", ""},
      {"auto-opt", "auto-opt-output", ""},
      {"optimize", "optimized-model", ""},
      {"quantize", "quantized-model", ""},
      {"tune-session-params", "tuned-inference-settings", ""},
      {"init", "", "hone has no wizard: hone optimize MODEL -o DIR searches without a recipe"},
      {"capture-onnx-graph", "",
       "hone apply CHECKPOINT --pass build_decoder (or build_encoder) -o OUT makes ONNX of the families that it "
       "knows; others: export with Olive or PyTorch, then hone optimize MODEL.onnx"},
      {"benchmark", "",
       "hone runs no benchmark of language models: hone evaluate compares outputs, hone benchmark measures speed"},
      {"finetune", "", "hone trains nothing: train with Olive or PEFT, export, then hone optimize MODEL.onnx"},
      {"diffusion-lora", "", "hone trains nothing: train with Olive, export, then hone optimize MODEL.onnx"},
      {"generate-adapter", "", "adapters stay where the export put them: use Olive"},
      {"convert-adapters", "", "adapters stay where the export put them: use Olive"},
      {"extract-adapters", "", "adapters stay where the export put them: use Olive"},
      {"generate-cost-model", "", "hone does not split models; hone inspect MODEL tells operators and sizes"},
      {"generate-model-package", "", "hone writes plain folders: hone get JOB -o DIR"},
      {"shared-cache", "", "hone keeps no cache in the cloud: a coordinator's workers share what they build"},
      {"configure-qualcomm-sdk", "", "hone compiles for no NPU"},
  };
  return rows;
}

Result<> CheckArguments(const std::string& form, const OliveArguments& arguments) {
  const std::vector<OliveForm>& forms = OliveForms();
  const auto row = std::find_if(forms.begin(), forms.end(), [&](const OliveForm& each) { return form == each.name; });
  if (row == forms.end()) {
    std::vector<std::string> known;
    for (const OliveForm& each : forms) known.emplace_back(each.name);
    return Fail(ErrorCode::kUsage,
                fmt::format("Olive has no command '{}'{}", Printable(form, 80), DidYouMean(form, known)),
                "There are " + Join(known, ", "));
  }
  if (*row->instead != '\0')
    return Fail(ErrorCode::kRejected, fmt::format("`olive {}` is not for hone", form), row->instead);
  for (const OliveFlag& flag : OliveFlags()) {
    if (!Given(arguments, KeyOf(flag)) || IsOneOf(flag.forms, form)) continue;
    return Fail(ErrorCode::kUsage, fmt::format("`olive {}` has no option --{}", form, KeyOf(flag)),
                fmt::format("It is one of {}", flag.forms));
  }
  return {};
}

Result<ConfigNode> ConfigurationOf(const std::string& form, const OliveArguments& arguments, bool has_data) {
  ConfigNode root = MapNode();
  ConfigNode model = MapNode();
  Add(model, "type", TextNode("ONNXModel"));
  Add(root, "input_model", std::move(model));
  TRY_ASSIGN(ConfigNode systems, SystemsOf(form, arguments));
  Add(root, "systems", std::move(systems));
  Add(root, "target", TextNode("local_system"));
  TRY_ASSIGN(ConfigNode passes, PassesOf(form, arguments, has_data));
  Add(root, "passes", std::move(passes));
  Number(root);
  return root;
}

}  // namespace hone::importers
