#include "worker/evaluation/benchmark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/evaluation/fixtures.h"
#include "worker/evaluation/canary.h"

namespace hone {
namespace {

using test::ByName;
using ::testing::Contains;
using ::testing::HasSubstr;

class BenchmarkTest : public testing::Test {
 protected:
  proto::BenchmarkTask Task(const std::vector<std::string>& backends) {
    proto::BenchmarkTask task;
    for (const std::string& backend : backends) {
      proto::Subject& subject = *task.add_subjects();
      *subject.mutable_model() = test::ModelIn(folder_, "mlp.onnx", test::Mlp());
      subject.set_backend(backend);
    }
    *task.mutable_evaluation() = test::DataIn(folder_, "data.npz", {{"x", test::NormalArray({4, 64}, 3)}});
    task.set_exclusive_lock((folder_ / "lock").string());
    task.set_launches(2);
    task.set_rounds(5);
    return task;
  }
  static int ValuesIn(const proto::BenchmarkResult::Run& run, const std::string& series) {
    for (const proto::Samples& samples : run.samples()) {
      if (samples.series() == series) return samples.values_size();
    }
    return 0;
  }
  test::TempFolder folder_;
};

TEST_F(BenchmarkTest, SeveralFormsAreMeasuredBesideEachOtherWithRawSamples) {
  const auto result = RunBenchmark(Task({"onnxruntime", "openvino", "onnxruntime"}));
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->runs_size(), 3);
  EXPECT_FALSE(result->synthetic_inputs());
  for (const auto& run : result->runs()) {
    auto metrics = ByName(run.metrics());
    for (const char* name : {"latency_ms_p50", "load_ms", "first_ms", "cold_start_ms", "memory_bytes", "size_bytes",
                             "throughput_per_s", "throughput_requests"}) {
      EXPECT_GT(metrics[name], 0) << name;
    }
    EXPECT_GE(metrics["cold_start_ms"], metrics["load_ms"]);
    EXPECT_EQ(ValuesIn(run, "block_latency_ms"), 5) << "over both launches";
    EXPECT_EQ(ValuesIn(run, "launch_latency_ms"), 2);
    EXPECT_EQ(ValuesIn(run, "cold_start_ms"), 2);
    EXPECT_GT(run.execution().kernels_size(), 0);
  }
  EXPECT_FALSE(result->runs(0).has_speedup());
  for (const int other : {1, 2}) {
    EXPECT_EQ(result->runs(other).speedup().samples(), 5U);
    EXPECT_LE(result->runs(other).speedup().low(), result->runs(other).speedup().high());
  }
}

TEST_F(BenchmarkTest, FromEightLaunchesOnTheLaunchIsTheUnit) {
  proto::BenchmarkTask task = Task({"onnxruntime", "onnxruntime"});
  task.set_launches(8);
  task.set_rounds(16);
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->runs(1).speedup().samples(), 8U);
}

TEST_F(BenchmarkTest, PercentilesAreToldWhereTheSampleSupportsThem) {
  proto::BenchmarkTask task = Task({"onnxruntime"});
  task.set_runs(700);
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  auto metrics = ByName(result->runs(0).metrics());
  EXPECT_GE(metrics["latency_ms_p99"], metrics["latency_ms_p90"]);
  EXPECT_GE(metrics["latency_ms_p90"], metrics["latency_ms_p50"]);
}

TEST_F(BenchmarkTest, RequestsAtARateAreToldApart) {
  proto::BenchmarkTask task = Task({"openvino"});
  task.mutable_open_loop()->set_rate_per_s(2000);
  task.mutable_open_loop()->set_arrivals(300);
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  auto metrics = ByName(result->runs(0).metrics());
  EXPECT_GT(metrics["open_loop_ms_p50"], 0);
  EXPECT_GT(metrics["open_loop_per_s"], 0);
  EXPECT_EQ(ValuesIn(result->runs(0), "open_loop_ms"), 300);
  EXPECT_EQ(ValuesIn(result->runs(0), "open_loop_service_ms"), 300);
  EXPECT_GT(metrics["open_loop_ms_p90"], 0);
  EXPECT_FALSE(metrics.contains("open_loop_ms_p99"));
  EXPECT_THAT(result->runs(0).missing(), Contains("open_loop_ms_p99: n too small (300 of 662)"));
}

TEST_F(BenchmarkTest, BothRuntimesSayWhereTheTimeGoesAndInWhichPrecision) {
  proto::BenchmarkTask task = Task({"onnxruntime", "openvino"});
  task.set_profile_runs(5);
  proto::Parameter& precision = *task.mutable_subjects(1)->add_settings();
  precision.set_name("inference_precision");
  precision.mutable_value()->set_text("f32");
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  for (const auto& run : result->runs()) {
    const proto::Profile& profile = run.profile();
    EXPECT_EQ(profile.runs(), 5U);
    EXPECT_GT(profile.run_ms(), 0);
    ASSERT_GE(profile.operators_size(), 2);
    double sum = 0;
    bool in_f32 = false;
    for (const proto::OperatorTime& row : profile.operators()) {
      EXPECT_FALSE(row.name().empty());
      EXPECT_FALSE(row.type().empty());
      EXPECT_DOUBLE_EQ(row.calls(), 1);
      in_f32 = in_f32 || row.precision() == "f32";
      sum += row.ms();
    }
    EXPECT_TRUE(in_f32) << profile.DebugString();
    EXPECT_GT(sum, 0);
    for (int i = 1; i < profile.operators_size(); ++i)
      EXPECT_LE(profile.operators(i).ms(), profile.operators(i - 1).ms());
  }
}

TEST_F(BenchmarkTest, MeasuringEndsOnceTheIntervalIsNarrowEnough) {
  proto::BenchmarkTask task = Task({"onnxruntime"});
  task.set_launches(6);
  task.set_rounds(48);
  task.set_precision(1e6);  // Any interval is.
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(ValuesIn(result->runs(0), "block_latency_ms"), 8) << "one launch has enough rounds for an interval";
  EXPECT_GT(result->runs(0).execution().kernels_size(), 0);
}

TEST_F(BenchmarkTest, NothingAndTooMuchAreRejected) {
  EXPECT_EQ(RunBenchmark(proto::BenchmarkTask()).error().code, ErrorCode::kRejected);
  EXPECT_EQ(RunBenchmark(Task(std::vector<std::string>(33, "onnxruntime"))).error().code, ErrorCode::kRejected);
}

TEST_F(BenchmarkTest, WithoutDataTheResultSaysSo) {
  proto::BenchmarkTask task = Task({"onnxruntime"});
  task.clear_evaluation();
  const auto result = RunBenchmark(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->synthetic_inputs());
  EXPECT_THAT(result->notes(), Contains(HasSubstr("synthetic")));
}

TEST(CanaryTest, ItsTimesAreTold) {
  const std::vector<double> times = CanaryTimes();
  EXPECT_EQ(times.size(), 3U);
  for (const double time : times) EXPECT_GT(time, 0);
}

}  // namespace
}  // namespace hone
