#include "common/statistics/percentiles.h"

#include <gtest/gtest.h>

#include <random>

namespace hone {
namespace {

TEST(PercentilesTest, TheFewestSamplesAreThoseOfEarlyStopping) {
  EXPECT_EQ(FewestForPercentile(0.9, 0.99), 64U);
  EXPECT_EQ(FewestForPercentile(0.99, 0.99), 662U);
  EXPECT_EQ(FewestForPercentile(0.999, 0.99), 6636U);
}

TEST(PercentilesTest, BelowThatNothingIsTold) {
  EXPECT_FALSE(PercentileOf({}, 0.9, 0.99));
  EXPECT_FALSE(PercentileOf(std::vector<double>(63, 1.0), 0.9, 0.99));
  EXPECT_TRUE(PercentileOf(std::vector<double>(64, 1.0), 0.9, 0.99));
}

TEST(PercentilesTest, WithTheFewestTheBoundIsTheSecondLargest) {
  std::vector<double> values;
  for (int i = 0; i < 64; ++i) values.push_back(i);
  const auto percentile = PercentileOf(values, 0.9, 0.99);
  ASSERT_TRUE(percentile);
  EXPECT_DOUBLE_EQ(percentile->bound, 62);
  EXPECT_DOUBLE_EQ(percentile->value, 56.7);
}

TEST(PercentilesTest, TheTruePercentileLiesAboveTheBoundInFewerThanOneOfAHundred) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(0, 1);
  int misses = 0;
  constexpr int kTries = 5000;
  for (int i = 0; i < kTries; ++i) {
    std::vector<double> values(200);
    for (double& value : values) value = uniform(random);
    misses += PercentileOf(std::move(values), 0.9, 0.99)->bound < 0.9 ? 1 : 0;
  }
  // One of a hundred, and three standard deviations of such a count.
  EXPECT_LE(misses, kTries / 100 + 21);
  EXPECT_GT(misses, 0) << "a bound that never fails is too far out";
}

}  // namespace
}  // namespace hone
