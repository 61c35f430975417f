// Olive's command lines: which configuration, and with it which recipe, they become.
#include "client/importers/olive_command.h"

#include <gmock/gmock.h>

#include "tests/importers/import_helpers.h"

namespace hone::importers {
namespace {

using testing::HasSubstr;

Result<Imported> TakeLine(const std::string& form, OliveArguments arguments, bool has_data = false) {
  arguments["model_name_or_path"] = {"m.onnx"};
  TRY(CheckArguments(form, arguments));
  TRY_ASSIGN(const ConfigNode root, ConfigurationOf(form, arguments, has_data));
  return ImportTree(ImporterOf("olive"), root, "olive " + form, {});
}

std::string Stages(const std::string& form, const OliveArguments& arguments, bool has_data = false) {
  const Result<Imported> imported = TakeLine(form, arguments, has_data);
  EXPECT_TRUE(imported) << (imported ? "" : imported.error().message);
  return imported ? StagesOf(imported->recipe) : "";
}

TEST(OliveCommandTest, AutoOptTakesEveryPrecisionThatProcessorsHave) {
  const std::vector<std::tuple<const char*, bool, const char*>> cases = {{"fp32", false, "simplify"},
                                                                         {"fp16", false, "simplify|fp16"},
                                                                         {"int8", false, "simplify|dynamic_int8"},
                                                                         {"int8", true, "simplify|static_int8"},
                                                                         {"uint8", false, "simplify|dynamic_int8"},
                                                                         {"uint8", true, "simplify|static_int8"},
                                                                         {"int16", true, "simplify|static_int8"},
                                                                         {"uint16", true, "simplify|static_int8"},
                                                                         {"int4", false, "simplify|weights_int4"},
                                                                         {"uint4", true, "simplify|weights_int4"},
                                                                         {"nf4", false, "simplify|weights_int4"}};
  for (const auto& [precision, has_data, stages] : cases) {
    EXPECT_EQ(stages, Stages("auto-opt",
                             {{"precision", {precision}}, {"device", {"cpu"}}, {"provider", {"CPUExecutionProvider"}}},
                             has_data))
        << precision;
  }
}

TEST(OliveCommandTest, OpenvinoHasItsOwnPasses) {
  const OliveArguments base = {{"provider", {"OpenVINOExecutionProvider"}}, {"device", {"cpu"}}};
  const std::vector<std::tuple<const char*, bool, const char*>> cases = {{"fp32", false, "simplify"},
                                                                         {"bf16", false, "simplify"},
                                                                         {"fp16", false, "simplify|openvino_ir"},
                                                                         {"int8", true, "simplify|openvino_int8"},
                                                                         {"int8", false, "simplify|openvino_weights"},
                                                                         {"int4", false, "simplify|openvino_weights"}};
  for (const auto& [precision, has_data, stages] : cases) {
    OliveArguments arguments = base;
    arguments["precision"] = {precision};
    EXPECT_EQ(stages, Stages("optimize", arguments, has_data)) << precision;
  }
}

TEST(OliveCommandTest, WhatNothingComputesInIsRefusedWithWhatIsThere) {
  const Result<Imported> bf16 = TakeLine("auto-opt", {{"precision", {"bf16"}}});
  ASSERT_FALSE(bf16);
  EXPECT_EQ(bf16.error().code, ErrorCode::kRejected);
  EXPECT_THAT(bf16.error().remedy, HasSubstr("fp16"));
  const Result<Imported> without_data = TakeLine("auto-opt", {{"precision", {"int16"}}});
  ASSERT_FALSE(without_data);
  EXPECT_THAT(without_data.error().remedy, HasSubstr("--calibration"));
}

TEST(OliveCommandTest, OptionsShapeThePipeline) {
  const Result<Imported> imported = TakeLine("optimize", {{"precision", {"int4"}},
                                                          {"block_size", {"64"}},
                                                          {"surgeries", {"DeduplicateNodes,ReplaceAttentionMaskValue"}},
                                                          {"use_qdq_format", {}},
                                                          {"dim_param", {"batch"}},
                                                          {"dim_value", {"1"}}});
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(StagesOf(imported->recipe), "simplify|fix_shapes|simplify|weights_int4");
  EXPECT_THAT(RecipeOf(*imported), HasSubstr("group_size: 64"));
  EXPECT_THAT(RecipeOf(*imported), HasSubstr("form: dequantize"));
}

TEST(OliveCommandTest, QuantizeTakesTheAlgorithm) {
  const std::vector<std::tuple<const char*, const char*, const char*>> cases = {
      {"rtn", "int4", "simplify|weights_int4"},  {"rtn", "int8", "simplify|dynamic_int8"},
      {"hqq", "int4", "simplify|weights_int4"},  {"kquant", "int8", "simplify|weights_int8"},
      {"gptq", "int4", "simplify|weights_int4"}, {"awq", "uint4", "simplify|weights_int4"}};
  for (const auto& [algorithm, precision, stages] : cases) {
    EXPECT_EQ(stages, Stages("quantize", {{"algorithm", {algorithm}}, {"precision", {precision}}})) << algorithm;
  }
  const Result<Imported> hqq = TakeLine("quantize", {{"algorithm", {"hqq"}}, {"precision", {"int8"}}});
  ASSERT_FALSE(hqq);
  EXPECT_EQ(hqq.error().code, ErrorCode::kRejected);
  const Result<Imported> aimet = TakeLine("quantize", {{"algorithm", {"lpbq"}}, {"precision", {"int4"}}});
  ASSERT_TRUE(aimet);
  EXPECT_FALSE(aimet->report.Whole());
}

TEST(OliveCommandTest, OnePassTakesItsParametersAsJson) {
  const Result<Imported> imported =
      TakeLine("run-pass", {{"pass-name", {"OnnxDynamicQuantization"}}, {"pass-config", {R"({"per_channel": true})"}}});
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_THAT(RecipeOf(*imported), HasSubstr("per_channel: true"));
  EXPECT_FALSE(TakeLine("run-pass", {}));
  EXPECT_FALSE(TakeLine("run-pass", {{"pass-name", {"OnnxDynamicQuantization"}}, {"pass-config", {"{"}}}));
}

TEST(OliveCommandTest, TuningSearchesTheSettings) {
  const Result<Imported> imported =
      TakeLine("tune-session-params", {{"intra_thread_num_list", {"1", "2"}}, {"opt_level_list", {"99", "1"}}});
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_THAT(RecipeOf(*imported), HasSubstr("graph_optimization: [all, basic]"));
  EXPECT_THAT(RecipeOf(*imported), HasSubstr("intra_op_threads: [1, 2]"));
}

TEST(OliveCommandTest, DevicesAreCheckedAgainstTheirProvider) {
  EXPECT_FALSE(TakeLine("auto-opt", {{"device", {"gpu"}}, {"provider", {"CPUExecutionProvider"}}}));
  const Result<Imported> cuda = TakeLine("auto-opt", {{"device", {"cpu"}}, {"provider", {"CUDAExecutionProvider"}}});
  ASSERT_TRUE(cuda) << "Olive corrects the device of a provider that has one alone";
  EXPECT_EQ(cuda->recipe.targets(0).tags(0), "ort.cuda");
  const Result<Imported> unknown = TakeLine("auto-opt", {{"provider", {"CPUExecutionProvidr"}}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kUsage);
  EXPECT_THAT(unknown.error().message, HasSubstr("did you mean 'CPUExecutionProvider'"));
}

TEST(OliveCommandTest, OtherFormsAreRefusedWithWhatToDoInstead) {
  for (const OliveForm& form : OliveForms()) {
    const Result<> checked = CheckArguments(form.name, {});
    EXPECT_EQ(checked.has_value(), *form.instead == '\0') << form.name;
    if (!checked) {
      EXPECT_EQ(checked.error().remedy, form.instead);
    }
  }
  const Result<> typo = CheckArguments("autoopt", {});
  ASSERT_FALSE(typo);
  EXPECT_THAT(typo.error().message, HasSubstr("did you mean 'auto-opt'"));
  const Result<> foreign = CheckArguments("quantize", {{"dim_param", {"x"}}});
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::kUsage);
}

TEST(OliveCommandTest, EveryFlagNamesFormsThatExist) {
  std::vector<std::string> forms;
  for (const OliveForm& form : OliveForms()) {
    if (*form.instead == '\0') forms.emplace_back(form.name);
  }
  for (const OliveFlag& flag : OliveFlags()) {
    std::string list = flag.forms;
    for (size_t begin = 0; begin < list.size();) {
      const size_t end = std::min(list.find(' ', begin), list.size());
      EXPECT_THAT(forms, testing::Contains(list.substr(begin, end - begin))) << flag.names;
      begin = end + 1;
    }
    EXPECT_FALSE(KeyOf(flag).empty()) << flag.names;
  }
}

}  // namespace
}  // namespace hone::importers
