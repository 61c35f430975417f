#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "client/json_output.h"
#include "client/rows.h"
#include "client/table.h"
#include "client/text_output.h"
#include "tests/client/fixtures.h"

namespace hone::test {
namespace {

TEST(ResultJsonTest, HasTheContractsKeysAndValues) {
  const Json result = ResultJson(FinishedJob(), {WrittenModel{"out/model.onnx", {"out/model.onnx"}}});
  EXPECT_EQ(result["schema"], "hone.result/1");
  EXPECT_EQ(result["job"], "3");
  EXPECT_EQ(result["status"], "complete");
  EXPECT_EQ(result["baseline"]["backend"], "onnxruntime");
  EXPECT_DOUBLE_EQ(result["baseline"]["metrics"]["latency_ms_p50"], 4.6);
  EXPECT_EQ(result["baseline"]["metrics"]["size_bytes"].dump(), "90359539");
  EXPECT_TRUE(result["baseline"]["metrics"]["memory_bytes"].is_null());
  const Json& best = result["best"];
  EXPECT_EQ(best["trial"], 7);
  EXPECT_EQ(best["pipeline"].dump(), R"([{"pass":"static_int8","params":{"per_channel":true}}])");
  EXPECT_EQ(best["settings"]["hint"], "latency");
  EXPECT_DOUBLE_EQ(best["speedup"]["median"], 2.91);
  EXPECT_EQ(best["speedup"]["ci99"].dump(), "[2.85,2.98]");
  EXPECT_EQ(best["speedup"]["pairs"], 20);
  EXPECT_EQ(best["artifact"], "sha256:" + std::string(64, 'a'));
  EXPECT_EQ(best["path"], "out/model.onnx");
  EXPECT_EQ(result["trials"]["complete"], 10);
  EXPECT_EQ(result["build_steps"].dump(), R"({"run":4,"reused":9})");
  EXPECT_EQ(result["studies"].size(), 1U);
}

TEST(ResultJsonTest, NothingFeasibleIsNull) {
  proto::JobSummary job = FinishedJob();
  job.mutable_studies(0)->clear_best();
  job.mutable_studies(0)->clear_pareto();
  const Json result = ResultJson(job, {std::nullopt});
  EXPECT_TRUE(result["best"].is_null());
  EXPECT_EQ(result["pareto"].dump(), "[]");
}

TEST(JsonTest, WhatIsNoNumberIsNull) {
  google::protobuf::RepeatedPtrField<proto::Metric> metrics;
  *metrics.Add() = MetricOf("accuracy", std::numeric_limits<double>::quiet_NaN());
  *metrics.Add() = MetricOf("size_bytes", 0.5);
  EXPECT_EQ(MetricsJson(metrics).dump(), R"({"accuracy":null,"size_bytes":0.5})");
}

TEST(JsonTest, TimesAreRfc3339AndAbsentOnesNull) {
  EXPECT_EQ(TimeJson(1'700'000'000'123), "2023-11-14T22:13:20.123Z");
  EXPECT_TRUE(TimeJson(0).is_null());
}

TEST(JsonTest, BestHasOneEntryATarget) {
  proto::JobSummary job = FinishedJob();
  proto::StudySummary& second = *job.add_studies();
  second.set_study(1);
  second.add_tags("blue");
  const Json bests = BestsJson(job);
  EXPECT_EQ(bests["schema"], "hone.best/1");
  ASSERT_EQ(bests["studies"].size(), 2U);
  EXPECT_EQ(bests["studies"][0]["target"]["tags"][0], "cpu");
  EXPECT_EQ(bests["studies"][0]["best"]["trial"], 7);
  EXPECT_TRUE(bests["studies"][1]["best"].is_null());
}

TEST(JsonTest, ErrorsAreDocuments) {
  Error error{ErrorCode::kConflict, "folder in use", "wait"};
  error.file = "r.yaml";
  error.line = 3;
  error.column = 7;
  EXPECT_EQ(ErrorJson({error}).dump(),
            R"({"schema":"hone.error/1","code":9,"message":"folder in use","remedy":"wait","file":"r.yaml",)"
            R"("line":3,"column":7})");
  const Json several = ErrorJson({error, {ErrorCode::kRejected, "other"}}, 4);
  EXPECT_EQ(several["message"], "folder in use");
  EXPECT_EQ(several["others"][0]["message"], "other");
  EXPECT_EQ(several["more"], 4);
  EXPECT_EQ(ErrorText(error), "hone: r.yaml:3:7: folder in use\n      wait\n");
  EXPECT_EQ(ErrorText({ErrorCode::kFailed, "broken"}), "hone: broken\n");
}

TEST(TextTest, ResultTellsSpeedupAccuracyFilesAndReuse) {
  const std::string text = ResultText(FinishedJob(), {WrittenModel{"out/model.onnx", {"out/model.onnx"}}}, "mlp.onnx");
  for (const char* part :
       {"2.91x", "[2.85, 2.98] with 99 % confidence, 20 pairs", "drop 0.0020", "static_int8(per_channel=true)",
        "hint=latency", "out/model.onnx", "build steps: 4 run, 9 reused\n", "90.4 MB", "23.1 MB"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in:\n" << text;
  }
}

TEST(TextTest, ResultWithoutABestSaysSo) {
  proto::JobSummary job = FinishedJob();
  job.mutable_studies(0)->clear_best();
  EXPECT_NE(ResultText(job, {std::nullopt}, "mlp.onnx").find("no feasible candidate"), std::string::npos);
}

TEST(TextTest, ControlCharactersFromElsewhereDoNotReachTheTerminal) {
  proto::JobSummary job = FinishedJob();
  job.set_name("\x1b[31mred");
  EXPECT_EQ(JobsText({job}, 0).find('\x1b'), std::string::npos);
  EXPECT_EQ(JobText(job, 0).find('\x1b'), std::string::npos);
}

TEST(TableTest, ColumnsAlignAndTrailingSpacesGo) {
  Table table({{"name", Align::left, false}, {"n", Align::right, false}, {"", Align::left, false}});
  table.Row({"a", "1", "x"});
  table.Row({"longer", "100"});
  EXPECT_EQ(table.Text(), "name      n\na         1  x\nlonger  100\n");
}

TEST(TableTest, ElasticColumnIsCutInTheMiddleAndNumbersAreNot) {
  Table table({{"", Align::left, true}, {"", Align::right, false}});
  table.Row({"a-very-long-name-of-a-model-file.onnx", "123456789"});
  const std::string text = table.Text(30);
  EXPECT_LE(DisplayWidth(text), 31U);
  EXPECT_NE(text.find("…"), std::string::npos);
  EXPECT_NE(text.find("123456789"), std::string::npos);
}

TEST(TableTest, CutsCountCodePoints) {
  EXPECT_EQ(DisplayWidth("äöü"), 3U);
  EXPECT_EQ(CutMiddle("äöüäöü", 5), "äö…öü");
  EXPECT_EQ(CutEnd("abcdef", 4), "abc…");
  EXPECT_EQ(CutEnd("abc", 4), "abc");
}

TEST(ColorTest, FlagBeatsVariablesAndVariablesBeatTheTerminal) {
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  unsetenv("CLICOLOR_FORCE");
  unsetenv("FORCE_COLOR");
  EXPECT_TRUE(UseColor(ColorChoice::automatic, true));
  EXPECT_FALSE(UseColor(ColorChoice::automatic, false));
  setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(UseColor(ColorChoice::automatic, true));
  setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(UseColor(ColorChoice::automatic, true));
  EXPECT_TRUE(UseColor(ColorChoice::always, false));
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(UseColor(ColorChoice::automatic, true));
  setenv("FORCE_COLOR", "1", 1);
  EXPECT_TRUE(UseColor(ColorChoice::automatic, false));
  EXPECT_FALSE(UseColor(ColorChoice::never, true));
  unsetenv("FORCE_COLOR");
}

TEST(RowsTest, EveryLeafIsAColumnAndWhatIsMissingIsEmpty) {
  const Json rows = Json::parse(R"([
    {"trial": 1, "why": null, "tags": ["a", "b"], "metrics": {"size_bytes": 12, "name": "plain"}},
    {"trial": 2, "metrics": {"accuracy": 0.5, "name": "a,\"b\"|*\nc"}, "steps": [{"pass": "x"}]}])");
  EXPECT_EQ(RowsText(rows, "csv"),
            "trial,why,tags,metrics.size_bytes,metrics.name,metrics.accuracy,steps\r\n"
            "1,,a b,12,plain,,\r\n"
            "2,,,,\"a,\"\"b\"\"|*\nc\",0.5,\"[{\"\"pass\"\":\"\"x\"\"}]\"\r\n");
  EXPECT_EQ(RowsText(Json::parse(R"([{"a": "x|y*\nz"}])"), "md"), "| a |\n| --- |\n| x\\|y\\* z |\n");
  EXPECT_EQ(RowsText(Json::parse(R"([{"a": 1}, {"b": [2]}])"), "jsonl"), "{\"a\":1}\n{\"b\":[2]}\n");
  EXPECT_EQ(RowsText(Json::array(), "csv"), "");
}

}  // namespace
}  // namespace hone::test
