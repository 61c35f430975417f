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

// --- compressed weights ------------------------------------------------------------------------------------------

ov::element::Type TypeOf(const CodeFormat& format) {
  if (format.nf4) return ov::element::nf4;
  if (format.bits == 4) return format.symmetric ? ov::element::i4 : ov::element::u4;
  return format.symmetric ? ov::element::i8 : ov::element::u8;
}

std::shared_ptr<op::v0::Constant> NarrowConstant(const CodeFormat& format, const ov::Shape& shape,
                                                 const std::vector<uint8_t>& codes) {
  const std::vector<uint8_t> bytes = format.bits == 4 ? PackNibbles(codes) : codes;
  return std::make_shared<op::v0::Constant>(TypeOf(format), shape, bytes.data());
}

std::shared_ptr<ov::Node> Widened(const std::shared_ptr<ov::Node>& node, const ov::element::Type& type,
                                  const std::string& name) {
  const auto wide = std::make_shared<op::v0::Convert>(node, type);
  wide->set_friendly_name(name);
  return wide;
}

}  // namespace

CompressedShapes ShapesOfCompressed(size_t rows, size_t columns, size_t group) {
  const size_t groups = columns / group;
  if (groups == 1) return {{rows, columns}, {rows, 1}};
  return {{rows, groups, group}, {rows, groups, 1}};
}

std::optional<size_t> CompressibleGroup(size_t columns, size_t wished) {
  for (size_t group = wished; group >= kSmallestGroup; group /= 2) {
    if (columns % group == 0) return group;
  }
  return std::nullopt;
}

std::shared_ptr<ov::Node> CompressedChain(const CompressedConstants& constants, size_t rows, size_t columns,
                                          const std::string& name) {
  const ov::element::Type type = constants.scales->get_element_type();
  std::shared_ptr<ov::Node> chain = Widened(constants.codes, type, name + "/convert");
  if (constants.zero_points != nullptr) {
    const std::shared_ptr<ov::Node> zero_points =
        constants.zero_points->get_element_type() == type
            ? constants.zero_points
            : Widened(constants.zero_points, type, name + "/zero_point/convert");
    chain = std::make_shared<op::v1::Subtract>(chain, zero_points);
    chain->set_friendly_name(name + "/zero_point/subtract");
  }
  chain = std::make_shared<op::v1::Multiply>(chain, constants.scales);
  chain->set_friendly_name(name + "/scaled");
  if (constants.codes->get_shape().size() == 3) {
    const auto flat =
        std::make_shared<op::v0::Constant>(ov::element::i64, ov::Shape{2}, std::vector<size_t>{rows, columns});
    flat->set_friendly_name(name + "/shape");
    chain = std::make_shared<op::v1::Reshape>(chain, flat, false);
    chain->set_friendly_name(name + "/rows");
  }
  return type == ov::element::f32 ? chain : Widened(chain, ov::element::f32, name + "/widened");
}

std::shared_ptr<ov::Node> CompressedSubgraph(const EncodedWeights& encoded, const CodeFormat& format, size_t rows,
                                             size_t columns, size_t group, const std::string& name) {
  const CompressedShapes shapes = ShapesOfCompressed(rows, columns, group);
  CompressedConstants constants;
  constants.codes = NarrowConstant(format, shapes.codes, encoded.codes);
  constants.codes->set_friendly_name(name);
  if (!encoded.zero_points.empty()) {
    constants.zero_points = NarrowConstant(format, shapes.scales, encoded.zero_points);
    constants.zero_points->set_friendly_name(name + "/zero_point");
  }
  const std::vector<ov::float16> halves(encoded.scales.begin(), encoded.scales.end());
  constants.scales = std::make_shared<op::v0::Constant>(ov::element::f16, shapes.scales, halves);
  constants.scales->set_friendly_name(name + "/scale");
  return CompressedChain(constants, rows, columns, name);
}

WeightLayout LayoutOf(const WeightPlace& place) {
  const ov::Shape& shape = place.constant->get_shape();
  const ov::Node& reader = *place.reader.get_node();
  WeightLayout layout;
  layout.scale_shape = ov::Shape(shape.size(), 1);
  for (const size_t axis : place.channel_axes) layout.scale_shape[axis] = shape[axis];
  const bool grouped =
      ov::is_type<op::v1::GroupConvolution>(&reader) || ov::is_type<op::v1::GroupConvolutionBackpropData>(&reader);
  const size_t channel_axis = place.channel_axes.back();
  const size_t first = grouped ? 1 : 0;
  layout.groups = grouped ? shape[0] : 1;
  layout.middle = Product(shape, first, channel_axis);
  layout.channels = shape[channel_axis];
  layout.inner = Product(shape, channel_axis + 1, shape.size());
  layout.input_in_middle = channel_axis > first;
  // What follows the input channel in a forward convolution is its window.
  if (!layout.input_in_middle && shape.size() > channel_axis + 1)
    layout.input_run = Product(shape, channel_axis + 2, shape.size());
  return layout;
}

std::vector<float> FloatsOf(const op::v0::Constant& constant) {
  if (constant.get_element_type() == ov::element::f32) {
    const float* values = constant.get_data_ptr<float>();
    return {values, values + ov::shape_size(constant.get_shape())};
  }
  return constant.cast_vector<float>();
}

FloatView::FloatView(const op::v0::Constant& constant) : size_(ov::shape_size(constant.get_shape())) {
  if (constant.get_element_type() == ov::element::f32) {
    in_place_ = constant.get_data_ptr<float>();
  } else {
    copied_ = constant.cast_vector<float>();
  }
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

std::vector<float> Int8Weight::Scales() const {
  std::vector<float> scales;
  for (const float high : highs) scales.push_back((high - -high) / 254.0F);
  return scales;
}

std::shared_ptr<ov::Node> Int8Subgraph(const Int8Weight& weight, const WeightLayout& layout, const ov::Shape& shape,
                                       const std::string& name) {
  const std::vector<float> scales = weight.Scales();
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
