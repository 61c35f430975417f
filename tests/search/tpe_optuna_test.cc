#include "coordinator/search/tpe_optuna.h"

#include <gtest/gtest.h>

#include "tests/search/golden_replay.h"

namespace hone {
namespace {

TEST(TpeOptunaTest, ReplaysEveryRecordedValue) {
  const auto summary = ReplayGolden(std::string(HONE_SOURCE_DIR) + "/tests/data/golden_optuna_5_0_0.json");
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->runs, 48u);
  EXPECT_EQ(summary->values, 35485u);
  for (const std::string& mismatch : summary->mismatches) ADD_FAILURE() << mismatch;
  // Candidates with the same score, which rounding decides between.
  EXPECT_LE(summary->ties, 60u);
  RecordProperty("ties", static_cast<int>(summary->ties));
}

TEST(TpeOptunaTest, AParameterWithOneValueHasIt) {
  OptunaTpe tpe(1, 1);
  tpe.Begin({});
  EXPECT_EQ(tpe.Suggest({"a", 1}), 0);
  EXPECT_EQ(tpe.Suggest({"b", 0, 3, 3, 1}), 3);
}

}  // namespace
}  // namespace hone
