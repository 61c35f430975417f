// Linear quantization: codes = saturate(round_half_to_even(value / scale) + zero_point), every step in float32,
// saturating to the whole range of the code type. A NaN becomes the zero point. Same bits on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// scale > 0; zero_point within the code type.
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint8_t* codes);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int8_t* codes);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint16_t* codes);
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int16_t* codes);

// Values of shape [outer, channels, inner]; scales and zero_points hold one entry a channel.
template <class T>
void QuantizeChannels(const float* values, size_t outer, size_t channels, size_t inner, const float* scales,
                      const int32_t* zero_points, T* codes) {
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = (o * channels + c) * inner;
      Quantize(values + at, inner, scales[c], zero_points[c], codes + at);
    }
  }
}
// The same for channels that lie side by side (inner == 1): one lane a channel.
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint8_t* codes);
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int8_t* codes);

// values = (codes - zero_point) * scale, the difference in int32.
void Dequantize(const uint8_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const int8_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const uint16_t* codes, size_t count, float scale, int32_t zero_point, float* values);
void Dequantize(const int16_t* codes, size_t count, float scale, int32_t zero_point, float* values);

}  // namespace hone::kernels
