// Sensitivity tables as what samplers are told.
#include "coordinator/search/hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kPasses =
    "passes: [{choose: [none, {mixed: {precision: {groups: 3, choices: [fp32, fp16, int8]}, method: [measured, "
    "plain]}}]}]\nbackends: {onnxruntime: , openvino: }\n";

struct Case {
  proto::Recipe recipe;
  Space space;
};

Case CaseOf(const std::string& more, const std::string& passes = kPasses) {
  auto recipe = ParseRecipe(passes + more, "r.yaml");
  EXPECT_TRUE(recipe) << recipe.error().message;
  auto space = Space::Build(*recipe, GroupCatalogue(), AllInputs());
  EXPECT_TRUE(space) << space.error().message;
  return {*recipe, space ? *space : Space()};
}

void AddLoss(proto::SensitivityResult& table, const std::string& group, uint32_t step, double loss, double gain_ms) {
  auto& added = *table.add_group();
  added.set_name(group);
  added.set_parameters(1000 * (step + 1));
  added.add_losses()->set_step(step);
  added.mutable_losses(0)->set_loss(loss);
  added.mutable_losses(0)->set_gain_ms(gain_ms);
}

TEST(HintsTest, EachCheaperPrecisionIsAskedForWithAllGroupsAtIt) {
  const Case one = CaseOf("");
  const SensitivityPlan plan = SensitivityPlanOf(one.space, one.recipe.search());
  ASSERT_THAT(plan.steps, SizeIs(2));
  EXPECT_EQ(plan.steps[0].pass(), "mixed");
  // The rest as preferred, in the canonical order.
  EXPECT_EQ(CanonicalParameters(plan.steps[0].parameters()),
            "{\"method\":\"plain\",\"precision.0\":\"fp16\",\"precision.1\":\"fp16\",\"precision.2\":\"fp16\"}");
  EXPECT_EQ(Find(plan.steps[1].parameters(), "precision.2")->text(), "int8");
  ASSERT_THAT(plan.places, SizeIs(6));
  EXPECT_EQ(plan.places[4].step, 1u);
  EXPECT_EQ(plan.places[4].group, "precision.1");
  EXPECT_EQ(plan.places[4].choice, 2u);
  EXPECT_EQ(one.space.dimensions()[plan.places[4].dimension].name, "passes.0.mixed.precision.1");
}

TEST(HintsTest, NothingIsAskedForWithoutGroupsOrWithAnotherSampler) {
  for (const char* search :
       {"search: {sampler: tpe, trials: 9}", "search: {sampler: auto, order: pass_by_pass, trials: 9}"}) {
    const Case one = CaseOf(search);
    EXPECT_THAT(SensitivityPlanOf(one.space, one.recipe.search()).steps, IsEmpty()) << search;
  }
  const Case plain = CaseOf("", "passes: [{choose: [none, {fp16: {scale: [0.1, 0.5]}}]}]\n");
  EXPECT_THAT(SensitivityPlanOf(plain.space, plain.recipe.search()).steps, IsEmpty());
}

TEST(HintsTest, EntriesOfTheTableFindTheirDimensionsAndBrokenOnesAreLeftOut) {
  const Case one = CaseOf("");
  const SensitivityPlan plan = SensitivityPlanOf(one.space, one.recipe.search());
  proto::SensitivityResult table;
  AddLoss(table, "precision.1", 1, 0.25, 3);
  AddLoss(table, "precision.0", 0, std::numeric_limits<double>::infinity(), 1);
  AddLoss(table, "precision.7", 0, 0.5, 1);
  AddLoss(table, "precision.2", 9, 0.5, 1);
  const size_t first = plan.places[0].dimension;
  EXPECT_THAT(HintsOf(plan, table, "latency_ms_p50"), ElementsAre(GroupHint{first + 1, 2, 0.25, 3}));
  // What size wants is told by the weights.
  EXPECT_THAT(HintsOf(plan, table, "size_bytes"), ElementsAre(GroupHint{first + 1, 2, 0.25, 2000}));
  // A table without times falls back on them, too.
  table.mutable_group(1)->mutable_losses(0)->clear_gain_ms();
  EXPECT_THAT(HintsOf(plan, table, "latency_ms_p50"), ElementsAre(GroupHint{first + 1, 2, 0.25, 2000}));
  EXPECT_THAT(HintsOf(plan, proto::SensitivityResult(), "latency_ms_p50"), IsEmpty());
}

TEST(HintsTest, WhereLabelsAreCountedTheNoiseTellsTheLoss) {
  const Case one = CaseOf("");
  const SensitivityPlan plan = SensitivityPlanOf(one.space, one.recipe.search());
  proto::SensitivityResult table;
  AddLoss(table, "precision.0", 0, 0, 3);
  table.mutable_group(0)->mutable_losses(0)->set_sqnr_db(20);
  table.set_metric("top1");
  EXPECT_DOUBLE_EQ(HintsOf(plan, table, "latency_ms_p50").at(0).loss, 0.01);
  table.set_metric("cosine");
  EXPECT_DOUBLE_EQ(HintsOf(plan, table, "latency_ms_p50").at(0).loss, 0);
}

}  // namespace
}  // namespace hone
