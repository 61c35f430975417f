#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "common/statistics/regression.h"

namespace hone::test {
namespace {

// Pairs of launches whose times differ by 1 % of noise and `effect`.
std::vector<double> Ratios(double effect, int pairs, uint64_t seed, double noise = 0.01) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(std::log1p(effect), noise);
  std::vector<double> ratios;
  for (int i = 0; i < pairs; ++i) ratios.push_back(normal(random));
  return ratios;
}

TEST(JudgeTest, SlowerIsARegressionWithEffectIntervalAndPairs) {
  const Judgement judgement = Judge(Ratios(0.05, 20, 1), {});
  EXPECT_EQ(judgement.verdict, NightVerdict::regression);
  EXPECT_NEAR(judgement.effect, 0.05, 0.01);
  EXPECT_GT(judgement.interval.low, 0);
  EXPECT_LE(judgement.interval.low, judgement.effect);
  EXPECT_GE(judgement.interval.high, judgement.effect);
  EXPECT_EQ(judgement.pairs, 20);
  EXPECT_GT(judgement.smallest_effect, 0.02);
  EXPECT_LT(judgement.smallest_effect, 0.03);
  EXPECT_LT(judgement.p, 1e-4);
}

TEST(JudgeTest, FasterIsAnImprovement) {
  EXPECT_EQ(Judge(Ratios(-0.05, 20, 2), {}).verdict, NightVerdict::improvement);
}

TEST(JudgeTest, SameIsEquivalentOnceTheIntervalFits) {
  EXPECT_EQ(Judge(Ratios(0, 40, 3), {}).verdict, NightVerdict::equivalent);
}

TEST(JudgeTest, ARealChangeBelowDeltaIsNoRegression) {
  const Judgement judgement = Judge(Ratios(0.01, 60, 4, 0.004), {});
  EXPECT_GT(judgement.interval.low, 0);
  EXPECT_EQ(judgement.verdict, NightVerdict::equivalent);
}

TEST(JudgeTest, TooNoisyIsInconclusiveAndSaysWhatItWouldHaveSeen) {
  const Judgement judgement = Judge(Ratios(0.02, 10, 5, 0.2), {});
  EXPECT_EQ(judgement.verdict, NightVerdict::inconclusive);
  EXPECT_GT(judgement.smallest_effect, 0.1);
}

TEST(JudgeTest, FewPairsNeverMakeARegression) {
  EXPECT_EQ(Judge(Ratios(0.5, 7, 6), {}).verdict, NightVerdict::inconclusive);
  EXPECT_EQ(Judge(Ratios(0.5, 8, 6), {}).verdict, NightVerdict::regression);
  EXPECT_EQ(Judge({}, {}).verdict, NightVerdict::inconclusive);
  EXPECT_TRUE(std::isinf(Judge({0.1}, {}).smallest_effect));
}

TEST(LogRatiosTest, WorseIsAboveZeroInEitherDirection) {
  EXPECT_GT(LogRatios({10}, {12}, Better::lower)[0], 0);
  EXPECT_LT(LogRatios({10}, {12}, Better::higher)[0], 0);
  EXPECT_EQ(LogRatios({10, 0, 5, std::nan("")}, {12, 4, 0, 3}, Better::lower).size(), 1u);
}

TEST(ConfirmTest, AFreshSessionMustAgree) {
  const auto first = Ratios(0.05, 20, 7);
  const Judgement agreed = Confirm(first, Ratios(0.05, 20, 8), {});
  EXPECT_EQ(agreed.verdict, NightVerdict::regression);
  EXPECT_EQ(agreed.pairs, 40);
  EXPECT_EQ(Confirm(first, Ratios(0, 20, 9), {}).verdict, NightVerdict::inconclusive);
  EXPECT_EQ(Confirm(first, Ratios(-0.05, 20, 10), {}).verdict, NightVerdict::inconclusive);
  EXPECT_EQ(Confirm(first, {}, {}).verdict, NightVerdict::inconclusive);
}

TEST(ConfirmTest, WithoutAFindingTheFirstSessionStands) {
  const Judgement judgement = Confirm(Ratios(0, 40, 11), Ratios(0.5, 20, 12), {});
  EXPECT_EQ(judgement.verdict, NightVerdict::equivalent);
  EXPECT_EQ(judgement.pairs, 40);
}

TEST(JudgeExactTest, TheChangeAloneDecides) {
  EXPECT_EQ(JudgeExact(0.011, 0.01).verdict, NightVerdict::regression);
  EXPECT_EQ(JudgeExact(0.01, 0.01).verdict, NightVerdict::equivalent);
  EXPECT_EQ(JudgeExact(-0.02, 0.01).verdict, NightVerdict::improvement);
  EXPECT_EQ(JudgeExact(std::nan(""), 0.01).verdict, NightVerdict::inconclusive);
}

TEST(CorrectManyTest, AWeakFindingAmongManySeriesIsTakenBack) {
  std::vector<Judgement> night(100);
  for (auto& judgement : night) judgement.p = 0.5;
  night[0].verdict = NightVerdict::regression;
  night[0].p = 1e-6;
  night[1].verdict = NightVerdict::regression;
  night[1].p = 0.02;
  std::vector<Judgement*> pointers;
  for (auto& judgement : night) pointers.push_back(&judgement);
  CorrectMany(pointers);
  EXPECT_EQ(night[0].verdict, NightVerdict::regression);
  EXPECT_EQ(night[1].verdict, NightVerdict::inconclusive);
}

TEST(AlarmRateTest, HasAnExactInterval) {
  const AlarmRate rate = AlarmRateOf(1, 200);
  EXPECT_DOUBLE_EQ(rate.rate, 0.005);
  EXPECT_NEAR(rate.interval.high, 0.0275, 5e-4);
  EXPECT_EQ(AlarmRateOf(0, 0).interval.high, 1);
}

TEST(NightVerdictTest, NamesAreReadBack) {
  for (const auto verdict : {NightVerdict::regression, NightVerdict::improvement, NightVerdict::equivalent,
                             NightVerdict::inconclusive, NightVerdict::environment, NightVerdict::error}) {
    const auto read = ParseNightVerdict(NameOf(verdict));
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, verdict);
  }
  EXPECT_FALSE(ParseNightVerdict("fine"));
}

}  // namespace
}  // namespace hone::test
