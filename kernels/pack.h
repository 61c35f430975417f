// Codes of 2, 4 or 8 bits, one a byte, packed into bytes with the first code in the lowest bits: the order of ONNX's
// int4/uint4 and MatMulNBits and of OpenVINO's u4, i4 and nf4. Signed codes are packed as two's complement.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

constexpr size_t PackedBytes(size_t count, int bits) { return (count * static_cast<size_t>(bits) + 7) / 8; }

// Takes the lowest `bits` of each byte; what a last byte has no codes for is 0.
void PackCodes(const uint8_t* codes, size_t count, int bits, uint8_t* packed);

// Unsigned codes. Signed ones: (code ^ 2^(bits-1)) - 2^(bits-1).
void UnpackCodes(const uint8_t* packed, size_t count, int bits, uint8_t* codes);

}  // namespace hone::kernels
