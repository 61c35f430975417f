// Weight-only quantization of a matrix in blocks along its rows, in the layout of ONNX Runtime's MatMulNBits, by the
// rules of MLAS's default quantizer bit for bit:
//   symmetric   m = the value of largest magnitude with its sign (0 joins the range; a tie is the negative one)
//               scale = m / -2^(bits-1), zero point 2^(bits-1)
//   asymmetric  scale = (high - low) / (2^bits - 1) over a range that holds 0, zero point = round(-low / scale)
//   code        clamp(round(value * (1 / scale) + zero point), 0, 2^bits - 1); an all-zero block has scale 0
// round() goes half away from zero, unlike Quantize.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// The type that scales are kept in: a scale is rounded to it before the codes are computed.
enum class ScaleFormat { f32, f16, bf16 };

struct BlockLayout {
  size_t rows = 0;     // K, the dimension that is summed over.
  size_t columns = 0;  // N.
  size_t block = 32;   // A multiple of 8 / bits.
  int bits = 4;        // 2, 4 or 8.
  bool symmetric = true;
  ScaleFormat scale_format = ScaleFormat::f32;

  size_t BlocksPerColumn() const { return (rows + block - 1) / block; }
  size_t BlockBytes() const { return block * static_cast<size_t>(bits) / 8; }
  size_t CodeBytes() const { return columns * BlocksPerColumn() * BlockBytes(); }
  size_t ScaleCount() const { return columns * BlocksPerColumn(); }
  size_t ZeroPointBytesPerColumn() const { return (BlocksPerColumn() * static_cast<size_t>(bits) + 7) / 8; }
};

// Quantizes columns [first, last) of a row-major matrix [rows, columns] of finite values.
// - codes[CodeBytes()]: [columns, blocks, block bytes], the first code in the lowest bits; codes past the last row are
// 0 (MLAS leaves
//   chance bits in the last nibble of an odd number of rows; no kernel reads them).
// - scales[ScaleCount()]: [columns, blocks], values that are exact in scale_format.
// - zero_points[columns * ZeroPointBytesPerColumn()], packed alike, unused codes are the middle one; nullptr where
//   symmetric.
// Disjoint ranges of columns may be done by several threads.
void QuantizeBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                    float* scales, uint8_t* zero_points);

// The same result for a matrix that lies transposed: row-major [columns, rows], as Gemm with transB, embeddings and
// OpenVINO keep it.
void QuantizeRowBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                       float* scales, uint8_t* zero_points);

}  // namespace hone::kernels
