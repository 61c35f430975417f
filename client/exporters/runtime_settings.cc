#include "client/exporters/runtime_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "common/recipe/value.h"

namespace hone::exporters {
namespace {

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

// Enumerations are written in capitals, booleans as YES and NO, types and numbers as they are.
enum class Spelling { capitals, yes_no, as_is };

struct PropertyRow {
  const char* setting;
  const char* property;
  Spelling spelling;
};
constexpr PropertyRow kProperties[] = {
    {"hint", "PERFORMANCE_HINT", Spelling::capitals},
    {"inference_precision", "INFERENCE_PRECISION_HINT", Spelling::as_is},
    {"threads", "INFERENCE_NUM_THREADS", Spelling::as_is},
    {"streams", "NUM_STREAMS", Spelling::as_is},
    {"num_requests", "PERFORMANCE_HINT_NUM_REQUESTS", Spelling::as_is},
    {"cpu_pinning", "ENABLE_CPU_PINNING", Spelling::yes_no},
    {"hyper_threading", "ENABLE_HYPER_THREADING", Spelling::yes_no},
    {"execution_mode", "EXECUTION_MODE_HINT", Spelling::capitals},
    {"dynamic_quantization_group_size", "DYNAMIC_QUANTIZATION_GROUP_SIZE", Spelling::as_is},
    {"kv_cache_precision", "KV_CACHE_PRECISION", Spelling::as_is},
    {"sparse_weights_rate", "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE", Spelling::as_is},
};

std::string Spelled(const proto::Value& value, Spelling spelling) {
  if (spelling == Spelling::capitals) return Upper(ToText(value));
  if (spelling == Spelling::yes_no) return value.boolean() ? "YES" : "NO";
  return ToText(value);
}

struct LevelRow {
  const char* name;
  const char* python;
  const char* cpp;
  int number;
};
constexpr LevelRow kLevels[] = {{"disabled", "ORT_DISABLE_ALL", "ORT_DISABLE_ALL", 0},
                                {"basic", "ORT_ENABLE_BASIC", "ORT_ENABLE_BASIC", 1},
                                {"extended", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_EXTENDED", 2},
                                {"layout", "ORT_ENABLE_LAYOUT", "ORT_ENABLE_LAYOUT", 3},
                                {"all", "ORT_ENABLE_ALL", "ORT_ENABLE_ALL", 99}};

OnnxruntimeOption Threads(const char* python, const char* cpp, const char* triton, const proto::Value& value) {
  OnnxruntimeOption option;
  const std::string count = ToText(value);
  option.python = fmt::format("options.{} = {}", python, count);
  option.cpp = fmt::format("options.{}({});", cpp, count);
  option.olive_key = python;
  option.olive_value = value.integer();
  option.triton_key = triton;
  option.triton_value = count;
  return option;
}

OnnxruntimeOption Switch(const char* python, const char* cpp, const char* triton, const proto::Value& value) {
  OnnxruntimeOption option;
  option.python = fmt::format("options.{} = {}", python, value.boolean() ? "True" : "False");
  option.cpp = fmt::format("options.{}{}();", value.boolean() ? "Enable" : "Disable", cpp);
  option.olive_key = python;
  option.olive_value = value.boolean();
  option.triton_key = triton;
  option.triton_value = value.boolean() ? "1" : "0";
  return option;
}

OnnxruntimeOption Entry(const char* key, const std::string& value) {
  OnnxruntimeOption option;
  option.python = fmt::format("options.add_session_config_entry(\"{}\", \"{}\")", key, value);
  option.cpp = fmt::format("options.AddConfigEntry(\"{}\", \"{}\");", key, value);
  option.entry = key;
  option.entry_value = value;
  return option;
}

using Options = std::vector<OnnxruntimeOption>;

Options Level(const proto::Value& value) {
  for (const LevelRow& level : kLevels) {
    if (value.text() != level.name) continue;
    OnnxruntimeOption option;
    option.python =
        fmt::format("options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{}", level.python);
    option.cpp = fmt::format("options.SetGraphOptimizationLevel(GraphOptimizationLevel::{});", level.cpp);
    option.olive_key = "graph_optimization_level";
    option.olive_value = level.number;
    return {option};
  }
  return {};
}

Options Execution(const proto::Value& value) {
  const bool parallel = value.text() == "parallel";
  OnnxruntimeOption option;
  option.python = fmt::format("options.execution_mode = onnxruntime.ExecutionMode.{}",
                              parallel ? "ORT_PARALLEL" : "ORT_SEQUENTIAL");
  option.cpp =
      fmt::format("options.SetExecutionMode(ExecutionMode::{});", parallel ? "ORT_PARALLEL" : "ORT_SEQUENTIAL");
  option.olive_key = "execution_mode";
  option.olive_value = parallel ? 1 : 0;
  option.triton_key = "execution_mode";
  option.triton_value = parallel ? "1" : "0";
  return {option};
}

std::string OneOrNot(const proto::Value& value) { return value.boolean() ? "1" : "0"; }

struct SessionRow {
  const char* setting;
  Options (*options)(const proto::Value& value);
};
constexpr SessionRow kSession[] = {
    {"intra_op_threads",
     [](const proto::Value& v) {
       return Options{Threads("intra_op_num_threads", "SetIntraOpNumThreads", "intra_op_thread_count", v)};
     }},
    {"inter_op_threads",
     [](const proto::Value& v) {
       return Options{Threads("inter_op_num_threads", "SetInterOpNumThreads", "inter_op_thread_count", v)};
     }},
    {"graph_optimization", Level},
    {"execution_mode", Execution},
    {"allow_spinning",
     [](const proto::Value& v) {
       return Options{Entry("session.intra_op.allow_spinning", OneOrNot(v)),
                      Entry("session.inter_op.allow_spinning", OneOrNot(v))};
     }},
    {"memory_pattern",
     [](const proto::Value& v) {
       return Options{Switch("enable_mem_pattern", "MemPattern", "enable_mem_pattern", v)};
     }},
    {"cpu_arena",
     [](const proto::Value& v) {
       return Options{Switch("enable_cpu_mem_arena", "CpuMemArena", "enable_mem_arena", v)};
     }},
    {"dynamic_block_base",
     [](const proto::Value& v) { return Options{Entry("session.dynamic_block_base", ToText(v))}; }},
    {"denormal_as_zero",
     [](const proto::Value& v) { return Options{Entry("session.set_denormal_as_zero", OneOrNot(v))}; }},
    {"prepacking",
     [](const proto::Value& v) { return Options{Entry("session.disable_prepacking", v.boolean() ? "0" : "1")}; }},
    {"matmulnbits_accuracy_level",
     [](const proto::Value& v) { return Options{Entry("session.qdq_matmulnbits_accuracy_level", ToText(v))}; }},
    {"qdq_cleanup",
     [](const proto::Value& v) { return Options{Entry("session.enable_quant_qdq_cleanup", OneOrNot(v))}; }},
    {"gelu_approximation",
     [](const proto::Value& v) { return Options{Entry("optimization.enable_gelu_approximation", OneOrNot(v))}; }},
    {"avoid_saturation",
     [](const proto::Value& v) { return Options{Entry("session.x64quantprecision", OneOrNot(v))}; }},
};

}  // namespace

OpenvinoProperties OpenvinoPropertiesOf(const Settings& settings) {
  OpenvinoProperties properties;
  const proto::Value* device = Find(settings, "device");
  if (device != nullptr) properties.device = device->text();
  const proto::Value* hint = Find(settings, "hint");
  if (hint == nullptr) properties.values.emplace_back("PERFORMANCE_HINT", "LATENCY");
  for (const PropertyRow& row : kProperties) {
    const proto::Value* value = Find(settings, row.setting);
    const bool is_none = value != nullptr && value == hint && value->text() == "none";
    if (value != nullptr && !is_none) properties.values.emplace_back(row.property, Spelled(*value, row.spelling));
  }
  return properties;
}

std::vector<OnnxruntimeOption> OnnxruntimeOptionsOf(const Settings& settings) {
  std::vector<OnnxruntimeOption> options;
  for (const SessionRow& row : kSession) {
    const proto::Value* value = Find(settings, row.setting);
    if (value == nullptr) continue;
    for (OnnxruntimeOption& option : row.options(*value)) options.push_back(std::move(option));
  }
  return options;
}

}  // namespace hone::exporters
