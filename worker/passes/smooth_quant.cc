#include "worker/passes/smooth_quant.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/range.h"

namespace hone {
namespace {

constexpr double kLargestFactor = 100;
constexpr double kLowestShare = 0.1;
// A group whose factors differ by less gains nothing.
constexpr double kSmallestGain = 1.05;
constexpr double kSearchStep = 0.05;
// Mean square over squared mean magnitude, of normal values.
constexpr double kSquareOfMagnitude = 1.5707963267948966;
// Magnitudes below it count as it: a channel that is always zero asks for no factor.
constexpr double kSmallestMagnitude = 1e-5;

// A MatMul or Gemm that reads the value as its first input.
struct Reader {
  int node = 0;
  std::string weight;
  bool transposed = false;  // Its rows are the weight's columns.
};

// Products of one value.
struct Group {
  std::string value;
  std::vector<Reader> readers;
};

class Smoother {
 public:
  Smoother(QuantizationGraph& graph, const NodeChoice& choice, const MaskValues& masks, const Statistics& statistics,
           const SmoothOptions& options)
      : graph_(graph), choice_(choice), masks_(masks), statistics_(statistics), options_(options) {}

  Result<Smoothed> Run() {
    for (const Group& group : Groups()) {
      TRY(SmoothGroup(group));
    }
    return std::move(smoothed_);
  }

 private:
  std::optional<Reader> ReaderOf(int index) const {
    const auto& node = graph_.Node(index);
    if ((node.op_type() != "MatMul" && node.op_type() != "Gemm") || !choice_.Wanted(index) ||
        !IsWeightedProduct(graph_, node))
      return std::nullopt;
    if (graph_.FloatWeight(node.input(1))->dims_size() != 2 || graph_.FloatWeight(node.input(0)) != nullptr ||
        masks_.values.contains(node.input(0)) || masks_.nodes.contains(index))
      return std::nullopt;
    const bool gemm = node.op_type() == "Gemm";
    if (gemm && IntAttribute(node, "transA", 0) != 0) return std::nullopt;
    return Reader{index, node.input(1), gemm && IntAttribute(node, "transB", 0) != 0};
  }

  std::vector<Group> Groups() const {
    std::vector<Group> groups;
    std::map<std::string, size_t> positions;
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      const auto reader = ReaderOf(i);
      if (!reader) continue;
      const std::string& value = graph_.Node(i).input(0);
      const auto [at, added] = positions.emplace(value, groups.size());
      if (added) groups.push_back({value, {}});
      groups[at->second].readers.push_back(*reader);
    }
    return groups;
  }

  // Largest magnitude of each row over all weights; nullopt where one has another number of rows or is not finite.
  Result<std::optional<std::vector<float>>> RowMagnitudes(const Group& group, size_t rows) const {
    std::vector<float> magnitudes(rows, 0);
    for (const Reader& reader : group.readers) {
      TRY_ASSIGN(const Tensor weight, ReadTensor(*graph_.FloatWeight(reader.weight)));
      const size_t height = static_cast<size_t>(weight.dims[0]);
      const size_t width = static_cast<size_t>(weight.dims[1]);
      if ((reader.transposed ? width : height) != rows) return std::optional<std::vector<float>>();
      std::vector<kernels::FloatRange> ranges(rows);
      kernels::ChannelRanges(weight.data<float>(), reader.transposed ? height : 1, rows, reader.transposed ? 1 : width,
                             ranges.data());
      for (size_t row = 0; row < rows; ++row) {
        if (ranges[row].non_finite > 0) return std::optional<std::vector<float>>();
        magnitudes[row] = std::max(magnitudes[row], ranges[row].AbsMax());
      }
    }
    return std::optional(std::move(magnitudes));
  }

  static std::vector<float> Factors(const ChannelStatistics& channels, const std::vector<float>& rows, double alpha) {
    // A channel that is always zero, or that no weight reads, has nothing to smooth: its factor is 1, and it must not
    // pull down the others' lowest.
    std::vector<std::optional<double>> factors;
    std::vector<double> sorted;
    for (size_t i = 0; i < rows.size(); ++i) {
      const double activation = std::max(std::fabs(channels.low[i]), std::fabs(channels.high[i]));
      factors.emplace_back();
      if (activation < kSmallestMagnitude || rows[i] < kSmallestMagnitude) continue;
      factors.back() = std::pow(activation, alpha) / std::pow(static_cast<double>(rows[i]), 1 - alpha);
      sorted.push_back(*factors.back());
    }
    if (sorted.empty()) return std::vector<float>(rows.size(), 1.0f);
    std::sort(sorted.begin(), sorted.end());
    const double place = kLowestShare * static_cast<double>(sorted.size() - 1);
    const size_t below = static_cast<size_t>(place);
    const double above = sorted[std::min(below + 1, sorted.size() - 1)];
    const double between = sorted[below] + (place - std::floor(place)) * (above - sorted[below]);
    const double lowest = std::min(kLargestFactor, between);
    std::vector<float> clipped;
    for (const auto& factor : factors)
      clipped.push_back(factor ? static_cast<float>(std::clamp(*factor, lowest, kLargestFactor)) : 1.0f);
    return clipped;
  }

  // Energy of the error that codes of 8 bits make in the sums of a product, by outputs and channels.
  double ExpectedError(const Tensor& weight, bool transposed, const ChannelStatistics& channels,
                       const std::vector<float>& factors) const {
    const size_t height = static_cast<size_t>(weight.dims[0]);
    const size_t width = static_cast<size_t>(weight.dims[1]);
    float low = 0;
    float high = 0;
    double power = 0;  // Of the activations, as far as it counts.
    for (size_t i = 0; i < factors.size(); ++i) {
      low = std::min(low, channels.low[i] / factors[i]);
      high = std::max(high, channels.high[i] / factors[i]);
      const double mean = channels.mean[i] / factors[i];
      const double magnitude = channels.mean_magnitude[i] / factors[i];
      const double corrected = options_.mean_is_corrected ? mean * mean : 0;
      power += std::max(kSquareOfMagnitude * magnitude * magnitude - corrected, 0.0);
    }
    std::vector<float> largest(transposed ? height : width, 0);
    double squares = 0;
    const float* values = weight.data<float>();
    for (size_t row = 0; row < height; ++row) {
      for (size_t column = 0; column < width; ++column) {
        const float value = std::fabs(values[row * width + column]) * factors[transposed ? column : row];
        squares += static_cast<double>(value) * value;
        float& most = largest[transposed ? row : column];
        most = std::max(most, value);
      }
    }
    double steps = 0;
    for (const float most : largest) steps += static_cast<double>(most) * most / (127.0 * 127.0);
    const double step = (static_cast<double>(high) - low) / 255;
    return (step * step * squares + steps * power) / 12;
  }

  Result<std::vector<float>> ChooseFactors(const Group& group, const ChannelStatistics& channels,
                                           const std::vector<float>& rows) const {
    if (!options_.search || channels.mean_magnitude.size() != rows.size())
      return Factors(channels, rows, options_.alpha);
    std::vector<std::vector<float>> candidates = {std::vector<float>(rows.size(), 1.0f)};
    const int steps = static_cast<int>(std::ceil(options_.alpha / kSearchStep - 1e-9));
    for (int i = 0; i <= steps; ++i)
      candidates.push_back(Factors(channels, rows, std::min(options_.alpha, i * kSearchStep)));
    std::vector<double> errors(candidates.size(), 0);
    for (const Reader& reader : group.readers) {
      TRY_ASSIGN(const Tensor weight, ReadTensor(*graph_.FloatWeight(reader.weight)));
      for (size_t i = 0; i < candidates.size(); ++i)
        errors[i] += ExpectedError(weight, reader.transposed, channels, candidates[i]);
    }
    return candidates[static_cast<size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin())];
  }

  Result<> SmoothGroup(const Group& group) {
    const auto found = statistics_.find(group.value);
    if (found == statistics_.end() || found->second.channels.low.empty()) return {};
    const ChannelStatistics& channels = found->second.channels;
    TRY_ASSIGN(const auto rows, RowMagnitudes(group, channels.low.size()));
    if (!rows) return {};
    TRY_ASSIGN(const std::vector<float> factors, ChooseFactors(group, channels, *rows));
    const auto [least, most] = std::minmax_element(factors.begin(), factors.end());
    if (!(*least > 0) || *most / *least < kSmallestGain) return {};
    std::vector<float> inverse;
    for (const float factor : factors) inverse.push_back(1 / factor);
    ++smoothed_.groups;
    for (const Reader& reader : group.readers) {
      TRY(ScaleRows(reader, factors));
    }
    TRY_ASSIGN(const bool folded, FoldIntoProducer(group, inverse));
    if (folded) {
      ++smoothed_.folded;
      return {};
    }
    const int64_t width = static_cast<int64_t>(inverse.size());
    const std::string factor = graph_.AddConstant(group.value + "_smooth", onnx::TensorProto::FLOAT, {width}, inverse);
    const std::string divided = graph_.FreshName(group.value + "_smoothed");
    graph_.AddNode("Mul", divided + "_Mul", {group.value, factor}, {divided});
    for (const Reader& reader : group.readers) graph_.Node(reader.node).set_input(0, divided);
    smoothed_.values[divided] = {group.value, inverse};
    return {};
  }

  Result<> ScaleRows(const Reader& reader, const std::vector<float>& factors) {
    TRY_ASSIGN(Tensor weight, ReadTensor(*graph_.FloatWeight(reader.weight)));
    const size_t height = static_cast<size_t>(weight.dims[0]);
    const size_t width = static_cast<size_t>(weight.dims[1]);
    float* values = weight.data<float>();
    for (size_t row = 0; row < height; ++row) {
      for (size_t column = 0; column < width; ++column)
        values[row * width + column] *= factors[reader.transposed ? column : row];
    }
    const std::string name =
        graph_.AddConstant(reader.weight + "_smooth", onnx::TensorProto::FLOAT, weight.dims, weight.bytes);
    graph_.Node(reader.node).set_input(1, name);
    return {};
  }

  // Whether the group's products are all that reads the value.
  bool IsReadByGroupAlone(const Group& group) const {
    return !graph_.index().IsGraphOutput(group.value) &&
           graph_.index().Consumers(group.value).size() == group.readers.size();
  }

  // A constant that is one value a channel along the last dimension of what it is combined with.
  bool IsChannelConstant(const std::string& name, size_t channels) const {
    const onnx::TensorProto* tensor = graph_.FloatWeight(name);
    if (tensor == nullptr || tensor->dims_size() == 0) return false;
    for (int i = 0; i + 1 < tensor->dims_size(); ++i) {
      if (tensor->dims(i) != 1) return false;
    }
    return tensor->dims(tensor->dims_size() - 1) == static_cast<int64_t>(channels);
  }

  Result<> ScaleConstant(int node, int input, const std::vector<float>& inverse) {
    const std::string name = graph_.Node(node).input(input);
    TRY_ASSIGN(Tensor constant, ReadTensor(*graph_.FloatWeight(name)));
    for (size_t i = 0; i < inverse.size(); ++i) constant.data<float>()[i] *= inverse[i];
    const std::string scaled =
        graph_.AddConstant(name + "_smooth", onnx::TensorProto::FLOAT, constant.dims, constant.bytes);
    graph_.Node(node).set_input(input, scaled);
    return {};
  }

  // The input of a Mul or Add that is a constant of one value a channel; -1 where none is.
  int ConstantInput(const onnx::NodeProto& node, size_t channels) const {
    for (int input = 0; input < node.input_size(); ++input) {
      if (IsChannelConstant(node.input(input), channels)) return input;
    }
    return -1;
  }

  Result<bool> FoldIntoProducer(const Group& group, const std::vector<float>& inverse) {
    const int producer = graph_.index().Producer(group.value);
    if (producer < 0 || !IsReadByGroupAlone(group) || !IsStandard(graph_.Node(producer))) return false;
    const std::string& type = graph_.Node(producer).op_type();
    if (type == "LayerNormalization") return FoldIntoNormalization(producer, group.value, inverse);
    if (type == "Mul") return FoldIntoMul(producer, group.value, inverse);
    return type == "Add" ? FoldIntoAdd(producer, group.value, inverse) : Result<bool>(false);
  }

  Result<bool> FoldIntoNormalization(int index, const std::string& value, const std::vector<float>& inverse) {
    const auto& node = graph_.Node(index);
    const bool has_bias = node.input_size() > 2 && !node.input(2).empty();
    if (IntAttribute(node, "axis", -1) != -1 || node.input_size() < 2 || node.output(0) != value ||
        !IsChannelConstant(node.input(1), inverse.size()) ||
        (has_bias && !IsChannelConstant(node.input(2), inverse.size())))
      return false;
    TRY(ScaleConstant(index, 1, inverse));
    if (has_bias) {
      TRY(ScaleConstant(index, 2, inverse));
    }
    smoothed_.values[value] = {value, inverse};
    return true;
  }

  Result<bool> FoldIntoMul(int index, const std::string& value, const std::vector<float>& inverse) {
    const int input = ConstantInput(graph_.Node(index), inverse.size());
    if (input < 0) return false;
    TRY(ScaleConstant(index, input, inverse));
    smoothed_.values[value] = {value, inverse};
    return true;
  }

  // A gain and a bias as two operators.
  Result<bool> FoldIntoAdd(int index, const std::string& value, const std::vector<float>& inverse) {
    const auto& node = graph_.Node(index);
    const int bias = ConstantInput(node, inverse.size());
    if (bias < 0) return false;
    const std::string scaled = node.input(1 - bias);
    const int gain = graph_.index().Producer(scaled);
    if (gain < 0 || graph_.Node(gain).op_type() != "Mul" || !IsStandard(graph_.Node(gain)) ||
        graph_.index().IsGraphOutput(scaled) || graph_.index().Consumers(scaled).size() != 1)
      return false;
    TRY_ASSIGN(const bool folded, FoldIntoMul(gain, scaled, inverse));
    if (!folded) return false;
    TRY(ScaleConstant(index, bias, inverse));
    smoothed_.values[value] = {value, inverse};
    return true;
  }

  QuantizationGraph& graph_;
  const NodeChoice& choice_;
  const MaskValues& masks_;
  const Statistics& statistics_;
  const SmoothOptions options_;
  Smoothed smoothed_;
};

}  // namespace

Result<Smoothed> Smooth(QuantizationGraph& graph, const NodeChoice& choice, const MaskValues& masks,
                        const Statistics& statistics, const SmoothOptions& options) {
  return Smoother(graph, choice, masks, statistics, options).Run();
}

TensorStatistics ScaleChannels(const TensorStatistics& source, const std::vector<float>& factors) {
  TensorStatistics scaled;
  scaled.values = source.values;
  scaled.non_finite = source.non_finite;
  scaled.samples = source.samples;
  scaled.channels = source.channels;
  ChannelStatistics& channels = scaled.channels;
  const size_t count = std::min(factors.size(), channels.low.size());
  for (size_t i = 0; i < count; ++i) {
    channels.low[i] *= factors[i];
    channels.high[i] *= factors[i];
    if (i < channels.mean.size()) channels.mean[i] *= factors[i];
    if (i < channels.mean_magnitude.size()) channels.mean_magnitude[i] *= factors[i];
    scaled.low = i == 0 ? channels.low[i] : std::min(scaled.low, channels.low[i]);
    scaled.high = i == 0 ? channels.high[i] : std::max(scaled.high, channels.high[i]);
  }
  return scaled;
}

}  // namespace hone
