// Every instruction set that this processor runs gives the bits of the plain loops, over odd sizes and misaligned
// arrays.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/block_fit.h"
#include "kernels/block_quantize.h"
#include "kernels/divergence.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "kernels/histogram.h"
#include "kernels/moments.h"
#include "kernels/nf4.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "kernels/range.h"
#include "kernels/reference.h"
#include "kernels/targets.h"

namespace hone::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomFloats(size_t count, uint32_t seed, float spread = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.1f * spread, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  if (!values.empty()) std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

// Sizes around vector widths and blocks, each at a misaligned start.
const std::vector<size_t> kSizes = {0,  1,  2,  3,   7,    8,    15,   16,   17,   31,
                                    33, 63, 65, 127, 1000, 1023, 1024, 1025, 2049, 5000};

class KernelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(UseTarget(GetParam())); }
  void TearDown() override { UseTarget(""); }
};

INSTANTIATE_TEST_SUITE_P(EachTarget, KernelTest, testing::ValuesIn(TargetNames()),
                         [](const auto& test) { return test.param; });

void ExpectSameRange(const FloatRange& got, const FloatRange& wanted) {
  EXPECT_EQ(reference::Bits(got.low), reference::Bits(wanted.low));
  EXPECT_EQ(reference::Bits(got.high), reference::Bits(wanted.high));
  EXPECT_EQ(got.finite, wanted.finite);
  EXPECT_EQ(got.non_finite, wanted.non_finite);
}

TEST_P(KernelTest, RangeEqualsPlainLoop) {
  for (const size_t size : kSizes) {
    const auto values = RandomFloats(size + 1, static_cast<uint32_t>(size));
    ExpectSameRange(Range(values.data() + 1, size), reference::Range(values.data() + 1, size));
  }
}

TEST_P(KernelTest, RangeLeavesNonFiniteValuesOutAndCountsThem) {
  for (const size_t size : kSizes) {
    auto values = RandomFloats(size + 1, static_cast<uint32_t>(size));
    for (size_t i = 3; i < values.size(); i += 311) values[i] = i % 2 == 0 ? kNan : (i % 3 == 0 ? kInf : -kInf);
    ExpectSameRange(Range(values.data() + 1, size), reference::Range(values.data() + 1, size));
  }
  const std::vector<float> nothing(100, kNan);
  const FloatRange range = Range(nothing.data(), nothing.size());
  EXPECT_EQ(range.finite, 0u);
  EXPECT_EQ(range.non_finite, 100u);
  EXPECT_EQ(range.AbsMax(), 0);
}

TEST_P(KernelTest, RangeOfNegativeZerosIsPositiveZero) {
  const std::vector<float> zeros(37, -0.0f);
  const FloatRange range = Range(zeros.data(), zeros.size());
  EXPECT_FALSE(std::signbit(range.low));
  EXPECT_FALSE(std::signbit(range.high));
}

TEST_P(KernelTest, RangeDoesNotDependOnHowDataIsCut) {
  auto values = RandomFloats(5000, 5);
  values[4321] = kNan;
  const FloatRange whole = Range(values.data(), values.size());
  for (const size_t cut : {size_t{1}, size_t{13}, size_t{1024}, size_t{4999}}) {
    FloatRange merged = Range(values.data() + cut, values.size() - cut);
    merged.Merge(Range(values.data(), cut));
    ExpectSameRange(merged, whole);
  }
}

TEST_P(KernelTest, ChannelRangesEqualRangeOfEachChannel) {
  const std::vector<std::vector<size_t>> shapes = {{1, 5, 9},  {3, 17, 1}, {4, 33, 1},
                                                   {2, 3, 50}, {1, 70, 1}, {6, 1, 1}};
  for (const auto& shape : shapes) {
    auto values = RandomFloats(shape[0] * shape[1] * shape[2], 11);
    values[values.size() / 2] = kInf;
    std::vector<FloatRange> got(shape[1]);
    ChannelRanges(values.data(), shape[0], shape[1], shape[2], got.data());
    for (size_t c = 0; c < shape[1]; ++c) {
      std::vector<float> channel;
      for (size_t o = 0; o < shape[0]; ++o) {
        for (size_t i = 0; i < shape[2]; ++i) channel.push_back(values[(o * shape[1] + c) * shape[2] + i]);
      }
      ExpectSameRange(got[c], reference::Range(channel.data(), channel.size()));
    }
  }
}

TEST_P(KernelTest, AbsMaxEqualsPlainLoopAndLeavesNonFiniteValuesOut) {
  for (const size_t size : kSizes) {
    auto values = RandomFloats(size + 1, static_cast<uint32_t>(size));
    EXPECT_EQ(AbsMax(values.data() + 1, size), reference::AbsMax(values.data() + 1, size));
    for (size_t i = 2; i < values.size(); i += 5) values[i] = i % 2 == 0 ? kNan : -kInf;
    EXPECT_EQ(AbsMax(values.data() + 1, size), reference::AbsMax(values.data() + 1, size));
  }
}

TEST_P(KernelTest, ChannelAbsMaxEqualsAbsMaxOfEachChannel) {
  const std::vector<std::vector<size_t>> shapes = {{1, 5, 9},  {3, 17, 1}, {4, 33, 1},
                                                   {2, 3, 50}, {1, 70, 1}, {6, 1, 1}};
  for (const auto& shape : shapes) {
    auto values = RandomFloats(shape[0] * shape[1] * shape[2], 12);
    values[values.size() / 2] = -kInf;
    std::vector<float> got(shape[1], -1);
    ChannelAbsMax(values.data(), shape[0], shape[1], shape[2], got.data());
    std::vector<FloatRange> ranges(shape[1]);
    ChannelRanges(values.data(), shape[0], shape[1], shape[2], ranges.data());
    for (size_t c = 0; c < shape[1]; ++c) EXPECT_EQ(got[c], ranges[c].AbsMax());
  }
}

TEST_P(KernelTest, BinCountsEqualPlainLoop) {
  for (const size_t size : kSizes) {
    auto values = RandomFloats(size + 1, static_cast<uint32_t>(size), 2);
    const std::vector<float> special = {0.0f, -0.0f, kNan, kInf, -kInf, 1e-45f, -1e-45f, 1.0f, -1.0f, 3e38f, -3e38f};
    for (size_t i = 0; i < special.size() && 5 * i + 1 < values.size(); ++i) values[5 * i + 1] = special[i];
    for (const BinSpan span : {BinSpan{64, -300, 600}, BinSpan{1, -8, 16}, BinSpan{1, 0, 4}, BinSpan{0x1p-100f, -1, 2},
                               BinSpan{0x1p126f, -4, 8}}) {
      std::vector<uint64_t> got(span.count, 3);
      std::vector<uint64_t> wanted(span.count, 3);
      CountBins(values.data() + 1, size, span, got.data());
      reference::CountBins(values.data() + 1, size, span, wanted.data());
      ASSERT_EQ(got, wanted) << size << " " << span.inverse_width;
    }
  }
}

TEST_P(KernelTest, ChannelMomentsEqualPlainLoop) {
  const std::vector<std::vector<size_t>> shapes = {{1, 5, 9},  {3, 17, 1},   {4, 33, 1},   {2, 3, 50},
                                                   {1, 70, 1}, {7, 1100, 1}, {1, 2, 1000}, {2, 3, 7}};
  for (const bool broken : {false, true}) {
    for (const auto& shape : shapes) {
      auto values = RandomFloats(shape[0] * shape[1] * shape[2], 13);
      for (size_t i = 3; broken && i < values.size(); i += 29) values[i] = i % 2 == 0 ? kNan : kInf;
      struct Sums {
        explicit Sums(size_t n) : low(n, kInf), high(n, -kInf), sum(n), magnitude(n), finite(n) {}
        ChannelMoments View() { return {low.data(), high.data(), sum.data(), magnitude.data(), finite.data()}; }
        bool operator==(const Sums&) const = default;
        std::vector<float> low, high;
        std::vector<double> sum, magnitude;
        std::vector<uint64_t> finite;
      };
      Sums got(shape[1]);
      Sums wanted(shape[1]);
      for (int call = 0; call < 2; ++call) {
        AddChannelMoments(values.data(), shape[0], shape[1], shape[2], got.View());
        reference::AddChannelMoments(values.data(), shape[0], shape[1], shape[2], wanted.View());
      }
      EXPECT_TRUE(got == wanted) << shape[0] << " " << shape[1] << " " << shape[2];
    }
  }
}

template <class T>
void ExpectQuantizeEqualsPlainLoop() {
  for (const size_t size : kSizes) {
    auto values = RandomFloats(size + 1, static_cast<uint32_t>(size), 3.0f);
    // Ties, saturation, specials.
    const std::vector<float> special = {0.05f, 0.15f, 0.25f, -0.25f, 1e30f, -1e30f, kInf, -kInf, kNan, -0.0f, 3e9f};
    for (size_t i = 0; i < special.size() && 7 * i + 1 < values.size(); ++i) values[7 * i + 1] = special[i];
    for (const float scale : {0.1f, 0.5f, 1e-20f, 3.4e33f}) {
      for (const int32_t zero_point : {0, 1, 100}) {
        std::vector<T> got(size + 1);
        std::vector<T> wanted(size + 1);
        Quantize(values.data() + 1, size, scale, zero_point, got.data() + 1);
        reference::Quantize(values.data() + 1, size, scale, zero_point, wanted.data() + 1);
        ASSERT_EQ(got, wanted) << size << " " << scale << " " << zero_point;
        std::vector<T> away(size + 1);
        std::vector<T> wanted_away(size + 1);
        Quantize(values.data() + 1, size, scale, zero_point, away.data() + 1, Rounding::half_away);
        reference::Quantize(values.data() + 1, size, scale, zero_point, wanted_away.data() + 1, Rounding::half_away);
        ASSERT_EQ(away, wanted_away) << size << " " << scale << " " << zero_point;
        std::vector<float> back(size + 1);
        std::vector<float> wanted_back(size + 1);
        Dequantize(got.data() + 1, size, scale, zero_point, back.data() + 1);
        reference::Dequantize(got.data() + 1, size, scale, zero_point, wanted_back.data() + 1);
        ASSERT_EQ(BitsOf(back), BitsOf(wanted_back));
      }
    }
  }
}

TEST_P(KernelTest, QuantizeToUint8EqualsPlainLoop) { ExpectQuantizeEqualsPlainLoop<uint8_t>(); }
TEST_P(KernelTest, QuantizeToInt8EqualsPlainLoop) { ExpectQuantizeEqualsPlainLoop<int8_t>(); }
TEST_P(KernelTest, QuantizeToUint16EqualsPlainLoop) { ExpectQuantizeEqualsPlainLoop<uint16_t>(); }
TEST_P(KernelTest, QuantizeToInt16EqualsPlainLoop) { ExpectQuantizeEqualsPlainLoop<int16_t>(); }

TEST_P(KernelTest, QuantizeRoundsTiesToEvenAndSaturatesAndTurnsNanIntoTheZeroPoint) {
  std::vector<float> values = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 1000.0f, -1000.0f, kNan, kInf, -kInf};
  values.resize(40, 0.0f);
  std::vector<int8_t> codes(values.size());
  Quantize(values.data(), values.size(), 1.0f, 3, codes.data());
  const std::vector<int8_t> wanted = {3, 5, 5, 3, 1, 127, -128, 3, 127, -128};
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), codes.begin()));
}

TEST_P(KernelTest, RoundingRulesDifferAtTiesAlone) {
  std::vector<float> values = {0.5f, 1.5f, -0.5f, -2.5f, 0.49999997f, 8388609.0f, 1.25f};
  values.resize(40, 0.0f);
  std::vector<int16_t> even(values.size());
  std::vector<int16_t> away(values.size());
  Quantize(values.data(), values.size(), 1.0f, 0, even.data(), Rounding::half_to_even);
  Quantize(values.data(), values.size(), 1.0f, 0, away.data(), Rounding::half_away);
  EXPECT_EQ(std::vector<int16_t>(even.begin(), even.begin() + 7), (std::vector<int16_t>{0, 2, 0, -2, 0, 32767, 1}));
  EXPECT_EQ(std::vector<int16_t>(away.begin(), away.begin() + 7), (std::vector<int16_t>{1, 2, -1, -3, 0, 32767, 1}));
}

TEST_P(KernelTest, QuantizeWithinStaysInItsLimits) {
  const auto values = RandomFloats(333, 9, 5);
  for (const CodeLimits limits : {CodeLimits{0, 15}, CodeLimits{-8, 7}, CodeLimits{-2, 1}, CodeLimits{-64, 64}}) {
    std::vector<int8_t> got(values.size());
    std::vector<int8_t> wanted(values.size());
    for (const Rounding rounding : {Rounding::half_to_even, Rounding::half_away}) {
      QuantizeWithin(values.data() + 1, values.size() - 1, 0.25f, 1, limits, got.data() + 1, rounding);
      reference::QuantizeWithin(values.data() + 1, values.size() - 1, 0.25f, 1, limits, wanted.data() + 1, rounding);
      EXPECT_EQ(got, wanted);
      EXPECT_GE(*std::min_element(got.begin() + 1, got.end()), limits.low);
      EXPECT_LE(*std::max_element(got.begin() + 1, got.end()), limits.high);
    }
  }
}

template <class T>
void ExpectColumnsEqualChannels() {
  for (const size_t channels : {1u, 3u, 16u, 33u, 100u}) {
    const auto values = RandomFloats(7 * channels, 3);
    std::vector<float> scales = RandomFloats(channels, 4);
    for (float& scale : scales) scale = std::fabs(scale) / 127 + 1e-4f;
    std::vector<int32_t> zero_points(channels);
    for (size_t c = 0; c < channels; ++c) zero_points[c] = static_cast<int32_t>(c % 11);
    for (const Rounding rounding : {Rounding::half_to_even, Rounding::half_away}) {
      std::vector<T> got(values.size());
      std::vector<T> wanted(values.size());
      QuantizeColumns(values.data(), 7, channels, scales.data(), zero_points.data(), got.data(), rounding);
      QuantizeChannels(values.data(), 7, channels, 1, scales.data(), zero_points.data(), wanted.data(), rounding);
      EXPECT_EQ(got, wanted);
    }
  }
}

TEST_P(KernelTest, QuantizeColumnsEqualsQuantizeChannels) {
  ExpectColumnsEqualChannels<uint8_t>();
  ExpectColumnsEqualChannels<int8_t>();
  ExpectColumnsEqualChannels<uint16_t>();
  ExpectColumnsEqualChannels<int16_t>();
}

// Bit patterns of every exponent, with the fractions that decide roundings, subnormals and specials.
std::vector<float> EveryKindOfFloat() {
  std::vector<float> values;
  for (uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (const uint32_t fraction : {0x0u, 0x1u, 0xfffu, 0x1000u, 0x1001u, 0x2fffu, 0x3000u, 0x7fffu, 0x8000u, 0x8001u,
                                    0x18000u, 0x7fe000u, 0x7fefffu, 0x7ff000u, 0x7fffffu, 0x400000u, 0x123456u}) {
      values.push_back(reference::FromBits((exponent << 23) | fraction));
      values.push_back(reference::FromBits(0x80000000u | (exponent << 23) | fraction));
    }
  }
  return values;
}

TEST_P(KernelTest, HalfConversionsEqualPlainLoops) {
  const auto values = EveryKindOfFloat();
  for (const Clamp clamp : {Clamp::no, Clamp::yes}) {
    std::vector<uint16_t> got(values.size());
    std::vector<uint16_t> wanted(values.size());
    FloatToHalf(values.data(), values.size(), clamp, got.data());
    reference::FloatToHalf(values.data(), values.size(), clamp, wanted.data());
    ASSERT_EQ(got, wanted);
    FloatToBfloat(values.data(), values.size(), clamp, got.data());
    reference::FloatToBfloat(values.data(), values.size(), clamp, wanted.data());
    ASSERT_EQ(got, wanted);
  }
}

TEST_P(KernelTest, EveryHalfAndBfloatComesBackFromFloat) {
  std::vector<uint16_t> codes(65536);
  std::iota(codes.begin(), codes.end(), 0);
  std::vector<float> values(codes.size());
  std::vector<float> plain(codes.size());
  std::vector<uint16_t> back(codes.size());
  HalfToFloat(codes.data(), codes.size(), values.data());
  reference::HalfToFloat(codes.data(), codes.size(), plain.data());
  EXPECT_EQ(BitsOf(values), BitsOf(plain));
  FloatToHalf(values.data(), values.size(), Clamp::no, back.data());
  for (size_t i = 0; i < codes.size(); ++i) {
    if (std::isnan(values[i])) {
      ASSERT_GT(back[i] & 0x7fff, 0x7c00);
    } else {
      ASSERT_EQ(back[i], codes[i]);
    }
  }
  BfloatToFloat(codes.data(), codes.size(), values.data());
  FloatToBfloat(values.data(), values.size(), Clamp::no, back.data());
  for (size_t i = 0; i < codes.size(); ++i) {
    if (std::isnan(values[i])) {
      ASSERT_GT(back[i] & 0x7fff, 0x7f80);
    } else {
      ASSERT_EQ(back[i], codes[i]);
    }
  }
}

TEST_P(KernelTest, ClampKeepsFiniteValuesFiniteAndSmallValuesAlive) {
  const std::vector<float> values = {1e6f, -1e6f, 65520.0f, 1e-10f, -1e-10f, 0.0f, kInf, kNan, 1.0f};
  std::vector<uint16_t> codes(values.size());
  FloatToHalf(values.data(), values.size(), Clamp::yes, codes.data());
  EXPECT_EQ(codes[0], 0x7bff);
  EXPECT_EQ(codes[1], 0xfbff);
  EXPECT_EQ(codes[2], 0x7bff);
  EXPECT_EQ(codes[3], 0x0001);
  EXPECT_EQ(codes[4], 0x8001);
  EXPECT_EQ(codes[5], 0x0000);
  EXPECT_EQ(codes[6], 0x7c00);
  EXPECT_EQ(codes[7], 0x7e00);
  EXPECT_EQ(codes[8], 0x3c00);
  FloatToHalf(values.data(), values.size(), Clamp::no, codes.data());
  EXPECT_EQ(codes[2], 0x7c00);
  EXPECT_EQ(codes[3], 0x0000);
}

struct Blocks {
  explicit Blocks(const BlockLayout& layout, uint8_t fill)
      : codes(layout.CodeBytes(), fill),
        scales(layout.ScaleCount()),
        zeros(layout.symmetric ? 0 : layout.columns * layout.ZeroPointBytesPerColumn(), fill) {}
  uint8_t* ZeroPoints() { return zeros.empty() ? nullptr : zeros.data(); }
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
};

TEST_P(KernelTest, BlockQuantizationEqualsPlainLoopFromBothLayouts) {
  struct Case {
    size_t rows, columns, block;
  };
  for (const Case& shape :
       {Case{64, 8, 32}, Case{70, 5, 32}, Case{96, 37, 16}, Case{40, 19, 128}, Case{1, 1, 16}, Case{513, 49, 256}}) {
    auto weights = RandomFloats(shape.rows * shape.columns, 17, 0.1f);
    for (size_t row = 0; row < std::min<size_t>(shape.block, shape.rows); ++row) weights[row * shape.columns] = 0;
    std::vector<float> turned(weights.size() + 1);
    for (size_t row = 0; row < shape.rows; ++row) {
      for (size_t column = 0; column < shape.columns; ++column)
        turned[1 + column * shape.rows + row] = weights[row * shape.columns + column];
    }
    for (const int bits : {2, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        for (const ScaleFormat format : {ScaleFormat::f32, ScaleFormat::f16, ScaleFormat::bf16}) {
          const BlockLayout layout{shape.rows, shape.columns, shape.block, bits, symmetric, format};
          Blocks wanted(layout, 0x55);
          Blocks got(layout, 0xaa);
          Blocks from_rows(layout, 0xaa);
          reference::QuantizeBlocks(weights.data(), layout, 0, shape.columns, wanted.codes.data(), wanted.scales.data(),
                                    wanted.ZeroPoints());
          // In two parts, as two threads would.
          const size_t middle = shape.columns / 3;
          QuantizeBlocks(weights.data(), layout, middle, shape.columns, got.codes.data(), got.scales.data(),
                         got.ZeroPoints());
          QuantizeBlocks(weights.data(), layout, 0, middle, got.codes.data(), got.scales.data(), got.ZeroPoints());
          QuantizeRowBlocks(turned.data() + 1, layout, middle, shape.columns, from_rows.codes.data(),
                            from_rows.scales.data(), from_rows.ZeroPoints());
          QuantizeRowBlocks(turned.data() + 1, layout, 0, middle, from_rows.codes.data(), from_rows.scales.data(),
                            from_rows.ZeroPoints());
          for (const Blocks* blocks : {&got, &from_rows}) {
            ASSERT_EQ(blocks->codes, wanted.codes) << bits << " " << shape.rows << " " << shape.columns;
            ASSERT_EQ(BitsOf(blocks->scales), BitsOf(wanted.scales));
            ASSERT_EQ(blocks->zeros, wanted.zeros);
          }
        }
      }
    }
  }
}

TEST_P(KernelTest, PackedCodesEqualPlainLoopAndComeBack) {
  std::mt19937 generator(5);
  for (const size_t size : kSizes) {
    std::vector<uint8_t> codes(size + 1);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(generator());
    for (const int bits : {2, 4, 8}) {
      std::vector<uint8_t> got(PackedBytes(size, bits) + 1, 0xee);
      std::vector<uint8_t> wanted(got.size(), 0xee);
      PackCodes(codes.data() + 1, size, bits, got.data() + 1);
      reference::PackCodes(codes.data() + 1, size, bits, wanted.data() + 1);
      ASSERT_EQ(got, wanted);
      std::vector<uint8_t> back(size + 2, 0xee);
      UnpackCodes(got.data() + 1, size, bits, back.data() + 1);
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(back[1 + i], codes[1 + i] & ((1 << bits) - 1));
      EXPECT_EQ(back.back(), 0xee);
    }
  }
}

TEST_P(KernelTest, SignedNibblesArePackedAsTwosComplementLowFirst) {
  const std::vector<int8_t> codes = {-8, 7, -1, 0, 3};
  std::vector<uint8_t> packed(3);
  PackCodes(reinterpret_cast<const uint8_t*>(codes.data()), codes.size(), 4, packed.data());
  EXPECT_EQ(packed, (std::vector<uint8_t>{0x78, 0x0f, 0x03}));
}

TEST_P(KernelTest, Nf4EqualsPlainLoopAndGivesTheNearestLevel) {
  for (const size_t size : kSizes) {
    auto values = RandomFloats(size + 1, static_cast<uint32_t>(size), 0.5f);
    for (size_t i = 0; i + 1 < 16 && i + 1 < values.size(); ++i) values[i + 1] = reference::Nf4Threshold(i);
    std::vector<uint8_t> got(size + 1);
    std::vector<uint8_t> wanted(size + 1);
    for (const float scale : {1.0f, 0.37f, 0.0f}) {
      QuantizeNf4(values.data() + 1, size, scale, got.data() + 1);
      reference::QuantizeNf4(values.data() + 1, size, scale, wanted.data() + 1);
      ASSERT_EQ(got, wanted);
      std::vector<float> back(size + 1);
      std::vector<float> wanted_back(size + 1);
      DequantizeNf4(got.data() + 1, size, scale, back.data() + 1);
      reference::DequantizeNf4(got.data() + 1, size, scale, wanted_back.data() + 1);
      ASSERT_EQ(BitsOf(back), BitsOf(wanted_back));
    }
  }
  std::vector<uint8_t> codes(16);
  QuantizeNf4(kNf4Levels, 16, 1, codes.data());
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(codes[i], i);
}

TEST_P(KernelTest, Nf4BlocksScaleByTheLargestMagnitude) {
  auto values = RandomFloats(100, 3);
  std::fill(values.begin() + 32, values.begin() + 64, 0.0f);
  std::vector<float> scales(4);
  std::vector<uint8_t> codes(100);
  QuantizeNf4Blocks(values.data(), values.size(), 32, ScaleFormat::f16, scales.data(), codes.data());
  EXPECT_EQ(scales[0], reference::RoundScale(reference::AbsMax(values.data(), 32), ScaleFormat::f16));
  EXPECT_EQ(scales[1], 0);
  EXPECT_EQ(codes[40], 7);
  EXPECT_EQ(scales[3], reference::RoundScale(reference::AbsMax(values.data() + 96, 4), ScaleFormat::f16));
}

double BlockError(const std::vector<float>& values, size_t block, const std::vector<float>& scales,
                  const std::vector<uint8_t>& zeros, const std::vector<uint8_t>& codes) {
  double error = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double back = (static_cast<double>(codes[i]) - static_cast<double>(zeros[i / block])) *
                        static_cast<double>(scales[i / block]);
    error += (back - double{values[i]}) * (back - double{values[i]});
  }
  return error;
}

TEST_P(KernelTest, FittedBlocksEqualPlainLoopAndAreNeverWorseThanMinMax) {
  for (const size_t block : {16u, 32u, 128u, 24u}) {
    auto values = RandomFloats(block * 5 + 7, static_cast<uint32_t>(block), 0.05f);
    for (size_t i = 0; i < block; ++i) values[block + i] = 0.08f + std::fabs(values[i]);  // Of one sign.
    std::fill(values.begin() + static_cast<std::ptrdiff_t>(2 * block),
              values.begin() + static_cast<std::ptrdiff_t>(3 * block), 0.0f);
    auto importance = RandomFloats(values.size(), 2);
    for (float& weight : importance) weight = weight * weight;
    const size_t blocks = (values.size() + block - 1) / block;
    for (const int bits : {2, 4, 8}) {
      for (const bool symmetric : {false, true}) {
        double least = 0;
        for (const FitRule rule : {FitRule::min_max, FitRule::least_squares, FitRule::k_quant}) {
          for (const float* weights : std::vector<const float*>{nullptr, importance.data()}) {
            const FitOptions options{bits, symmetric, ScaleFormat::f16, rule};
            std::vector<float> scales(blocks), wanted_scales(blocks);
            std::vector<uint8_t> zeros(blocks), wanted_zeros(blocks), codes(values.size()), wanted(values.size());
            FitBlocks(values.data(), weights, values.size(), block, options, scales.data(), zeros.data(), codes.data());
            reference::FitBlocks(values.data(), weights, values.size(), block, options, wanted_scales.data(),
                                 wanted_zeros.data(), wanted.data());
            ASSERT_EQ(BitsOf(scales), BitsOf(wanted_scales));
            ASSERT_EQ(zeros, wanted_zeros);
            ASSERT_EQ(codes, wanted);
            if (weights != nullptr) continue;
            const double error = BlockError(values, block, scales, zeros, codes);
            if (rule == FitRule::min_max) {
              least = error;
            } else {
              EXPECT_LE(error, least * (1 + 1e-5));
              const bool gains = bits < 8 && rule == FitRule::k_quant;
              EXPECT_LT(error, least * (gains ? 0.98 : 1.01)) << bits << symmetric << static_cast<int>(rule);
            }
          }
        }
      }
    }
  }
}

TEST_P(KernelTest, MinMaxFitGivesTheCodesOfBlockQuantization) {
  const BlockLayout layout{256, 1, 32, 4, false, ScaleFormat::f32};
  const auto values = RandomFloats(256, 6);
  Blocks blocks(layout, 0);
  QuantizeRowBlocks(values.data(), layout, 0, 1, blocks.codes.data(), blocks.scales.data(), blocks.ZeroPoints());
  std::vector<float> scales(8);
  std::vector<uint8_t> zeros(8), codes(256), packed(128), packed_zeros(4);
  FitBlocks(values.data(), nullptr, 256, 32, {4, false, ScaleFormat::f32, FitRule::min_max}, scales.data(),
            zeros.data(), codes.data());
  PackCodes(codes.data(), codes.size(), 4, packed.data());
  PackCodes(zeros.data(), zeros.size(), 4, packed_zeros.data());
  EXPECT_EQ(packed, blocks.codes);
  EXPECT_EQ(packed_zeros, blocks.zeros);
  EXPECT_EQ(scales, blocks.scales);
}

TEST_P(KernelTest, DivergenceEqualsPlainSums) {
  for (const size_t columns : {1u, 2u, 7u, 16u, 33u, 1000u}) {
    const auto a = RandomFloats(3 * columns, 1, 3);
    auto b = RandomFloats(3 * columns, 2, 0.3f);
    for (size_t i = 0; i < b.size(); ++i) b[i] += a[i];
    DivergenceStats stats;
    AddDivergence(a.data(), b.data(), 3, columns, stats);
    double wanted = 0;
    for (size_t row = 0; row < 3; ++row) {
      double za = 0, zb = 0;
      for (size_t i = row * columns; i < (row + 1) * columns; ++i) {
        za += std::exp(double{a[i]});
        zb += std::exp(double{b[i]});
      }
      for (size_t i = row * columns; i < (row + 1) * columns; ++i)
        wanted += std::exp(double{a[i]}) / za * (double{a[i]} - double{b[i]} + std::log(zb) - std::log(za));
    }
    EXPECT_EQ(stats.rows, 3u);
    EXPECT_NEAR(stats.sum, wanted, 1e-6 + 1e-5 * wanted);
    EXPECT_GE(stats.max, stats.Mean());
  }
}

TEST_P(KernelTest, DivergenceOfEqualRowsIsNothingAndBrokenRowsAreCounted) {
  const std::vector<float> a = {1, 2, 3, 1, kNan, 3, 500, -500, 0};
  DivergenceStats stats;
  AddDivergence(a.data(), a.data(), 3, 3, stats);
  EXPECT_EQ(stats.rows, 2u);
  EXPECT_EQ(stats.non_finite, 1u);
  EXPECT_NEAR(stats.sum, 0, 1e-12);
  DivergenceStats twice = stats;
  twice.Merge(stats);
  EXPECT_EQ(twice.rows, 4u);
  EXPECT_EQ(DivergenceStats().Mean(), 0);
}

TEST_P(KernelTest, BlocksOfOneSignKeepTheirPrecision) {
  // Ranges that leave zero out lose these blocks almost wholly.
  std::vector<float> weights(32);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 10 + static_cast<float>(i) / 31;
  const BlockLayout layout{32, 1, 32, 4, false, ScaleFormat::f32};
  std::vector<uint8_t> codes(layout.CodeBytes());
  std::vector<float> scales(1);
  std::vector<uint8_t> zeros(1);
  QuantizeBlocks(weights.data(), layout, 0, 1, codes.data(), scales.data(), zeros.data());
  for (size_t i = 0; i < weights.size(); ++i) {
    const int code = i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
    EXPECT_NEAR(static_cast<float>(code - (zeros[0] & 15)) * scales[0], weights[i], 0.51f * scales[0]);
  }
}

TEST_P(KernelTest, ErrorSumsEqualPlainLoop) {
  for (const size_t size : kSizes) {
    const auto a = RandomFloats(size + 1, 21);
    auto b = RandomFloats(size + 1, 22, 0.01f);
    for (size_t i = 0; i < b.size(); ++i) b[i] += a[i];
    if (size > 1500) b[1500] = kNan;
    ErrorStats got;
    AddErrors(a.data() + 1, b.data() + 1, size, got);
    reference::ErrorParts parts;
    reference::AddErrorParts(a.data() + 1, b.data() + 1, size, parts);
    const ErrorStats wanted = reference::Sum(parts);
    EXPECT_EQ(got.count, wanted.count);
    EXPECT_EQ(got.non_finite, wanted.non_finite);
    EXPECT_EQ(got.squared_error, wanted.squared_error);
    EXPECT_EQ(got.squared_reference, wanted.squared_reference);
    EXPECT_EQ(got.squared_value, wanted.squared_value);
    EXPECT_EQ(got.dot, wanted.dot);
    EXPECT_EQ(got.max_error, wanted.max_error);
  }
}

TEST(ErrorStatsTest, FiguresFollowFromTheSums) {
  const std::vector<float> a = {3, 4, 0, 0};
  const std::vector<float> b = {3, 4, 0, 1};
  ErrorStats stats;
  AddErrors(a.data(), b.data(), 2, stats);
  EXPECT_TRUE(std::isinf(stats.SqnrDb()));
  ErrorStats rest;
  AddErrors(a.data() + 2, b.data() + 2, 2, rest);
  EXPECT_TRUE(std::isinf(rest.SqnrDb()) && rest.SqnrDb() < 0);
  EXPECT_EQ(rest.Cosine(), 0);
  stats.Merge(rest);
  EXPECT_EQ(stats.count, 4u);
  EXPECT_DOUBLE_EQ(stats.MeanSquaredError(), 0.25);
  EXPECT_DOUBLE_EQ(stats.SqnrDb(), 10 * std::log10(25.0));
  EXPECT_DOUBLE_EQ(stats.Cosine(), 25 / (5 * std::sqrt(26.0)));
  EXPECT_EQ(stats.max_error, 1);
  EXPECT_EQ(ErrorStats().Cosine(), 1);
  EXPECT_EQ(ErrorStats().MeanSquaredError(), 0);
}

TEST(TargetsTest, UnknownNameIsRefused) {
  EXPECT_FALSE(UseTarget("ABACUS"));
  EXPECT_FALSE(TargetNames().empty());
}

}  // namespace
}  // namespace hone::kernels
