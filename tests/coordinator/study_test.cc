// Whole searches with scripted workers.
#include <gmock/gmock.h>

#include <set>

#include "common/artifact/bundle.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(StudyTest, SubmissionWithoutAnyWorkerIsRejected) {
  Harness harness;
  const auto reply = harness.Call("client", harness.Submission(kRecipe));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRejected);
  EXPECT_THAT(reply.error().message, HasSubstr("no worker is connected"));
}

TEST(StudyTest, TargetThatNoWorkerHasNamesTheTagsOfEachWorker) {
  Harness harness;
  auto one = harness.Worker("one", {"cpu", "avx2"});
  auto two = harness.Worker("two", {"cpu", "gpu"});
  const auto reply = harness.Call("client", harness.Submission(std::string(kRecipe) + "targets: [{tags: [amx]}]\n"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRejected);
  EXPECT_THAT(reply.error().message, HasSubstr("[amx]"));
  EXPECT_THAT(reply.error().message, HasSubstr("one has avx2, cpu"));
  EXPECT_THAT(reply.error().message, HasSubstr("two has cpu, gpu"));
  EXPECT_EQ(reply.error().line, 5U);
}

TEST(StudyTest, UnknownPassIsRejectedAndNothingIsStored) {
  Harness harness;
  auto worker = harness.Worker("one");
  const auto reply = harness.Call("client", harness.Submission("passes: [int9]\nbackends: {onnxruntime: {}}\n"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRejected);
  EXPECT_THAT(harness.Query("SELECT count(*) FROM jobs"), testing::ElementsAre("0"));
}

TEST(StudyTest, ModelThatWasNotUploadedIsRejectedByName) {
  Harness harness;
  auto worker = harness.Worker("one");
  auto frame = harness.Submission(kRecipe);
  frame.mutable_submit_job()->mutable_model()->mutable_files(0)->set_digest(DigestOf("something else"));
  const auto reply = harness.Call("client", frame);
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().message, HasSubstr("model.onnx"));
}

// A worker whose int8 reads statistics that `calibrate` collects.
FakeWorker StatisticsWorker(Harness& harness) {
  FakeWorker worker(harness.As("one"), "one");
  for (auto& pass : *worker.catalogue.mutable_passes()) pass.set_uses_statistics(pass.name() == "int8");
  proto::PassInfo& calibrate = *worker.catalogue.add_passes();
  calibrate.set_name("calibrate");
  calibrate.set_version(1);
  calibrate.add_accepts("onnx");
  calibrate.set_needs_calibration(true);
  EXPECT_TRUE(worker.Hello());
  return worker;
}

proto::Frame SubmissionWithCalibration(Harness& harness) {
  proto::Frame frame = harness.Submission(kRecipe);
  proto::Data& data = *frame.mutable_submit_job()->mutable_calibration();
  *data.mutable_bundle() = UploadModel(harness.As("client"), "samples", "npz");
  return frame;
}

TEST(StudyTest, StatisticsAreCollectedOnceForAllThatReadThem) {
  Harness harness;
  auto worker = StatisticsWorker(harness);
  ASSERT_TRUE(harness.Call("client", SubmissionWithCalibration(harness)));
  worker.Work();
  std::map<std::string, std::vector<proto::BuildWork>> builds;
  for (const auto& lease : worker.log) {
    if (lease.has_build()) builds[lease.build().step().pass()].push_back(lease.build());
  }
  ASSERT_EQ(builds["calibrate"].size(), 1U);
  EXPECT_TRUE(builds["calibrate"][0].has_calibration());
  ASSERT_EQ(builds["int8"].size(), 2U);
  const std::string with_statistics = BundleId(worker.Build(builds["calibrate"][0]).model());
  for (const auto& build : builds["int8"]) EXPECT_EQ(BundleId(build.model()), with_statistics);
  ASSERT_EQ(builds["half"].size(), 1U);
  EXPECT_NE(BundleId(builds["half"][0].model()), with_statistics);
  // The pipeline tells what was chosen, not how it was prepared.
  for (const auto& trial : harness.Trials(1)) EXPECT_LE(trial.candidate().pipeline_size(), 1);
}

TEST(StudyTest, StatisticsThatCannotBeCollectedFailTheTrialsThatReadThemAlone) {
  Harness harness;
  auto worker = StatisticsWorker(harness);
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (lease.build().step().pass() != "calibrate") return;
    report.clear_result();
    report.mutable_result()->mutable_error()->set_code(proto::Error::REJECTED);
    report.mutable_result()->mutable_error()->set_message("the data is empty");
  };
  ASSERT_TRUE(harness.Call("client", SubmissionWithCalibration(harness)));
  worker.Work();
  size_t failed = 0;
  for (const auto& trial : harness.Trials(1)) {
    if (trial.state() != proto::TRIAL_FAILED) continue;
    ++failed;
    EXPECT_EQ(trial.candidate().pipeline(0).pass(), "int8");
    EXPECT_THAT(trial.reason(), HasSubstr("calibrate: the data is empty"));
  }
  EXPECT_EQ(failed, 4U);
}

TEST(StudyTest, ExhaustiveSearchMeasuresEveryCandidateOnceAndTheBestAgain) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work();

  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
  ASSERT_EQ(summary.studies_size(), 1);
  const auto& study = summary.studies(0);
  EXPECT_EQ(study.counts().complete(), kCandidates);
  EXPECT_EQ(study.candidates(), kCandidates);
  EXPECT_EQ(study.phase(), "done");
  EXPECT_EQ(study.baseline().candidate().backend(), "onnxruntime");
  EXPECT_EQ(study.baseline().candidate().pipeline_size(), 0);
  ASSERT_TRUE(study.has_best());
  EXPECT_EQ(study.best().pairs(), 20U);
  EXPECT_TRUE(study.best().has_execution());

  // The best is the fastest by the paired speed-up.
  std::set<std::string> candidates;
  for (const auto& trial : harness.Trials(job)) {
    if (trial.trial() == 0) continue;
    candidates.insert(CanonicalCandidate(trial.candidate()));
    EXPECT_LE(trial.speedup().value(), study.best().speedup().value());
  }
  EXPECT_EQ(candidates.size(), kCandidates);

  // The baseline first, alone; three finalists at the end with more pairs.
  ASSERT_TRUE(worker.log.front().has_measure());
  EXPECT_TRUE(worker.log.front().measure().is_baseline());
  EXPECT_EQ(std::count_if(worker.log.begin(), worker.log.end(),
                          [](const auto& lease) { return lease.measure().pairs() == 20; }),
            3);
  EXPECT_THAT(harness.EventTexts(job, "trial.measured_again"), SizeIs(3));
  EXPECT_THAT(harness.EventTexts(job, "trial.complete"), SizeIs(kCandidates + 1));
  EXPECT_THAT(harness.EventTexts(job, "trial.complete")[1], HasSubstr("x, cosine 0.999"));
  EXPECT_THAT(harness.EventTexts(job, "job.complete"), SizeIs(1));
}

TEST(StudyTest, WorkersAreToldHowManyRunsTheRecipesMetricsNeed) {
  const std::pair<const char*, uint32_t> cases[] = {
      {"", 0},
      {"objectives: [{minimize: latency_ms_p50}, {minimize: latency_ms_p90}]\n", 100},
      {"constraints: {latency_ms_p99: 1e6}\n", 1000}};
  for (const auto& [wish, runs] : cases) {
    Harness harness;
    auto worker = harness.Worker("one");
    harness.Submit(std::string(kRecipe) + wish);
    worker.Work();
    for (const auto& lease : worker.log) {
      EXPECT_EQ(lease.measure().runs(), lease.has_measure() ? runs : 0) << wish;
    }
    EXPECT_TRUE(worker.log.front().has_measure());
  }
}

TEST(StudyTest, ResultsStandInTheDatabaseWithTheirEvidence) {
  Harness harness;
  auto worker = harness.Worker("one");
  harness.Submit();
  worker.Work();
  for (const char* table : {"jobs", "studies", "trials", "builds", "attempts", "metrics", "samples", "artifacts",
                            "fingerprints", "workers", "executions", "events"}) {
    EXPECT_NE(harness.Query(std::string("SELECT count(*) FROM ") + table).front(), "0") << table;
  }
  // First look and final samples of a finalist are both kept.
  EXPECT_THAT(harness.Query("SELECT trial FROM samples GROUP BY trial HAVING count(*) = 2"), SizeIs(3));
  EXPECT_THAT(
      harness.Query(
          "SELECT t.trial FROM trials t LEFT JOIN attempts a ON a.attempt = t.result WHERE a.outcome IS NOT 'done'"),
      IsEmpty());
}

TEST(StudyTest, OneWorkerHasOneTrialUnderWayAndTheBaselineComesFirst) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  while (const auto lease = worker.Take()) {
    size_t under_way = 0;
    for (const auto& trial : harness.Trials(job)) {
      under_way += trial.state() == proto::TRIAL_WAITING || trial.state() == proto::TRIAL_RUNNING ? 1 : 0;
    }
    EXPECT_LE(under_way, 1U);
    worker.Finish(*lease);
  }
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
}

TEST(StudyTest, SameSeedGivesTheSameTableAndAnotherSeedAnother) {
  const auto run = [](int seed) {
    Harness harness;
    auto worker = harness.Worker("one");
    const uint64_t job = harness.Submit(
        "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]\n"
        "backends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: random, trials: 5, seed: " +
        std::to_string(seed) + "}\n");
    worker.Work();
    return harness.Table(job);
  };
  const auto table = run(7);
  EXPECT_THAT(table, SizeIs(6));
  EXPECT_EQ(table, run(7));
  EXPECT_NE(table, run(8));
}

TEST(StudyTest, SharedPrefixIsBuiltOnceAndASecondJobBuildsNothing) {
  Harness harness;
  auto worker = harness.Worker("one");
  const std::string recipe =
      "passes: [clean, {choose: [none, half]}]\nbackends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: "
      "exhaustive}\n";
  const uint64_t first = harness.Submit(recipe);
  worker.Work();
  auto study = harness.Job(first).studies(0);
  // clean once, half on it once; four trials have 6 steps in all.
  EXPECT_EQ(study.builds_run(), 2U);
  EXPECT_EQ(study.builds_reused(), 4U);

  const size_t before = worker.log.size();
  const uint64_t second = harness.Submit(recipe);
  worker.Work();
  study = harness.Job(second).studies(0);
  EXPECT_EQ(study.builds_run(), 0U);
  EXPECT_EQ(study.builds_reused(), 6U);
  for (size_t i = before; i < worker.log.size(); ++i) EXPECT_FALSE(worker.log[i].has_build());
  EXPECT_THAT(harness.Query("SELECT build FROM attempts WHERE kind = 'build' GROUP BY build HAVING count(*) > 1"),
              IsEmpty());
}

TEST(StudyTest, TwoWorkersShareABuildThatBothNeed) {
  Harness harness;
  auto one = harness.Worker("one");
  auto two = harness.Worker("two");
  const uint64_t job =
      harness.Submit("passes: [clean]\nbackends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: exhaustive}\n");
  one.Finish(*one.Take());  // The baseline.
  const auto build = one.Take();
  ASSERT_TRUE(build && build->has_build());
  // The other trial needs the same build, so there is nothing for the second worker.
  EXPECT_FALSE(two.Take());
  one.Finish(*build);
  const auto a = one.Take(), b = two.Take();
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->trial(), b->trial());
  one.Finish(*a);
  two.Finish(*b);
  while (one.Work() + two.Work() > 0) {
  }
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(harness.Job(job).studies(0).builds_run(), 1U);
  EXPECT_EQ(harness.Job(job).studies(0).builds_reused(), 1U);
}

TEST(StudyTest, EachTargetIsMeasuredOnItsOwnWorkersWhileAnyMayBuild) {
  Harness harness;
  auto red = harness.Worker("red", {"cpu", "red"});
  auto blue = harness.Worker("blue", {"cpu", "blue"});
  const uint64_t job = harness.Submit(std::string(kRecipe) + "targets: [{tags: [red]}, {tags: [blue, cpu]}]\n");
  while (red.Work(1) + blue.Work(1) > 0) {
  }
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
  ASSERT_EQ(summary.studies_size(), 2);
  for (const auto& study : summary.studies()) EXPECT_EQ(study.counts().complete(), kCandidates);
  EXPECT_THAT(harness.Query("SELECT DISTINCT worker FROM attempts WHERE kind <> 'build' AND study = 0"),
              testing::ElementsAre("red"));
  EXPECT_THAT(harness.Query("SELECT DISTINCT worker FROM attempts WHERE kind <> 'build' AND study = 1"),
              testing::ElementsAre("blue"));
}

TEST(StudyTest, TimeBudgetEndsTheSearch) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit(
      "passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]\n"
      "backends: {onnxruntime: {}, openvino: {}}\nsearch: {sampler: exhaustive, time: 3s}\n"
      "measure: {finalists: 1}\n");
  worker.Work(3);
  for (int i = 0; i < 4; ++i) {
    harness.Advance(1000);
    ASSERT_TRUE(worker.Sync(0));
  }
  worker.Work();
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE);
  EXPECT_GT(summary.studies(0).counts().complete(), 0U);
  EXPECT_LT(summary.studies(0).counts().complete(), kCandidates);
}

TEST(StudyTest, ConstraintsMakeTrialsInfeasibleAndNothingFeasibleMeansNoBest) {
  Harness harness;
  auto worker = harness.Worker("one");
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline() || lease.measure().backend() != "openvino") return;
    report.mutable_result()->mutable_measure()->set_infeasible(true);
    report.mutable_result()->mutable_measure()->set_infeasible_reason("accuracy_drop 0.5 is above 0.1");
  };
  const uint64_t job =
      harness.Submit(std::string(kRecipe) + "constraints: {size_bytes: {max: 10}, accuracy_drop: 0.1}\n");
  worker.Work();
  const auto summary = harness.Job(job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE) << summary.error();
  EXPECT_EQ(summary.studies(0).counts().infeasible(), kCandidates);
  EXPECT_FALSE(summary.studies(0).has_best());
  EXPECT_EQ(summary.studies(0).pareto_size(), 0);
  std::set<std::string> reasons;
  for (const auto& trial : harness.Trials(job)) reasons.insert(trial.reason());
  EXPECT_THAT(reasons, Contains("accuracy_drop 0.5 is above 0.1"));
  EXPECT_THAT(reasons, Contains(HasSubstr("size_bytes")));
}

TEST(StudyTest, FinalistThatTurnsOutWorseLosesToTheNext) {
  Harness harness;
  auto worker = harness.Worker("one");
  std::string fastest;
  double most = 0;
  worker.alter = [&](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline()) return;
    auto& result = *report.mutable_result()->mutable_measure();
    const std::string id = BundleId(lease.measure().model()) + lease.measure().backend();
    if (lease.measure().pairs() < 20 && result.speedup().value() > most) {
      most = result.speedup().value();
      fastest = id;
    }
    // What looked fastest is slow when it is measured well.
    if (lease.measure().pairs() == 20 && id == fastest) result.mutable_speedup()->set_value(0.5);
  };
  const uint64_t job = harness.Submit();
  worker.Work();
  const auto study = harness.Job(job).studies(0);
  ASSERT_TRUE(study.has_best());
  EXPECT_NE(BundleId(study.best().model()) + study.best().candidate().backend(), fastest);
  EXPECT_EQ(study.best().pairs(), 20U);
}

TEST(StudyTest, ValuesThatAreNotFiniteAreDroppedAndAMissingObjectiveFailsTheTrial) {
  Harness harness;
  auto worker = harness.Worker("one");
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_measure() || lease.measure().is_baseline()) return;
    auto& result = *report.mutable_result()->mutable_measure();
    result.mutable_samples(0)->add_values(std::numeric_limits<double>::quiet_NaN());
    if (lease.measure().backend() != "openvino") return;
    result.clear_speedup();
    result.mutable_metrics(0)->set_value(std::numeric_limits<double>::infinity());
  };
  const uint64_t job = harness.Submit();
  worker.Work();
  const auto counts = harness.Job(job).studies(0).counts();
  EXPECT_EQ(counts.failed(), kCandidates / 2);
  EXPECT_EQ(counts.complete(), kCandidates / 2);
  for (const auto& trial : harness.Trials(job)) {
    if (trial.trial() == 0) continue;
    EXPECT_THAT(trial.notes(), Contains(HasSubstr("not finite")));
    EXPECT_EQ(trial.reason(), trial.state() == proto::TRIAL_FAILED ? "no value for objective latency_ms_p50" : "");
  }
}

TEST(StudyTest, SameRequestKeyGivesTheSameJob) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit(kRecipe, "the model", "key");
  EXPECT_EQ(harness.Submit(kRecipe, "the model", "key"), job);
  EXPECT_NE(harness.Submit(kRecipe, "the model", "another"), job);
}

TEST(StudyTest, TrialsComeInPagesAndSamplesByTrial) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work();
  const auto page = [&](uint64_t from, uint32_t limit) {
    const auto reply = harness.Call("client", FrameOf([&](auto& frame) {
                                      frame.mutable_list_trials()->set_job(job);
                                      frame.mutable_list_trials()->set_from(from);
                                      frame.mutable_list_trials()->set_limit(limit);
                                    }));
    return reply ? reply->list_trials_reply() : proto::ListTrialsReply();
  };
  EXPECT_EQ(page(0, 4).trials_size(), 4);
  EXPECT_TRUE(page(0, 4).more());
  EXPECT_EQ(page(4, 100).trials(0).trial(), 4U);
  EXPECT_FALSE(page(4, 100).more());
  EXPECT_EQ(page(100, 5).trials_size(), 0);
  EXPECT_EQ(page(UINT64_MAX, 5).trials_size(), 0);

  const auto best = harness.Job(job).studies(0).best().trial();
  const auto samples = harness.Call("client", FrameOf([&](auto& frame) {
                                      frame.mutable_get_samples()->set_job(job);
                                      frame.mutable_get_samples()->set_trial(best);
                                    }));
  ASSERT_TRUE(samples);
  ASSERT_EQ(samples->get_samples_reply().samples_size(), 1);
  EXPECT_EQ(samples->get_samples_reply().samples(0).values_size(), 20);
  EXPECT_EQ(samples->get_samples_reply().baseline_metrics_size(), 1);
}

TEST(StudyTest, OriginOfATrialNamesEveryBuildStepWithItsArtifact) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  worker.Work();
  const auto ask = [&](uint32_t study, uint64_t trial) {
    return harness.Call("client", FrameOf([&](auto& frame) {
                          frame.mutable_get_origin()->set_job(job);
                          frame.mutable_get_origin()->set_study(study);
                          frame.mutable_get_origin()->set_trial(trial);
                        }));
  };
  const auto best = harness.Job(job).studies(0).best();
  const auto reply = ask(0, best.trial());
  ASSERT_TRUE(reply);
  const proto::GetOriginReply& origin = reply->get_origin_reply();
  ASSERT_GE(origin.steps_size(), best.candidate().pipeline_size());
  for (const auto& step : origin.steps()) EXPECT_GT(step.version(), 0U);
  if (origin.steps_size() > 0) {
    EXPECT_EQ(BundleId(origin.steps(origin.steps_size() - 1).model()), BundleId(best.model()));
  }
  EXPECT_EQ(origin.trial().trial(), best.trial());
  EXPECT_EQ(origin.baseline().trial(), 0U);
  EXPECT_GT(origin.request().model().files_size(), 0);

  const auto none = ask(7, 1);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
}

TEST(StudyTest, WatcherIsAnsweredWhenSomethingHappens) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job = harness.Submit();
  const uint64_t last = harness.Job(job).last_event();
  const uint64_t watch = harness.Post("watcher", FrameOf([&](auto& frame) {
                                        frame.mutable_watch_events()->set_job(job);
                                        frame.mutable_watch_events()->set_after(last);
                                        frame.mutable_watch_events()->set_wait_ms(20000);
                                      }));
  EXPECT_FALSE(harness.Reply(watch));
  ASSERT_TRUE(worker.Take());
  const auto reply = harness.Reply(watch);
  ASSERT_TRUE(reply);
  ASSERT_GE(reply->watch_events_reply().events_size(), 1);
  EXPECT_EQ(reply->watch_events_reply().events(0).kind(), "trial.started");
  EXPECT_EQ(reply->watch_events_reply().state(), proto::JOB_RUNNING);
}

TEST(StudyTest, TwoObjectivesGiveAFrontWithoutDominatedTrials) {
  Harness harness;
  auto worker = harness.Worker("one");
  const uint64_t job =
      harness.Submit(std::string(kRecipe) + "objectives: [{minimize: latency_ms_p50}, {minimize: size_bytes}]\n");
  worker.Work();
  const auto study = harness.Job(job).studies(0);
  ASSERT_GE(study.pareto_size(), 1);
  const auto size = [](const proto::TrialSummary& trial) {
    for (const auto& metric : trial.metrics()) {
      if (metric.name() == "size_bytes") return metric.value();
    }
    return 0.0;
  };
  for (int i = 1; i < study.pareto_size(); ++i) {
    EXPECT_LT(study.pareto(i).speedup().value(), study.pareto(i - 1).speedup().value());
    EXPECT_LT(size(study.pareto(i)), size(study.pareto(i - 1)));
  }
}

TEST(StudyTest, CheckTellsTheSizeOfTheSpaceAndItsWorkers) {
  Harness harness;
  auto worker = harness.Worker("one");
  const auto reply = harness.Call("client", FrameOf([](auto& frame) {
                                    *frame.mutable_check_recipe()->mutable_recipe() = Recipe(kRecipe);
                                    frame.mutable_check_recipe()->set_model_format("onnx");
                                  }));
  ASSERT_TRUE(reply) << reply.error().message;
  ASSERT_EQ(reply->check_recipe_reply().studies_size(), 1);
  EXPECT_EQ(reply->check_recipe_reply().studies(0).candidates(), kCandidates);
  EXPECT_EQ(reply->check_recipe_reply().studies(0).workers(0), "one");
}

// One candidate: the model as it is, on the other backend.
constexpr const char* kAsItIs =
    "passes: [{choose: [none]}]\nbackends: {openvino: {}}\nmeasure: {reuse: false, pairs: 4, final_pairs: 4}\n";

proto::Frame SubmissionAgainst(Harness& harness, const std::string& backend) {
  proto::Frame frame = harness.Submission(kAsItIs, "the new model");
  proto::PinnedBaseline& baseline = *frame.mutable_submit_job()->mutable_baseline();
  *baseline.mutable_model() = UploadModel(harness.As("client"), "the accepted model");
  baseline.set_backend(backend);
  return frame;
}

TEST(StudyTest, GivenBaselineIsMeasuredBesideTheModelAlsoAfterARestart) {
  Harness harness;
  auto worker = harness.Worker("one");
  const auto reply = harness.Call("client", SubmissionAgainst(harness, "openvino"));
  ASSERT_TRUE(reply) << reply.error().message;
  const uint64_t job = reply->submit_job_reply().job();
  harness.Restart();
  auto again = harness.Worker("one", {"cpu"}, "later");
  again.Work();
  ASSERT_EQ(again.log.size(), 2u) << "the baseline alone, then the model beside it";
  const proto::MeasureWork& alone = again.log[0].measure();
  EXPECT_TRUE(alone.is_baseline());
  EXPECT_EQ(BundleId(alone.model()), BundleId(ModelOf("the accepted model")));
  EXPECT_EQ(alone.backend(), "openvino");
  const proto::MeasureWork& beside = again.log[1].measure();
  EXPECT_EQ(BundleId(beside.model()), BundleId(ModelOf("the new model")));
  EXPECT_EQ(BundleId(beside.baseline_model()), BundleId(ModelOf("the accepted model")));
  EXPECT_EQ(beside.baseline_backend(), "openvino");
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
}

TEST(StudyTest, BaselineOnABackendThatNoWorkerHasIsRejected) {
  Harness harness;
  auto worker = harness.Worker("one");
  const auto reply = harness.Call("client", SubmissionAgainst(harness, "tpu"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRejected);
  EXPECT_THAT(reply.error().message, HasSubstr("'tpu'"));
}

TEST(StudyTest, UnknownJobIsNotFound) {
  Harness harness;
  const auto reply = harness.Call("client", FrameOf([](auto& frame) { frame.mutable_get_job()->set_job(77); }));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace hone::test
