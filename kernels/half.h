// Conversions between float32 and the two 16-bit float formats, as bit patterns. Rounding is to nearest, ties to even;
// subnormals are exact; a NaN stays a NaN. Done in integer arithmetic, so every instruction set gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// no: what does not fit becomes an infinity, what is too small a zero. yes: finite values saturate at the format's
// largest finite value, and (float16 alone) non-zero values smaller than 5.96e-8 become its smallest; infinities stay.
// yes is the rule of model conversion.
enum class Clamp { no, yes };

constexpr float kLargestHalf = 65504.0f;
constexpr float kSmallestHalf = 5.96e-8f;  // Just under 2^-24, the smallest subnormal, to which it rounds.
constexpr float kLargestBfloat = 3.38953139e38f;

void FloatToHalf(const float* values, size_t count, Clamp clamp, uint16_t* halves);
void HalfToFloat(const uint16_t* halves, size_t count, float* values);
void FloatToBfloat(const float* values, size_t count, Clamp clamp, uint16_t* bfloats);
void BfloatToFloat(const uint16_t* bfloats, size_t count, float* values);

}  // namespace hone::kernels
