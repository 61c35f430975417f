// Samplers that results guide: durable, never repeating, whatever the results are, and better than chance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "coordinator/search/coded.h"
#include "coordinator/search/sampler.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::HasSubstr;

Result<Space> GroupSpace(const std::string& yaml, const SpaceInputs& inputs = AllInputs()) {
  TRY_ASSIGN(const proto::Recipe recipe, ParseRecipe(yaml, "r.yaml"));
  return Space::Build(recipe, GroupCatalogue(), inputs);
}

const char* const kMixed =
    "passes: [{choose: [none, {mixed: {precision: {groups: 8, choices: [fp32, fp16, int8]}, method: [plain, "
    "measured]}}, {static_int8: {observer: [minmax, percentile], "
    "percentile: {when: {observer: percentile}, range: [99, 100]}}}]}]\nbackends: {onnxruntime: {intra_op_threads: [1, "
    "2, 4]}, openvino: }";
const char* const kConditional =
    "passes: [{choose: [none, openvino_ir]}, {choose: [none, {static_int8: {observer: [minmax, percentile, mse], "
    "percentile: {when: {observer: percentile}, range: [99, "
    "100], step: 0.1}}}, {fp16: {scale: {range: [0.001, 1], log: true}, blocks: {range: [1, 64]}}}]}]\nbackends: "
    "{onnxruntime: {intra_op_threads: [1, 2, 3, 4]}, openvino: }";

// A made-up cost: every value of every dimension adds something of its own.
double CostOf(const Point& point) {
  double cost = 1;
  for (size_t d = 0; d < point.size(); ++d) {
    if (point[d] != kAbsent) cost += 0.1 * std::fmod(std::fabs(point[d]) * 0.37 + 0.61 * static_cast<double>(d), 1.0);
  }
  return cost;
}

enum class Outcomes { kClean, kEvery };

void End(const CodedSpace& coded, size_t objectives, Outcomes outcomes, Observation& observation) {
  const Point point = *coded.Encode(observation.assignment);
  const double cost = CostOf(point);
  observation.state = proto::TRIAL_COMPLETE;
  observation.values.assign(objectives, cost);
  if (objectives > 1) observation.values[1] = 1 / cost + point.size() * 0.01 * std::fmod(cost * 7, 1.0);
  observation.constraints = {cost - 1.6};
  if (outcomes == Outcomes::kClean) return;
  switch (PointHash()(point) % 8) {
    case 0:
      observation.state = proto::TRIAL_FAILED;
      observation.violation = std::numeric_limits<double>::infinity();
      observation.values.clear();
      break;
    case 1:
      observation.state = proto::TRIAL_INFEASIBLE;
      observation.violation = cost;
      observation.values.clear();
      break;
    case 2: observation.values[0] = std::nan(""); break;
    case 3: observation.values[0] = (point.size() % 2 == 0 ? 1 : -1) * std::numeric_limits<double>::infinity(); break;
    case 4:
      observation.state = proto::TRIAL_PRUNED;
      observation.violation = std::numeric_limits<double>::infinity();
      observation.constraints = {std::nan("")};
      break;
    case 5:
      observation.state = proto::TRIAL_INFEASIBLE;
      observation.violation = std::nan("");
      observation.values = {1e308, -1e308};
      break;
    case 6: observation.values.clear(); observation.constraints = {1e300}; break;
    default: break;
  }
}

struct Search {
  std::vector<Observation> observations;
  size_t repeats = 0;
};

struct SearchPlan {
  std::string sampler;
  std::string order = "";
  size_t trials = 60;
  size_t parallel = 1;
  size_t objectives = 1;
  Outcomes outcomes = Outcomes::kEvery;
  bool rebuild = false;      // A new sampler for every ask, which is told nothing of lineage.
  uint64_t seed = 5;
};

Search RunSearch(const Space& space, const SearchPlan& plan) {
  const CodedSpace coded(space);
  proto::Search search;
  search.set_sampler(plan.sampler);
  search.set_order(plan.order);
  auto sampler = *MakeSampler(search);
  Search result;
  std::set<std::string> seen;
  while (result.observations.size() < plan.trials) {
    if (plan.rebuild) sampler = *MakeSampler(search);
    const StudyView view{&space, &result.observations, plan.seed, plan.rebuild ? 0u : 1u, plan.trials, false};
    const auto asked = sampler->Ask(view, result.observations.size() + 1);
    EXPECT_TRUE(asked) << asked.error().message;
    if (!asked || !*asked) break;
    EXPECT_TRUE(space.Valid(**asked));
    if (!seen.insert(CanonicalCandidate(space.ToCandidate(**asked))).second) ++result.repeats;
    Observation observation;
    observation.trial = result.observations.size() + 1;
    observation.assignment = **asked;
    observation.state = proto::TRIAL_RUNNING;
    result.observations.push_back(std::move(observation));
    if (result.observations.size() >= plan.parallel)
      End(coded, plan.objectives, plan.outcomes, result.observations[result.observations.size() - plan.parallel]);
  }
  return result;
}

std::vector<std::string> Texts(const Space& space, const Search& search) {
  std::vector<std::string> texts;
  for (const Observation& observation : search.observations)
    texts.push_back(CanonicalCandidate(space.ToCandidate(observation.assignment)));
  return texts;
}

class GuidedSamplers : public ::testing::TestWithParam<std::string> {};

TEST_P(GuidedSamplers, ARebuiltSamplerProposesTheSame) {
  for (const char* yaml : {kMixed, kConditional}) {
    const Space space = *GroupSpace(yaml);
    for (const size_t parallel : {1, 8}) {
      for (const size_t objectives : {1, 2}) {
        const SearchPlan plan{GetParam(), "", 40, parallel, objectives};
        SearchPlan rebuilt = plan;
        rebuilt.rebuild = true;
        EXPECT_EQ(Texts(space, RunSearch(space, plan)), Texts(space, RunSearch(space, rebuilt)))
            << yaml << " " << parallel << " " << objectives;
      }
    }
  }
}

TEST_P(GuidedSamplers, NeverRepeatsWithEightWorkersWhateverComesOut) {
  for (const char* yaml : {kMixed, kConditional}) {
    const Space space = *GroupSpace(yaml);
    for (const uint64_t seed : {1, 2}) {
      const Search search = RunSearch(space, {GetParam(), "", 150, 8, 1, Outcomes::kEvery, false, seed});
      EXPECT_EQ(search.observations.size(), 150u);
      EXPECT_EQ(search.repeats, 0u);
    }
  }
}

TEST_P(GuidedSamplers, PassByPassIsDurableAndNeverRepeats) {
  const Space space = *GroupSpace(kConditional);
  const SearchPlan plan{GetParam(), "pass_by_pass", 40, 3};
  const Search search = RunSearch(space, plan);
  EXPECT_EQ(search.repeats, 0u);
  EXPECT_EQ(search.observations.size(), 40u);
  SearchPlan rebuilt = plan;
  rebuilt.rebuild = true;
  EXPECT_EQ(Texts(space, search), Texts(space, RunSearch(space, rebuilt)));
}

TEST_P(GuidedSamplers, FindsMoreThanChance) {
  const Space space = *GroupSpace(kMixed);
  const CodedSpace coded(space);
  const auto best = [&](const std::string& sampler) {
    std::vector<double> found;
    for (uint64_t seed = 0; seed < 7; ++seed) {
      double least = std::numeric_limits<double>::infinity();
      for (const Observation& one :
           RunSearch(space, {sampler, "", 100, 1, 1, Outcomes::kClean, false, seed}).observations)
        least = std::min(least, CostOf(*coded.Encode(one.assignment)));
      found.push_back(least);
    }
    std::sort(found.begin(), found.end());
    return found[found.size() / 2];
  };
  EXPECT_LE(best(GetParam()), best("random"));
}

INSTANTIATE_TEST_SUITE_P(All, GuidedSamplers, ::testing::Values("auto", "tpe", "nsga2", "local"),
                         [](const auto& row) { return row.param; });

TEST(AutoSamplerTest, LeavesTheLastTenthToRacesWhereTheyAreRun) {
  const Space space = *GroupSpace(kMixed);
  const CodedSpace coded(space);
  auto sampler = *MakeSampler("auto");
  std::vector<Observation> observations;
  for (uint64_t trial = 1;; ++trial) {
    const auto asked = sampler->Ask({&space, &observations, 3, 1, 40, true}, trial);
    ASSERT_TRUE(asked);
    if (!*asked) break;
    Observation observation;
    observation.trial = trial;
    observation.assignment = **asked;
    End(coded, 1, Outcomes::kClean, observation);
    observations.push_back(std::move(observation));
  }
  EXPECT_EQ(observations.size(), 36u);
  EXPECT_EQ(RaceReserve(40), 4u);
}

TEST(AutoSamplerTest, TriesAllThatFitsTheBudget) {
  const Space space = *GroupSpace("passes: [{choose: [none, fp16, {dynamic_int8: {per_channel: [true, false]}}]}]");
  EXPECT_EQ(RunSearch(space, {"auto", "", 50, 4}).observations.size(), *space.Size());
}

TEST(AutoSamplerTest, ProbesGroupsOnTheBestPresetAfterThePresets) {
  const Space space = *GroupSpace(
      "passes: [{mixed: {precision: {groups: 8, choices: [fp32, fp16, int8]}}}]\nbackends: {onnxruntime: }");
  ASSERT_EQ(space.Presets().size(), 3u);
  auto sampler = *MakeSampler("auto");
  std::vector<Observation> observations;
  std::vector<std::pair<size_t, size_t>> counts;   // Of fp16 and int8.
  for (uint64_t trial = 1; trial <= 11; ++trial) {
    const auto asked = sampler->Ask({&space, &observations, 5, 1, 35, false}, trial);
    ASSERT_TRUE(asked && *asked);
    size_t half = 0, eight = 0;
    for (const auto& [dimension, value] : **asked) {
      half += value.text() == "fp16" ? 1 : 0;
      eight += value.text() == "int8" ? 1 : 0;
    }
    counts.emplace_back(half, eight);
    // Many groups in int8 lose too much.
    Observation observation;
    observation.trial = trial;
    observation.assignment = **asked;
    observation.constraints = {static_cast<double>(eight) - 4.5};
    observation.state = eight > 4 ? proto::TRIAL_INFEASIBLE : proto::TRIAL_COMPLETE;
    observation.violation = std::max(0.0, static_cast<double>(eight) - 4.5);
    if (eight <= 4) observation.values = {2 - 0.1 * static_cast<double>(half) - 0.2 * static_cast<double>(eight)};
    observations.push_back(std::move(observation));
  }
  counts.erase(counts.begin(), counts.begin() + 3);
  EXPECT_THAT(counts, ::testing::Each(std::pair<size_t, size_t>(7, 1)));
}

TEST(AutoSamplerTest, ASensitivityTableTakesTheProbesPlace) {
  const Space space = *GroupSpace(
      "passes: [{mixed: {precision: {groups: 8, choices: [fp32, fp16, int8]}}}]\nbackends: {onnxruntime: }");
  const CodedSpace coded(space);
  // Odd groups cost accuracy and gain nothing; the table says so.
  std::vector<GroupHint> hints;
  for (size_t g = 0; g < 8; ++g) {
    for (uint64_t level : {1, 2})
      hints.push_back({1 + g, level, g % 2 == 1 ? 1.0 * static_cast<double>(level) : 0.01,
                       g % 2 == 1 ? 0.001 : 0.1 * static_cast<double>(level)});
  }
  std::vector<Observation> observations;
  for (uint64_t trial = 1; trial <= 16; ++trial) {
    const auto asked = (*MakeSampler("auto"))->Ask({&space, &observations, 3, 0, 40, false, &hints}, trial);
    ASSERT_TRUE(asked && *asked);
    Observation observation;
    observation.trial = trial;
    observation.assignment = **asked;
    const Point point = *coded.Encode(**asked);
    double loss = 0, gain = 0;
    for (size_t g = 0; g < 8; ++g) {
      loss += g % 2 == 1 ? point[1 + g] : 0;
      gain += g % 2 == 1 ? 0 : 0.1 * point[1 + g];
    }
    observation.constraints = {loss - 0.5};
    observation.state = loss > 0.5 ? proto::TRIAL_INFEASIBLE : proto::TRIAL_COMPLETE;
    observation.violation = std::max(0.0, loss - 0.5);
    if (loss <= 0.5) observation.values = {1 - gain};
    observations.push_back(std::move(observation));
  }
  double best = 1;
  for (const Observation& one : observations) best = one.values.empty() ? best : std::min(best, one.values[0]);
  EXPECT_LE(best, 0.31);
}

TEST(GroupSpaceTest, AParameterForGroupsIsOneDimensionAGroup) {
  const auto space =
      GroupSpace("passes: [{mixed: {precision: {groups: 3, choices: [fp32, int8]}}}]\nbackends: {onnxruntime: }");
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ(space->Size(), 8u);
  EXPECT_EQ(space->dimensions()[1].name, "passes.0.mixed.precision.0");
  EXPECT_TRUE(space->dimensions()[3].group);
  EXPECT_EQ(CandidateText(space->ToCandidate(*space->At(1))),
            "mixed(precision.0=fp32, precision.1=fp32, precision.2=int8) on onnxruntime");
  // All groups alike come first.
  ASSERT_EQ(space->Presets().size(), 2u);
  EXPECT_EQ(CandidateText(space->ToCandidate(space->Presets()[1])),
            "mixed(precision.0=int8, precision.1=int8, precision.2=int8) on onnxruntime");
}

TEST(GroupSpaceTest, ARuleOnGroupsHoldsWhereAllGroupsHaveTheValue) {
  proto::Catalogue catalogue = GroupCatalogue();
  proto::PassInfo& mixed = *catalogue.mutable_passes()->rbegin();
  proto::Impossible::Term& term = *mixed.add_impossible()->add_terms();
  term.set_parameter("precision");
  *term.add_values() = TextValue("fp32");
  *term.add_values() = TextValue("fp16");
  const auto recipe = ParseRecipe(
      "passes: [{mixed: {precision: {groups: 4, choices: [fp32, fp16, int8]}}}]\nbackends: {onnxruntime: }", "r.yaml");
  ASSERT_TRUE(recipe);
  const auto space = Space::Build(*recipe, catalogue, AllInputs());
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ(space->Size(), 81u - 16u);
  ASSERT_FALSE(space->Presets().empty());
  for (const Assignment& preset : space->Presets()) EXPECT_TRUE(space->Valid(preset));
  // As a worker sees it.
  const auto parameters = [&](std::initializer_list<const char*> words) {
    google::protobuf::RepeatedPtrField<proto::Parameter> given;
    for (const char* word : words) {
      given.Add()->set_name("precision." + std::to_string(given.size() - 1));
      *given.rbegin()->mutable_value() = TextValue(word);
    }
    return CheckTogether(mixed.impossible(), mixed.parameters(), given, "mixed").has_value();
  };
  EXPECT_TRUE(parameters({"fp32", "int8"}));
  EXPECT_FALSE(parameters({"fp32", "fp16"}));
}

TEST(GroupSpaceTest, GroupsOfAWholeModelParameterAreRefused) {
  const auto space = GroupSpace("passes: [{mixed: {method: {groups: 3, choices: [plain, measured]}}}]");
  ASSERT_FALSE(space);
  EXPECT_THAT(space.error().message, HasSubstr("not for groups of layers"));
  const auto unknown = GroupSpace("passes: [{mixed: {precision.x: fp32}}]");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("no parameter 'precision.x'"));
}

TEST(GroupSpaceTest, ValuesThatNeedCalibrationAreNeverProposedWithoutIt) {
  const char* const yaml =
      "passes: [{mixed: {precision.0: fp32, method: [plain, measured]}}]\nbackends: {onnxruntime: }\n";
  EXPECT_EQ(GroupSpace(yaml)->Size(), 2u);
  SpaceInputs blind = AllInputs();
  blind.has_calibration = false;
  const auto refused = GroupSpace(yaml, blind);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("needs calibration data for 'measured'"));
  const auto skipped = GroupSpace(std::string(yaml) + "when_unavailable: skip", blind);
  ASSERT_TRUE(skipped);
  EXPECT_EQ(skipped->Size(), 1u);
}

TEST(RestrictedSpaceTest, HoldsEverythingButOneStage) {
  const Space space = *GroupSpace(kConditional);
  Rng rng(4);
  for (int round = 0; round < 50; ++round) {
    const Assignment fixed = *space.Draw(rng);
    for (size_t stage = 0; stage <= space.stages(); ++stage) {
      const Space part = space.Restricted(stage, fixed);
      const auto same = part.FromCandidate(space.ToCandidate(fixed));
      ASSERT_TRUE(same);
      const Assignment other = *part.Draw(rng);
      const auto back = space.FromCandidate(part.ToCandidate(other));
      ASSERT_TRUE(back);
      EXPECT_TRUE(space.Valid(*back));
      if (part.Size() && space.Size()) {
        EXPECT_LE(*part.Size(), *space.Size());
      }
    }
  }
  // Two backends' settings: four thread counts and one.
  EXPECT_EQ(space.Restricted(space.stages(), space.Presets().front()).Size(), 5u);
}

TEST(OrderTest, RecipesNameTheOrder) {
  const auto recipe = ParseRecipe("search: {order: pass_by_pass, sampler: tpe}", "r.yaml");
  ASSERT_TRUE(recipe);
  EXPECT_EQ(recipe->search().order(), "pass_by_pass");
  EXPECT_TRUE(MakeSampler(recipe->search()));
  EXPECT_EQ(ParseRecipe(WriteRecipe(*recipe), "w.yaml")->search().order(), "pass_by_pass");
  EXPECT_FALSE(ParseRecipe("search: {order: backwards}", "r.yaml"));
  proto::Search wrong;
  wrong.set_order("backwards");
  EXPECT_FALSE(MakeSampler(wrong));
}

TEST(OrderTest, PassByPassChangesOneStageAtATime) {
  const Space space = *GroupSpace(
      "passes: [{choose: [none, simplify]}, {choose: [none, fp16, {dynamic_int8: {per_channel: [true, "
      "false]}}]}]\nbackends: {onnxruntime: {intra_op_threads: [1, 2, 4]}}");
  const Search search = RunSearch(space, {"exhaustive", "pass_by_pass", 12, 1, 1, Outcomes::kClean});
  std::vector<std::string> texts;
  for (const Observation& observation : search.observations)
    texts.push_back(CandidateText(space.ToCandidate(observation.assignment)));
  ASSERT_GE(texts.size(), 6u);
  EXPECT_EQ(texts[0], "original on onnxruntime(intra_op_threads=1)");
  EXPECT_EQ(texts[1], "simplify on onnxruntime(intra_op_threads=1)");
  EXPECT_THAT(texts[2], HasSubstr("intra_op_threads=1"));
}

TEST(OrderTest, BadDefinitionsAreErrorsOrEmpty) {
  const Space empty;
  const std::vector<Observation> none;
  for (const SamplerRow& row : Samplers()) {
    const auto asked = (*MakeSampler(row.name))->Ask({&empty, &none, 1}, 1);
    EXPECT_TRUE(!asked || !*asked) << row.name;
  }
}

}  // namespace
}  // namespace hone
