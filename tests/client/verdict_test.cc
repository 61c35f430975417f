#include "client/verdict.h"

#include <gtest/gtest.h>

#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

TEST(VerdictTest, IntervalAboveTheBandIsFasterAndBelowItSlower) {
  EXPECT_EQ(Judge(Speedup(1.5, 1.4, 1.6), 0.02), Verdict::faster);
  EXPECT_EQ(Judge(Speedup(0.7, 0.6, 0.8), 0.02), Verdict::slower);
}

TEST(VerdictTest, IntervalInsideTheBandIsEqual) { EXPECT_EQ(Judge(Speedup(1.0, 0.985, 1.015), 0.02), Verdict::equal); }

TEST(VerdictTest, StraddlingIntervalIsUndecided) {
  EXPECT_EQ(Judge(Speedup(1.03, 1.0, 1.06), 0.02), Verdict::undecided);
  EXPECT_EQ(Judge(Speedup(1.0, 0.9, 1.1), 0.02), Verdict::undecided);
}

TEST(VerdictTest, WithoutAnIntervalNothingIsDecided) {
  const proto::Metric bare = MetricOf("speedup", 2.0);
  EXPECT_EQ(Judge(bare, 0.02), Verdict::undecided);
  EXPECT_EQ(Check(bare, 0.02, Expectation::faster), Answer::undecided);
}

TEST(VerdictTest, ModelAgainstItselfIsNotFasterAndIsEqual) {
  const proto::Metric same = Speedup(1.002, 0.995, 1.008);
  EXPECT_EQ(Check(same, 0.02, Expectation::faster), Answer::no);
  EXPECT_EQ(Check(same, 0.02, Expectation::not_slower), Answer::yes);
  EXPECT_EQ(Check(same, 0.02, Expectation::equal), Answer::yes);
}

TEST(VerdictTest, SlowerModelFailsEveryExpectation) {
  const proto::Metric slow = Speedup(0.5, 0.45, 0.55);
  EXPECT_EQ(Check(slow, 0.02, Expectation::faster), Answer::no);
  EXPECT_EQ(Check(slow, 0.02, Expectation::not_slower), Answer::no);
  EXPECT_EQ(Check(slow, 0.02, Expectation::equal), Answer::no);
}

TEST(VerdictTest, WideIntervalAnswersNothing) {
  const proto::Metric wide = Speedup(1.0, 0.5, 2.0);
  for (const Expectation expectation : {Expectation::faster, Expectation::not_slower, Expectation::equal}) {
    EXPECT_EQ(Check(wide, 0.02, expectation), Answer::undecided);
  }
}

TEST(VerdictTest, ExpectationsHaveThreeNames) {
  EXPECT_EQ(*ParseExpectation("not-slower"), Expectation::not_slower);
  const auto wrong = ParseExpectation("fastr");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kUsage);
  EXPECT_NE(wrong.error().message.find("'faster'"), std::string::npos);
}

}  // namespace
}  // namespace hone::test
