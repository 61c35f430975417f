// One small network in the formats of other frameworks, written byte by byte by make_models.py: converted, optimized,
// and held against what the network gives by numpy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/programs.h"

namespace hone::test {
namespace {

struct Source {
  const char* name;
  const char* file;
  bool port_suffix;  // TensorFlow's frozen graphs name the first output of node x "x:0".
};
void PrintTo(const Source& source, std::ostream* out) { *out << source.name; }

class FormatTest : public ::testing::TestWithParam<Source> {
 protected:
  void SetUp() override {
    const char* peers = std::getenv("HONE_PEERS");
    if (peers == nullptr) GTEST_SKIP() << "HONE_PEERS names no Python environment with numpy and flatbuffers";
    python_ = (fs::path(peers) / "bin/python").string();
    const Ran made =
        Python({std::string(HONE_SOURCE_DIR) + "/tests/conversion/make_models.py", folder_.path().string()});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  Ran Python(std::vector<std::string> words) {
    ProcessOptions options;
    options.arguments = {python_};
    options.arguments.insert(options.arguments.end(), words.begin(), words.end());
    const auto output = RunCommand(options, Deadline(60));
    if (!output) return {-1, 0, "", output.error().message};
    return {output->status.code, output->status.signal, output->out, output->err};
  }
  TempFolder folder_;
  std::string python_;
};

TEST_P(FormatTest, IsConvertedToIrThatGivesWhatTheNetworkGives) {
  const fs::path out = folder_ / "ir";
  const Ran ran = Hone({"apply", (folder_ / GetParam().file).string(), "--pass", "openvino_ir", "-o", out.string()});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Ran checked = Python({std::string(HONE_SOURCE_DIR) + "/tests/conversion/check_outputs.py",
                              (out / "model.xml").string(), folder_.path().string()});
  EXPECT_EQ(checked.code, 0) << checked.out << checked.err;
}

TEST_P(FormatTest, IsOptimizedAgainstItsOwnOutputs) {
  std::ofstream(folder_ / "recipe.yaml") << R"(
accuracy: {metric: cosine, against: original}
objectives: [{minimize: size_bytes}]
passes:
  - choose: [openvino_ir, {openvino_weights: {mode: [int8_asym]}}]
backends: {openvino: {inference_precision: [f32]}}
search: {sampler: exhaustive, trials: 2}
measure: {pairs: 1, final_pairs: 1, finalists: 1}
)";
  std::vector<std::string> words = {
      "optimize", (folder_ / GetParam().file).string(), "--recipe", (folder_ / "recipe.yaml").string(),
      "-o",       (folder_ / "out").string(),           "--json"};
  // The samples stand under the name x; a frozen graph's input is x:0.
  if (GetParam().port_suffix)
    words.insert(words.end(), {"--input", "x:0=1,16"});
  else
    words.insert(words.end(), {"--data", (folder_ / "data.npz").string()});
  const Ran ran = Hone(words);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const nlohmann::json result = ran.json();
  EXPECT_EQ(result["baseline"]["backend"], "openvino");
  EXPECT_GT(result["best"]["metrics"]["accuracy"].get<double>(), 0.999);
}

INSTANTIATE_TEST_SUITE_P(Formats, FormatTest,
                         ::testing::Values(Source{"frozen", "frozen.pb", true}, Source{"saved", "saved", false},
                                           Source{"tflite", "model.tflite", false},
                                           Source{"paddle", "model.pdmodel", false}),
                         [](const auto& made) { return std::string(made.param.name); });

TEST(FormatsTest, FileThatIsNoModelOfItsFormatIsRejectedWithItsName) {
  TempFolder folder;
  for (const char* name : {"x.tflite", "x.pb", "x.pdmodel", "x.onnx"}) {
    std::ofstream(folder / name) << "this is no model at all";
    if (std::string(name) == "x.pdmodel") std::ofstream(folder / "x.pdiparams") << "nor are these weights";
    const Ran ran = Hone({"inspect", (folder / name).string()});
    EXPECT_EQ(ran.code, 9) << name << ": " << ran.err;
    EXPECT_THAT(ran.err, ::testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace hone::test
