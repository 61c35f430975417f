// What `hone benchmark` says of a measurement, and the ways of running that --sweep makes. Figures are made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/benchmark_report.h"
#include "client/sweep.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SweepTest, EveryCombinationTheLastAxisFastest) {
  const auto axes = ParseSweep({"threads=1,2", "streams=1,2,4"});
  ASSERT_TRUE(axes) << axes.error().message;
  const std::vector<SweepPoint> points = PointsOf(*axes);
  ASSERT_EQ(points.size(), 6U);
  EXPECT_EQ(points[0], (SweepPoint{{"threads", "1"}, {"streams", "1"}}));
  EXPECT_EQ(points[1], (SweepPoint{{"threads", "1"}, {"streams", "2"}}));
  EXPECT_EQ(points[5], (SweepPoint{{"threads", "2"}, {"streams", "4"}}));
  EXPECT_EQ(PointsOf({}).size(), 1U) << "the model as it is";
}

TEST(SweepTest, WhatIsNoAxisIsAUsageError) {
  for (const char* word : {"threads", "threads=", "=1", "threads=1,,2", "threads=1,1"}) {
    const auto axes = ParseSweep({word});
    ASSERT_FALSE(axes) << word;
    EXPECT_EQ(axes.error().code, ErrorCode::kUsage) << word;
  }
  EXPECT_FALSE(ParseSweep({"threads=1", "threads=2"}));
}

void AddSeries(proto::BenchmarkResult::Run& run, const std::string& name, size_t count, double level) {
  proto::Samples& series = *run.add_samples();
  series.set_series(name);
  for (size_t i = 0; i < count; ++i) series.add_values(level * (1 + 0.002 * static_cast<double>(i * 7 % 13)));
}

BenchmarkRun RunOf(const std::string& model, const std::string& backend, double latency_ms) {
  BenchmarkRun run;
  run.side.model.path = model;
  run.side.subject.set_backend(backend);
  run.figures.mutable_execution()->set_backend(backend);
  *run.figures.add_metrics() = MetricOf("latency_ms_p50", latency_ms);
  *run.figures.add_metrics() = MetricOf("throughput_per_s", 1000 / latency_ms);
  run.figures.add_missing("latency_ms_p99: n too small (200 of 662)");
  AddSeries(run.figures, "latency_ms", 200, latency_ms);
  AddSeries(run.figures, "block_latency_ms", 20, latency_ms);
  return run;
}

void SetSpeedup(BenchmarkRun& run, double value) {
  *run.figures.mutable_speedup() = Speedup(value, value - 0.05, value + 0.05);
}

BenchmarkReport TwoRuns() {
  BenchmarkReport report;
  report.runs = {RunOf("int8 <b>.onnx", "onnxruntime", 2), RunOf("fp32.onnx", "onnxruntime", 4)};
  report.runs[1].other = report.runs[1].reference = true;
  SetSpeedup(report.runs[0], 2);
  report.verdict = Verdict::faster;
  report.delta = 0.02;
  report.expect = "faster";
  report.expectation_met = true;
  report.result.add_notes("2 of 22 pairs were disturbed and measured again");
  proto::Profile& profile = *report.runs[0].figures.mutable_profile();
  profile.set_runs(30);
  profile.set_run_ms(2.5);
  proto::OperatorTime& row = *profile.add_operators();
  row.set_name("conv<1>");
  row.set_type("Conv");
  row.set_precision("u8");
  row.set_ms(1.5);
  row.set_calls(1);
  return report;
}

TEST(BenchmarkJsonTest, ScriptsFindTheModelBesideTheOtherAndRawSamples) {
  const Json json = BenchmarkJson(TwoRuns());
  EXPECT_EQ(json["schema"], "hone.benchmark/1");
  EXPECT_EQ(json["model"], "int8 <b>.onnx");
  EXPECT_EQ(json["metrics"]["latency_ms_p50"], 2);
  EXPECT_EQ(json["vs"]["model"], "fp32.onnx");
  EXPECT_EQ(json["speedup"]["median"], 2);
  EXPECT_EQ(json["verdict"], "faster");
  EXPECT_EQ(json["expectation_met"], true);
  ASSERT_EQ(json["runs"].size(), 2U);
  EXPECT_EQ(json["runs"][0]["samples"]["latency_ms"].size(), 200U);
  EXPECT_EQ(json["runs"][0]["profile"]["operators"][0]["precision"], "u8");
  EXPECT_EQ(json["runs"][1]["reference"], true);
  EXPECT_TRUE(json["runs"][1]["speedup"].is_null());
  EXPECT_EQ(json["runs"][1]["missing"][0], "latency_ms_p99: n too small (200 of 662)");
}

TEST(BenchmarkTextTest, OneOrTwoAreToldInFullAndMoreInATable) {
  BenchmarkReport report = TwoRuns();
  std::string text = BenchmarkText(report, 0);
  EXPECT_THAT(text, HasSubstr("against fp32.onnx on onnxruntime"));
  EXPECT_THAT(text, HasSubstr("verdict: faster"));
  EXPECT_THAT(text, HasSubstr("not told: latency_ms_p99: n too small"));
  EXPECT_THAT(text, HasSubstr("conv<1>"));
  report.runs.push_back(RunOf("fp32.onnx", "openvino", 3));
  SetSpeedup(report.runs[2], 1.3);
  report.verdict.reset();
  text = BenchmarkText(report, 0);
  EXPECT_THAT(text, HasSubstr("reference"));
  EXPECT_THAT(text, HasSubstr("1.300x [1.250, 1.350]"));
  EXPECT_THAT(text, Not(HasSubstr("against ")));
}

TEST(BenchmarkTextTest, RunsAreToldApartByWhatDiffersAlone) {
  std::vector<BenchmarkRun> runs = {RunOf("a.onnx", "onnxruntime", 1), RunOf("a.onnx", "openvino", 1)};
  EXPECT_THAT(RunLabels(runs), ElementsAre("onnxruntime", "openvino"));
  runs.push_back(RunOf("b.onnx", "openvino", 1));
  EXPECT_THAT(RunLabels(runs), ElementsAre("a.onnx onnxruntime", "a.onnx openvino", "b.onnx openvino"));
  EXPECT_THAT(RunLabels({RunOf("a.onnx", "onnxruntime", 1)}), ElementsAre("a.onnx"));
}

TEST(BenchmarkPageTest, ItNeedsNothingFromOutsideRunsNothingAndEscapesNames) {
  BenchmarkReport report = TwoRuns();
  AddSeries(report.runs[0].figures, "open_loop_ms", 300, 2.2);
  report.rate_per_s = 100;
  const std::string page = BenchmarkHtml(report);
  for (const char* foreign : {"<script", "src=", "href=\"http", "url(", "@import", "int8 <b>"})
    EXPECT_THAT(page, Not(HasSubstr(foreign)));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("int8 &lt;b&gt;.onnx"));
  EXPECT_THAT(page, HasSubstr("n too small"));
  EXPECT_THAT(page, HasSubstr("100 requests a second"));
  EXPECT_THAT(page, HasSubstr("conv&lt;1&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("inf\"")));
}

TEST(BenchmarkPageTest, ValuesThatAreAllTheSameStillMakeAPicture) {
  BenchmarkReport report;
  report.runs = {RunOf("a.onnx", "onnxruntime", 1)};
  report.runs[0].figures.clear_samples();
  for (const char* name : {"latency_ms", "block_latency_ms"}) {
    proto::Samples& series = *report.runs[0].figures.add_samples();
    series.set_series(name);
    series.add_values(1.5);
  }
  const std::string page = BenchmarkHtml(report);
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, HasSubstr("n = 1"));
}

}  // namespace
}  // namespace hone::test
