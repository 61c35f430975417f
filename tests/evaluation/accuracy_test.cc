#include "worker/evaluation/accuracy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace hone {
namespace {

Tensor Floats(const std::string& name, std::vector<int64_t> dims, const std::vector<float>& values) {
  Tensor tensor;
  tensor.name = name;
  tensor.type = 1;
  tensor.dims = std::move(dims);
  tensor.bytes.resize(values.size() * sizeof(float));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(AccuracyTest, EqualOutputsHaveCosineOneAndNoNoiseRatio) {
  AccuracyAccumulator accumulator("");
  ASSERT_TRUE(accumulator.Add({Floats("y", {1, 3}, {1, 2, 3})}, {Floats("y", {1, 3}, {1, 2, 3})}, {}));
  const auto values = accumulator.Values();
  EXPECT_DOUBLE_EQ(values.at("cosine"), 1);
  EXPECT_DOUBLE_EQ(values.at("max_error"), 0);
  EXPECT_DOUBLE_EQ(values.at("mse"), 0);
  EXPECT_DOUBLE_EQ(values.at("top1_agreement"), 1);
  EXPECT_EQ(values.count("sqnr_db"), 0U);
}

TEST(AccuracyTest, KnownErrorGivesKnownFigures) {
  AccuracyAccumulator accumulator("");
  ASSERT_TRUE(accumulator.Add({Floats("y", {1, 2}, {3, 4})}, {Floats("y", {1, 2}, {4, 3})}, {}));
  const auto values = accumulator.Values();
  EXPECT_NEAR(values.at("cosine"), 24.0 / 25.0, 1e-12);
  EXPECT_NEAR(values.at("sqnr_db"), 10 * std::log10(25.0 / 2.0), 1e-9);
  EXPECT_DOUBLE_EQ(values.at("mse"), 1);
  EXPECT_DOUBLE_EQ(values.at("max_error"), 1);
  EXPECT_DOUBLE_EQ(values.at("top1_agreement"), 0);
}

TEST(AccuracyTest, NanOnOneSideAloneIsNoAgreementAndNoFigure) {
  AccuracyAccumulator accumulator("");
  ASSERT_TRUE(accumulator.Add({Floats("y", {1, 2}, {1, 2})}, {Floats("y", {1, 2}, {1, kNan})}, {}));
  const auto values = accumulator.Values();
  EXPECT_DOUBLE_EQ(values.at("cosine"), 0);
  EXPECT_DOUBLE_EQ(values.at("top1_agreement"), 0);
  EXPECT_EQ(values.count("mse"), 0U);
  EXPECT_EQ(accumulator.broken_samples(), 1U);
}

TEST(AccuracyTest, SameInfinityOnBothSidesIsLeftOut) {
  AccuracyAccumulator accumulator("");
  ASSERT_TRUE(accumulator.Add({Floats("y", {1, 3}, {-kInf, 2, 1})}, {Floats("y", {1, 3}, {-kInf, 2, 1})}, {}));
  EXPECT_DOUBLE_EQ(accumulator.Values().at("cosine"), 1);
  EXPECT_EQ(accumulator.broken_samples(), 0U);
}

TEST(AccuracyTest, LabelsGiveTop1Top5AndMacroF1) {
  AccuracyAccumulator accumulator("");
  const auto scores = [](int best, int width) {
    std::vector<float> values(static_cast<size_t>(width), 0.0F);
    values[static_cast<size_t>(best)] = 1;
    return values;
  };
  ASSERT_TRUE(accumulator.Add({}, {Floats("y", {1, 7}, scores(0, 7))}, 0));
  ASSERT_TRUE(accumulator.Add({}, {Floats("y", {1, 7}, scores(0, 7))}, 0));
  ASSERT_TRUE(accumulator.Add({}, {Floats("y", {1, 7}, scores(0, 7))}, 1));   // Second place by index among the ties.
  ASSERT_TRUE(accumulator.Add({}, {Floats("y", {1, 7}, scores(1, 7))}, 6));   // Last of all.
  const auto values = accumulator.Values();
  EXPECT_DOUBLE_EQ(values.at("top1"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("top5"), 0.75);
  // Class 0: hits 2, answers 3, labels 2; class 1: 0, 1, 1; class 6: 0, 0, 1.
  EXPECT_NEAR(values.at("f1"), (4.0 / 5.0 + 0 + 0) / 3, 1e-12);
}

TEST(AccuracyTest, LabelOutsideTheClassesIsRejected) {
  AccuracyAccumulator accumulator("");
  const auto added = accumulator.Add({}, {Floats("y", {1, 2}, {0, 1})}, 2);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::kRejected);
  EXPECT_NE(added.error().message.find("label 2"), std::string::npos);
}

TEST(AccuracyTest, UnknownOutputIsNamedWithTheNearest) {
  AccuracyAccumulator accumulator("logit");
  const auto added = accumulator.Add({}, {Floats("logits", {1, 2}, {0, 1})}, {});
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("'logits'"), std::string::npos);
}

TEST(AccuracyTest, DifferentShapesAreRejected) {
  AccuracyAccumulator accumulator("");
  const auto added = accumulator.Add({Floats("y", {1, 2}, {0, 1})}, {Floats("y", {2, 1}, {0, 1})}, {});
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("[2,1]"), std::string::npos);
}

TEST(AccuracyTest, MetricsThatNeedLabelsAreRefusedWithoutThem) {
  proto::Accuracy accuracy;
  accuracy.set_metric("top1");
  EXPECT_FALSE(ChooseAccuracy(accuracy, false));
  EXPECT_TRUE(ChooseAccuracy(accuracy, true));
  accuracy.set_metric("cosin");
  const auto chosen = ChooseAccuracy(accuracy, true);
  ASSERT_FALSE(chosen);
  EXPECT_NE(chosen.error().message.find("cosine"), std::string::npos);
  accuracy.set_metric("");
  EXPECT_STREQ((*ChooseAccuracy(accuracy, true))->name, "top1");
  EXPECT_STREQ((*ChooseAccuracy(accuracy, false))->name, "cosine");
}

TEST(AccuracyTest, DropIsPositiveWhereTheCandidateIsWorse) {
  const auto drop = [](const char* name, double baseline, double candidate) {
    proto::Accuracy accuracy;
    accuracy.set_metric(name);
    return AccuracyDrop(**ChooseAccuracy(accuracy, true), baseline, candidate);
  };
  EXPECT_GT(drop("top1", 0.9, 0.8), 0);
  EXPECT_GT(drop("mse", 0.1, 0.2), 0);
}

}  // namespace
}  // namespace hone
