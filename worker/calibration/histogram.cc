// Width 2^e is the least for which every bin seen lies in [-kMaxBins, kMaxBins): it follows from the largest magnitude
// alone, so neither the order of values nor how they were cut matters. Bins of width 2^(e+1) are unions of two of width
// 2^e, and bin i of the narrow ones lies in floor(i / 2) of the wide ones.
#include "worker/calibration/histogram.h"

#include <algorithm>
#include <cmath>

#include "kernels/histogram.h"

namespace hone {
namespace {

constexpr int kBinBits = 12;
static_assert(Histogram::kMaxBins == 1 << kBinBits);
// Least exponent whose 2^-e is still a normal float.
constexpr int kLeastExponent = -126;

int64_t BinOf(float value, int exponent) {
  return static_cast<int64_t>(std::floor(std::ldexp(static_cast<double>(value), -exponent)));
}

int64_t FloorHalf(int64_t value) { return value >> 1; }

}  // namespace

void HistogramBuilder::Add(const float* values, size_t count, float low, float high) {
  const float magnitude = std::max(std::fabs(low), std::fabs(high));
  if (magnitude > 0) Cover(magnitude);
  if (!has_width_) {
    zeros_ += static_cast<uint64_t>(std::count(values, values + count, 0.0f));
    return;
  }
  const int64_t first = BinOf(low, exponent_);
  const int64_t last = BinOf(high, exponent_);
  MakeRoom(first, last);
  const kernels::BinSpan span{std::ldexp(1.0f, -exponent_), static_cast<int32_t>(first),
                              static_cast<uint32_t>(last - first + 1)};
  kernels::CountBins(values, count, span, counts_.data() + (first - first_));
}

void HistogramBuilder::Cover(float magnitude) {
  const int wanted = std::max(kLeastExponent, std::ilogb(magnitude) + 1 - kBinBits);
  if (!has_width_) {
    has_width_ = true;
    exponent_ = wanted;
    if (zeros_ > 0) {
      MakeRoom(0, 0);
      counts_[0] = zeros_;
    }
    return;
  }
  while (exponent_ < wanted) {
    ++exponent_;
    const int64_t first = FloorHalf(first_);
    for (size_t i = 0; i < counts_.size(); ++i) {
      const auto at = static_cast<size_t>(FloorHalf(first_ + static_cast<int64_t>(i)) - first);
      const uint64_t moved = counts_[i];
      counts_[i] = 0;
      counts_[at] += moved;
    }
    if (!counts_.empty())
      counts_.resize(static_cast<size_t>(FloorHalf(first_ + static_cast<int64_t>(counts_.size()) - 1) - first + 1));
    first_ = first;
  }
}

void HistogramBuilder::MakeRoom(int64_t first, int64_t last) {
  if (counts_.empty()) first_ = first;
  if (first < first_) {
    counts_.insert(counts_.begin(), static_cast<size_t>(first_ - first), 0);
    first_ = first;
  }
  const auto size = static_cast<size_t>(last - first_ + 1);
  if (counts_.size() < size) counts_.resize(size);
}

Histogram HistogramBuilder::Finish() const {
  Histogram histogram;
  if (!has_width_) {
    if (zeros_ > 0) histogram.counts = {zeros_};
    return histogram;
  }
  histogram.width = std::ldexp(1.0, exponent_);
  // Merging leaves no bins beyond those of values, but widening may have left them where nothing lies any more.
  size_t begin = 0;
  size_t end = counts_.size();
  while (begin < end && counts_[begin] == 0) ++begin;
  while (end > begin && counts_[end - 1] == 0) --end;
  histogram.first = first_ + static_cast<int64_t>(begin);
  histogram.counts.assign(counts_.begin() + static_cast<std::ptrdiff_t>(begin),
                          counts_.begin() + static_cast<std::ptrdiff_t>(end));
  return histogram;
}

}  // namespace hone
