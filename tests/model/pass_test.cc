// What every pass gets from the wrapper that runs it.
#include <gmock/gmock.h>

#include <set>

#include "common/artifact/bundle.h"
#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

onnx::ModelProto Small() {
  onnx::ModelProto model = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x) => (float[2,3] y) { s = Identity(x) y = Add(s, w) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {2, 3}, 1);
  return model;
}

std::string ErrorOf(const Result<Applied>& result) {
  if (result) return "";
  EXPECT_EQ(result.error().code, ErrorCode::kRejected) << result.error().message;
  return result.error().message;
}

TEST(RegistryTest, EveryPassIsDescribedForPeople) {
  std::set<std::string> names;
  for (const auto& row : Passes()) {
    const proto::PassInfo info = row.info();
    EXPECT_TRUE(names.insert(info.name()).second) << info.name();
    EXPECT_GE(info.version(), 1U);
    EXPECT_FALSE(info.summary().empty()) << info.name();
    EXPECT_GT(info.accepts_size(), 0) << info.name();
    EXPECT_NE(row.onnx == nullptr, row.files == nullptr) << info.name();
    for (const auto& parameter : info.parameters())
      EXPECT_FALSE(parameter.help().empty()) << info.name() << " " << parameter.name();
    EXPECT_TRUE(FindPass(info.name()));
  }
}

TEST(RunPassTest, UnknownPassOffersTheNearest) {
  EXPECT_THAT(ErrorOf(Apply(Small(), "simplyfy")), HasSubstr("did you mean 'simplify'"));
}

TEST(RunPassTest, ParametersAreChecked) {
  EXPECT_THAT(ErrorOf(Apply(Small(), "fp16", {{"keep_io", "true"}})), HasSubstr("keep_io"));
  EXPECT_THAT(ErrorOf(Apply(Small(), "fp16", {{"keep_io_types", "3"}})), HasSubstr("keep_io_types"));
  EXPECT_NE(ErrorOf(Apply(Small(), "simplify", {{"max_fold_bytes", "-1"}})), "");
}

TEST(RunPassTest, FormatAndCalibrationAreChecked) {
  const Folder input;
  const Folder output;
  input.Write("model.onnx", Small().SerializeAsString());
  proto::BuildTask task = TaskFor("simplify", input.path(), output.path());
  task.mutable_model()->mutable_bundle()->set_format("tflite");
  auto result = RunPass(task);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_THAT(result.error().message, HasSubstr("tflite"));

  result = RunPass(TaskFor("static_int8", input.path(), output.path()));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_THAT(result.error().message, HasSubstr("needs calibration data"));
}

TEST(RunPassTest, InvalidModelIsTheModelsFault) {
  onnx::ModelProto model = Small();
  model.mutable_graph()->mutable_node(1)->set_input(1, "nowhere");
  EXPECT_THAT(ErrorOf(Apply(model, "simplify")), HasSubstr("nowhere"));
}

TEST(RunPassTest, SameTaskGivesTheSameBytesAndSaysWhatItCost) {
  const Folder input;
  fs::copy_file(TextAngle(), input.path() / "model.onnx");
  for (const auto& [pass, pins] :
       std::vector<std::pair<std::string, Pins>>{{"simplify", {}},
                                                 {"fp16", {}},
                                                 {"convert_opset", {}},
                                                 {"fix_shapes", {{"x", {1, 3, 48, 192}}}},
                                                 {"openvino_ir", {{"x", {1, 3, 48, 192}}}}}) {
    const Folder a;
    const Folder b;
    const auto first = RunPass(TaskFor(pass, input.path(), a.path(), {}, pins));
    const auto second = RunPass(TaskFor(pass, input.path(), b.path(), {}, pins));
    ASSERT_TRUE(first && second) << pass;
    EXPECT_EQ(first->model().SerializeAsString(), second->model().SerializeAsString()) << pass;
    EXPECT_TRUE(CheckBundle(first->model())) << pass;
    EXPECT_GT(first->peak_memory_bytes(), 1U << 20) << pass;
    EXPECT_FALSE(first->notes().empty()) << pass;
  }
}

TEST(RunPassTest, InputsAndOutputsKeepTheirNamesAndTypes) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  for (const char* pass : {"simplify", "fp16", "convert_opset"}) {
    const auto made = Apply(*original, pass);
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->model.graph().output_size(), 1);
    EXPECT_EQ(made->model.graph().output(0).name(), original->graph().output(0).name());
    EXPECT_EQ(made->model.graph().output(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT);
    ASSERT_EQ(RealInputs(made->model.graph()).size(), 1U);
    EXPECT_EQ(RealInputs(made->model.graph())[0]->name(), "x");
  }
}

}  // namespace
}  // namespace hone::test
