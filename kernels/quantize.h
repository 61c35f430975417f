// Linear quantization: codes = saturate(round(value / scale) + zero_point), every step in float32, saturating to the
// whole range of the code type. A NaN becomes the zero point. Same bits on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// What becomes of x.5: the even neighbour (numpy, ONNX, OpenVINO), or the one further from zero (C's round, MLAS).
enum class Rounding { half_to_even, half_away };

// scale > 0; zero_point within the code type.
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint8_t* codes,
              Rounding rounding = Rounding::half_to_even);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int8_t* codes,
              Rounding rounding = Rounding::half_to_even);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint16_t* codes,
              Rounding rounding = Rounding::half_to_even);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int16_t* codes,
              Rounding rounding = Rounding::half_to_even);

// Codes of fewer bits, one a byte: saturates to [low, high] instead, which lies within the code type.
struct CodeLimits {
  int32_t low = 0;
  int32_t high = 15;
};
void QuantizeWithin(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits,
                    uint8_t* codes, Rounding rounding = Rounding::half_to_even);
void QuantizeWithin(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits,
                    int8_t* codes, Rounding rounding = Rounding::half_to_even);

// Values of shape [outer, channels, inner]; scales and zero_points hold one entry a channel.
template <class T>
void QuantizeChannels(const float* values, size_t outer, size_t channels, size_t inner, const float* scales,
                      const int32_t* zero_points, T* codes, Rounding rounding = Rounding::half_to_even) {
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = (o * channels + c) * inner;
      Quantize(values + at, inner, scales[c], zero_points[c], codes + at, rounding);
    }
  }
}
// The same for channels that lie side by side (inner == 1): one lane a channel.
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint8_t* codes, Rounding rounding = Rounding::half_to_even);
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int8_t* codes, Rounding rounding = Rounding::half_to_even);
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint16_t* codes, Rounding rounding = Rounding::half_to_even);
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int16_t* codes, Rounding rounding = Rounding::half_to_even);

// values = (codes - zero_point) * scale, the difference in int32.
void Dequantize(const uint8_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const int8_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const uint16_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const int16_t* codes, size_t count, float scale, int32_t zero_point, float* values);

}  // namespace hone::kernels
