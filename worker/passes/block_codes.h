// Weights in blocks of few-bit codes: grids (scale and zero point of each block) found in several ways, and the codes
// on them. real = (code - zero point) * scale; a block is `group` consecutive rows of one column of a [rows, columns]
// matrix, rows being summed over. Every range holds zero, so zero itself is exact. Codes run from 0 to 2^bits - 1;
// symmetric blocks have the zero point 2^(bits-1) and a scale of either sign: the value of largest magnitude gets code
// 0.
//
// All functions work on some columns of a matrix, so that several threads share one, and give the same bits whatever
// the division.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hone {

// How codes are rounded.
enum class CodeRule {
  away,  // value * (1 / scale), halves away from zero: ONNX Runtime's MatMulNBits.
  even,  // value / scale, halves to even: NNCF, and what DequantizeLinear stands for.
};

struct CodeShape {
  size_t rows = 0;
  size_t columns = 0;
  size_t group = 32;  // Rows that share a scale; rows: one scale a column.
  int bits = 4;       // 2, 4 or 8.
  bool symmetric = true;
  bool half_scales = false;  // Scales are exact in float16.
  CodeRule rule = CodeRule::away;

  size_t Groups() const { return (rows + group - 1) / group; }
  size_t RowsOf(size_t index) const { return index + 1 == Groups() ? rows - index * group : group; }
  float Top() const { return static_cast<float>((1 << bits) - 1); }
  float Middle() const { return static_cast<float>(1 << (bits - 1)); }
};

// Scales and zero points [groups, columns].
struct Grid {
  std::vector<float> scales;
  std::vector<float> zeros;  // Whole numbers.
};

struct BlockCodes {
  CodeShape shape;
  Grid grid;
  std::vector<uint8_t> codes;  // [rows, columns]
};

enum class GridMethod {
  range,   // From the smallest to the largest value.
  search,  // Scale and zero point of least squared error, each row weighed by its importance.
  robust,  // Half-quadratic: the error in a norm below 1, which lets outliers be outliers (Badri & Shaji, 2023).
};

// The grid of one block row, rows [index * group, ...) of the matrix `values` [rows, columns], whose first row of the
// block is `block`. importance: one weight a row of the block, or nullptr. Results go to scales[columns],
// zeros[columns].
void FindGrid(const float* block, const CodeShape& shape, size_t index, GridMethod method, const float* importance,
              float* scales, float* zeros);
// Of every block. importance: one a row of the matrix, or nullptr.
Grid FindGrids(const float* values, const CodeShape& shape, GridMethod method, const float* importance);

// Makes scales exact in the type that they are kept in.
void RoundScales(const CodeShape& shape, float* scales);

// The codes of one row of values on the grid of its block.
void CodeRow(const float* values, const CodeShape& shape, const float* scales, const float* zeros, uint8_t* codes);
// One row back.
void DecodeRow(const uint8_t* codes, size_t columns, const float* scales, const float* zeros, float* values);

// What `rows` rows of values become on one block's grid, less what they are; to choose between grids by. (Where a value
// lies halfway between codes, CodeRow may choose the other one.)
void Differences(const float* values, size_t rows, const CodeShape& shape, const float* scales, const float* zeros,
                 float* differences);
// sums[columns] += the column sums of a * (b + 2 c), all [rows, columns].
void AddProducts(const float* a, const float* b, const float* c, size_t rows, size_t columns, float* sums);

BlockCodes Encode(const float* values, const CodeShape& shape, Grid grid);
// All values back.
std::vector<float> Decode(const BlockCodes& codes);

// --- bytes ----------------------------------------------------------------------------------------------------------

// MatMulNBits: [columns, groups, group * bits / 8], low bits first, zeros past the last row. `out` is where the first
// column's bytes go. group is a multiple of 8.
void PackByColumn(const BlockCodes& codes, uint8_t* out);
// Zero points of MatMulNBits: [columns, ceil(groups * bits / 8)], low bits first, unused ones as the middle code.
void PackZerosByColumn(const BlockCodes& codes, uint8_t* out);
size_t PackedZeroBytes(const CodeShape& shape);
// The scales as [columns, groups].
void ScalesByColumn(const BlockCodes& codes, float* out);

}  // namespace hone
