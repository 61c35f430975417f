#include "kernels/quantize.h"

#include <limits>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Between 2^23 and 2^24 float has no fractions, so adding this rounds half to even and leaves the whole number in the
// lowest bits; in the middle, so that negative numbers work alike.
constexpr float kRoundingBias = 0x1.8p23f;

// Codes of one vector. Clamping comes before rounding, which gives the same and keeps numbers small: low and high are
// the limits less the zero point, `zero_bits` the zero point less the bits of the bias.
template <Rounding kRounding, class D, class V, class VI>
HWY_INLINE VI CodesOf(D d, V value, V scale, V low, V high, VI zero_bits) {
  const hn::RebindToSigned<D> di;
  const auto exact = hn::Div(value, scale);
  const auto known = hn::IfThenElseZero(hn::Eq(exact, exact), exact);
  const auto inside = hn::Min(hn::Max(known, low), high);
  const auto bias = hn::Set(d, kRoundingBias);
  const auto biased = hn::Add(inside, bias);
  if constexpr (kRounding == Rounding::half_to_even) return hn::Add(hn::BitCast(di, biased), zero_bits);
  // A half that went towards zero goes one back.
  const auto rest = hn::Sub(inside, hn::Sub(biased, bias));
  const auto back = hn::Eq(rest, hn::CopySign(hn::Set(d, 0.5f), inside));
  const auto one = hn::IfThenElseZero(back, hn::CopySign(hn::Set(d, 1.0f), inside));
  return hn::Add(hn::BitCast(di, hn::Add(biased, one)), zero_bits);
}

HWY_INLINE int32_t ZeroBits(int32_t zero_point) {
  return zero_point - static_cast<int32_t>(reference::Bits(kRoundingBias));
}

template <Rounding kRounding, class T>
void QuantizeLoop(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits, T* codes) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<T, decltype(d)> dt;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  const auto zero_bits = hn::Set(di, ZeroBits(zero_point));
  const auto low = hn::Set(d, static_cast<float>(limits.low - zero_point));
  const auto high = hn::Set(d, static_cast<float>(limits.high - zero_point));
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto code = CodesOf<kRounding>(d, hn::LoadU(d, values + i), scales, low, high, zero_bits);
    hn::StoreU(hn::DemoteTo(dt, code), dt, codes + i);
  }
  reference::QuantizeWithin(values + i, count - i, scale, zero_point, limits, codes + i, kRounding);
}

template <Rounding kRounding, class T>
void QuantizeColumnsLoop(const float* values, size_t rows, size_t channels, const float* scales,
                         const int32_t* zero_points, T* codes) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<T, decltype(d)> dt;
  const size_t lanes = hn::Lanes(d);
  constexpr CodeLimits kLimits{std::numeric_limits<T>::min(), std::numeric_limits<T>::max()};
  const auto low = hn::Set(d, static_cast<float>(kLimits.low));
  const auto high = hn::Set(d, static_cast<float>(kLimits.high));
  for (size_t row = 0; row < rows; ++row) {
    const float* line = values + row * channels;
    T* out = codes + row * channels;
    size_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      const auto zero_point = hn::LoadU(di, zero_points + c);
      const auto zero = hn::ConvertTo(d, zero_point);
      const auto code = CodesOf<kRounding>(d, hn::LoadU(d, line + c), hn::LoadU(d, scales + c), hn::Sub(low, zero),
                                           hn::Sub(high, zero), hn::Add(zero_point, hn::Set(di, ZeroBits(0))));
      hn::StoreU(hn::DemoteTo(dt, code), dt, out + c);
    }
    for (; c < channels; ++c) {
      reference::QuantizeWithin(line + c, 1, scales[c], zero_points[c], kLimits, out + c, kRounding);
    }
  }
}

template <class T>
void QuantizeFor(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits, T* codes,
                 Rounding rounding) {
  if (rounding == Rounding::half_to_even) {
    QuantizeLoop<Rounding::half_to_even>(values, count, scale, zero_point, limits, codes);
  } else {
    QuantizeLoop<Rounding::half_away>(values, count, scale, zero_point, limits, codes);
  }
}

template <class T>
void QuantizeColumnsFor(const float* values, size_t rows, size_t channels, const float* scales,
                        const int32_t* zero_points, T* codes, Rounding rounding) {
  if (rounding == Rounding::half_to_even) {
    QuantizeColumnsLoop<Rounding::half_to_even>(values, rows, channels, scales, zero_points, codes);
  } else {
    QuantizeColumnsLoop<Rounding::half_away>(values, rows, channels, scales, zero_points, codes);
  }
}

template <class T>
void DequantizeLoop(const T* codes, size_t count, float scale, int32_t zero_point, float* values) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<T, decltype(d)> dt;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  const auto zero_points = hn::Set(di, zero_point);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto difference = hn::Sub(hn::PromoteTo(di, hn::LoadU(dt, codes + i)), zero_points);
    hn::StoreU(hn::Mul(hn::ConvertTo(d, difference), scales), d, values + i);
  }
  reference::Dequantize(codes + i, count - i, scale, zero_point, values + i);
}

void QuantizeU8(const float* v, size_t n, float s, int32_t z, CodeLimits l, uint8_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsU8(const float* v, size_t r, size_t c, const float* s, const int32_t* z, uint8_t* q,
                       Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeU8(const uint8_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeS8(const float* v, size_t n, float s, int32_t z, CodeLimits l, int8_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsS8(const float* v, size_t r, size_t c, const float* s, const int32_t* z, int8_t* q,
                       Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeS8(const int8_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeU16(const float* v, size_t n, float s, int32_t z, CodeLimits l, uint16_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsU16(const float* v, size_t r, size_t c, const float* s, const int32_t* z, uint16_t* q,
                        Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeU16(const uint16_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeS16(const float* v, size_t n, float s, int32_t z, CodeLimits l, int16_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsS16(const float* v, size_t r, size_t c, const float* s, const int32_t* z, int16_t* q,
                        Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeS16(const int16_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(QuantizeU8);
HWY_EXPORT(QuantizeColumnsU8);
HWY_EXPORT(DequantizeU8);
HWY_EXPORT(QuantizeS8);
HWY_EXPORT(QuantizeColumnsS8);
HWY_EXPORT(DequantizeS8);
HWY_EXPORT(QuantizeU16);
HWY_EXPORT(QuantizeColumnsU16);
HWY_EXPORT(DequantizeU16);
HWY_EXPORT(QuantizeS16);
HWY_EXPORT(QuantizeColumnsS16);
HWY_EXPORT(DequantizeS16);

namespace {

template <class T>
constexpr CodeLimits AllCodes() {
  return {std::numeric_limits<T>::min(), std::numeric_limits<T>::max()};
}

}  // namespace

void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeU8)(values, count, scale, zero_point, AllCodes<uint8_t>(), codes, rounding);
}
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeS8)(values, count, scale, zero_point, AllCodes<int8_t>(), codes, rounding);
}
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, uint16_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeU16)(values, count, scale, zero_point, AllCodes<uint16_t>(), codes, rounding);
}
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, int16_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeS16)(values, count, scale, zero_point, AllCodes<int16_t>(), codes, rounding);
}
void QuantizeWithin(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits,
                    uint8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeU8)(values, count, scale, zero_point, limits, codes, rounding);
}
void QuantizeWithin(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits,
                    int8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeS8)(values, count, scale, zero_point, limits, codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsU8)(values, rows, channels, scales, zero_points, codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int8_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsS8)(values, rows, channels, scales, zero_points, codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint16_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsU16)(values, rows, channels, scales, zero_points, codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int16_t* codes, Rounding rounding) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsS16)(values, rows, channels, scales, zero_points, codes, rounding);
}
void Dequantize(const uint8_t* codes, size_t count, float scale, int32_t zero_point, float* values) {
  HWY_DYNAMIC_DISPATCH(DequantizeU8)(codes, count, scale, zero_point, values);
}
void Dequantize(const int8_t* codes, size_t count, float scale, int32_t zero_point, float* values) {
  HWY_DYNAMIC_DISPATCH(DequantizeS8)(codes, count, scale, zero_point, values);
}
void Dequantize(const uint16_t* codes, size_t count, float scale, int32_t zero_point, float* values) {
  HWY_DYNAMIC_DISPATCH(DequantizeU16)(codes, count, scale, zero_point, values);
}
void Dequantize(const int16_t* codes, size_t count, float scale, int32_t zero_point, float* values) {
  HWY_DYNAMIC_DISPATCH(DequantizeS16)(codes, count, scale, zero_point, values);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
