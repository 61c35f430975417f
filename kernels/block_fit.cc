#include "kernels/block_fit.h"

#include "kernels/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_fit.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hone::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FitTag = hn::CappedTag<float, reference::kFitParts>;

// Rounds half away from zero; magnitudes below 2^23.
template <class D, class V>
HWY_INLINE V RoundAway(D d, V value) {
  const auto whole = hn::Trunc(value);
  const auto far = hn::Ge(hn::Abs(hn::Sub(value, whole)), hn::Set(d, 0.5f));
  return hn::IfThenElse(far, hn::Add(whole, hn::CopySign(hn::Set(d, 1.0f), value)), whole);
}

reference::FitSums SumErrors(const reference::FitBlockView& block, const reference::BlockChoice& choice, float top) {
  const FitTag d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = block.count / reference::kFitParts * reference::kFitParts;
  const auto scale = hn::Set(d, choice.scale);
  const auto inverse = hn::Set(d, reference::InverseScale(choice.scale));
  const auto zero_point = hn::Set(d, choice.zero_point);
  const auto low = hn::Zero(d);
  const auto high = hn::Set(d, top);
  reference::FitParts parts;
  for (size_t part = 0; part < reference::kFitParts; part += lanes) {
    auto error = hn::Zero(d);
    auto dot = hn::Zero(d);
    auto square = hn::Zero(d);
    for (size_t i = part; i < whole; i += reference::kFitParts) {
      const auto value = hn::LoadU(d, block.values + i);
      const auto exact = hn::Add(hn::Mul(value, inverse), zero_point);
      const auto code = hn::Sub(hn::Min(hn::Max(RoundAway(d, exact), low), high), zero_point);
      const auto difference = hn::Sub(value, hn::Mul(code, scale));
      auto error_here = hn::Mul(difference, difference);
      auto dot_here = hn::Mul(value, code);
      auto square_here = hn::Mul(code, code);
      if (block.importance != nullptr) {
        const auto weight = hn::LoadU(d, block.importance + i);
        error_here = hn::Mul(error_here, weight);
        dot_here = hn::Mul(dot_here, weight);
        square_here = hn::Mul(square_here, weight);
      }
      error = hn::Add(error, error_here);
      dot = hn::Add(dot, dot_here);
      square = hn::Add(square, square_here);
    }
    hn::StoreU(error, d, parts.error + part);
    hn::StoreU(dot, d, parts.dot + part);
    hn::StoreU(square, d, parts.square + part);
  }
  reference::AddFitParts(block, whole, choice, top, parts);
  return reference::Sum(parts);
}

void Codes(const reference::FitBlockView& block, const reference::BlockChoice& choice, float top, uint8_t* codes) {
  const FitTag d;
  const hn::RebindToSigned<FitTag> di;
  const hn::Rebind<uint8_t, FitTag> db;
  const size_t lanes = hn::Lanes(d);
  const auto inverse = hn::Set(d, reference::InverseScale(choice.scale));
  const auto zero_point = hn::Set(d, choice.zero_point);
  size_t i = 0;
  for (; i + lanes <= block.count; i += lanes) {
    const auto exact = hn::Add(hn::Mul(hn::LoadU(d, block.values + i), inverse), zero_point);
    const auto code = hn::Min(hn::Max(RoundAway(d, exact), hn::Zero(d)), hn::Set(d, top));
    hn::StoreU(hn::DemoteTo(db, hn::ConvertTo(di, code)), db, codes + i);
  }
  for (; i < block.count; ++i) codes[i] = static_cast<uint8_t>(reference::FitCode(block.values[i], choice, top));
}

void FitAll(const float* values, const float* importance, size_t count, size_t block, const FitOptions& options,
            float* scales, uint8_t* zero_points, uint8_t* codes) {
  const float top = reference::TopCode(options.bits);
  for (size_t begin = 0, index = 0; begin < count; begin += block, ++index) {
    const reference::FitBlockView view{values + begin, importance == nullptr ? nullptr : importance + begin,
                                       count - begin < block ? count - begin : block};
    const auto choice = reference::ChooseBlock(
        view, options, [&](const reference::BlockChoice& candidate) { return SumErrors(view, candidate, top); });
    scales[index] = choice.scale;
    zero_points[index] = static_cast<uint8_t>(choice.zero_point);
    Codes(view, choice, top, codes + begin);
  }
}

}  // namespace hone::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hone::kernels {

HWY_EXPORT(FitAll);

void FitBlocks(const float* values, const float* importance, size_t count, size_t block, const FitOptions& options,
               float* scales, uint8_t* zero_points, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(FitAll)(values, importance, count, block, options, scales, zero_points, codes);
}

}  // namespace hone::kernels
#endif  // HWY_ONCE
