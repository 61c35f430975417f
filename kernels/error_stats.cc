#include "kernels/error_stats.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/error_stats.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Values that are looked at before it is asked whether all were finite; a multiple of the eight parts. Small enough to
// stay in the first cache, which a narrow instruction set reads once for each group of parts.
constexpr size_t kErrorBlock = 1024;

bool AllFinite(const float* a, const float* b, size_t count) {
  const hn::ScalableTag<float> d;
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  auto finite = hn::Le(hn::Zero(d), largest);
  for (size_t i = 0; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    finite = hn::And(finite, hn::Le(hn::Abs(hn::LoadU(d, a + i)), largest));
    finite = hn::And(finite, hn::Le(hn::Abs(hn::LoadU(d, b + i)), largest));
  }
  return hn::AllTrue(d, finite);
}

void ErrorParts(const float* reference, const float* value, size_t count, reference::ErrorParts& parts) {
  const hn::CappedTag<double, reference::kErrorParts> d;
  const hn::Rebind<float, decltype(d)> df;
  const size_t lanes = hn::Lanes(d);
  size_t begin = 0;
  for (; begin + kErrorBlock <= count; begin += kErrorBlock) {
    const float* a = reference + begin;
    const float* b = value + begin;
    if (!AllFinite(a, b, kErrorBlock)) {
      reference::AddErrorParts(a, b, kErrorBlock, parts);
      continue;
    }
    parts.count += kErrorBlock;
    for (size_t part = 0; part < reference::kErrorParts; part += lanes) {
      auto squared_error = hn::LoadU(d, parts.squared_error + part);
      auto squared_reference = hn::LoadU(d, parts.squared_reference + part);
      auto squared_value = hn::LoadU(d, parts.squared_value + part);
      auto dot = hn::LoadU(d, parts.dot + part);
      auto max_error = hn::LoadU(d, parts.max_error + part);
      for (size_t i = part; i < kErrorBlock; i += reference::kErrorParts) {
        const auto x = hn::PromoteTo(d, hn::LoadU(df, a + i));
        const auto y = hn::PromoteTo(d, hn::LoadU(df, b + i));
        const auto error = hn::Sub(x, y);
        squared_error = hn::Add(squared_error, hn::Mul(error, error));
        squared_reference = hn::Add(squared_reference, hn::Mul(x, x));
        squared_value = hn::Add(squared_value, hn::Mul(y, y));
        dot = hn::Add(dot, hn::Mul(x, y));
        max_error = hn::Max(max_error, hn::Abs(error));
      }
      hn::StoreU(squared_error, d, parts.squared_error + part);
      hn::StoreU(squared_reference, d, parts.squared_reference + part);
      hn::StoreU(squared_value, d, parts.squared_value + part);
      hn::StoreU(dot, d, parts.dot + part);
      hn::StoreU(max_error, d, parts.max_error + part);
    }
  }
  reference::AddErrorParts(reference + begin, value + begin, count - begin, parts);
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(ErrorParts);

void AddErrors(const float* reference, const float* value, size_t count, ErrorStats& stats) {
  reference::ErrorParts parts;
  HWY_DYNAMIC_DISPATCH(ErrorParts)(reference, value, count, parts);
  stats.Merge(reference::Sum(parts));
}

void ErrorStats::Merge(const ErrorStats& other) {
  count += other.count;
  non_finite += other.non_finite;
  squared_error += other.squared_error;
  squared_reference += other.squared_reference;
  squared_value += other.squared_value;
  dot += other.dot;
  max_error = std::max(max_error, other.max_error);
}

double ErrorStats::MeanSquaredError() const { return count == 0 ? 0 : squared_error / static_cast<double>(count); }

double ErrorStats::SqnrDb() const {
  if (squared_error == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(squared_reference / squared_error);
}

double ErrorStats::Cosine() const {
  if (squared_reference == 0 && squared_value == 0) return 1;
  if (squared_reference == 0 || squared_value == 0) return 0;
  return dot / (std::sqrt(squared_reference) * std::sqrt(squared_value));
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
