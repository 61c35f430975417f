#include "worker/model/tensor.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace hone {
namespace {

// How elements of a type are read as numbers.
enum class Kind { none, bit, sign_int, plain_int, real, half, bfloat16, float8 };

struct TypeRow {
  ElementType type;  // As in onnx.proto.
  const char* name;
  size_t bytes;  // 0: strings and elements smaller than a byte.
  Kind kind;
};

constexpr TypeRow kTypes[] = {
    {1, "float32", 4, Kind::real},
    {2, "uint8", 1, Kind::plain_int},
    {3, "int8", 1, Kind::sign_int},
    {4, "uint16", 2, Kind::plain_int},
    {5, "int16", 2, Kind::sign_int},
    {6, "int32", 4, Kind::sign_int},
    {7, "int64", 8, Kind::sign_int},
    {8, "string", 0, Kind::none},
    {9, "bool", 1, Kind::bit},
    {10, "float16", 2, Kind::half},
    {11, "float64", 8, Kind::real},
    {12, "uint32", 4, Kind::plain_int},
    {13, "uint64", 8, Kind::plain_int},
    {14, "complex64", 8, Kind::none},
    {15, "complex128", 16, Kind::none},
    {16, "bfloat16", 2, Kind::bfloat16},
    {17, "float8e4m3fn", 1, Kind::float8},
    {18, "float8e4m3fnuz", 1, Kind::float8},
    {19, "float8e5m2", 1, Kind::float8},
    {20, "float8e5m2fnuz", 1, Kind::float8},
    {21, "uint4", 0, Kind::none},
    {22, "int4", 0, Kind::none},
    {23, "float4e2m1", 0, Kind::none},
};

const TypeRow* FindType(ElementType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

// A number of sign, exponent and mantissa bits, where the highest exponent holds no infinities or NaN beyond what the
// caller has dealt with.
float FromParts(bool negative, int exponent, unsigned mantissa, int mantissa_bits, int bias) {
  const float fraction = static_cast<float>(mantissa) / static_cast<float>(1u << mantissa_bits);
  const float value = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0f + fraction, exponent - bias);
  return negative ? -value : value;
}

// Moved to float's places, a half is its value / 2^112, subnormals included; infinities and NaN get float's highest
// exponent.
float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t moved = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  const bool special = (bits & 0x7c00u) == 0x7c00u;
  const uint32_t magnitude =
      special ? moved | 0x7f800000u : std::bit_cast<uint32_t>(std::bit_cast<float>(moved) * 0x1p112f);
  return std::bit_cast<float>(sign | magnitude);
}

// The four 8-bit floats of onnx: e4m3 and e5m2, each with its "fnuz" form (no negative zero, bias one higher, 0x80 is
// NaN).
float Float8ToFloat(ElementType type, uint8_t bits) {
  const bool e5m2 = type >= 19;
  const bool fnuz = type == 18 || type == 20;
  const int mantissa_bits = e5m2 ? 2 : 3;
  const int exponent_bits = 7 - mantissa_bits;
  const unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const bool negative = (bits >> 7) != 0;
  const int bias = (1 << (exponent_bits - 1)) - 1 + (fnuz ? 1 : 0);
  const bool top = exponent == (1 << exponent_bits) - 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (fnuz && bits == 0x80) return nan;
  if (!fnuz && top && e5m2) {
    if (mantissa != 0) return nan;
    return negative ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  if (!fnuz && top && !e5m2 && mantissa == 7) return nan;
  return FromParts(negative, exponent, mantissa, mantissa_bits, bias);
}

template <class T>
void Widen(const Tensor& tensor, std::vector<float>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    T element;
    std::memcpy(&element, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<float>(element);
  }
}

template <class Bits, class Decode>
void DecodeEach(const Tensor& tensor, std::vector<float>& values, Decode decode) {
  for (size_t i = 0; i < values.size(); ++i) {
    Bits bits;
    std::memcpy(&bits, tensor.bytes.data() + i * sizeof(Bits), sizeof(Bits));
    values[i] = decode(bits);
  }
}

}  // namespace

size_t ElementBytes(ElementType type) {
  const TypeRow* row = FindType(type);
  return row == nullptr ? 0 : row->bytes;
}

std::string ElementName(ElementType type) {
  const TypeRow* row = FindType(type);
  return row == nullptr ? fmt::format("type{}", type) : row->name;
}

int64_t ElementCount(const std::vector<int64_t>& dims) {
  int64_t count = 1;
  bool empty = false;
  for (const int64_t dim : dims) {
    if (dim < 0) return -1;
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, dim, &count)) {
      return -1;
    }
  }
  return empty ? 0 : count;
}

int64_t Tensor::Elements() const { return ElementCount(dims); }

std::vector<float> ToFloats(const Tensor& tensor) {
  const TypeRow* row = FindType(tensor.type);
  if (row == nullptr || row->kind == Kind::none) return {};
  std::vector<float> values(tensor.bytes.size() / row->bytes);
  switch (row->kind) {
    case Kind::none:
      break;
    case Kind::bit:
      DecodeEach<uint8_t>(tensor, values, [](uint8_t bits) { return bits != 0 ? 1.0f : 0.0f; });
      break;
    case Kind::sign_int:
      if (row->bytes == 1) Widen<int8_t>(tensor, values);
      if (row->bytes == 2) Widen<int16_t>(tensor, values);
      if (row->bytes == 4) Widen<int32_t>(tensor, values);
      if (row->bytes == 8) Widen<int64_t>(tensor, values);
      break;
    case Kind::plain_int:
      if (row->bytes == 1) Widen<uint8_t>(tensor, values);
      if (row->bytes == 2) Widen<uint16_t>(tensor, values);
      if (row->bytes == 4) Widen<uint32_t>(tensor, values);
      if (row->bytes == 8) Widen<uint64_t>(tensor, values);
      break;
    case Kind::real:
      if (row->bytes == 4) Widen<float>(tensor, values);
      if (row->bytes == 8) Widen<double>(tensor, values);
      break;
    case Kind::half:
      DecodeEach<uint16_t>(tensor, values, HalfToFloat);
      break;
    case Kind::bfloat16:
      DecodeEach<uint16_t>(tensor, values,
                           [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); });
      break;
    case Kind::float8:
      DecodeEach<uint8_t>(tensor, values, [&](uint8_t bits) { return Float8ToFloat(tensor.type, bits); });
      break;
  }
  return values;
}

}  // namespace hone
