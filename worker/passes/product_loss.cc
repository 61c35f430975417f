// An activation x is rounded in steps of s = range / (levels - 1), an error of variance s^2 / 12 in every element. The
// sums of a product hold s^2 / 12 * |W|^2 of it, beside the energy sum_k E[x_k^2] |W_k|^2 of what they are meant to be
// (W_k: what multiplies channel k). A channel's mean square is taken from its mean magnitude, as for normal values.
#include "worker/passes/product_loss.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace hone {
namespace {

constexpr double kSquareOfMagnitude = 1.5707963267948966;

// |W_k|^2 by channel of the input; nothing where the shape does not fit `channels`.
Result<std::vector<double>> ChannelEnergy(const QuantizationGraph& graph, const onnx::NodeProto& node,
                                          size_t channels) {
  TRY_ASSIGN(const Tensor weight, ReadTensor(*graph.FloatWeight(node.input(1))));
  const bool conv = node.op_type() == "Conv";
  if (!conv && weight.dims.size() != 2) return std::vector<double>();
  const bool transposed = !conv && (node.op_type() == "MatMul" || IntAttribute(node, "transB", 0) == 0);
  const size_t outputs = static_cast<size_t>(weight.dims[transposed ? 1 : 0]);
  const size_t inputs = static_cast<size_t>(weight.dims[transposed ? 0 : 1]);
  const size_t groups = conv ? static_cast<size_t>(std::max<int64_t>(1, IntAttribute(node, "group", 1))) : 1;
  size_t positions = 1;
  for (size_t i = 2; i < weight.dims.size(); ++i) positions *= static_cast<size_t>(weight.dims[i]);
  if (inputs * groups != channels || outputs < groups || outputs % groups != 0) return std::vector<double>();
  std::vector<double> energy(channels, 0);
  const float* values = weight.data<float>();
  for (size_t output = 0; output < outputs; ++output) {
    const size_t first = output / (outputs / groups) * inputs;
    for (size_t input = 0; input < inputs; ++input) {
      const size_t at = transposed ? input * outputs + output : (output * inputs + input) * positions;
      for (size_t i = at; i < at + positions; ++i)
        energy[first + input] += static_cast<double>(values[i]) * values[i];
    }
  }
  return energy;
}

Result<std::optional<double>> LossOf(const QuantizationGraph& graph, const onnx::NodeProto& node,
                                     const TensorStatistics& input, int levels) {
  const ChannelStatistics& channels = input.channels;
  TRY_ASSIGN(const std::vector<double> energy, ChannelEnergy(graph, node, channels.mean_magnitude.size()));
  if (energy.empty()) return std::optional<double>();
  const double range = std::max(0.0f, input.high) - static_cast<double>(std::min(0.0f, input.low));
  const double step = range / (levels - 1);
  double noise = 0;
  double signal = 0;
  for (size_t i = 0; i < energy.size(); ++i) {
    noise += step * step / 12 * energy[i];
    signal += kSquareOfMagnitude * channels.mean_magnitude[i] * channels.mean_magnitude[i] * energy[i];
  }
  if (!(signal > 0) || !std::isfinite(noise / signal)) return std::optional<double>();
  return std::optional(noise / signal);
}

}  // namespace

Result<std::vector<ProductLoss>> EstimateLosses(const QuantizationGraph& graph, const NodeChoice& choice,
                                                const Statistics& statistics, int levels) {
  std::vector<ProductLoss> losses;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const auto& node = graph.Node(i);
    if (!choice.Wanted(i) || !IsWeightedProduct(graph, node) || node.op_type() == "ConvTranspose") continue;
    const auto found = statistics.find(node.input(0));
    if (found == statistics.end() || (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) != 0)) continue;
    TRY_ASSIGN(const auto loss, LossOf(graph, node, found->second, levels));
    if (loss) losses.push_back({node.output(0), *loss});
  }
  std::stable_sort(losses.begin(), losses.end(),
                   [](const ProductLoss& a, const ProductLoss& b) { return a.loss > b.loss; });
  return losses;
}

}  // namespace hone
