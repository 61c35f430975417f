#include "worker/runner/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <filesystem>
#include <fstream>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <string>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/recipe/value.h"
#include "worker/model/model.h"
#include "worker/runner/task.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class InspectTest : public testing::Test {
 protected:
  InspectTest() : folder_(ScopedFolder::Make(fs::temp_directory_path(), "inspect-").value()) {}

  // Through the task, as the client asks.
  proto::TaskResult Ask(const std::string& format, const std::string& main) const {
    proto::Task task;
    proto::LocalBundle& model = *task.mutable_inspect()->mutable_model();
    model.set_folder(folder_.path().string());
    model.mutable_bundle()->set_format(format);
    model.mutable_bundle()->set_main(main);
    model.mutable_bundle()->add_files()->set_path(main);
    return RunTask(task);
  }

  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
  }

  ScopedFolder folder_;
};

void AddValue(onnx::ValueInfoProto& value, const std::string& name, std::initializer_list<const char*> dims) {
  value.set_name(name);
  value.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  for (const char* const dim : dims) {
    auto& dimension = *value.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim();
    if (std::isdigit(static_cast<unsigned char>(dim[0]))) {
      dimension.set_dim_value(std::atoll(dim));
    } else if (dim[0] != '?') {
      dimension.set_dim_param(dim);
    }
  }
}

void AddNode(onnx::GraphProto& graph, const std::string& type, std::initializer_list<const char*> inputs,
             const char* output, const std::string& domain = "") {
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type(type);
  node.set_domain(domain);
  for (const char* const input : inputs) node.add_input(input);
  node.add_output(output);
}

// x -> DequantizeLinear weights -> MatMul -> Relu -> Relu -> y, with a domain of its own in between.
onnx::ModelProto SmallModel() {
  onnx::ModelProto model;
  model.set_ir_version(10);
  model.set_producer_name("tests");
  model.set_producer_version("1");
  model.add_opset_import()->set_version(21);
  onnx::OperatorSetIdProto& own = *model.add_opset_import();
  own.set_domain("com.microsoft");
  own.set_version(1);
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("g");
  AddValue(*graph.add_input(), "x", {"batch", "4", "?"});
  AddValue(*graph.add_output(), "y", {"batch", "2"});
  *graph.add_initializer() = MakeTensor("w", onnx::TensorProto::INT8, {4, 2}, std::vector<int8_t>(8, 1));
  *graph.add_initializer() = MakeTensor("s", onnx::TensorProto::FLOAT, {2}, std::vector<float>(2, 0.5f));
  AddNode(graph, "DequantizeLinear", {"w", "s"}, "wf");
  AddNode(graph, "MatMul", {"x", "wf"}, "a");
  AddNode(graph, "Relu", {"a"}, "b");
  AddNode(graph, "Relu", {"b"}, "c");
  AddNode(graph, "Gelu", {"c"}, "y", "com.microsoft");
  return model;
}

TEST_F(InspectTest, OnnxModelIsDescribed) {
  const std::string bytes = SmallModel().SerializeAsString();
  Write("m.onnx", bytes);
  const proto::TaskResult answer = Ask("onnx", "m.onnx");
  ASSERT_TRUE(answer.has_inspect()) << answer.error().message();
  const proto::InspectResult& result = answer.inspect();
  EXPECT_EQ(result.format(), "onnx");
  EXPECT_EQ(result.digest(), DigestOf(bytes));
  EXPECT_EQ(result.size_bytes(), bytes.size());
  EXPECT_EQ(result.producer(), "tests 1");
  EXPECT_EQ(result.ir_version(), 10u);
  ASSERT_EQ(result.inputs_size(), 1);
  EXPECT_EQ(result.inputs(0).type(), "float32");
  EXPECT_THAT(result.inputs(0).dims(), ElementsAre("batch", "4", "?"));
  EXPECT_EQ(result.outputs(0).name(), "y");
  ASSERT_EQ(result.opsets_size(), 2);
  EXPECT_EQ(result.opsets(0).name(), "ai.onnx");
  EXPECT_EQ(result.opsets(0).value().integer(), 21);
  EXPECT_EQ(result.operators(0).type(), "Relu");
  EXPECT_EQ(result.operators(0).count(), 2u);
  EXPECT_EQ(result.operators_size(), 4);
  EXPECT_EQ(result.parameters(), 10u);
  EXPECT_EQ(result.parameters_bytes(), 16u);
  ASSERT_EQ(result.quantized_size(), 1);
  EXPECT_EQ(result.quantized(0).type(), "MatMul");
  EXPECT_EQ(result.external_files_size(), 0);
}

TEST_F(InspectTest, FourBitWeightsCountHalfAByte) {
  onnx::ModelProto model = SmallModel();
  onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
  tensor.set_name("q");
  tensor.set_data_type(onnx::TensorProto::INT4);
  tensor.add_dims(5);
  tensor.set_raw_data("abc");
  Write("m.onnx", model.SerializeAsString());
  const proto::TaskResult answer = Ask("onnx", "m.onnx");
  EXPECT_EQ(answer.inspect().parameters(), 15u) << answer.error().message();
  EXPECT_EQ(answer.inspect().parameters_bytes(), 19u);
}

TEST_F(InspectTest, ExternalFilesAreNamed) {
  onnx::ModelProto model = SmallModel();
  onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
  tensor.set_name("outside");
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(2);
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto& location = *tensor.add_external_data();
  location.set_key("location");
  location.set_value("weights.bin");
  Write("m.onnx", model.SerializeAsString());
  Write("weights.bin", "12345678");
  const proto::TaskResult answer = Ask("onnx", "m.onnx");
  EXPECT_THAT(answer.inspect().external_files(), ElementsAre("weights.bin")) << answer.error().message();
  EXPECT_EQ(answer.inspect().external_bytes(), 8u);
}

TEST_F(InspectTest, NamesThatAreNoTextStillTravel) {
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_input(0)->set_name("x\xff\xfe");
  model.mutable_graph()->mutable_node(1)->set_input(0, "x\xff\xfe");
  model.set_producer_name("bad \xc3\x28 name");
  Write("m.onnx", model.SerializeAsString());
  const proto::TaskResult answer = Ask("onnx", "m.onnx");
  proto::TaskResult again;
  EXPECT_TRUE(again.ParseFromString(answer.SerializeAsString()));
  EXPECT_EQ(again.inspect().inputs_size(), 1) << answer.error().message();
}

TEST_F(InspectTest, RubbishIsRejectedInEveryFormat) {
  Write("m.bin", "this is no model at all");
  for (const char* format : {"onnx", "openvino_ir", "tflite"}) {
    const proto::TaskResult answer = Ask(format, "m.bin");
    EXPECT_EQ(answer.error().code(), proto::Error::REJECTED) << format << ": " << answer.error().message();
  }
}

TEST_F(InspectTest, MissingFileUnknownFormatAndPathsOutsideAreErrors) {
  EXPECT_EQ(Ask("onnx", "missing.onnx").error().code(), proto::Error::NOT_FOUND);
  EXPECT_THAT(Ask("onx", "m.onnx").error().message(), HasSubstr("did you mean 'onnx'"));
  EXPECT_EQ(Ask("onnx", "../m.onnx").error().code(), proto::Error::REJECTED);
}

TEST_F(InspectTest, OpenVinoModelIsDescribed) {
  {
    using namespace ov::opset13;
    const auto x = std::make_shared<Parameter>(ov::element::f32, ov::PartialShape{-1, 4});
    x->output(0).set_names({"x"});
    const auto weights = Constant::create(ov::element::i8, {4, 2}, std::vector<int>(8, 1));
    const auto scale = Constant::create(ov::element::f32, {1}, {0.5f});
    const auto scaled = std::make_shared<Multiply>(std::make_shared<Convert>(weights, ov::element::f32), scale);
    const auto product = std::make_shared<MatMul>(x, scaled);
    const auto relu = std::make_shared<Relu>(product);
    relu->output(0).set_names({"y"});
    const auto model = std::make_shared<ov::Model>(ov::OutputVector{relu}, ov::ParameterVector{x});
    ov::save_model(model, (folder_.path() / "m.xml").string(), false);
  }
  const proto::TaskResult answer = Ask("openvino_ir", "m.xml");
  ASSERT_TRUE(answer.has_inspect()) << answer.error().message();
  const proto::InspectResult& result = answer.inspect();
  ASSERT_EQ(result.inputs_size(), 1);
  EXPECT_EQ(result.inputs(0).name(), "x");
  EXPECT_THAT(result.inputs(0).dims(), ElementsAre("?", "4"));
  EXPECT_EQ(result.outputs(0).name(), "y");
  ASSERT_EQ(result.quantized_size(), 1);
  EXPECT_EQ(result.quantized(0).type(), "MatMul");
  EXPECT_EQ(result.parameters(), 9u);
  EXPECT_EQ(result.ir_version(), 11u);
}

TEST_F(InspectTest, RealModelIsDescribed) {
  const char* const models = std::getenv("HONE_MODELS");
  ASSERT_NE(models, nullptr) << "HONE_MODELS names the folder of models; ctest sets it";
  fs::copy(fs::path(models) / "text_angle.onnx", folder_.path() / "text_angle.onnx");
  const proto::TaskResult answer = Ask("onnx", "text_angle.onnx");
  ASSERT_TRUE(answer.has_inspect()) << answer.error().message();
  EXPECT_EQ(answer.inspect().inputs_size(), 1);
  EXPECT_GT(answer.inspect().parameters(), 100'000u);
  EXPECT_EQ(answer.inspect().quantized_size(), 0);
}

}  // namespace
}  // namespace hone
