#include "kernels/quantize.h"

#include <limits>
#include <vector>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// C's round for every float: from 2^23 on there is nothing to round.
template <class D, class V>
HWY_INLINE V RoundAway(D d, V value) {
  const auto whole = hn::Trunc(value);
  const auto far = hn::Ge(hn::Abs(hn::Sub(value, whole)), hn::Set(d, 0.5f));
  return hn::IfThenElse(far, hn::Add(whole, hn::CopySign(hn::Set(d, 1.0f), value)), whole);
}

// The rule for one vector; NaN is replaced after the addition, where it still shows.
template <Rounding kRounding, class D, class V>
HWY_INLINE V CodesOf(D d, V value, V scale, V zero_point, V low, V high) {
  const auto exact = hn::Div(value, scale);
  V whole;
  if constexpr (kRounding == Rounding::half_to_even) {
    whole = hn::Round(exact);
  } else {
    whole = RoundAway(d, exact);
  }
  const auto code = hn::Add(whole, zero_point);
  const auto known = hn::IfThenElse(hn::Eq(code, code), code, zero_point);
  return hn::Min(hn::Max(known, low), high);
}

template <Rounding kRounding, class T>
void QuantizeLoop(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits, T* codes) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<T, decltype(d)> dt;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  const auto zero_points = hn::Set(d, static_cast<float>(zero_point));
  const auto low = hn::Set(d, static_cast<float>(limits.low));
  const auto high = hn::Set(d, static_cast<float>(limits.high));
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto code = CodesOf<kRounding>(d, hn::LoadU(d, values + i), scales, zero_points, low, high);
    hn::StoreU(hn::DemoteTo(dt, hn::ConvertTo(di, code)), dt, codes + i);
  }
  reference::QuantizeWithin(values + i, count - i, scale, zero_point, limits, codes + i, kRounding);
}

template <Rounding kRounding, class T>
void QuantizeColumnsLoop(const float* values, size_t rows, size_t channels, const float* scales,
                         const float* zero_points, T* codes) {
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
      const auto code = CodesOf<kRounding>(d, hn::LoadU(d, line + c), hn::LoadU(d, scales + c),
                                           hn::LoadU(d, zero_points + c), low, high);
      hn::StoreU(hn::DemoteTo(dt, hn::ConvertTo(di, code)), dt, out + c);
    }
    for (; c < channels; ++c) {
      reference::QuantizeWithin(line + c, 1, scales[c], static_cast<int32_t>(zero_points[c]), kLimits, out + c,
                                kRounding);
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
                        const float* zero_points, T* codes, Rounding rounding) {
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
void QuantizeColumnsU8(const float* v, size_t r, size_t c, const float* s, const float* z, uint8_t* q, Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeU8(const uint8_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeS8(const float* v, size_t n, float s, int32_t z, CodeLimits l, int8_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsS8(const float* v, size_t r, size_t c, const float* s, const float* z, int8_t* q, Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeS8(const int8_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeU16(const float* v, size_t n, float s, int32_t z, CodeLimits l, uint16_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsU16(const float* v, size_t r, size_t c, const float* s, const float* z, uint16_t* q, Rounding rounding) {
  QuantizeColumnsFor(v, r, c, s, z, q, rounding);
}
void DequantizeU16(const uint16_t* q, size_t n, float s, int32_t z, float* v) { DequantizeLoop(q, n, s, z, v); }
void QuantizeS16(const float* v, size_t n, float s, int32_t z, CodeLimits l, int16_t* q, Rounding r) {
  QuantizeFor(v, n, s, z, l, q, r);
}
void QuantizeColumnsS16(const float* v, size_t r, size_t c, const float* s, const float* z, int16_t* q, Rounding rounding) {
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
  const std::vector<float> zeros(zero_points, zero_points + channels);
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsU8)(values, rows, channels, scales, zeros.data(), codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int8_t* codes, Rounding rounding) {
  const std::vector<float> zeros(zero_points, zero_points + channels);
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsS8)(values, rows, channels, scales, zeros.data(), codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     uint16_t* codes, Rounding rounding) {
  const std::vector<float> zeros(zero_points, zero_points + channels);
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsU16)(values, rows, channels, scales, zeros.data(), codes, rounding);
}
void QuantizeColumns(const float* values, size_t rows, size_t channels, const float* scales, const int32_t* zero_points,
                     int16_t* codes, Rounding rounding) {
  const std::vector<float> zeros(zero_points, zero_points + channels);
  HWY_DYNAMIC_DISPATCH(QuantizeColumnsS16)(values, rows, channels, scales, zeros.data(), codes, rounding);
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
