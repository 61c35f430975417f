// A processor cannot add to the same address faster than it forwards a store to a load, and values of one bin come
// together (zeros after Relu). Neighbouring values therefore go to tables of their own, which are added at the end.
// Bins are computed a vector at a time, in float, where whole numbers below 2^23 are exact. Adding 2^23 leaves a bin in
// the lowest bits; whatever is outside of the span, NaN and infinities included, is a larger unsigned number then.
#include "kernels/histogram.h"

#include <algorithm>
#include <vector>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/histogram.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef HONE_KERNELS_HISTOGRAM_CONSTANTS
#define HONE_KERNELS_HISTOGRAM_CONSTANTS
namespace hone::kernels {

constexpr size_t kBinTables = 4;
constexpr float kWholeFrom = 0x1p23f;
// Values whose bins are computed before they are counted; a multiple of every vector's lanes and of kBinTables.
constexpr size_t kBinBlock = 512;
// Values between two additions of the tables to the result: as many as cannot overflow 16 bits in one table. Narrow
// counters keep the tables in the first cache.
constexpr size_t kBinFlush = kBinTables * 65535 / kBinBlock * kBinBlock;

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// tables: kBinTables times (span.count + 1) counters; the last of each is for values outside. count is a multiple of
// kBinBlock.
void CountBlocks(const float* values, size_t count, const BinSpan& span, uint16_t* tables) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d);
  const auto inverse = hn::Set(d, span.inverse_width);
  const auto shift = hn::Set(d, kWholeFrom - static_cast<float>(span.first));
  const auto whole_bits = hn::Set(du, reference::Bits(kWholeFrom));
  const auto outside = hn::Set(du, span.count);
  const auto zero = hn::Zero(d);
  const auto below = hn::Set(d, -1.0f);
  HWY_ALIGN uint32_t bins[kBinBlock];
  const size_t stride = size_t{span.count} + 1;
  uint16_t* const table0 = tables;
  uint16_t* const table1 = tables + stride;
  uint16_t* const table2 = tables + 2 * stride;
  uint16_t* const table3 = tables + 3 * stride;
  for (size_t begin = 0; begin < count; begin += kBinBlock) {
    for (size_t i = 0; i < kBinBlock; i += lanes) {
      const auto value = hn::LoadU(d, values + begin + i);
      const auto whole = hn::Floor(hn::Mul(value, inverse));
      // A product too small for float is -0, which floor() leaves alone.
      const auto signed_whole = hn::IfThenElse(hn::Lt(value, zero), hn::Min(whole, below), whole);
      const auto at = hn::Sub(hn::BitCast(du, hn::Add(signed_whole, shift)), whole_bits);
      hn::Store(hn::Min(at, outside), du, bins + i);
    }
    for (size_t i = 0; i < kBinBlock; i += kBinTables) {
      ++table0[bins[i]];
      ++table1[bins[i + 1]];
      ++table2[bins[i + 2]];
      ++table3[bins[i + 3]];
    }
  }
}

// Adds the tables, `stride` counters apart, to the result.
void AddTables(const uint16_t* tables, size_t stride, size_t bins, uint64_t* counts) {
  const hn::ScalableTag<uint64_t> d;
  const hn::Rebind<uint32_t, decltype(d)> d32;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const size_t lanes = hn::Lanes(d);
  const auto table = [&](size_t index, size_t bin) HWY_ATTR {
    return hn::PromoteTo(d32, hn::LoadU(d16, tables + index * stride + bin));
  };
  size_t bin = 0;
  for (; bin + lanes <= bins; bin += lanes) {
    const auto sum = hn::Add(hn::Add(table(0, bin), table(1, bin)), hn::Add(table(2, bin), table(3, bin)));
    hn::StoreU(hn::Add(hn::LoadU(d, counts + bin), hn::PromoteTo(d, sum)), d, counts + bin);
  }
  for (; bin < bins; ++bin) {
    for (size_t index = 0; index < kBinTables; ++index) counts[bin] += tables[index * stride + bin];
  }
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(CountBlocks);
HWY_EXPORT(AddTables);

void CountBins(const float* values, size_t count, const BinSpan& span, uint64_t* counts) {
  const size_t stride = size_t{span.count} + 1;
  std::vector<uint16_t> tables;
  while (count >= kBinBlock && count >= span.count / 4) {
    const size_t size = std::min(count / kBinBlock * kBinBlock, kBinFlush);
    tables.assign(kBinTables * stride, 0);
    HWY_DYNAMIC_DISPATCH(CountBlocks)(values, size, span, tables.data());
    HWY_DYNAMIC_DISPATCH(AddTables)(tables.data(), stride, span.count, counts);
    values += size;
    count -= size;
  }
  reference::CountBins(values, count, span, counts);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
