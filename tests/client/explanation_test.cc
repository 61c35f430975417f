#include "client/explanation.h"

#include <gmock/gmock.h>

#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

proto::TrialSummary Measured(uint64_t number, const std::vector<std::string>& passes, const std::string& backend,
                             double speedup, double size_bytes = 100) {
  proto::TrialSummary trial = Trial(number, proto::TRIAL_COMPLETE);
  trial.mutable_candidate()->set_backend(backend);
  for (const auto& pass : passes) trial.mutable_candidate()->add_pipeline()->set_pass(pass);
  *trial.mutable_speedup() = Speedup(speedup, speedup * 0.99, speedup * 1.01);
  *trial.add_metrics() = MetricOf("size_bytes", size_bytes);
  return trial;
}

struct Case {
  proto::JobSummary job;
  std::vector<proto::TrialSummary> trials;
};

// openvino is twice as fast as onnxruntime, fp16 halves the size and changes nothing else, simplify makes a tenth.
Case EightTrials() {
  Case made;
  uint64_t number = 0;
  for (const char* backend : {"onnxruntime", "openvino"}) {
    for (const bool simplify : {false, true}) {
      for (const bool half : {false, true}) {
        std::vector<std::string> passes;
        if (simplify) passes.emplace_back("simplify");
        if (half) passes.emplace_back("fp16");
        const double speedup = (std::string(backend) == "openvino" ? 2 : 1) * (simplify ? 1.1 : 1);
        made.trials.push_back(Measured(++number, passes, backend, speedup, half ? 50 : 100));
      }
    }
  }
  made.job.set_job(5);
  made.job.add_objectives()->set_metric("latency_ms_p50");
  proto::StudySummary& study = *made.job.add_studies();
  study.add_tags("cpu");
  study.set_ended_by("space");
  *study.mutable_best() = made.trials.back();
  return made;
}

TEST(ExplanationTest, ParametersAreWeighedByWhatTheyExplain) {
  const Case made = EightTrials();
  const Explanation explanation = Explain(made.job, made.job.studies(0), made.trials);
  ASSERT_THAT(explanation.importance, SizeIs(testing::Ge(1U)));
  EXPECT_EQ(explanation.importance[0].parameter, "backend");
  EXPECT_GT(explanation.importance[0].share, 0.9);
  for (const auto& one : explanation.importance) EXPECT_NE(one.parameter, "pass fp16");
}

TEST(ExplanationTest, EachStepTellsWhatItBoughtAllElseEqual) {
  const Case made = EightTrials();
  const Explanation explanation = Explain(made.job, made.job.studies(0), made.trials);
  ASSERT_THAT(explanation.contributions, SizeIs(2));
  EXPECT_EQ(explanation.contributions[0].step, "simplify");
  EXPECT_NEAR(*explanation.contributions[0].ratio, 1 / 1.1, 1e-9);
  EXPECT_EQ(explanation.contributions[0].trials, 4U);
  EXPECT_EQ(explanation.contributions[1].step, "fp16");
  EXPECT_NEAR(*explanation.contributions[1].ratio, 1, 1e-9);
  EXPECT_NEAR(*explanation.contributions[1].size_ratio, 0.5, 1e-9);
  const std::string text = ExplanationText(made.job.studies(0), explanation);
  EXPECT_THAT(text, HasSubstr("bought       simplify: 9.1 % less, size no change (4 pairs of trials)"));
  EXPECT_THAT(text, HasSubstr("every candidate was tried"));
}

TEST(ExplanationTest, StepThatNoTrialIsWithoutSaysSo) {
  Case made = EightTrials();
  std::erase_if(made.trials, [](const auto& trial) { return trial.candidate().pipeline_size() < 2; });
  const Explanation explanation = Explain(made.job, made.job.studies(0), made.trials);
  EXPECT_FALSE(explanation.contributions[0].ratio);
  EXPECT_THAT(ExplanationText(made.job.studies(0), explanation), HasSubstr("no trial differs in it alone"));
}

TEST(ExplanationTest, RivalIsTheBestWhoseIntervalOverlaps) {
  const Case made = EightTrials();
  const Explanation explanation = Explain(made.job, made.job.studies(0), made.trials);
  EXPECT_EQ(explanation.best, 8U);
  EXPECT_EQ(explanation.rival, 7U);
}

TEST(ExplanationTest, ConstraintsTellHowManyTheyKeptOut) {
  Case made = EightTrials();
  for (const uint64_t number : {9, 10}) {
    made.trials.push_back(Trial(number, proto::TRIAL_INFEASIBLE));
    made.trials.back().set_reason("accuracy_drop 0.5 is above 0.01");
  }
  made.trials.push_back(Measured(11, {"tiny"}, "openvino", 9));
  made.trials.back().set_state(proto::TRIAL_INFEASIBLE);
  made.trials.back().set_reason("size_bytes 90 is above 60");
  const Explanation explanation = Explain(made.job, made.job.studies(0), made.trials);
  ASSERT_THAT(explanation.kept_out, SizeIs(2));
  EXPECT_EQ(explanation.kept_out[0].metric, "accuracy_drop");
  EXPECT_EQ(explanation.kept_out[0].trials, 2U);
  EXPECT_EQ(explanation.kept_out[1].best_trial, 11U);
}

TEST(ExplanationTest, NothingFeasibleOrNothingMeasuredIsToldPlainly) {
  proto::JobSummary job;
  job.add_studies();
  const Explanation explanation = Explain(job, job.studies(0), {});
  EXPECT_FALSE(explanation.best);
  EXPECT_TRUE(explanation.importance.empty());
  EXPECT_TRUE(ExplanationJson(explanation)["best"].is_null());
  EXPECT_THAT(ExplanationText(job.studies(0), explanation), HasSubstr("nothing feasible"));
}

TEST(ComparisonTest, VerdictNeedsIntervalsApart) {
  const auto slow = Measured(1, {}, "onnxruntime", 1), fast = Measured(2, {}, "openvino", 2),
             like = Measured(3, {}, "openvino", 2.01);
  EXPECT_STREQ(Compare(slow, fast).verdict, "faster");
  EXPECT_STREQ(Compare(fast, slow).verdict, "slower");
  EXPECT_STREQ(Compare(fast, like).verdict, "undecided");
  EXPECT_NEAR(*Compare(slow, fast).speedup, 2, 1e-9);
  EXPECT_STREQ(Compare(slow, Trial(4, proto::TRIAL_FAILED)).verdict, "undecided");
  // A baseline's speed-up over itself is 1, exactly.
  const Comparison over = Compare(Trial(0, proto::TRIAL_COMPLETE), fast);
  EXPECT_STREQ(over.verdict, "faster");
  EXPECT_DOUBLE_EQ(*over.low, fast.speedup().low());
  EXPECT_STREQ(Compare(Trial(0, proto::TRIAL_FAILED), fast).verdict, "undecided");
  EXPECT_EQ(ComparisonJson(slow, fast)["b_over_a"]["verdict"], "faster");
  EXPECT_THAT(ComparisonText("1/1", slow, "1/2", fast), HasSubstr("faster: 2.00x"));
}

}  // namespace
}  // namespace hone::test
