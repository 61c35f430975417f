// Which trial is better.
#include "coordinator/ranking.h"

#include <gmock/gmock.h>

namespace hone {
namespace {

using ::testing::ElementsAre;

proto::Objective Objective(const std::string& metric, bool maximize = false) {
  proto::Objective objective;
  objective.set_metric(metric);
  objective.set_maximize(maximize);
  return objective;
}

Contender Trial(uint64_t number, double latency, std::optional<double> speedup, double size, bool final_done = false) {
  Contender contender;
  contender.trial = number;
  contender.measured.metrics = {{"latency_ms_p50", latency}, {"size_bytes", size}};
  contender.measured.speedup = speedup;
  contender.final_done = final_done;
  return contender;
}

TEST(RankingTest, LatencyIsRankedByThePairedSpeedupNotByMilliseconds) {
  Measured baseline;
  baseline.metrics = {{"latency_ms_p50", 10}};
  // The second ran while the machine was slow: more milliseconds, yet the better ratio.
  const std::vector<Contender> contenders = {Trial(1, 5, 2.0, 100), Trial(2, 6, 2.5, 100),
                                             Trial(3, 3, std::nullopt, 100)};
  EXPECT_THAT(Ranked({Objective("latency_ms_p50")}, contenders, &baseline), ElementsAre(3, 2, 1));
  EXPECT_DOUBLE_EQ(*ObjectiveValue(Objective("latency_ms_p50"), contenders[0].measured, &baseline), 0.5);
  EXPECT_DOUBLE_EQ(*ObjectiveValue(Objective("latency_ms_p50"), contenders[2].measured, &baseline), 0.3);
}

TEST(RankingTest, BestIsAmongThoseMeasuredAgain) {
  const std::vector<Contender> contenders = {Trial(1, 5, 2.0, 1, true), Trial(2, 5, 3.0, 1), Trial(3, 5, 1.5, 1, true)};
  EXPECT_EQ(Best({Objective("latency_ms_p50")}, contenders, nullptr), 1U);
  EXPECT_EQ(Best({Objective("latency_ms_p50")}, {contenders[1]}, nullptr), 2U);
  EXPECT_EQ(Best({Objective("latency_ms_p50")}, {}, nullptr), std::nullopt);
}

TEST(RankingTest, FrontOfOneObjectiveAlsoLooksAtSize) {
  const std::vector<Contender> contenders = {Trial(1, 5, 2.0, 100), Trial(2, 5, 1.5, 50), Trial(3, 5, 1.2, 80)};
  EXPECT_THAT(Front({Objective("latency_ms_p50")}, contenders, nullptr), ElementsAre(1, 2));
  EXPECT_THAT(Front({Objective("size_bytes")}, contenders, nullptr), ElementsAre(2, 1));
}

TEST(RankingTest, MaximizedObjectiveIsNegated) {
  Measured measured;
  measured.metrics = {{"throughput_per_s", 200}};
  EXPECT_EQ(*ObjectiveValue(Objective("throughput_per_s", true), measured, nullptr), -200);
  EXPECT_FALSE(ObjectiveValue(Objective("size_bytes"), measured, nullptr));
}

TEST(RankingTest, ViolationIsInUnitsOfTheBound) {
  proto::Recipe recipe;
  auto& size = *recipe.add_constraints();
  size.set_metric("size_bytes");
  size.set_maximum(100);
  auto& cosine = *recipe.add_constraints();
  cosine.set_metric("cosine");
  cosine.set_minimum(0.5);
  Measured measured;
  measured.metrics = {{"size_bytes", 150}, {"cosine", 0.25}};
  EXPECT_DOUBLE_EQ(Violation(recipe, measured), 1.0);
  const auto broken = BrokenConstraint(recipe, measured);
  ASSERT_TRUE(broken && *broken);
  EXPECT_EQ(**broken, "size_bytes 150 is above 100");
  measured.metrics.erase("cosine");
  EXPECT_FALSE(BrokenConstraint(recipe, measured));
}

}  // namespace
}  // namespace hone
