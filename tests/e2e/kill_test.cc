// Searches whose coordinator and workers are killed (SIGKILL) again and again, at moments that a seed chooses.
//
//   HONE_KILLS=60 build/release/bin/e2e_tests --gtest_filter='KillTest.*'     default 6 a test
//   HONE_KILL_SEED=7                                                          another sequence of moments and victims
//
// Moments are counted in steps of the search (events in the database), not in time. The objective is the size, which is
// the same in every run, so that an adaptive sampler's proposals must be the same as well.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "tests/support/programs.h"
#include "tests/support/setting.h"
#include "tests/support/small_search.h"

namespace hone::test {
namespace {

// One search with its own coordinator and workers, whose processes may be killed.
class Fleet {
 public:
  Fleet(const fs::path& folder, int workers) : folder_(folder), coordinator_(folder) {
    for (int i = 0; i < workers; ++i) {
      workers_.push_back(std::make_unique<Worker>(folder, "worker" + std::to_string(i), coordinator_.endpoint()));
    }
    EXPECT_TRUE(WorkersReady(coordinator_.endpoint(), static_cast<size_t>(workers)));
  }

  void Submit(const SmallSearch& search) {
    const Ran ran = Hone({"submit", search.model().string(), "--recipe", search.recipe().string(), "--coordinator",
                          coordinator_.endpoint()});
    EXPECT_EQ(ran.code, 0) << ran.err;
  }
  bool Over() { return Query(database(), "SELECT 1 FROM jobs WHERE state = 'running'").empty(); }
  int64_t Events() { return std::stoll(Query(database(), "SELECT coalesce(max(sequence), 0) FROM events")[0][0]); }
  // Kills one process when the search has gone `steps` further. False: it was over before.
  bool KillAfter(int64_t steps, size_t victim) {
    const int64_t until = Events() + steps;
    EXPECT_TRUE(Eventually([&] { return Over() || Events() >= until; }, Deadline(120))) << coordinator_.Log();
    if (Over()) return false;
    if (victim >= workers_.size()) {
      coordinator_.Kill();
      coordinator_.Start();
    } else {
      workers_[victim]->Kill();
      workers_[victim]->Start();
    }
    return true;
  }
  void Finish() { EXPECT_TRUE(Eventually([&] { return Over(); }, Deadline(300))) << coordinator_.Log(); }

  size_t victims() const { return workers_.size() + 1; }
  fs::path database() const { return coordinator_.database(); }
  std::vector<std::vector<std::string>> Table() {
    return Query(database(), "SELECT trial, state, candidate, model_id FROM trials ORDER BY trial");
  }
  std::string Best() { return Query(database(), "SELECT best FROM studies")[0][0]; }
  std::string Log() const { return coordinator_.Log(); }

 private:
  fs::path folder_;
  Coordinator coordinator_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

class KillTest : public testing::Test {
 protected:
  std::unique_ptr<Fleet> Start(int run, int workers) {
    const fs::path own = folder_ / ("run" + std::to_string(run));
    fs::create_directories(own);
    auto fleet = std::make_unique<Fleet>(own, workers);
    fleet->Submit(search_);
    return fleet;
  }
  static void ExpectNothingLostOrDoubled(Fleet& fleet) {
    const fs::path db = fleet.database();
    EXPECT_TRUE(Query(db, "SELECT trial FROM trials WHERE state NOT IN ('complete', 'infeasible')").empty())
        << fleet.Log();
    EXPECT_TRUE(
        Query(db,
              "SELECT t.trial FROM trials t LEFT JOIN attempts a ON a.attempt = t.result WHERE a.outcome IS NOT 'done'")
            .empty());
    EXPECT_TRUE(
        Query(
            db,
            "SELECT trial FROM attempts WHERE kind = 'measure' AND outcome = 'done' GROUP BY trial HAVING count(*) > 1")
            .empty());
    EXPECT_TRUE(
        Query(db, "SELECT candidate FROM trials WHERE trial > 0 GROUP BY candidate HAVING count(*) > 1").empty());
    EXPECT_TRUE(Query(db, "SELECT attempt FROM attempts WHERE outcome = 'open'").empty());
    EXPECT_EQ(Query(db, "PRAGMA integrity_check")[0][0], "ok");
  }

  TempFolder folder_;
  const SmallSearch search_{folder_.path()};
  const int kills_ = static_cast<int>(Setting("HONE_KILLS", 6));
  std::mt19937 random_{static_cast<uint32_t>(Setting("HONE_KILL_SEED", 1))};
};

TEST_F(KillTest, OneWorkersTableAndBestAreThoseOfAnUndisturbedRun) {
  auto undisturbed = Start(0, 1);
  undisturbed->Finish();
  const auto table = undisturbed->Table();
  const std::string best = undisturbed->Best();
  ASSERT_EQ(table.size(), 13U);
  undisturbed.reset();
  for (int killed = 0, run = 1; killed < kills_; ++run) {
    auto fleet = Start(run, 1);
    int here = 0;
    while (killed < kills_ && here < 8 && fleet->KillAfter(1 + random_() % 5, random_() % fleet->victims()))
      ++killed, ++here;
    fleet->Finish();
    EXPECT_EQ(fleet->Table(), table) << "run " << run;
    EXPECT_EQ(fleet->Best(), best) << "run " << run;
    ExpectNothingLostOrDoubled(*fleet);
    ASSERT_FALSE(HasFailure()) << "run " << run << " after " << here << " kills";
  }
}

TEST_F(KillTest, ThreeWorkersLoseAndDoubleNothing) {
  for (int killed = 0, run = 0; killed < kills_; ++run) {
    auto fleet = Start(run, 3);
    int here = 0;
    while (killed < kills_ && here < 8 && fleet->KillAfter(1 + random_() % 5, random_() % fleet->victims()))
      ++killed, ++here;
    fleet->Finish();
    EXPECT_EQ(fleet->Table().size(), 13U);
    ExpectNothingLostOrDoubled(*fleet);
    ASSERT_FALSE(HasFailure()) << "run " << run << " after " << here << " kills";
  }
}

}  // namespace
}  // namespace hone::test
