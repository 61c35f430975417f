// Whole nights with made-up measurements: each thing that can happen gets its verdict and its exit code.
#include <gmock/gmock.h>

#include "client/nightly/alerts.h"
#include "tests/nightly/fake_bench.h"
#include "tests/nightly/hook_server.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kSuite = R"(
name: suite
models: [{name: a, model: a.onnx}, {name: b, model: b.onnx}]
targets: [{name: small, tags: [cpu]}, {name: large, tags: [cpu, big]}]
metrics: {latency_ms_p50: 2%, size_bytes: 1%, accuracy_drop: 0.01}
measure: {pairs: 20, most_pairs: 40}
)";

class NightTest : public ::testing::Test {
 protected:
  NightTest() {
    auto suite = ParseSuite(kSuite, folder_ / "suite.yaml");
    EXPECT_TRUE(suite) << suite.error().message;
    suite_ = std::move(*suite);
    auto history = NightHistory::Open(folder_ / "history.db");
    EXPECT_TRUE(history) << history.error().message;
    history_.emplace(std::move(*history));
  }

  NightRecord Run() {
    clock_.NextDay();
    auto night = RunNight(suite_, *history_, bench_, clock_, {});
    EXPECT_TRUE(night) << night.error().message;
    return night ? std::move(*night) : NightRecord();
  }

  static const SeriesResult& Of(const NightRecord& night, const std::string& model, const std::string& target,
                                const std::string& metric) {
    for (const SeriesResult& result : night.results) {
      if (result.key.model == model && result.key.target == target && result.key.metric == metric) return result;
    }
    static const SeriesResult none;
    ADD_FAILURE() << "no result of " << model << " " << target << " " << metric;
    return none;
  }
  static NightVerdict VerdictOf(const NightRecord& night, const std::string& model, const std::string& target,
                                const std::string& metric) {
    return Of(night, model, target, metric).judgement.verdict;
  }

  // Model `a` becomes another artifact, with these costs.
  void Change(const std::string& bytes, double latency, double size = 1, double drop = 0) {
    bench_.tonight["a"] = bytes;
    const std::string identity = ArtifactOf(bytes).Identity();
    bench_.latency[identity] = latency;
    bench_.size[identity] = size;
    bench_.drop[identity] = drop;
  }

  TempFolder folder_;
  Suite suite_;
  std::optional<NightHistory> history_;
  FakeBench bench_;
  SteppedClock clock_;
};

TEST_F(NightTest, TheFirstNightAcceptsWhatItFindsAndKeepsItsFiles) {
  const NightRecord night = Run();
  EXPECT_EQ(night.exit_code, 0);
  EXPECT_EQ(night.results.size(), 12u);
  for (const SeriesResult& result : night.results)
    EXPECT_EQ(result.judgement.verdict, NightVerdict::equivalent) << result.key.metric;
  EXPECT_THAT(bench_.kept, SizeIs(4));
  EXPECT_EQ(night.controls.size(), 4u) << "the same artifact's own sessions are the control";
}

TEST_F(NightTest, SlowerIsARegressionOnceAFreshSessionAgrees) {
  Run();
  Change("v2", 1.05);
  const NightRecord night = Run();
  EXPECT_EQ(night.exit_code, 1);
  const SeriesResult& result = Of(night, "a", "small", "latency_ms_p50");
  EXPECT_EQ(result.judgement.verdict, NightVerdict::regression);
  EXPECT_TRUE(result.confirmed);
  EXPECT_NEAR(result.judgement.effect, 0.05, 0.01);
  EXPECT_EQ(result.judgement.pairs, 40);
  EXPECT_THAT(result.tonight_samples, SizeIs(40));
  EXPECT_LT(result.judgement.smallest_effect, 0.05);
  EXPECT_EQ(VerdictOf(night, "b", "small", "latency_ms_p50"), NightVerdict::equivalent);
}

TEST_F(NightTest, ARegressionStaysOneUntilItIsAccepted) {
  Run();
  Change("v2", 1.05);
  EXPECT_EQ(Run().exit_code, 1);
  EXPECT_EQ(Run().exit_code, 1) << "the baseline does not follow by itself";
  for (const char* target : {"small", "large"}) {
    ASSERT_TRUE(history_->Accept("suite", "a", target, ArtifactOf("v2"), "wanted", clock_.now_ms));
  }
  EXPECT_EQ(Run().exit_code, 0);
}

TEST_F(NightTest, FasterIsAnImprovementAndNoFailure) {
  Run();
  Change("v2", 0.9);
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::improvement);
  EXPECT_EQ(night.exit_code, 0);
}

TEST_F(NightTest, SizeAndAccuracyNeedNoPairs) {
  Run();
  Change("v2", 1, 1.2, 0.03);
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "small", "size_bytes"), NightVerdict::regression);
  EXPECT_EQ(VerdictOf(night, "a", "small", "accuracy_drop"), NightVerdict::regression);
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::equivalent);
  EXPECT_EQ(night.exit_code, 1);
}

TEST_F(NightTest, AFreshSessionThatDisagreesTakesTheFindingBack) {
  Run();
  Change("v2", 1);
  // The first session of `a` on the small target is struck; what comes later is not.
  bench_.alter = [](NightLaunch& launch, int number) {
    if (number < 20) launch.tonight["latency_ms_p50"] *= 1.1;
  };
  const NightRecord night = Run();
  const SeriesResult& result = Of(night, "a", "small", "latency_ms_p50");
  EXPECT_EQ(result.judgement.verdict, NightVerdict::inconclusive);
  EXPECT_THAT(result.reason, HasSubstr("did not confirm"));
  EXPECT_EQ(night.exit_code, 3);
}

TEST_F(NightTest, AMissingWorkerOrACrashIsAnErrorOfItsSeriesAlone) {
  Run();
  bench_.errors["a@large"] = {ErrorCode::kRejected, "no worker has all tags of the target [big, cpu]"};
  bench_.errors["b@small"] = {ErrorCode::kFailed, "tonight's artifact could not be measured: crashed with signal 11"};
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "large", "latency_ms_p50"), NightVerdict::error);
  EXPECT_THAT(Of(night, "a", "large", "size_bytes").reason, HasSubstr("no worker"));
  EXPECT_EQ(VerdictOf(night, "b", "small", "latency_ms_p50"), NightVerdict::error);
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::equivalent);
  EXPECT_EQ(night.exit_code, 4);
}

TEST_F(NightTest, ARegressionIsToldBeforeErrors) {
  Run();
  Change("v2", 1.1);
  bench_.errors["b"] = {ErrorCode::kFailed, "crashed"};
  EXPECT_EQ(Run().exit_code, 1);
}

TEST_F(NightTest, AnotherMachineIsEnvironmentForOneNight) {
  Run();
  Change("v2", 1.05);
  bench_.fingerprints["small"] = "sha256:other";
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::environment);
  EXPECT_THAT(Of(night, "a", "small", "latency_ms_p50").reason, HasSubstr("fingerprint"));
  EXPECT_EQ(VerdictOf(night, "a", "large", "latency_ms_p50"), NightVerdict::regression);
  EXPECT_EQ(VerdictOf(Run(), "a", "small", "latency_ms_p50"), NightVerdict::regression)
      << "the new series goes on from there";
}

TEST_F(NightTest, OnlyTheMachineIsUnfitGivesExitFive) {
  Run();
  bench_.fingerprints["small"] = "sha256:other";
  EXPECT_EQ(Run().exit_code, 5);
}

TEST_F(NightTest, TheSameBytesAreNeverBlamed) {
  Run();
  bench_.alter = [](NightLaunch& launch, int) { launch.tonight["latency_ms_p50"] *= 1.1; };
  const NightRecord night = Run();
  const SeriesResult& result = Of(night, "a", "small", "latency_ms_p50");
  EXPECT_EQ(result.judgement.verdict, NightVerdict::environment);
  EXPECT_THAT(result.reason, HasSubstr("byte for byte"));
  EXPECT_EQ(night.exit_code, 5);
  EXPECT_TRUE(night.controls.at(0).alarm);
  const auto rate = history_->ControlAlarms("suite");
  ASSERT_TRUE(rate);
  EXPECT_EQ(rate->comparisons, 8u);
  EXPECT_EQ(rate->alarms, 4u);
}

TEST_F(NightTest, AControlThatAlarmsExcusesTheArtifact) {
  Run();
  Change("v2", 1.05);
  bench_.alter = [this](NightLaunch& launch, int) {
    const auto& order = bench_.orders.back();
    if (order.accepted->Identity() == order.tonight->Identity() && order.model->name == "a")
      launch.tonight["latency_ms_p50"] *= 1.06;
  };
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::environment);
  EXPECT_THAT(Of(night, "a", "small", "latency_ms_p50").reason, HasSubstr("differs from itself"));
}

TEST_F(NightTest, DisturbedLaunchesAreRepeatedAndTooManyMakeTheMachineUnfit) {
  Run();
  Change("v2", 1.05);
  bench_.alter = [](NightLaunch& launch, int number) {
    if (number % 5 == 0) launch.disturbances = {"the hypervisor took 9.0 % of the processor time while measuring"};
  };
  const NightRecord some = Run();
  EXPECT_EQ(VerdictOf(some, "a", "small", "latency_ms_p50"), NightVerdict::regression);
  ASSERT_FALSE(some.health.empty());
  EXPECT_GT(some.health[0].disturbed, 0u);
  EXPECT_THAT(some.health[0].notes, SizeIs(1));
  bench_.alter = [](NightLaunch& launch, int number) {
    if (number % 3 != 0) launch.disturbances = {"other programs took 60 % of the processor time while measuring"};
  };
  const NightRecord most = Run();
  EXPECT_EQ(VerdictOf(most, "a", "small", "latency_ms_p50"), NightVerdict::environment);
  EXPECT_THAT(Of(most, "a", "small", "latency_ms_p50").reason, HasSubstr("other programs"));
  EXPECT_EQ(most.exit_code, 5);
}

TEST_F(NightTest, ATargetMayHaveSeveralMachinesOfOneKind) {
  Run();
  Change("v2", 1.05);
  bench_.alter = [](NightLaunch& launch, int number) { launch.worker = number % 2 == 0 ? "one" : "two"; };
  EXPECT_EQ(VerdictOf(Run(), "a", "small", "latency_ms_p50"), NightVerdict::regression);
  bench_.alter = [n = 0](NightLaunch& launch, int) mutable {
    launch.fingerprint = n++ % 3 == 0 ? "sha256:fp" : "sha256:other";
  };
  const NightRecord mixed = Run();
  EXPECT_EQ(VerdictOf(mixed, "a", "small", "latency_ms_p50"), NightVerdict::environment);
  EXPECT_THAT(Of(mixed, "a", "small", "latency_ms_p50").reason, HasSubstr("another kind of machine"));
}

TEST_F(NightTest, MoreLaunchesWhileNothingIsDecidedThenInconclusive) {
  Run();
  Change("v2", 1.02);
  bench_.noise = 0.05;
  const NightRecord night = Run();
  const SeriesResult& result = Of(night, "a", "small", "latency_ms_p50");
  EXPECT_EQ(result.judgement.verdict, NightVerdict::inconclusive);
  EXPECT_EQ(result.judgement.pairs, 40) << "most_pairs";
  EXPECT_GT(result.judgement.smallest_effect, 0.02);
  EXPECT_EQ(night.exit_code, 3);
}

TEST_F(NightTest, AFigureThatTheWorkerLacksIsInconclusive) {
  bench_.alter = [](NightLaunch& launch, int) { launch.tonight.erase("latency_ms_p50"); };
  const NightRecord night = Run();
  EXPECT_THAT(Of(night, "a", "small", "latency_ms_p50").reason, HasSubstr("no figure"));
  EXPECT_EQ(night.exit_code, 3);
}

TEST_F(NightTest, MutedSeriesDoNotDecide) {
  Run();
  Change("v2", 1.1);
  ASSERT_TRUE(history_->AddMute("suite", {"a", "", "", clock_.now_ms + 3 * 86'400'000, "known"}));
  const NightRecord night = Run();
  EXPECT_EQ(VerdictOf(night, "a", "small", "latency_ms_p50"), NightVerdict::regression);
  EXPECT_TRUE(Of(night, "a", "small", "latency_ms_p50").muted);
  EXPECT_EQ(night.exit_code, 0);
  Run();
  EXPECT_EQ(Run().exit_code, 1) << "the mute has ended";
}

TEST_F(NightTest, AnUnreachableCoordinatorEndsTheNightAndStoresNothing) {
  bench_.errors["b"] = {ErrorCode::kUnreachable, "the coordinator did not answer"};
  const auto night = RunNight(suite_, *history_, bench_, clock_, {});
  ASSERT_FALSE(night);
  EXPECT_EQ(night.error().code, ErrorCode::kUnreachable);
  const auto nights = history_->Nights("suite");
  ASSERT_TRUE(nights);
  EXPECT_THAT(*nights, IsEmpty());
}

TEST_F(NightTest, OneAlertForAChangeAndOneWhenItWentAway) {
  Run();
  suite_.command = {"/bin/true"};
  Change("v2", 1.1);
  const NightRecord first = Run();
  auto events = AlertsOf(*history_, first);
  ASSERT_TRUE(events);
  ASSERT_THAT(*events, SizeIs(2)) << "a on both targets";
  EXPECT_TRUE(events->at(0).alert.open);
  const auto sent = SendAlerts(suite_, *history_, first);
  ASSERT_TRUE(sent);
  EXPECT_THAT(*sent, IsEmpty());
  events = AlertsOf(*history_, Run());
  ASSERT_TRUE(events);
  EXPECT_THAT(*events, IsEmpty()) << "they were told of it";
  bench_.tonight["a"] = "v1";
  const NightRecord mended = Run();
  events = AlertsOf(*history_, mended);
  ASSERT_TRUE(events);
  ASSERT_THAT(*events, SizeIs(2));
  EXPECT_FALSE(events->at(0).alert.open);
  EXPECT_THAT(events->at(0).text, HasSubstr("went away"));
  ASSERT_TRUE(SendAlerts(suite_, *history_, mended));
  EXPECT_THAT(*AlertsOf(*history_, Run()), IsEmpty());
}

TEST_F(NightTest, AHookThatFailsIsTriedAgainTheNextNight) {
  Run();
  Change("v2", 1.1);
  suite_.command = {"/bin/false"};
  const auto failures = SendAlerts(suite_, *history_, Run());
  ASSERT_TRUE(failures);
  EXPECT_THAT(*failures, SizeIs(2));
  const auto events = AlertsOf(*history_, Run());
  ASSERT_TRUE(events);
  EXPECT_THAT(*events, SizeIs(2));
}

TEST_F(NightTest, TheCommandGetsTheAlertAsAFile) {
  Run();
  Change("v2", 1.1);
  const std::string copy = (folder_ / "alert.json").string();
  suite_.command = {"/bin/sh", "-c", "cp \"$HONE_ALERT\" '" + copy + "'"};
  ASSERT_TRUE(SendAlerts(suite_, *history_, Run()));
  const auto json = nlohmann::json::parse(TextOf(copy));
  EXPECT_EQ(json.at("schema"), "hone.nightly.alert/1");
  EXPECT_EQ(json.at("event"), "regression");
  EXPECT_EQ(json.at("metric"), "latency_ms_p50");
}

TEST_F(NightTest, TheWebhookGetsTheAlertByPost) {
  Run();
  Change("v2", 1.1);
  HookServer server({200, 500});
  suite_.webhook = server.Url("/hone");
  const auto failures = SendAlerts(suite_, *history_, Run());
  ASSERT_TRUE(failures) << failures.error().message;
  const std::vector<std::string> requests = server.Requests();
  ASSERT_THAT(requests, SizeIs(2)) << "a on both targets";
  EXPECT_THAT(requests[0], HasSubstr("POST /hone HTTP/1.1\r\n"));
  EXPECT_THAT(requests[0], HasSubstr("Content-Type: application/json\r\n"));
  const auto json = nlohmann::json::parse(requests[0].substr(requests[0].find("\r\n\r\n") + 4));
  EXPECT_EQ(json.at("schema"), "hone.nightly.alert/1");
  EXPECT_EQ(json.at("event"), "regression");
  EXPECT_EQ(json.at("model"), "a");
  ASSERT_THAT(*failures, SizeIs(1)) << "the second was turned down, and is sent again the next night";
  EXPECT_THAT(failures->at(0), HasSubstr("500"));
  const auto events = AlertsOf(*history_, Run());
  ASSERT_TRUE(events);
  EXPECT_THAT(*events, SizeIs(1));
}

TEST_F(NightTest, AMachineWhoseCanaryChangedIsBlamedInsteadOfTheArtifact) {
  double canary_ms = 2;
  bench_.alter = [&canary_ms](NightLaunch& launch, int number) {
    launch.canary_ms = canary_ms * (1 + 0.001 * (number % 3));
  };
  for (int night = 0; night < 3; ++night) Run();
  Change("v2", 1.05);
  canary_ms = 2.2;
  const NightRecord drifted = Run();
  const SeriesResult& result = Of(drifted, "a", "small", "latency_ms_p50");
  EXPECT_EQ(result.judgement.verdict, NightVerdict::environment);
  EXPECT_THAT(result.reason, HasSubstr("canary took 2.2"));
  EXPECT_EQ(VerdictOf(drifted, "b", "small", "latency_ms_p50"), NightVerdict::equivalent) << "pairs cancel it";
  EXPECT_THAT(drifted.health.at(0).notes, Contains(HasSubstr("another speed")));
  EXPECT_NEAR(drifted.health.at(0).canary_ms, 2.2, 0.01);
  canary_ms = 2.01;
  EXPECT_EQ(VerdictOf(Run(), "a", "small", "latency_ms_p50"), NightVerdict::regression) << "within what it varies by";
}

TEST_F(NightTest, AMachineThatStaysAtItsNewSpeedIsNotBlamedForEver) {
  double canary_ms = 2;
  bench_.alter = [&canary_ms](NightLaunch& launch, int) { launch.canary_ms = canary_ms; };
  for (int night = 0; night < 3; ++night) Run();
  Change("v2", 1.05);
  canary_ms = 2.2;
  int nights = 0;
  while (VerdictOf(Run(), "a", "small", "latency_ms_p50") == NightVerdict::environment && nights < 20) ++nights;
  EXPECT_GE(nights, 2);
  EXPECT_LE(nights, 5);
}

}  // namespace
}  // namespace hone::test
