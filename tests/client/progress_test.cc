// What a person sees of a running job: a block on a terminal, lines elsewhere, and how long it will take.
#include <gtest/gtest.h>

#include <cmath>

#include "client/table.h"
#include "client/watch_view.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

constexpr int64_t kStart = 1'700'000'000'000;

ProgressState Running() {
  ProgressState state;
  state.job = FinishedJob();
  state.job.set_state(proto::JOB_RUNNING);
  state.job.set_created_unix_ms(kStart);
  state.job.mutable_studies(0)->set_budget(40);
  for (int i = 1; i <= 12; ++i) state.finished_ms.push_back(kStart + 5'000 * i);
  state.now_ms = kStart + 60'000;
  state.work = {"local: build static_int8"};
  return state;
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(ProgressTest, TellsPaceForecastBestAgainstBaselineAndWork) {
  const std::string text = Joined(ProgressLines(Running(), {160, 12, true}));
  EXPECT_NE(text.find("12/40 trials, 12 a minute, about 2m20s left (2m20s to 2m20s)"), std::string::npos) << text;
  EXPECT_NE(text.find("2.91x [2.85, 2.98]  1.58 ms, baseline 4.6 ms  trial 7"), std::string::npos) << text;
  EXPECT_NE(text.find("10 complete, 1 infeasible, 1 failed; builds 4 run, 9 reused"), std::string::npos) << text;
  EXPECT_NE(text.find("now    local: build static_int8"), std::string::npos) << text;
}

TEST(ProgressTest, TellsHowManyEventsItMissed) {
  ProgressState state = Running();
  state.missed = 1;
  EXPECT_NE(Joined(ProgressLines(state, {160, 12, true})).find("1 earlier event is no longer kept by the coordinator"),
            std::string::npos);
}

TEST(ProgressTest, NeverWiderOrHigherThanTheWindow) {
  ProgressState state = Running();
  for (int i = 0; i < 30; ++i)
    state.work.push_back("worker-with-a-long-name-" + std::to_string(i) + ": measure the accuracy of something");
  for (int i = 0; i < 50; ++i) state.points.push_back({1.0 + i, 0.001 * i, SketchPoint::Kind::feasible});
  for (const size_t width : {20U, 40U, 60U, 80U, 120U}) {
    for (const size_t rows : {1U, 4U, 8U, 15U, 24U, 50U}) {
      for (const bool utf8 : {true, false}) {
        const auto lines = ProgressLines(state, {width, rows, utf8});
        EXPECT_LE(lines.size(), rows);
        for (const std::string& line : lines) EXPECT_LT(DisplayWidth(line), width) << line;
      }
    }
  }
  EXPECT_NE(Joined(ProgressLines(state, {80, 24, true})).find("more"), std::string::npos);
}

TEST(ProgressTest, ForecastWidensWithWhatIsNotKnown) {
  std::vector<int64_t> even, uneven;
  int64_t now = kStart;
  for (int i = 0; i < 30; ++i) {
    now += 10'000;
    even.push_back(now);
    uneven.push_back(now + (i % 2 == 0 ? 4'000 : 0));
  }
  EXPECT_FALSE(TimeLeft({kStart, kStart + 1, kStart + 2, kStart + 3}, 10, kStart + 4));
  EXPECT_FALSE(TimeLeft(even, 0, now));
  const auto sure = TimeLeft(even, 10, now);
  const auto unsure = TimeLeft(uneven, 10, uneven.back());
  ASSERT_TRUE(sure && unsure);
  EXPECT_NEAR(static_cast<double>(sure->ms), 100'000, 1);
  EXPECT_EQ(sure->low_ms, sure->high_ms);
  EXPECT_LT(unsure->low_ms, unsure->ms);
  EXPECT_GT(unsure->high_ms, unsure->ms);
}

// Of searches whose gaps are drawn at random, the range must hold the rest in about eight of ten.
TEST(ProgressTest, ForecastRangeHoldsTheTruthInEightOfTen) {
  uint64_t seed = 12345;
  const auto draw = [&seed] {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<double>(seed >> 11) / 9007199254740992.0;
  };
  int inside = 0;
  constexpr int kSearches = 1000;
  for (int search = 0; search < kSearches; ++search) {
    std::vector<int64_t> finished;
    double now = 0, rest = 0;
    for (int i = 0; i < 30; ++i) finished.push_back(static_cast<int64_t>(now += -10'000 * std::log(1 - draw())));
    for (int i = 0; i < 40; ++i) rest += -10'000 * std::log(1 - draw());
    const auto forecast = TimeLeft(finished, 40, finished.back());
    ASSERT_TRUE(forecast);
    inside += rest >= static_cast<double>(forecast->low_ms) && rest <= static_cast<double>(forecast->high_ms) ? 1 : 0;
  }
  EXPECT_GT(inside, kSearches * 70 / 100);
  EXPECT_LT(inside, kSearches * 90 / 100);
}

TEST(ProgressTest, StallIsNamedWithWhatIsUsual) {
  const ProgressState state = Running();
  EXPECT_EQ(StallText(state.finished_ms, kStart + 62'000), "");
  EXPECT_EQ(StallText(state.finished_ms, kStart + 60'000 + 190'000), "no trial finished for 3m10s (usual: 5.0 s)");
}

TEST(ProgressTest, PictureShowsBestBaselineAndLimit) {
  proto::JobSummary job = FinishedJob();
  proto::Constraint& constraint = *job.add_constraints();
  constraint.set_metric("accuracy_drop");
  constraint.set_maximum(0.01);
  const SketchAxes axes = AxesOf(job);
  EXPECT_EQ(axes.x, "latency_ms_p50");
  EXPECT_EQ(axes.y, "accuracy_drop");
  EXPECT_EQ(axes.limit, 0.01);
  const auto baseline = PointOf(axes, job.studies(0).baseline(), SketchPoint::Kind::baseline);
  const auto best = PointOf(axes, job.studies(0).best(), SketchPoint::Kind::best);
  ASSERT_TRUE(baseline && best);
  EXPECT_EQ(baseline->y, 0);
  const std::string ascii =
      Joined(SketchLines(axes, {*baseline, *best, {2, 0.005, SketchPoint::Kind::feasible}}, 60, 8, false));
  for (const char* mark : {"*", "B", "o", "-"}) EXPECT_NE(ascii.find(mark), std::string::npos) << mark << "\n" << ascii;
  EXPECT_NE(Joined(SketchLines(axes, {*baseline, *best}, 60, 8, true)).find("★"), std::string::npos);
  EXPECT_TRUE(SketchLines(axes, {*best}, 60, 8, true).empty());
}

TEST(ProgressTest, SpaceSmallerThanTheBudgetIsTheEnd) {
  proto::JobSummary job = FinishedJob();
  job.mutable_studies(0)->set_budget(40);
  job.mutable_studies(0)->set_candidates(8);
  EXPECT_EQ(ExpectedTrials(job), 8U);
  job.mutable_studies(0)->set_budget(0);
  job.mutable_studies(0)->set_candidates(0);
  EXPECT_EQ(ExpectedTrials(job), 0U);
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
  for (const char* kind : {"trial.complete", "build.done"}) {
    event.set_kind(kind);
    EXPECT_FALSE(IsWorthAShortLog(event)) << kind;
  }
}

TEST(ProgressTest, LinesAreLogfmtSafeAndOneLine) {
  proto::Event event;
  event.set_unix_ms(kStart);
  event.set_job(3);
  event.set_trial(5);
  event.set_kind("trial.complete");
  event.set_text("trial 5\n\x1b[2J \"complete\"");
  EXPECT_EQ(EventLine(event, false),
            "2023-11-14T22:13:20Z job=3 event=trial.complete trial=5 text=\"trial 5??[2J \\\"complete\\\"\"");
}

TEST(ProgressTest, LastLineCarriesVerdictAndNextCommand) {
  const std::string good = EndLine(kStart, FinishedJob(), 0);
  for (const char* part : {"event=end", "state=complete", "exit=0", "best=3/7", "speedup=2.910", "failed=1",
                           "next=\"hone get 3 -o out\""}) {
    EXPECT_NE(good.find(part), std::string::npos) << part << " in " << good;
  }
  EXPECT_NE(GoesOnLine(kStart, 3, 10).find("event=end state=running exit=10 next=\"hone watch 3\""), std::string::npos);
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
