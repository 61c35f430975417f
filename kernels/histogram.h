// Counts of float values in bins of equal width that are aligned to zero: bin i holds [i * width, (i + 1) * width).
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// The bins [first, first + count) and where their counts lie. |first| and count are at most 2^22.
struct BinSpan {
  float inverse_width = 1;  // A power of two, so that a value's bin is exact.
  int32_t first = 0;
  uint32_t count = 0;
};

// Adds 1 to counts[i - first] for every finite value of bin i in the span; other values count nowhere. A negative value
// is in a negative bin however small it is; both zeros are in bin 0.
void CountBins(const float* values, size_t count, const BinSpan& span, uint64_t* counts);

}  // namespace hone::kernels
