// The file: "HONESTAT", a version, the number of tensors, then each tensor in the order of names, all little-endian.
//
//   string  u32 length, bytes
//   array   u64 count, elements
//   bins    u64 count, each a count of 7-bit groups, lowest first, the top bit set but on the last
//
// Statistics are artifacts that travel between machines, so every length is checked against what is left of the file
// before anything is allocated.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/calibration/statistics.h"

namespace hone {
namespace {

constexpr std::string_view kMagic = "HONESTAT";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMaxFileBytes = uint64_t{16} << 30;
constexpr uint32_t kMaxNameBytes = 1 << 20;

template <class T>
auto BitsOf(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<uint32_t>(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<uint64_t>(value);
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

class Writer {
 public:
  template <class T>
  void Number(T value) {
    const auto bits = BitsOf(value);
    for (size_t i = 0; i < sizeof bits; ++i) bytes_.push_back(static_cast<char>((bits >> (8 * i)) & 0xff));
  }
  void Text(const std::string& text) {
    Number(static_cast<uint32_t>(text.size()));
    bytes_ += text;
  }
  template <class T>
  void Array(const std::vector<T>& values) {
    Number(static_cast<uint64_t>(values.size()));
    if constexpr (std::endian::native == std::endian::little) {
      bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    } else {
      for (const T value : values) Number(value);
    }
  }
  void Bins(const std::vector<uint64_t>& counts) {
    Number(static_cast<uint64_t>(counts.size()));
    for (uint64_t count : counts) {
      for (; count >= 0x80; count >>= 7) bytes_.push_back(static_cast<char>((count & 0x7f) | 0x80));
      bytes_.push_back(static_cast<char>(count));
    }
  }
  void Raw(std::string_view bytes) { bytes_ += bytes; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// After the first failure everything reads as zero, and `broken` says what was wrong.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  template <class T>
  T Number() {
    decltype(BitsOf(T())) bits = 0;
    if (!Take(sizeof bits)) return T();
    for (size_t i = 0; i < sizeof bits; ++i)
      bits = static_cast<decltype(bits)>(bits | static_cast<decltype(bits)>(static_cast<unsigned char>(taken_[i]))
                                                    << (8 * i));
    return std::bit_cast<T>(bits);
  }
  std::string Text() {
    const auto size = Number<uint32_t>();
    if (size > kMaxNameBytes) return Break("a name is too long"), std::string();
    return Take(size) ? std::string(taken_) : std::string();
  }
  template <class T>
  std::vector<T> Array() {
    const auto count = Number<uint64_t>();
    if (count > left_.size() / sizeof(T)) return Break("it ends inside an array"), std::vector<T>();
    std::vector<T> values(count);
    if constexpr (std::endian::native == std::endian::little) {
      if (Take(count * sizeof(T)) && count > 0) std::memcpy(values.data(), taken_.data(), count * sizeof(T));
    } else {
      for (T& value : values) value = Number<T>();
    }
    return values;
  }
  std::vector<uint64_t> Bins() {
    const auto count = Number<uint64_t>();
    if (count > 2 * uint64_t{Histogram::kMaxBins})
      return Break("a histogram has too many bins"), std::vector<uint64_t>();
    std::vector<uint64_t> counts(count);
    for (uint64_t& bin : counts) {
      for (int shift = 0;; shift += 7) {
        if (shift > 63) return Break("a count is too large"), std::vector<uint64_t>();
        if (!Take(1)) return {};
        const auto group = static_cast<unsigned char>(taken_[0]);
        bin |= uint64_t{group & 0x7fu} << shift;
        if (group < 0x80) break;
      }
    }
    return counts;
  }
  std::string_view Raw(size_t size) { return Take(size) ? taken_ : std::string_view(); }

  void Break(const char* why) {
    if (broken_ == nullptr) broken_ = why;
    left_ = {};
  }
  const char* broken() const { return broken_; }
  bool AtEnd() const { return left_.empty(); }

 private:
  bool Take(uint64_t size) {
    if (broken_ == nullptr && size > left_.size()) Break("it is cut off");
    if (broken_ != nullptr) return false;
    taken_ = left_.substr(0, size);
    left_.remove_prefix(size);
    return true;
  }

  std::string_view left_;
  std::string_view taken_;
  const char* broken_ = nullptr;
};

void Write(const TensorStatistics& tensor, Writer& writer) {
  writer.Number(tensor.low);
  writer.Number(tensor.high);
  writer.Number(tensor.values);
  writer.Number(tensor.non_finite);
  writer.Number(tensor.samples);
  for (const double value : {tensor.mean_low, tensor.mean_high, tensor.moving_low, tensor.moving_high})
    writer.Number(value);
  writer.Number(tensor.histogram.width);
  writer.Number(tensor.histogram.first);
  writer.Bins(tensor.histogram.counts);
  writer.Array(tensor.channels.low);
  writer.Array(tensor.channels.high);
  writer.Array(tensor.channels.mean);
  writer.Array(tensor.channels.mean_magnitude);
  writer.Array(tensor.gram);
  writer.Number(tensor.gram_rows);
}

bool AllFinite(const TensorStatistics& tensor) {
  const auto finite = [](double value) { return std::isfinite(value); };
  bool all = finite(tensor.low) && finite(tensor.high) && finite(tensor.mean_low) && finite(tensor.mean_high) &&
             finite(tensor.moving_low) && finite(tensor.moving_high) && finite(tensor.histogram.width);
  for (const auto* values : {&tensor.channels.low, &tensor.channels.high}) {
    for (const float value : *values) all = all && std::isfinite(value);
  }
  for (const auto* values : {&tensor.channels.mean, &tensor.channels.mean_magnitude}) {
    for (const double value : *values) all = all && std::isfinite(value);
  }
  return all;
}

bool IsSquare(size_t size) {
  const auto side = static_cast<size_t>(std::llround(std::sqrt(static_cast<double>(size))));
  return side * side == size;
}

// What readers of statistics rely on. nullptr where all is well.
const char* Fault(const TensorStatistics& tensor) {
  const Histogram& histogram = tensor.histogram;
  const ChannelStatistics& channels = tensor.channels;
  if (!AllFinite(tensor)) return "a value is not finite";
  if (tensor.low > tensor.high || tensor.non_finite > tensor.values || tensor.samples > tensor.values)
    return "its ranges or counts contradict each other";
  int exponent = 0;
  const bool power = std::frexp(histogram.width, &exponent) == 0.5;
  if (histogram.width != 0 && !power) return "a bin's width is no power of two";
  const auto bins = static_cast<int64_t>(histogram.counts.size());
  if (histogram.first < -Histogram::kMaxBins || histogram.first > Histogram::kMaxBins ||
      histogram.first + bins > Histogram::kMaxBins) {
    return "a histogram reaches too far";
  }
  if (channels.high.size() != channels.low.size() || channels.mean.size() != channels.low.size() ||
      channels.mean_magnitude.size() != channels.low.size()) {
    return "its channels differ in number";
  }
  return IsSquare(tensor.gram.size()) ? nullptr : "a matrix is not square";
}

TensorStatistics Read(Reader& reader) {
  TensorStatistics tensor;
  tensor.low = reader.Number<float>();
  tensor.high = reader.Number<float>();
  tensor.values = reader.Number<uint64_t>();
  tensor.non_finite = reader.Number<uint64_t>();
  tensor.samples = reader.Number<uint64_t>();
  for (double* value : {&tensor.mean_low, &tensor.mean_high, &tensor.moving_low, &tensor.moving_high})
    *value = reader.Number<double>();
  tensor.histogram.width = reader.Number<double>();
  tensor.histogram.first = reader.Number<int64_t>();
  tensor.histogram.counts = reader.Bins();
  tensor.channels.low = reader.Array<float>();
  tensor.channels.high = reader.Array<float>();
  tensor.channels.mean = reader.Array<double>();
  tensor.channels.mean_magnitude = reader.Array<double>();
  tensor.gram = reader.Array<float>();
  tensor.gram_rows = reader.Number<uint64_t>();
  if (const char* fault = Fault(tensor)) reader.Break(fault);
  return tensor;
}

}  // namespace

Result<> SaveStatistics(const Statistics& statistics, const std::filesystem::path& file) {
  Writer writer;
  writer.Raw(kMagic);
  writer.Number(kVersion);
  writer.Number(static_cast<uint64_t>(statistics.size()));
  for (const auto& [name, tensor] : statistics) {
    writer.Text(name);
    Write(tensor, writer);
  }
  return WriteFile(file, writer.bytes());
}

Result<Statistics> LoadStatistics(const std::filesystem::path& file) {
  TRY_ASSIGN(const std::string bytes, ReadFile(file, kMaxFileBytes));
  const auto rejected = [&](std::string_view why) {
    return Fail(ErrorCode::kRejected, fmt::format("read statistics {}: {}", Printable(file.string(), 500), why),
                "Collect them again.");
  };
  Reader reader(bytes);
  if (reader.Raw(kMagic.size()) != kMagic) return rejected("it is no file of statistics");
  if (const auto version = reader.Number<uint32_t>(); version != kVersion)
    return rejected(fmt::format("version {} is not known", version));
  const auto count = reader.Number<uint64_t>();
  Statistics statistics;
  for (uint64_t i = 0; i < count && reader.broken() == nullptr; ++i) {
    std::string name = reader.Text();
    TensorStatistics tensor = Read(reader);
    if (reader.broken() != nullptr) break;
    if (!statistics.empty() && name <= statistics.rbegin()->first) return rejected("its names are out of order");
    statistics.emplace_hint(statistics.end(), std::move(name), std::move(tensor));
  }
  if (reader.broken() != nullptr) return rejected(reader.broken());
  if (!reader.AtEnd()) return rejected("bytes follow its end");
  return statistics;
}

}  // namespace hone
