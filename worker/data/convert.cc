#include "worker/data/convert.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace hone {
namespace {

constexpr ElementType kFloat32 = 1, kUint8 = 2, kInt8 = 3, kUint16 = 4, kInt16 = 5, kInt32 = 6, kInt64 = 7, kBool = 9,
                      kFloat16 = 10, kFloat64 = 11, kUint32 = 12, kUint64 = 13, kBfloat16 = 16;

// Calls visit with a value of the C++ type that holds the integer type; false for other types. A bool is a byte of 0
// or 1.
template <class Visit>
bool VisitInteger(ElementType type, Visit visit) {
  switch (type) {
    case kUint8:
      visit(uint8_t{});
      return true;
    case kBool:
      visit(uint8_t{});
      return true;
    case kInt8:
      visit(int8_t{});
      return true;
    case kUint16:
      visit(uint16_t{});
      return true;
    case kInt16:
      visit(int16_t{});
      return true;
    case kInt32:
      visit(int32_t{});
      return true;
    case kInt64:
      visit(int64_t{});
      return true;
    case kUint32:
      visit(uint32_t{});
      return true;
    case kUint64:
      visit(uint64_t{});
      return true;
    default:
      return false;
  }
}

bool IsInteger(ElementType type) {
  return VisitInteger(type, [](auto) {});
}
bool IsReal(ElementType type) { return type == kFloat32 || type == kFloat16 || type == kFloat64 || type == kBfloat16; }

template <class From, class To>
Result<> CopyIntegers(const Tensor& from, Tensor& to) {
  const size_t count = from.bytes.size() / sizeof(From);
  for (size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from.bytes.data() + i * sizeof(From), sizeof(From));
    if (!std::in_range<To>(value) || (to.type == kBool && value != From{0} && value != From{1})) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("element {} is {}, which does not fit {}", i, value, ElementName(to.type)));
    }
    const To converted = static_cast<To>(value);
    std::memcpy(to.bytes.data() + i * sizeof(To), &converted, sizeof(To));
  }
  return {};
}

// As double, which holds every value of the narrower types.
double ReadReal(const Tensor& tensor, size_t index, const std::vector<float>& floats) {
  if (tensor.type != kFloat64) return static_cast<double>(floats[index]);
  double value;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof(double), sizeof(double));
  return value;
}

// Writes the nearest value; returns whether a finite value stayed finite.
bool WriteReal(double value, size_t index, Tensor& tensor) {
  std::byte* place = tensor.bytes.data() + index * ElementBytes(tensor.type);
  if (tensor.type == kFloat64) {
    std::memcpy(place, &value, sizeof(value));
    return true;
  }
  const float single = static_cast<float>(value);
  if (tensor.type == kFloat32) {
    std::memcpy(place, &single, sizeof(single));
    return std::isfinite(single) || !std::isfinite(value);
  }
  const uint16_t bits = tensor.type == kFloat16 ? FloatToHalf(single) : FloatToBfloat16(single);
  std::memcpy(place, &bits, sizeof(bits));
  const uint16_t top = tensor.type == kFloat16 ? 0x7c00 : 0x7f80;
  return (bits & top) != top || !std::isfinite(value);
}

Result<> CopyReals(const Tensor& from, Tensor& to) {
  const std::vector<float> floats = from.type == kFloat64 ? std::vector<float>{} : ToFloats(from);
  const size_t count = from.bytes.size() / ElementBytes(from.type);
  for (size_t i = 0; i < count; ++i) {
    const double value = ReadReal(from, i, floats);
    if (!WriteReal(value, i, to)) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("element {} is {}, which does not fit {}", i, value, ElementName(to.type)));
    }
  }
  return {};
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  // 65520 is the first value that rounds beyond the largest half, 65504.
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  // Below 2^-14 a half counts in steps of 2^-24: adding 0.5 makes float round at that very place.
  if (magnitude < 0x38800000u) {
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

Result<Tensor> ConvertTensor(Tensor tensor, ElementType wanted) {
  if (tensor.type == wanted) return tensor;
  const bool integers = IsInteger(tensor.type) && IsInteger(wanted);
  if (!integers && !(IsReal(tensor.type) && IsReal(wanted))) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} is wanted and {} was found", ElementName(wanted), ElementName(tensor.type)));
  }
  Tensor converted{tensor.name, wanted, tensor.dims, {}};
  converted.bytes.resize(tensor.bytes.size() / ElementBytes(tensor.type) * ElementBytes(wanted));
  if (!integers) {
    TRY(CopyReals(tensor, converted));
    return converted;
  }
  Result<> copied;
  VisitInteger(tensor.type, [&](auto from) {
    VisitInteger(wanted, [&](auto to) { copied = CopyIntegers<decltype(from), decltype(to)>(tensor, converted); });
  });
  TRY(std::move(copied));
  return converted;
}

}  // namespace hone
