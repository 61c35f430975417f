// A code is found by bisection: the value is compared with the middle of all thresholds, then with the middle of the
// half that is left, and so on; every comparison chooses the later ones' thresholds for its lane.
#include "kernels/nf4.h"

#include "kernels/range.h"
#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nf4.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void QuantizeNf4Loop(const float* values, size_t count, float scale, uint8_t* codes) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> db;
  const size_t lanes = hn::Lanes(d);
  const auto threshold = [&](size_t code) HWY_ATTR { return hn::Set(d, reference::Nf4Threshold(code)); };
  const auto scales = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto value = hn::Div(hn::LoadU(d, values + i), scales);
    const auto upper8 = hn::Gt(value, threshold(7));
    const auto upper4 = hn::Gt(value, hn::IfThenElse(upper8, threshold(11), threshold(3)));
    const auto middle2 = hn::IfThenElse(upper8, hn::IfThenElse(upper4, threshold(13), threshold(9)),
                                        hn::IfThenElse(upper4, threshold(5), threshold(1)));
    const auto upper2 = hn::Gt(value, middle2);
    const auto middle1 = hn::IfThenElse(upper8,
                                        hn::IfThenElse(upper4, hn::IfThenElse(upper2, threshold(14), threshold(12)),
                                                       hn::IfThenElse(upper2, threshold(10), threshold(8))),
                                        hn::IfThenElse(upper4, hn::IfThenElse(upper2, threshold(6), threshold(4)),
                                                       hn::IfThenElse(upper2, threshold(2), threshold(0))));
    const auto upper1 = hn::Gt(value, middle1);
    const auto bit = [&](auto mask, int32_t worth)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(di, mask), hn::Set(di, worth)); };
    const auto code = hn::Or(hn::Or(bit(upper8, 8), bit(upper4, 4)), hn::Or(bit(upper2, 2), bit(upper1, 1)));
    hn::StoreU(hn::DemoteTo(db, code), db, codes + i);
  }
  reference::QuantizeNf4(values + i, count - i, scale, codes + i);
}

void DequantizeNf4Loop(const uint8_t* codes, size_t count, float scale, float* values) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> db;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto code = hn::And(hn::PromoteTo(di, hn::LoadU(db, codes + i)), hn::Set(di, 15));
    hn::StoreU(hn::Mul(hn::GatherIndex(d, kNf4Levels, code), scales), d, values + i);
  }
  reference::DequantizeNf4(codes + i, count - i, scale, values + i);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(QuantizeNf4Loop);
HWY_EXPORT(DequantizeNf4Loop);

void QuantizeNf4(const float* values, size_t count, float scale, uint8_t* codes) {
  if (scale == 0) {
    for (size_t i = 0; i < count; ++i) codes[i] = reference::kNf4Zero;
    return;
  }
  HWY_DYNAMIC_DISPATCH(QuantizeNf4Loop)(values, count, scale, codes);
}

void DequantizeNf4(const uint8_t* codes, size_t count, float scale, float* values) {
  HWY_DYNAMIC_DISPATCH(DequantizeNf4Loop)(codes, count, scale, values);
}

void QuantizeNf4Blocks(const float* values, size_t count, size_t block, ScaleFormat scale_format, float* scales,
                       uint8_t* codes) {
  for (size_t begin = 0, index = 0; begin < count; begin += block, ++index) {
    const size_t size = count - begin < block ? count - begin : block;
    scales[index] = reference::RoundScale(AbsMax(values + begin, size), scale_format);
    QuantizeNf4(values + begin, size, scales[index], codes + begin);
  }
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
