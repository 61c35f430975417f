// Repositories of servers. What each server reads is told by its documentation; tests hold the configurations against
// it.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "client/exporters/formats.h"
#include "client/exporters/runtime_settings.h"
#include "common/base/strings.h"

namespace hone::exporters {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOtherRuntime =
    "OpenVINO runs it here, but it was measured on {}: measure it again with `hone benchmark --backend openvino`";

bool IsNumber(const std::string& dim) { return static_cast<bool>(ParseInteger(dim)); }

// The version whose folder the model goes to.
uint64_t VersionOf(const Exported& exported, const fs::path& folder, const OutputTree& tree) {
  return exported.version != 0 ? exported.version : tree.NextVersion(folder);
}

// --- OpenVINO Model Server ---

// The repository's configuration with this model in place of an earlier one of its name.
Result<Json> MergedConfig(const OutputTree& tree, const Json& model) {
  TRY_ASSIGN(const std::string earlier, tree.Earlier("config.json"));
  Json config = {{"model_config_list", Json::array()}};
  if (!earlier.empty()) {
    Json read = Json::parse(earlier, nullptr, false);
    if (!read.is_object() || !read.contains("model_config_list") || !read["model_config_list"].is_array()) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} is no configuration of a model server", (tree.folder() / "config.json").string()),
                  "name another folder with -o");
    }
    config = std::move(read);
  }
  Json& list = config["model_config_list"];
  const auto same = [&](const Json& entry) {
    return entry.is_object() && entry.contains("config") && entry["config"].value("name", "") == model["name"];
  };
  list.erase(std::remove_if(list.begin(), list.end(), same), list.end());
  list.push_back({{"config", model}});
  return config;
}

// --- Triton ---

struct TritonType {
  const char* element;
  const char* type;
};
constexpr TritonType kTritonTypes[] = {{"float32", "TYPE_FP32"},  {"float16", "TYPE_FP16"},  {"bfloat16", "TYPE_BF16"},
                                       {"float64", "TYPE_FP64"},  {"int8", "TYPE_INT8"},     {"int16", "TYPE_INT16"},
                                       {"int32", "TYPE_INT32"},   {"int64", "TYPE_INT64"},   {"uint8", "TYPE_UINT8"},
                                       {"uint16", "TYPE_UINT16"}, {"uint32", "TYPE_UINT32"}, {"uint64", "TYPE_UINT64"},
                                       {"bool", "TYPE_BOOL"},     {"string", "TYPE_STRING"}};

// A text of the protobuf text format.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

Result<std::string> TritonTensor(const proto::TensorInfo& tensor, bool batched) {
  const auto row = std::find_if(std::begin(kTritonTypes), std::end(kTritonTypes),
                                [&](const TritonType& r) { return tensor.type() == r.element; });
  if (row == std::end(kTritonTypes)) {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' has type {}, which Triton does not know",
                                                  Printable(tensor.name(), 200), tensor.type()));
  }
  std::vector<std::string> dims;
  for (int d = batched ? 1 : 0; d < tensor.dims_size(); ++d)
    dims.push_back(IsNumber(tensor.dims(d)) ? tensor.dims(d) : "-1");
  // Triton has no tensors without dimensions: one of one element stands for them.
  const std::string shape =
      dims.empty() ? "dims: [ 1 ]\n    reshape { shape: [ ] }" : "dims: [ " + Join(dims, ", ") + " ]";
  return fmt::format("  {{\n    name: {}\n    data_type: {}\n    {}\n  }}", Quoted(tensor.name()), row->type, shape);
}

Result<std::string> TritonTensors(const char* field,
                                  const google::protobuf::RepeatedPtrField<proto::TensorInfo>& tensors, bool batched) {
  std::vector<std::string> texts;
  for (const proto::TensorInfo& tensor : tensors) {
    TRY_ASSIGN(std::string text, TritonTensor(tensor, batched));
    texts.push_back(std::move(text));
  }
  return fmt::format("{} [\n{}\n]\n", field, Join(texts, ",\n"));
}

// Requests may be put together where the first dimension of everything is free.
bool IsBatchFree(const proto::InspectResult& info) {
  const auto free = [](const auto& tensors) {
    return std::all_of(tensors.begin(), tensors.end(),
                       [](const proto::TensorInfo& t) { return t.dims_size() > 0 && !IsNumber(t.dims(0)); });
  };
  return info.inputs_size() > 0 && free(info.inputs()) && free(info.outputs());
}

std::string TritonParameter(const std::string& key, const std::string& value) {
  return fmt::format("parameters {{ key: {} value {{ string_value: {} }} }}\n", Quoted(key), Quoted(value));
}

struct TritonRuntime {
  const char* format;
  const char* backend;
};
constexpr TritonRuntime kTritonRuntimes[] = {{"onnx", "onnxruntime"}, {"openvino_ir", "openvino"}};

// Triton's word for a level of ONNX Runtime's: all is its default, and it has no word for the others.
std::string TritonLevel(const Json& level) {
  if (level == 1) return "optimization { graph { level: -1 } }\n";
  return level == 2 ? "optimization { graph { level: 1 } }\n" : "";
}

std::string OnnxruntimeParameters(const Exported& exported, Notes& notes) {
  std::string text;
  for (const OnnxruntimeOption& option : OnnxruntimeOptionsOf(exported.settings)) {
    const bool is_level = option.olive_key == "graph_optimization_level";
    const bool is_default = is_level && option.olive_value == 99;
    const std::string level = is_level ? TritonLevel(option.olive_value) : "";
    if (!option.triton_key.empty()) {
      text += TritonParameter(option.triton_key, option.triton_value);
    } else if (!level.empty()) {
      text += level;
    } else if (!is_default) {
      notes.push_back(fmt::format("Triton cannot set {}; it runs with the default there", option.python));
    }
  }
  return text;
}

std::string OpenvinoParameters(const Exported& exported) {
  std::string text;
  const OpenvinoProperties properties = OpenvinoPropertiesOf(exported.settings);
  for (const auto& [name, value] : properties.values) text += TritonParameter(name, value);
  return text;
}

}  // namespace

Result<Notes> WriteModelServer(const Exported& exported, OutputTree& tree) {
  Notes notes;
  const fs::path folder = fs::path("models") / exported.name;
  TRY(tree.Model(exported.model, folder / std::to_string(VersionOf(exported, folder, tree)), "model"));
  const bool measured_there = exported.backend == "openvino";
  const OpenvinoProperties properties = OpenvinoPropertiesOf(measured_there ? exported.settings : Settings());
  Json plugin = Json::object();
  for (const auto& [name, value] : properties.values) plugin[name] = value;
  Json model = {{"name", exported.name},
                {"base_path", folder.string()},
                {"target_device", properties.device},
                {"model_version_policy", {{"latest", {{"num_versions", 1}}}}}};
  if (!exported.batch.empty()) {
    const Result<int64_t> number = ParseInteger(exported.batch);
    model["batch_size"] = number ? Json(*number) : Json(exported.batch);
  }
  model["plugin_config"] = plugin;
  TRY_ASSIGN(const Json config, MergedConfig(tree, model));
  TRY(tree.Text("config.json", config.dump(2) + "\n"));
  if (!measured_there) notes.push_back(fmt::format(fmt::runtime(kOtherRuntime), exported.backend));
  notes.push_back(
      "Serve it from this folder: `ovms --config_path config.json --port 9000 --rest_port 8000`; in a container mount "
      "the folder and name the file's path there");
  return notes;
}

Result<Notes> WriteTritonRepository(const Exported& exported, const fs::path& folder, OutputTree& tree) {
  const std::string& format = exported.model.bundle().format();
  const auto runtime = std::find_if(std::begin(kTritonRuntimes), std::end(kTritonRuntimes),
                                    [&](const TritonRuntime& r) { return format == r.format; });
  if (runtime == std::end(kTritonRuntimes)) {
    return Fail(ErrorCode::kRejected, fmt::format("Triton runs no {} models here", format),
                "convert it first: hone apply MODEL --pass openvino_ir -o DIR");
  }
  Notes notes;
  const fs::path place = folder / exported.name;
  TRY_ASSIGN(const fs::path opened,
             tree.Model(exported.model, place / std::to_string(VersionOf(exported, place, tree)), "model"));
  const bool batched = IsBatchFree(exported.info);
  std::string text =
      fmt::format("name: {}\nbackend: {}\nmax_batch_size: {}\ndefault_model_filename: {}\n", Quoted(exported.name),
                  Quoted(runtime->backend), batched ? exported.max_batch : 0, Quoted(opened.filename().string()));
  TRY_ASSIGN(const std::string inputs, TritonTensors("input", exported.info.inputs(), batched));
  TRY_ASSIGN(const std::string outputs, TritonTensors("output", exported.info.outputs(), batched));
  text += inputs + outputs;
  if (batched) text += "dynamic_batching { }\n";
  text += "instance_group [ { kind: KIND_CPU count: 1 } ]\n";
  const bool measured_there = exported.backend == runtime->backend;
  if (!measured_there)
    notes.push_back(fmt::format("Triton runs it in {}, but it was measured on {}", runtime->backend, exported.backend));
  else
    text += exported.backend == "openvino" ? OpenvinoParameters(exported) : OnnxruntimeParameters(exported, notes);
  TRY(tree.Text(place / "config.pbtxt", text));
  return notes;
}

Result<Notes> WriteTriton(const Exported& exported, OutputTree& tree) {
  TRY_ASSIGN(Notes notes, WriteTritonRepository(exported, "", tree));
  notes.push_back("Serve it from this folder: `tritonserver --model-repository=.`");
  return notes;
}

Result<Notes> WriteKserve(const Exported& exported, OutputTree& tree) {
  TRY_ASSIGN(Notes notes, WriteTritonRepository(exported, "storage", tree));
  const std::string uri = exported.storage_uri.empty() ? "pvc://" + exported.name + "/storage" : exported.storage_uri;
  // Names of objects in a cluster have lower-case letters, digits and '-'.
  std::string object;
  for (const char c : exported.name)
    object += std::isalnum(static_cast<unsigned char>(c)) != 0
                  ? static_cast<char>(std::tolower(static_cast<unsigned char>(c)))
                  : '-';
  while (!object.empty() && object.back() == '-') object.pop_back();
  while (!object.empty() && object.front() == '-') object.erase(0, 1);
  if (object.empty()) object = "model";
  TRY(tree.Text("inference_service.yaml", fmt::format("apiVersion: serving.kserve.io/v1beta1\n"
                                                      "kind: InferenceService\n"
                                                      "metadata:\n"
                                                      "  name: {}\n"
                                                      "spec:\n"
                                                      "  predictor:\n"
                                                      "    model:\n"
                                                      "      modelFormat:\n"
                                                      "        name: triton\n"
                                                      "      protocolVersion: v2\n"
                                                      "      runtime: kserve-tritonserver\n"
                                                      "      storageUri: {}\n",
                                                      object.substr(0, 63), Json(uri).dump())));
  notes.push_back(fmt::format(
      "Copy `storage/` to {} and apply `inference_service.yaml`; its names of tensors are those of the model", uri));
  return notes;
}

}  // namespace hone::exporters
