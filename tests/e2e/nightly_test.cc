// Three nights of a suite on two targets, with the real programs. One launch a session: no timing decides.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

constexpr const char* kSuite = R"(
name: nights
models: [{name: a, model: a.onnx}, {name: b, model: b.onnx, targets: [here]}]
targets: [{name: here, tags: [here]}, {name: there, tags: [there]}]
metrics: {latency_ms_p50: 2%, size_bytes: 1%, accuracy_drop: 0.01}
measure: {pairs: 1, most_pairs: 1, blocks: 1, stolen: 100%}
notify: {command: [/bin/sh, -c, 'cat "$HONE_ALERT" >> alerts.json', tell]}
)";

void WriteModel(const fs::path& file, int64_t width, uint32_t seed) {
  ModelBuilder b(17, seed);
  b.Input("x", {1, 16}).Output("y", {1, 4}).Weight("w1", {16, width}, 0.3F).Weight("w2", {width, 4}, 0.3F);
  b.Node("MatMul", {"x", "w1"}, {"h"});
  b.Node("Relu", {"h"}, {"r"});
  b.Node("MatMul", {"r", "w2"}, {"y"});
  std::ofstream(file, std::ios::binary) << b.model().SerializeAsString();
}

class NightlyTest : public ::testing::Test {
 protected:
  NightlyTest()
      : coordinator_(folder_.path()), here_(folder_.path(), "worker-here", coordinator_.endpoint(), {"here"}) {
    there_.emplace(folder_.path(), "worker-there", coordinator_.endpoint(), std::vector<std::string>{"there"});
    std::ofstream(folder_ / "nights.yaml") << kSuite;
    WriteModel(folder_ / "a.onnx", 32, 1);
    WriteModel(folder_ / "b.onnx", 32, 2);
  }

  Ran Nightly(const std::string& action, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"nightly", action, "nights.yaml", "--coordinator", coordinator_.endpoint(),
                                          "--json",  "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Hone(std::move(arguments), 120, {}, folder_.path());
  }

  // "model target metric" -> verdict.
  static std::map<std::string, std::string> Verdicts(const Ran& ran) {
    std::map<std::string, std::string> verdicts;
    const nlohmann::json night = ran.json();
    for (const auto& result : night.at("results")) {
      const std::string key = result.at("model").get<std::string>() + " " + result.at("target").get<std::string>() +
                              " " + result.at("metric").get<std::string>();
      verdicts[key] = result.at("verdict");
    }
    return verdicts;
  }

  TempFolder folder_;
  Coordinator coordinator_;
  Worker here_;
  std::optional<Worker> there_;
};

TEST_F(NightlyTest, EachThingThatHappensGetsItsVerdictAndItsExitCode) {
  ASSERT_TRUE(WorkersReady(coordinator_.endpoint(), 2));
  const Ran first = Nightly("run");
  ASSERT_EQ(first.code, 0) << first.out << first.err;
  for (const auto& [key, verdict] : Verdicts(first)) EXPECT_EQ(verdict, "equivalent") << key;
  EXPECT_EQ(Verdicts(first).size(), 9u);
  EXPECT_EQ(first.json().at("control").at("comparisons"), 3);

  WriteModel(folder_ / "a.onnx", 48, 3);
  const Ran second = Nightly("run", {"--junit", "n.xml", "--html", "n.html", "--markdown", "n.md"});
  EXPECT_EQ(second.code, 1) << second.out << second.err;
  auto verdicts = Verdicts(second);
  EXPECT_EQ(verdicts["a here size_bytes"], "regression");
  EXPECT_EQ(verdicts["a there size_bytes"], "regression");
  EXPECT_EQ(verdicts["a here accuracy_drop"], "regression");
  EXPECT_EQ(verdicts["a here latency_ms_p50"], "inconclusive") << "one pair decides nothing";
  EXPECT_EQ(verdicts["b here size_bytes"], "equivalent");
  const nlohmann::json latency = second.json().at("results").at(0);
  EXPECT_EQ(latency.at("metric"), "latency_ms_p50");
  EXPECT_EQ(latency.at("tonight").at("samples").size(), 1u);
  EXPECT_NE(TextOf(folder_ / "n.xml").find("<failure type=\"regression\""), std::string::npos);
  EXPECT_NE(TextOf(folder_ / "n.html").find("<svg"), std::string::npos);
  EXPECT_NE(TextOf(folder_ / "n.md").find("**regression**"), std::string::npos);
  EXPECT_NE(TextOf(folder_ / "alerts.json").find("\"event\": \"regression\""), std::string::npos);

  ASSERT_EQ(Nightly("accept", {"--model", "a", "--text", "a wider model"}).code, 0);
  std::ofstream(folder_ / "b.onnx") << "no model";
  there_->Kill();
  const auto lost = [&] {
    return Hone({"workers", "--coordinator", coordinator_.endpoint()}).out.find("lost") != std::string::npos;
  };
  ASSERT_TRUE(Eventually(lost));
  const Ran third = Nightly("run");
  EXPECT_EQ(third.code, 4) << third.out << third.err;
  verdicts = Verdicts(third);
  EXPECT_EQ(verdicts["a here size_bytes"], "equivalent") << "it was accepted";
  EXPECT_EQ(verdicts["a there size_bytes"], "error");
  EXPECT_EQ(verdicts["b here size_bytes"], "error");
  EXPECT_NE(TextOf(folder_ / "alerts.json").find("\"event\": \"gone\""), std::string::npos);

  const Ran history = Nightly("history");
  ASSERT_EQ(history.code, 0) << history.err;
  EXPECT_EQ(history.json().at("series").size(), 9u);
  EXPECT_EQ(Nightly("report", {"--night", first.json().at("night")}).code, 0);
}

TEST_F(NightlyTest, WithoutACoordinatorNothingIsStored) {
  coordinator_.Kill();
  EXPECT_EQ(Nightly("run").code, 6);
  EXPECT_EQ(Nightly("report").code, 8);
}

}  // namespace
}  // namespace hone::test
