// Recipes that ask how well work is confined, and workers that confine it more or less.
#include <gmock/gmock.h>

#include "common/recipe/sandbox_level.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string RecipeWith(const std::string& level) { return std::string(kRecipe) + "sandbox: " + level + "\n"; }

TEST(SandboxLevelTest, AHigherLevelServesALowerDemand) {
  const std::vector<std::string> full = {"cpu", "sandbox=full"}, partial = {"sandbox=partial"}, silent = {"cpu"};
  EXPECT_TRUE(HasTag(full, "sandbox=partial"));
  EXPECT_TRUE(HasTag(partial, "sandbox=partial"));
  EXPECT_FALSE(HasTag(partial, "sandbox=full"));
  EXPECT_TRUE(HasTag(silent, "sandbox=none"));
  EXPECT_FALSE(HasTag(silent, "sandbox=partial"));
  EXPECT_FALSE(HasTag(full, "sandbox=fuller"));
  EXPECT_TRUE(HasTag(full, "cpu"));
  EXPECT_FALSE(HasTag(full, "gpu"));
}

TEST(SandboxTest, WorkOfAJobGoesToWorkersOfItsLevelAndAbove) {
  Harness harness;
  auto loose = harness.Worker("loose", {"cpu", "sandbox=none"});
  auto partial = harness.Worker("partial", {"cpu", "sandbox=partial"});
  const uint64_t job = harness.Submit(RecipeWith("partial"));
  EXPECT_FALSE(loose.Take());
  partial.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_THAT(harness.Query("SELECT DISTINCT worker FROM attempts"), ElementsAre("partial"));
  // Without a demand everybody may.
  harness.Submit(kRecipe, "another model");
  EXPECT_TRUE(loose.Take());
}

TEST(SandboxTest, DemandThatNobodyMeetsIsRefusedWithTheLevelsThereAre) {
  Harness harness;
  auto one = harness.Worker("one", {"cpu", "sandbox=partial"});
  auto two = harness.Worker("two", {"cpu"});
  const auto refused = harness.Call("client", harness.Submission(RecipeWith("full")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kRejected);
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("sandbox=full"), HasSubstr("sandbox=partial (one)"), HasSubstr("sandbox=none (two)")));
  // Another lack is told as before.
  const auto elsewhere = harness.Call("client", harness.Submission(RecipeWith("full") + "targets: [{tags: [gpu]}]\n"));
  ASSERT_FALSE(elsewhere);
  EXPECT_THAT(elsewhere.error().message, HasSubstr("no worker has all tags of the target [gpu, sandbox=full]"));
}

TEST(SandboxTest, LevelThatIsNoneOfAnotherProgramIsRefused) {
  Harness harness;
  auto one = harness.Worker("one");
  auto submission = harness.Submission(kRecipe);
  submission.mutable_submit_job()->mutable_recipe()->set_sandbox("fulll");
  const auto refused = harness.Call("client", submission);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("did you mean 'full'?"));
}

TEST(SandboxTest, CheckShowsTheLevelWithTheTargetAndItsWorkers) {
  Harness harness;
  auto loose = harness.Worker("loose", {"cpu"});
  auto full = harness.Worker("tight", {"cpu", "sandbox=full"});
  const auto checked = harness.Call("client", FrameOf([&](auto& frame) {
    *frame.mutable_check_recipe()->mutable_recipe() = Recipe(RecipeWith("partial"));
    frame.mutable_check_recipe()->set_model_format("onnx");
  }));
  ASSERT_TRUE(checked) << checked.error().message;
  const auto& study = checked->check_recipe_reply().studies(0);
  EXPECT_THAT(study.tags(), ::testing::Contains("sandbox=partial"));
  EXPECT_THAT(study.workers(), ElementsAre("tight"));
}

}  // namespace
}  // namespace hone::test
