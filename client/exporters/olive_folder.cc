// The folder that `olive run` leaves: the model with its configuration, and the footprint of how it came about. Olive's
// own loader reads it (tests/export holds it against Olive 0.13 where that is installed).
#include <fmt/format.h>

#include <algorithm>

#include "client/exporters/formats.h"
#include "client/exporters/runtime_settings.h"
#include "client/json_output.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone::exporters {
namespace {

namespace fs = std::filesystem;

// The pass of Olive's whose place a pass takes; others stand under hone's name.
struct OlivePassRow {
  const char* pass;
  const char* olive;
};
constexpr OlivePassRow kOliveNames[] = {{"simplify", "OnnxPeepholeOptimizer"},
                                        {"fix_shapes", "DynamicToFixedShape"},
                                        {"convert_opset", "OnnxOpVersionConversion"},
                                        {"fuse_transformer", "OrtTransformersOptimization"},
                                        {"ort_optimize", "OrtTransformersOptimization"},
                                        {"fp16", "OnnxFloatToFloat16"},
                                        {"dynamic_int8", "OnnxDynamicQuantization"},
                                        {"static_int8", "OnnxStaticQuantization"},
                                        {"weights_int4", "OnnxBlockWiseRtnQuantization"},
                                        {"weights_int8", "OnnxBlockWiseRtnQuantization"},
                                        {"openvino_ir", "OpenVINOConversion"},
                                        {"openvino_int8", "OpenVINOQuantization"},
                                        {"openvino_weights", "OpenVINOWeightCompression"},
                                        {"graph_surgeries", "GraphSurgeries"}};

std::string OliveName(const std::string& pass) {
  for (const OlivePassRow& row : kOliveNames) {
    if (pass == row.pass) return row.olive;
  }
  return pass;
}

// Metrics in Olive's words: "<metric>-<sub type>".
struct OliveMetricRow {
  const char* metric;
  const char* olive;
  bool higher_is_better;
};
constexpr OliveMetricRow kOliveMetrics[] = {{"accuracy", "accuracy-accuracy_score", true},
                                            {"latency_ms_p50", "latency-p50", false},
                                            {"latency_ms_p90", "latency-p90", false},
                                            {"throughput_per_s", "throughput-avg", true},
                                            {"size_bytes", "size_on_disk-bytes", false},
                                            {"top1", "accuracy-top1", true},
                                            {"cosine", "accuracy-cosine", true}};

std::string ShortId(const std::string& digest) {
  const size_t colon = digest.find(':');
  return digest.substr(colon == std::string::npos ? 0 : colon + 1, 8);
}

Json OliveMetricsOf(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  Json values = Json::object();
  int priority = 0;
  for (const OliveMetricRow& row : kOliveMetrics) {
    const proto::Metric* metric = FindMetric(metrics, row.metric);
    if (metric == nullptr) continue;
    values[row.olive] = {
        {"value", metric->value()}, {"priority", ++priority}, {"higher_is_better", row.higher_is_better}};
  }
  return values;
}

Json FootprintMetrics(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics, bool goals_met) {
  const Json values = OliveMetricsOf(metrics);
  if (values.empty()) return nullptr;
  Json directions = Json::object();
  for (const auto& [name, value] : values.items()) directions[name] = value["higher_is_better"].get<bool>() ? 1 : -1;
  return {{"value", values}, {"cmp_direction", directions}, {"if_goals_met", goals_met}};
}

Json SessionOptions(const Exported& exported) {
  Json options = Json::object();
  Json entries = Json::object();
  for (const OnnxruntimeOption& option : OnnxruntimeOptionsOf(exported.settings)) {
    if (option.entry.empty())
      options[option.olive_key] = option.olive_value;
    else
      entries[option.entry] = option.entry_value;
  }
  if (!entries.empty()) options["extra_session_config"] = entries;
  return options;
}

Json InferenceSettings(const Exported& exported) {
  if (exported.backend == "onnxruntime") {
    return {{"session_options", SessionOptions(exported)},
            {"execution_provider", Json::array({"CPUExecutionProvider"})}};
  }
  Json provider = Json::object();
  const OpenvinoProperties properties = OpenvinoPropertiesOf(exported.settings);
  provider["device_type"] = properties.device;
  return {{"execution_provider", Json::array({"OpenVINOExecutionProvider"})},
          {"provider_options", Json::array({provider})}};
}

Json OnnxConfig(const std::string& path, const Json& inference) {
  return {{"type", "onnxmodel"},
          {"config",
           {{"model_path", path},
            {"onnx_file_name", nullptr},
            {"inference_settings", inference},
            {"use_ort_extensions", false},
            {"external_initializers_file_name", nullptr},
            {"constant_inputs_file_name", nullptr},
            {"model_attributes", nullptr}}}};
}

Json ConfigOf(const Exported& exported, const fs::path& opened) {
  const bool onnx = exported.model.bundle().format() == "onnx";
  if (onnx) return OnnxConfig(opened.string(), InferenceSettings(exported));
  return {{"type", "openvinomodel"},
          {"config",
           {{"model_path", opened.parent_path().string()},
            {"inference_settings", InferenceSettings(exported)},
            {"model_attributes", nullptr}}}};
}

// `model_config_data` is what Olive 0.13 writes, `model_config` what it reads, as versions before it do.
Json Node(const std::string& id, const Json& parent, const Json& config, const Json& pass, const Json& parameters,
          const Json& metrics) {
  return {{"parent_model_id", parent},   {"model_id", id},
          {"model_config", config},      {"model_config_data", config},
          {"from_pass", pass},           {"pass_run_config", parameters},
          {"is_pareto_frontier", false}, {"metrics", metrics},
          {"start_time", 0.0},           {"end_time", 0.0}};
}

// One node a step from the input model on; the last is the model that was exported. A step's file is not kept, so only
// the ends have a configuration.
Json FootprintOf(const Exported& exported, const Json& config) {
  Json footprint = Json::object();
  const std::string last = ShortId(BundleId(exported.model.bundle()));
  if (!exported.origin) {
    footprint[last] = Node(last, nullptr, config, nullptr, nullptr, nullptr);
    return footprint;
  }
  const proto::GetOriginReply& origin = *exported.origin;
  std::string parent = ShortId(BundleId(origin.request().model()));
  const Json source = OnnxConfig(exported.source_name, nullptr);
  footprint[parent] = Node(parent, nullptr, origin.steps_size() == 0 ? config : source, nullptr, nullptr,
                           FootprintMetrics(origin.baseline().metrics(), true));
  for (int i = 0; i < origin.steps_size(); ++i) {
    const auto& step = origin.steps(i);
    const bool is_last = i + 1 == origin.steps_size();
    const std::string id = is_last            ? last
                           : step.has_model() ? ShortId(BundleId(step.model()))
                                              : fmt::format("step{:04}", i + 1);
    Json node = Node(id, parent, is_last ? config : Json(nullptr), OliveName(step.step().pass()),
                     ParametersJson(step.step().parameters()),
                     is_last ? FootprintMetrics(origin.trial().metrics(), true) : Json(nullptr));
    node["is_pareto_frontier"] = is_last;
    footprint[id] = node;
    parent = id;
  }
  return footprint;
}

}  // namespace

Result<Notes> WriteOlive(const Exported& exported, OutputTree& tree) {
  const std::string& format = exported.model.bundle().format();
  if (format != "onnx" && format != "openvino_ir") {
    return Fail(ErrorCode::kRejected, fmt::format("Olive keeps no {} models", format),
                "convert it first: hone apply MODEL --pass openvino_ir -o DIR");
  }
  TRY_ASSIGN(const fs::path opened, tree.Model(exported.model, "", "model"));
  const Json config = ConfigOf(exported, fs::absolute(tree.folder() / opened).lexically_normal());
  TRY(tree.Text("model_config.json", config.dump(4) + "\n"));
  TRY(tree.Text("footprint.json", FootprintOf(exported, config).dump(4) + "\n"));
  Notes notes = {"`model_config.json` names this folder, as Olive's own does: write it again after moving the folder"};
  if (exported.origin && exported.origin->trial().metrics_size() > 0) {
    TRY(tree.Text("metrics.json", OliveMetricsOf(exported.origin->trial().metrics()).dump(4) + "\n"));
    TRY(tree.Text("input_model_metrics.json", OliveMetricsOf(exported.origin->baseline().metrics()).dump(4) + "\n"));
  }
  return notes;
}

}  // namespace hone::exporters
