// A processor cannot add to the same address faster than it forwards a store to a load, and values of one bin come
// together (zeros after Relu). Neighbouring values therefore go to tables of their own, which are added at the end.
// Bins are computed a vector at a time, in float: floor() and the comparisons with the span are exact there, since bins
// of interest are whole numbers below 2^23.
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
// Values whose bins are computed before they are counted; a multiple of every vector's lanes and of kBinTables.
constexpr size_t kBinBlock = 512;

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// tables: kBinTables times (span.count + 1) counters; the last of each is for values outside. count is a multiple of
// kBinBlock.
void CountBlocks(const float* values, size_t count, const BinSpan& span, uint32_t* tables) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  const auto inverse = hn::Set(d, span.inverse_width);
  const auto first = hn::Set(d, static_cast<float>(span.first));
  const auto size = hn::Set(d, static_cast<float>(span.count));
  const auto zero = hn::Zero(d);
  const auto below = hn::Set(d, -1.0f);
  HWY_ALIGN int32_t bins[kBinBlock];
  const size_t stride = size_t{span.count} + 1;
  uint32_t* const table0 = tables;
  uint32_t* const table1 = tables + stride;
  uint32_t* const table2 = tables + 2 * stride;
  uint32_t* const table3 = tables + 3 * stride;
  for (size_t begin = 0; begin < count; begin += kBinBlock) {
    for (size_t i = 0; i < kBinBlock; i += lanes) {
      const auto value = hn::LoadU(d, values + begin + i);
      const auto whole = hn::Floor(hn::Mul(value, inverse));
      // A product too small for float is -0, which floor() leaves alone.
      const auto signed_whole = hn::IfThenElse(hn::Lt(value, zero), hn::Min(whole, below), whole);
      const auto at = hn::Sub(signed_whole, first);
      const auto inside = hn::And(hn::Ge(at, zero), hn::Lt(at, size));
      hn::Store(hn::ConvertTo(di, hn::IfThenElse(inside, at, size)), di, bins + i);
    }
    for (size_t i = 0; i < kBinBlock; i += kBinTables) {
      ++table0[bins[i]];
      ++table1[bins[i + 1]];
      ++table2[bins[i + 2]];
      ++table3[bins[i + 3]];
    }
  }
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(CountBlocks);

void CountBins(const float* values, size_t count, const BinSpan& span, uint64_t* counts) {
  constexpr size_t kMostAtOnce = size_t{1} << 30;  // Counters of 32 bits hold as many.
  const size_t stride = size_t{span.count} + 1;
  std::vector<uint32_t> tables;
  while (count >= kBinBlock && count >= span.count / 4) {
    const size_t size = std::min(count, kMostAtOnce) / kBinBlock * kBinBlock;
    tables.assign(kBinTables * stride, 0);
    HWY_DYNAMIC_DISPATCH(CountBlocks)(values, size, span, tables.data());
    const uint32_t* table = tables.data();
    for (size_t bin = 0; bin < span.count; ++bin) {
      counts[bin] += uint64_t{table[bin]} + table[stride + bin] + table[2 * stride + bin] + table[3 * stride + bin];
    }
    values += size;
    count -= size;
  }
  reference::CountBins(values, count, span, counts);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
