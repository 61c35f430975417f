// Scales and zero points of weight blocks, searched for the least (weighted) squared error. Codes, packed, mean what
// they mean in block_quantize.h, and min_max gives the very same ones:
//   code = clamp(round_half_away(value * (1 / scale) + zero point), 0, 2^bits - 1), value = (code - zero point) * scale
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_quantize.h"

namespace hone::kernels {

// Every rule takes the best of its candidates by the error of the codes as they will be, zero point and scale rounded,
// beginning with min_max: none is ever worse than it. Ranges always hold zero, so a block of one sign is safe.
// - min_max: the rule of block_quantize.h.
// - least_squares: clipping. Both ends shrink, together and each alone; a symmetric scale shrinks with either sign.
// - k_quant: the search of llama.cpp's k-quants with a zero point that is an integer: scales around the one of min_max,
//   each then solved for by least squares over the codes that it gave, and the zero point with it.
enum class FitRule { min_max, least_squares, k_quant };

struct FitOptions {
  int bits = 4;  // 2, 4 or 8.
  bool symmetric = false;
  ScaleFormat scale_format = ScaleFormat::f32;
  FitRule rule = FitRule::least_squares;
};

// `count` finite values in consecutive blocks, the last of which may be shorter. importance: what the squared error of
// each value counts, not negative; nullptr: all the same. scales and zero_points: ceil(count / block) of each;
// codes[count], one a byte. Same bits on every instruction set.
void FitBlocks(const float* values, const float* importance, size_t count, size_t block, const FitOptions& options,
               float* scales, uint8_t* zero_points, uint8_t* codes);

}  // namespace hone::kernels
