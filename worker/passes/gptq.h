// GPTQ (Frantar et al., 2023): rounds a weight matrix row by row and lets the rows that are still to come make up for
// each row's error, as far as the inputs are correlated.
//
// With H = X^T X (rows of X are inputs) and U upper triangular, U^T U = H^-1, the best answer to the error e of row i
// is to take (e / U[i,i]) * U[i,j] from every later row j. The codes are those of the grid that the error was computed
// with; nothing is quantized a second time.
#pragma once

#include <cstddef>
#include <vector>

#include "common/base/result.h"
#include "worker/passes/block_codes.h"

namespace hone {

struct GptqOptions {
  // Added to the diagonal of H, as a share of its mean.
  double damping = 0.01;
  // Rows with the largest inputs first. Blocks then keep the grids of the original weights.
  bool act_order = false;
  GridMethod grid = GridMethod::search;
};

// What all matrices that read one input share; made once.
struct GptqFactor {
  std::vector<size_t> order;       // Row that comes i-th; empty: as they are.
  std::vector<float> factor;       // U, in that order.
  std::vector<float> importance;   // Diagonal of H, in the rows' own order.
  GptqOptions options;
};

// gram: H[rows, rows], row-major, finite. Damping grows tenfold until H can be factored. kFailed where even
// ten times its mean diagonal does not help.
Result<GptqFactor> MakeGptqFactor(const std::vector<float>& gram, size_t rows, const GptqOptions& options);

// Codes of the columns in `values` [rows, columns], which is used up.
BlockCodes Gptq(std::vector<float>& values, const CodeShape& shape, const GptqFactor& factor);

}  // namespace hone
