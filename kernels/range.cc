#include "kernels/range.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/range.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef HONE_KERNELS_RANGE_CONSTANTS
#define HONE_KERNELS_RANGE_CONSTANTS
namespace hone::kernels {

// Channels [begin, end) of some rows, one value after another.
inline void AddColumnRanges(const float* data, size_t rows, size_t channels, size_t begin, size_t end, float* lows,
                            float* highs, uint64_t* non_finite) {
  for (size_t row = 0; row < rows; ++row) {
    const float* line = data + row * channels;
    for (size_t c = begin; c < end; ++c) {
      if (!std::isfinite(line[c])) {
        ++non_finite[c];
        continue;
      }
      lows[c] = line[c] < lows[c] ? line[c] : lows[c];
      highs[c] = line[c] > highs[c] ? line[c] : highs[c];
    }
  }
}

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Values that are looked at before it is asked whether all were finite; a block with others is done again by the plain
// loop.
constexpr size_t kRangeBlock = 1024;

FloatRange RangeOf(const float* data, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  FloatRange total;
  for (size_t begin = 0; begin < count; begin += kRangeBlock) {
    const size_t size = count - begin < kRangeBlock ? count - begin : kRangeBlock;
    const float* block = data + begin;
    if (size < lanes) {
      total.Merge(reference::Range(block, size));
      continue;
    }
    // Two chains of each, since a comparison takes longer than a load.
    auto low = hn::LoadU(d, block);
    auto high = low;
    auto low2 = low;
    auto high2 = low;
    auto finite = hn::Le(hn::Abs(low), largest);
    size_t i = lanes;
    for (; i + 2 * lanes <= size; i += 2 * lanes) {
      const auto value = hn::LoadU(d, block + i);
      const auto value2 = hn::LoadU(d, block + i + lanes);
      low = hn::Min(low, value);
      low2 = hn::Min(low2, value2);
      high = hn::Max(high, value);
      high2 = hn::Max(high2, value2);
      finite = hn::And(finite, hn::And(hn::Le(hn::Abs(value), largest), hn::Le(hn::Abs(value2), largest)));
    }
    const auto take = [&](size_t at) HWY_ATTR {
      const auto value = hn::LoadU(d, block + at);
      low = hn::Min(low, value);
      high = hn::Max(high, value);
      finite = hn::And(finite, hn::Le(hn::Abs(value), largest));
    };
    for (; i + lanes <= size; i += lanes) take(i);
    if (i < size) take(size - lanes);  // Overlaps: a value seen twice changes no range.
    low = hn::Min(low, low2);
    high = hn::Max(high, high2);
    if (!hn::AllTrue(d, finite)) {
      total.Merge(reference::Range(block, size));
      continue;
    }
    FloatRange range;
    range.low = hn::GetLane(hn::MinOfLanes(d, low)) + 0.0f;
    range.high = hn::GetLane(hn::MaxOfLanes(d, high)) + 0.0f;
    range.finite = size;
    total.Merge(range);
  }
  return total;
}

float AbsMaxOf(const float* data, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  const auto magnitude = [&](size_t at) HWY_ATTR {
    const auto value = hn::Abs(hn::LoadU(d, data + at));
    return hn::IfThenElseZero(hn::Le(value, largest), value);
  };
  if (count < lanes) return reference::AbsMax(data, count);
  auto most = hn::Zero(d);
  auto most2 = most;
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    most = hn::Max(most, magnitude(i));
    most2 = hn::Max(most2, magnitude(i + lanes));
  }
  for (; i + lanes <= count; i += lanes) most = hn::Max(most, magnitude(i));
  if (i < count) most = hn::Max(most, magnitude(count - lanes));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(most, most2)));
}

// Runs of `inner` values, channel after channel.
void RunRanges(const float* data, size_t outer, size_t channels, size_t inner, FloatRange* ranges) {
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) ranges[c].Merge(RangeOf(data + (o * channels + c) * inner, inner));
  }
}

void RunAbsMax(const float* data, size_t outer, size_t channels, size_t inner, float* magnitudes) {
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      const float most = AbsMaxOf(data + (o * channels + c) * inner, inner);
      magnitudes[c] = most > magnitudes[c] ? most : magnitudes[c];
    }
  }
}

void ColumnAbsMax(const float* data, size_t rows, size_t channels, float* magnitudes) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  for (size_t row = 0; row < rows; ++row) {
    const float* line = data + row * channels;
    size_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      const auto value = hn::Abs(hn::LoadU(d, line + c));
      const auto finite = hn::IfThenElseZero(hn::Le(value, largest), value);
      hn::StoreU(hn::Max(hn::LoadU(d, magnitudes + c), finite), d, magnitudes + c);
    }
    for (; c < channels; ++c) {
      const float most = reference::AbsMax(line + c, 1);
      magnitudes[c] = most > magnitudes[c] ? most : magnitudes[c];
    }
  }
}

// One lane a channel: rows x channels values, rows one after another; four rows between loading a channel's range and
// storing it.
void ColumnRanges(const float* data, size_t rows, size_t channels, float* lows, float* highs, uint64_t* non_finite) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const float* line = data + row * channels;
    size_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      const auto v0 = hn::LoadU(d, line + c);
      const auto v1 = hn::LoadU(d, line + channels + c);
      const auto v2 = hn::LoadU(d, line + 2 * channels + c);
      const auto v3 = hn::LoadU(d, line + 3 * channels + c);
      const auto finite01 = hn::And(hn::Le(hn::Abs(v0), largest), hn::Le(hn::Abs(v1), largest));
      const auto finite23 = hn::And(hn::Le(hn::Abs(v2), largest), hn::Le(hn::Abs(v3), largest));
      if (HWY_UNLIKELY(!hn::AllTrue(d, hn::And(finite01, finite23)))) {
        AddColumnRanges(line, 4, channels, c, c + lanes, lows, highs, non_finite);
        continue;
      }
      const auto low = hn::Min(hn::Min(v0, v1), hn::Min(v2, v3));
      const auto high = hn::Max(hn::Max(v0, v1), hn::Max(v2, v3));
      hn::StoreU(hn::Min(hn::LoadU(d, lows + c), low), d, lows + c);
      hn::StoreU(hn::Max(hn::LoadU(d, highs + c), high), d, highs + c);
    }
    AddColumnRanges(line, 4, channels, c, channels, lows, highs, non_finite);
  }
  AddColumnRanges(data + row * channels, rows - row, channels, 0, channels, lows, highs, non_finite);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(RangeOf);
HWY_EXPORT(AbsMaxOf);
HWY_EXPORT(RunRanges);
HWY_EXPORT(RunAbsMax);
HWY_EXPORT(ColumnRanges);
HWY_EXPORT(ColumnAbsMax);

FloatRange Range(const float* data, size_t count) { return HWY_DYNAMIC_DISPATCH(RangeOf)(data, count); }

float AbsMax(const float* data, size_t count) { return HWY_DYNAMIC_DISPATCH(AbsMaxOf)(data, count); }

void ChannelAbsMax(const float* data, size_t outer, size_t channels, size_t inner, float* magnitudes) {
  std::fill(magnitudes, magnitudes + channels, 0.0f);
  if (inner == 1) {
    HWY_DYNAMIC_DISPATCH(ColumnAbsMax)(data, outer, channels, magnitudes);
  } else {
    HWY_DYNAMIC_DISPATCH(RunAbsMax)(data, outer, channels, inner, magnitudes);
  }
}

void ChannelRanges(const float* data, size_t outer, size_t channels, size_t inner, FloatRange* ranges) {
  if (inner != 1) {
    std::fill(ranges, ranges + channels, FloatRange());
    HWY_DYNAMIC_DISPATCH(RunRanges)(data, outer, channels, inner, ranges);
    return;
  }
  std::vector<float> lows(channels, std::numeric_limits<float>::infinity());
  std::vector<float> highs(channels, -std::numeric_limits<float>::infinity());
  std::vector<uint64_t> non_finite(channels, 0);
  HWY_DYNAMIC_DISPATCH(ColumnRanges)(data, outer, channels, lows.data(), highs.data(), non_finite.data());
  for (size_t c = 0; c < channels; ++c)
    ranges[c] = {lows[c] + 0.0f, highs[c] + 0.0f, outer - non_finite[c], non_finite[c]};
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
