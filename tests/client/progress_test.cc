#include <gtest/gtest.h>

#include "client/job_progress.h"
#include "client/table.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

ProgressState Running() {
  ProgressState state;
  state.job = FinishedJob();
  state.job.set_state(proto::JOB_RUNNING);
  state.job.mutable_studies(0)->set_budget(40);
  state.elapsed_ms = 60'000;
  state.work = {"local: build static_int8"};
  return state;
}

TEST(ProgressTest, TellsCountBestAndWork) {
  const auto lines = ProgressLines(Running(), 120, 12, true);
  ASSERT_GE(lines.size(), 5U);
  EXPECT_NE(lines[1].find("12/40 trials, about 2m20s left"), std::string::npos) << lines[1];
  EXPECT_NE(lines[2].find("2.91x [2.85, 2.98]  trial 7"), std::string::npos) << lines[2];
  EXPECT_NE(lines[3].find("10 complete, 1 infeasible, 1 failed; builds 4 run, 9 reused"), std::string::npos);
  EXPECT_EQ(lines[4], "now    local: build static_int8");
}

TEST(ProgressTest, TellsHowManyEventsItMissed) {
  ProgressState state = Running();
  state.missed = 1;
  const auto lines = ProgressLines(state, 120, 12, true);
  EXPECT_EQ(lines.back(), "1 earlier event is no longer kept by the coordinator; counts and best are as of now");
}

TEST(ProgressTest, NeverWiderOrHigherThanTheWindow) {
  ProgressState state = Running();
  for (int i = 0; i < 30; ++i) state.work.push_back("worker-with-a-long-name-" + std::to_string(i) + ": measure the accuracy of something");
  for (const bool utf8 : {true, false}) {
    const auto lines = ProgressLines(state, 40, 8, utf8);
    EXPECT_EQ(lines.size(), 8U);
    for (const std::string& line : lines) EXPECT_LT(DisplayWidth(line), 40U) << line;
    EXPECT_NE(lines.back().find("more"), std::string::npos);
  }
}

TEST(ProgressTest, NoForecastBeforeThreeTrialsOrWithoutAnEnd) {
  ProgressState state = Running();
  state.done_at_start = 10;
  EXPECT_EQ(RemainingMs(state), -1);
  state.done_at_start = 0;
  EXPECT_EQ(RemainingMs(state), 140'000);
  state.job.mutable_studies(0)->set_budget(0);
  EXPECT_EQ(ExpectedTrials(state.job), 0U);
  EXPECT_EQ(RemainingMs(state), -1);
}

TEST(ProgressTest, SpaceSmallerThanTheBudgetIsTheEnd) {
  proto::JobSummary job = FinishedJob();
  job.mutable_studies(0)->set_budget(40);
  job.mutable_studies(0)->set_candidates(8);
  EXPECT_EQ(ExpectedTrials(job), 8U);
}

TEST(ProgressTest, StartsAndReusesAreNotWorthALine) {
  proto::Event event;
  for (const char* kind : {"trial.started", "build.reused"}) {
    event.set_kind(kind);
    EXPECT_FALSE(IsWorthALine(event)) << kind;
  }
  for (const char* kind : {"job.submitted", "trial.complete", "trial.failed", "worker.lost"}) {
    event.set_kind(kind);
    EXPECT_TRUE(IsWorthALine(event)) << kind;
  }
}

TEST(ProgressTest, EventLineIsSafeAndOneLine) {
  proto::Event event;
  event.set_unix_ms(1'700'000'000'000);
  event.set_text("trial 3\n\x1b[2J complete");
  const std::string line = EventLine(event, false);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
}

TEST(ProgressTest, ExitCodesOfJobs) {
  proto::JobSummary job = FinishedJob();
  EXPECT_EQ(JobExitCode(job), 0);
  job.add_studies();
  EXPECT_EQ(JobExitCode(job), 1);
  job.set_state(proto::JOB_FAILED);
  EXPECT_EQ(JobExitCode(job), 4);
  job.set_state(proto::JOB_CANCELLED);
  EXPECT_EQ(JobExitCode(job), 11);
  job = {};
  job.set_state(proto::JOB_COMPLETE);
  EXPECT_EQ(JobExitCode(job), 1);
}

}  // namespace
}  // namespace hone::test
