// A matrix that lies row by row: a group of columns is copied, one block of rows at a time, into a buffer that stays in
// the first cache however the rows lie (rows a power of two apart share cache sets). Sixteen columns are done at once,
// one lane each; the codes of a lane are gathered in 32-bit words, which are what is written.
// A matrix that lies column by column: ranges of sixteen blocks are found first, so that their scales are computed at
// once; the codes of a column are packed together.
#include "kernels/block_quantize.h"

#include <bit>
#include <cstring>
#include <vector>

#include "kernels/pack.h"
#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/cache_control.h>

#ifndef HONE_KERNELS_BLOCK_QUANTIZE_CONSTANTS
#define HONE_KERNELS_BLOCK_QUANTIZE_CONSTANTS
namespace hone::kernels {

// Blocks whose scales are computed at once, and columns that lie in one vector.
constexpr size_t kTile = 16;
// Values of a group of columns: 16 KiB.
constexpr size_t kGroupValues = 4096;
constexpr size_t kMostGroupColumns = 64;
// A part of the matrix that is finished before the next is begun: rows and columns lie on pages of their own, and these
// are as many as a processor keeps the addresses of. Codes of a column are then whole cache lines, too.
constexpr size_t kPartRows = 512;
constexpr size_t kPartColumns = 256;
// From here to twice as much a float has no fraction: adding it rounds half to even into the lowest bits.
constexpr float kWholeFrom = 0x1p23f;

// Of kTile blocks.
struct TileChoices {
  float low[kTile] = {};
  float high[kTile] = {};
  float scale[kTile] = {};
  float inverse[kTile] = {};
  float zero_point[kTile] = {};
};

// Where blocks lie, computed once: the layout's own functions divide.
struct BlockStrides {
  explicit BlockStrides(const BlockLayout& layout)
      : bits(layout.bits),
        scales(layout.BlocksPerColumn()),
        block_bytes(layout.BlockBytes()),
        codes(scales * block_bytes),
        zero_points(layout.ZeroPointBytesPerColumn()) {}

  int bits;
  size_t scales;  // From column to column, as codes and zero_points.
  size_t block_bytes;
  size_t codes;
  size_t zero_points;
};

// As reference::PackZeroPoint.
inline void PackZeroPoint(uint8_t zero_point, const BlockStrides& strides, size_t block, uint8_t* column) {
  if (strides.bits == 8) {
    column[block] = zero_point;
    return;
  }
  const int first_shift = strides.bits == 4 ? 1 : 2;  // log2 of the codes in a byte.
  uint8_t& byte = column[block >> first_shift];
  const int slot = static_cast<int>(block & ((size_t{1} << first_shift) - 1));
  if (slot == 0) byte = strides.bits == 4 ? 0x80 : 0xa8;  // Middle codes in the slots to come.
  const int mask = ((1 << strides.bits) - 1) << (slot * strides.bits);
  byte = static_cast<uint8_t>((byte & ~mask) | zero_point << (slot * strides.bits));
}

inline size_t GroupColumns(size_t block) {
  const size_t columns = kGroupValues / block / kTile * kTile;
  return columns < kTile ? kTile : columns > kMostGroupColumns ? kMostGroupColumns : columns;
}

inline size_t BlocksAtOnce(const BlockLayout& layout) {
  return layout.block >= kPartRows ? 1 : kPartRows / layout.block;
}

inline size_t RowsOf(const BlockLayout& layout, size_t block) {
  const size_t left = layout.rows - block * layout.block;
  return left < layout.block ? left : layout.block;
}

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using TileTag = hn::CappedTag<float, kTile>;
using CodeTag = hn::RebindToUnsigned<TileTag>;

// C's roundf for magnitudes below 2^23.
template <class D, class V>
HWY_INLINE V RoundAway(D d, V value) {
  const auto whole = hn::Trunc(value);
  const auto far = hn::Ge(hn::Abs(hn::Sub(value, whole)), hn::Set(d, 0.5f));
  return hn::IfThenElse(far, hn::Add(whole, hn::CopySign(hn::Set(d, 1.0f), value)), whole);
}

// value * inverse + zero point, clamped to [0, top] and rounded half away from zero: half to even, and one more where a
// half was rounded down.
template <class V>
HWY_INLINE hn::Vec<CodeTag> CodesOf(V value, V inverse, V zero_point, V top) {
  const TileTag d;
  const CodeTag du;
  const auto exact = hn::Add(hn::Mul(value, inverse), zero_point);
  const auto inside = hn::Min(hn::Max(exact, hn::Zero(d)), top);
  const auto biased = hn::Add(inside, hn::Set(d, kWholeFrom));
  const auto rest = hn::Sub(inside, hn::Sub(biased, hn::Set(d, kWholeFrom)));
  const auto up = hn::RebindMask(du, hn::Eq(rest, hn::Set(d, 0.5f)));
  return hn::And(hn::Add(hn::BitCast(du, biased), hn::IfThenElseZero(up, hn::Set(du, 1u))), hn::Set(du, 0xffu));
}

// Scales and zero points from low and high.
HWY_INLINE void Choose(const BlockLayout& layout, TileChoices& tile) {
  const TileTag d;
  const auto zero = hn::Zero(d);
  const auto top = hn::Set(d, reference::TopCode(layout.bits));
  const float middle = reference::MiddleCode(layout.bits);
  for (size_t at = 0; at < kTile; at += hn::Lanes(d)) {
    const auto low = hn::LoadU(d, tile.low + at);
    const auto high = hn::LoadU(d, tile.high + at);
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
    hn::StoreU(scale, d, tile.scale + at);
    hn::StoreU(zero_point, d, tile.zero_point + at);
  }
  if (layout.scale_format != ScaleFormat::f32) {
    for (float& scale : tile.scale) scale = reference::RoundScale(scale, layout.scale_format);
  }
  for (size_t at = 0; at < kTile; at += hn::Lanes(d)) {
    const auto scale = hn::LoadU(d, tile.scale + at);
    const auto inverse = hn::IfThenElse(hn::Eq(scale, zero), zero, hn::Div(hn::Set(d, 1.0f), scale));
    hn::StoreU(inverse, d, tile.inverse + at);
  }
}

// Rows that will be wanted next; asked for a line at a time while there is something to compute, since neither their
// distance nor their number is one that the processor foresees.
struct NextRows {
  const float* corner = nullptr;
  size_t rows = 0;
  size_t stride = 0;

  HWY_INLINE void Fetch(size_t row) const {
    if (row < rows) hwy::Prefetch(corner + row * stride);
  }
};

// Lanes [at, at + Lanes) of the ranges of kTile columns, rows `stride` values apart.
HWY_INLINE void ColumnRange(const float* corner, size_t rows, size_t stride, size_t at, const NextRows& next,
                            TileChoices& tile) {
  const TileTag d;
  auto low = hn::Zero(d);
  auto high = hn::Zero(d);
  auto low2 = low;
  auto high2 = high;
  size_t row = 0;
  for (; row + 2 <= rows; row += 2) {
    const auto value = hn::LoadU(d, corner + row * stride);
    const auto value2 = hn::LoadU(d, corner + (row + 1) * stride);
    next.Fetch(row);
    next.Fetch(row + 1);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
    low2 = hn::Min(low2, value2);
    high2 = hn::Max(high2, value2);
  }
  if (row < rows) {
    const auto value = hn::LoadU(d, corner + row * stride);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  }
  hn::StoreU(hn::Min(low, low2), d, tile.low + at);
  hn::StoreU(hn::Max(high, high2), d, tile.high + at);
}

// Words of codes [words, kTile]; rows past the last are 0.
template <int kBits>
HWY_INLINE void ColumnWords(const float* corner, size_t rows, size_t stride, size_t block, size_t at,
                            const TileChoices& tile, uint32_t* words) {
  constexpr size_t kEach = 32 / kBits;
  const TileTag d;
  const CodeTag du;
  const auto inverse = hn::LoadU(d, tile.inverse + at);
  const auto zero_point = hn::LoadU(d, tile.zero_point + at);
  const auto top = hn::Set(d, reference::TopCode(kBits));
  for (size_t word = 0; word < block / kEach; ++word) {
    const size_t begin = word * kEach;
    const size_t size = begin >= rows ? 0 : rows - begin < kEach ? rows - begin : kEach;
    auto gathered = hn::Zero(du);
    for (size_t i = 0; i < size; ++i) {
      const auto code = CodesOf(hn::LoadU(d, corner + (begin + i) * stride), inverse, zero_point, top);
      gathered = hn::Or(gathered, hn::ShiftLeftSame(code, static_cast<int>(i) * kBits));
    }
    hn::StoreU(gathered, du, words + word * kTile);
  }
}

HWY_INLINE void WriteScales(const TileChoices& tile, const BlockStrides& strides, size_t column, size_t block,
                            float* scales, uint8_t* zero_points) {
  for (size_t lane = 0; lane < kTile; ++lane) {
    scales[(column + lane) * strides.scales + block] = tile.scale[lane];
    if (zero_points == nullptr) continue;
    PackZeroPoint(static_cast<uint8_t>(tile.zero_point[lane]), strides, block,
                  zero_points + (column + lane) * strides.zero_points);
  }
}

// A column's words go one after another.
HWY_INLINE void WriteWords(const uint32_t* words, const BlockStrides& strides, size_t column, size_t block,
                           uint8_t* codes) {
  const size_t count = strides.block_bytes / sizeof(uint32_t);
  uint8_t* out = codes + column * strides.codes + block * strides.block_bytes;
  for (size_t lane = 0; lane < kTile; ++lane, out += strides.codes) {
    for (size_t word = 0; word < count; ++word) std::memcpy(out + 4 * word, &words[word * kTile + lane], 4);
  }
}

template <int kBits>
void QuantizeGroups(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                    float* scales, uint8_t* zero_points) {
  const size_t lanes = hn::Lanes(TileTag());
  const size_t most = GroupColumns(layout.block);
  const BlockStrides strides(layout);
  std::vector<float> group(layout.block * most);
  std::vector<uint32_t> words(layout.BlockBytes() / sizeof(uint32_t) * kTile);
  TileChoices tile;
  const auto rows_at = [&](size_t block, size_t begin) {
    return NextRows{weights + block * layout.block * layout.columns + begin, RowsOf(layout, block), layout.columns};
  };
  const auto do_block = [&](size_t block, size_t begin, size_t width, const NextRows& next) HWY_ATTR {
    const TileTag d;
    const NextRows here = rows_at(block, begin);
    for (size_t row = 0; row < here.rows; ++row) {
      for (size_t at = 0; at < width; at += lanes)
        hn::StoreU(hn::LoadU(d, here.corner + row * here.stride + at), d, group.data() + row * width + at);
    }
    for (size_t column = 0; column < width; column += kTile) {
      const float* corner = group.data() + column;
      const NextRows below{next.corner + column, next.rows, next.stride};
      for (size_t at = 0; at < kTile; at += lanes)
        ColumnRange(corner + at, here.rows, width, at, at == 0 ? below : NextRows(), tile);
      Choose(layout, tile);
      for (size_t at = 0; at < kTile; at += lanes)
        ColumnWords<kBits>(corner + at, here.rows, width, layout.block, at, tile, words.data() + at);
      WriteWords(words.data(), strides, begin + column, block, codes);
      WriteScales(tile, strides, begin + column, block, scales, zero_points);
    }
  };
  const auto do_part = [&](size_t block, size_t end, size_t left, size_t right) HWY_ATTR {
    for (; block < end; ++block) {
      for (size_t begin = left; begin < right; begin += most) {
        const size_t width = right - begin < most ? right - begin : most;
        const NextRows next = begin + width < right ? rows_at(block, begin + width)
                              : block + 1 < end     ? rows_at(block + 1, left)
                                                    : NextRows{weights, 0, 0};
        do_block(block, begin, width, next);
      }
    }
  };
  const size_t blocks = layout.BlocksPerColumn();
  const size_t at_once = BlocksAtOnce(layout);
  for (size_t block = 0; block < blocks; block += at_once) {
    const size_t end = blocks - block < at_once ? blocks : block + at_once;
    for (size_t left = first; left < last; left += kPartColumns)
      do_part(block, end, left, last - left < kPartColumns ? last : left + kPartColumns);
  }
}

void QuantizeColumnBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                          float* scales, uint8_t* zero_points) {
  // Words hold their codes as the bytes of a little-endian machine do.
  const bool in_words = std::endian::native == std::endian::little && layout.BlockBytes() % sizeof(uint32_t) == 0;
  const size_t whole = in_words ? first + (last - first) / kTile * kTile : first;
  if (layout.bits == 2) {
    QuantizeGroups<2>(weights, layout, first, whole, codes, scales, zero_points);
  } else if (layout.bits == 4) {
    QuantizeGroups<4>(weights, layout, first, whole, codes, scales, zero_points);
  } else {
    QuantizeGroups<8>(weights, layout, first, whole, codes, scales, zero_points);
  }
  reference::QuantizeBlocks(weights, layout, whole, last, codes, scales, zero_points);
}

// The range of a run of values, with zero in it.
HWY_INLINE void RunRange(const float* values, size_t count, float& least, float& most) {
  const TileTag d;
  auto low = hn::Zero(d);
  auto high = hn::Zero(d);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, values + i);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  }
  least = hn::GetLane(hn::MinOfLanes(d, low));
  most = hn::GetLane(hn::MaxOfLanes(d, high));
  for (; i < count; ++i) {
    least = values[i] < least ? values[i] : least;
    most = values[i] > most ? values[i] : most;
  }
}

HWY_INLINE void RunCodes(const float* values, size_t count, const TileChoices& tile, size_t index, float top,
                         uint8_t* codes) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const hn::Rebind<uint8_t, TileTag> db;
  const auto inverse = hn::Set(d, tile.inverse[index]);
  const auto zero_point = hn::Set(d, tile.zero_point[index]);
  const auto tops = hn::Set(d, top);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto code = CodesOf(hn::LoadU(d, values + i), inverse, zero_point, tops);
    hn::StoreU(hn::DemoteTo(db, hn::BitCast(di, code)), db, codes + i);
  }
  const reference::BlockChoice choice{tile.scale[index], tile.zero_point[index]};
  for (; i < count; ++i) codes[i] = static_cast<uint8_t>(reference::FitCode(values[i], choice, top));
}

void QuantizeColumnRuns(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                        float* scales, uint8_t* zero_points, void (*pack)(const uint8_t*, size_t, int, uint8_t*)) {
  const float top = reference::TopCode(layout.bits);
  const size_t blocks = layout.BlocksPerColumn();
  const BlockStrides strides(layout);
  std::vector<uint8_t> run(blocks * layout.block);
  TileChoices tile;
  for (size_t column = first; column < last; ++column) {
    const float* values = weights + column * layout.rows;
    for (size_t begin = 0; begin < blocks; begin += kTile) {
      const size_t size = blocks - begin < kTile ? blocks - begin : kTile;
      for (size_t i = 0; i < size; ++i)
        RunRange(values + (begin + i) * layout.block, RowsOf(layout, begin + i), tile.low[i], tile.high[i]);
      Choose(layout, tile);
      for (size_t i = 0; i < size; ++i) {
        const size_t at = (begin + i) * layout.block;
        RunCodes(values + at, RowsOf(layout, begin + i), tile, i, top, run.data() + at);
        scales[column * strides.scales + begin + i] = tile.scale[i];
        if (zero_points == nullptr) continue;
        PackZeroPoint(static_cast<uint8_t>(tile.zero_point[i]), strides, begin + i,
                      zero_points + column * strides.zero_points);
      }
    }
    pack(run.data(), run.size(), layout.bits, codes + column * strides.codes);
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
