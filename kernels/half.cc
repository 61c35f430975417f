// float32 -> float16: three ranges of the magnitude's bits.
// - At least 2^16: infinity, or a quiet NaN with the top of its payload.
// - Below 2^-14 (a subnormal): adding 0.5 puts the value's last kept bit at the last bit of the sum, so the processor's
//   addition rounds.
// - Between: rebias the exponent and round by adding half of the last place, less one where the kept part is even.
// float16 -> float32 is the way back; a subnormal is renormalized by subtracting 2^-14.
#include "kernels/half.h"

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/half.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Finite values beyond `largest` become it, with their sign.
template <class D, class V>
HWY_INLINE V Saturate(D d, V value, float largest) {
  const auto magnitude = hn::Abs(value);
  const auto beyond =
      hn::And(hn::Gt(magnitude, hn::Set(d, largest)), hn::Lt(magnitude, hn::Set(d, reference::kInfinity)));
  return hn::IfThenElse(beyond, hn::CopySign(hn::Set(d, largest), value), value);
}

template <class D, class V>
HWY_INLINE V RaiseTiny(D d, V value, float smallest) {
  const auto magnitude = hn::Abs(value);
  const auto tiny = hn::And(hn::Lt(magnitude, hn::Set(d, smallest)), hn::Gt(magnitude, hn::Zero(d)));
  return hn::IfThenElse(tiny, hn::CopySign(hn::Set(d, smallest), value), value);
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2

// The processor's own conversion has the rules of the plain loop, NaN included.
template <class D, class V>
HWY_INLINE auto HalfBitsOf(D /*d*/, V value) {
  const hn::Rebind<hwy::float16_t, D> df16;
  return hn::BitCast(hn::Rebind<uint16_t, D>(), hn::DemoteTo(df16, value));
}

#else

template <class D, class V>
HWY_INLINE auto HalfBitsOf(D d, V value) {
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto sign = hn::And(bits, hn::Set(du, 0x80000000u));
  const auto magnitude = hn::Xor(bits, sign);
  const auto ordered = hn::BitCast(di, magnitude);

  const auto payload = hn::Or(hn::Set(du, 0x7e00u), hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 0x3ffu)));
  const auto is_nan = hn::RebindMask(du, hn::Gt(ordered, hn::Set(di, 0x7f800000)));
  const auto large = hn::IfThenElse(is_nan, payload, hn::Set(du, 0x7c00u));

  const auto shifted = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  const auto small = hn::Sub(hn::BitCast(du, shifted), hn::Set(du, 0x3f000000u));

  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1u));
  const auto middle = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, hn::Set(du, 0xc8000fffu)), odd));

  const auto is_large = hn::RebindMask(du, hn::Gt(ordered, hn::Set(di, 0x477fffff)));
  const auto is_small = hn::RebindMask(du, hn::Lt(ordered, hn::Set(di, 0x38800000)));
  const auto half = hn::IfThenElse(is_large, large, hn::IfThenElse(is_small, small, middle));
  const auto code = hn::Or(half, hn::ShiftRight<16>(sign));
  return hn::DemoteTo(hn::Rebind<uint16_t, D>(), hn::BitCast(di, code));
}

#endif

void HalfOf(const float* values, size_t count, Clamp clamp, uint16_t* halves) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<uint16_t, decltype(d)> dh;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto value = hn::LoadU(d, values + i);
    if (clamp == Clamp::yes) value = RaiseTiny(d, Saturate(d, value, kLargestHalf), kSmallestHalf);
    hn::StoreU(HalfBitsOf(d, value), dh, halves + i);
  }
  reference::FloatToHalf(values + i, count - i, clamp, halves + i);
}

void FloatOfHalf(const uint16_t* halves, size_t count, float* values) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<uint16_t, decltype(d)> dh;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto half = hn::PromoteTo(du, hn::LoadU(dh, halves + i));
    const auto magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7fffu)));
    const auto exponent = hn::And(magnitude, hn::Set(du, 0x0f800000u));
    const auto normal = hn::Add(magnitude, hn::Set(du, 0x38000000u));
    const auto special = hn::Add(normal, hn::Set(du, 0x38000000u));
    const auto lifted = hn::BitCast(d, hn::Add(normal, hn::Set(du, 0x00800000u)));
    const auto subnormal = hn::BitCast(du, hn::Sub(lifted, hn::BitCast(d, hn::Set(du, 0x38800000u))));
    const auto is_special = hn::Eq(exponent, hn::Set(du, 0x0f800000u));
    const auto is_subnormal = hn::Eq(exponent, hn::Zero(du));
    const auto bits = hn::IfThenElse(is_special, special, hn::IfThenElse(is_subnormal, subnormal, normal));
    const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000u)));
    hn::StoreU(hn::BitCast(d, hn::Or(bits, sign)), d, values + i);
  }
  reference::HalfToFloat(halves + i, count - i, values + i);
}

void BfloatOf(const float* values, size_t count, Clamp clamp, uint16_t* bfloats) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<uint16_t, decltype(d)> dh;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto value = hn::LoadU(d, values + i);
    if (clamp == Clamp::yes) value = Saturate(d, value, kLargestBfloat);
    const auto bits = hn::BitCast(du, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7fffu)), odd));
    const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40u));
    const auto is_number = hn::RebindMask(du, hn::Eq(value, value));
    const auto code = hn::IfThenElse(is_number, rounded, quiet);
    hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, code)), dh, bfloats + i);
  }
  reference::FloatToBfloat(values + i, count - i, clamp, bfloats + i);
}

void FloatOfBfloat(const uint16_t* bfloats, size_t count, float* values) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<uint16_t, decltype(d)> dh;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, bfloats + i)))), d, values + i);
  }
  reference::BfloatToFloat(bfloats + i, count - i, values + i);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(HalfOf);
HWY_EXPORT(FloatOfHalf);
HWY_EXPORT(BfloatOf);
HWY_EXPORT(FloatOfBfloat);

void FloatToHalf(const float* values, size_t count, Clamp clamp, uint16_t* halves) {
  HWY_DYNAMIC_DISPATCH(HalfOf)(values, count, clamp, halves);
}
void HalfToFloat(const uint16_t* halves, size_t count, float* values) {
  HWY_DYNAMIC_DISPATCH(FloatOfHalf)(halves, count, values);
}
void FloatToBfloat(const float* values, size_t count, Clamp clamp, uint16_t* bfloats) {
  HWY_DYNAMIC_DISPATCH(BfloatOf)(values, count, clamp, bfloats);
}
void BfloatToFloat(const uint16_t* bfloats, size_t count, float* values) {
  HWY_DYNAMIC_DISPATCH(FloatOfBfloat)(bfloats, count, values);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
