// Sensitivity tables: measured once, before the search, found again, and never in its way.
#include <gmock/gmock.h>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

const std::string kPasses =
    "passes: [{choose: [none, {mixed: {layers: {groups: 6, choices: [float, quantized]}}}]}]\nbackends: {onnxruntime: "
    "{}, openvino: {}}\n";
const std::string kGuided = kPasses + "search: {trials: 24, seed: 3, warm_start: false}\nmeasure: {reuse: false}\n";

proto::Catalogue MixedCatalogue() {
  proto::Catalogue catalogue = FakeCatalogue();
  proto::PassInfo& pass = *catalogue.add_passes();
  pass.set_name("mixed");
  pass.set_version(1);
  pass.add_accepts("onnx");
  proto::ParameterInfo& layers = *pass.add_parameters();
  layers.set_name("layers");
  layers.set_type(proto::ParameterInfo::TEXT);
  *layers.mutable_default_value() = TextValue("quantized");
  layers.set_per_group(true);
  return catalogue;
}

class SensitivityTest : public ::testing::Test {
 protected:
  FakeWorker MixedWorker(const std::string& name, std::vector<std::string> tags = {"cpu"}) {
    FakeWorker worker(harness.As(name), name, std::move(tags));
    worker.catalogue = MixedCatalogue();
    EXPECT_TRUE(worker.Hello());
    return worker;
  }

  uint64_t Submit(const std::string& yaml = kGuided, bool has_data = true, const std::string& model = "the model") {
    proto::Frame frame = harness.Submission(yaml, model);
    if (has_data)
      *frame.mutable_submit_job()->mutable_evaluation()->mutable_bundle() =
          UploadModel(harness.As("client"), "samples", "npz");
    auto reply = harness.Call("client", std::move(frame));
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? reply->submit_job_reply().job() : 0;
  }

  static size_t Tables(const FakeWorker& worker) {
    return static_cast<size_t>(
        std::count_if(worker.log.begin(), worker.log.end(), [](const auto& lease) { return lease.has_sensitivity(); }));
  }
  std::string Settled(uint64_t job) {
    return harness.Query("SELECT sensitivity FROM studies WHERE job = " + std::to_string(job)).at(0);
  }

  // Takes pieces until the table comes.
  std::optional<proto::Lease> TakeTable(FakeWorker& worker) {
    for (int i = 0; i < 10; ++i) {
      const auto lease = worker.Take();
      if (!lease || lease->has_sensitivity()) return lease;
      worker.Finish(*lease);
    }
    return std::nullopt;
  }

  Harness harness;
};

TEST_F(SensitivityTest, IsMeasuredOnceAfterTheBaselineAndBeforeAnyProposal) {
  FakeWorker worker = MixedWorker("one");
  const uint64_t job = Submit();
  const auto table = TakeTable(worker);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->trial(), 0u);
  EXPECT_GT(table->timeout_ms(), 0u);
  const proto::SensitivityWork& work = table->sensitivity();
  ASSERT_EQ(work.steps_size(), 1);
  EXPECT_EQ(Find(work.steps(0).parameters(), "layers.5")->text(), "quantized");
  EXPECT_EQ(work.samples(), 16u);
  EXPECT_TRUE(work.has_evaluation());
  EXPECT_FALSE(work.has_calibration());
  EXPECT_THAT(harness.Trials(job), SizeIs(1));
  EXPECT_EQ(Settled(job), "");
  EXPECT_THAT(harness.EventTexts(job, "sensitivity.started"), ElementsAre(HasSubstr("measured by one")));
  worker.Finish(*table);
  EXPECT_THAT(Settled(job), StartsWith("sensitivity:"));
  worker.Work();
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(Tables(worker), 1u);
  EXPECT_THAT(harness.EventTexts(job, "sensitivity.done"), ElementsAre(HasSubstr("6 groups of layers")));
}

TEST_F(SensitivityTest, ASecondJobFindsItAndAnotherModelMeasuresItsOwn) {
  FakeWorker worker = MixedWorker("one");
  const uint64_t first = Submit();
  worker.Work();
  const uint64_t second = Submit();
  worker.Work();
  EXPECT_EQ(Tables(worker), 1u);
  EXPECT_EQ(Settled(first), Settled(second));
  EXPECT_THAT(harness.EventTexts(second, "sensitivity.reused"), ElementsAre(HasSubstr("measured before, by one")));
  EXPECT_EQ(harness.Table(first), harness.Table(second));
  Submit(kGuided, true, "another model");
  worker.Work();
  EXPECT_EQ(Tables(worker), 2u);
}

TEST_F(SensitivityTest, FailureIsToldAndTheSearchGoesOnWithout) {
  FakeWorker worker = MixedWorker("one");
  bool fails = true;
  worker.alter = [&](const proto::Lease& lease, proto::Report& report) {
    if (!lease.has_sensitivity() || !fails) return;
    report.clear_result();
    report.set_outcome(proto::Report::FAILED);
    report.mutable_error()->set_code(proto::Error::REJECTED);
    report.mutable_error()->set_message("the model has 2 layers");
  };
  const uint64_t without = Submit();
  worker.Work();
  EXPECT_EQ(harness.Job(without).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(Settled(without), "none");
  EXPECT_EQ(Tables(worker), 1u);
  EXPECT_THAT(harness.EventTexts(without, "sensitivity.none"), ElementsAre(HasSubstr("the model has 2 layers")));
  // Another job tries for itself, and proposes otherwise with what it learns.
  fails = false;
  const uint64_t with = Submit();
  worker.Work();
  EXPECT_THAT(Settled(with), StartsWith("sensitivity:"));
  EXPECT_NE(harness.Table(without), harness.Table(with));
  EXPECT_EQ(Settled(without), "none");
}

TEST_F(SensitivityTest, CrashOrTimeOutIsNotTriedAgain) {
  for (const auto outcome : {proto::Report::CRASHED, proto::Report::TIMED_OUT, proto::Report::OUT_OF_MEMORY}) {
    FakeWorker worker = MixedWorker("one");
    worker.alter = [&](const proto::Lease& lease, proto::Report& report) {
      if (!lease.has_sensitivity()) return;
      report.clear_result();
      report.set_outcome(outcome);
    };
    const uint64_t job = Submit(kGuided, true, "model of " + std::to_string(outcome));
    worker.Work();
    EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
    EXPECT_EQ(Settled(job), "none");
    EXPECT_EQ(Tables(worker), 1u);
  }
}

TEST_F(SensitivityTest, AnswerThatIsNoTableIsACrash) {
  FakeWorker worker = MixedWorker("one");
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (lease.has_sensitivity()) report.mutable_result()->mutable_measure();
  };
  const uint64_t job = Submit();
  worker.Work();
  EXPECT_THAT(harness.EventTexts(job, "sensitivity.none"), ElementsAre(HasSubstr("without its result")));
}

TEST_F(SensitivityTest, LostWorkerHandsItToAnother) {
  FakeWorker one = MixedWorker("one");
  const uint64_t job = Submit();
  ASSERT_TRUE(TakeTable(one));
  FakeWorker two = MixedWorker("two");
  harness.Advance(harness.options.lease_ms / 2);
  ASSERT_TRUE(two.Sync(0));
  harness.Advance(harness.options.lease_ms - 500);
  two.Work();
  EXPECT_EQ(Tables(two), 1u);
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_THAT(Settled(job), StartsWith("sensitivity:"));
}

TEST_F(SensitivityTest, WithTwoWorkersItIsMeasuredBesideTheBaseline) {
  FakeWorker one = MixedWorker("one"), two = MixedWorker("two");
  const uint64_t job = Submit();
  const auto first = one.Take(), second = two.Take();
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->has_sensitivity(), second->has_sensitivity());
  // Neither alone lets the search begin.
  one.Finish(*first);
  EXPECT_FALSE(one.Take());
  EXPECT_THAT(harness.Trials(job), SizeIs(1));
  two.Finish(*second);
  EXPECT_TRUE(one.Take());
}

TEST_F(SensitivityTest, BelongsToWorkersOfTheTarget) {
  FakeWorker other = MixedWorker("other", {"cpu"}), mine = MixedWorker("mine", {"cpu", "lab"});
  Submit(kGuided + "targets: [{tags: [lab]}]\n");
  EXPECT_FALSE(other.Take());
  EXPECT_TRUE(TakeTable(mine));
}

TEST_F(SensitivityTest, IsDroppedWithItsStudy) {
  FakeWorker one = MixedWorker("one"), two = MixedWorker("two");
  one.alter = [](const proto::Lease&, proto::Report& report) {
    report.clear_result();
    report.set_outcome(proto::Report::FAILED);
    report.mutable_error()->set_message("no such operator");
  };
  const uint64_t failed = Submit();
  const auto baseline = one.Take(), table = two.Take();
  ASSERT_TRUE(baseline && table && table->has_sensitivity());
  one.Finish(*baseline);
  ASSERT_TRUE(two.Sync(0));
  EXPECT_THAT(two.dropped, ElementsAre(table->id()));
  EXPECT_EQ(harness.Job(failed).state(), proto::JOB_FAILED);
  one.alter = nullptr;
  const uint64_t cancelled = Submit(kGuided, true, "another model");
  const auto again = one.Take(), beside = two.Take();
  ASSERT_TRUE(again && beside && beside->has_sensitivity());
  ASSERT_TRUE(harness.Call("client", FrameOf([&](auto& frame) { frame.mutable_cancel_job()->set_job(cancelled); })));
  ASSERT_TRUE(two.Sync(0));
  EXPECT_THAT(two.dropped, Contains(beside->id()));
  EXPECT_THAT(harness.Query("SELECT attempt FROM attempts WHERE outcome = 'open'"), IsEmpty());
}

TEST_F(SensitivityTest, IsNotAskedForWithoutGroupsDataOrASamplerThatListens) {
  FakeWorker worker = MixedWorker("one");
  const uint64_t no_data = Submit(kGuided, false);
  worker.Work();
  EXPECT_THAT(harness.EventTexts(no_data, "sensitivity.none"), ElementsAre(HasSubstr("no data")));
  const uint64_t tpe = Submit(kPasses + "search: {sampler: tpe, trials: 8}\n");
  worker.Work();
  const uint64_t plain = Submit(std::string(kRecipe));
  worker.Work();
  for (const uint64_t job : {tpe, plain}) {
    EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
    EXPECT_EQ(Settled(job), "");
  }
  EXPECT_EQ(Tables(worker), 0u);
}

TEST_F(SensitivityTest, ASearchsTimeEndsItWhileTheTableIsAwaited) {
  FakeWorker worker = MixedWorker("one");
  const uint64_t job = Submit(kPasses + "search: {time: 60s}\n");
  const auto table = TakeTable(worker);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->timeout_ms(), 15'000u);
  for (int i = 0; i < 61; ++i) {
    harness.Advance(1000);
    ASSERT_TRUE(worker.Sync(0));
  }
  EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
  EXPECT_THAT(worker.dropped, ElementsAre(table->id()));
}

TEST_F(SensitivityTest, MachineTimeCountsIt) {
  FakeWorker worker = MixedWorker("one");
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (lease.has_sensitivity()) report.set_wall_ms(60'000);
  };
  const uint64_t job = Submit(kPasses + "search: {trials: 24, machine_time: 61s}\n");
  worker.Work();
  EXPECT_EQ(harness.Job(job).studies(0).ended_by(), "trials");
  const uint64_t spent = Submit(kPasses + "search: {trials: 24, machine_time: 50s}\n", true, "another model");
  worker.Work();
  EXPECT_EQ(harness.Job(spent).studies(0).ended_by(), "machine_time");
  EXPECT_THAT(harness.Trials(spent), SizeIs(1));
}

// A coordinator killed between any two steps.
TEST(SensitivityRestartTest, RestartsAtEveryStepGiveTheSameTableAsNone) {
  const auto run = [](bool restarts) {
    Harness harness;
    FakeWorker worker(harness.As("one"), "one");
    worker.catalogue = MixedCatalogue();
    EXPECT_TRUE(worker.Hello());
    const auto restart = [&] {
      if (!restarts) return;
      harness.Restart();
      EXPECT_TRUE(worker.Hello());
    };
    proto::Frame frame = harness.Submission(kGuided);
    *frame.mutable_submit_job()->mutable_evaluation()->mutable_bundle() =
        UploadModel(harness.As("client"), "samples", "npz");
    const uint64_t job = harness.Call("client", std::move(frame))->submit_job_reply().job();
    for (int step = 0; step < 300; ++step) {
      restart();
      const auto lease = worker.Take();
      if (!lease) break;
      restart();
      worker.Finish(*lease);
    }
    EXPECT_EQ(harness.Job(job).state(), proto::JOB_COMPLETE);
    EXPECT_THAT(harness.Query("SELECT attempt FROM attempts WHERE build LIKE 'sensitivity:%'"), SizeIs(1));
    auto table = harness.Table(job);
    table.push_back("best " + std::to_string(harness.Job(job).studies(0).best().trial()));
    return table;
  };
  const auto plain = run(false);
  EXPECT_THAT(plain, SizeIs(Not(0)));
  EXPECT_EQ(plain, run(true));
}

}  // namespace
}  // namespace hone::test
