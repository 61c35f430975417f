// Columns lie next to each other in memory, so every loop runs over the columns of a row: plain loops that the compiler
// turns into vectors (this file is built with -O3).
#include "worker/passes/block_codes.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/block_fit.h"
#include "kernels/half.h"

namespace hone {
namespace {

// Nearest whole number, halves to even, for magnitudes below 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
inline float ToEven(float value) {
  constexpr float kShift = 12582912.0f;
  return (value + kShift) - kShift;
}

// Halves up, for values that are not negative: away from zero. (Adding 0.5 first would round the largest value below
// 0.5 up as well.)
inline float HalfUp(float value) {
  const auto whole = static_cast<float>(static_cast<int32_t>(value));
  return value - whole >= 0.5f ? whole + 1.0f : whole;
}

inline float Clamp(float value, float low, float high) {
  const float raised = value < low ? low : value;
  return raised > high ? high : raised;
}

// x^-0.3 for x > 0, to about 2e-4: enough for a shrinkage threshold, and the same on every machine.
inline float PowerMinusThreeTenths(float x) {
  // log2 by exponent and a polynomial on [1, 2), times -0.3, then 2^ by exponent and a polynomial on [0, 1).
  const int32_t bits = std::bit_cast<int32_t>(x);
  const float exponent = static_cast<float>((bits >> 23) - 127);
  const float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f800000);
  const float log2 = exponent + (-2.496926f + m * (4.028742f + m * (-2.081385f + m * (0.628938f - m * 0.0791668f))));
  const float power = Clamp(-0.3f * log2, -100.0f, 100.0f);
  const float shifted = power + 128.0f;  // Positive, so that truncation is a floor.
  const int32_t whole = static_cast<int32_t>(shifted);
  const float rest = shifted - static_cast<float>(whole);
  const float two = 0.999813f + rest * (0.696834f + rest * (0.224131f + rest * 0.0790209f));
  return two * std::bit_cast<float>((whole - 1) << 23);
}

// One block row: `rows` rows of `columns` values.
struct Block {
  const float* values;
  size_t rows;
  size_t columns;
  const float* Row(size_t row) const { return values + row * columns; }
};

struct Ranges {
  std::vector<float> low;
  std::vector<float> high;
};

// With zero in every range.
Ranges RangesOf(const Block& block) {
  Ranges ranges{std::vector<float>(block.columns, 0.0f), std::vector<float>(block.columns, 0.0f)};
  float* low = ranges.low.data();
  float* high = ranges.high.data();
  for (size_t row = 0; row < block.rows; ++row) {
    const float* values = block.Row(row);
    for (size_t c = 0; c < block.columns; ++c) {
      low[c] = values[c] < low[c] ? values[c] : low[c];
      high[c] = values[c] > high[c] ? values[c] : high[c];
    }
  }
  return ranges;
}

void RangeGrid(const CodeShape& shape, const Ranges& ranges, float* scales, float* zeros) {
  const float top = shape.Top();
  const float middle = shape.Middle();
  for (size_t c = 0; c < shape.columns; ++c) {
    const float low = ranges.low[c];
    const float high = ranges.high[c];
    if (shape.symmetric) {
      scales[c] = (std::fabs(high) > std::fabs(low) ? high : low) / -middle;
      zeros[c] = middle;
      continue;
    }
    scales[c] = (high - low) / top;
    const float exact = scales[c] == 0 ? 0 : 0 - low / scales[c];
    const float inside = Clamp(exact, 0, top);
    zeros[c] = shape.rule == CodeRule::even ? ToEven(inside) : HalfUp(inside);
  }
  RoundScales(shape, scales);
}

// What a grid candidate gives: with d = code - zero, the best scale for these codes is sum(x d) / sum(d d).
struct Fit {
  std::vector<float> cross;   // sum(x d)
  std::vector<float> square;  // sum(d d)
};

void FitCodes(const Block& block, const float* inverse, const float* zeros, float top,
              Fit& fit) {
  std::fill(fit.cross.begin(), fit.cross.end(), 0.0f);
  std::fill(fit.square.begin(), fit.square.end(), 0.0f);
  float* cross = fit.cross.data();
  float* square = fit.square.data();
  for (size_t row = 0; row < block.rows; ++row) {
    const float* values = block.Row(row);
    for (size_t c = 0; c < block.columns; ++c) {
      const float code = Clamp(ToEven(values[c] * inverse[c] + zeros[c]), 0, top);
      const float d = code - zeros[c];
      cross[c] += d * values[c];
      square[c] += d * d;
    }
  }
}

// Squared error of the codes that a grid gives.
void GridErrors(const Block& block, const float* scales, const float* zeros, float top,
                float* errors) {
  std::vector<float> inverse(block.columns);
  for (size_t c = 0; c < block.columns; ++c) inverse[c] = scales[c] == 0 ? 0 : 1 / scales[c];
  std::fill(errors, errors + block.columns, 0.0f);
  for (size_t row = 0; row < block.rows; ++row) {
    const float* values = block.Row(row);
    for (size_t c = 0; c < block.columns; ++c) {
      const float code = Clamp(ToEven(values[c] * inverse[c] + zeros[c]), 0, top);
      const float error = values[c] - (code - zeros[c]) * scales[c];
      errors[c] += error * error;
    }
  }
}

// Keeps, column by column, the better of two grids by their true errors.
void KeepBetter(const Block& block, const CodeShape& shape, const float* other_scales, const float* other_zeros,
                float* scales, float* zeros) {
  std::vector<float> errors(block.columns);
  std::vector<float> other_errors(block.columns);
  GridErrors(block, scales, zeros, shape.Top(), errors.data());
  GridErrors(block, other_scales, other_zeros, shape.Top(), other_errors.data());
  for (size_t c = 0; c < block.columns; ++c) {
    if (!(other_errors[c] < errors[c])) continue;
    scales[c] = other_scales[c];
    zeros[c] = other_zeros[c];
  }
}

// kernels/block_fit.h's search, which wants the values of a block next to each other.
void SearchGrid(const Block& block, const CodeShape& shape, const float* importance, float* scales, float* zeros) {
  kernels::FitOptions options;
  options.bits = shape.bits;
  options.symmetric = shape.symmetric;
  options.scale_format = shape.half_scales ? kernels::ScaleFormat::f16 : kernels::ScaleFormat::f32;
  options.rule = kernels::FitRule::k_quant;
  const size_t count = block.rows * block.columns;
  std::vector<float> turned(count);
  std::vector<float> weights(importance == nullptr ? 0 : count);
  for (size_t c = 0; c < block.columns; ++c) {
    for (size_t row = 0; row < block.rows; ++row) turned[c * block.rows + row] = block.Row(row)[c];
    if (importance != nullptr)
      std::copy_n(importance, block.rows, weights.begin() + static_cast<ptrdiff_t>(c * block.rows));
  }
  std::vector<uint8_t> whole_zeros(block.columns);
  std::vector<uint8_t> codes(count);
  kernels::FitBlocks(turned.data(), importance == nullptr ? nullptr : weights.data(), count, block.rows, options,
                     scales, whole_zeros.data(), codes.data());
  for (size_t c = 0; c < block.columns; ++c) zeros[c] = static_cast<float>(whole_zeros[c]);
}

// Alternates between what an outlier is, by shrinking the error e to sign(e) max(0, |e| - |e|^(p-1) / beta) with
// p = 0.7, and the zero point and scale that fit the rest best. beta grows, so that less and less counts as an outlier.
void RobustGrid(const Block& block, const CodeShape& shape, float* scales, float* zeros) {
  constexpr int kRounds = 20;
  constexpr float kGrowth = 1.01f;
  RangeGrid(shape, RangesOf(block), scales, zeros);
  const size_t columns = block.columns;
  const float top = shape.Top();
  const auto rows = static_cast<float>(block.rows);
  std::vector<float> fitted(scales, scales + columns);
  std::vector<float> floating(zeros, zeros + columns);
  std::vector<float> inverse(columns);
  std::vector<float> sum_rest(columns);
  std::vector<float> sum_codes(columns);
  std::vector<float> cross(columns);
  std::vector<float> square(columns);
  // The norm is not scale-free: errors are looked at in units of the block's own magnitude.
  std::vector<float> unit(columns);
  for (size_t c = 0; c < columns; ++c) unit[c] = scales[c] == 0 ? 1.0f : std::fabs(scales[c]) * top;
  float beta = 10;
  for (int round = 0; round < kRounds; ++round, beta *= kGrowth) {
    for (auto* sums : {&sum_rest, &sum_codes, &cross, &square}) std::fill(sums->begin(), sums->end(), 0.0f);
    for (size_t c = 0; c < columns; ++c) inverse[c] = fitted[c] == 0 ? 0 : 1 / fitted[c];
    for (size_t row = 0; row < block.rows; ++row) {
      const float* values = block.Row(row);
      for (size_t c = 0; c < columns; ++c) {
        const float code = Clamp(ToEven(values[c] * inverse[c] + floating[c]), 0, top);
        const float error = (values[c] - (code - floating[c]) * fitted[c]) / unit[c];
        const float size = std::fabs(error) + 1e-8f;
        const float kept = Clamp(size - PowerMinusThreeTenths(size) / beta, 0, size);
        const float outlier = (error < 0 ? -kept : kept) * unit[c];
        const float rest = values[c] - outlier;
        const float d = code - floating[c];
        sum_rest[c] += rest * inverse[c];
        sum_codes[c] += code;
        cross[c] += rest * d;
        square[c] += d * d;
      }
    }
    for (size_t c = 0; c < columns; ++c) {
      if (shape.symmetric) {
        if (square[c] > 0) fitted[c] = cross[c] / square[c];
      } else {
        floating[c] = Clamp((sum_codes[c] - sum_rest[c]) / rows, 0, top);
      }
    }
  }
  // Zero points are whole numbers: round, then refit the scale to the codes that remain.
  for (size_t c = 0; c < columns; ++c) {
    floating[c] = ToEven(floating[c]);
    inverse[c] = fitted[c] == 0 ? 0 : 1 / fitted[c];
  }
  Fit fit{std::vector<float>(columns), std::vector<float>(columns)};
  FitCodes(block, inverse.data(), floating.data(), top, fit);
  for (size_t c = 0; c < columns; ++c) {
    if (fit.square[c] > 0 && fit.cross[c] != 0) fitted[c] = fit.cross[c] / fit.square[c];
  }
  RoundScales(shape, fitted.data());
  KeepBetter(block, shape, fitted.data(), floating.data(), scales, zeros);
}

}  // namespace

void RoundScales(const CodeShape& shape, float* scales) {
  if (!shape.half_scales) return;
  std::vector<uint16_t> halves(shape.columns);
  kernels::FloatToHalf(scales, shape.columns, kernels::Clamp::no, halves.data());
  kernels::HalfToFloat(halves.data(), shape.columns, scales);
}

void FindGrid(const float* block, const CodeShape& shape, size_t index, GridMethod method, const float* importance,
              float* scales, float* zeros) {
  const Block rows{block, shape.RowsOf(index), shape.columns};
  switch (method) {
    case GridMethod::range:
      return RangeGrid(shape, RangesOf(rows), scales, zeros);
    case GridMethod::search:
      return SearchGrid(rows, shape, importance, scales, zeros);
    case GridMethod::robust:
      return RobustGrid(rows, shape, scales, zeros);
  }
}

Grid FindGrids(const float* values, const CodeShape& shape, GridMethod method, const float* importance) {
  Grid grid{std::vector<float>(shape.Groups() * shape.columns), std::vector<float>(shape.Groups() * shape.columns)};
  for (size_t index = 0; index < shape.Groups(); ++index) {
    const size_t row = index * shape.group;
    FindGrid(values + row * shape.columns, shape, index, method, importance == nullptr ? nullptr : importance + row,
             grid.scales.data() + index * shape.columns, grid.zeros.data() + index * shape.columns);
  }
  return grid;
}

void CodeRow(const float* values, const CodeShape& shape, const float* scales, const float* zeros, uint8_t* codes) {
  const float top = shape.Top();
  if (shape.rule == CodeRule::away) {
    for (size_t c = 0; c < shape.columns; ++c) {
      const float inverse = scales[c] == 0 ? 0 : 1 / scales[c];
      codes[c] = static_cast<uint8_t>(HalfUp(Clamp(values[c] * inverse + zeros[c], 0, top)));
    }
    return;
  }
  // The zero point of a symmetric block is not part of what is rounded.
  const float inner = shape.symmetric ? 0.0f : 1.0f;
  for (size_t c = 0; c < shape.columns; ++c) {
    const float scaled = scales[c] == 0 ? 0 : values[c] / scales[c];
    const float code = ToEven(Clamp(scaled + inner * zeros[c], -1e6f, 1e6f)) + (1.0f - inner) * zeros[c];
    codes[c] = static_cast<uint8_t>(Clamp(code, 0, top));
  }
}

void DecodeRow(const uint8_t* codes, size_t columns, const float* scales, const float* zeros, float* values) {
  for (size_t c = 0; c < columns; ++c) values[c] = (static_cast<float>(codes[c]) - zeros[c]) * scales[c];
}

void Differences(const float* values, size_t rows, const CodeShape& shape, const float* scales, const float* zeros,
                 float* differences) {
  const size_t columns = shape.columns;
  const float top = shape.Top();
  std::vector<float> inverse(columns);
  for (size_t c = 0; c < columns; ++c) inverse[c] = scales[c] == 0 ? 0 : 1 / scales[c];
  for (size_t row = 0; row < rows; ++row) {
    const float* from = values + row * columns;
    float* to = differences + row * columns;
    for (size_t c = 0; c < columns; ++c) {
      const float code = ToEven(Clamp(from[c] * inverse[c] + zeros[c], 0, top));
      to[c] = (code - zeros[c]) * scales[c] - from[c];
    }
  }
}

void AddProducts(const float* a, const float* b, const float* c, size_t rows, size_t columns, float* sums) {
  for (size_t row = 0; row < rows; ++row) {
    const size_t at = row * columns;
    for (size_t i = 0; i < columns; ++i) sums[i] += a[at + i] * (b[at + i] + 2.0f * c[at + i]);
  }
}

BlockCodes Encode(const float* values, const CodeShape& shape, Grid grid) {
  BlockCodes result{shape, std::move(grid), std::vector<uint8_t>(shape.rows * shape.columns)};
  for (size_t row = 0; row < shape.rows; ++row) {
    const size_t entry = row / shape.group * shape.columns;
    CodeRow(values + row * shape.columns, shape, result.grid.scales.data() + entry, result.grid.zeros.data() + entry,
            result.codes.data() + row * shape.columns);
  }
  return result;
}

std::vector<float> Decode(const BlockCodes& codes) {
  const CodeShape& shape = codes.shape;
  std::vector<float> values(shape.rows * shape.columns);
  for (size_t row = 0; row < shape.rows; ++row) {
    const size_t entry = row / shape.group * shape.columns;
    DecodeRow(codes.codes.data() + row * shape.columns, shape.columns, codes.grid.scales.data() + entry,
              codes.grid.zeros.data() + entry, values.data() + row * shape.columns);
  }
  return values;
}

void PackByColumn(const BlockCodes& codes, uint8_t* out) {
  const CodeShape& shape = codes.shape;
  const size_t per_byte = 8 / static_cast<size_t>(shape.bits);
  const size_t column_bytes = shape.Groups() * shape.group / per_byte;
  std::fill(out, out + shape.columns * column_bytes, uint8_t{0});
  // A few columns at a time, so that what is read and what is written both stay in cache.
  constexpr size_t kTogether = 16;
  for (size_t first = 0; first < shape.columns; first += kTogether) {
    const size_t last = std::min(shape.columns, first + kTogether);
    for (size_t row = 0; row < shape.rows; ++row) {
      const int shift = static_cast<int>(row % per_byte) * shape.bits;
      const uint8_t* from = codes.codes.data() + row * shape.columns;
      uint8_t* to = out + row / per_byte;
      for (size_t c = first; c < last; ++c)
        to[c * column_bytes] = static_cast<uint8_t>(to[c * column_bytes] | (from[c] << shift));
    }
  }
}

size_t PackedZeroBytes(const CodeShape& shape) { return (shape.Groups() * static_cast<size_t>(shape.bits) + 7) / 8; }

void PackZerosByColumn(const BlockCodes& codes, uint8_t* out) {
  const CodeShape& shape = codes.shape;
  const size_t per_byte = 8 / static_cast<size_t>(shape.bits);
  const size_t bytes = PackedZeroBytes(shape);
  std::fill(out, out + shape.columns * bytes, uint8_t{0});
  for (size_t index = 0; index < bytes * per_byte; ++index) {
    const int shift = static_cast<int>(index % per_byte) * shape.bits;
    for (size_t c = 0; c < shape.columns; ++c) {
      const float zero = index < shape.Groups() ? codes.grid.zeros[index * shape.columns + c] : shape.Middle();
      uint8_t& byte = out[c * bytes + index / per_byte];
      byte = static_cast<uint8_t>(byte | (static_cast<unsigned>(zero) << shift));
    }
  }
}

void ScalesByColumn(const BlockCodes& codes, float* out) {
  const size_t groups = codes.shape.Groups();
  for (size_t index = 0; index < groups; ++index) {
    const float* from = codes.grid.scales.data() + index * codes.shape.columns;
    for (size_t c = 0; c < codes.shape.columns; ++c) out[c * groups + index] = from[c];
  }
}

}  // namespace hone
