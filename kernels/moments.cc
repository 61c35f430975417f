#include "kernels/moments.h"

#include <cmath>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/moments.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef HONE_KERNELS_MOMENTS_CONSTANTS
#define HONE_KERNELS_MOMENTS_CONSTANTS
namespace hone::kernels {

// Channels whose accumulators (24 bytes each) stay in the first cache while the rows stream by.
constexpr size_t kMomentTile = 512;

// Channels [begin, end) of one row; all of them were counted as finite before.
inline void AddColumns(const float* row, size_t begin, size_t end, const ChannelMoments& moments) {
  for (size_t c = begin; c < end; ++c) {
    const float value = row[c];
    if (!std::isfinite(value)) {
      --moments.finite[c];
      continue;
    }
    moments.low[c] = value < moments.low[c] ? value : moments.low[c];
    moments.high[c] = value > moments.high[c] ? value : moments.high[c];
    moments.sum[c] += static_cast<double>(value);
    moments.magnitude[c] += static_cast<double>(std::fabs(value));
  }
}

}  // namespace hone::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// One lane a channel: columns [begin, end) of a row-major matrix [rows, channels].
void ColumnMoments(const float* data, size_t rows, size_t channels, size_t begin, size_t end,
                   const ChannelMoments& moments) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  // Four rows between loading a channel's sums and storing them.
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const float* line = data + row * channels;
    size_t c = begin;
    for (; c + lanes <= end; c += lanes) {
      const auto v0 = hn::LoadU(d, line + c);
      const auto v1 = hn::LoadU(d, line + channels + c);
      const auto v2 = hn::LoadU(d, line + 2 * channels + c);
      const auto v3 = hn::LoadU(d, line + 3 * channels + c);
      const auto m0 = hn::Abs(v0);
      const auto m1 = hn::Abs(v1);
      const auto m2 = hn::Abs(v2);
      const auto m3 = hn::Abs(v3);
      const auto finite01 = hn::And(hn::Le(m0, largest), hn::Le(m1, largest));
      const auto finite23 = hn::And(hn::Le(m2, largest), hn::Le(m3, largest));
      if (HWY_UNLIKELY(!hn::AllTrue(d, hn::And(finite01, finite23)))) {
        for (size_t step = 0; step < 4; ++step) AddColumns(line + step * channels, c, c + lanes, moments);
        continue;
      }
      const auto low = hn::Min(hn::Min(v0, v1), hn::Min(v2, v3));
      const auto high = hn::Max(hn::Max(v0, v1), hn::Max(v2, v3));
      hn::StoreU(hn::Min(hn::LoadU(d, moments.low + c), low), d, moments.low + c);
      hn::StoreU(hn::Max(hn::LoadU(d, moments.high + c), high), d, moments.high + c);
      auto sum = hn::Add(hn::LoadU(dd, moments.sum + c), hn::PromoteTo(dd, v0));
      sum = hn::Add(hn::Add(hn::Add(sum, hn::PromoteTo(dd, v1)), hn::PromoteTo(dd, v2)), hn::PromoteTo(dd, v3));
      hn::StoreU(sum, dd, moments.sum + c);
      auto total = hn::Add(hn::LoadU(dd, moments.magnitude + c), hn::PromoteTo(dd, m0));
      total = hn::Add(hn::Add(hn::Add(total, hn::PromoteTo(dd, m1)), hn::PromoteTo(dd, m2)), hn::PromoteTo(dd, m3));
      hn::StoreU(total, dd, moments.magnitude + c);
    }
    for (size_t step = 0; step < 4; ++step) AddColumns(line + step * channels, c, end, moments);
  }
  for (; row < rows; ++row) AddColumns(data + row * channels, begin, end, moments);
}

// One run of values of one channel, without what the plain loop has to do: its end and what is not finite.
bool RunMoments(const float* data, size_t count, reference::RunParts& parts) {
  const hn::CappedTag<double, reference::kMomentParts> dd;
  const hn::Rebind<float, decltype(dd)> d;
  const size_t lanes = hn::Lanes(d);
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  auto low = hn::Set(d, reference::kInfinity);
  auto high = hn::Neg(low);
  auto finite = hn::Le(low, low);
  for (size_t part = 0; part < reference::kMomentParts; part += lanes) {
    auto sum = hn::LoadU(dd, parts.sum + part);
    auto total = hn::LoadU(dd, parts.magnitude + part);
    for (size_t i = part; i < count; i += reference::kMomentParts) {
      const auto value = hn::LoadU(d, data + i);
      const auto magnitude = hn::Abs(value);
      finite = hn::And(finite, hn::Le(magnitude, largest));
      low = hn::Min(low, value);
      high = hn::Max(high, value);
      sum = hn::Add(sum, hn::PromoteTo(dd, value));
      total = hn::Add(total, hn::PromoteTo(dd, magnitude));
    }
    hn::StoreU(sum, dd, parts.sum + part);
    hn::StoreU(total, dd, parts.magnitude + part);
  }
  parts.low = hn::GetLane(hn::MinOfLanes(d, low));
  parts.high = hn::GetLane(hn::MaxOfLanes(d, high));
  return hn::AllTrue(d, finite);
}

void RowMoments(const float* data, size_t outer, size_t channels, size_t inner, const ChannelMoments& moments) {
  const size_t whole = inner / reference::kMomentParts * reference::kMomentParts;
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      const float* run = data + (o * channels + c) * inner;
      reference::RunParts parts;
      if (whole > 0 && RunMoments(run, whole, parts)) {
        parts.finite = whole;
        reference::AddRunParts(run + whole, inner - whole, parts);
      } else {
        parts = reference::RunParts();
        reference::AddRunParts(run, inner, parts);
      }
      reference::AddRun(parts, c, moments);
    }
  }
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(ColumnMoments);
HWY_EXPORT(RowMoments);

void AddChannelMoments(const float* data, size_t outer, size_t channels, size_t inner, const ChannelMoments& moments) {
  if (inner != 1) {
    HWY_DYNAMIC_DISPATCH(RowMoments)(data, outer, channels, inner, moments);
    return;
  }
  for (size_t c = 0; c < channels; ++c) moments.finite[c] += outer;
  for (size_t begin = 0; begin < channels; begin += kMomentTile) {
    const size_t end = channels - begin < kMomentTile ? channels : begin + kMomentTile;
    HWY_DYNAMIC_DISPATCH(ColumnMoments)(data, outer, channels, begin, end, moments);
  }
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
