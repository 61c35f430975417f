// A coordinator and workers over TCP: targets, lost workers, a lost coordinator.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

class FleetTest : public testing::Test {
 protected:
  void SetUp() override {
    Mlp().Save(folder_ / "mlp.onnx");
    WriteNpz(folder_ / "data.npz", {{"x", NormalArray({40, 64}, 5)}});
  }
  std::string Submit(const Coordinator& coordinator, const std::string& recipe) {
    std::ofstream(folder_ / "recipe.yaml") << recipe;
    const Ran ran = Hone({"submit", (folder_ / "mlp.onnx").string(), "--recipe", (folder_ / "recipe.yaml").string(),
                          "--coordinator", coordinator.endpoint()});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out.substr(0, ran.out.find('\n'));
  }
  Ran Wait(const Coordinator& coordinator, const std::string& job) {
    return Hone({"wait", job, "--coordinator", coordinator.endpoint()}, 300);
  }
  fs::path Database(const Coordinator& coordinator) const { return coordinator.data() / "hone.db"; }

  // What must hold after any job that ended well, whatever happened meanwhile.
  void ExpectNothingLostOrDoubled(const Coordinator& coordinator, size_t trials) {
    const fs::path db = Database(coordinator);
    const auto rows = Query(db, "SELECT study, trial, state FROM trials ORDER BY study, trial");
    EXPECT_EQ(rows.size(), trials);
    for (const auto& row : rows)
      EXPECT_TRUE(row[2] == "complete" || row[2] == "infeasible") << row[0] << "/" << row[1] << " is " << row[2];
    // Each trial has one effective result, and it is an attempt that ended well; no first measurement counts twice.
    EXPECT_TRUE(
        Query(db,
              "SELECT t.trial FROM trials t LEFT JOIN attempts a ON a.attempt = t.result WHERE a.outcome IS NOT 'done'")
            .empty());
    EXPECT_TRUE(Query(db,
                      "SELECT study, trial FROM attempts WHERE kind = 'measure' AND outcome = 'done' GROUP BY study, "
                      "trial HAVING count(*) > 1")
                    .empty());
    EXPECT_TRUE(
        Query(db,
              "SELECT build FROM attempts WHERE kind = 'build' AND outcome = 'done' GROUP BY build HAVING count(*) > 1")
            .empty());
    EXPECT_TRUE(Query(db, "SELECT attempt FROM attempts WHERE outcome = 'open'").empty());
    // No candidate twice in a study.
    EXPECT_TRUE(
        Query(db, "SELECT study, candidate FROM trials WHERE trial > 0 GROUP BY study, candidate HAVING count(*) > 1")
            .empty());
    EXPECT_EQ(Query(db, "PRAGMA integrity_check")[0][0], "ok");
  }

  TempFolder folder_;
};

const char* const kEight = R"(
data: {evaluation: {path: data.npz}}
passes: [{choose: [none, fp16, dynamic_int8, weights_int8]}]
backends: {onnxruntime: {}, openvino: {}}
constraints: {accuracy_drop: 0.05}
search: {sampler: exhaustive, seed: 3}
measure: {pairs: 3, final_pairs: 3, finalists: 1}
)";

TEST_F(FleetTest, EachTargetsTrialsRunOnlyOnMatchingWorkers) {
  Coordinator coordinator(folder_.path());
  Worker red(folder_.path(), "red", coordinator.endpoint(), {"red"});
  Worker blue(folder_.path(), "blue", coordinator.endpoint(), {"blue"});
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 2)) << red.Log() << blue.Log();
  const std::string job = Submit(coordinator, std::string(kEight) + "targets: [{tags: [cpu, red]}, {tags: [blue]}]\n");
  ASSERT_EQ(Wait(coordinator, job).code, 0) << coordinator.Log();

  const Ran best = Hone({"best", job, "--json", "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(best.code, 0) << best.err;
  const auto studies = best.json().at("studies");
  ASSERT_EQ(studies.size(), 2U);
  for (const auto& study : studies) EXPECT_FALSE(study.at("best").is_null());

  const auto rows = Query(Database(coordinator),
                          "SELECT DISTINCT study, worker FROM attempts WHERE kind <> 'build' ORDER BY study");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0][1], "red");
  EXPECT_EQ(rows[1][1], "blue");
  ExpectNothingLostOrDoubled(coordinator, 18);
}

TEST_F(FleetTest, KilledWorkerAndKilledCoordinatorLoseNothing) {
  Coordinator coordinator(folder_.path());
  Worker one(folder_.path(), "one", coordinator.endpoint());
  Worker two(folder_.path(), "two", coordinator.endpoint());
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 2)) << one.Log() << two.Log();
  const std::string job = Submit(coordinator, kEight);

  // A worker dies while it holds work.
  ASSERT_TRUE(Eventually(
      [&] {
        return !Query(Database(coordinator), "SELECT 1 FROM attempts WHERE worker = 'one' AND outcome = 'open'")
                    .empty();
      },
      Deadline(60)));
  one.Kill();
  // The coordinator dies in the middle of the search and comes back.
  ASSERT_TRUE(Eventually(
      [&] {
        return !Query(Database(coordinator), "SELECT 1 FROM trials WHERE trial > 0 AND state = 'complete'").empty();
      },
      Deadline(120)));
  coordinator.Kill();
  coordinator.Start();
  ASSERT_EQ(Wait(coordinator, job).code, 0) << coordinator.Log();
  ExpectNothingLostOrDoubled(coordinator, 9);
}

TEST_F(FleetTest, SecondCoordinatorOnTheSameFolderIsRefused) {
  Coordinator coordinator(folder_.path());
  const Ran second =
      RunProgram("hone-coordinator", {"--listen", "tcp://127.0.0.1:0", "--data", coordinator.data().string()});
  EXPECT_EQ(second.code, 9) << second.err;
  EXPECT_NE(second.err.find(std::to_string(coordinator.process().pid())), std::string::npos) << second.err;
}

TEST_F(FleetTest, TargetThatNoWorkerHasSaysWhichTagsThereAre) {
  Coordinator coordinator(folder_.path());
  Worker worker(folder_.path(), "green", coordinator.endpoint(), {"green"});
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1)) << worker.Log();
  std::ofstream(folder_ / "recipe.yaml") << kEight << "targets: [{tags: [purple]}]\n";
  const Ran ran = Hone({"submit", (folder_ / "mlp.onnx").string(), "--recipe", (folder_ / "recipe.yaml").string(),
                        "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ran.code, 9);
  EXPECT_NE(ran.err.find("purple"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("green"), std::string::npos) << ran.err;
}

TEST_F(FleetTest, CancelledJobStopsAndSaysSo) {
  Coordinator coordinator(folder_.path());
  Worker worker(folder_.path(), "one", coordinator.endpoint());
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1)) << worker.Log();
  const std::string job = Submit(coordinator, kEight);
  EXPECT_EQ(Hone({"cancel", job, "--coordinator", coordinator.endpoint()}).code, 0);
  EXPECT_EQ(Wait(coordinator, job).code, 11);
  EXPECT_TRUE(Eventually(
      [&] { return Query(Database(coordinator), "SELECT attempt FROM attempts WHERE outcome = 'open'").empty(); },
      Deadline(20)));
}

}  // namespace
}  // namespace hone::test
