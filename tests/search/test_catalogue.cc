#include "tests/search/test_catalogue.h"

#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

proto::ParameterInfo Info(const char* name, proto::ParameterInfo::Type type, const proto::Value& otherwise,
                          const std::vector<proto::Value>& choices = {}) {
  proto::ParameterInfo info;
  info.set_name(name);
  info.set_type(type);
  *info.mutable_default_value() = otherwise;
  for (const proto::Value& choice : choices) *info.add_choices() = choice;
  return info;
}

proto::ParameterInfo Bool(const char* name, bool otherwise) {
  return Info(name, proto::ParameterInfo::BOOLEAN, BoolValue(otherwise));
}

proto::ParameterInfo Text(const char* name, const char* otherwise, const std::vector<const char*>& words) {
  std::vector<proto::Value> choices;
  for (const char* word : words) choices.push_back(TextValue(word));
  return Info(name, proto::ParameterInfo::TEXT, TextValue(otherwise), choices);
}

proto::ParameterInfo Integer(const char* name, int64_t low, int64_t high) {
  proto::ParameterInfo info = Info(name, proto::ParameterInfo::INTEGER, {});
  *info.mutable_minimum() = IntValue(low);
  *info.mutable_maximum() = IntValue(high);
  return info;
}

proto::ParameterInfo Real(const char* name, double otherwise, double low, double high) {
  proto::ParameterInfo info = Info(name, proto::ParameterInfo::REAL, RealValue(otherwise));
  *info.mutable_minimum() = RealValue(low);
  *info.mutable_maximum() = RealValue(high);
  return info;
}

proto::PassInfo* AddPass(proto::Catalogue& catalogue, const char* name,
                         const std::vector<proto::ParameterInfo>& parameters) {
  proto::PassInfo* pass = catalogue.add_passes();
  pass->set_name(name);
  pass->set_version(1);
  pass->add_accepts("onnx");
  for (const proto::ParameterInfo& parameter : parameters) *pass->add_parameters() = parameter;
  return pass;
}

}  // namespace

proto::Catalogue TestCatalogue() {
  proto::Catalogue catalogue;
  AddPass(catalogue, "simplify", {});
  AddPass(catalogue, "fp16", {Bool("keep_io_types", true), Real("scale", 0.5, 0, 1), Integer("blocks", 1, 64)});
  AddPass(catalogue, "dynamic_int8", {Bool("per_channel", false), Text("weights", "int8", {"int8", "uint8"})});
  AddPass(catalogue, "static_int8",
          {Text("layout", "onnxruntime", {"onnxruntime", "openvino"}), Bool("per_channel", false),
           Text("activations", "uint8", {"uint8", "int8"}),
           Text("observer", "minmax", {"minmax", "percentile", "entropy", "mse"}), Real("percentile", 99.99, 50, 100)})
      ->set_needs_calibration(true);
  AddPass(catalogue, "weights_int8", {});
  AddPass(catalogue, "weights_int4",
          {Info("group_size", proto::ParameterInfo::INTEGER, IntValue(32),
                {IntValue(16), IntValue(32), IntValue(64), IntValue(128), IntValue(256)}),
           Bool("symmetric", true)});
  proto::PassInfo* ir = AddPass(catalogue, "openvino_ir", {Bool("fp16_weights", false)});
  ir->add_accepts("openvino_ir");
  ir->set_produces("openvino_ir");

  proto::BackendInfo* onnxruntime = catalogue.add_backends();
  onnxruntime->set_name("onnxruntime");
  onnxruntime->add_formats("onnx");
  onnxruntime->set_reference(true);
  *onnxruntime->add_settings() = Integer("intra_op_threads", 1, 64);
  proto::BackendInfo* openvino = catalogue.add_backends();
  openvino->set_name("openvino");
  openvino->add_formats("onnx");
  openvino->add_formats("openvino_ir");
  *openvino->add_settings() = Text("hint", "latency", {"latency", "throughput"});
  *openvino->add_settings() = Text("inference_precision", "f32", {"f32", "bf16"});
  return catalogue;
}

SpaceInputs AllInputs() { return {"onnx", true, true, {"cpu"}}; }

Result<Space> BuildFrom(const std::string& yaml, const SpaceInputs& inputs) {
  TRY_ASSIGN(const proto::Recipe recipe, ParseRecipe(yaml, "r.yaml"));
  return Space::Build(recipe, TestCatalogue(), inputs);
}

Result<Space> BuildFrom(const std::string& yaml) { return BuildFrom(yaml, AllInputs()); }

proto::Catalogue GroupCatalogue() {
  proto::Catalogue catalogue = TestCatalogue();
  proto::PassInfo* pass = catalogue.add_passes();
  pass->set_name("mixed");
  pass->add_accepts("onnx");
  proto::ParameterInfo* precision = pass->add_parameters();
  precision->set_name("precision");
  precision->set_type(proto::ParameterInfo::TEXT);
  for (const char* word : {"fp32", "fp16", "int8"}) *precision->add_choices() = TextValue(word);
  precision->set_per_group(true);
  proto::ParameterInfo* method = pass->add_parameters();
  method->set_name("method");
  method->set_type(proto::ParameterInfo::TEXT);
  for (const char* word : {"plain", "measured"}) *method->add_choices() = TextValue(word);
  *method->mutable_default_value() = TextValue("plain");
  *method->add_needs_calibration() = TextValue("measured");
  return catalogue;
}

}  // namespace hone
