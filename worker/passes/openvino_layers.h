// Weights of layers as the passes quantize them: what belongs to an output channel and what to an input channel,
// whatever the order of the dimensions.
#pragma once

#include <cstddef>
#include <memory>
#include <openvino/op/constant.hpp>
#include <optional>
#include <string>
#include <vector>

#include "worker/passes/openvino_codes.h"
#include "worker/passes/openvino_quantizers.h"

namespace hone {

// A weight seen as [groups, middle, channels, inner]; output channel g * channels + c owns the elements of its indices.
struct WeightLayout {
  size_t groups = 1;
  size_t middle = 1;
  size_t channels = 1;
  size_t inner = 1;
  // Where the input channel is told: in `middle` (g * middle + m), or in `inner`, each filling `input_run` elements
  // (g * inner / input_run + i / input_run).
  bool input_in_middle = false;
  size_t input_run = 1;
  ov::Shape scale_shape;  // The weight's rank, 1 where a dimension has no scales of its own.

  size_t Outputs() const { return groups * channels; }
  size_t Inputs() const { return groups * (input_in_middle ? middle : inner / input_run); }
};

WeightLayout LayoutOf(const WeightPlace& place);

// Calls visit(element, output channel, input channel) for every element, in order.
template <class Visit>
void VisitWeight(const WeightLayout& layout, const Visit& visit) {
  size_t element = 0;
  const size_t inputs_a_group = layout.Inputs() / layout.groups;
  for (size_t g = 0; g < layout.groups; ++g) {
    for (size_t m = 0; m < layout.middle; ++m) {
      for (size_t c = 0; c < layout.channels; ++c) {
        const size_t output = g * layout.channels + c;
        for (size_t i = 0; i < layout.inner; ++i, ++element) {
          const size_t input = layout.input_in_middle ? m : (layout.input_run == 1 ? i : i / layout.input_run);
          visit(element, output, g * inputs_a_group + input);
        }
      }
    }
  }
}

// The values of a constant of any float type.
std::vector<float> FloatsOf(const ov::op::v0::Constant& constant);
// The same without a copy where they are float32. The constant must outlive it.
class FloatView {
 public:
  explicit FloatView(const ov::op::v0::Constant& constant);
  const float* data() const { return copied_.empty() ? in_place_ : copied_.data(); }
  size_t size() const { return size_; }

 private:
  const float* in_place_ = nullptr;
  std::vector<float> copied_;
  size_t size_ = 0;
};

// Symmetric int8 codes and what undoes them: Constant(i8) -> Convert -> Multiply(scales).
struct Int8Weight {
  std::vector<int8_t> codes;
  std::vector<float> highs;  // The limit of each output channel.
  std::vector<float> Scales() const;
};
Int8Weight QuantizeWeight(const std::vector<float>& values, const WeightLayout& layout);
std::shared_ptr<ov::Node> Int8Subgraph(const Int8Weight& weight, const WeightLayout& layout, const ov::Shape& shape,
                                       const std::string& name);

// Codes of [rows, columns], `group` columns of a row sharing a scale, as the chain that OpenVINO keeps compressed and
// widens inside its kernels: Constant -> Convert(f16) -> [Subtract] -> Multiply -> [Reshape] -> Convert(f32).
struct CompressedShapes {
  ov::Shape codes;
  ov::Shape scales;  // And zero points.
};
CompressedShapes ShapesOfCompressed(size_t rows, size_t columns, size_t group);
struct CompressedConstants {
  std::shared_ptr<ov::op::v0::Constant> codes;
  std::shared_ptr<ov::op::v0::Constant> zero_points;  // Codes of the same type, or of the scales' type; or nullptr.
  std::shared_ptr<ov::op::v0::Constant> scales;       // float16, or float32: then the whole chain is.
};
std::shared_ptr<ov::Node> CompressedChain(const CompressedConstants& constants, size_t rows, size_t columns,
                                          const std::string& name);
// The same of codes in memory, with scales rounded to float16.
std::shared_ptr<ov::Node> CompressedSubgraph(const EncodedWeights& encoded, const CodeFormat& format, size_t rows,
                                             size_t columns, size_t group, const std::string& name);

// Least length of a group that the runtime widens inside its kernels.
constexpr size_t kSmallestGroup = 16;
// The largest group that divides the columns, the wished one or that halved; nullopt where groups would be too short.
std::optional<size_t> CompressibleGroup(size_t columns, size_t wished);

// The Add of a constant that alone follows a layer, with a value for each of its output channels.
struct BiasPlace {
  std::shared_ptr<ov::Node> add;
  size_t port = 1;
  std::shared_ptr<ov::op::v0::Constant> constant;
};
std::optional<BiasPlace> BiasOf(const ov::Node& layer, size_t outputs);

}  // namespace hone
