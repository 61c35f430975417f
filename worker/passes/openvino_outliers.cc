#include "worker/passes/openvino_outliers.h"

#include <algorithm>
#include <openvino/op/matmul.hpp>
#include <string_view>
#include <unordered_set>

#include "worker/passes/openvino_layers.h"
#include "worker/passes/openvino_quantizers.h"

namespace hone {
namespace {

namespace op = ov::op;

// Layers that work value by value, on tensors of one shape and constants.
constexpr std::string_view kValueByValue[] = {"Add",  "Subtract", "Multiply", "Divide", "Erf",    "Gelu",
                                              "Relu", "Tanh",     "Sigmoid",  "Swish",  "HSwish", "Power",
                                              "Exp",  "Clamp",    "Elu",      "Mish",   "Abs",    "Negative"};

bool WorksValueByValue(const ov::Node& node) {
  return std::find(std::begin(kValueByValue), std::end(kValueByValue), node.get_type_name()) != std::end(kValueByValue);
}

enum class Holds { one_value, channels, other };

Holds WhatHolds(const op::v0::Constant& constant, size_t channels) {
  const ov::Shape& shape = constant.get_shape();
  if (ov::shape_size(shape) == 1) return Holds::one_value;
  return shape.back() == channels && ov::shape_size(shape) == channels ? Holds::channels : Holds::other;
}

class SourceWalk {
 public:
  SourceWalk(const ov::Output<ov::Node>& source, const ov::Node& reader) : source_(source), reader_(reader) {}

  std::optional<std::vector<ChannelConstant>> Run() {
    const ov::PartialShape& shape = source_.get_partial_shape();
    if (shape.rank().is_dynamic() || shape.size() == 0 || shape[shape.size() - 1].is_dynamic()) return std::nullopt;
    channels_ = static_cast<size_t>(shape[shape.size() - 1].get_length());
    open_.push_back(source_.get_node());
    while (!open_.empty()) {
      ov::Node* node = open_.back();
      open_.pop_back();
      if (!seen_.insert(node).second) continue;
      if (!(IsProducer(*node) || GoesOn(*node))) return std::nullopt;
    }
    if (producer_ == nullptr || !IsRead()) return std::nullopt;
    return std::move(constants_);
  }

 private:
  bool IsProducer(ov::Node& node) {
    const auto product = AsMatrixProduct(node);
    if (!product || product->weight != 1 || producer_ != nullptr) return false;
    if (product->constant->get_shape()[product->output_axis] != channels_) return false;
    producer_ = &node;
    constants_.push_back({node.input(1), product->constant, product->output_axis});
    return true;
  }

  bool GoesOn(ov::Node& node) {
    if (!WorksValueByValue(node) || node.get_output_size() != 1) return false;
    for (size_t i = 0; i < node.get_input_size(); ++i) {
      const auto constant = ConstantBehind(node.input_value(i));
      if (!constant) {
        open_.push_back(node.get_input_node_ptr(i));
        continue;
      }
      const Holds holds = WhatHolds(*constant, channels_);
      if (holds == Holds::other) return false;
      if (holds == Holds::channels)
        constants_.push_back({node.input(i), constant, constant->get_shape().size() - 1});
    }
    return true;
  }

  // Whether all that reads what is in between is in between, or the reader.
  bool IsRead() const {
    return std::all_of(seen_.begin(), seen_.end(), [&](const ov::Node* node) {
      const auto readers = node->get_output_target_inputs(0);
      return std::all_of(readers.begin(), readers.end(), [&](const auto& input) {
        return seen_.contains(input.get_node()) || (input.get_node() == &reader_ && node == source_.get_node());
      });
    });
  }

  const ov::Output<ov::Node> source_;
  const ov::Node& reader_;
  size_t channels_ = 0;
  const ov::Node* producer_ = nullptr;
  std::vector<ov::Node*> open_;
  std::unordered_set<const ov::Node*> seen_;
  std::vector<ChannelConstant> constants_;
};

}  // namespace

std::optional<std::vector<ChannelConstant>> ChannelSources(const ov::Output<ov::Node>& source, const ov::Node& reader) {
  return SourceWalk(source, reader).Run();
}

std::vector<size_t> ChannelsToCopy(const std::vector<double>& difficulty, size_t copies) {
  std::vector<double> parts(difficulty.size(), 1);
  std::vector<size_t> chosen;
  for (size_t copy = 0; copy < copies && !difficulty.empty(); ++copy) {
    size_t worst = 0;
    for (size_t c = 1; c < difficulty.size(); ++c) {
      if (difficulty[c] / parts[c] > difficulty[worst] / parts[worst]) worst = c;
    }
    ++parts[worst];
    chosen.push_back(worst);
  }
  return chosen;
}

std::shared_ptr<op::v0::Constant> WithCopies(const op::v0::Constant& constant, size_t axis,
                                             const std::vector<size_t>& slices) {
  const FloatView values(constant);
  ov::Shape shape = constant.get_shape();
  const size_t channels = shape[axis];
  size_t inner = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  const size_t outer = values.size() / (channels * inner);
  std::vector<float> grown;
  grown.reserve(outer * (channels + slices.size()) * inner);
  for (size_t o = 0; o < outer; ++o) {
    const float* block = values.data() + o * channels * inner;
    grown.insert(grown.end(), block, block + channels * inner);
    for (const size_t slice : slices) grown.insert(grown.end(), block + slice * inner, block + (slice + 1) * inner);
  }
  shape[axis] += slices.size();
  const auto copy = std::make_shared<op::v0::Constant>(ov::element::f32, shape, grown);
  copy->set_friendly_name(constant.get_friendly_name());
  return copy;
}

}  // namespace hone
