// Bisections with made-up measurements.
#include "client/nightly/bisect.h"

#include <gmock/gmock.h>

#include "tests/nightly/fake_bench.h"

namespace hone::test {
namespace {

class BisectTest : public ::testing::Test {
 protected:
  // Artifacts whose latency, or size, is that many times the first one's.
  Result<BisectResult> Find(const std::vector<double>& levels, const char* metric = "latency_ms_p50") {
    artifacts_.clear();
    for (size_t i = 0; i < levels.size(); ++i) {
      artifacts_.push_back(ArtifactOf("v" + std::to_string(i)));
      bench_.latency[artifacts_.back().Identity()] = levels[i];
      bench_.size[artifacts_.back().Identity()] = levels[i];
    }
    BisectOptions options;
    options.metric = {FindNightMetric(metric), FindNightMetric(metric)->threshold};
    return Bisect(suite_, model_, target_, bench_, artifacts_, options);
  }
  Suite suite_;
  SuiteModel model_;
  SuiteTarget target_;
  FakeBench bench_;
  std::vector<NightArtifact> artifacts_;  // The bench's orders point to them.
};

TEST_F(BisectTest, TheArtifactThatBroughtTheChangeIsFoundWithFewSessions) {
  for (const size_t change : {1U, 5U, 8U, 15U}) {
    std::vector<double> levels(16, 1.0);
    for (size_t i = change; i < levels.size(); ++i) levels[i] = 1.06;
    bench_.orders.clear();
    const auto result = Find(levels);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_TRUE(result->complete());
    EXPECT_EQ(result->first_changed, change);
    EXPECT_LE(result->steps.size(), 5U) << "the whole, and four halves";
    for (const auto& order : bench_.orders) EXPECT_EQ(order.accepted->Identity(), ArtifactOf("v0").Identity());
  }
}

TEST_F(BisectTest, AnImprovementIsFoundAsWell) {
  const auto result = Find({1, 1, 1, 0.9, 0.9});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->first_changed, 3U);
}

TEST_F(BisectTest, OfSeveralChangesTheLargerOneIsFound) {
  const auto result = Find({1, 1.02, 1.02, 1.02, 1.12, 1.12});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->first_changed, 4U);
}

TEST_F(BisectTest, SizesNeedOneLaunchEach) {
  const auto result = Find({1, 1, 1.2, 1.2}, "size_bytes");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->first_changed, 2U);
  for (const auto& order : bench_.orders) EXPECT_EQ(order.launches, 1U);
}

TEST_F(BisectTest, WithoutAChangeTheAnswerIsNo) {
  const auto result = Find({1, 1, 1});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNo);
}

TEST_F(BisectTest, TooNoisyIsUnsureAndAMiddleThatCannotBeDecidedIsLeftOpen) {
  bench_.noise = 0.2;
  const auto noisy = Find({1, 1, 1.01});
  ASSERT_FALSE(noisy);
  EXPECT_EQ(noisy.error().code, ErrorCode::kUnsure);
  bench_.noise = 0.01;
  const auto open = Find({1, 1.03, 1.06});
  ASSERT_TRUE(open) << open.error().message;
  EXPECT_FALSE(open->complete());
  EXPECT_EQ(open->last_unchanged, 0U);
  EXPECT_EQ(open->first_changed, 2U);
}

TEST_F(BisectTest, OneArtifactIsNoRow) { EXPECT_EQ(Find({1}).error().code, ErrorCode::kUsage); }

}  // namespace
}  // namespace hone::test
