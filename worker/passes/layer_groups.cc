#include "worker/passes/layer_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <set>
#include <unordered_set>

#include "common/recipe/value.h"
#include "worker/passes/pass.h"

namespace hone {
namespace {

constexpr const char* kLayers = "layers";
constexpr const char* kQuantized = "quantized";

bool IsNumber(std::string_view word) {
  return !word.empty() && word.size() <= 6 &&
         std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Constants of rank 2 or more by name.
std::unordered_set<std::string> MatricesOf(const onnx::GraphProto& graph) {
  std::unordered_set<std::string> matrices;
  for (const auto& tensor : graph.initializer()) {
    if (tensor.dims_size() >= 2) matrices.insert(tensor.name());
  }
  for (const auto& node : graph.node()) {
    if (node.op_type() != "Constant" || node.output_size() != 1) continue;
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_t() && attribute.t().dims_size() >= 2) matrices.insert(node.output(0));
    }
  }
  return matrices;
}

std::vector<int> LayersOf(const onnx::GraphProto& graph, const std::set<std::string>& types) {
  const std::unordered_set<std::string> matrices = MatricesOf(graph);
  std::vector<int> layers;
  for (int n = 0; n < graph.node_size(); ++n) {
    const auto& node = graph.node(n);
    if (!LayerTypes().contains(node.op_type()) || !types.contains(node.op_type())) continue;
    const bool has_weight = std::any_of(node.input().begin(), node.input().end(),
                                        [&](const std::string& input) { return matrices.contains(input); });
    if (has_weight) layers.push_back(n);
  }
  return layers;
}

// Which layer each group but the first begins with. A border of blocks is near enough within half a group.
std::vector<size_t> Cuts(const onnx::GraphProto& graph, const std::vector<int>& layers, size_t groups) {
  std::vector<bool> is_border(layers.size(), true);
  for (size_t i = 1; i < layers.size(); ++i) {
    const std::string block = BlockOf(graph.node(layers[i]).name());
    is_border[i] = !block.empty() && block != BlockOf(graph.node(layers[i - 1]).name());
  }
  std::vector<size_t> cuts;
  const double each = static_cast<double>(layers.size()) / static_cast<double>(groups);
  for (size_t g = 1; g < groups; ++g) {
    const double wished = each * static_cast<double>(g);
    // Every group has a layer at least.
    const size_t first = cuts.empty() ? 1 : cuts.back() + 1, last = layers.size() - (groups - g);
    size_t cut = std::clamp(static_cast<size_t>(std::lround(wished)), first, last);
    double nearest = each / 2;
    for (size_t i = first; i <= last; ++i) {
      const double distance = std::fabs(static_cast<double>(i) - wished);
      if (!is_border[i] || distance >= nearest) continue;
      nearest = distance;
      cut = i;
    }
    cuts.push_back(cut);
  }
  return cuts;
}

}  // namespace

proto::ParameterInfo LayersParameter() {
  proto::ParameterInfo info = TextParameter(kLayers, kQuantized, {kLayersInFloat, kQuantized},
                                            "Of one group of layers (layers.0, layers.1 ...): whether it stays as it "
                                            "is. The layers in order are cut into as many "
                                            "groups as are given.");
  info.set_per_group(true);
  return info;
}

proto::Impossible LayersRule() {
  return Never({OneOf(kLayers, {TextValue(kLayersInFloat)})},
               "with layers=float for every group nothing is left to quantize");
}

Result<size_t> LayerGroupsGiven(const proto::PassStep& step) {
  const std::string prefix = std::string(kLayers) + ".";
  size_t given = 0, groups = 0;
  for (const auto& parameter : step.parameters()) {
    if (!parameter.name().starts_with(prefix)) continue;
    const std::string_view digits = std::string_view(parameter.name()).substr(prefix.size());
    size_t group = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), group);
    ++given;
    groups = std::max(groups, group + 1);
  }
  if (given == groups) return groups;
  return Fail(ErrorCode::kRejected,
              fmt::format("parameter '{}' is given for {} of the groups 0 to {}", kLayers, given, groups - 1),
              "Give it for every group.");
}

std::string LayerGroupName(size_t group) { return fmt::format("{}.{}", kLayers, group); }

Result<std::vector<size_t>> CutIntoLayerGroups(const onnx::GraphProto& graph, size_t groups,
                                               const std::set<std::string>& types) {
  const std::vector<int> layers = LayersOf(graph, types);
  if (layers.size() < groups) {
    return Fail(ErrorCode::kRejected,
                fmt::format("parameter '{}' is given for {} groups, and the model has {} layers for this pass", kLayers,
                            groups, layers.size()),
                "Give it for fewer groups.");
  }
  std::vector<size_t> group_of(static_cast<size_t>(graph.node_size()), 0);
  const std::vector<size_t> cuts = Cuts(graph, layers, groups);
  size_t group = 0;
  for (size_t n = 0; n < group_of.size(); ++n) {
    if (group < cuts.size() && static_cast<size_t>(layers[cuts[group]]) == n) ++group;
    group_of[n] = group;
  }
  return group_of;
}

const std::set<std::string>& LayerTypes() {
  static const std::set<std::string> kTypes = {"Conv",      "ConvTranspose", "Gemm", "MatMul", "FusedMatMul",
                                               "Attention", "LSTM",          "GRU",  "RNN"};
  return kTypes;
}

std::string BlockOf(std::string_view node_name) {
  const size_t start = node_name.starts_with('/') ? 1 : 0;
  for (size_t begin = start; begin < node_name.size();) {
    size_t end = node_name.find_first_of("/.", begin);
    if (end == std::string_view::npos) end = node_name.size();
    const std::string_view word = node_name.substr(begin, end - begin);
    // "layer.3", "blocks/3", "layer_3", "block12"; a name's last word is the node's own ("MatMul_3").
    size_t digits = word.size();
    while (digits > 0 && std::isdigit(static_cast<unsigned char>(word[digits - 1])) != 0) --digits;
    if (end < node_name.size() && IsNumber(word.substr(digits)))
      return std::string(node_name.substr(start, end - start));
    begin = end + 1;
  }
  return "";
}

}  // namespace hone
