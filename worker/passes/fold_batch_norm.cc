// Before: Conv(x, W, b) -> BatchNormalization(scale, shift, mean, variance)
// After:  Conv(x, W * f, (b - mean) * f + shift) with f = scale / sqrt(variance + epsilon), one number an output
// channel
//
// Computed in double, so that the rounding of the new weights is the only difference. A transposed convolution has its
// output channels on the second axis of W, group by group.
#include <cmath>

#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

class BatchNormFolder {
 public:
  explicit BatchNormFolder(onnx::GraphProto& graph)
      : graph_(graph), index_(graph), removed_(static_cast<size_t>(graph.node_size()), false) {}

  int Run() {
    int folded = 0;
    for (int n = 0; n < graph_.node_size(); ++n) {
      if (!Fold(n)) continue;
      removed_[static_cast<size_t>(n)] = true;
      ++folded;
    }
    RemoveNodes(graph_, removed_);
    return folded;
  }

 private:
  std::optional<Tensor> FloatConstant(const std::string& name) const {
    const auto* tensor = index_.IsGraphInput(name) ? nullptr : index_.Initializer(name);
    if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT) return std::nullopt;
    Result<Tensor> value = ReadTensor(*tensor);
    if (!value) return std::nullopt;
    return std::move(*value);
  }

  static bool IsInference(const onnx::NodeProto& node) {
    for (int i = 1; i < node.output_size(); ++i) {
      if (!node.output(i).empty()) return false;
    }
    return IsStandardOp(node, "BatchNormalization") && node.input_size() == 5 && node.output_size() >= 1 &&
           IntAttribute(node, "training_mode", 0) == 0 && IntAttribute(node, "spatial", 1) == 1;
  }

  // The convolution whose result goes into this node and nowhere else; -1 if there is none.
  int ConvolutionBefore(int n) const {
    const std::string& value = graph_.node(n).input(0);
    const int producer = index_.Producer(value);
    if (producer < 0 || index_.IsGraphOutput(value) || index_.Consumers(value).size() != 1) return -1;
    const auto& node = graph_.node(producer);
    return IsStandardOp(node, "Conv") || IsStandardOp(node, "ConvTranspose") ? producer : -1;
  }

  // Output channels along the weights' elements.
  struct Layout {
    bool transposed = false;
    int64_t channels = 0;
    int64_t rows = 0;    // First axis.
    int64_t second = 0;  // Second axis.
    int64_t inner = 0;   // Elements behind both.
    int64_t group = 1;

    int64_t ChannelOf(int64_t element) const {
      const int64_t row = element / (second * inner);
      if (!transposed) return row;
      return row / (rows / group) * second + element / inner % second;
    }
  };

  static std::optional<Layout> LayoutOf(const onnx::NodeProto& conv, const Tensor& weights) {
    if (weights.dims.size() < 3 || weights.Elements() == 0) return std::nullopt;
    Layout layout;
    layout.transposed = conv.op_type() == "ConvTranspose";
    layout.group = IntAttribute(conv, "group", 1);
    layout.rows = weights.dims[0];
    layout.second = weights.dims[1];
    layout.inner = weights.Elements() / (layout.rows * layout.second);
    if (layout.group < 1 || layout.rows % layout.group != 0) return std::nullopt;
    layout.channels = layout.transposed ? layout.second * layout.group : layout.rows;
    return layout;
  }

  struct Normalization {
    Tensor scale, shift, mean, variance;
    double epsilon = 1e-5;

    double Factor(size_t channel) const {
      return static_cast<double>(scale.data<float>()[channel]) /
             std::sqrt(static_cast<double>(variance.data<float>()[channel]) + epsilon);
    }
  };

  std::optional<Normalization> ReadNormalization(const onnx::NodeProto& node, int64_t channels) const {
    Normalization norm;
    Tensor* const targets[] = {&norm.scale, &norm.shift, &norm.mean, &norm.variance};
    for (int i = 0; i < 4; ++i) {
      std::optional<Tensor> value = FloatConstant(node.input(i + 1));
      if (!value || value->Elements() != channels) return std::nullopt;
      *targets[i] = std::move(*value);
    }
    const auto* epsilon = FindAttribute(node, "epsilon");
    if (epsilon != nullptr) norm.epsilon = epsilon->f();
    for (int64_t c = 0; c < channels; ++c) {
      if (!std::isfinite(norm.Factor(static_cast<size_t>(c)))) return std::nullopt;
    }
    return norm;
  }

  bool Fold(int n) {
    const onnx::NodeProto& node = graph_.node(n);
    const int at = IsInference(node) ? ConvolutionBefore(n) : -1;
    if (at < 0 || removed_[static_cast<size_t>(at)]) return false;
    onnx::NodeProto& conv = *graph_.mutable_node(at);
    std::optional<Tensor> weights = conv.input_size() > 1 ? FloatConstant(conv.input(1)) : std::nullopt;
    const auto layout = weights ? LayoutOf(conv, *weights) : std::nullopt;
    const auto norm = layout ? ReadNormalization(node, layout->channels) : std::nullopt;
    if (!norm) return false;
    const bool has_bias = conv.input_size() > 2 && !conv.input(2).empty();
    const std::optional<Tensor> bias = has_bias ? FloatConstant(conv.input(2)) : std::nullopt;
    if (has_bias && (!bias || bias->Elements() != layout->channels)) return false;
    for (int64_t i = 0; i < weights->Elements(); ++i) {
      float& weight = weights->data<float>()[i];
      weight = static_cast<float>(weight * norm->Factor(static_cast<size_t>(layout->ChannelOf(i))));
    }
    std::vector<float> shift(static_cast<size_t>(layout->channels));
    for (size_t c = 0; c < shift.size(); ++c) {
      const double before = bias ? bias->data<float>()[c] : 0.0;
      shift[c] =
          static_cast<float>((before - norm->mean.data<float>()[c]) * norm->Factor(c) + norm->shift.data<float>()[c]);
    }
    Replace(conv, node, *weights, shift);
    return true;
  }

  void Replace(onnx::NodeProto& conv, const onnx::NodeProto& norm, const Tensor& weights,
               const std::vector<float>& shift) {
    const std::string weight_name = index_.FreshName(conv.input(1) + "_normalized");
    const std::string bias_name = index_.FreshName(conv.output(0) + "_bias");
    *graph_.add_initializer() = MakeTensor(weight_name, weights.type, weights.dims,
                                           {reinterpret_cast<const char*>(weights.bytes.data()), weights.bytes.size()});
    *graph_.add_initializer() =
        MakeTensor(bias_name, onnx::TensorProto::FLOAT, {static_cast<int64_t>(shift.size())}, shift);
    conv.set_input(1, weight_name);
    if (conv.input_size() > 2) {
      conv.set_input(2, bias_name);
    } else {
      conv.add_input(bias_name);
    }
    conv.set_output(0, norm.output(0));
  }

  onnx::GraphProto& graph_;
  GraphIndex index_;
  std::vector<bool> removed_;
};

}  // namespace

int FoldBatchNorm(onnx::GraphProto& graph) { return BatchNormFolder(graph).Run(); }

}  // namespace hone
