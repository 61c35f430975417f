#include "worker/evaluation/measure.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/evaluation/fixtures.h"
#include "worker/evaluation/instance.h"

namespace hone {
namespace {

using test::ByName;
using test::DataIn;
using test::ModelIn;

class MeasureTest : public testing::Test {
 protected:
  proto::MeasureTask Task(const char* backend) {
    proto::MeasureTask task;
    *task.mutable_candidate()->mutable_model() = ModelIn(folder_, "mlp.onnx", test::Mlp());
    task.mutable_candidate()->set_backend(backend);
    *task.mutable_baseline()->mutable_model() = task.candidate().model();
    task.mutable_baseline()->set_backend("onnxruntime");
    *task.mutable_evaluation() = DataIn(folder_, "data.npz", {{"x", test::NormalArray({20, 64}, 3)}});
    task.mutable_accuracy();
    task.set_time(true);
    task.set_pairs(4);
    task.set_cache_folder((folder_ / "cache").string());
    task.set_exclusive_lock((folder_ / "lock").string());
    return task;
  }
  test::TempFolder folder_;
};

TEST_F(MeasureTest, SameModelInBothRuntimesAgreesAndEveryFigureIsThere) {
  for (const char* backend : {"onnxruntime", "openvino"}) {
    const auto result = RunMeasure(Task(backend));
    ASSERT_TRUE(result) << result.error().message;
    auto metrics = ByName(result->metrics());
    EXPECT_GT(metrics["accuracy"], 0.999) << backend;
    for (const char* name : {"latency_ms_p50", "throughput_per_s", "memory_bytes", "load_ms", "size_bytes"}) {
      EXPECT_GT(metrics[name], 0) << backend << " " << name;
    }
    EXPECT_EQ(result->speedup().samples(), 4U);
    EXPECT_LE(result->speedup().low(), result->speedup().value());
    EXPECT_GE(result->speedup().high(), result->speedup().value());
    EXPECT_GT(result->execution().kernels_size(), 0) << backend;
    EXPECT_FALSE(result->synthetic_inputs());
  }
}

TEST_F(MeasureTest, ACandidateThatDoesNotRunAsItsPassesClaimIsInfeasibleAndNotTimed) {
  for (const char* backend : {"onnxruntime", "openvino"}) {
    proto::MeasureTask task = Task(backend);
    proto::Claim& claim = *task.add_claims();
    claim.set_pass("static_int8");
    claim.add_precisions("int8");
    const auto result = RunMeasure(task);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_TRUE(result->infeasible()) << backend;
    const std::string& reason = result->infeasible_reason();
    EXPECT_NE(reason.find("claims int8"), std::string::npos) << reason;
    EXPECT_NE(reason.find(backend), std::string::npos) << reason;
    EXPECT_GT(result->execution().kernels_size(), 0);
    EXPECT_EQ(ByName(result->metrics()).count("latency_ms_p50"), 0U);
  }
}

TEST_F(MeasureTest, ReferenceOutputsAreKeptAndGiveTheSameAccuracy) {
  const proto::MeasureTask task = Task("openvino");
  const auto first = RunMeasure(task);
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_EQ(std::distance(test::fs::directory_iterator(folder_ / "cache"), {}), 1);
  const auto second = RunMeasure(task);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(ByName(first->metrics())["accuracy"], ByName(second->metrics())["accuracy"]);
}

TEST_F(MeasureTest, BrokenConstraintIsInfeasibleAndNeverTimed) {
  proto::MeasureTask task = Task("onnxruntime");
  *task.mutable_candidate()->mutable_model() = ModelIn(folder_, "other.onnx", test::Mlp(1, 64, 128, 10, 99));
  auto& constraint = *task.add_constraints();
  constraint.set_metric("accuracy_drop");
  constraint.set_maximum(0.01);
  const auto result = RunMeasure(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->infeasible());
  EXPECT_NE(result->infeasible_reason().find("accuracy_drop"), std::string::npos);
  EXPECT_EQ(ByName(result->metrics()).count("latency_ms_p50"), 0U);
}

TEST_F(MeasureTest, WithoutDataInputsAreSyntheticAndSaidSo) {
  proto::MeasureTask task = Task("onnxruntime");
  task.clear_evaluation();
  const auto result = RunMeasure(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->synthetic_inputs());
}

TEST_F(MeasureTest, FreeDimensionWithoutDataIsNamed) {
  proto::MeasureTask task = Task("onnxruntime");
  *task.mutable_candidate()->mutable_model() = ModelIn(folder_, "free.onnx", test::Mlp(-1));
  *task.mutable_baseline()->mutable_model() = task.candidate().model();
  task.clear_evaluation();
  const auto result = RunMeasure(task);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_NE(result.error().message.find("free dimension"), std::string::npos) << result.error().message;
}

TEST_F(MeasureTest, PinnedDimensionWithoutDataIsMeasured) {
  proto::MeasureTask task = Task("openvino");
  *task.mutable_candidate()->mutable_model() = ModelIn(folder_, "free.onnx", test::Mlp(-1));
  *task.mutable_baseline()->mutable_model() = task.candidate().model();
  task.clear_evaluation();
  auto& pin = *task.add_inputs();
  pin.set_name("x");
  pin.add_dims(4);
  pin.add_dims(64);
  const auto result = RunMeasure(task);
  ASSERT_TRUE(result) << result.error().message;
}

TEST_F(MeasureTest, BlocksAreLongEnoughForTheRunsThatAreAsked) {
  proto::MeasureTask task = Task("onnxruntime");
  task.set_pairs(3);
  task.set_runs(40'000);
  const auto result = RunMeasure(task);
  ASSERT_TRUE(result) << result.error().message;
  for (const auto* metrics : {&result->metrics(), &result->baseline_metrics()}) {
    const auto p99 = std::find_if(metrics->begin(), metrics->end(),
                                  [](const auto& metric) { return metric.name() == "latency_ms_p99"; });
    ASSERT_NE(p99, metrics->end());
    EXPECT_GE(p99->samples(), 40'000U);
  }
  EXPECT_EQ(result->speedup().samples(), 3U);
}

TEST_F(MeasureTest, UnknownSettingIsRejectedByName) {
  proto::MeasureTask task = Task("onnxruntime");
  auto& setting = *task.mutable_candidate()->add_settings();
  setting.set_name("intra_op_thread");
  setting.mutable_value()->set_integer(1);
  const auto result = RunMeasure(task);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_NE(result.error().message.find("intra_op_threads"), std::string::npos) << result.error().message;
}

TEST_F(MeasureTest, DataOfTheWrongShapeIsRejected) {
  proto::MeasureTask task = Task("onnxruntime");
  *task.mutable_evaluation() = DataIn(folder_, "wrong.npz", {{"x", test::NormalArray({20, 63}, 3)}});
  const auto result = RunMeasure(task);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
}

TEST(InstanceTest, DeathOfTheProcessIsAnErrorWithTheSignal) {
  auto instance = Instance::Start("candidate");
  ASSERT_TRUE(instance);
  // Asked to run before anything was loaded, an instance ends itself as a bug would.
  const auto outputs = instance->Infer({});
  ASSERT_FALSE(outputs);
  EXPECT_EQ(outputs.error().code, ErrorCode::kFailed);
  EXPECT_NE(outputs.error().message.find("signal 6"), std::string::npos) << outputs.error().message;
  EXPECT_FALSE(instance->PeakMemory());
}

}  // namespace
}  // namespace hone
