#include "tests/model/support.h"

#include <onnx/defs/parser.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>
#include <stdexcept>

#include "common/recipe/value.h"
#include "worker/backends/backend.h"

namespace hone::test {

Folder::Folder() : folder_(std::move(ScopedFolder::Make(fs::temp_directory_path(), "hone-model-").value())) {}

fs::path Folder::Write(const std::string& name, std::string_view bytes) const {
  const fs::path file = path() / name;
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
  return file;
}

onnx::ModelProto Parse(const std::string& text) {
  onnx::ModelProto model;
  const auto status = onnx::OnnxParser::Parse(model, text.c_str());
  if (!status.IsOK()) throw std::runtime_error(status.ErrorMessage());
  return model;
}

onnx::TensorProto RandomWeights(const std::string& name, const std::vector<int64_t>& dims, uint32_t seed,
                                float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<size_t>(ElementCount(dims)));
  for (float& value : values) value = normal(random);
  return MakeTensor(name, onnx::TensorProto::FLOAT, dims, values);
}

onnx::ModelProto SmallSum() {
  onnx::ModelProto model =
      Parse(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) { y = Add(x, w) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {2, 3}, 1);
  return model;
}

onnx::ModelProto ExternalSum(const Entries& entries) {
  onnx::ModelProto model = SmallSum();
  auto& tensor = *model.mutable_graph()->mutable_initializer(0);
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : entries) {
    auto* entry = tensor.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  return model;
}

proto::BuildTask TaskFor(const std::string& pass, const fs::path& folder, const fs::path& output,
                         const Parameters& parameters, const Pins& pins) {
  proto::BuildTask task;
  task.mutable_model()->set_folder(folder.string());
  task.mutable_model()->mutable_bundle()->set_format("onnx");
  task.mutable_model()->mutable_bundle()->set_main("model.onnx");
  task.mutable_step()->set_pass(pass);
  for (const auto& [name, value] : parameters) {
    auto* parameter = task.mutable_step()->add_parameters();
    parameter->set_name(name);
    *parameter->mutable_value() = ParseValue(value);
  }
  for (const auto& [name, dims] : pins) {
    auto* pin = task.add_inputs();
    pin->set_name(name);
    for (const int64_t dim : dims) pin->add_dims(dim);
  }
  task.set_threads(1);
  task.set_output_folder(output.string());
  return task;
}

Result<Applied> Apply(const onnx::ModelProto& model, const std::string& pass, const Parameters& parameters,
                      const Pins& pins) {
  const Folder input;
  const Folder output;
  input.Write("model.onnx", model.SerializeAsString());
  TRY_ASSIGN(const proto::BuildResult result, RunPass(TaskFor(pass, input.path(), output.path(), parameters, pins)));
  TRY_ASSIGN(onnx::ModelProto made, LoadOnnx(output.path() / result.model().main()));
  return Applied{std::move(made), {result.notes().begin(), result.notes().end()}};
}

std::vector<Tensor> RandomInputs(const onnx::ModelProto& model, uint32_t seed, int64_t free) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Tensor> inputs;
  for (const auto* info : RealInputs(model.graph())) {
    Tensor tensor;
    tensor.name = info->name();
    tensor.type = info->type().tensor_type().elem_type();
    tensor.dims = DimsOf(*info).value();
    for (auto& dim : tensor.dims) dim = dim < 0 ? free : dim;
    tensor.bytes.resize(static_cast<size_t>(tensor.Elements()) * ElementBytes(tensor.type));
    for (int64_t i = 0; i < tensor.Elements(); ++i) {
      if (tensor.type == onnx::TensorProto::FLOAT) tensor.data<float>()[i] = normal(random);
      if (tensor.type == onnx::TensorProto::INT64) tensor.data<int64_t>()[i] = static_cast<int64_t>(random() % 7);
      if (tensor.type == onnx::TensorProto::BOOL) tensor.data<uint8_t>()[i] = random() % 2;
      if (tensor.type == onnx::TensorProto::FLOAT16)
        tensor.data<uint16_t>()[i] = static_cast<uint16_t>(0x3800 + random() % 0x0800);
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

Result<std::vector<Tensor>> RunModel(const onnx::ModelProto& model, const std::vector<Tensor>& inputs) {
  TRY_ASSIGN(const auto session, LoadOnnxBytes(model.SerializeAsString(), 1, false));
  return session->Run(inputs);
}

void ExpectSameResults(const onnx::ModelProto& expected, const onnx::ModelProto& actual, double tolerance,
                       int64_t free) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    const auto inputs = RandomInputs(expected, seed, free);
    const auto want = RunModel(expected, inputs);
    const auto got = RunModel(actual, inputs);
    ASSERT_TRUE(want) << want.error().message;
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(want->size(), got->size());
    for (size_t k = 0; k < want->size(); ++k) {
      EXPECT_EQ((*want)[k].name, (*got)[k].name);
      ASSERT_EQ((*want)[k].dims, (*got)[k].dims);
      const auto a = ToFloats((*want)[k]);
      const auto b = ToFloats((*got)[k]);
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_NEAR(a[i], b[i], tolerance * std::max(1.0F, std::fabs(a[i]))) << "output " << k << " element " << i;
      }
    }
  }
}

int CountOps(const onnx::ModelProto& model, const std::string& op_type) {
  int count = 0;
  VisitGraphs(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) count += node.op_type() == op_type ? 1 : 0;
  });
  return count;
}

const onnx::TensorProto* FindInitializer(const onnx::ModelProto& model, const std::string& name) {
  for (const auto& tensor : model.graph().initializer()) {
    if (tensor.name() == name) return &tensor;
  }
  return nullptr;
}

fs::path TextAngle() {
  const char* models = std::getenv("HONE_MODELS");
  const fs::path file = fs::path(models != nullptr ? models : "") / "text_angle.onnx";
  EXPECT_TRUE(fs::exists(file)) << "run ops/setup, or set HONE_MODELS to the folder that holds text_angle.onnx";
  return file;
}

}  // namespace hone::test
