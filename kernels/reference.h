// Plain loops that say what each kernel computes. They do the ends of arrays, and tests hold every instruction set to
// their bits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/block_quantize.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "kernels/range.h"

namespace hone::kernels::reference {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline FloatRange Range(const float* data, size_t count) {
  FloatRange range;
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(data[i])) {
      ++range.non_finite;
      continue;
    }
    ++range.finite;
    range.low = data[i] < range.low ? data[i] : range.low;
    range.high = data[i] > range.high ? data[i] : range.high;
  }
  range.low += 0.0f;
  range.high += 0.0f;
  return range;
}

template <class T>
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, T* codes) {
  const float low = std::numeric_limits<T>::min();
  const float high = std::numeric_limits<T>::max();
  for (size_t i = 0; i < count; ++i) {
    float code = std::nearbyint(values[i] / scale) + static_cast<float>(zero_point);
    if (std::isnan(code)) code = static_cast<float>(zero_point);
    codes[i] = static_cast<T>(code < low ? low : code > high ? high : code);
  }
}

template <class T>
void Dequantize(const T* codes, size_t count, float scale, int32_t zero_point, float* values) {
  for (size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(static_cast<int32_t>(codes[i]) - zero_point) * scale;
}

inline uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float Saturate(float value, float largest) {
  return std::isfinite(value) && std::fabs(value) > largest ? std::copysign(largest, value) : value;
}
inline float RaiseTiny(float value, float smallest) {
  return value != 0 && std::fabs(value) < smallest ? std::copysign(smallest, value) : value;
}

inline uint16_t HalfBits(float value) {
  const uint32_t sign = (Bits(value) & 0x80000000u) >> 16;
  const uint32_t magnitude = Bits(value) & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return static_cast<uint16_t>(sign | (Bits(FromBits(magnitude) + 0.5f) - 0x3f000000u));
  return static_cast<uint16_t>(sign | ((magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13));
}
inline float HalfValue(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 31) return FromBits(sign | 0x7f800000u | (fraction << 13));
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(fraction | 0x400u), static_cast<int>(exponent) - 25);
  return FromBits(sign | Bits(magnitude));
}
inline uint16_t BfloatBits(float value) {
  const uint32_t bits = Bits(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline float BfloatValue(uint16_t bfloat) { return FromBits(static_cast<uint32_t>(bfloat) << 16); }

inline void FloatToHalf(const float* values, size_t count, Clamp clamp, uint16_t* halves) {
  for (size_t i = 0; i < count; ++i) {
    halves[i] = HalfBits(clamp == Clamp::yes ? RaiseTiny(Saturate(values[i], kLargestHalf), kSmallestHalf) : values[i]);
  }
}
inline void HalfToFloat(const uint16_t* halves, size_t count, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] = HalfValue(halves[i]);
}
inline void FloatToBfloat(const float* values, size_t count, Clamp clamp, uint16_t* bfloats) {
  for (size_t i = 0; i < count; ++i)
    bfloats[i] = BfloatBits(clamp == Clamp::yes ? Saturate(values[i], kLargestBfloat) : values[i]);
}
inline void BfloatToFloat(const uint16_t* bfloats, size_t count, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] = BfloatValue(bfloats[i]);
}

inline float RoundScale(float scale, ScaleFormat format) {
  switch (format) {
    case ScaleFormat::f16:
      return HalfValue(HalfBits(scale));
    case ScaleFormat::bf16:
      return BfloatValue(BfloatBits(scale));
    case ScaleFormat::f32:
      break;
  }
  return scale;
}

struct BlockPlace {
  size_t column = 0;
  size_t block = 0;
  size_t rows = 0;  // Of this block.
};

// Packs the codes of one block, which lie `stride` bytes apart.
inline void PackBlock(const uint8_t* block_codes, size_t stride, const BlockLayout& layout, const BlockPlace& place,
                      uint8_t* codes) {
  uint8_t* out = codes + (place.column * layout.BlocksPerColumn() + place.block) * layout.BlockBytes();
  std::memset(out, 0, layout.BlockBytes());
  for (size_t row = 0; row < place.rows; ++row) {
    const uint8_t code = block_codes[row * stride];
    if (layout.bits == 8) {
      out[row] = code;
    } else {
      out[row / 2] = static_cast<uint8_t>(out[row / 2] | (row % 2 == 0 ? code : code << 4));
    }
  }
}

// Blocks of a column come in order; the first of a byte sets the unused nibble to 8.
inline void PackZeroPoint(uint8_t zero_point, const BlockLayout& layout, const BlockPlace& place,
                          uint8_t* zero_points) {
  uint8_t* column = zero_points + place.column * layout.ZeroPointBytesPerColumn();
  if (layout.bits == 8) {
    column[place.block] = zero_point;
  } else if (place.block % 2 == 0) {
    column[place.block / 2] = static_cast<uint8_t>(zero_point | 0x80);
  } else {
    column[place.block / 2] = static_cast<uint8_t>((column[place.block / 2] & 0x0f) | (zero_point << 4));
  }
}

inline void QuantizeBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                           float* scales, uint8_t* zero_points) {
  const float top = layout.bits == 4 ? 15.0f : 255.0f;
  const float middle = layout.bits == 4 ? 8.0f : 128.0f;
  for (size_t column = first; column < last; ++column) {
    for (size_t block = 0; block < layout.BlocksPerColumn(); ++block) {
      const size_t begin = block * layout.block;
      const size_t rows = layout.rows - begin < layout.block ? layout.rows - begin : layout.block;
      const float* corner = weights + begin * layout.columns + column;
      float low = 0;
      float high = 0;
      for (size_t row = 0; row < rows; ++row) {
        const float value = corner[row * layout.columns];
        low = value < low ? value : low;
        high = value > high ? value : high;
      }
      float scale = 0;
      float zero_point = middle;
      if (layout.symmetric) {
        scale = (std::fabs(high) > std::fabs(low) ? high : low) / -middle;
      } else {
        scale = (high - low) / top;
        const float exact = scale == 0 ? 0 : 0 - low / scale;
        zero_point = std::round(exact < 0 ? 0 : exact > top ? top : exact);
      }
      scale = RoundScale(scale, layout.scale_format);
      const float inverse = scale == 0 ? 0 : 1 / scale;
      const BlockPlace place{column, block, rows};
      uint8_t* out = codes + (column * layout.BlocksPerColumn() + block) * layout.BlockBytes();
      std::memset(out, 0, layout.BlockBytes());
      for (size_t row = 0; row < rows; ++row) {
        const float rounded = std::round(corner[row * layout.columns] * inverse + zero_point);
        const uint8_t code = static_cast<uint8_t>(rounded < 0 ? 0 : rounded > top ? top : rounded);
        if (layout.bits == 8) {
          out[row] = code;
        } else {
          out[row / 2] = static_cast<uint8_t>(out[row / 2] | (row % 2 == 0 ? code : code << 4));
        }
      }
      scales[column * layout.BlocksPerColumn() + block] = scale;
      if (zero_points != nullptr) PackZeroPoint(static_cast<uint8_t>(zero_point), layout, place, zero_points);
    }
  }
}

// Value i of a call belongs to part i % kErrorParts.
inline constexpr size_t kErrorParts = 8;
struct ErrorParts {
  uint64_t count = 0;
  uint64_t non_finite = 0;
  double squared_error[kErrorParts] = {};
  double squared_reference[kErrorParts] = {};
  double squared_value[kErrorParts] = {};
  double dot[kErrorParts] = {};
  double max_error[kErrorParts] = {};
};

inline void AddErrorParts(const float* reference, const float* value, size_t count, ErrorParts& parts) {
  for (size_t i = 0; i < count; ++i) {
    const double x = reference[i];
    const double y = value[i];
    if (!std::isfinite(x) || !std::isfinite(y)) {
      ++parts.non_finite;
      continue;
    }
    const size_t part = i % kErrorParts;
    const double error = x - y;
    ++parts.count;
    parts.squared_error[part] += error * error;
    parts.squared_reference[part] += x * x;
    parts.squared_value[part] += y * y;
    parts.dot[part] += x * y;
    parts.max_error[part] = std::fabs(error) > parts.max_error[part] ? std::fabs(error) : parts.max_error[part];
  }
}

inline double Sum(const double (&p)[kErrorParts]) {
  return ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
}

inline ErrorStats Sum(const ErrorParts& parts) {
  ErrorStats stats;
  stats.count = parts.count;
  stats.non_finite = parts.non_finite;
  stats.squared_error = Sum(parts.squared_error);
  stats.squared_reference = Sum(parts.squared_reference);
  stats.squared_value = Sum(parts.squared_value);
  stats.dot = Sum(parts.dot);
  for (const double error : parts.max_error) stats.max_error = error > stats.max_error ? error : stats.max_error;
  return stats;
}

}  // namespace hone::kernels::reference
