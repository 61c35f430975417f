#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/statistics/distributions.h"
#include "common/statistics/significance.h"

namespace hone::test {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

// The expected figures are scipy 1.17's.
TEST(DistributionsTest, AgreeWithScipy) {
  EXPECT_NEAR(NormalQuantile(0.995), 2.575829303548901, 1e-12);
  EXPECT_NEAR(NormalQuantile(0.1), -1.2815515655446004, 1e-12);
  EXPECT_NEAR(NormalTail(1.96), 0.024997895148220435, 1e-15);
  EXPECT_NEAR(IncompleteBeta(2.5, 0.5, 0.7), 0.2031106637200549, 1e-12);
  EXPECT_NEAR(StudentTwoSided(2.0, 10), 0.07338803477074037, 1e-12);
  EXPECT_NEAR(StudentTwoSided(-30, 98) / 3.466352323464848e-51, 1, 1e-9);
  EXPECT_EQ(StudentTwoSided(0, 5), 1);
  EXPECT_EQ(StudentTwoSided(std::numeric_limits<double>::infinity(), 5), 0);
  EXPECT_TRUE(std::isnan(StudentTwoSided(std::nan(""), 5)));
}

TEST(DistributionsTest, BinomialIntervalIsClopperAndPearsons) {
  const Interval none = BinomialInterval(0, 200, 0.95);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.018275, 1e-5);
  const Interval some = BinomialInterval(3, 10, 0.95);
  EXPECT_NEAR(some.low, 0.0667395, 1e-6);
  EXPECT_NEAR(some.high, 0.6524529, 1e-6);
  EXPECT_EQ(BinomialInterval(5, 5, 0.95).high, 1);
}

TEST(SignificanceTest, SignedRanksAreExactForFewDifferences) {
  // All five above zero: 2 of the 32 orders of signs are as far from the middle.
  EXPECT_NEAR(SignedRankP({1, 2, 3, 4, 5}), 2.0 / 32, 1e-15);
  EXPECT_NEAR(SignedRankP({1, 2, 3, 4, -5}), 0.625, 1e-15);
  EXPECT_EQ(SignedRankP({}), 1);
  EXPECT_EQ(SignedRankP({0, 0}), 1);
  // Ties share their rank: by hand, ranks 2 2 2 4.
  EXPECT_NEAR(SignedRankP({1, 1, -1, 4}), 8.0 / 16, 1e-15);
}

TEST(SignificanceTest, ExactAndNormalRanksMeet) {
  std::vector<double> differences;
  for (int i = 0; i < 200; ++i) differences.push_back((i % 2 == 0 ? -0.8 : 1.0) * (1 + i));
  const double exact = SignedRankP(differences);
  differences.push_back(0.001);
  EXPECT_NEAR(SignedRankP(differences) / exact, 1, 0.05);
}

TEST(SignificanceTest, SignTestCountsDirectionsAlone) {
  EXPECT_NEAR(SignP({1, 1, 1, 1, 1, 1, 1, 1, 1, -1}), 0.021484375, 1e-12);
  EXPECT_EQ(SignP({0, 0, 0}), 1);
  EXPECT_EQ(SignP({1, -1}), 1);
}

TEST(SignificanceTest, BenjaminiHochbergKeepsWhatStandsAmongMany) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005, 0.8};
  EXPECT_THAT(AdjustedP(p), ElementsAre(DoubleNear(0.025, 1e-12), DoubleNear(0.05, 1e-12), DoubleNear(0.05, 1e-12),
                                        DoubleNear(0.025, 1e-12), DoubleNear(0.8, 1e-12)));
  EXPECT_THAT(BenjaminiHochberg(p, 0.03), ElementsAre(true, false, false, true, false));
  EXPECT_TRUE(BenjaminiHochberg({}, 0.05).empty());
}

}  // namespace
}  // namespace hone::test
