// AWQ (Lin et al., 2024): inputs of large magnitude deserve finer codes. Row k of a weight is multiplied by s[k] before
// it is quantized and its input divided by s[k], so that the row's rounding error shrinks by s[k] at the cost of the
// other rows of its block. s = magnitude^alpha; the alpha of least output error is searched.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "worker/passes/block_codes.h"

namespace hone {

// One weight that reads the input.
struct AwqWeight {
  CodeShape shape;                             // Of the whole matrix.
  const std::vector<float>* values = nullptr;  // [rows, columns]; a sample of the columns is as good.
};

struct AwqScales {
  std::vector<float> scales;  // One a row; empty: none is better than scaling nothing.
  double error = 0;           // Of the outputs, with the scales.
  double plain_error = 0;     // Without.
};

// All weights have as many rows as gram [rows, rows] and magnitudes, which are finite. The output error of
// a weight error D is trace(D^T H D), H being the gram matrix; it is estimated from a fixed projection of H to at most
// 192 dimensions.
AwqScales SearchAwqScales(const std::vector<AwqWeight>& weights, const std::vector<float>& gram,
                          const std::vector<double>& magnitudes, int threads);

// The second half, clipping: of several ranges for each block, the one whose codes change the outputs least, given the
// codes of the blocks before it. gram: as above, of the inputs that these values (scaled or not) are multiplied with.
BlockCodes EncodeForOutputs(const std::vector<float>& values, const CodeShape& shape, const std::vector<float>& gram);

// trace(D^T H D) for D [rows, columns], H [rows, rows].
double OutputError(const std::vector<float>& difference, size_t columns, const std::vector<float>& gram, size_t rows);

}  // namespace hone
