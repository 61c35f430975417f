#include "common/statistics/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace hone {
namespace {

std::vector<double> OneTo(int n) {
  std::vector<double> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

TEST(StatisticsTest, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({5, 1, 3}), 3);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Median({1e308, 1.5e308}), 1.25e308);
}

// numpy.quantile's values.
TEST(StatisticsTest, QuantilesInterpolateLinearly) {
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 0.4), 2.2);
  EXPECT_DOUBLE_EQ(Quantile({15, 20, 35, 40, 50}, 0.4), 29);
  EXPECT_DOUBLE_EQ(Quantile({15, 20, 35, 40, 50}, 0.9), 46);
  EXPECT_EQ(Quantile({2, 1}, 0), 1);
  EXPECT_EQ(Quantile({2, 1}, 1), 2);
  EXPECT_EQ(Quantile({7}, 0.3), 7);
  EXPECT_EQ(Quantile(OneTo(101), 0.5), 51);
}

TEST(StatisticsTest, MeanKeepsSmallValuesBesideLarge) {
  EXPECT_EQ(Mean({1, 2, 6}), 3);
  EXPECT_EQ(Mean({1e16, 1, -1e16, 1}), 0.5);
}

// Ranks from the published tables for sign-test intervals of the median.
TEST(StatisticsTest, MedianIntervalTakesTheTablesRanks) {
  struct Row {
    int n;
    double confidence;
    double low, high;
  };
  for (const Row& row : {Row{6, 0.95, 1, 6}, Row{8, 0.95, 1, 8}, Row{9, 0.95, 2, 8}, Row{10, 0.95, 2, 9},
                         Row{20, 0.95, 6, 15}, Row{30, 0.95, 10, 21}, Row{100, 0.95, 40, 61}, Row{20, 0.99, 4, 17}}) {
    const Interval interval = MedianInterval(OneTo(row.n), row.confidence);
    EXPECT_EQ(interval.low, row.low) << row.n;
    EXPECT_EQ(interval.high, row.high) << row.n;
  }
}

TEST(StatisticsTest, MedianIntervalOfAFewValuesIsTheirRange) {
  EXPECT_EQ(MedianInterval({5, 1, 3, 2, 4}, 0.95).low, 1);
  EXPECT_EQ(MedianInterval({5, 1, 3, 2, 4}, 0.95).high, 5);
  EXPECT_EQ(MedianInterval({2}, 0.95).low, 2);
  const Interval many = MedianInterval(OneTo(100'001), 0.99);
  EXPECT_LT(many.low, 50'001);
  EXPECT_GT(many.low, 49'500);
}

TEST(StatisticsTest, BootstrapIsDeterministicAndEnclosesTheMedian) {
  const std::vector<double> values = OneTo(51);
  const Interval interval = BootstrapMedian(values, 0.95, 2000, 1);
  const Interval again = BootstrapMedian(values, 0.95, 2000, 1);
  EXPECT_EQ(interval.low, again.low);
  EXPECT_EQ(interval.high, again.high);
  EXPECT_LT(interval.low, 26);
  EXPECT_GT(interval.high, 26);
  // Near the sign test's interval, 19..33.
  EXPECT_NEAR(interval.low, 19, 3);
  EXPECT_NEAR(interval.high, 33, 3);
  EXPECT_EQ(BootstrapMedian({4, 4, 4}, 0.99, 100, 3).low, 4);
}

// The draws are fixed to the bit: generator, bounded mapping and order of draws.
TEST(StatisticsTest, BootstrapDrawsByRejectionFromTheNamedGenerator) {
  std::mt19937_64 generator(42);
  const std::vector<double> values = {1, 10, 100};
  std::vector<double> draw;
  const uint64_t excess = UINT64_MAX % 3 == 2 ? 0 : UINT64_MAX % 3 + 1;
  while (draw.size() < 3) {
    const uint64_t number = generator();
    if (number <= UINT64_MAX - excess) draw.push_back(values[number % 3]);
  }
  EXPECT_EQ(BootstrapMedian(values, 0.9, 1, 42).low, Median(draw));
}

TEST(StatisticsTest, BootstrapCoversTheTrueMedianAsOftenAsItSays) {
  std::mt19937_64 generator(5);
  int covered = 0;
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> values(41);
    for (double& value : values) value = static_cast<double>(generator() >> 11) * 0x1p-53;
    const Interval interval = BootstrapMedian(values, 0.9, 400, static_cast<uint64_t>(round));
    covered += interval.low <= 0.5 && 0.5 <= interval.high;
  }
  EXPECT_GT(covered, kRounds * 84 / 100);
}

TEST(StatisticsTest, SpeedupOfPairsIsTheMedianRatio) {
  const Ratio ratio = PairedSpeedup({2, 4, 6, 8}, {1, 2, 3, 4}, 1);
  EXPECT_DOUBLE_EQ(ratio.median, 2);
  EXPECT_DOUBLE_EQ(ratio.low, 2);
  EXPECT_DOUBLE_EQ(ratio.high, 2);
  EXPECT_EQ(ratio.pairs, 4);
}

TEST(StatisticsTest, SpeedupIsTurnedOverWithItsSides) {
  std::mt19937_64 generator(9);
  std::vector<double> a, b;
  for (int i = 0; i < 31; ++i) {
    a.push_back(2 + static_cast<double>(generator() % 1000) / 1000);
    b.push_back(1 + static_cast<double>(generator() % 1000) / 1000);
  }
  const Ratio forth = PairedSpeedup(a, b, 3);
  const Ratio back = PairedSpeedup(b, a, 3);
  EXPECT_NEAR(forth.median * back.median, 1, 1e-12);
  EXPECT_NEAR(forth.low * back.high, 1, 1e-12);
  EXPECT_LT(forth.low, forth.median);
  EXPECT_GT(forth.high, forth.median);
}

TEST(StatisticsTest, PairsThatMeasuredNothingAreLeftOut) {
  const Ratio ratio = PairedSpeedup({0, 4, INFINITY, 3, NAN}, {1, 2, 1, -1, 1}, 1);
  EXPECT_EQ(ratio.pairs, 1);
  EXPECT_DOUBLE_EQ(ratio.median, 2);
  EXPECT_EQ(PairedSpeedup({}, {}, 1).pairs, 0);
  EXPECT_EQ(PairedSpeedup({}, {}, 1).median, 1);
}

}  // namespace
}  // namespace hone
