#include "worker/passes/openvino_layers.h"

#include <algorithm>
#include <cmath>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>

#include "worker/passes/openvino_ranges.h"

namespace hone {
namespace {

namespace op = ov::op;

size_t Product(const ov::Shape& shape, size_t first, size_t last) {
  size_t product = 1;
  for (size_t i = first; i < last; ++i) product *= shape[i];
  return product;
}

}  // namespace

WeightLayout LayoutOf(const WeightPlace& place) {
  const ov::Shape& shape = place.constant->get_shape();
  const ov::Node& reader = *place.reader.get_node();
  WeightLayout layout;
  layout.scale_shape = ov::Shape(shape.size(), 1);
  for (const size_t axis : place.channel_axes) layout.scale_shape[axis] = shape[axis];
  const bool grouped = ov::is_type<op::v1::GroupConvolution>(&reader) || ov::is_type<op::v1::GroupConvolutionBackpropData>(&reader);
  const size_t channel_axis = place.channel_axes.back();
  const size_t first = grouped ? 1 : 0;
  layout.groups = grouped ? shape[0] : 1;
  layout.middle = Product(shape, first, channel_axis);
  layout.channels = shape[channel_axis];
  layout.inner = Product(shape, channel_axis + 1, shape.size());
  layout.input_in_middle = channel_axis > first;
  // What follows the input channel in a forward convolution is its window.
  if (!layout.input_in_middle && shape.size() > channel_axis + 1) layout.input_run = Product(shape, channel_axis + 2, shape.size());
  return layout;
}

std::vector<float> FloatsOf(const op::v0::Constant& constant) {
  if (constant.get_element_type() == ov::element::f32) {
    const float* values = constant.get_data_ptr<float>();
    return {values, values + ov::shape_size(constant.get_shape())};
  }
  return constant.cast_vector<float>();
}

Int8Weight QuantizeWeight(const std::vector<float>& values, const WeightLayout& layout) {
  std::vector<float> magnitudes(layout.Outputs(), 0.0F);
  VisitWeight(layout, [&](size_t element, size_t output, size_t) {
    magnitudes[output] = std::max(magnitudes[output], std::fabs(values[element]));
  });
  Int8Weight weight{std::vector<int8_t>(values.size()), WeightLimits(std::move(magnitudes))};
  VisitWeight(layout, [&](size_t element, size_t output, size_t) {
    weight.codes[element] = WeightCode(values[element], weight.highs[output]);
  });
  return weight;
}

std::shared_ptr<ov::Node> Int8Subgraph(const Int8Weight& weight, const WeightLayout& layout, const ov::Shape& shape,
                                       const std::string& name) {
  std::vector<float> scales;
  for (const float high : weight.highs) scales.push_back((high - -high) / 254.0F);
  const auto codes = std::make_shared<op::v0::Constant>(ov::element::i8, shape, weight.codes);
  const auto factors = std::make_shared<op::v0::Constant>(ov::element::f32, layout.scale_shape, scales);
  const auto wide = std::make_shared<op::v0::Convert>(codes, ov::element::f32);
  const auto product = std::make_shared<op::v1::Multiply>(wide, factors);
  codes->set_friendly_name(name);
  wide->set_friendly_name(name + "/convert");
  factors->set_friendly_name(name + "/scale");
  product->set_friendly_name(name + "/dequantized");
  return product;
}

std::optional<BiasPlace> BiasOf(const ov::Node& layer, size_t outputs) {
  const auto readers = layer.get_output_target_inputs(0);
  if (readers.size() != 1) return std::nullopt;
  const auto add = readers.begin()->get_node()->shared_from_this();
  if (!ov::is_type<op::v1::Add>(add)) return std::nullopt;
  const size_t port = 1 - readers.begin()->get_index();
  const auto constant = ConstantBehind(add->input_value(port));
  if (!constant || ov::shape_size(constant->get_shape()) != outputs) return std::nullopt;
  // The values must lie along the layer's channels: the last dimension of a product, the second of a convolution.
  const ov::PartialShape& shape = layer.get_output_partial_shape(0);
  if (shape.rank().is_dynamic()) return std::nullopt;
  const size_t rank = shape.size();
  const size_t axis = ov::is_type<op::v0::MatMul>(&layer) ? rank - 1 : 1;
  const ov::Shape& bias = constant->get_shape();
  for (size_t i = 0; i < bias.size(); ++i) {
    const size_t at = i + rank - bias.size();
    if (bias.size() > rank || (bias[i] != 1 && at != axis)) return std::nullopt;
  }
  return BiasPlace{add, port, constant};
}

}  // namespace hone
