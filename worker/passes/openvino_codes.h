// Codes of compressed weights by the rules of NNCF's compress_weights, every step in float32, rounding half to even:
//   symmetric   scale = m / -2^(bits-1) where m is the value of largest magnitude with its sign (a tie is the negative
//               one), code = round(w / scale) in [-2^(bits-1), 2^(bits-1) - 1]
//   asymmetric  range with zero in it, scale = (high - low) / (2^bits - 1), zero point = -round(low / scale),
//               code = round(w / scale + zero point) in [0, 2^bits - 1]
//   nf4         scale = largest magnitude, code = the nearest of sixteen quantiles of a normal distribution
// Scales are stored as float16; codes are made with what they were before that rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hone {

struct CodeFormat {
  int bits = 8;            // 4 or 8.
  bool symmetric = true;   // Signed codes without zero points.
  bool nf4 = false;        // Codes are positions in the table of quantiles; bits is 4.
};

struct EncodedWeights {
  std::vector<uint8_t> codes;  // One a byte; signed ones in two's complement.
  std::vector<float> scales;  // One a group.
  std::vector<uint8_t> zero_points;  // One a group where asymmetric.
};

// `count` finite values in groups of `group` consecutive ones.
EncodedWeights EncodeWeights(const float* values, size_t count, size_t group, const CodeFormat& format);

// The squared error of what the codes stand for with the stored scales, as a share of the values' squares.
double EncodingNoise(const float* values, size_t group, const CodeFormat& format, const EncodedWeights& encoded);

// Two codes a byte, the first in the low half.
std::vector<uint8_t> PackNibbles(const std::vector<uint8_t>& codes);

}  // namespace hone
