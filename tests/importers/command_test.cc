// `hone import` and `hone olive` themselves: codes, streams, files, and a newcomer's line from end to end.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

using testing::HasSubstr;

class ImportCommandTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string SaveModel() {
    Mlp().Save(folder_ / "mlp.onnx");
    return (folder_ / "mlp.onnx").string();
  }
  std::string SaveData() {
    WriteNpz(folder_ / "data.npz", {{"x", NormalArray({40, 64}, 5)}});
    return (folder_ / "data.npz").string();
  }
  TempFolder folder_;
};

const char* const kHalf = R"({"input_model": {"type": "ONNXModel", "model_path": "mlp.onnx"},
  "passes": {"h": {"type": "OnnxFloatToFloat16", "keep_io_types": true}}})";

TEST_F(ImportCommandTest, WritesTheRecipeAndTheReport) {
  const std::string file = Write("c.json", kHalf);
  const std::string recipe = (folder_ / "r.yaml").string();
  const Ran ran = Hone({"import", "olive", file, "-o", recipe, "--all"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("passes.h.keep_io_types"));
  EXPECT_EQ(Hone({"check", recipe}).code, 0);
  const Ran to_stdout = Hone({"import", "olive", file});
  EXPECT_THAT(to_stdout.out, HasSubstr("passes:\n  - fp16: {keep_io_types: true}\n"));
  EXPECT_THAT(to_stdout.err, HasSubstr("4 values"));
  EXPECT_EQ(Hone({"import", "olive", file, "--json"}).json().at("schema"), "hone.import/1");
}

TEST_F(ImportCommandTest, CodesTellWholePartAndRefused) {
  EXPECT_EQ(Hone({"import", "olive", Write("part.json", R"({"passes": {"q": {"type": "QuaRot"}}})")}).code, 1);
  const Ran refused =
      Hone({"import", "olive", Write("bad.json", R"({"passes": {"q": {"type": "OnnxFloatToFloat61"}}})"), "--json"});
  EXPECT_EQ(refused.code, 9);
  EXPECT_THAT(refused.json().at("message").get<std::string>(), HasSubstr("did you mean 'OnnxFloatToFloat16'"));
  EXPECT_EQ(refused.json().at("line"), 1);
  EXPECT_EQ(Hone({"import", "olive", (folder_ / "nowhere.json").string()}).code, 9);
  EXPECT_EQ(Hone({"import", "oliv", "x"}).code, 2);
  EXPECT_EQ(Hone({"import", "olive"}).code, 2);
}

TEST_F(ImportCommandTest, ANewcomersLineGivesTheModel) {
  const std::string out = (folder_ / "out").string();
  const Ran ran = Hone({"olive", "auto-opt", "--model_name_or_path", SaveModel(), "--device", "cpu", "--provider",
                        "CPUExecutionProvider", "--precision", "int4", "--output_path", out, "--log_level", "1",
                        "--input", "x=1,64", "--save_config_file", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.json().at("schema"), "hone.result/1");
  EXPECT_TRUE(fs::exists(fs::path(out) / "model.onnx"));
  EXPECT_TRUE(fs::exists(fs::path(out) / "recipe.yaml"));
  EXPECT_THAT(ran.err, HasSubstr("--log_level is ignored"));
}

TEST_F(ImportCommandTest, AConfigurationRunsBesideItsFiles) {
  SaveModel();
  const std::string data = SaveData();
  const std::string file = Write("c.json", kHalf);
  const std::string out = (folder_ / "out").string();
  const Ran ran = Hone({"olive", "run", "--config", file, "--output_path", out, "--data", data, "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.json().at("trials").at("failed"), 0);
}

TEST_F(ImportCommandTest, PrecisionsOfBothRuntimesGiveARecipe) {
  const std::string model = SaveModel();
  const std::string data = SaveData();
  for (const char* precision : {"fp16", "int8", "nf4"}) {
    const Ran ran = Hone({"olive", "auto-opt", "-m", model, "--precision", precision, "-d", data, "--dry_run"});
    EXPECT_EQ(ran.code, 0) << precision << ": " << ran.err;
  }
  for (const char* precision : {"bf16", "int4"}) {
    const Ran ran = Hone({"olive", "optimize", "-m", model, "--precision", precision, "--provider",
                          "OpenVINOExecutionProvider", "--dry_run"});
    EXPECT_EQ(ran.code, 0) << precision << ": " << ran.err;
  }
}

TEST_F(ImportCommandTest, ADeviceThatIsNotHereIsRefusedWithThoseThatAre) {
  const std::string out = (folder_ / "out").string();
  const Ran ran = Hone({"olive", "auto-opt", "-m", SaveModel(), "--provider", "QNNExecutionProvider", "-o", out});
  EXPECT_EQ(ran.code, 9) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("ort.qnn"));
  EXPECT_THAT(ran.err, HasSubstr("CPUExecutionProvider (cpu)"));
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(ImportCommandTest, WhatCannotBeDoneIsRefusedUnlessTheRestIsWanted) {
  const std::string file =
      Write("part.json", R"({"passes": {"q": {"type": "QuaRot"}, "h": {"type": "OnnxFloatToFloat16"}}})");
  const Ran refused = Hone({"olive", "run", "--config", file, "-m", SaveModel(), "-o", (folder_ / "out").string()});
  EXPECT_EQ(refused.code, 9);
  EXPECT_THAT(refused.err, HasSubstr("--partial"));
  EXPECT_EQ(Hone({"olive", "finetune"}).code, 9);
  EXPECT_EQ(Hone({"olive", "auto-op"}).code, 2);
  EXPECT_EQ(Hone({"olive", "auto-opt"}).code, 2);
}

}  // namespace
}  // namespace hone::test
