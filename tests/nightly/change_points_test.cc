#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "common/base/file.h"
#include "common/statistics/change_points.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<size_t> IndexesOf(const std::vector<ChangePoint>& points) {
  std::vector<size_t> indexes;
  for (const ChangePoint& point : points) indexes.push_back(point.index);
  return indexes;
}

std::vector<double> Noisy(const std::vector<double>& levels, size_t each, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> noise;
  std::vector<double> series;
  for (const double level : levels) {
    for (size_t i = 0; i < each; ++i) series.push_back(level + noise(random));
  }
  return series;
}

// bench/nightly/otava_golden.py made the file with Apache Otava itself.
TEST(ChangePointsTest, EveryChangePointOfOtavaIsFoundAndNoOther) {
  const auto text = ReadFile(HONE_SOURCE_DIR "/tests/data/golden_otava_0_8_0.json", 16 << 20);
  ASSERT_TRUE(text) << text.error().message;
  const auto rows = nlohmann::json::parse(*text);
  ASSERT_GT(rows.size(), 100u);
  for (const auto& row : rows) {
    ChangePointOptions options;
    options.window = row.at("window");
    options.max_p = row.at("max_p");
    options.min_magnitude = row.at("min_magnitude");
    options.as_otava = true;
    ChangePointFinder finder(options);
    const std::vector<double> values = row.at("values");
    EXPECT_EQ(IndexesOf(finder.Find(values)), row.at("change_points").get<std::vector<size_t>>())
        << row.at("name") << " window " << options.window << " p " << options.max_p;
  }
}

TEST(ChangePointsTest, StepsAreFoundWithTheirLevels) {
  ChangePointFinder finder({});
  const auto points = finder.Find(Noisy({100, 105, 100}, 60, 5));
  ASSERT_THAT(IndexesOf(points), ElementsAre(60, 120));
  EXPECT_NEAR(points[0].mean_before, 100, 0.5);
  EXPECT_NEAR(points[0].mean_after, 105, 0.5);
  EXPECT_LT(points[0].p, 1e-10);
}

TEST(ChangePointsTest, AFinderForgetsTheSeriesBefore) {
  ChangePointFinder used({});
  (void)used.Find(Noisy({1, 9, 4}, 70, 2));
  ChangePointFinder fresh({});
  const auto series = Noisy({50, 53}, 33, 3);
  EXPECT_EQ(IndexesOf(used.Find(series)), IndexesOf(fresh.Find(series)));
}

TEST(ChangePointsTest, NoiseAloneRarelyChanges) {
  ChangePointFinder finder({});
  int with_points = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) with_points += finder.Find(Noisy({10}, 50, seed)).empty() ? 0 : 1;
  EXPECT_LE(with_points, 20);
}

TEST(ChangePointsTest, ShortAndConstantSeriesHaveNone) {
  ChangePointFinder finder({});
  EXPECT_THAT(finder.Find({}), IsEmpty());
  EXPECT_THAT(finder.Find(std::vector<double>{1}), IsEmpty());
  EXPECT_THAT(finder.Find(std::vector<double>{1, 2}), IsEmpty());
  EXPECT_THAT(finder.Find(std::vector<double>(500, 3.25)), IsEmpty());
}

TEST(ChangePointsTest, SmallMagnitudesAreMergedWhereAsked) {
  ChangePointOptions options;
  options.min_magnitude = 0.1;
  ChangePointFinder finder(options);
  EXPECT_THAT(IndexesOf(finder.Find(Noisy({100, 105, 150}, 40, 4))), ElementsAre(80));
}

}  // namespace
}  // namespace hone::test
