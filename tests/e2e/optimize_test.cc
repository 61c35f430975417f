// `hone optimize` from end to end: the real programs on real and small models.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

const char* const kSmallRecipe = R"(
passes:
  - choose:
      - none
      - fp16
      - dynamic_int8
      - weights_int8
backends:
  onnxruntime:
  openvino:
accuracy: {metric: cosine}
constraints: {accuracy_drop: 0.05}
search: {sampler: exhaustive, trials: 20, seed: 7}
measure: {pairs: 3, final_pairs: 4, finalists: 2}
)";

class OptimizeTest : public testing::Test {
 protected:
  void SetUp() override {
    Mlp().Save(folder_ / "mlp.onnx");
    WriteNpz(folder_ / "data.npz", {{"x", NormalArray({40, 64}, 5)}});
    std::ofstream(folder_ / "recipe.yaml") << kSmallRecipe;
  }
  Ran Optimize(const std::string& out, std::vector<std::string> more = {}, int deadline_s = 180) {
    std::vector<std::string> arguments = {
        "optimize", (folder_ / "mlp.onnx").string(), "--recipe", (folder_ / "recipe.yaml").string(),
        "--data",   (folder_ / "data.npz").string(), "-o",       (folder_ / out).string(),
        "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Hone(arguments, deadline_s);
  }
  TempFolder folder_;
};

TEST_F(OptimizeTest, GivesTheDocumentOfTheContractAndTheFilesItNames) {
  const Ran ran = Optimize("out");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = ran.json();
  EXPECT_EQ(json.at("schema"), "hone.result/1");
  EXPECT_EQ(json.at("status"), "complete");
  EXPECT_EQ(json.at("baseline").at("backend"), "onnxruntime");
  EXPECT_GT(json.at("baseline").at("metrics").at("latency_ms_p50").get<double>(), 0);
  EXPECT_EQ(json.at("baseline").at("metrics").at("accuracy").get<double>(), 1);
  const auto& best = json.at("best");
  ASSERT_FALSE(best.is_null());
  for (const char* key : {"trial", "pipeline", "backend", "settings", "metrics", "speedup", "artifact", "path"}) {
    EXPECT_TRUE(best.contains(key)) << key;
  }
  EXPECT_EQ(best.at("speedup").at("ci99").size(), 2U);
  EXPECT_EQ(best.at("speedup").at("pairs"), 4);
  EXPECT_TRUE(fs::exists(best.at("path").get<std::string>()));
  EXPECT_EQ(best.at("artifact").get<std::string>().rfind("sha256:", 0), 0U);
  const auto& trials = json.at("trials");
  EXPECT_EQ(trials.at("complete").get<int>() + trials.at("infeasible").get<int>(), 8) << ran.out;
  EXPECT_EQ(trials.at("failed"), 0) << ran.err;

  // The evidence: everything the result says stands in the database.
  const fs::path db = folder_ / "out" / ".hone" / "hone.db";
  for (const char* table : {"jobs", "studies", "trials", "attempts", "metrics", "samples", "artifacts", "fingerprints",
                            "builds", "events"}) {
    const auto rows = Query(db, std::string("SELECT count(*) FROM ") + table);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_GT(std::stoi(rows[0][0]), 0) << table;
  }
}

TEST_F(OptimizeTest, SecondRunRepeatsNoBuildAndNoMeasurementAndSaysSo) {
  const Ran first = Optimize("out");
  ASSERT_EQ(first.code, 0) << first.err;
  const fs::path db = folder_ / "out" / ".hone" / "hone.db";
  const auto attempts = Query(db, "SELECT count(*) FROM attempts");
  const Ran second = Optimize("out");
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(Query(db, "SELECT count(*) FROM attempts"), attempts);
  EXPECT_EQ(second.json().at("best").at("trial"), first.json().at("best").at("trial"));
  EXPECT_NE(second.err.find("0 run"), std::string::npos) << second.err;
}

TEST_F(OptimizeTest, SameSeedGivesSameCandidatesAndSameArtifacts) {
  std::ofstream(folder_ / "recipe.yaml")
      << "passes: [{choose: [none, fp16, dynamic_int8: {per_channel: [true, false]}, weights_int4: "
         "{group_size: [16, 32, 64]}]}]\nbackends: {onnxruntime: {intra_op_threads: [1, 2]}, openvino: {}}\n"
         "search: {sampler: random, trials: 6, seed: 11}\nmeasure: {pairs: 1, final_pairs: 1, finalists: 1}\n";
  ASSERT_NE(Optimize("a").code, 9);
  ASSERT_NE(Optimize("b").code, 9);
  const std::string sql = "SELECT trial, candidate FROM trials ORDER BY trial";
  const auto a = Query(folder_ / "a" / ".hone" / "hone.db", sql);
  EXPECT_EQ(a.size(), 7U);
  EXPECT_EQ(a, Query(folder_ / "b" / ".hone" / "hone.db", sql));
  const std::string artifacts = "SELECT digest FROM artifacts ORDER BY digest";
  EXPECT_EQ(Query(folder_ / "a" / ".hone" / "hone.db", artifacts),
            Query(folder_ / "b" / ".hone" / "hone.db", artifacts));
}

TEST_F(OptimizeTest, NothingFeasibleIsExitOneWithNoBest) {
  std::ofstream(folder_ / "recipe.yaml")
      << "passes: [dynamic_int8]\nbackends: {onnxruntime: {}}\nconstraints: {cosine: {min: 1}}\n";
  const Ran ran = Optimize("out");
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_TRUE(ran.json().at("best").is_null());
  EXPECT_EQ(ran.json().at("trials").at("infeasible"), 1);
}

TEST_F(OptimizeTest, LayersWithPrecisionsOfTheirOwnAreSearchedWithASensitivityTable) {
  std::ofstream(folder_ / "recipe.yaml")
      << "passes: [{choose: [none, {dynamic_int8: {per_channel: [true, false], layers: {groups: 2, choices: [float, "
         "quantized]}}}]}]\n"
         "backends: {onnxruntime: {intra_op_threads: [1, 2]}, openvino: {}}\nobjectives: [{minimize: size_bytes}]\n"
         "search: {trials: 12, seed: 3}\nmeasure: {pairs: 1, final_pairs: 1, finalists: 1}\n";
  const Ran ran = Optimize("out");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.json().at("trials").at("failed"), 0) << ran.err;
  const fs::path db = folder_ / "out" / ".hone" / "hone.db";
  // Before the first trial, by a runner, confined as builds are.
  const auto done = Query(db, "SELECT text FROM events WHERE kind = 'sensitivity.done'");
  ASSERT_EQ(done.size(), 1U) << ran.err;
  EXPECT_NE(done[0][0].find("2 groups of layers"), std::string::npos) << done[0][0];
  EXPECT_EQ(Query(db, "SELECT count(*) FROM attempts WHERE build LIKE 'sensitivity:%' AND outcome = 'done'")[0][0],
            "1");
  EXPECT_EQ(Query(db,
                  "SELECT count(*) FROM trials WHERE trial > 0 AND attempts > 0 AND created_unix_ms < (SELECT unix_ms "
                  "FROM events "
                  "WHERE kind = 'sensitivity.done')")[0][0],
            "0");
  // Some candidate has a layer of each kind.
  EXPECT_NE(Query(db,
                  "SELECT count(*) FROM trials WHERE state = 'complete' AND candidate LIKE '%float%' AND candidate "
                  "LIKE '%quantized%'")[0][0],
            "0");
}

TEST_F(OptimizeTest, InterruptLeavesAResumableJob) {
  std::ofstream(folder_ / "recipe.yaml")
      << "passes: [{choose: [none, fp16, dynamic_int8, weights_int8, {weights_int4: {group_size: [16, 32, 64]}}]}]\n"
         "backends: {onnxruntime: {intra_op_threads: [1, 2]}, openvino: {}}\n"
         "search: {sampler: exhaustive}\nmeasure: {pairs: 6, final_pairs: 6, finalists: 1}\n";
  ProcessOptions options;
  options.arguments = {Program("hone").string(),           "optimize", (folder_ / "mlp.onnx").string(), "--recipe",
                       (folder_ / "recipe.yaml").string(), "--data",   (folder_ / "data.npz").string(), "-o",
                       (folder_ / "out").string()};
  options.stdout_file = options.stderr_file = folder_ / "log";
  auto process = Process::Start(options);
  ASSERT_TRUE(process);
  const fs::path db = folder_ / "out" / ".hone" / "hone.db";
  const std::string finished = "SELECT trial FROM trials WHERE state = 'complete' AND trial > 0 ORDER BY trial";
  ASSERT_TRUE(Eventually(
      [&] {
        return fs::exists(db) && !Query(db, "SELECT 1 FROM sqlite_master WHERE name = 'trials'").empty() &&
               Query(db, finished).size() >= 2;
      },
      Deadline(120)));
  process->Signal(SIGINT);
  const auto status = process->Wait(Deadline(30));
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->code, 130);
  const std::string measured = "SELECT trial FROM attempts WHERE kind = 'measure' AND outcome = 'done' ORDER BY trial";
  const size_t before = Query(db, measured).size();
  const Ran ran = Optimize("out", {}, 300);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("resum"), std::string::npos) << ran.err;
  EXPECT_EQ(Query(db, "SELECT count(*) FROM jobs")[0][0], "1");
  // What was measured before the interruption was not measured again.
  EXPECT_GE(before, 3U);
  const auto after = Query(db, measured);
  EXPECT_EQ(std::set<std::vector<std::string>>(after.begin(), after.end()).size(), after.size());
}

// The figure itself is a matter of the machine: the demo and bench/ tell it. Here: a real model, real pictures, every
// pass of the recipe.
TEST(RealModelTest, TextAngleClassifierKeepsItsAccuracy) {
  const char* models = std::getenv("HONE_MODELS");
  ASSERT_TRUE(models != nullptr && fs::exists(fs::path(models) / "text_angle.onnx"))
      << "HONE_MODELS is not set up: run ops/setup --models";
  TempFolder folder;
  // The ready recipe, with timing cut short.
  std::ifstream ready(std::string(HONE_SOURCE_DIR) + "/recipes/text_angle.yaml");
  std::string recipe(std::istreambuf_iterator<char>(ready), {});
  recipe.erase(recipe.find("\nmeasure:") + 1);
  std::ofstream(folder / "recipe.yaml") << recipe << "measure: {pairs: 1, final_pairs: 2, finalists: 1}\n";
  const Ran ran = Hone({"optimize", (fs::path(models) / "text_angle.onnx").string(), "--recipe",
                        (folder / "recipe.yaml").string(), "--data", (fs::path(models) / "text_images").string(), "-o",
                        (folder / "out").string(), "--trials", "6", "--json"},
                       600);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = ran.json();
  EXPECT_GT(json.at("baseline").at("metrics").at("accuracy").get<double>(), 0.9);
  EXPECT_LE(json.at("best").at("metrics").at("accuracy_drop").get<double>(), 0.01);
}

}  // namespace
}  // namespace hone::test
