// The header of NumPy's .npy format, versions 1 to 3, read strictly.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "worker/model/tensor.h"

namespace hone {

struct NpyHeader {
  std::string descr;     // As written, "<f4".
  ElementType type = 0;  // 0: no numeric type that hone reads.
  bool big_endian = false;
  bool fortran_order = false;  // First index fastest.
  std::vector<int64_t> dims;
};

// What the first bytes of a file say about the length of its header.
struct NpyPreamble {
  size_t bytes = 0;         // Of the preamble itself.
  size_t header_bytes = 0;  // Of the text that follows.
};
constexpr size_t kNpyLongestPreamble = 12;
// kRejected if `start` (the first 12 bytes, or all there are) begins no .npy of a known version or announces a header
// over 64 KiB.
Result<NpyPreamble> ParseNpyPreamble(std::string_view start);

// The text after the preamble: a Python dictionary with descr, fortran_order and shape, and nothing else. kRejected for
// anything else. Structured types give type 0.
Result<NpyHeader> ParseNpyHeader(std::string_view text);

}  // namespace hone
