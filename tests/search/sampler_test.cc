#include "coordinator/search/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "common/recipe/value.h"
#include "coordinator/search/random.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const kFiniteSpaces[] = {
    "{}",
    "passes: [simplify, {choose: [none, fp16, {dynamic_int8: {per_channel: [true, false]}}]}]",
    "passes: [{choose: [none, {static_int8: {observer: [minmax, percentile], percentile: {when: {observer: "
    "percentile}, choices: [99, 99.9, 99.99]}}}]}, "
    "{choose: [none, openvino_ir]}]\nbackends: {onnxruntime: {intra_op_threads: [1, 2]}, openvino: {hint: [latency, "
    "throughput]}}",
    "passes: [{choose: [none, simplify]}, {choose: [simplify, none, fp16]}, {choose: [none, fp16]}]",
    "passes: [{fp16: {blocks: {range: [1, 32]}, scale: {range: [0, 1], step: 0.5}}}]",
};
const char* const kInfiniteSpace =
    "passes: [{choose: [none, fp16, {fp16: {scale: {range: [0.001, 1], log: true}, keep_io_types: [true, "
    "false]}}]}]\nbackends: {onnxruntime: }";

Space BuiltSpace(const std::string& yaml) {
  auto space = BuildFrom(yaml);
  EXPECT_TRUE(space) << space.error().message;
  return *std::move(space);
}

std::string TextOf(const Space& space, const Assignment& assignment) {
  return CanonicalCandidate(space.ToCandidate(assignment));
}

// Asks as a coordinator does, with up to `parallel` trials unfinished; gives every proposal's candidate.
std::vector<std::string> Propose(Sampler& sampler, const Space& space, uint64_t seed, size_t parallel, size_t most) {
  std::vector<std::string> texts;
  std::vector<Observation> observations;
  Rng outcomes(parallel);
  for (uint64_t trial = 1; trial <= most; ++trial) {
    const auto proposal = sampler.Ask({&space, &observations, seed}, trial);
    EXPECT_TRUE(proposal) << proposal.error().message;
    if (!proposal || !*proposal) break;
    EXPECT_TRUE(space.Valid(**proposal));
    texts.push_back(TextOf(space, **proposal));
    Observation observation;
    observation.trial = trial;
    observation.assignment = **proposal;
    observation.state = proto::TRIAL_RUNNING;
    observations.push_back(std::move(observation));
    if (observations.size() <= parallel) continue;
    Observation& done = observations[observations.size() - 1 - parallel];
    done.state = outcomes.Next() % 4 == 0 ? proto::TRIAL_FAILED : proto::TRIAL_COMPLETE;
    done.values = {outcomes.Uniform()};
  }
  return texts;
}

class SamplerContract : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Sampler> Make() const { return *MakeSampler(GetParam()); }
  // What was measured does not change what it proposes.
  static bool IsBlind() { return GetParam() == "random" || GetParam() == "exhaustive"; }
};

TEST_P(SamplerContract, ExhaustsFiniteSpacesWithoutRepeating) {
  for (const char* yaml : kFiniteSpaces) {
    SCOPED_TRACE(yaml);
    const Space space = BuiltSpace(yaml);
    for (const size_t parallel : {0, 8}) {
      const std::vector<std::string> texts = Propose(*Make(), space, 7, parallel, 10'000);
      EXPECT_EQ(texts.size(), space.Size());
      EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), texts.size());
    }
  }
}

TEST_P(SamplerContract, ProposesTheSameWhateverRunsBeside) {
  if (!IsBlind()) GTEST_SKIP() << "results guide this sampler";
  const Space space = BuiltSpace(kFiniteSpaces[2]);
  const std::vector<std::string> alone = Propose(*Make(), space, 7, 0, 100);
  EXPECT_EQ(Propose(*Make(), space, 7, 8, 100), alone);
  EXPECT_EQ(Propose(*Make(), space, 7, 100, 100), alone);
}

TEST_P(SamplerContract, ARestartGoesOnWithTheSameProposal) {
  if (!IsBlind()) GTEST_SKIP() << "results guide this sampler; guided_samplers_test.cc restarts it";
  const Space space = BuiltSpace(kFiniteSpaces[2]);
  Rng rng(1);
  for (int round = 0; round < 50; ++round) {
    // Any part of the trials may be there after a restart, in any state.
    std::vector<Observation> observations;
    const uint64_t next = 2 + rng.Next() % 10;
    auto sampler = Make();
    for (uint64_t trial = 1; trial < next; ++trial) {
      const auto proposal = sampler->Ask({&space, &observations, 3}, trial);
      ASSERT_TRUE(proposal && *proposal);
      if (rng.Next() % 3 == 0) continue;
      Observation observation;
      observation.trial = trial;
      // As the database has it: a candidate, not an assignment.
      observation.assignment = *space.FromCandidate(*ParseCanonicalCandidate(TextOf(space, **proposal)));
      observation.state = rng.Next() % 2 == 0 ? proto::TRIAL_RUNNING : proto::TRIAL_COMPLETE;
      observations.push_back(std::move(observation));
    }
    const auto before = sampler->Ask({&space, &observations, 3}, next);
    for (Observation& observation : observations) observation.state = proto::TRIAL_COMPLETE;
    const auto after = Make()->Ask({&space, &observations, 3}, next);
    ASSERT_TRUE(before && after && *before && *after);
    EXPECT_EQ(TextOf(space, **before), TextOf(space, **after));
  }
}

TEST_P(SamplerContract, ObservationsFromElsewhereAreNotRepeated) {
  const Space space = BuiltSpace(kFiniteSpaces[3]);
  std::vector<Observation> observations;
  Observation foreign;   // The baseline, when it is no candidate of the space.
  observations.push_back(foreign);
  for (uint64_t i = 0; i < *space.Size(); i += 2) {
    Observation observation;
    observation.assignment = *space.At(i);
    observations.push_back(observation);
  }
  std::set<std::string> taken;
  for (size_t i = 1; i < observations.size(); ++i) taken.insert(TextOf(space, observations[i].assignment));
  auto sampler = Make();
  for (uint64_t trial = 1;; ++trial) {
    const auto proposal = sampler->Ask({&space, &observations, 9}, trial);
    ASSERT_TRUE(proposal);
    if (!*proposal) break;
    EXPECT_TRUE(taken.insert(TextOf(space, **proposal)).second);
    Observation observation;
    observation.assignment = **proposal;
    observations.push_back(observation);
  }
  EXPECT_EQ(taken.size(), space.Size());
}

TEST_P(SamplerContract, InfiniteSpacesNeverRepeatOrAreRefused) {
  const Space space = BuiltSpace(kInfiniteSpace);
  auto sampler = Make();
  const std::vector<Observation> none;
  const auto first = sampler->Ask({&space, &none, 1}, 1);
  if (GetParam() == "exhaustive") {
    ASSERT_FALSE(first);
    EXPECT_THAT(first.error().message, HasSubstr("finite"));
    return;
  }
  const std::vector<std::string> texts = Propose(*sampler, space, 1, 3, 200);
  EXPECT_EQ(texts.size(), 200u);
  EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), 200u);
  if (IsBlind()) {
    EXPECT_EQ(Propose(*Make(), space, 1, 0, 200), texts);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SamplerContract, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const SamplerRow& row : Samplers()) names.emplace_back(row.name);
                           return names;
                         }()),
                         [](const auto& row) { return row.param; });

TEST(SamplerTest, UnknownNamesGetTheNearest) {
  const auto sampler = MakeSampler("exaustive");
  ASSERT_FALSE(sampler);
  EXPECT_EQ(sampler.error().code, ErrorCode::kRejected);
  EXPECT_THAT(sampler.error().message, HasSubstr("did you mean 'exhaustive'?"));
  EXPECT_TRUE(MakeSampler(""));
}

TEST(SamplerTest, ExhaustiveFollowsTheEnumeration) {
  const Space space = BuiltSpace(kFiniteSpaces[2]);
  const std::vector<std::string> texts = Propose(**MakeSampler("exhaustive"), space, 99, 2, 1000);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], TextOf(space, *space.At(i)));
}

TEST(SamplerTest, AutoTriesEveryOptionBeforeAnyVariation) {
  const Space space = BuiltSpace(kFiniteSpaces[1]);
  const std::vector<std::string> texts = Propose(**MakeSampler("auto"), space, 4, 2, 1000);
  ASSERT_GE(texts.size(), space.Presets().size());
  for (size_t i = 0; i < space.Presets().size(); ++i) EXPECT_EQ(texts[i], TextOf(space, space.Presets()[i]));
}

TEST(SamplerTest, SeedsGiveDifferentOrders) {
  const Space space = BuiltSpace(kFiniteSpaces[4]);
  for (const char* name : {"random", "auto"})
    EXPECT_NE(Propose(**MakeSampler(name), space, 1, 0, 20), Propose(**MakeSampler(name), space, 2, 0, 20));
}

TEST(SamplerTest, RandomFavoursNoCandidate) {
  // Options with few and with many parameters alike: candidates are equally likely, not options.
  const Space space = BuiltSpace(kFiniteSpaces[2]);
  const auto size = static_cast<size_t>(*space.Size());
  auto sampler = *MakeSampler("random");
  std::vector<int> counts(size);
  const std::vector<Observation> none;
  constexpr int kDraws = 6000;
  for (int seed = 0; seed < kDraws; ++seed)
    ++counts[*space.IndexOf(**sampler->Ask({&space, &none, static_cast<uint64_t>(seed)}, 1 + seed % 5))];
  const double expected = static_cast<double>(kDraws) / static_cast<double>(size);
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - expected) * (count - expected) / expected;
  // Mean size - 1, deviation sqrt(2 (size - 1)); five deviations above.
  EXPECT_LT(chi_square, static_cast<double>(size - 1) + 5 * std::sqrt(2.0 * static_cast<double>(size - 1)));
}

TEST(SamplerTest, LargeFiniteSpacesAreSampledWithoutRepeating) {
  std::string yaml = "backends: {onnxruntime: }\npasses:\n";
  for (int i = 0; i < 15; ++i) yaml += "  - fp16: {blocks: {range: [1, 64]}}\n";
  const Space space = BuiltSpace(yaml);
  const std::vector<std::string> texts = Propose(**MakeSampler("random"), space, 1, 0, 100);
  EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), 100u);
}

TEST(PermutationTest, EverySizeIsPermuted) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4097}) {
    const Permutation permutation(size, 5);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) {
      EXPECT_LT(permutation(i), size);
      seen.insert(permutation(i));
    }
    EXPECT_EQ(seen.size(), size);
  }
  const uint64_t huge = (uint64_t{1} << 61) - 1;
  const Permutation permutation(huge, 5);
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_LT(permutation(i), huge);
}

// --- who is better ---------------------------------------------------------------------------------------------

Observation Complete(std::vector<double> values, double violation = 0) {
  Observation observation;
  observation.state = proto::TRIAL_COMPLETE;
  observation.values = std::move(values);
  observation.violation = violation;
  return observation;
}

Observation Ended(proto::TrialState state, double violation) {
  Observation observation;
  observation.state = state;
  observation.violation = violation;
  return observation;
}

TEST(DominanceTest, FeasibleBeforeInfeasibleThenViolationThenPareto) {
  const Observation best = Complete({1, 1}), other = Complete({1, 2}), trade = Complete({0.5, 9});
  const Observation infeasible = Ended(proto::TRIAL_INFEASIBLE, 0.1), worse = Ended(proto::TRIAL_INFEASIBLE, 0.2);
  const Observation failed = Ended(proto::TRIAL_FAILED, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(Dominates(best, other));
  EXPECT_FALSE(Dominates(other, best));
  EXPECT_FALSE(Dominates(best, best));
  EXPECT_FALSE(Dominates(best, trade));
  EXPECT_FALSE(Dominates(trade, best));
  EXPECT_TRUE(Dominates(trade, infeasible));
  EXPECT_TRUE(Dominates(infeasible, worse));
  EXPECT_TRUE(Dominates(worse, failed));
  EXPECT_FALSE(Dominates(failed, failed));
  EXPECT_TRUE(Dominates(best, Complete({0, 0}, 0.5)));
  EXPECT_FALSE(Dominates(best, Ended(proto::TRIAL_RUNNING, 0)));
  EXPECT_FALSE(Dominates(Ended(proto::TRIAL_RUNNING, 0), worse));
  EXPECT_TRUE(Dominates(best, Complete({1, std::nan("")})));
}

TEST(DominanceTest, TheParetoFrontIsOrderedByTheFirstObjective) {
  const std::vector<Observation> observations = {
      Complete({3, 1}),    Ended(proto::TRIAL_RUNNING, 0),  Complete({1, 3}), Complete({2, 2}), Complete({3, 3}),
      Complete({0, 0}, 1), Ended(proto::TRIAL_FAILED, 1e9), Complete({2, 2})};
  EXPECT_THAT(ParetoFront(observations), ElementsAre(2, 3, 7, 0));
  EXPECT_TRUE(ParetoFront({}).empty());
}

}  // namespace
}  // namespace hone
