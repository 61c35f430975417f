// Matrices of a checkpoint on their way into a model: read in stripes where they lie, turned or coded, written.
//
// A matrix [rows, columns] is multiplied from the right: y = x W^T, as Linear layers keep it. Its codes are those of
// MatMulNBits: blocks along a row.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/weights.h"
#include "worker/passes/block_codes.h"

namespace hone {

// Rows of one tensor or of several, one behind the other.
struct RowSource {
  struct Part {
    const StoredWeight* weight = nullptr;
    std::string name;
    uint64_t first = 0, rows = 0;
  };
  std::vector<Part> parts;
  uint64_t columns = 0;

  uint64_t Rows() const;
  // Elements [begin, end) of rows [first, first + count); begin and end lie on blocks. kRejected for NaN and
  // infinities.
  Result<> Read(uint64_t first, uint64_t count, uint64_t begin, uint64_t end, float* values) const;
  // The type whose blocks all parts have; nullptr where they are numbers or differ.
  const WeightTypeInfo* Blocks() const;
  std::string Name() const;
};

using ByteSink = std::function<Result<>(std::string_view bytes)>;

// The matrix row by row, or turned ([columns, rows]); as float16 where `half`.
Result<> WriteRows(const RowSource& source, bool half, int threads, const ByteSink& sink);
Result<> WriteTurned(const RowSource& source, bool half, int threads, const ByteSink& sink);

struct Coding {
  int bits = 4;
  size_t group = 32;
  bool symmetric = true;
  GridMethod method = GridMethod::range;
  bool half_scales = false;  // Scales are exact in float16.
};

// What goes with the codes of a matrix.
struct CodedGrid {
  std::vector<float> scales;    // [rows, groups]
  std::vector<uint8_t> zeros;   // [rows, packed groups]; none where symmetric.
  std::vector<float> offsets;   // [groups, rows]: what a group's inputs, summed, are multiplied with; none for most.
};

// Bytes of the codes.
uint64_t CodeBytes(const RowSource& source, int bits, size_t group);

// What is told where blocks of a GGUF file got other codes.
std::string RequantizedNote(size_t matrices);

// Codes by a method; they go to the sink.
Result<CodedGrid> WriteCodes(const RowSource& source, const Coding& coding, int threads, const ByteSink& sink);

// The codes that the blocks of a GGUF file hold, exactly: weight = scale * (code - 2^(bits-1)) + offset.
Result<CodedGrid> WriteBlocks(const RowSource& source, int threads, const ByteSink& sink);

// Noise to signal of rounding to the nearest in so few bits, over rows that stand for all.
Result<double> CodingNoise(const RowSource& source, const Coding& coding);

// How many bits each of some matrices gets, by name: the least sensitive ones those of `coding`, up to `ratio` of all
// weights, the others kBackupBits.
constexpr int kBackupBits = 8;
struct NamedRows {
  std::string name;
  RowSource source;
};
struct SharedBits {
  std::map<std::string, int> bits;
  std::string note;
};
Result<SharedBits> BitsBySensitivity(const std::vector<NamedRows>& matrices, const Coding& coding, double ratio);

}  // namespace hone
