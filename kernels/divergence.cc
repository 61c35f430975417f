// With A, B the largest logits, Za = sum exp(a - A), Zb = sum exp(b - B):
//   D = sum exp(a - A) (a - b) / Za + (B + log Zb) - (A + log Za)
#include "kernels/divergence.h"

#include <algorithm>
#include <cmath>

#include "kernels/range.h"
#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/divergence.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void RowSums(const float* a, const float* b, size_t count, float top_a, float top_b, reference::DivergenceSums& sums) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> d;
  const size_t lanes = hn::Lanes(d);
  auto total_a = hn::Zero(dd);
  auto total_b = hn::Zero(dd);
  auto weighted = hn::Zero(dd);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto x = hn::LoadU(d, a + i);
    const auto y = hn::LoadU(d, b + i);
    const auto p = hn::PromoteTo(dd, hn::Exp(d, hn::Sub(x, hn::Set(d, top_a))));
    total_a = hn::Add(total_a, p);
    total_b = hn::Add(total_b, hn::PromoteTo(dd, hn::Exp(d, hn::Sub(y, hn::Set(d, top_b)))));
    weighted = hn::Add(weighted, hn::Mul(p, hn::Sub(hn::PromoteTo(dd, x), hn::PromoteTo(dd, y))));
  }
  sums.total_reference = hn::GetLane(hn::SumOfLanes(dd, total_a));
  sums.total_value = hn::GetLane(hn::SumOfLanes(dd, total_b));
  sums.weighted = hn::GetLane(hn::SumOfLanes(dd, weighted));
  reference::AddDivergenceSums(a + i, b + i, count - i, top_a, top_b, sums);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(RowSums);

void DivergenceStats::Merge(const DivergenceStats& other) {
  rows += other.rows;
  non_finite += other.non_finite;
  sum += other.sum;
  max = std::max(max, other.max);
}

double DivergenceStats::Mean() const { return rows == 0 ? 0 : sum / static_cast<double>(rows); }

void AddDivergence(const float* reference, const float* value, size_t rows, size_t columns, DivergenceStats& stats) {
  if (columns == 0) return;
  for (size_t row = 0; row < rows; ++row) {
    const float* a = reference + row * columns;
    const float* b = value + row * columns;
    const FloatRange range_a = Range(a, columns);
    const FloatRange range_b = Range(b, columns);
    if (range_a.non_finite + range_b.non_finite > 0) {
      ++stats.non_finite;
      continue;
    }
    reference::DivergenceSums sums;
    HWY_DYNAMIC_DISPATCH(RowSums)(a, b, columns, range_a.high, range_b.high, sums);
    const double divergence = reference::Divergence(sums, range_a.high, range_b.high);
    ++stats.rows;
    stats.sum += divergence;
    stats.max = std::max(stats.max, divergence);
  }
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
