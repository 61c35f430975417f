#include "worker/model/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/backends/fixtures.h"
#include "worker/data/convert.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;

TEST(TensorTest, ElementCountTellsProductsAndRefusesWhatIsNone) {
  EXPECT_EQ(ElementCount({}), 1);
  EXPECT_EQ(ElementCount({2, 3, 4}), 24);
  EXPECT_EQ(ElementCount({2, 0, 4}), 0);
  EXPECT_EQ(ElementCount({2, -1}), -1);
  EXPECT_EQ(ElementCount({0, -1}), -1);
  EXPECT_EQ(ElementCount({int64_t{1} << 40, int64_t{1} << 40}), -1);
}

TEST(TensorTest, TypesHaveNamesAndSizes) {
  EXPECT_EQ(ElementName(kFloat32), "float32");
  EXPECT_EQ(ElementName(kInt64), "int64");
  EXPECT_EQ(ElementName(99), "type99");
  EXPECT_EQ(ElementBytes(kFloat16), 2u);
  EXPECT_EQ(ElementBytes(8), 0u);
  EXPECT_EQ(ElementBytes(22), 0u);
  EXPECT_EQ(ElementBytes(99), 0u);
}

TEST(TensorTest, ToFloatsReadsEveryNumericType) {
  EXPECT_THAT(ToFloats(MakeTensorOf<int8_t>(3, {2}, {-128, 127})), ElementsAre(-128.0f, 127.0f));
  EXPECT_THAT(ToFloats(MakeTensorOf<uint64_t>(13, {1}, {uint64_t{1} << 63})), ElementsAre(0x1p63f));
  EXPECT_THAT(ToFloats(MakeTensorOf<double>(kFloat64, {1}, {0.5})), ElementsAre(0.5f));
  EXPECT_THAT(ToFloats(MakeTensorOf<uint8_t>(kBool, {3}, {0, 1, 255})), ElementsAre(0.0f, 1.0f, 1.0f));
  EXPECT_THAT(ToFloats(MakeTensorOf<uint16_t>(16, {1}, {0x3fc0})), ElementsAre(1.5f));
  // e4m3fn: 1.0 and its largest value; e5m2: 1.0 and infinity.
  EXPECT_THAT(ToFloats(MakeTensorOf<uint8_t>(17, {2}, {0x38, 0x7e})), ElementsAre(1.0f, 448.0f));
  EXPECT_THAT(ToFloats(MakeTensorOf<uint8_t>(19, {2}, {0x3c, 0x7c})),
              ElementsAre(1.0f, std::numeric_limits<float>::infinity()));
  EXPECT_TRUE(ToFloats(Tensor{"", 8, {1}, {}}).empty());
}

TEST(TensorTest, HalfReadsSubnormalsInfinitiesAndNan) {
  const auto floats = ToFloats(MakeTensorOf<uint16_t>(kFloat16, {6}, {0x0001, 0x83ff, 0x7bff, 0xfc00, 0x7e00, 0x8000}));
  EXPECT_EQ(floats[0], 0x1p-24f);
  EXPECT_EQ(floats[1], -1023 * 0x1p-24f);
  EXPECT_EQ(floats[2], 65504.0f);
  EXPECT_EQ(floats[3], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(floats[4]));
  EXPECT_TRUE(std::signbit(floats[5]));
}

TEST(ConvertTest, EveryHalfComesBackFromFloat) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const auto floats = ToFloats(MakeTensorOf<uint16_t>(kFloat16, {65536}, all));
  for (size_t i = 0; i < all.size(); ++i) {
    if (std::isnan(floats[i])) continue;
    ASSERT_EQ(FloatToHalf(floats[i]), all[i]) << floats[i];
  }
}

TEST(ConvertTest, HalvesRoundTiesToEven) {
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(FloatToHalf(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0x0000);
  EXPECT_EQ(FloatToHalf(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
  EXPECT_EQ(FloatToBfloat16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(FloatToBfloat16(1.0f + 3 * 0x1p-8f), 0x3f82);
}

TEST(ConvertTest, IntegersConvertWhereEveryValueFits) {
  auto narrowed = ConvertTensor(MakeTensorOf<int64_t>(kInt64, {3}, {0, -5, 127}), 3);
  ASSERT_OK(narrowed);
  EXPECT_THAT(Values<int8_t>(*narrowed), ElementsAre(0, -5, 127));
  auto flags = ConvertTensor(MakeTensorOf<uint8_t>(kBool, {2}, {1, 0}), kInt64);
  ASSERT_OK(flags);
  EXPECT_THAT(Values<int64_t>(*flags), ElementsAre(1, 0));
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<int64_t>(kInt64, {2}, {0, 300}), kUint8),
                  "element 1 is 300, which does not fit uint8");
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<int64_t>(kInt64, {1}, {2}), kBool), "does not fit bool");
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<int32_t>(kInt32, {1}, {-1}), 13), "does not fit uint64");
}

TEST(ConvertTest, FloatsRoundAndKindsDoNotMix) {
  auto single = ConvertTensor(MakeTensorOf<double>(kFloat64, {2}, {0.1, HUGE_VAL}), kFloat32);
  ASSERT_OK(single);
  EXPECT_THAT(Values<float>(*single), ElementsAre(0.1f, HUGE_VALF));
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<double>(kFloat64, {1}, {1e300}), kFloat32), "does not fit float32");
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<int64_t>(kInt64, {1}, {1}), kFloat32),
                  "float32 is wanted and int64 was found");
  EXPECT_REJECTED(ConvertTensor(MakeTensorOf<float>(kFloat32, {1}, {1}), kInt64),
                  "int64 is wanted and float32 was found");
}

}  // namespace
}  // namespace hone::test
