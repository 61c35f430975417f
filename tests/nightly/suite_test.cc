#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/nightly/suite.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Error Refused(const std::string& yaml) {
  const auto suite = ParseSuite(yaml, "nights/suite.yaml");
  EXPECT_FALSE(suite) << yaml;
  return suite ? Error{} : suite.error();
}

TEST(SuiteTest, EverythingThatASuiteMaySayIsRead) {
  const auto suite = ParseSuite(R"(
name: edge
models:
  - {name: text, model: text.onnx, backend: openvino}
  - {name: bert, model: bert.onnx, recipe: bert.yaml, targets: [server]}
targets: [{name: board, tags: [cpu, armv8]}, {name: server, tags: [cpu]}]
metrics: {latency_ms_p50: 3%, size_bytes: 0.01, accuracy_drop: }
measure: {pairs: 30, most_pairs: 90, blocks: 6, q: 0.1, stolen: 5%, timeout: 10m}
keep_samples: 240h
notify: {command: [./tell, now], webhook: "https://example.org/hook"}
)",
                                "nights/suite.yaml");
  ASSERT_TRUE(suite) << suite.error().message;
  EXPECT_EQ(suite->name, "edge");
  ASSERT_THAT(suite->models, SizeIs(2));
  EXPECT_EQ(suite->models[0].backend, "openvino");
  EXPECT_THAT(suite->TargetsOf(suite->models[0]), SizeIs(2));
  ASSERT_THAT(suite->TargetsOf(suite->models[1]), SizeIs(1));
  EXPECT_EQ(suite->TargetsOf(suite->models[1])[0]->name, "server");
  EXPECT_THAT(suite->targets[0].tags, ElementsAre("armv8", "cpu"));
  ASSERT_THAT(suite->metrics, SizeIs(3));
  EXPECT_DOUBLE_EQ(suite->metrics[0].threshold, 0.03);
  EXPECT_EQ(suite->pairs, 30u);
  EXPECT_EQ(suite->most_pairs, 90u);
  EXPECT_EQ(suite->blocks, 6u);
  EXPECT_DOUBLE_EQ(suite->stolen, 0.05);
  EXPECT_EQ(suite->timeout_ms, 600'000u);
  EXPECT_EQ(suite->keep_samples_ms, 240u * 3'600'000);
  EXPECT_EQ(suite->Beside("text.onnx"), "nights/text.onnx");
}

TEST(SuiteTest, AShortSuiteHasDefaults) {
  const auto suite = ParseSuite("models: [{name: m, model: m.onnx}]", "nights/short.yaml");
  ASSERT_TRUE(suite) << suite.error().message;
  EXPECT_EQ(suite->name, "short");
  EXPECT_THAT(suite->metrics, SizeIs(4));
  ASSERT_THAT(suite->targets, SizeIs(1));
  EXPECT_TRUE(suite->targets[0].tags.empty());
}

TEST(SuiteTest, MetricsMayBeAList) {
  const auto suite = ParseSuite("models: [{name: m, model: m.onnx}]\nmetrics: [size_bytes]", "s.yaml");
  ASSERT_TRUE(suite) << suite.error().message;
  ASSERT_THAT(suite->metrics, SizeIs(1));
  EXPECT_TRUE(suite->metrics[0].metric->exact);
}

TEST(SuiteTest, MistakesAreToldWithTheirPlaceAndTheNearestWord) {
  const Error key = Refused("models: [{name: m, model: m.onnx}]\nmetric: {}\n");
  EXPECT_EQ(key.code, ErrorCode::kRejected);
  EXPECT_EQ(key.line, 2u);
  EXPECT_EQ(key.column, 1u);
  EXPECT_THAT(key.message, HasSubstr("did you mean 'metrics'?"));
  const Error metric = Refused("models: [{name: m, model: m.onnx}]\nmetrics:\n  latency_ms_p5: 2%\n");
  EXPECT_EQ(metric.line, 3u);
  EXPECT_THAT(metric.message, HasSubstr("did you mean 'latency_ms_p50'?"));
  const Error target = Refused("models: [{name: m, model: m.onnx, targets: [bord]}]\ntargets: [{name: board}]");
  EXPECT_THAT(target.message, HasSubstr("did you mean 'board'?"));
}

TEST(SuiteTest, WhatMakesNoSenseIsRefused) {
  for (const char* yaml :
       {"", "name: x", "models: []", "models: [{name: m}]", "models: [{model: m.onnx}]",
        "models: [{name: m, model: m.onnx}, {name: m, model: n.onnx}]", "models: [{name: 'a b', model: m.onnx}]",
        "models: [{name: m, model: m.onnx, recipe: r.yaml, backend: openvino}]",
        "models: [{name: m, model: m.onnx}]\nmetrics: {size_bytes: -1%}",
        "models: [{name: m, model: m.onnx}]\nmetrics: [size_bytes, size_bytes]",
        "models: [{name: m, model: m.onnx}]\nmeasure: {pairs: 0}",
        "models: [{name: m, model: m.onnx}]\nmeasure: {pairs: 50, most_pairs: 20}",
        "models: [{name: m, model: m.onnx}]\nnotify: {webhook: ftp://x}"}) {
    EXPECT_EQ(Refused(yaml).code, ErrorCode::kRejected) << yaml;
  }
}

TEST(SuiteTest, AMissingFileIsRefused) {
  EXPECT_EQ(ReadSuite("/nowhere/suite.yaml").error().code, ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone::test
