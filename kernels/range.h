// Ranges of float data, whole or by channel. NaN and infinities are counted and left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace hone::kernels {

// Of the finite values; low > high while there were none. A zero is always positive zero.
struct FloatRange {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
  uint64_t finite = 0;
  uint64_t non_finite = 0;

  // Commutative and associative, so that any split of the data gives the same range.
  void Merge(const FloatRange& other) {
    low = other.low < low ? other.low : low;
    high = other.high > high ? other.high : high;
    finite += other.finite;
    non_finite += other.non_finite;
  }
  // Largest magnitude; 0 while there were no finite values.
  float AbsMax() const {
    if (finite == 0) return 0;
    return -low > high ? -low : high;
  }
};

FloatRange Range(const float* data, size_t count);

// Largest finite magnitude; 0 where there is none.
float AbsMax(const float* data, size_t count);

// Data of shape [outer, channels, inner]; ranges[c] is set to the range of channel c. Which of the loops is contiguous
// decides the vector form: rows of `inner` values, or for inner == 1 one lane a channel.
void ChannelRanges(const float* data, size_t outer, size_t channels, size_t inner, FloatRange* ranges);
// The same for the largest magnitudes.
void ChannelAbsMax(const float* data, size_t outer, size_t channels, size_t inner, float* magnitudes);

}  // namespace hone::kernels
