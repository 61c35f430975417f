// Stand-in inputs. A sample is computed from (seed, index, input) alone, so any sample can be had at any time by any
// thread.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <utility>

#include "common/base/digest.h"
#include "common/base/strings.h"
#include "worker/data/convert.h"
#include "worker/data/data_set.h"
#include "worker/data/signature.h"

namespace hone {
namespace {

constexpr ElementType kFloat32 = 1, kInt32 = 6, kInt64 = 7, kBool = 9, kFloat16 = 10, kFloat64 = 11, kBfloat16 = 16;
constexpr uint64_t kMaxInputBytes = uint64_t{4} << 30;
// Ids that any vocabulary or table of some size has.
constexpr uint64_t kIds = 8;

// SplitMix64 (Steele, Lea, Flood 2014): any seed gives an independent stream.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In (0, 1].
  double Uniform() { return static_cast<double>((Next() >> 11) + 1) * 0x1p-53; }
  // Box and Muller.
  float Normal() {
    const double radius = std::sqrt(-2.0 * std::log(Uniform()));
    return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * Uniform()));
  }

 private:
  uint64_t state_;
};

bool IsReal(ElementType type) { return type == kFloat32 || type == kFloat16 || type == kFloat64 || type == kBfloat16; }

// A padding mask: ones, then zeros in the last part of the last axis.
void FillMask(Tensor& tensor, Random& random) {
  const int64_t row = tensor.dims.empty() ? 1 : tensor.dims.back();
  const int64_t elements = tensor.Elements();
  for (int64_t start = 0; start < elements; start += row) {
    const int64_t ones = row - static_cast<int64_t>(random.Next() % static_cast<uint64_t>(row / 2 + 1));
    for (int64_t i = 0; i < row; ++i) tensor.data<int64_t>()[start + i] = i < ones ? 1 : 0;
  }
}

Tensor MakeInput(const InputSignature& input, uint64_t seed) {
  Random random(seed);
  Tensor tensor{input.name, IsReal(input.type) ? kFloat32 : kInt64, input.dims, {}};
  const auto elements = static_cast<size_t>(tensor.Elements());
  tensor.bytes.resize(elements * ElementBytes(tensor.type));
  const std::string name = input.name;
  const auto holds = [&](std::string_view word) { return name.find(word) != std::string::npos; };
  if (tensor.type == kFloat32) {
    for (size_t i = 0; i < elements; ++i) tensor.data<float>()[i] = random.Normal();
  } else if (holds("mask")) {
    FillMask(tensor, random);
  } else {
    // Token types and flags know two values.
    const uint64_t values = input.type == kBool || holds("type") ? 2 : kIds;
    for (size_t i = 0; i < elements; ++i) tensor.data<int64_t>()[i] = static_cast<int64_t>(random.Next() % values);
  }
  Result<Tensor> converted = ConvertTensor(std::move(tensor), input.type);
  CHECK_THAT(converted.has_value());
  return std::move(*converted);
}

class Synthetic : public DataSet {
 public:
  Synthetic(std::vector<InputSignature> inputs, size_t samples, uint64_t seed)
      : inputs_(std::move(inputs)), samples_(samples), seed_(seed) {}

  size_t size() const override { return samples_; }
  const std::vector<int64_t>& labels() const override { return no_labels_; }
  std::string digest() const override {
    std::string text = fmt::format("synthetic\n{}\n{}\n", samples_, seed_);
    for (const InputSignature& input : inputs_) text += SignatureText(input) + "\n";
    return DigestOf(text);
  }
  Result<std::vector<Tensor>> Get(size_t index) const override {
    CHECK_THAT(index < samples_);
    std::vector<Tensor> sample;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      Random mix(seed_ ^ Random((index << 16) + i).Next());
      sample.push_back(MakeInput(inputs_[i], mix.Next()));
    }
    return sample;
  }

 private:
  const std::vector<InputSignature> inputs_;
  const std::vector<int64_t> no_labels_;
  const size_t samples_;
  const uint64_t seed_;
};

Result<> CheckInput(const InputSignature& input) {
  std::vector<std::string> example;
  bool free = false;
  for (const int64_t dim : input.dims) {
    free = free || dim < 0;
    example.push_back(dim < 0 ? "1" : fmt::format("{}", dim));
  }
  const std::string name = Printable(input.name, 256);
  if (free) {
    return Fail(
        ErrorCode::kRejected,
        fmt::format("input {} has a free dimension, so no stand-in data can be made for it", SignatureText(input)),
        fmt::format(
            "pin it with --input {}={} (or `inputs` in the recipe) with sizes that suit the model, or give data", name,
            Join(example, ",")));
  }
  const int64_t elements = ElementCount(input.dims);
  if (elements < 0 || static_cast<uint64_t>(elements) > kMaxInputBytes / sizeof(int64_t)) {
    return Fail(ErrorCode::kRejected, fmt::format("input {} is too large for stand-in data", SignatureText(input)));
  }
  Tensor probe{name, IsReal(input.type) ? kFloat32 : kInt64, {0}, {}};
  if (!ConvertTensor(std::move(probe), input.type)) {
    return Fail(ErrorCode::kRejected, fmt::format("no stand-in data can be made for input {}", SignatureText(input)),
                "give data");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<DataSet>> SyntheticDataSet(const std::vector<InputSignature>& inputs, size_t samples,
                                                  uint64_t seed) {
  if (samples == 0) return Fail(ErrorCode::kRejected, "no sample of stand-in data is wanted");
  for (const InputSignature& input : inputs) TRY(CheckInput(input));
  return std::make_unique<Synthetic>(inputs, samples, seed);
}

}  // namespace hone
