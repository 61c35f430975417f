// Where int8 quantizers stand in a graph for OpenVINO's low-precision transformations.
//
// Every layer that the runtime executes in int8 wants its activations quantized: products (convolution, matrix product)
// and, outside transformers, additions of two activations, average pooling and resizing. A wish moves up through layers
// that only move or pick values (reshape, transpose, maximum pooling, split ...) as long as everything that reads the
// value wishes the same, and through Concat, whose inputs then share one range. What is left are places: a source and
// those of its readers that take the quantized value; the others go on reading the float.
//
// Transformers follow NNCF's rules: only products are quantized, products of two activations symmetrically, and the
// product of attention probabilities and values stays in float unless asked for.
#pragma once

#include <memory>
#include <openvino/core/model.hpp>
#include <openvino/op/constant.hpp>
#include <optional>
#include <string>
#include <vector>

#include "worker/passes/openvino_graph.h"
#include "worker/passes/openvino_ranges.h"

namespace hone {

// Which products of two activations are quantized.
enum class AttentionProducts { none, scores, all };

struct PlacementOptions {
  bool transformer = false;
  Scheme scheme = Scheme::symmetric;  // Of activations.
  AttentionProducts attention = AttentionProducts::scores;
  bool embeddings = true;  // Weights of tables too.
};

// One FakeQuantize.
struct ActivationPlace {
  ov::Output<ov::Node> source;
  std::vector<ov::Input<ov::Node>> readers;
  Scheme scheme = Scheme::symmetric;
  bool per_channel = false;        // One range a channel (dimension 1): all readers are depthwise convolutions.
  std::optional<int> shared_with;  // Places of one number share a range (inputs of a Concat).
};

// A constant weight of a layer.
struct WeightPlace {
  ov::Input<ov::Node> reader;
  std::shared_ptr<ov::op::v0::Constant> constant;
  std::vector<size_t> channel_axes;      // Each combination of their indices has its scale.
  std::optional<size_t> reduction_axis;  // Of a matrix product with a weight of rank 2.
};

struct Placement {
  std::vector<ActivationPlace> activations;
  std::vector<WeightPlace> weights;
  LayerTally tally;
};

// Whether a matrix product reads the outcome of a Softmax, or the graph holds fused attention.
bool LooksLikeTransformer(const ov::Model& model);

Placement PlaceQuantizers(const ov::Model& model, const PlacementOptions& options, const NameFilter& filter);

// The constant behind an input, seen through a widening Convert; nullptr where there is none.
std::shared_ptr<ov::op::v0::Constant> ConstantBehind(const ov::Output<ov::Node>& output);

// The same value's origin: up through layers that only move values.
ov::Output<ov::Node> OriginOf(ov::Output<ov::Node> output);

// Product with a constant weight of rank 2: the input that reads the activation, the one that reads the weight and the
// weight's dimension that is summed over. nullopt for anything else.
struct MatrixProduct {
  size_t activation = 0;
  size_t weight = 1;
  std::shared_ptr<ov::op::v0::Constant> constant;
  size_t reduction_axis = 0;
  size_t output_axis = 1;
  bool activation_transposed = false;
};
std::optional<MatrixProduct> AsMatrixProduct(const ov::Node& node);

// A table that rows are looked up in: the constant data of a Gather along its first dimension.
std::shared_ptr<ov::op::v0::Constant> TableOf(const ov::Node& node);

}  // namespace hone
