// A value is common where both models compute one of that name and type. Going back from a common value to the next
// common values gives its cone: the nodes that compute it. A place changed where the two cones differ: another
// operator, other attributes, or constants with other content; names of constants do not count. A pass that inserts
// QuantizeLinear and DequantizeLinear, that puts another operator in a node's place or that takes a node apart leaves
// the common values around it, so its cones are small.
#include "worker/sensitivity/changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/strings.h"

namespace hone {
namespace {

using Names = std::unordered_map<std::string, ElementType>;

// Names of what the main graph computes or is fed, with their types (0: unknown).
Names DynamicValues(const onnx::ModelProto& model) {
  onnx::ModelProto typed = model;
  InferShapes(typed);
  Names types;
  const auto& graph = typed.graph();
  for (const auto* input : RealInputs(graph)) types[input->name()] = input->type().tensor_type().elem_type();
  for (const auto& node : graph.node()) {
    if (node.op_type() == "Constant") continue;
    for (const auto& output : node.output()) {
      if (!output.empty()) types[output] = 0;
    }
  }
  for (const auto* values : {&graph.value_info(), &graph.output()}) {
    for (const auto& value : *values) {
      const auto found = types.find(value.name());
      if (found != types.end() && value.type().has_tensor_type())
        found->second = value.type().tensor_type().elem_type();
    }
  }
  return types;
}

std::set<std::string> CommonValues(const onnx::ModelProto& original, const onnx::ModelProto& built) {
  const Names ours = DynamicValues(original);
  const Names theirs = DynamicValues(built);
  std::set<std::string> common;
  for (const auto& [name, type] : ours) {
    const auto found = theirs.find(name);
    if (found == theirs.end()) continue;
    if (type == 0 || found->second == 0 || type == found->second) common.insert(name);
  }
  return common;
}

bool HoldsCodes(const onnx::NodeProto& node) {
  static const std::set<std::string> kOps = {"QuantizeLinear",
                                             "DequantizeLinear",
                                             "DynamicQuantizeLinear",
                                             "MatMulInteger",
                                             "ConvInteger",
                                             "QLinearConv",
                                             "QLinearMatMul",
                                             "MatMulNBits",
                                             "GatherBlockQuantized",
                                             "MatMulBnb4",
                                             "QAttention",
                                             "DynamicQuantizeLSTM",
                                             "DynamicQuantizeMatMul",
                                             "MatMulIntegerToFloat",
                                             "QEmbedLayerNormalization",
                                             "QGemm"};
  if (node.op_type() == "Cast") return IntAttribute(node, "to", 0) == onnx::TensorProto::FLOAT16;
  return kOps.contains(node.op_type());
}

// Operators whose constants are weights of their own; with others (LayerNormalization, Mul) a constant that changed
// scales a value.
bool HasOwnWeights(const onnx::NodeProto& node) {
  static const std::set<std::string> kOps = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Gather",
                                             "LSTM",   "GRU",  "RNN",  "Attention"};
  return kOps.contains(node.op_type());
}

std::map<std::string, std::string> AttributeBytes(const onnx::NodeProto& node) {
  std::map<std::string, std::string> bytes;
  for (const auto& attribute : node.attribute()) bytes[attribute.name()] = attribute.SerializeAsString();
  return bytes;
}

class Comparison {
 public:
  Comparison(const onnx::ModelProto& original, const onnx::ModelProto& built)
      : original_(original.graph()),
        built_(built.graph()),
        original_index_(original_),
        built_index_(built_),
        original_constants_(original_),
        built_constants_(built_),
        common_(CommonValues(original, built)) {}

  Result<std::vector<Change>> Run() {
    std::vector<Change> changes;
    for (int n = 0; n < original_.node_size(); ++n) {
      const auto& node = original_.node(n);
      Change change;
      for (const auto& output : node.output()) {
        if (common_.contains(output)) change.outputs.push_back(output);
      }
      if (node.op_type() == "Constant" || change.outputs.empty() || IsSame(node)) continue;
      change.original = Cone(original_, original_index_, original_constants_, change.outputs);
      change.built = Cone(built_, built_index_, built_constants_, change.outputs);
      change.quantized =
          std::any_of(change.built.begin(), change.built.end(), [&](int m) { return HoldsCodes(built_.node(m)); });
      if (IsAbsorbed(node, change)) change.absorbed = n;
      TRY(CheckLocal(node, change));
      changes.push_back(std::move(change));
    }
    return changes;
  }

 private:
  // Whether the built model has the same node in this place.
  bool IsSame(const onnx::NodeProto& node) const {
    int twin = -1;
    for (const auto& output : node.output()) {
      if (output.empty()) continue;
      const int producer = built_index_.Producer(output);
      if (producer < 0 || (twin >= 0 && producer != twin)) return false;
      twin = producer;
    }
    if (twin < 0) return false;
    const auto& other = built_.node(twin);
    if (node.op_type() != other.op_type() || node.domain() != other.domain() || node.input_size() != other.input_size())
      return false;
    if (!std::equal(node.output().begin(), node.output().end(), other.output().begin(), other.output().end()))
      return false;
    for (int i = 0; i < node.input_size(); ++i) {
      if (!IsSameInput(node.input(i), other.input(i))) return false;
    }
    for (const auto& name : CapturedNames(node)) {
      if (!IsSameInput(name, name)) return false;
    }
    return AttributeBytes(node) == AttributeBytes(other);
  }

  bool IsSameInput(const std::string& ours, const std::string& theirs) const {
    if (ours.empty() || theirs.empty()) return ours == theirs;
    const auto* constant = original_constants_.Find(ours);
    const auto* other = built_constants_.Find(theirs);
    if (constant != nullptr && other != nullptr) return SameTensor(*constant, *other);
    return constant == nullptr && other == nullptr && ours == theirs && common_.contains(ours);
  }

  std::vector<int> Cone(const onnx::GraphProto& graph, const GraphIndex& index, const Constants& constants,
                        const std::vector<std::string>& outputs) const {
    std::set<int> cone;
    std::vector<std::string> open = outputs;
    while (!open.empty()) {
      const int n = index.Producer(open.back());
      open.pop_back();
      if (n < 0 || !cone.insert(n).second) continue;
      std::vector<std::string> read(graph.node(n).input().begin(), graph.node(n).input().end());
      for (auto& name : CapturedNames(graph.node(n))) read.push_back(std::move(name));
      for (auto& name : read) {
        if (!name.empty() && constants.Find(name) == nullptr && !common_.contains(name))
          open.push_back(std::move(name));
      }
    }
    return {cone.begin(), cone.end()};
  }

  Result<> CheckLocal(const onnx::NodeProto& node, const Change& change) const {
    if (change.quantized || HasOwnWeights(node) || IsBias(node)) return {};
    return Fail(ErrorCode::kRejected,
                fmt::format("the pass changes {} without quantizing it, so its layers mean nothing one at a time",
                            Printable(NodeText(node), 200)),
                "Leave out what moves scales between layers (smoothing, equalization).");
  }

  // Where the codes of an activation begin at zero, quantizing clips as a Relu does, and passes leave the Relu out.
  bool IsAbsorbed(const onnx::NodeProto& node, const Change& change) const {
    if (node.op_type() != "Relu" && node.op_type() != "Clip") return false;
    return std::none_of(change.built.begin(), change.built.end(),
                        [&](int m) { return built_.node(m).op_type() == node.op_type(); });
  }

  // A constant added to a product.
  bool IsBias(const onnx::NodeProto& node) const {
    return node.op_type() == "Add" && node.input_size() == 2 &&
           (original_constants_.Find(node.input(0)) != nullptr || original_constants_.Find(node.input(1)) != nullptr);
  }

  const onnx::GraphProto& original_;
  const onnx::GraphProto& built_;
  GraphIndex original_index_;
  GraphIndex built_index_;
  Constants original_constants_;
  Constants built_constants_;
  std::set<std::string> common_;
};

}  // namespace

Constants::Constants(const onnx::GraphProto& graph) {
  for (const auto& tensor : graph.initializer()) tensors_[tensor.name()] = &tensor;
  for (const auto& node : graph.node()) {
    const bool dense = node.op_type() == "Constant" && node.output_size() == 1 && node.attribute_size() == 1 &&
                       node.attribute(0).has_t();
    if (dense) tensors_[node.output(0)] = &node.attribute(0).t();
  }
}

const onnx::TensorProto* Constants::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

bool SameTensor(const onnx::TensorProto& a, const onnx::TensorProto& b) {
  if (a.data_type() != b.data_type() || !std::equal(a.dims().begin(), a.dims().end(), b.dims().begin(), b.dims().end()))
    return false;
  if (a.has_raw_data() && b.has_raw_data()) return a.raw_data() == b.raw_data();
  const auto ours = ReadTensor(a);
  const auto theirs = ReadTensor(b);
  if (ours && theirs) return ours->bytes == theirs->bytes;
  // Elements of less than a byte.
  onnx::TensorProto named = b;
  named.set_name(a.name());
  named.set_doc_string(a.doc_string());
  return a.SerializeAsString() == named.SerializeAsString();
}

Result<std::vector<Change>> FindChanges(const onnx::ModelProto& original, const onnx::ModelProto& built) {
  return Comparison(original, built).Run();
}

}  // namespace hone
