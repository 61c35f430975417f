// How far one array is from another, in one pass over both, as sums that can be merged.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// Pairs in which either side is NaN or infinite are counted and left out. The sums are kept in eight interleaved
// float64 parts that are added in a fixed order, so every instruction set gives the same bits.
struct ErrorStats {
  uint64_t count = 0;
  uint64_t non_finite = 0;
  double squared_error = 0;  // Sums.
  double squared_reference = 0;
  double squared_value = 0;
  double dot = 0;
  double max_error = 0;

  void Merge(const ErrorStats& other);
  double MeanSquaredError() const;  // 0 without pairs.
  // 10 log10(signal / noise); +infinity where nothing differs, -infinity where the reference is all zeros and the value
  // is not.
  double SqnrDb() const;
  // 1 where both are all zeros, 0 where one is.
  double Cosine() const;
};

void AddErrors(const float* reference, const float* value, size_t count, ErrorStats& stats);

}  // namespace hone::kernels
