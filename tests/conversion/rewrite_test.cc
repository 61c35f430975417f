// Passes that rewrite a graph or its ports, by `RunPass`: the graph after them, and what ONNX Runtime gives for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "common/recipe/value.h"
#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"
#include "worker/model/model.h"
#include "worker/passes/pass.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RewriteTest : public ::testing::Test {
 protected:
  // The model after a pass with "name=value" parameters.
  Result<onnx::ModelProto> Apply(const ModelBuilder& builder, const std::string& pass,
                                 const std::map<std::string, std::string>& parameters) {
    const std::string number = std::to_string(++runs_);
    fs::create_directories(folder_ / ("in" + number));
    fs::create_directories(folder_ / ("out" + number));
    builder.Save(folder_ / ("in" + number) / "model.onnx");
    proto::BuildTask task;
    proto::Bundle& bundle = *task.mutable_model()->mutable_bundle();
    bundle.set_format("onnx");
    bundle.set_main("model.onnx");
    bundle.add_files()->set_path("model.onnx");
    task.mutable_model()->set_folder((folder_ / ("in" + number)).string());
    task.mutable_step()->set_pass(pass);
    for (const auto& [name, value] : parameters) {
      auto& parameter = *task.mutable_step()->add_parameters();
      parameter.set_name(name);
      *parameter.mutable_value() = ParseValue(value);
    }
    task.set_output_folder((folder_ / ("out" + number)).string());
    TRY(RunPass(task));
    return LoadOnnx(folder_ / ("out" + number) / "model.onnx");
  }
  static std::multiset<std::string> Types(const onnx::ModelProto& model) {
    std::multiset<std::string> types;
    for (const auto& node : model.graph().node()) types.insert(node.op_type());
    return types;
  }
  // The largest error of the second model against the first on equal inputs, by the programs.
  double MaxError(const ModelBuilder& before, const onnx::ModelProto& after) {
    before.Save(folder_ / "before.onnx");
    std::ofstream(folder_ / "after.onnx", std::ios::binary) << after.SerializeAsString();
    WriteNpz(folder_ / "data.npz", {{"x", NormalArray({4, 64}, 3)}});
    const Ran ran = Hone({"evaluate", (folder_ / "after.onnx").string(), "--against",
                          (folder_ / "before.onnx").string(), "--data", (folder_ / "data.npz").string(), "--json"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.code == 0 ? ran.json()["metrics"]["max_error"].get<double>() : 1e9;
  }
  TempFolder folder_;
  int runs_ = 0;
};

TEST_F(RewriteTest, GemmBecomesMatMulAndAddAndBackAgain) {
  const auto apart = Apply(Mlp(1), "graph_surgeries", {{"surgeries", "GemmToMatMulAdd"}});
  ASSERT_TRUE(apart) << apart.error().message;
  EXPECT_EQ(Types(*apart), (std::multiset<std::string>{"MatMul", "Add", "Relu", "MatMul", "Add"}));
  EXPECT_LT(MaxError(Mlp(1), *apart), 1e-5);
  const auto together = Apply(Mlp(1), "graph_surgeries", {{"surgeries", "GemmToMatMulAdd+MatMulAddToGemm"}});
  ASSERT_TRUE(together) << together.error().message;
  EXPECT_EQ(Types(*together), (std::multiset<std::string>{"Gemm", "Relu", "Gemm"}));
  EXPECT_LT(MaxError(Mlp(1), *together), 1e-5);
}

TEST_F(RewriteTest, ReciprocalAndMulBecomeDivAndTheNormBecomesOneOperator) {
  ModelBuilder b(17);
  b.Input("x", {2, 8}).Input("z", {2, 8}).Output("y", {2, 8}).Output("n", {2, 8});
  b.Constant("two", {}, {2}).Constant("half", {}, {0.5F}).ConstantInt64("axis", {-1});
  b.Node("Reciprocal", {"z"}, {"r"});
  b.Node("Mul", {"x", "r"}, {"y"});
  b.Node("Pow", {"x", "two"}, {"square"});
  b.Node("ReduceSum", {"square", "axis"}, {"sum"});
  b.Node("Pow", {"sum", "half"}, {"root"});
  b.Node("Div", {"x", "root"}, {"n"});
  const auto after = Apply(b, "graph_surgeries", {{"surgeries", "ReciprocalMulToDiv+PowReduceSumPowDiv2LpNorm"}});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(Types(*after), (std::multiset<std::string>{"Div", "LpNormalization"}));
}

TEST_F(RewriteTest, InfiniteMasksBecomeFiniteAndEmbeddingsAreTied) {
  ModelBuilder b(17);
  b.Input("ids", {1, 4}, onnx::TensorProto::INT64).Output("y", {1, 4, 6});
  std::vector<float> table(6 * 3), turned(3 * 6);
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = static_cast<float>(i);
    turned[i % 3 * 6 + i / 3] = table[i];
  }
  b.Constant("table", {6, 3}, table).Constant("head", {3, 6}, turned).Constant("mask", {1}, {-3.4e38F});
  b.Node("Gather", {"table", "ids"}, {"e"});
  b.Node("MatMul", {"e", "head"}, {"logits"});
  b.Node("Max", {"logits", "mask"}, {"y"});
  const auto after = Apply(b, "graph_surgeries", {{"surgeries", "ReplaceAttentionMaskValue+TieWordEmbeddings"}});
  ASSERT_TRUE(after) << after.error().message;
  std::set<std::string> names;
  for (const auto& tensor : after->graph().initializer()) {
    names.insert(tensor.name());
    if (tensor.name() == "mask") {
      float value = 0;
      std::memcpy(&value, tensor.raw_data().data(), sizeof value);
      EXPECT_EQ(value, -1e4F);
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"mask", "table"}));
}

TEST_F(RewriteTest, PortsAndDimensionsAreRenamed) {
  const auto after =
      Apply(Mlp(-1), "graph_surgeries",
            {{"surgeries",
              "RenameInputs:x>image+RenameOutputs:y>scores+RenameInputDims:0.0>batch+RenameOutputDims:0.0>batch"}});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->graph().input(0).name(), "image");
  EXPECT_EQ(after->graph().output(0).name(), "scores");
  EXPECT_EQ(after->graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "batch");
  const auto wrong = Apply(Mlp(-1), "graph_surgeries", {{"surgeries", "RenameInputs:xx>image"}});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("no input 'xx'"));
  const auto taken = Apply(Mlp(-1), "graph_surgeries", {{"surgeries", "RenameInputs:x>h"}});
  EXPECT_FALSE(taken);
  const auto unknown = Apply(Mlp(-1), "graph_surgeries", {{"surgeries", "GemmToMatMul"}});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("did you mean 'GemmToMatMulAdd'"));
}

TEST_F(RewriteTest, TypesOfPortsChangeWithCastsInside) {
  const auto after = Apply(Mlp(1), "io_types", {{"input_type", "float16"}, {"output_type", "float64"}});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->graph().input(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(after->graph().output(0).type().tensor_type().elem_type(), onnx::TensorProto::DOUBLE);
  EXPECT_EQ(after->graph().output(0).name(), "y");
  EXPECT_EQ(Types(*after).count("Cast"), 2U);
}

TEST_F(RewriteTest, LayoutOfPicturesIsTurnedAndTurnedBack) {
  const auto last = Apply(ConvNet(), "layout", {{"to", "nhwc"}});
  ASSERT_TRUE(last) << last.error().message;
  std::vector<int64_t> dims = *DimsOf(last->graph().input(0));
  EXPECT_THAT(dims, ElementsAre(1, 32, 32, 3));
  EXPECT_EQ(Types(*last).count("Transpose"), 1U);
  EXPECT_FALSE(Apply(Mlp(1), "layout", {}));
}

TEST_F(RewriteTest, BatchIsFreedAndPinnedAndAWrittenOneIsRefused) {
  const auto free = Apply(ConvNet(), "batch", {{"size", "0"}});
  ASSERT_TRUE(free) << free.error().message;
  EXPECT_EQ(free->graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "batch");
  const auto four = Apply(ConvNet(), "batch", {{"size", "4"}});
  ASSERT_TRUE(four) << four.error().message;
  EXPECT_EQ((*DimsOf(four->graph().output(0)))[0], 4);
  ModelBuilder b(17);
  b.Input("x", {1, 8}).Output("y", {1, 8}).ConstantInt64("shape", {1, 8});
  b.Node("Expand", {"x", "shape"}, {"wide"});
  b.Node("Reshape", {"wide", "shape"}, {"y"});
  EXPECT_TRUE(Apply(b, "batch", {{"size", "2"}}));
}

TEST_F(RewriteTest, PreprocessingIsMovedIntoTheGraph) {
  const auto after = Apply(
      ConvNet(), "preprocess",
      {{"mean", "0.485+0.456+0.406"}, {"std", "0.229+0.224+0.225"}, {"swap_colours", "true"}, {"resize", "true"}});
  ASSERT_TRUE(after) << after.error().message;
  const auto& port = after->graph().input(0);
  EXPECT_EQ(port.name(), "image");
  EXPECT_EQ(port.type().tensor_type().elem_type(), onnx::TensorProto::UINT8);
  std::vector<int64_t> dims = *DimsOf(port);
  EXPECT_THAT(dims, ElementsAre(1, -1, -1, 3));
  for (const char* type : {"Cast", "Transpose", "Resize", "Gather", "Mul", "Sub", "Div"})
    EXPECT_EQ(Types(*after).count(type), 1U) << type;
  const auto wrong = Apply(ConvNet(), "preprocess", {{"mean", "1+2"}});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("2 values for 3 channels"));
  // It runs, on a picture of another size.
  std::ofstream(folder_ / "prepared.onnx", std::ios::binary) << after->SerializeAsString();
  for (const char* backend : {"onnxruntime", "openvino"}) {
    const Ran ran = Hone({"benchmark", (folder_ / "prepared.onnx").string(), "--backend", backend, "--input",
                          "image=1,20,24,3", "--pairs", "1", "--json"});
    EXPECT_EQ(ran.code, 0) << ran.err;
  }
}

TEST_F(RewriteTest, SplitKeepsTheWantedPartAndNamesWhatElseCrosses) {
  const auto before = Apply(Mlp(1), "split", {{"at", "h"}, {"part", "before"}});
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_EQ(Types(*before), (std::multiset<std::string>{"Gemm"}));
  EXPECT_EQ(before->graph().output(0).name(), "h");
  const auto behind = Apply(Mlp(1), "split", {{"at", "h"}, {"part", "behind"}});
  ASSERT_TRUE(behind) << behind.error().message;
  EXPECT_EQ(Types(*behind), (std::multiset<std::string>{"Relu", "Gemm"}));
  EXPECT_EQ(behind->graph().input(0).name(), "h");
  EXPECT_EQ(behind->graph().input_size(), 1);

  ModelBuilder b(17);
  b.Input("x", {1, 8}).Output("y", {1, 8});
  b.Node("Relu", {"x"}, {"a"});
  b.Node("Neg", {"a"}, {"c"});
  b.Node("Add", {"a", "c"}, {"y"});
  const auto crossing = Apply(b, "split", {{"at", "c"}});
  ASSERT_FALSE(crossing);
  EXPECT_THAT(crossing.error().message, HasSubstr("cross the cut too: a"));
  EXPECT_FALSE(Apply(b, "split", {{"at", "nothing"}}));
}

TEST_F(RewriteTest, PartsAreWrittenIntoAFolderAndJoinedAgain) {
  Mlp(1).Save(folder_ / "m.onnx");
  const std::string model = (folder_ / "m.onnx").string(), parts = (folder_ / "parts").string();
  const Ran split = Hone({"apply", model, "--pass", "split:parts=2", "-o", parts});
  ASSERT_EQ(split.code, 0) << split.err;
  const Ran one = Hone({"apply", model, "--pass", "split:parts=2", "-o", (folder_ / "one.onnx").string()});
  EXPECT_EQ(one.code, 9);
  EXPECT_THAT(one.err, HasSubstr("name a folder"));
  const Ran whole = Hone({"apply", parts, "--pass", "compose", "-o", (folder_ / "whole.onnx").string()});
  ASSERT_EQ(whole.code, 0) << whole.err;
  const Ran joined = Hone({"compose", parts + "/part_0/model.onnx", parts + "/part_1/model.onnx", "-o",
                           (folder_ / "joined.onnx").string(), "--json"});
  ASSERT_EQ(joined.code, 0) << joined.err;
  EXPECT_EQ(joined.json()["schema"], "hone.apply/1");
  for (const char* file : {"whole.onnx", "joined.onnx"}) {
    const auto made = LoadOnnx(folder_ / file);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(Types(*made), (std::multiset<std::string>{"Gemm", "Relu", "Gemm"}));
    EXPECT_LT(MaxError(Mlp(1), *made), 1e-6) << file;
  }
  // Nothing but what was asked for is left.
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_.path())) names.insert(entry.path().filename().string());
  for (const std::string& name : names) EXPECT_NE(name.substr(0, 1), ".") << name;
  const Ran missing = Hone({"compose", model, "/nowhere.onnx", "-o", (folder_ / "none.onnx").string()});
  EXPECT_EQ(missing.code, 9);
}

TEST_F(RewriteTest, ModelWithItsWeightsInASubFolderIsConvertedByTheProgram) {
  onnx::ModelProto model = Mlp(1).model();
  fs::create_directories(folder_ / "apart/weights");
  auto& tensor = *model.mutable_graph()->mutable_initializer(0);
  std::ofstream(folder_ / "apart/weights/w.bin", std::ios::binary) << tensor.raw_data();
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto* entry = tensor.add_external_data();
  entry->set_key("location");
  entry->set_value("weights/w.bin");
  std::ofstream(folder_ / "apart/model.onnx", std::ios::binary) << model.SerializeAsString();
  const std::string path = (folder_ / "apart/model.onnx").string();
  const Ran told = Hone({"inspect", path, "--json"});
  ASSERT_EQ(told.code, 0) << told.err;
  EXPECT_NE(told.out.find("weights/w.bin"), std::string::npos) << told.out;
  const Ran down = Hone({"apply", path, "--pass", "convert_opset:version=15", "-o", (folder_ / "down.onnx").string()});
  ASSERT_EQ(down.code, 0) << down.err;
  const auto made = LoadOnnx(folder_ / "down.onnx");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(OpsetVersion(*made), 15);
  EXPECT_LT(MaxError(Mlp(1), *made), 1e-6);
}

}  // namespace
}  // namespace hone::test
