// Bad input: the exit code of the contract, a message that names the thing, nothing left behind.
#include <gtest/gtest.h>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

class BadInputTest : public testing::Test {
 protected:
  void SetUp() override {
    Mlp().Save(folder_ / "mlp.onnx");
    Mlp(-1).Save(folder_ / "free.onnx");
    WriteNpz(folder_ / "data.npz", {{"x", NormalArray({40, 64}, 5)}});
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  // Optimizing must fail with the code, name every word, and leave no output folder.
  void ExpectRefused(std::vector<std::string> arguments, int code, const std::vector<std::string>& words) {
    arguments.insert(arguments.begin(), "optimize");
    arguments.insert(arguments.end(), {"-o", (folder_ / "out").string()});
    const Ran ran = Hone(arguments);
    EXPECT_EQ(ran.code, code) << ran.err;
    for (const std::string& word : words)
      EXPECT_NE(ran.err.find(word), std::string::npos) << "'" << word << "' is missing in: " << ran.err;
    EXPECT_FALSE(fs::exists(folder_ / "out")) << "left behind after: " << ran.err;
    EXPECT_EQ(ran.out, "");
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  TempFolder folder_;
};

TEST_F(BadInputTest, MissingModel) { ExpectRefused({Path("nothing.onnx")}, 9, {"nothing.onnx"}); }

TEST_F(BadInputTest, TextFileNamedOnnx) {
  Write("text.onnx", "This is a letter to my grandmother, not a model.\n");
  ExpectRefused({Path("text.onnx")}, 9, {"text.onnx", "not an ONNX"});
}

TEST_F(BadInputTest, EmptyModel) {
  Write("empty.onnx", "");
  ExpectRefused({Path("empty.onnx")}, 9, {"empty.onnx", "empty"});
}

TEST_F(BadInputTest, TruncatedModel) {
  std::ifstream file(folder_ / "mlp.onnx", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  for (const double part : {0.1, 0.5, 0.9, 0.999}) {
    Write("cut.onnx", bytes.str().substr(0, static_cast<size_t>(static_cast<double>(bytes.str().size()) * part)));
    ExpectRefused({Path("cut.onnx")}, 9, {"cut.onnx"});
  }
}

TEST_F(BadInputTest, UnknownRecipeKeyHasLineColumnAndNearestKey) {
  Write("recipe.yaml", "backends:\n  onnxruntime: {}\nserach: {trials: 3}\n");
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--data", Path("data.npz")}, 9,
                {"recipe.yaml:3:1", "serach", "search"});
}

TEST_F(BadInputTest, UnknownPassHasItsPlaceAndNearestName) {
  Write("recipe.yaml", "passes:\n  - choose: [none, dynamic_int]\nbackends:\n  onnxruntime: {}\n");
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--data", Path("data.npz")}, 9,
                {"recipe.yaml:2:", "dynamic_int", "dynamic_int8"});
}

TEST_F(BadInputTest, UnknownParameterAndValueOutsideWhatIsAllowed) {
  Write("recipe.yaml", "passes:\n  - weights_int4: {group_size: [33]}\nbackends: {onnxruntime: {}}\n");
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--data", Path("data.npz")}, 9,
                {"recipe.yaml:2:", "group_size", "32"});
  Write("recipe.yaml", "passes:\n  - weights_int4: {groupsize: [32]}\nbackends: {onnxruntime: {}}\n");
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--data", Path("data.npz")}, 9,
                {"recipe.yaml:2:", "groupsize", "group_size"});
}

TEST_F(BadInputTest, CalibrationSetWithoutAnInputOrWithAWrongShape) {
  Write("recipe.yaml", "passes: [static_int8]\nbackends: {onnxruntime: {}}\n");
  WriteNpz(folder_ / "other.npz", {{"y", NormalArray({40, 64}, 5)}});
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--calibration", Path("other.npz"), "--data",
                 Path("data.npz")},
                9, {" x"});
  WriteNpz(folder_ / "misshapen.npz", {{"x", NormalArray({40, 32}, 5)}});
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml"), "--calibration", Path("misshapen.npz"), "--data",
                 Path("data.npz")},
                9, {" x", "64", "32"});
}

TEST_F(BadInputTest, EvaluationSetThatDoesNotFit) {
  WriteNpz(folder_ / "misshapen.npz", {{"x", NormalArray({40, 32}, 5)}});
  ExpectRefused({Path("mlp.onnx"), "--data", Path("misshapen.npz")}, 9, {" x", "64", "32"});
  Write("broken.npz", "PK\x03\x04 no zip at all");
  ExpectRefused({Path("mlp.onnx"), "--data", Path("broken.npz")}, 9, {"broken.npz"});
  ExpectRefused({Path("mlp.onnx"), "--data", Path("no.npz")}, 9, {"no.npz"});
}

TEST_F(BadInputTest, StaticQuantizationWithoutCalibrationData) {
  Write("recipe.yaml", "passes:\n  - static_int8\nbackends: {onnxruntime: {}}\n");
  ExpectRefused({Path("mlp.onnx"), "--recipe", Path("recipe.yaml")}, 9,
                {"recipe.yaml:2:", "static_int8", "calibration"});
}

TEST_F(BadInputTest, FreeDimensionNotPinned) { ExpectRefused({Path("free.onnx")}, 9, {"free dimension", "--input"}); }

TEST_F(BadInputTest, UsageIsExitTwo) {
  EXPECT_EQ(Hone({"optimise"}).code, 2);
  EXPECT_NE(Hone({"optimise"}).err.find("optimize"), std::string::npos);
  EXPECT_EQ(Hone({"optimize"}).code, 2);
  EXPECT_EQ(Hone({"optimize", Path("mlp.onnx"), "-o", Path("out"), "--trails", "3"}).code, 2);
  EXPECT_EQ(Hone({"optimize", Path("mlp.onnx"), "-o", Path("out"), "--trials", "many"}).code, 2);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  EXPECT_EQ(Hone({}).code, 2);
}

TEST_F(BadInputTest, UnreachableCoordinatorIsExitSixAndNamed) {
  const Ran ran = Hone({"jobs", "--coordinator", "tcp://127.0.0.1:1"});
  EXPECT_EQ(ran.code, 6);
  EXPECT_NE(ran.err.find("tcp://127.0.0.1:1"), std::string::npos) << ran.err;
}

TEST_F(BadInputTest, PathsWithSpacesWork) {
  fs::create_directory(folder_ / "my models");
  Mlp().Save(folder_ / "my models" / "a model.onnx");
  const Ran ran =
      Hone({"apply", Path("my models/a model.onnx"), "--pass", "fp16", "-o", Path("my models/half size.onnx")});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(fs::exists(folder_ / "my models" / "half size.onnx"));
}

}  // namespace
}  // namespace hone::test
