// One lane a column: the matrix is row-major, so a vector of columns is contiguous and a block is a run of rows. Codes
// go to a small tile [block, lanes] first and are then packed column by column.
#include "kernels/block_quantize.h"

#include <vector>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// C's roundf for magnitudes below 2^23.
template <class D, class V>
HWY_INLINE V RoundAway(D d, V value) {
  const auto whole = hn::Trunc(value);
  const auto far = hn::Ge(hn::Abs(hn::Sub(value, whole)), hn::Set(d, 0.5f));
  return hn::IfThenElse(far, hn::Add(whole, hn::CopySign(hn::Set(d, 1.0f), value)), whole);
}

void QuantizeColumnBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                          float* scales, uint8_t* zero_points) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> db;
  const size_t lanes = hn::Lanes(d);
  const float largest_code = layout.bits == 4 ? 15.0f : 255.0f;
  const float middle_code = layout.bits == 4 ? 8.0f : 128.0f;
  const auto zero = hn::Zero(d);
  const auto top = hn::Set(d, largest_code);
  std::vector<uint8_t> tile(layout.block * lanes);
  std::vector<float> lane_scales(lanes);
  std::vector<float> lane_zeros(lanes);

  size_t column = first;
  for (; column + lanes <= last; column += lanes) {
    for (size_t block = 0; block < layout.BlocksPerColumn(); ++block) {
      const size_t begin = block * layout.block;
      const size_t rows = layout.rows - begin < layout.block ? layout.rows - begin : layout.block;
      const float* corner = weights + begin * layout.columns + column;
      auto low = zero;
      auto high = zero;
      for (size_t row = 0; row < rows; ++row) {
        const auto value = hn::LoadU(d, corner + row * layout.columns);
        low = hn::Min(low, value);
        high = hn::Max(high, value);
      }
      auto scale = zero;
      auto zero_point = hn::Set(d, middle_code);
      if (layout.symmetric) {
        const auto extreme = hn::IfThenElse(hn::Gt(hn::Abs(high), hn::Abs(low)), high, low);
        scale = hn::Div(extreme, hn::Set(d, -middle_code));
      } else {
        scale = hn::Div(hn::Sub(high, low), top);
        const auto exact = hn::IfThenElse(hn::Eq(scale, zero), zero, hn::Sub(zero, hn::Div(low, scale)));
        zero_point = RoundAway(d, hn::Min(hn::Max(exact, zero), top));
      }
      hn::StoreU(scale, d, lane_scales.data());
      hn::StoreU(zero_point, d, lane_zeros.data());
      for (float& lane : lane_scales) lane = reference::RoundScale(lane, layout.scale_format);
      scale = hn::LoadU(d, lane_scales.data());
      const auto inverse = hn::IfThenElse(hn::Eq(scale, zero), zero, hn::Div(hn::Set(d, 1.0f), scale));
      for (size_t row = 0; row < rows; ++row) {
        const auto value = hn::LoadU(d, corner + row * layout.columns);
        const auto exact = hn::Add(hn::Mul(value, inverse), zero_point);
        const auto code = hn::Min(hn::Max(RoundAway(d, exact), zero), top);
        hn::StoreU(hn::DemoteTo(db, hn::ConvertTo(di, code)), db, tile.data() + row * lanes);
      }
      for (size_t lane = 0; lane < lanes; ++lane) {
        const reference::BlockPlace place{column + lane, block, rows};
        scales[(column + lane) * layout.BlocksPerColumn() + block] = lane_scales[lane];
        reference::PackBlock(tile.data() + lane, lanes, layout, place, codes);
        if (zero_points != nullptr)
          reference::PackZeroPoint(static_cast<uint8_t>(lane_zeros[lane]), layout, place, zero_points);
      }
    }
  }
  reference::QuantizeBlocks(weights, layout, column, last, codes, scales, zero_points);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(QuantizeColumnBlocks);

void QuantizeBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                    float* scales, uint8_t* zero_points) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnBlocks)
  (weights, layout, first, last, codes, scales, layout.symmetric ? nullptr : zero_points);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
