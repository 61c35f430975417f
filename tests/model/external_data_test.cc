// Models whose weights lie in files of a sub-folder: every pass gives what it gives for the same model in one file, and
// weights that no pass looked at lie in a file again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/support.h"

namespace hone::test {
namespace {

// Two products, the second with weights large enough to be mapped rather than loaded.
onnx::ModelProto Inline() {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 10, opset_import: ["" : 17]>
      g (float[2,64] x) => (float[2,64] y) {
        h = MatMul(x, small)
        r = Relu(h)
        y = MatMul(r, large)
      })");
  *model.mutable_graph()->add_initializer() = RandomWeights("small", {64, 320}, 1, 0.1F);
  *model.mutable_graph()->add_initializer() = RandomWeights("large", {320, 64}, 2, 0.1F);
  return model;
}

void AddEntry(onnx::TensorProto& tensor, const char* key, const std::string& value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}

// Writes the model as model.onnx with its initializers in parts/one.bin and parts/deeper/two.bin.
void WriteApart(const Folder& folder, onnx::ModelProto model) {
  const char* const files[] = {"parts/one.bin", "parts/deeper/two.bin"};
  for (int i = 0; i < model.graph().initializer_size(); ++i) {
    onnx::TensorProto& tensor = *model.mutable_graph()->mutable_initializer(i);
    const std::string bytes = tensor.raw_data();
    folder.Write(files[i % 2], std::string(16, 'p') + bytes);
    tensor.clear_raw_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    AddEntry(tensor, "location", files[i % 2]);
    AddEntry(tensor, "offset", "16");
    AddEntry(tensor, "length", std::to_string(bytes.size()));
  }
  folder.Write("model.onnx", model.SerializeAsString());
}

struct PassStepRow {
  const char* pass;
  Parameters parameters;
};
void PrintTo(const PassStepRow& row, std::ostream* out) { *out << row.pass; }

class ExternalDataTest : public ::testing::TestWithParam<PassStepRow> {};

TEST_P(ExternalDataTest, FilesOfASubFolderGiveWhatOneFileGives) {
  const Folder input, output;
  WriteApart(input, Inline());
  const auto want = Apply(Inline(), GetParam().pass, GetParam().parameters);
  ASSERT_TRUE(want) << want.error().message;
  const auto result = RunPass(TaskFor(GetParam().pass, input.path(), output.path(), GetParam().parameters));
  ASSERT_TRUE(result) << result.error().message;
  const auto got = LoadOnnx(output.path() / result->model().main());
  ASSERT_TRUE(got) << got.error().message;
  ExpectSameResults(want->model, *got, 0);
}

const PassStepRow kPasses[] = {{"simplify", {}},
                               {"fp16", {}},
                               {"convert_opset", {{"version", "21"}}},
                               {"convert_opset", {{"version", "15"}}},
                               {"weights_int8", {}},
                               {"weights_int4", {}},
                               {"weights_int4", {{"form", "dequantize"}}},
                               {"split", {{"at", "r"}}},
                               {"split", {{"at", "r"}, {"part", "behind"}}},
                               {"graph_surgeries", {}}};

INSTANTIATE_TEST_SUITE_P(Passes, ExternalDataTest, ::testing::ValuesIn(kPasses));

TEST(ExternalDataOutTest, WeightsThatNothingTouchedLieInAFileAgain) {
  const Folder input, output;
  WriteApart(input, Inline());
  const auto result = RunPass(TaskFor("split", input.path(), output.path(), {{"parts", "2"}}));
  ASSERT_TRUE(result) << result.error().message;
  std::vector<std::string> files;
  for (const auto& file : result->model().files()) files.push_back(file.path());
  EXPECT_THAT(files, ::testing::IsSupersetOf({"part_0/model.onnx.data", "part_1/model.onnx.data", "parts.json"}));
  const auto external = ExternalFiles(output.path() / "part_1/model.onnx");
  ASSERT_TRUE(external) << external.error().message;
  EXPECT_THAT(*external, ::testing::ElementsAre("model.onnx.data"));
  for (const char* part : {"part_0/model.onnx", "part_1/model.onnx"}) {
    const auto made = LoadOnnx(output.path() / part);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_TRUE(CheckModel(*made));
  }
}

}  // namespace
}  // namespace hone::test
