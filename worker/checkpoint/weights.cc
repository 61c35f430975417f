#include "worker/checkpoint/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "common/base/strings.h"
#include "kernels/half.h"

namespace hone {
namespace {

constexpr size_t kMostDimensions = 8;

float HalfAt(const uint8_t* at) {
  uint16_t half = 0;
  std::memcpy(&half, at, sizeof half);
  float value = 0;
  kernels::HalfToFloat(&half, 1, &value);
  return value;
}

float Signed(uint8_t byte) { return static_cast<float>(static_cast<int8_t>(byte)); }

// Sixteen bytes as 32 codes: the low halves first, then the high ones.
void Nibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = bytes[i] & 15;
    codes[16 + i] = bytes[i] >> 4;
  }
}

void FifthBits(const uint8_t* bits, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | ((bits[i / 8] >> (i % 8) & 1) << 4));
}

void UnpackQ40(const uint8_t* block, UnpackedBlock& out) {
  out.scales[0] = HalfAt(block);
  Nibbles(block + 2, out.codes);
}

void UnpackQ41(const uint8_t* block, UnpackedBlock& out) {
  out.scales[0] = HalfAt(block);
  out.least[0] = HalfAt(block + 2);
  Nibbles(block + 4, out.codes);
}

void UnpackQ50(const uint8_t* block, UnpackedBlock& out) {
  out.scales[0] = HalfAt(block);
  Nibbles(block + 6, out.codes);
  FifthBits(block + 2, out.codes);
}

void UnpackQ51(const uint8_t* block, UnpackedBlock& out) {
  out.scales[0] = HalfAt(block);
  out.least[0] = HalfAt(block + 2);
  Nibbles(block + 8, out.codes);
  FifthBits(block + 4, out.codes);
}

void UnpackQ80(const uint8_t* block, UnpackedBlock& out) {
  out.scales[0] = HalfAt(block);
  for (int i = 0; i < 32; ++i) out.codes[i] = block[2 + i] ^ 0x80;
}

// Twelve bytes hold eight scales and eight minima of six bits each.
void SixBitScales(const uint8_t* packed, float scale, float least, UnpackedBlock& out) {
  const uint8_t* low = packed;
  const uint8_t* middle = packed + 4;
  const uint8_t* high = packed + 8;
  for (int i = 0; i < 4; ++i) {
    out.scales[i] = scale * static_cast<float>(low[i] & 63);
    out.least[i] = -(least * static_cast<float>(middle[i] & 63));
    out.scales[4 + i] = scale * static_cast<float>((high[i] & 15) | (low[i] >> 6) << 4);
    out.least[4 + i] = -(least * static_cast<float>((high[i] >> 4) | (middle[i] >> 6) << 4));
  }
}

// Groups of 32 bytes, whose low halves are 32 codes and whose high halves are the next 32.
void LongNibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int part = 0; part < 4; ++part) {
    for (int i = 0; i < 32; ++i) {
      codes[part * 64 + i] = bytes[part * 32 + i] & 15;
      codes[part * 64 + 32 + i] = bytes[part * 32 + i] >> 4;
    }
  }
}

void UnpackQ4K(const uint8_t* block, UnpackedBlock& out) {
  SixBitScales(block + 4, HalfAt(block), HalfAt(block + 2), out);
  LongNibbles(block + 16, out.codes);
}

void UnpackQ5K(const uint8_t* block, UnpackedBlock& out) {
  SixBitScales(block + 4, HalfAt(block), HalfAt(block + 2), out);
  LongNibbles(block + 48, out.codes);
  for (int part = 0; part < 8; ++part) {
    for (int i = 0; i < 32; ++i) {
      uint8_t& code = out.codes[part * 32 + i];
      code = static_cast<uint8_t>(code | (block[16 + i] >> part & 1) << 4);
    }
  }
}

void UnpackQ6K(const uint8_t* block, UnpackedBlock& out) {
  const float scale = HalfAt(block + 208);
  for (int group = 0; group < 16; ++group) out.scales[group] = scale * Signed(block[192 + group]);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    for (int part = 0; part < 4; ++part) {
      for (int i = 0; i < 32; ++i) {
        const int four = low[(part % 2) * 32 + i] >> (part / 2 * 4) & 15;
        out.codes[half * 128 + part * 32 + i] = static_cast<uint8_t>(four | (high[i] >> (2 * part) & 3) << 4);
      }
    }
  }
}

// Two bits a code, four codes a byte, 32 bytes apart.
void TwoBits(const uint8_t* bytes, uint8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    for (int part = 0; part < 4; ++part) {
      for (int i = 0; i < 32; ++i) codes[half * 128 + part * 32 + i] = bytes[half * 32 + i] >> (2 * part) & 3;
    }
  }
}

void UnpackQ2K(const uint8_t* block, UnpackedBlock& out) {
  const float scale = HalfAt(block + 80);
  const float least = HalfAt(block + 82);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = scale * static_cast<float>(block[group] & 15);
    out.least[group] = -(least * static_cast<float>(block[group] >> 4));
  }
  TwoBits(block + 16, out.codes);
}

void UnpackQ3K(const uint8_t* block, UnpackedBlock& out) {
  const uint8_t* packed = block + 96;
  const float scale = HalfAt(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    out.scales[group] = scale * static_cast<float>((low | high << 4) - 32);
  }
  TwoBits(block + 32, out.codes);
  for (int i = 0; i < 256; ++i) {
    const int bit = block[i % 32] >> (i / 32) & 1;
    out.codes[i] = static_cast<uint8_t>(out.codes[i] + 4 * bit);
  }
}

constexpr WeightTypeInfo kTypes[] = {
    {WeightType::f64, "f64", 1, 8},
    {WeightType::f32, "f32", 1, 4},
    {WeightType::f16, "f16", 1, 2},
    {WeightType::bf16, "bf16", 1, 2},
    {WeightType::f8_e4m3, "f8_e4m3", 1, 1},
    {WeightType::f8_e5m2, "f8_e5m2", 1, 1},
    {WeightType::i64, "i64", 1, 8},
    {WeightType::i32, "i32", 1, 4},
    {WeightType::i16, "i16", 1, 2},
    {WeightType::i8, "i8", 1, 1},
    {WeightType::u64, "u64", 1, 8},
    {WeightType::u32, "u32", 1, 4},
    {WeightType::u16, "u16", 1, 2},
    {WeightType::u8, "u8", 1, 1},
    {WeightType::boolean, "bool", 1, 1},
    {WeightType::q4_0, "q4_0", 32, 18, 32, 4, 8, 0, false, UnpackQ40},
    {WeightType::q4_1, "q4_1", 32, 20, 32, 4, 0, 0, true, UnpackQ41},
    {WeightType::q5_0, "q5_0", 32, 22, 32, 8, 16, 112, false, UnpackQ50},
    {WeightType::q5_1, "q5_1", 32, 24, 32, 8, 0, 112, true, UnpackQ51},
    {WeightType::q8_0, "q8_0", 32, 34, 32, 8, 128, 0, false, UnpackQ80},
    {WeightType::q2_k, "q2_k", 256, 84, 16, 4, 0, 0, true, UnpackQ2K},
    {WeightType::q3_k, "q3_k", 256, 110, 16, 4, 4, 4, false, UnpackQ3K},
    {WeightType::q4_k, "q4_k", 256, 144, 32, 4, 0, 0, true, UnpackQ4K},
    {WeightType::q5_k, "q5_k", 256, 176, 32, 8, 0, 112, true, UnpackQ5K},
    {WeightType::q6_k, "q6_k", 256, 210, 16, 8, 32, 96, false, UnpackQ6K},
};
static_assert(std::size(kTypes) == static_cast<size_t>(WeightType::q6_k) + 1);

template <class T>
void Convert(const char* bytes, size_t count, float* values) {
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    values[i] = static_cast<float>(value);
  }
}

// An 8-bit float with so many bits of mantissa. E4M3 has no infinities, its all-ones pattern is NaN; E5M2 is as IEEE
// 754.
void ConvertSmallFloats(const char* bytes, size_t count, int mantissa_bits, float* values) {
  const int exponent_bits = 7 - mantissa_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int largest = (1 << exponent_bits) - 1;
  const int ones = (1 << mantissa_bits) - 1;
  for (size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const int exponent = byte >> mantissa_bits & largest;
    const int mantissa = byte & ones;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits)
                                : std::ldexp(static_cast<float>(mantissa + ones + 1), exponent - bias - mantissa_bits);
    if (mantissa_bits == 3 && exponent == largest && mantissa == ones) value = std::numeric_limits<float>::quiet_NaN();
    if (mantissa_bits == 2 && exponent == largest)
      value = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    values[i] = (byte & 0x80) != 0 ? -value : value;
  }
}

void ConvertHalves(const char* bytes, size_t count, WeightType type, float* values) {
  constexpr size_t kAtOnce = 1024;
  uint16_t halves[kAtOnce];  // Tensors of a file need not be aligned.
  for (size_t at = 0; at < count; at += kAtOnce) {
    const size_t some = std::min(kAtOnce, count - at);
    std::memcpy(halves, bytes + at * sizeof(uint16_t), some * sizeof(uint16_t));
    if (type == WeightType::f16) {
      kernels::HalfToFloat(halves, some, values + at);
    } else {
      kernels::BfloatToFloat(halves, some, values + at);
    }
  }
}

void ConvertBlocks(const char* bytes, size_t count, const WeightTypeInfo& info, float* values) {
  UnpackedBlock block;
  for (size_t at = 0; at < count; at += info.elements, bytes += info.bytes) {
    info.unpack(reinterpret_cast<const uint8_t*>(bytes), block);
    for (uint32_t i = 0; i < info.elements; ++i) {
      const uint32_t group = i / info.group;
      const float value = block.scales[group] * static_cast<float>(static_cast<int>(block.codes[i]) - info.zero);
      values[at + i] = info.has_least ? value + block.least[group] : value;
    }
  }
}

void ConvertElements(const char* bytes, size_t count, WeightType type, float* values) {
  switch (type) {
    case WeightType::f64: return Convert<double>(bytes, count, values);
    case WeightType::f32: return Convert<float>(bytes, count, values);
    case WeightType::f16:
    case WeightType::bf16: return ConvertHalves(bytes, count, type, values);
    case WeightType::f8_e4m3: return ConvertSmallFloats(bytes, count, 3, values);
    case WeightType::f8_e5m2: return ConvertSmallFloats(bytes, count, 2, values);
    case WeightType::i64: return Convert<int64_t>(bytes, count, values);
    case WeightType::i32: return Convert<int32_t>(bytes, count, values);
    case WeightType::i16: return Convert<int16_t>(bytes, count, values);
    case WeightType::i8: return Convert<int8_t>(bytes, count, values);
    case WeightType::u64: return Convert<uint64_t>(bytes, count, values);
    case WeightType::u32: return Convert<uint32_t>(bytes, count, values);
    case WeightType::u16: return Convert<uint16_t>(bytes, count, values);
    case WeightType::u8:
    case WeightType::boolean: return Convert<uint8_t>(bytes, count, values);
    default: return ConvertBlocks(bytes, count, InfoOf(type), values);
  }
}

}  // namespace

const WeightTypeInfo& InfoOf(WeightType type) { return kTypes[static_cast<size_t>(type)]; }

uint64_t StoredWeight::Rows() const {
  uint64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= static_cast<uint64_t>(shape[i]);
  return rows;
}

std::string_view StoredWeight::Row(uint64_t row) const {
  if (interleaved_heads != 0) {
    // Row (head, half, pair) lies at (head, pair, half).
    const uint64_t rows_of_head = Rows() / static_cast<uint64_t>(interleaved_heads);
    const uint64_t within = row % rows_of_head;
    const uint64_t pairs = rows_of_head / 2;
    row = row - within + within % pairs * 2 + within / pairs;
  }
  const WeightTypeInfo& info = InfoOf(type);
  const uint64_t row_bytes = Columns() / info.elements * info.bytes;
  return bytes.substr(row * row_bytes, row_bytes);
}

Result<uint64_t> WeightBytes(WeightType type, const std::vector<int64_t>& shape) {
  const WeightTypeInfo& info = InfoOf(type);
  if (shape.size() > kMostDimensions) {
    return Fail(ErrorCode::kRejected,
                fmt::format("it has {} dimensions; {} are allowed", shape.size(), kMostDimensions));
  }
  uint64_t elements = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0)
      return Fail(ErrorCode::kRejected, fmt::format("its shape {} has a negative dimension", DimsText(shape)));
    empty = empty || dim == 0;
    const uint64_t factor = std::max<uint64_t>(1, static_cast<uint64_t>(dim));
    if (factor > (uint64_t{1} << 48) / elements) {
      return Fail(ErrorCode::kRejected, fmt::format("its shape {} is larger than any file", DimsText(shape)));
    }
    elements *= factor;
  }
  if (empty) return uint64_t{0};
  const uint64_t columns = shape.empty() ? 1 : static_cast<uint64_t>(shape.back());
  if (columns % info.elements != 0) {
    return Fail(ErrorCode::kRejected, fmt::format("its rows of {} elements are no whole blocks of {} ({})", columns,
                                                  info.elements, info.name));
  }
  return elements / info.elements * info.bytes;
}

void ReadRows(const StoredWeight& weight, uint64_t first_row, uint64_t rows, uint64_t first, uint64_t last,
              float* values) {
  const WeightTypeInfo& info = InfoOf(weight.type);
  for (uint64_t row = first_row; row < first_row + rows; ++row) {
    const char* bytes = weight.Row(row).data() + first / info.elements * info.bytes;
    ConvertElements(bytes, last - first, weight.type, values);
    values += last - first;
  }
}

void ReadRows(const StoredWeight& weight, uint64_t first_row, uint64_t rows, float* values) {
  ReadRows(weight, first_row, rows, 0, weight.Columns(), values);
}

Result<> CheckApart(std::vector<Place> places) {
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  const Place* last = nullptr;
  for (const Place& place : places) {
    if (place.bytes == 0) continue;
    if (last != nullptr && place.offset < last->offset + last->bytes) {
      return Fail(ErrorCode::kRejected, fmt::format("the tensors '{}' and '{}' overlap", Printable(last->name, 200),
                                                    Printable(place.name, 200)));
    }
    last = &place;
  }
  return {};
}

std::string DimsText(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace hone
