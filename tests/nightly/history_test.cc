#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "client/nightly/history.h"
#include "tests/nightly/fake_bench.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

NightHistory Open(const fs::path& file) {
  auto history = NightHistory::Open(file);
  if (!history) throw std::runtime_error(history.error().message);
  return std::move(*history);
}

NightRecord NightOf(const std::string& id, int64_t unix_ms, double effect) {
  NightRecord night;
  night.id = id;
  night.suite = "suite";
  night.started_unix_ms = unix_ms;
  night.finished_unix_ms = unix_ms + 1000;
  night.exit_code = 1;
  SeriesResult result;
  result.key = {"m", "t", "latency_ms_p50", "sha256:r", "sha256:f", "onnxruntime 1"};
  result.judgement = {NightVerdict::regression, effect, {effect - 0.01, effect + 0.01}, 40, INFINITY, 0.001};
  result.threshold = 0.02;
  result.reason = "because";
  result.worker = "w";
  result.accepted = "a";
  result.tonight = "b";
  result.accepted_median = 10;
  result.tonight_median = 10 * (1 + effect);
  result.accepted_samples = {10, 11};
  result.tonight_samples = {12, 13};
  result.confirmed = true;
  night.results.push_back(result);
  night.controls.push_back({"m", "t", "latency_ms_p50", false, 0.001, 20});
  night.health.push_back({"t", "w", "sha256:f", 40, 2, {"the hypervisor took 3 %", "again"}, 2.125});
  return night;
}

class HistoryTest : public ::testing::Test {
 protected:
  TempFolder folder_;
  NightHistory history_ = Open(folder_ / "history.db");
};

TEST_F(HistoryTest, ANightIsReadAsItWasSaved) {
  const NightRecord saved = NightOf("n1", 1000, 0.05);
  ASSERT_TRUE(history_.Save(saved));
  const auto night = history_.Night("suite", "");
  ASSERT_TRUE(night) << night.error().message;
  EXPECT_EQ(night->id, "n1");
  EXPECT_EQ(night->exit_code, 1);
  ASSERT_THAT(night->results, SizeIs(1));
  const SeriesResult& result = night->results[0];
  EXPECT_EQ(result.key, saved.results[0].key);
  EXPECT_EQ(result.judgement.verdict, NightVerdict::regression);
  EXPECT_EQ(result.judgement.pairs, 40);
  EXPECT_TRUE(std::isinf(result.judgement.smallest_effect));
  EXPECT_THAT(result.accepted_samples, ElementsAre(10, 11));
  EXPECT_THAT(result.tonight_samples, ElementsAre(12, 13));
  EXPECT_TRUE(result.confirmed);
  ASSERT_THAT(night->health, SizeIs(1));
  EXPECT_THAT(night->health[0].notes, SizeIs(2));
  EXPECT_EQ(history_.Night("suite", "other").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(history_.Night("another", "").error().code, ErrorCode::kNotFound);
}

TEST_F(HistoryTest, SeriesComeInTheOrderOfNightsByTheirWholeKey) {
  ASSERT_TRUE(history_.Save(NightOf("n2", 2000, 0.02)));
  ASSERT_TRUE(history_.Save(NightOf("n1", 1000, 0.01)));
  NightRecord other = NightOf("n3", 3000, 0.03);
  other.results[0].key.fingerprint = "sha256:g";
  ASSERT_TRUE(history_.Save(other));
  const auto series = history_.Series("suite");
  ASSERT_TRUE(series) << series.error().message;
  ASSERT_EQ(series->size(), 2u) << "another machine begins a series";
  const auto& points = series->begin()->second;
  ASSERT_THAT(points, SizeIs(2));
  EXPECT_EQ(points[0].night, "n1");
  EXPECT_EQ(points[1].night, "n2");
  const auto last = history_.LastFingerprint("suite", "m", "t");
  ASSERT_TRUE(last);
  EXPECT_EQ(*last, "sha256:g");
}

TEST_F(HistoryTest, WhatIsAcceptedLastCounts) {
  EXPECT_FALSE(*history_.Accepted("suite", "m", "t"));
  ASSERT_TRUE(history_.Accept("suite", "m", "t", ArtifactOf("one"), "first", 1));
  ASSERT_TRUE(history_.Accept("suite", "m", "t", ArtifactOf("two", "openvino"), "better", 2));
  ASSERT_TRUE(history_.NoteTonight("suite", "m", "t", ArtifactOf("three"), "n1"));
  ASSERT_TRUE(history_.NoteTonight("suite", "m", "t", ArtifactOf("four"), "n2"));
  EXPECT_EQ((*history_.Accepted("suite", "m", "t"))->Identity(), ArtifactOf("two", "openvino").Identity());
  EXPECT_EQ((*history_.Tonight("suite", "m", "t"))->Identity(), ArtifactOf("four").Identity());
  EXPECT_FALSE(*history_.Accepted("suite", "m", "other"));
}

TEST_F(HistoryTest, OldSamplesGoAndMediansStay) {
  ASSERT_TRUE(history_.Save(NightOf("n1", 1000, 0.01)));
  ASSERT_TRUE(history_.Save(NightOf("n2", 9000, 0.01)));
  const auto dropped = history_.DropSamples(5000);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(*dropped, 1u);
  EXPECT_THAT(history_.Night("suite", "n1")->results[0].tonight_samples, IsEmpty());
  EXPECT_EQ(history_.Night("suite", "n1")->results[0].accepted_median, 10);
  EXPECT_THAT(history_.Night("suite", "n2")->results[0].tonight_samples, SizeIs(2));
}

TEST_F(HistoryTest, ExportAndImportBringNightsOnce) {
  ASSERT_TRUE(history_.Save(NightOf("n1", 1000, 0.01)));
  ASSERT_TRUE(history_.Annotate("suite", {500, "m", "", "", "new kernel", "ann", ""}));
  const fs::path file = folder_ / "copy.db";
  ASSERT_TRUE(history_.ExportTo(file));
  EXPECT_EQ(history_.ExportTo(file).error().code, ErrorCode::kConflict);
  NightHistory other = Open(folder_ / "other.db");
  ASSERT_TRUE(other.Save(NightOf("n2", 2000, 0.01)));
  const auto came = other.ImportFrom(file);
  ASSERT_TRUE(came) << came.error().message;
  EXPECT_EQ(*came, 1u);
  EXPECT_EQ(*other.ImportFrom(file), 0u);
  EXPECT_THAT(*other.Nights("suite"), ElementsAre("n1", "n2"));
  EXPECT_THAT(other.Night("suite", "n1")->results[0].tonight_samples, SizeIs(2));
  EXPECT_THAT(*other.Annotations("suite"), SizeIs(1));
}

TEST_F(HistoryTest, AnotherProgramsFileIsRefused) {
  std::ofstream(folder_ / "text") << std::string(5000, 'x');
  EXPECT_EQ(NightHistory::Open(folder_ / "text").error().code, ErrorCode::kRejected);
  EXPECT_FALSE(history_.ImportFrom(folder_ / "text"));
  EXPECT_EQ(history_.ImportFrom(folder_ / "nothing").error().code, ErrorCode::kNotFound);
}

TEST_F(HistoryTest, MutesEnd) {
  ASSERT_TRUE(history_.AddMute("suite", {"m", "", "", 5000, "known"}));
  EXPECT_THAT(*history_.Mutes("suite", 4999), SizeIs(1));
  EXPECT_THAT(*history_.Mutes("suite", 5000), IsEmpty());
}

}  // namespace
}  // namespace hone::test
