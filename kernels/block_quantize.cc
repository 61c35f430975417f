// A matrix that lies row by row: sixteen columns at a time, one lane a column, block by block, so that memory is read
// along its rows. Codes go to a tile [block, 16]; codes that share a byte are joined row upon row, and the bytes are
// transposed, sixteen by sixteen, into the columns' runs.
// A matrix that lies column by column: a block is contiguous, and so are its codes.
#include "kernels/block_quantize.h"

#include <cstring>
#include <vector>

#include "kernels/pack.h"
#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef HONE_KERNELS_BLOCK_QUANTIZE_CONSTANTS
#define HONE_KERNELS_BLOCK_QUANTIZE_CONSTANTS
namespace hone::kernels {

constexpr size_t kTile = 16;

// One block of kTile columns.
struct BlockTile {
  std::vector<uint8_t> codes;  // [block, kTile]; [block bytes, kTile] once joined, padded to kTile rows.
  float scales[kTile] = {};
  float zero_points[kTile] = {};
};

inline size_t RoundUp(size_t value, size_t step) { return (value + step - 1) / step * step; }

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using TileTag = hn::CappedTag<float, kTile>;

// C's roundf for magnitudes below 2^23.
template <class D, class V>
HWY_INLINE V RoundAway(D d, V value) {
  const auto whole = hn::Trunc(value);
  const auto far = hn::Ge(hn::Abs(hn::Sub(value, whole)), hn::Set(d, 0.5f));
  return hn::IfThenElse(far, hn::Add(whole, hn::CopySign(hn::Set(d, 1.0f), value)), whole);
}

// Scales, zero points and codes of lanes [at, at + lanes) of the tile.
HWY_INLINE void QuantizeLanes(const float* corner, size_t rows, const BlockLayout& layout, size_t at, BlockTile& tile) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const hn::Rebind<uint8_t, TileTag> db;
  const size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  const auto top = hn::Set(d, reference::TopCode(layout.bits));
  const float middle = reference::MiddleCode(layout.bits);
  auto low = zero;
  auto high = zero;
  for (size_t row = 0; row < rows; ++row) {
    const auto value = hn::LoadU(d, corner + row * layout.columns);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  }
  auto scale = zero;
  auto zero_point = hn::Set(d, middle);
  if (layout.symmetric) {
    const auto extreme = hn::IfThenElse(hn::Gt(hn::Abs(high), hn::Abs(low)), high, low);
    scale = hn::Div(extreme, hn::Set(d, -middle));
  } else {
    scale = hn::Div(hn::Sub(high, low), top);
    const auto exact = hn::IfThenElse(hn::Eq(scale, zero), zero, hn::Sub(zero, hn::Div(low, scale)));
    zero_point = RoundAway(d, hn::Min(hn::Max(exact, zero), top));
  }
  hn::StoreU(scale, d, tile.scales + at);
  hn::StoreU(zero_point, d, tile.zero_points + at);
  if (layout.scale_format != ScaleFormat::f32) {
    for (size_t lane = at; lane < at + lanes; ++lane)
      tile.scales[lane] = reference::RoundScale(tile.scales[lane], layout.scale_format);
    scale = hn::LoadU(d, tile.scales + at);
  }
  const auto inverse = hn::IfThenElse(hn::Eq(scale, zero), zero, hn::Div(hn::Set(d, 1.0f), scale));
  for (size_t row = 0; row < rows; ++row) {
    const auto value = hn::LoadU(d, corner + row * layout.columns);
    const auto exact = hn::Add(hn::Mul(value, inverse), zero_point);
    const auto code = hn::Min(hn::Max(RoundAway(d, exact), zero), top);
    hn::StoreU(hn::DemoteTo(db, hn::ConvertTo(di, code)), db, tile.codes.data() + row * kTile + at);
  }
}

// Joins the codes of neighbouring rows that share a byte. Rows go up to `rows`, a multiple of 8 / bits; in place.
HWY_INLINE void JoinRows(size_t rows, int bits, uint8_t* codes) {
  if (bits == 8) return;
  const hn::CappedTag<uint16_t, kTile / 2> d;  // Shifts of bytes: codes are small enough to stay in theirs.
  const size_t each = static_cast<size_t>(8 / bits);
  const size_t step = hn::Lanes(d) * 2;
  for (size_t out = 0; out < rows / each; ++out) {
    for (size_t at = 0; at < kTile; at += step) {
      const auto load = [&](size_t row) HWY_ATTR {
        return hn::LoadU(d, reinterpret_cast<const uint16_t*>(codes + (out * each + row) * kTile + at));
      };
      auto joined = hn::Or(load(0), bits == 4 ? hn::ShiftLeft<4>(load(1)) : hn::ShiftLeft<2>(load(1)));
      if (bits == 2) joined = hn::Or(joined, hn::Or(hn::ShiftLeft<4>(load(2)), hn::ShiftLeft<6>(load(3))));
      hn::StoreU(joined, d, reinterpret_cast<uint16_t*>(codes + out * kTile + at));
    }
  }
}

// Sixteen rows of sixteen bytes: four perfect shuffles of the upper with the lower half.
HWY_INLINE void TransposeTile(const uint8_t* in, uint8_t* out) {
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<uint8_t, kTile> d;
  if (hn::Lanes(d) == kTile) {
    uint8_t other[kTile * kTile];
    const uint8_t* from = in;
    for (int shuffle = 0; shuffle < 4; ++shuffle) {
      uint8_t* to = shuffle % 2 == 0 ? other : out;
      for (size_t row = 0; row < kTile / 2; ++row) {
        const auto upper = hn::LoadU(d, from + row * kTile);
        const auto lower = hn::LoadU(d, from + (row + kTile / 2) * kTile);
        hn::StoreU(hn::InterleaveLower(d, upper, lower), d, to + 2 * row * kTile);
        hn::StoreU(hn::InterleaveUpper(d, upper, lower), d, to + (2 * row + 1) * kTile);
      }
      from = to;
    }
    return;
  }
#endif
  for (size_t row = 0; row < kTile; ++row) {
    for (size_t column = 0; column < kTile; ++column) out[column * kTile + row] = in[row * kTile + column];
  }
}

HWY_INLINE void WriteTile(const BlockTile& tile, const BlockLayout& layout, size_t column, size_t block, uint8_t* codes,
                          float* scales, uint8_t* zero_points) {
  const size_t bytes = layout.BlockBytes();
  for (size_t begin = 0; begin < bytes; begin += kTile) {
    uint8_t turned[kTile * kTile];
    TransposeTile(tile.codes.data() + begin * kTile, turned);
    const size_t size = bytes - begin < kTile ? bytes - begin : kTile;
    for (size_t lane = 0; lane < kTile; ++lane) {
      uint8_t* out = codes + reference::BlockPlace{column + lane, block}.CodesAt(layout) + begin;
      if (size == kTile) {
        std::memcpy(out, turned + lane * kTile, kTile);
      } else {
        std::memcpy(out, turned + lane * kTile, size);
      }
    }
  }
  for (size_t lane = 0; lane < kTile; ++lane) {
    const reference::BlockPlace place{column + lane, block};
    scales[place.ScaleAt(layout)] = tile.scales[lane];
    if (zero_points != nullptr)
      reference::PackZeroPoint(static_cast<uint8_t>(tile.zero_points[lane]), layout, place, zero_points);
  }
}

void QuantizeColumnBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                          float* scales, uint8_t* zero_points) {
  const size_t lanes = hn::Lanes(TileTag());
  const size_t whole = first + (last - first) / kTile * kTile;
  BlockTile tile;
  tile.codes.resize(RoundUp(layout.block, kTile) * kTile);
  for (size_t block = 0; block < layout.BlocksPerColumn(); ++block) {
    const size_t begin = block * layout.block;
    const size_t rows = layout.rows - begin < layout.block ? layout.rows - begin : layout.block;
    for (size_t column = first; column < whole; column += kTile) {
      const float* corner = weights + begin * layout.columns + column;
      for (size_t at = 0; at < kTile; at += lanes) QuantizeLanes(corner + at, rows, layout, at, tile);
      if (rows < layout.block)
        std::memset(tile.codes.data() + rows * kTile, 0, (layout.block - rows) * kTile);
      JoinRows(layout.block, layout.bits, tile.codes.data());
      WriteTile(tile, layout, column, block, codes, scales, zero_points);
    }
  }
  reference::QuantizeBlocks(weights, layout, whole, last, codes, scales, zero_points);
}

// A run of values of one column; the last vector may reach back over values that were done before.
HWY_INLINE reference::BlockChoice ChooseRun(const float* values, size_t count, const BlockLayout& layout) {
  const TileTag d;
  const size_t lanes = hn::Lanes(d);
  auto low = hn::Zero(d);
  auto high = hn::Zero(d);
  const auto take = [&](size_t at) HWY_ATTR {
    const auto value = hn::LoadU(d, values + at);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  };
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) take(i);
  float least = hn::GetLane(hn::MinOfLanes(d, low));
  float most = hn::GetLane(hn::MaxOfLanes(d, high));
  for (; i < count; ++i) {
    least = values[i] < least ? values[i] : least;
    most = values[i] > most ? values[i] : most;
  }
  return reference::MinMaxBlock(least, most, layout.bits, layout.symmetric, layout.scale_format);
}

HWY_INLINE void RunCodes(const float* values, size_t count, const reference::BlockChoice& choice, float top,
                         uint8_t* codes) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const hn::Rebind<uint8_t, TileTag> db;
  const size_t lanes = hn::Lanes(d);
  const auto inverse = hn::Set(d, reference::InverseScale(choice.scale));
  const auto zero_point = hn::Set(d, choice.zero_point);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto exact = hn::Add(hn::Mul(hn::LoadU(d, values + i), inverse), zero_point);
    const auto code = hn::Min(hn::Max(RoundAway(d, exact), hn::Zero(d)), hn::Set(d, top));
    hn::StoreU(hn::DemoteTo(db, hn::ConvertTo(di, code)), db, codes + i);
  }
  for (; i < count; ++i) codes[i] = static_cast<uint8_t>(reference::FitCode(values[i], choice, top));
}

void QuantizeColumnRuns(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                        float* scales, uint8_t* zero_points, void (*pack)(const uint8_t*, size_t, int, uint8_t*)) {
  const float top = reference::TopCode(layout.bits);
  const size_t padded = layout.BlocksPerColumn() * layout.block;
  std::vector<uint8_t> run(padded);
  for (size_t column = first; column < last; ++column) {
    for (size_t block = 0; block < layout.BlocksPerColumn(); ++block) {
      const size_t begin = block * layout.block;
      const size_t rows = layout.rows - begin < layout.block ? layout.rows - begin : layout.block;
      const float* values = weights + column * layout.rows + begin;
      const reference::BlockChoice choice = ChooseRun(values, rows, layout);
      RunCodes(values, rows, choice, top, run.data() + begin);
      const reference::BlockPlace place{column, block};
      scales[place.ScaleAt(layout)] = choice.scale;
      if (zero_points != nullptr)
        reference::PackZeroPoint(static_cast<uint8_t>(choice.zero_point), layout, place, zero_points);
    }
    pack(run.data(), padded, layout.bits, codes + reference::BlockPlace{column, 0}.CodesAt(layout));
  }
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(QuantizeColumnBlocks);
HWY_EXPORT(QuantizeColumnRuns);

void QuantizeBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                    float* scales, uint8_t* zero_points) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnBlocks)
  (weights, layout, first, last, codes, scales, layout.symmetric ? nullptr : zero_points);
}

void QuantizeRowBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                       float* scales, uint8_t* zero_points) {
  HWY_DYNAMIC_DISPATCH(QuantizeColumnRuns)
  (weights, layout, first, last, codes, scales, layout.symmetric ? nullptr : zero_points, PackCodes);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
