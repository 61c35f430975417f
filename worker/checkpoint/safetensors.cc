#include "worker/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr JsonBounds kHeaderBounds = {.bytes = 32 << 20, .values = 4'000'000, .depth = 8};
constexpr size_t kMostTensorNameBytes = 1024;

constexpr std::pair<std::string_view, WeightType> kElementTypes[] = {
    {"F64", WeightType::f64}, {"F32", WeightType::f32},         {"F16", WeightType::f16},
    {"BF16", WeightType::bf16}, {"F8_E4M3", WeightType::f8_e4m3}, {"F8_E5M2", WeightType::f8_e5m2},
    {"I64", WeightType::i64}, {"I32", WeightType::i32},         {"I16", WeightType::i16},
    {"I8", WeightType::i8},   {"U64", WeightType::u64},         {"U32", WeightType::u32},
    {"U16", WeightType::u16}, {"U8", WeightType::u8},           {"BOOL", WeightType::boolean},
};

const WeightType* FindType(std::string_view name) {
  for (const auto& [known, type] : kElementTypes) {
    if (known == name) return &type;
  }
  return nullptr;
}

// A list of whole numbers that are not negative.
std::optional<std::vector<int64_t>> WholeNumbers(const json& tensor, const char* key) {
  const auto found = tensor.find(key);
  if (found == tensor.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& element : *found) {
    if (!element.is_number_unsigned() || element.get<uint64_t>() > uint64_t{1} << 62) return std::nullopt;
    numbers.push_back(element.get<int64_t>());
  }
  return numbers;
}

Result<StoredWeight> ReadTensorEntry(const json& entry, std::string_view data, Place& place) {
  const auto refuse = [](const std::string& why) { return Fail(ErrorCode::kRejected, why); };
  if (!entry.is_object()) return refuse("its entry is no object");
  const auto type = entry.find("dtype");
  if (type == entry.end() || !type->is_string()) return refuse("it has no dtype");
  const auto& type_name = type->get_ref<const std::string&>();
  const WeightType* known = FindType(type_name);
  if (known == nullptr) return refuse(fmt::format("its dtype '{}' is not known", Printable(type_name, 40)));
  auto shape = WholeNumbers(entry, "shape");
  if (!shape) return refuse("its shape is no list of whole numbers");
  const auto offsets = WholeNumbers(entry, "data_offsets");
  if (!offsets || offsets->size() != 2) return refuse("its data_offsets are not two whole numbers");
  const auto begin = static_cast<uint64_t>((*offsets)[0]);
  const auto end = static_cast<uint64_t>((*offsets)[1]);
  if (begin > end || end > data.size()) {
    return refuse(
        fmt::format("its data_offsets [{}, {}] lie outside of the {} bytes of data", begin, end, data.size()));
  }
  TRY_ASSIGN(const uint64_t bytes, WeightBytes(*known, *shape));
  if (bytes != end - begin) {
    return refuse(fmt::format("it has {} bytes of data; {} of shape {} take {}", end - begin, type_name,
                              DimsText(*shape), bytes));
  }
  place.offset = begin;
  place.bytes = bytes;
  return StoredWeight{*known, std::move(*shape), data.substr(begin, bytes)};
}

Result<> ReadTensors(const json& header, std::string_view data, WeightMap& weights) {
  if (!header.is_object()) return Fail(ErrorCode::kRejected, "the header is no object");
  std::vector<Place> places;
  uint64_t covered = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    if (name.empty() || name.size() > kMostTensorNameBytes)
      return Fail(ErrorCode::kRejected,
                  fmt::format("a tensor's name has {} bytes; 1 to {} are allowed", name.size(), kMostTensorNameBytes));
    Place place{0, 0, name};
    Result<StoredWeight> weight = ReadTensorEntry(entry, data, place);
    if (!weight) return FailWith(fmt::format("tensor '{}'", Printable(name, 200)), std::move(weight.error()));
    if (!weights.emplace(name, std::move(*weight)).second)
      return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' is in another file too", Printable(name, 200)));
    covered += place.bytes;
    places.push_back(std::move(place));
  }
  TRY(CheckApart(std::move(places)));
  if (covered != data.size()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} of its {} bytes of data belong to no tensor", data.size() - covered, data.size()));
  }
  return {};
}

}  // namespace

Result<> ReadSafetensors(std::string_view file, const std::string& what, WeightMap& weights) {
  uint64_t length = 0;
  if (file.size() < kLengthBytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{}: it has {} bytes, which is no safetensors file", what, file.size()));
  }
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kHeaderBounds.bytes) {
    return Fail(
        ErrorCode::kRejected,
        fmt::format("{}: its header is said to have {} bytes; {} are allowed", what, length, kHeaderBounds.bytes),
        "A file of Git LFS is a pointer of a few lines; fetch what it points to.");
  }
  if (length > file.size() - kLengthBytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{}: its header is said to have {} bytes, the file has {}: it is cut short", what, length,
                            file.size()));
  }
  TRY_ASSIGN(const json header, ParseJson(file.substr(kLengthBytes, length), what + ": header", kHeaderBounds));
  Result<> read = ReadTensors(header, file.substr(kLengthBytes + length), weights);
  return read ? read : FailWith(what, std::move(read.error()));
}

}  // namespace hone
