// openvino_ir: names, pins and bytes of what OpenVINO writes.
#include <gmock/gmock.h>

#include "tests/model/support.h"
#include "worker/backends/backend.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

onnx::ModelProto SmallModel() {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = MatMul(x, w) y = Relu(a) z = Identity(y) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {4, 4}, 1);
  return model;
}

Result<proto::BuildResult> Convert(const Folder& input, const Folder& output, const Parameters& parameters = {},
                                   const Pins& pins = {}) {
  return RunPass(TaskFor("openvino_ir", input.path(), output.path(), parameters, pins));
}

Result<std::unique_ptr<Session>> Load(const proto::BuildResult& made, const Folder& output) {
  TRY_ASSIGN(const BackendRow* backend, FindBackend("openvino"));
  proto::LocalBundle bundle;
  *bundle.mutable_bundle() = made.model();
  bundle.set_folder(output.path().string());
  return backend->load(bundle, {});
}

TEST(OpenvinoIrTest, NamesPinsAndResultsAreThoseOfTheModel) {
  const Folder input;
  const Folder output;
  input.Write("model.onnx", SmallModel().SerializeAsString());
  const auto made = Convert(input, output, {}, {{"x", {3, 4}}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->model().format(), "openvino_ir");
  EXPECT_EQ(made->model().main(), "model.xml");
  ASSERT_EQ(made->model().files_size(), 2);
  EXPECT_EQ(made->model().files(0).path(), "model.bin");

  const auto session = Load(*made, output);
  ASSERT_TRUE(session) << session.error().message;
  ASSERT_EQ((*session)->inputs().size(), 1U);
  EXPECT_EQ((*session)->inputs()[0].name, "x");
  EXPECT_EQ((*session)->inputs()[0].dims, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ((*session)->outputs(), (std::vector<std::string>{"y", "z"}));
  const auto inputs = RandomInputs(SmallModel(), 1, 3);
  const auto want = RunModel(SmallModel(), inputs);
  const auto got = (*session)->Run(inputs);
  ASSERT_TRUE(want && got);
  const auto a = ToFloats((*want)[0]);
  const auto b = ToFloats((*got)[0]);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-2 * std::max(1.0F, std::fabs(a[i])));
}

TEST(OpenvinoIrTest, Float16WeightsHalveTheFile) {
  const Folder input;
  const Folder full;
  const Folder half;
  fs::copy_file(TextAngle(), input.path() / "model.onnx");
  ASSERT_TRUE(Convert(input, full));
  ASSERT_TRUE(Convert(input, half, {{"fp16_weights", "true"}}));
  EXPECT_LT(fs::file_size(half.path() / "model.bin"), fs::file_size(full.path() / "model.bin") * 6 / 10);
}

TEST(OpenvinoIrTest, SecondConversionInOneProcessGivesTheSameBytes) {
  // Nodes without names get them from a counter of the process.
  onnx::ModelProto model = SmallModel();
  for (auto& node : *model.mutable_graph()->mutable_node()) node.clear_name();
  const Folder input;
  input.Write("model.onnx", model.SerializeAsString());
  std::string first;
  for (int i = 0; i < 3; ++i) {
    const Folder output;
    const auto made = Convert(input, output, {{"fp16_weights", "true"}});
    ASSERT_TRUE(made) << made.error().message;
    if (i == 0) first = made->model().SerializeAsString();
    EXPECT_EQ(made->model().SerializeAsString(), first);
  }
}

TEST(OpenvinoIrTest, IrCanBePinnedAgain) {
  const Folder input;
  const Folder free;
  const Folder pinned;
  input.Write("model.onnx", SmallModel().SerializeAsString());
  const auto first = Convert(input, free);
  ASSERT_TRUE(first) << first.error().message;
  proto::BuildTask task = TaskFor("openvino_ir", free.path(), pinned.path(), {}, {{"x", {5, 4}}});
  *task.mutable_model()->mutable_bundle() = first->model();
  const auto second = RunPass(task);
  ASSERT_TRUE(second) << second.error().message;
  const auto text = ReadFile(pinned.path() / "model.xml", 1 << 20);
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("shape=\"5,4\""));
}

TEST(OpenvinoIrTest, WrongPinsAndBrokenFilesAreRejected) {
  const Folder input;
  const Folder output;
  input.Write("model.onnx", SmallModel().SerializeAsString());
  for (const Pins& pins : {Pins{{"nope", {1, 4}}}, Pins{{"x", {1, 5}}}, Pins{{"x", {1}}}, Pins{{"x", {0, 4}}}}) {
    const auto made = Convert(input, output, {}, pins);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ErrorCode::kRejected) << made.error().message;
  }
  input.Write("model.onnx", "no model at all");
  const auto broken = Convert(input, output);
  ASSERT_FALSE(broken.has_value());
  EXPECT_THAT(broken.error().message, HasSubstr("not an ONNX file"));

  input.Write("model.xml", "<net name='a'");
  input.Write("model.bin", "");
  proto::BuildTask task = TaskFor("openvino_ir", input.path(), output.path());
  task.mutable_model()->mutable_bundle()->set_format("openvino_ir");
  task.mutable_model()->mutable_bundle()->set_main("model.xml");
  const auto broken_ir = RunPass(task);
  ASSERT_FALSE(broken_ir.has_value());
  EXPECT_EQ(broken_ir.error().code, ErrorCode::kRejected) << broken_ir.error().message;
}

TEST(OpenvinoIrTest, InputsThatNothingUsesAreTold) {
  const Folder input;
  const Folder output;
  input.Write(
      "model.onnx",
      Parse(
          R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x, int64[0] axes) => (float[1] y) { y = ReduceSum(x, axes) })")
          .SerializeAsString());
  const auto made = Convert(input, output);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(std::vector<std::string>(made->notes().begin(), made->notes().end()),
              ::testing::Contains(HasSubstr("axes")));
  const auto backend = FindBackend("openvino");
  ASSERT_TRUE(backend);
  proto::LocalBundle bundle;
  *bundle.mutable_bundle() = made->model();
  bundle.set_folder(output.path().string());
  EXPECT_TRUE((*backend)->load(bundle, {}));
}

TEST(OpenvinoIrTest, InputThatIsAnOutputTooKeepsBothNames) {
  const Folder input;
  const Folder output;
  input.Write(
      "model.onnx",
      Parse(
          R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] a, float[2] x) => (float[2] y, float[2] z) { y = Identity(x) z = Relu(a) })")
          .SerializeAsString());
  const auto made = Convert(input, output);
  ASSERT_TRUE(made) << made.error().message;
  // Without weights there is one file.
  ASSERT_EQ(made->model().files_size(), 1);
  EXPECT_EQ(made->model().files(0).path(), "model.xml");
  const auto session = Load(*made, output);
  ASSERT_TRUE(session) << session.error().message;
  ASSERT_EQ((*session)->inputs().size(), 2U);
  EXPECT_EQ((*session)->inputs()[1].name, "x");
  EXPECT_EQ((*session)->outputs(), (std::vector<std::string>{"y", "z"}));
}

TEST(OpenvinoIrTest, OperatorThatOpenvinoLacksIsNamed) {
  const Folder input;
  const Folder output;
  input.Write("model.onnx", Parse(R"(
    <ir_version: 8, opset_import: ["" : 17, "ai.example" : 1]>
    g (float[2] x) => (float[2] y) { y = ai.example.Wobble(x) })")
                                .SerializeAsString());
  const auto made = Convert(input, output);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
  EXPECT_THAT(made.error().message, HasSubstr("Wobble"));
}

TEST(OpenvinoIrTest, ExternalDataOutsideTheFolderIsNeverOpened) {
  const Folder outside;
  outside.Write("secret", std::string(64, 's'));
  const Folder output;
  onnx::ModelProto model = SmallModel();
  auto& tensor = *model.mutable_graph()->mutable_initializer(0);
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto* entry = tensor.add_external_data();
  entry->set_key("location");
  entry->set_value("link");
  outside.Write("m/model.onnx", model.SerializeAsString());
  fs::create_symlink("../secret", outside.path() / "m/link");
  const auto made = RunPass(TaskFor("openvino_ir", outside.path() / "m", output.path()));
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone::test
