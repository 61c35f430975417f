#include "client/recipe_flags.h"

#include <gtest/gtest.h>

#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

proto::Recipe Parse(const std::string& yaml) {
  auto recipe = ParseRecipe(yaml, "recipe.yaml");
  EXPECT_TRUE(recipe) << recipe.error().message;
  return recipe ? *recipe : proto::Recipe{};
}

proto::Recipe Usual() {
  return Parse(
      "constraints: {accuracy_drop: 0.01}\n"
      "passes:\n  - simplify\n  - choose: [none, fp16, dynamic_int8, static_int8, weights_int4]\n"
      "backends: {onnxruntime: {intra_op_threads: [1, 2, 8]}, openvino: {inference_precision: [f32, bf16]}}\n");
}

struct Applied {
  proto::Recipe recipe;
  std::vector<std::string> notes;
  Result<> result;
};
Applied Apply(const RecipeFlags& flags, proto::Recipe recipe) {
  Applied applied{std::move(recipe), {}, {}};
  applied.result = ApplyFlags(flags, SmallCatalogue(), applied.recipe, applied.notes);
  return applied;
}

std::vector<std::string> Options(const proto::Recipe& recipe, int stage) {
  std::vector<std::string> names;
  for (const auto& option : recipe.passes(stage).options()) names.push_back(option.pass());
  return names;
}

std::vector<std::string> Choices(const proto::BackendChoice& backend, const std::string& setting) {
  std::vector<std::string> values;
  for (const auto& domain : backend.settings()) {
    if (domain.name() != setting) continue;
    for (const auto& value : domain.choices()) values.push_back(ToText(value));
  }
  return values;
}

TEST(RecipeFlagsTest, WithoutFlagsNothingChanges) {
  const Applied applied = Apply({}, Usual());
  ASSERT_TRUE(applied.result);
  EXPECT_EQ(WriteRecipe(applied.recipe), WriteRecipe(Usual()));
}

TEST(RecipeFlagsTest, BackendsAreKeptWithTheirSettingsOrAdded) {
  RecipeFlags flags;
  flags.backends = {"openvino"};
  const Applied kept = Apply(flags, Usual());
  ASSERT_TRUE(kept.result);
  ASSERT_EQ(kept.recipe.backends_size(), 1);
  EXPECT_EQ(Choices(kept.recipe.backends(0), "inference_precision"), (std::vector<std::string>{"f32", "bf16"}));
  const Applied added = Apply(flags, Parse("backends: {onnxruntime: {}}\n"));
  ASSERT_EQ(added.recipe.backends_size(), 1);
  EXPECT_EQ(added.recipe.backends(0).backend(), "openvino");
}

TEST(RecipeFlagsTest, UnknownBackendIsRejectedWithTheNearest) {
  RecipeFlags flags;
  flags.backends = {"openvin"};
  const Applied applied = Apply(flags, Usual());
  ASSERT_FALSE(applied.result);
  EXPECT_EQ(applied.result.error().code, ErrorCode::kRejected);
  EXPECT_NE(applied.result.error().message.find("'openvino'"), std::string::npos);
}

TEST(RecipeFlagsTest, PrecisionKeepsItsPassesAndTheStructuralOnes) {
  RecipeFlags flags;
  flags.precisions = {"int8"};
  const Applied applied = Apply(flags, Usual());
  ASSERT_TRUE(applied.result) << applied.result.error().message;
  EXPECT_EQ(Options(applied.recipe, 0), std::vector<std::string>{"simplify"});
  EXPECT_EQ(Options(applied.recipe, 1), (std::vector<std::string>{"dynamic_int8", "static_int8"}));
  EXPECT_EQ(Choices(applied.recipe.backends(1), "inference_precision"), std::vector<std::string>{"f32"});
  ASSERT_EQ(applied.notes.size(), 1U);
  EXPECT_NE(applied.notes[0].find("fp16, weights_int4"), std::string::npos);
}

TEST(RecipeFlagsTest, Fp32IsNoneInF32) {
  RecipeFlags flags;
  flags.precisions = {"fp32"};
  const Applied applied = Apply(flags, Usual());
  ASSERT_TRUE(applied.result);
  EXPECT_EQ(Options(applied.recipe, 1), std::vector<std::string>{""});
  EXPECT_EQ(Choices(applied.recipe.backends(1), "inference_precision"), std::vector<std::string>{"f32"});
  EXPECT_EQ(applied.recipe.backends_size(), 2);
}

TEST(RecipeFlagsTest, Bf16RunsTheOriginalWhereTheRuntimeCanDoIt) {
  RecipeFlags flags;
  flags.precisions = {"bf16"};
  const Applied applied = Apply(flags, Usual());
  ASSERT_TRUE(applied.result) << applied.result.error().message;
  EXPECT_EQ(Options(applied.recipe, 1), std::vector<std::string>{""});
  ASSERT_EQ(applied.recipe.backends_size(), 1);
  EXPECT_EQ(Choices(applied.recipe.backends(0), "inference_precision"), std::vector<std::string>{"bf16"});
}

TEST(RecipeFlagsTest, TwoStagesOfWishedPrecisionsKeepNone) {
  RecipeFlags flags;
  flags.precisions = {"int8", "int4"};
  const Applied applied =
      Apply(flags, Parse("passes: [{choose: [none, dynamic_int8]}, {choose: [none, weights_int4]}]\n"));
  ASSERT_TRUE(applied.result);
  EXPECT_EQ(Options(applied.recipe, 0), (std::vector<std::string>{"", "dynamic_int8"}));
  EXPECT_EQ(Options(applied.recipe, 1), (std::vector<std::string>{"", "weights_int4"}));
}

TEST(RecipeFlagsTest, UnknownAndUnreachablePrecisionsAreRefused) {
  RecipeFlags flags;
  flags.precisions = {"int3"};
  EXPECT_EQ(Apply(flags, Usual()).result.error().code, ErrorCode::kUsage);
  for (const char* word : {"INT8", "8bit", "w8a8"}) {
    flags.precisions = {word};
    const auto refused = Apply(flags, Usual());
    ASSERT_FALSE(refused.result) << word;
    EXPECT_NE(refused.result.error().message.find("did you mean 'int8'?"), std::string::npos) << word;
  }
  flags.precisions = {"int4"};
  const Applied none = Apply(flags, Parse("passes: [{choose: [none, fp16]}]\n"));
  ASSERT_FALSE(none.result);
  EXPECT_EQ(none.result.error().code, ErrorCode::kRejected);
  const Applied fixed = Apply(flags, Parse("passes:\n  - fp16\n  - choose: [none, weights_int4]\n"));
  ASSERT_FALSE(fixed.result);
  EXPECT_EQ(fixed.result.error().line, 2U);
}

TEST(RecipeFlagsTest, LimitsObjectivesAndBudgetsReplaceTheRecipes) {
  RecipeFlags flags;
  flags.max_accuracy_drop = 0.05;
  flags.minimize = {"size_bytes"};
  flags.maximize = {"throughput_per_s"};
  flags.trials = 9;
  flags.time_ms = 60'000;
  flags.seed = 4;
  flags.threads = 2;
  const Applied applied = Apply(flags, Usual());
  ASSERT_TRUE(applied.result);
  ASSERT_EQ(applied.recipe.constraints_size(), 1);
  EXPECT_DOUBLE_EQ(applied.recipe.constraints(0).maximum(), 0.05);
  ASSERT_EQ(applied.recipe.objectives_size(), 2);
  EXPECT_EQ(applied.recipe.objectives(0).metric(), "size_bytes");
  EXPECT_TRUE(applied.recipe.objectives(1).maximize());
  EXPECT_EQ(applied.recipe.search().trials(), 9U);
  EXPECT_EQ(applied.recipe.search().time_ms(), 60'000U);
  EXPECT_EQ(applied.recipe.search().seed(), 4U);
  EXPECT_EQ(Choices(applied.recipe.backends(0), "intra_op_threads"), (std::vector<std::string>{"1", "2"}));
}

TEST(RecipeFlagsTest, SharesArePlainOrPercent) {
  EXPECT_DOUBLE_EQ(*ParseShare("0.01"), 0.01);
  EXPECT_DOUBLE_EQ(*ParseShare("2%"), 0.02);
  for (const char* text : {"", "%", "-1", "x", "nan"}) EXPECT_FALSE(ParseShare(text)) << text;
}

TEST(RecipeFlagsTest, DefaultBackendIsTheReferenceWhereItLoadsTheFormat) {
  EXPECT_EQ(*DefaultBackend(SmallCatalogue(), "onnx"), "onnxruntime");
  EXPECT_EQ(*DefaultBackend(SmallCatalogue(), "openvino_ir"), "openvino");
  EXPECT_EQ(DefaultBackend(SmallCatalogue(), "tflite").error().code, ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone::test
