#include "client/exporters/manifest.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "client/json_output.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::exporters {
namespace {

constexpr const char* kSchema = "hone.manifest/1";

Json BundleJson(const proto::Bundle& bundle) {
  Json files = Json::array();
  for (const proto::File& file : bundle.files()) {
    files.push_back({{"path", file.path()}, {"digest", file.digest()}, {"size_bytes", file.size_bytes()}});
  }
  return {{"id", BundleId(bundle)}, {"format", bundle.format()}, {"main", bundle.main()}, {"files", files}};
}

// Messages without a JSON of their own here, with the field names of the proto files.
Json MessageJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  return Json::parse(text, nullptr, false);
}

Json StepJson(const ManifestStep& step) {
  Json json = {{"pass", step.step.pass()}, {"version", step.version}};
  if (!step.program_version.empty()) json["program_version"] = step.program_version;
  json["params"] = ParametersJson(step.step.parameters());
  json["made"] = step.made ? BundleJson(*step.made) : Json(nullptr);
  return json;
}

// Reads typed members of one object; the first that is wrong is the error.
class Members {
 public:
  Members(const Json& object, std::string place) : object_(object), place_(std::move(place)) {}

  std::string Text(const char* key, bool required = true) {
    const Json* value = Take(key, required);
    if (value == nullptr) return {};
    if (!value->is_string()) return Wrong(key, "a text"), std::string();
    return value->get<std::string>();
  }
  uint64_t Number(const char* key) {
    const Json* value = Take(key, true);
    if (value == nullptr) return 0;
    if (!value->is_number_unsigned() && !(value->is_number_integer() && value->get<int64_t>() >= 0))
      return Wrong(key, "a whole number"), 0;
    return value->get<uint64_t>();
  }
  // nullptr: not there, or null.
  const Json* Object(const char* key, bool required = true) {
    const Json* value = Take(key, required);
    if (value != nullptr && !value->is_object()) Wrong(key, "an object");
    return value != nullptr && value->is_object() ? value : nullptr;
  }
  const Json* List(const char* key) {
    const Json* value = Take(key, true);
    if (value != nullptr && !value->is_array()) Wrong(key, "a list");
    return value != nullptr && value->is_array() ? value : nullptr;
  }
  std::string PlaceOf(const char* key) const { return place_.empty() ? key : place_ + "." + key; }
  Result<> Done() const {
    if (error_.empty()) return {};
    return Fail(ErrorCode::kRejected, error_);
  }

 private:
  const Json* Take(const char* key, bool required) {
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null()) return &*found;
    if (required && error_.empty()) error_ = fmt::format("{} is missing", PlaceOf(key));
    return nullptr;
  }
  void Wrong(const char* key, const char* what) {
    if (error_.empty()) error_ = fmt::format("{} must be {}", PlaceOf(key), what);
  }

  const Json& object_;
  std::string place_;
  std::string error_;
};

Result<proto::Bundle> ReadBundle(const Json& object, const std::string& place) {
  Members members(object, place);
  proto::Bundle bundle;
  bundle.set_format(members.Text("format"));
  bundle.set_main(members.Text("main"));
  const std::string id = members.Text("id");
  const Json* files = members.List("files");
  TRY(members.Done());
  for (const Json& entry : *files) {
    if (!entry.is_object()) return Fail(ErrorCode::kRejected, fmt::format("{}.files must hold objects", place));
    Members file(entry, place + ".files");
    proto::File& added = *bundle.add_files();
    added.set_path(file.Text("path"));
    added.set_digest(file.Text("digest"));
    added.set_size_bytes(file.Number("size_bytes"));
    TRY(file.Done());
  }
  const Result<> sound = CheckBundle(bundle);
  if (!sound) return FailWith(place, sound.error());
  if (BundleId(bundle) != id) return Fail(ErrorCode::kRejected, fmt::format("{}.id is not that of its files", place));
  return bundle;
}

Result<google::protobuf::RepeatedPtrField<proto::Parameter>> ReadParameters(const Json& object,
                                                                            const std::string& place) {
  google::protobuf::RepeatedPtrField<proto::Parameter> parameters;
  std::vector<std::string> names;
  for (const auto& [name, value] : object.items()) names.push_back(name);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const Json& value = object.at(name);
    proto::Parameter& parameter = *parameters.Add();
    parameter.set_name(name);
    if (value.is_boolean())
      *parameter.mutable_value() = BoolValue(value.get<bool>());
    else if (value.is_number_integer())
      *parameter.mutable_value() = IntValue(value.get<int64_t>());
    else if (value.is_number())
      *parameter.mutable_value() = RealValue(value.get<double>());
    else if (value.is_string())
      *parameter.mutable_value() = TextValue(value.get<std::string>());
    else
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}.{} must be a number, a text, true or false", place, Printable(name, 100)));
  }
  return parameters;
}

Result<ManifestStep> ReadStep(const Json& entry, const std::string& place) {
  if (!entry.is_object()) return Fail(ErrorCode::kRejected, place + " must be an object");
  Members members(entry, place);
  ManifestStep step;
  step.step.set_pass(members.Text("pass"));
  step.version = static_cast<uint32_t>(members.Number("version"));
  step.program_version = members.Text("program_version", false);
  const Json* params = members.Object("params");
  const Json* made = members.Object("made", false);
  TRY(members.Done());
  TRY_ASSIGN(*step.step.mutable_parameters(), ReadParameters(*params, members.PlaceOf("params")));
  if (made != nullptr) {
    TRY_ASSIGN(step.made, ReadBundle(*made, members.PlaceOf("made")));
  }
  return step;
}

Result<google::protobuf::RepeatedPtrField<proto::InputShape>> ReadInputs(const Json& object) {
  google::protobuf::RepeatedPtrField<proto::InputShape> inputs;
  for (const auto& [name, dims] : object.items()) {
    proto::InputShape& input = *inputs.Add();
    input.set_name(name);
    if (!dims.is_array())
      return Fail(ErrorCode::kRejected, fmt::format("inputs.{} must be a list", Printable(name, 100)));
    for (const Json& dim : dims) {
      if (!dim.is_number_integer())
        return Fail(ErrorCode::kRejected, fmt::format("inputs.{} must hold whole numbers", Printable(name, 100)));
      input.add_dims(dim.get<int64_t>());
    }
  }
  return inputs;
}

Result<proto::Data> ReadData(const Json& object) {
  Members members(object, "calibration");
  proto::Data data;
  data.set_from(members.Number("from"));
  data.set_samples(members.Number("samples"));
  const Json* bundle = members.Object("data");
  const Json* preprocess = members.Object("preprocess", false);
  TRY(members.Done());
  TRY_ASSIGN(*data.mutable_bundle(), ReadBundle(*bundle, "calibration.data"));
  if (preprocess != nullptr) {
    const auto parsed = google::protobuf::util::JsonStringToMessage(preprocess->dump(), data.mutable_preprocess());
    if (!parsed.ok()) return Fail(ErrorCode::kRejected, "calibration.preprocess: " + parsed.message().ToString());
  }
  return data;
}

Result<Manifest> Read(const Json& document) {
  Members members(document, "");
  Manifest manifest;
  const std::string schema = members.Text("schema");
  TRY(members.Done());
  if (schema != kSchema)
    return Fail(ErrorCode::kRejected, fmt::format("schema is '{}', not {}", Printable(schema, 100), kSchema));
  manifest.name = members.Text("name");
  manifest.source_name = members.Text("source_name", false);
  manifest.calibration_name = members.Text("calibration_name", false);
  manifest.seed = members.Number("seed");
  manifest.backend = members.Text("backend", false);
  const Json* source = members.Object("source");
  const Json* result = members.Object("result");
  const Json* inputs = members.Object("inputs");
  const Json* settings = members.Object("settings");
  const Json* calibration = members.Object("calibration", false);
  const Json* steps = members.List("steps");
  TRY(members.Done());
  TRY_ASSIGN(manifest.source, ReadBundle(*source, "source"));
  TRY_ASSIGN(manifest.result, ReadBundle(*result, "result"));
  TRY_ASSIGN(manifest.inputs, ReadInputs(*inputs));
  TRY_ASSIGN(manifest.settings, ReadParameters(*settings, "settings"));
  if (calibration != nullptr) {
    TRY_ASSIGN(manifest.calibration, ReadData(*calibration));
  }
  for (size_t i = 0; i < steps->size(); ++i) {
    TRY_ASSIGN(ManifestStep step, ReadStep(steps->at(i), fmt::format("steps[{}]", i)));
    manifest.steps.push_back(std::move(step));
  }
  return manifest;
}

}  // namespace

Manifest ManifestOf(const proto::GetOriginReply& origin, const std::string& name) {
  const proto::SubmitJob& request = origin.request();
  const proto::TrialSummary& trial = origin.trial();
  Manifest manifest;
  manifest.name = name;
  manifest.source_name = request.recipe().model();
  manifest.source = request.model();
  manifest.inputs = request.recipe().inputs();
  manifest.seed = request.recipe().search().seed();
  for (const auto& made : origin.steps()) {
    ManifestStep& step = manifest.steps.emplace_back();
    step.step = made.step();
    step.version = made.version();
    step.program_version = made.program_version();
    if (made.has_model()) step.made = made.model();
  }
  if (request.has_calibration() && !manifest.steps.empty()) {
    manifest.calibration = request.calibration();
    manifest.calibration_name = std::filesystem::path(request.recipe().calibration().path()).filename().string();
  }
  manifest.result = trial.model();
  manifest.backend = trial.candidate().backend();
  manifest.settings = trial.candidate().settings();
  return manifest;
}

Json ManifestJson(const Manifest& manifest) {
  Json inputs = Json::object();
  for (const proto::InputShape& input : manifest.inputs)
    inputs[input.name()] = std::vector<int64_t>(input.dims().begin(), input.dims().end());
  Json steps = Json::array();
  for (const ManifestStep& step : manifest.steps) steps.push_back(StepJson(step));
  Json calibration = nullptr;
  if (manifest.calibration) {
    calibration = {{"data", BundleJson(manifest.calibration->bundle())},
                   {"from", manifest.calibration->from()},
                   {"samples", manifest.calibration->samples()}};
    if (manifest.calibration->has_preprocess())
      calibration["preprocess"] = MessageJson(manifest.calibration->preprocess());
  }
  return {{"schema", kSchema},
          {"name", manifest.name},
          {"source_name", manifest.source_name},
          {"source", BundleJson(manifest.source)},
          {"inputs", inputs},
          {"seed", manifest.seed},
          {"calibration_name", manifest.calibration_name},
          {"calibration", calibration},
          {"steps", steps},
          {"result", BundleJson(manifest.result)},
          {"backend", manifest.backend},
          {"settings", ParametersJson(manifest.settings)}};
}

Result<Manifest> ParseManifest(const std::string& text, const std::string& file) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object())
    return Fail(ErrorCode::kRejected, fmt::format("{} is no JSON object", file),
                "name a manifest that `hone export` wrote");
  Result<Manifest> manifest = Read(document);
  if (!manifest) return FailWith("manifest " + file, std::move(manifest.error()));
  return manifest;
}

}  // namespace hone::exporters
