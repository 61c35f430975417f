// The rules of scales and zero points, case by case. parity_tests.cc holds whole models to the peers' bits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "worker/passes/quantization_math.h"

namespace hone {
namespace {

TEST(ComputeScaleTest, AsymmetricRangeUsesAllCodes) {
  const ScaleZero got = ComputeScale(-1.0f, 3.0f, ScaleCodes(CodeType::u8, false, false), false);
  EXPECT_EQ(got.scale, static_cast<float>(4.0 / 255));
  EXPECT_EQ(got.zero_point, 64);  // 63.75.
}

TEST(ComputeScaleTest, ZeroPointUsesTheScaleBeforeItIsRounded) {
  // low = -0.1f: 0.5 codes from a tie in float32 alone.
  const float low = -0.1f;
  const float high = 0.9f;
  const double scale = (static_cast<double>(high) - static_cast<double>(low)) / 255;
  const ScaleZero got = ComputeScale(low, high, ScaleCodes(CodeType::u8, false, false), false);
  EXPECT_EQ(got.zero_point, static_cast<int32_t>(std::nearbyint(0 - static_cast<double>(low) / scale)));
}

TEST(ComputeScaleTest, RangeIsWidenedToHoldZero) {
  EXPECT_EQ(ComputeScale(10, 11, ScaleCodes(CodeType::u8, false, false), false), (ScaleZero{11.0f / 255, 0}));
  EXPECT_EQ(ComputeScale(-11, -10, ScaleCodes(CodeType::u8, false, false), false), (ScaleZero{11.0f / 255, 255}));
  EXPECT_EQ(ComputeScale(0, 5.1f, ScaleCodes(CodeType::s8, false, false), false).zero_point, -128);
}

TEST(ComputeScaleTest, SymmetricZeroPointsAreTheMiddle) {
  EXPECT_EQ(ComputeScale(-1, 2, ScaleCodes(CodeType::s8, false, true), true),
            (ScaleZero{static_cast<float>(4.0 / 254), 0}));
  EXPECT_EQ(ComputeScale(-1, 2, ScaleCodes(CodeType::u8, false, true), true),
            (ScaleZero{static_cast<float>(4.0 / 255), 128}));
  EXPECT_EQ(ComputeScale(-1, 2, ScaleCodes(CodeType::s16, false, true), true).zero_point, 0);
  EXPECT_EQ(ComputeScale(-1, 2, ScaleCodes(CodeType::u16, false, true), true).zero_point, 32768);
}

TEST(ComputeScaleTest, ReducedRangeKeepsABitFree) {
  EXPECT_EQ(ComputeScale(-1, 1, ScaleCodes(CodeType::s8, true, true), true), (ScaleZero{2.0f / 128, 0}));
  EXPECT_EQ(ComputeScale(0, 1, ScaleCodes(CodeType::u8, true, false), false),
            (ScaleZero{static_cast<float>(1.0 / 127), 0}));
  EXPECT_EQ(ScaleCodes(CodeType::u16, true, false).top, 32767);
  EXPECT_EQ(ScaleCodes(CodeType::s16, true, true).bottom, -16384);
}

TEST(ComputeScaleTest, VanishingRangeGivesScaleOne) {
  EXPECT_EQ(ComputeScale(0, 0, FullCodes(CodeType::s8), false), (ScaleZero{1, 0}));
  EXPECT_EQ(ComputeScale(0, 1e-37f, FullCodes(CodeType::u8), false), (ScaleZero{1, 0}));
}

TEST(ComputeScaleTest, RangeWiderThanFloatDoesNotOverflow) {
  const float largest = std::numeric_limits<float>::max();
  EXPECT_TRUE(std::isfinite(ComputeScale(-largest, largest, FullCodes(CodeType::u8), false).scale));
}

TEST(WeightScalesTest, ChannelsAreTakenAlongAnyDimension) {
  const std::vector<float> values = {1, -2, 3, -40, 50, -60};  // [2, 3]
  const auto rows = WeightScales(values.data(), {2, 3}, {CodeType::s8, true, false, 0});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].scale, static_cast<float>(6.0 / 254));
  EXPECT_EQ(rows[1].scale, static_cast<float>(120.0 / 254));
  const auto columns = WeightScales(values.data(), {2, 3}, {CodeType::s8, true, false, 1});
  ASSERT_EQ(columns.size(), 3u);
  EXPECT_EQ(columns[0].scale, static_cast<float>(80.0 / 254));
  const auto codes = WeightCodes(values.data(), {2, 3}, {CodeType::s8, true, false, 1}, columns);
  EXPECT_EQ(static_cast<int8_t>(codes[3]), -127);
  EXPECT_EQ(static_cast<int8_t>(codes[0]), 3);  // 1 / (80/254) = 3.175.
}

TEST(WeightScalesTest, NonFiniteWeightHasNoScales) {
  const std::vector<float> values = {1, std::numeric_limits<float>::quiet_NaN(), 3};
  EXPECT_TRUE(WeightScales(values.data(), {3}, {}).empty());
}

TEST(WeightScalesTest, EmptyWeightGetsScaleOne) {
  const auto scales = WeightScales(nullptr, {0, 4}, {});
  ASSERT_EQ(scales.size(), 1u);
  EXPECT_EQ(scales[0], ScaleZero());
}

TEST(QuantizeBiasTest, RoundsHalfToEvenAndSaturates) {
  const BiasCodes got = QuantizeBias({0.5f, 1.5f, -2.5f, 1e30f, -1e30f}, 1.0f, {1.0f});
  EXPECT_EQ(got.codes, (std::vector<int32_t>{0, 2, -2, 2147483647, -2147483647 - 1}));
}

TEST(RaiseScalesForBiasTest, RaisesOnlyWhatWouldOverflow) {
  std::vector<ScaleZero> scales = {{1e-6f, 0}, {1e-6f, 0}};
  EXPECT_TRUE(RaiseScalesForBias({1e6f, 1e-3f}, 1e-6f, scales));
  EXPECT_EQ(scales[1].scale, 1e-6f);
  // The bias fits now, with the margin.
  EXPECT_LT(1e6 / (1e-6 * static_cast<double>(scales[0].scale)), 2147483647.0);
  EXPECT_GT(1e6 / (1e-6 * static_cast<double>(scales[0].scale)), 2147483647.0 * 0.999);
}

}  // namespace
}  // namespace hone
