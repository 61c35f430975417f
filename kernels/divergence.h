// How much the answers of a classifier changed: Kullback-Leibler divergence of softmax(value) from softmax(reference),
// row by row, as sums that can be merged.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

struct DivergenceStats {
  uint64_t rows = 0;
  uint64_t non_finite = 0;  // Rows with a NaN or an infinity on either side: counted here and left out.
  double sum = 0;           // In nats.
  double max = 0;

  void Merge(const DivergenceStats& other);
  double Mean() const;  // 0 without rows.
};

// Rows of logits, row-major [rows, columns]. Exponentials are float32, so instruction sets differ in the last digits.
void AddDivergence(const float* reference, const float* value, size_t rows, size_t columns, DivergenceStats& stats);

}  // namespace hone::kernels
