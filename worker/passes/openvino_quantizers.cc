#include "worker/passes/openvino_quantizers.h"

#include <algorithm>
#include <map>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace hone {
namespace {

namespace op = ov::op;
using NodePtr = std::shared_ptr<ov::Node>;
using In = ov::Input<ov::Node>;
using Out = ov::Output<ov::Node>;

// Layers that move, pick or repeat values of their first input.
constexpr std::string_view kMovers[] = {
    "MaxPool",      "ReduceMax",      "Reshape",        "Squeeze",      "Unsqueeze",    "Split",   "VariadicSplit",
    "Transpose",    "Tile",           "StridedSlice",   "ShuffleChannels", "Broadcast", "DepthToSpace",
    "SpaceToDepth", "BatchToSpace",   "SpaceToBatch",   "Slice"};

// Layers other than products and sums of two activations that OpenVINO executes on int8 inputs.
constexpr std::string_view kPooling[] = {"AvgPool", "Interpolate", "ReduceMean"};

constexpr std::string_view kGates[] = {"Sigmoid", "HSigmoid", "HardSigmoid", "Clamp"};

template <size_t N>
bool IsOneOf(const ov::Node& node, const std::string_view (&names)[N]) {
  return std::find(std::begin(names), std::end(names), node.get_type_name()) != std::end(names);
}

bool IsMover(const ov::Node& node) { return IsOneOf(node, kMovers) && !ConstantBehind(node.input_value(0)); }

bool IsFloat(const Out& output) { return output.get_element_type() == ov::element::f32; }

bool HasRank(const Out& output) { return output.get_partial_shape().rank().is_static(); }

// --- layers ------------------------------------------------------------------------------------------------------

struct ProductRow {
  const ov::DiscreteTypeInfo& type;
  std::vector<size_t> channel_axes;  // Of the weight.
};
const std::vector<ProductRow>& Convolutions() {
  static const std::vector<ProductRow> rows = {
      {op::v1::Convolution::get_type_info_static(), {0}},
      {op::v1::GroupConvolution::get_type_info_static(), {0, 1}},
      {op::v1::ConvolutionBackpropData::get_type_info_static(), {1}},
      {op::v1::GroupConvolutionBackpropData::get_type_info_static(), {0, 2}},
  };
  return rows;
}

const ProductRow* AsConvolution(const ov::Node& node) {
  for (const ProductRow& row : Convolutions()) {
    if (node.get_type_info() == row.type) return &row;
  }
  return nullptr;
}

bool IsMatMul(const ov::Node& node) { return ov::is_type<op::v0::MatMul>(&node); }

bool IsDepthwise(const ov::Node& node) {
  if (!ov::is_type<op::v1::GroupConvolution>(&node)) return false;
  const ov::PartialShape& shape = node.get_input_partial_shape(1);
  return shape.rank().is_static() && shape.size() >= 3 && shape[1] == 1 && shape[2] == 1;
}

// The one reader of a layer with one output; nullptr where there are more.
ov::Node* OnlyReader(const ov::Node& node) {
  if (node.get_output_size() != 1) return nullptr;
  const auto readers = node.get_output_target_inputs(0);
  return readers.size() == 1 ? readers.begin()->get_node() : nullptr;
}

// Squeeze-and-excite: source -> mean -> products -> gate -> Multiply with the source. Its products are tiny and their
// rounding scales whole channels, so they stay in float.
void AddGateProducts(const ov::Node& mean, std::unordered_set<const ov::Node*>& products) {
  const Out source = mean.input_value(0);
  std::vector<const ov::Node*> seen;
  bool gated = false;
  const ov::Node* node = OnlyReader(mean);
  for (int steps = 0; node != nullptr && steps < 24; ++steps, node = OnlyReader(*node)) {
    if (IsMatMul(*node) || AsConvolution(*node) != nullptr) seen.push_back(node);
    gated = gated || IsOneOf(*node, kGates);
    if (!ov::is_type<op::v1::Multiply>(node)) continue;
    const bool joins = node->input_value(0) == source || node->input_value(1) == source;
    if (joins && gated) products.insert(seen.begin(), seen.end());
    if (joins) return;
  }
}

// --- wishes ------------------------------------------------------------------------------------------------------

struct Wish {
  Scheme scheme = Scheme::symmetric;
  bool per_channel = false;
  std::optional<int> shared_with;

  bool operator==(const Wish&) const = default;
};

class Placer {
 public:
  Placer(const ov::Model& model, const PlacementOptions& options, const NameFilter& filter)
      : nodes_(model.get_ordered_ops()), options_(options), filter_(filter) {}

  Placement Run() {
    for (const NodePtr& node : nodes_) {
      if (ov::is_type<op::v1::ReduceMean>(node)) AddGateProducts(*node, gate_products_);
    }
    for (const NodePtr& node : nodes_) Visit(node);
    // Readers stand after what they read, so the last go first and a wish moves as far as it can in one sweep.
    for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) MoveUp(*node);
    Collect();
    return std::move(placement_);
  }

 private:
  void Visit(const NodePtr& node) {
    const ProductRow* convolution = AsConvolution(*node);
    if (convolution != nullptr || IsMatMul(*node)) {
      const std::string reason = QuantizeProduct(node, convolution);
      Tell(*node, reason);
    } else if (options_.embeddings && TableOf(*node)) {
      Tell(*node, QuantizeTable(node));
    } else if (!options_.transformer && ov::is_type<op::v1::Add>(node)) {
      if (IsSumOfActivations(*node)) Tell(*node, QuantizeInputs(node, {0, 1}));
    } else if (!options_.transformer && IsOneOf(*node, kPooling) && IsSpatial(*node)) {
      Tell(*node, QuantizeInputs(node, {0}));
    }
  }

  void Tell(const ov::Node& node, const std::string& reason) {
    if (reason.empty()) {
      placement_.tally.Quantized(node);
    } else {
      placement_.tally.Left(node, reason);
    }
  }

  // Each returns why the layer is left, "" if it was quantized.
  std::string QuantizeProduct(const NodePtr& node, const ProductRow* convolution) {
    if (filter_.Excludes(*node)) return "excluded by name";
    if (gate_products_.contains(node.get())) return "it gates channels";
    if (!IsFloat(node->input_value(0)) || !IsFloat(node->input_value(1))) return "no float32";
    if (convolution != nullptr) return QuantizeConvolution(node, *convolution);
    const auto weight_a = ConstantBehind(node->input_value(0));
    const auto weight_b = ConstantBehind(node->input_value(1));
    if (weight_a && weight_b) return "both sides are constant";
    if (!weight_a && !weight_b) return QuantizeActivationProduct(node);
    const auto product = AsMatrixProduct(*node);
    if (!product) return "its weight has no rank of 2";
    Want(node->input(product->activation), {options_.scheme, false, {}});
    placement_.weights.push_back(
        {node->input(product->weight), product->constant, {product->output_axis}, product->reduction_axis});
    return "";
  }

  std::string QuantizeConvolution(const NodePtr& node, const ProductRow& row) {
    const auto weight = ConstantBehind(node->input_value(1));
    if (!weight) return "no constant weight";
    if (!HasRank(node->input_value(0))) return "its input has no known rank";
    Want(node->input(0), {options_.scheme, IsDepthwise(*node), {}});
    placement_.weights.push_back({node->input(1), weight, row.channel_axes, {}});
    return "";
  }

  std::string QuantizeActivationProduct(const NodePtr& node) {
    if (options_.attention == AttentionProducts::none) return "two activations";
    const bool of_softmax = std::any_of(std::begin(kBothInputs), std::end(kBothInputs), [&](size_t port) {
      return IsSoftmax(*OriginOf(node->input_value(port)).get_node());
    });
    if (of_softmax && options_.transformer && options_.attention != AttentionProducts::all)
      return "attention's probabilities and values";
    const Scheme scheme = options_.transformer ? Scheme::symmetric : options_.scheme;
    for (const size_t port : kBothInputs) Want(node->input(port), {scheme, false, {}});
    return "";
  }

  std::string QuantizeTable(const NodePtr& node) {
    if (filter_.Excludes(*node)) return "excluded by name";
    placement_.weights.push_back({node->input(0), TableOf(*node), {0}, {}});
    return "";
  }

  std::string QuantizeInputs(const NodePtr& node, const std::vector<size_t>& ports) {
    if (filter_.Excludes(*node)) return "excluded by name";
    for (const size_t port : ports) Want(node->input(port), {options_.scheme, false, {}});
    return "";
  }

  // Only where a product's result goes in: elsewhere quantizing costs more than the addition.
  bool IsSumOfActivations(const ov::Node& node) const {
    const Out a = node.input_value(0);
    const Out b = node.input_value(1);
    if (!IsFloat(a) || ConstantBehind(a) || ConstantBehind(b)) return false;
    if (a.get_partial_shape() != b.get_partial_shape() || a == b) return false;
    return ComesFromProduct(a) || ComesFromProduct(b);
  }

  static bool ComesFromProduct(Out output) {
    for (int steps = 0; steps < 6; ++steps) {
      const ov::Node& node = *output.get_node();
      if (IsMatMul(node) || AsConvolution(node) != nullptr) return true;
      size_t activations = 0;
      for (size_t i = 0; i < node.get_input_size(); ++i) {
        if (ConstantBehind(node.input_value(i))) continue;
        output = node.input_value(i);
        ++activations;
      }
      if (activations != 1) return false;
    }
    return false;
  }

  static bool IsSpatial(const ov::Node& node) {
    return IsFloat(node.input_value(0)) && HasRank(node.input_value(0)) &&
           node.get_input_partial_shape(0).size() == 4 && !ConstantBehind(node.input_value(0));
  }

  static bool IsSoftmax(const ov::Node& node) { return std::string_view(node.get_type_name()) == "Softmax"; }

  // Two wishes for one input: the first counts (a layer asks for each of its inputs once).
  void Want(const In& input, const Wish& wish) { wishes_.emplace(input, wish); }

  // What all readers of the output wish; nullopt where one does not, or wishes something else.
  std::optional<Wish> CommonWish(const Out& output) const {
    std::optional<Wish> common;
    for (const In& reader : output.get_target_inputs()) {
      const auto found = wishes_.find(reader);
      if (found == wishes_.end()) return std::nullopt;
      if (!common) common = found->second;
      // Where one reader cannot take a range a channel, none does.
      if (common->per_channel != found->second.per_channel) {
        common->per_channel = false;
        Wish other = found->second;
        other.per_channel = false;
        if (*common != other) return std::nullopt;
      } else if (*common != found->second) {
        return std::nullopt;
      }
    }
    return common;
  }

  void MoveUp(const NodePtr& node) {
    const bool concat = ov::is_type<op::v0::Concat>(node);
    if (!concat && !IsMover(*node)) return;
    if (!IsFloat(node->output(0)) || node->get_output_size() == 0) return;
    std::optional<Wish> common;
    for (const Out& output : node->outputs()) {
      if (output.get_target_inputs().empty()) continue;
      auto wish = CommonWish(output);
      if (!wish || (common && *common != *wish)) return;
      common = wish;
    }
    if (!common) return;
    if (concat) {
      for (const Out& source : node->input_values()) {
        if (ConstantBehind(source)) return;
      }
      if (!common->shared_with) common->shared_with = groups_++;
    }
    // A mover may change which dimension holds the channels.
    common->per_channel = false;
    for (const Out& output : node->outputs()) {
      for (const In& reader : output.get_target_inputs()) wishes_.erase(reader);
    }
    const size_t inputs = concat ? node->get_input_size() : 1;
    for (size_t i = 0; i < inputs; ++i) Want(node->input(i), *common);
  }

  void Collect() {
    // In the order of the graph, so that names and statistics come in one order.
    for (const NodePtr& node : nodes_) {
      for (const Out& source : node->outputs()) Collect(source);
    }
    for (ActivationPlace& place : placement_.activations) {
      if (place.shared_with) place.shared_with = GroupOf(*place.shared_with);
    }
  }

  // One place for each scheme that readers of the source wish.
  void Collect(const Out& source) {
    std::vector<ActivationPlace> places;
    for (const NodePtr& node : ReadersInOrder(source)) {
      for (const In& reader : node->inputs()) {
        if (reader.get_source_output() != source) continue;
        const auto found = wishes_.find(reader);
        if (found == wishes_.end()) continue;
        const Wish& wish = found->second;
        const auto same = std::find_if(places.begin(), places.end(),
                                       [&](const ActivationPlace& place) { return place.scheme == wish.scheme; });
        if (same == places.end()) {
          places.push_back({source, {reader}, wish.scheme, wish.per_channel, wish.shared_with});
        } else {
          Join(*same, wish);
          same->readers.push_back(reader);
        }
      }
    }
    for (ActivationPlace& place : places) placement_.activations.push_back(std::move(place));
  }

  // A range is shared by all that share it with any reader.
  void Join(ActivationPlace& place, const Wish& wish) {
    place.per_channel = place.per_channel && wish.per_channel;
    if (!wish.shared_with) return;
    if (place.shared_with) joined_[GroupOf(*wish.shared_with)] = GroupOf(*place.shared_with);
    place.shared_with = wish.shared_with;
  }

  int GroupOf(int group) const {
    for (auto found = joined_.find(group); found != joined_.end() && found->second != group;
         found = joined_.find(group))
      group = found->second;
    return group;
  }

  std::vector<NodePtr> ReadersInOrder(const Out& source) {
    if (positions_.empty()) {
      for (size_t i = 0; i < nodes_.size(); ++i) positions_[nodes_[i].get()] = i;
    }
    std::set<size_t> places;
    for (const In& reader : source.get_target_inputs()) {
      if (const auto found = positions_.find(reader.get_node()); found != positions_.end())
        places.insert(found->second);
    }
    std::vector<NodePtr> readers;
    for (const size_t place : places) readers.push_back(nodes_[place]);
    return readers;
  }

  static constexpr size_t kBothInputs[] = {0, 1};

  const std::vector<NodePtr> nodes_;
  const PlacementOptions& options_;
  const NameFilter& filter_;
  std::unordered_set<const ov::Node*> gate_products_;
  std::map<In, Wish> wishes_;
  std::unordered_map<const ov::Node*, size_t> positions_;
  int groups_ = 0;
  std::unordered_map<int, int> joined_;  // A group of shared ranges that went into another.
  Placement placement_;
};

}  // namespace

std::shared_ptr<op::v0::Constant> ConstantBehind(const Out& output) {
  const NodePtr node = output.get_node_shared_ptr();
  if (const auto constant = ov::as_type_ptr<op::v0::Constant>(node)) return constant;
  if (!ov::is_type<op::v0::Convert>(node) || !node->get_output_element_type(0).is_real()) return nullptr;
  const auto constant = ov::as_type_ptr<op::v0::Constant>(node->get_input_node_shared_ptr(0));
  return constant && constant->get_element_type().is_real() ? constant : nullptr;
}

Out OriginOf(Out output) {
  while (IsMover(*output.get_node())) output = output.get_node()->input_value(0);
  return output;
}

std::optional<MatrixProduct> AsMatrixProduct(const ov::Node& node) {
  const auto* matmul = ov::as_type<const op::v0::MatMul>(&node);
  if (matmul == nullptr) return std::nullopt;
  MatrixProduct product;
  const auto left = ConstantBehind(node.input_value(0));
  const auto right = ConstantBehind(node.input_value(1));
  if ((left == nullptr) == (right == nullptr)) return std::nullopt;
  product.constant = left ? left : right;
  if (product.constant->get_shape().size() != 2) return std::nullopt;
  product.weight = left ? 0 : 1;
  product.activation = left ? 1 : 0;
  product.activation_transposed = left ? matmul->get_transpose_b() : matmul->get_transpose_a();
  const bool transposed = left ? matmul->get_transpose_a() : matmul->get_transpose_b();
  // The left factor sums over its columns, the right one over its rows.
  product.reduction_axis = (left != nullptr) != transposed ? 1 : 0;
  product.output_axis = 1 - product.reduction_axis;
  return product;
}

std::shared_ptr<op::v0::Constant> TableOf(const ov::Node& node) {
  if (std::string_view(node.get_type_name()) != "Gather" || node.get_input_size() < 3) return nullptr;
  const auto table = ConstantBehind(node.input_value(0));
  if (!table || !table->get_element_type().is_real() || table->get_shape().size() != 2) return nullptr;
  if (ConstantBehind(node.input_value(1))) return nullptr;
  const auto axis = ov::as_type_ptr<op::v0::Constant>(node.get_input_node_shared_ptr(2));
  if (!axis || axis->get_shape().size() > 1 || ov::shape_size(axis->get_shape()) != 1) return nullptr;
  return axis->cast_vector<int64_t>()[0] == 0 ? table : nullptr;
}

bool LooksLikeTransformer(const ov::Model& model) {
  for (const auto& node : model.get_ops()) {
    if (std::string_view(node->get_type_name()) == "ScaledDotProductAttention") return true;
    if (!IsMatMul(*node)) continue;
    for (const Out& input : node->input_values()) {
      if (std::string_view(OriginOf(input).get_node()->get_type_name()) == "Softmax") return true;
    }
  }
  return false;
}

Placement PlaceQuantizers(const ov::Model& model, const PlacementOptions& options, const NameFilter& filter) {
  return Placer(model, options, filter).Run();
}

}  // namespace hone
