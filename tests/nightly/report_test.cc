#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "client/nightly/report.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

SeriesResult ResultOf(const std::string& metric, NightVerdict verdict, double effect) {
  SeriesResult result;
  result.key = {"text <1>", "edge", metric, "sha256:r", "sha256:f", "onnxruntime 1.31.1"};
  result.judgement = {verdict, effect, {effect - 0.01, effect + 0.01}, verdict == NightVerdict::error ? 0 : 40,
                      0.024,   0.001};
  result.threshold = 0.02;
  result.accepted = "sha256:aa onnxruntime {}";
  result.tonight = "sha256:bb onnxruntime {}";
  result.accepted_samples = {10, 10.1};
  result.tonight_samples = {10.5, 10.6};
  result.accepted_median = 10.05;
  result.tonight_median = 10.55;
  result.worker = "w";
  return result;
}

NightReport ReportOf() {
  NightReport report;
  report.night.id = "2026-11-21T02-00-00-000Z";
  report.night.suite = "edge";
  report.night.started_unix_ms = 1'795'000'000'000;
  report.night.finished_unix_ms = report.night.started_unix_ms + 61'500;
  report.night.exit_code = 1;
  report.night.results = {
      ResultOf("latency_ms_p50", NightVerdict::regression, 0.05), ResultOf("load_ms", NightVerdict::error, 0),
      ResultOf("memory_bytes", NightVerdict::inconclusive, 0.001), ResultOf("size_bytes", NightVerdict::equivalent, 0)};
  report.night.results[1].reason = "crashed with signal 11 \"<&>\"\x01";
  report.night.health.push_back({"edge", "w", "sha256:f", 80, 3, {"the hypervisor took 3 %"}, 2.125});
  report.control = AlarmRateOf(0, 48);
  for (int night = 0; night < 40; ++night) {
    const double effect = (night < 20 ? 0 : 0.05) + 0.001 * std::sin(night * 7.0);
    report.history[report.night.results[0].key].push_back(
        {"n" + std::to_string(night),
         1'790'000'000'000 + night * 86'400'000LL,
         "a",
         night < 20 ? NightVerdict::equivalent : NightVerdict::regression,
         effect,
         {effect - 0.01, effect + 0.01},
         10,
         10});
  }
  report.annotations.push_back({1'791'000'000'000, "", "", "", "new <kernel>", "ann", "javascript:alert(1)"});
  return report;
}

TEST(ReportTest, LevelChangesAreFoundAndAcceptingBeginsAnew) {
  std::vector<HistoryPoint> points = ReportOf().history.begin()->second;
  EXPECT_THAT(LevelChanges(points), ElementsAre(20));
  for (size_t i = 20; i < points.size(); ++i) points[i].accepted = "b";
  EXPECT_THAT(LevelChanges(points), IsEmpty());
}

TEST(ReportTest, JUnitSaysFailureErrorAndSkipped) {
  const std::string xml = JUnitXml(ReportOf());
  EXPECT_THAT(xml, HasSubstr("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""));
  EXPECT_THAT(xml, HasSubstr("<failure type=\"regression\" message=\"regression: +5.0 % (+4.0 % to +6.0 %; 40 pairs; "
                             "would have seen +2.4 %)\"/>"));
  EXPECT_THAT(xml, HasSubstr("crashed with signal 11 &quot;&lt;&amp;&gt;&quot;?"));
  EXPECT_THAT(xml, HasSubstr("name=\"text &lt;1&gt; on edge\""));
  EXPECT_THAT(xml, HasSubstr("name=\"latency_ms_p50.smallest_effect\" value=\"0.024\""));
}

TEST(ReportTest, JsonHasTheRawSamples) {
  const Json json = NightJson(ReportOf());
  EXPECT_EQ(json["schema"], "hone.nightly/1");
  EXPECT_EQ(json["results"][0]["tonight"]["samples"], Json({10.5, 10.6}));
  EXPECT_EQ(json["results"][0]["verdict"], "regression");
  EXPECT_EQ(json["control"]["comparisons"], 48);
  EXPECT_FALSE(json.dump().empty());
}

TEST(ReportTest, MarkdownBeginsWithWhatIsWorst) {
  const std::string text = NightMarkdown(ReportOf());
  EXPECT_LT(text.find("**regression**"), text.find("equivalent |"));
  EXPECT_THAT(text, HasSubstr("0 of 48 comparisons of an artifact with itself alarmed"));
  EXPECT_THAT(text, HasSubstr("text \\<1>"));
  EXPECT_THAT(text, HasSubstr("3 of 80 launches were disturbed"));
}

TEST(ReportTest, ThePageNeedsNothingFromOutsideAndRunsNothing) {
  const std::string page = NightHtml(ReportOf());
  for (const char* foreign : {"<script", "src=", "href=\"http", "url(", "@import", "href=\"javascript"})
    EXPECT_THAT(page, Not(HasSubstr(foreign)));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'")) << "the browser is told to hold it to that";
  EXPECT_THAT(page, HasSubstr("2.125 ms")) << "the canary";
  EXPECT_THAT(page, HasSubstr("the level changed here"));
  EXPECT_THAT(page, HasSubstr("new &lt;kernel&gt; (ann)"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(ReportTest, TextNamesTheCountsAndTheControl) {
  const std::string text = NightText(ReportOf(), 0);
  EXPECT_THAT(text, HasSubstr("1 regression, 1 error, 1 inconclusive, 1 equivalent"));
  EXPECT_THAT(text, HasSubstr("would have seen +2.4 %"));
}

TEST(NightExitCodeTest, NothingMeasuredIsNeverWell) { EXPECT_EQ(NightExitCode({}), 3); }

}  // namespace
}  // namespace hone::test
