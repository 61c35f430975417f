// Weights of a checkpoint where they lie: numbers and GGUF's blocks in mapped files.
//
// A block holds 32 or 256 weights of one row. Within groups of 16 or 32 of them,
//   weight = scale * (code - zero) + least
// with codes of few bits, one zero for the whole type, and a scale and (for some types) a least of each group.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

enum class WeightType : uint8_t {
  f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean,
  q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k,
};

// One block's contents; the arrays hold as many elements as the type has.
struct UnpackedBlock {
  uint8_t codes[256];
  float scales[16];
  float least[16];
};

struct WeightTypeInfo {
  WeightType type;
  const char* name;
  uint32_t elements;  // Of a block; 1 for plain numbers.
  uint32_t bytes;     // Of a block.
  // The rest is of blocks alone.
  uint32_t group = 0;
  int bits = 0;        // 4 or 8: what MatMulNBits needs to hold the codes exactly.
  int zero = 0;
  int shift = 0;       // MatMulNBits code = code + shift.
  bool has_least = false;
  void (*unpack)(const uint8_t* block, UnpackedBlock& out) = nullptr;
};
const WeightTypeInfo& InfoOf(WeightType type);

// A tensor of rank 0 to 8 in memory of somebody else, its size checked against type and shape.
struct StoredWeight {
  WeightType type = WeightType::f32;
  std::vector<int64_t> shape;
  std::string_view bytes;
  // Not 0: the rows of each of so many heads are interleaved, as llama.cpp keeps them; readers see them in order.
  int64_t interleaved_heads = 0;

  // The last dimension is a row's; a vector is one row.
  uint64_t Columns() const { return shape.empty() ? 1 : static_cast<uint64_t>(shape.back()); }
  uint64_t Rows() const;
  bool IsBlocks() const { return InfoOf(type).group != 0; }
  // Bytes of a row where it lies.
  std::string_view Row(uint64_t row) const;
};
using WeightMap = std::map<std::string, StoredWeight, std::less<>>;

// Bytes that a tensor takes. kRejected for more than 8 dimensions, a negative one, rows that are no whole blocks, or an
// overflow.
Result<uint64_t> WeightBytes(WeightType type, const std::vector<int64_t>& shape);

// Elements [first, last) of rows [first_row, first_row + rows) as floats, row by row; first and last lie on blocks.
void ReadRows(const StoredWeight& weight, uint64_t first_row, uint64_t rows, uint64_t first, uint64_t last,
              float* values);
void ReadRows(const StoredWeight& weight, uint64_t first_row, uint64_t rows, float* values);

// Whether places that were sorted by offset overlap; names are those of the first such pair.
struct Place {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string name;
};
Result<> CheckApart(std::vector<Place> places);

std::string DimsText(const std::vector<int64_t>& shape);

}  // namespace hone
