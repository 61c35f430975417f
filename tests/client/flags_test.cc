#include "client/flags.h"

#include <gtest/gtest.h>

#include "client/command.h"
#include "client/recipe_flags.h"
#include "client/remote.h"
#include "client/step_flags.h"
#include "common/base/strings.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

struct Parsed {
  std::string model;
  std::string output;
  std::vector<std::string> settings;
  std::vector<std::string> backends;
  std::optional<uint64_t> trials;
  std::optional<int64_t> time_ms;
  bool quiet = false;
};

Flags Declare(Parsed& into) {
  Flags flags;
  flags.Argument("MODEL", "", into.model);
  flags.RequiredText("-o,--output", "DIR", "", into.output);
  flags.List("--set", "K=V", "", into.settings, LooksLikeAssignment);
  flags.CommaList("--backend", "B", "", into.backends);
  flags.Count("--trials", "N", "", into.trials, 1, 100);
  flags.Duration("--time", "", into.time_ms);
  flags.Toggle("-q,--quiet", "", into.quiet);
  return flags;
}

Error ErrorOf(const std::vector<std::string>& words) {
  Parsed parsed;
  const auto outcome = Declare(parsed).Parse("demo", words);
  EXPECT_FALSE(outcome);
  return outcome ? Error{} : outcome.error();
}

TEST(FlagsTest, EveryKindArrives) {
  Parsed parsed;
  const auto outcome = Declare(parsed).Parse("demo", {"--set", "a=1", "b=2", "m.onnx", "-o", "out", "--backend", "x,y",
                                                      "--trials", "7", "--time", "2m", "-q"});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(*outcome, Flags::Outcome::run);
  EXPECT_EQ(parsed.model, "m.onnx");
  EXPECT_EQ(parsed.output, "out");
  EXPECT_EQ(parsed.settings, (std::vector<std::string>{"a=1", "b=2"}));
  EXPECT_EQ(parsed.backends, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(parsed.trials, 7U);
  EXPECT_EQ(parsed.time_ms, 120'000);
  EXPECT_TRUE(parsed.quiet);
}

TEST(FlagsTest, ListDoesNotSwallowThePositional) {
  Parsed parsed;
  ASSERT_TRUE(Declare(parsed).Parse("demo", {"-o", "out", "--set", "a=1", "m.onnx"}));
  EXPECT_EQ(parsed.model, "m.onnx");
  EXPECT_EQ(parsed.settings, std::vector<std::string>{"a=1"});
}

TEST(FlagsTest, MistypedFlagGetsTheNearestEvenWhereSomethingElseIsMissing) {
  const Error error = ErrorOf({"m.onnx", "--trails", "3"});
  EXPECT_EQ(error.code, ErrorCode::kUsage);
  EXPECT_NE(error.message.find("--trails"), std::string::npos);
  EXPECT_NE(error.message.find("'--trials'"), std::string::npos);
}

TEST(FlagsTest, MissingArgumentsAreNamed) {
  EXPECT_NE(ErrorOf({"m.onnx"}).message.find("-o DIR"), std::string::npos);
  EXPECT_NE(ErrorOf({"-o", "out"}).message.find("MODEL"), std::string::npos);
}

TEST(FlagsTest, SurplusAndRepeatedAndMalformedAreUsageErrors) {
  EXPECT_NE(ErrorOf({"a", "b", "-o", "out"}).message.find("'b'"), std::string::npos);
  EXPECT_NE(ErrorOf({"a", "-o", "out", "-o", "other"}).message.find("2 times"), std::string::npos);
  for (const char* value : {"0", "101", "-1", "many", "1.5", ""}) {
    EXPECT_EQ(ErrorOf({"a", "-o", "out", "--trials", value}).code, ErrorCode::kUsage) << value;
  }
  EXPECT_EQ(ErrorOf({"a", "-o", "out", "--time", "soon"}).code, ErrorCode::kUsage);
}

TEST(FlagsTest, HelpWinsOverMissingArguments) {
  Parsed parsed;
  const auto outcome = Declare(parsed).Parse("demo", {"--help"});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, Flags::Outcome::help);
}

TEST(CommandTest, HelpFitsAScreenAndBeginsWithExamples) {
  const std::vector<std::string> lines = Split(TopHelp(), '\n');
  EXPECT_LE(lines.size(), 41U);
  EXPECT_LT(TopHelp().find("hone optimize model.onnx"), TopHelp().find("Optimise a model, here"));
  for (const Command& command : Commands()) EXPECT_NE(TopHelp().find(command.name), std::string::npos) << command.name;
}

TEST(CommandTest, EveryCommandDeclaresDistinctFlags) {
  for (const Command& command : Commands()) {
    Flags flags;
    ASSERT_TRUE(command.define(flags)) << command.name;
    // CLI11 refuses a name declared twice.
    EXPECT_TRUE(flags.Parse(command.name, {"--help"})) << command.name;
  }
}

TEST(StepFlagsTest, PassWithTypedParameters) {
  const auto step = ParsePass("dynamic_int8:per_channel=true", SmallCatalogue());
  ASSERT_TRUE(step) << step.error().message;
  EXPECT_EQ(step->pass(), "dynamic_int8");
  ASSERT_EQ(step->parameters_size(), 1);
  EXPECT_TRUE(step->parameters(0).value().boolean());
}

TEST(StepFlagsTest, UnknownPassOrParameterOffersTheNearest) {
  const auto pass = ParsePass("dynamic_int", SmallCatalogue());
  ASSERT_FALSE(pass);
  EXPECT_EQ(pass.error().code, ErrorCode::kRejected);
  EXPECT_NE(pass.error().message.find("'dynamic_int8'"), std::string::npos);
  const auto parameter = ParsePass("dynamic_int8:perchannel=true", SmallCatalogue());
  ASSERT_FALSE(parameter);
  EXPECT_NE(parameter.error().message.find("per_channel"), std::string::npos);
}

TEST(StepFlagsTest, SettingsWithoutValueOrGivenTwiceAreUsageErrors) {
  const auto infos = SmallCatalogue().backends(0).settings();
  for (const std::vector<std::string>& words : {std::vector<std::string>{"intra_op_threads"},
                                                {"=3"},
                                                {"intra_op_threads="},
                                                {"intra_op_threads=1", "intra_op_threads=2"}}) {
    const auto settings = ParseSettings(words, infos, "onnxruntime");
    ASSERT_FALSE(settings);
    EXPECT_EQ(settings.error().code, ErrorCode::kUsage) << settings.error().message;
  }
}

TEST(StepFlagsTest, TextParameterKeepsANumberAsText) {
  google::protobuf::RepeatedPtrField<proto::ParameterInfo> infos;
  *infos.Add() = ParameterInfoOf("streams", proto::ParameterInfo::TEXT);
  const auto settings = ParseSettings({"streams=1"}, infos, "openvino");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ((*settings)[0].value().text(), "1");
}

TEST(StepFlagsTest, FormatsMustChain) {
  const proto::Catalogue catalogue = SmallCatalogue();
  proto::PassStep ir;
  ir.set_pass("openvino_ir");
  proto::PassStep fp16;
  fp16.set_pass("fp16");
  EXPECT_EQ(*ChainFormats({fp16, ir}, catalogue, "onnx"), "openvino_ir");
  const auto backwards = ChainFormats({ir, fp16}, catalogue, "onnx");
  ASSERT_FALSE(backwards);
  EXPECT_EQ(backwards.error().code, ErrorCode::kRejected);
}

TEST(StepFlagsTest, FilesAreNoPasses) {
  EXPECT_TRUE(LooksLikePass("fp16"));
  EXPECT_TRUE(LooksLikePass("static_int8:observer=minmax"));
  EXPECT_FALSE(LooksLikePass("model.onnx"));
  EXPECT_FALSE(LooksLikePass("dir/fp16"));
}

TEST(RemoteTest, JobReferences) {
  EXPECT_EQ(ParseJobReference("42")->job, 42U);
  EXPECT_FALSE(ParseJobReference("42")->trial);
  EXPECT_EQ(*ParseJobReference("42/17")->trial, 17U);
  EXPECT_EQ(*ParseJobReference("42/baseline")->trial, 0U);
  EXPECT_FALSE(ParseJobReference("42/best")->trial);
  for (const char* text : {"", "x", "0", "-3", "42/", "42/x", "4 2"}) {
    const auto reference = ParseJobReference(text);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code, ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace hone::test
