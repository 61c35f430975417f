// Before: a = Relu(x), b = Relu(x), Add(a, b); W1 and W2 with the same bytes
// After:  a = Relu(x), Add(a, a); W1 alone
//
// Nodes are compared by operator, inputs and attributes after their own inputs were led to the survivors, so chains
// merge from the front. What quantizes stays single-use, and a duplicate that makes a graph output stays, for its name
// is wanted.
#include <algorithm>

#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

// Everything that the value of an initializer depends on.
std::string InitializerKey(const onnx::TensorProto& tensor) {
  std::string key = std::to_string(tensor.data_type());
  for (const int64_t dim : tensor.dims()) key += ',' + std::to_string(dim);
  return key;
}

bool HaveEqualValue(const onnx::TensorProto& a, const onnx::TensorProto& b) {
  if (a.has_raw_data() && b.has_raw_data()) return a.raw_data() == b.raw_data();
  const auto x = ReadTensor(a);
  const auto y = ReadTensor(b);
  return x && y && x->bytes == y->bytes;
}

size_t HashOf(const onnx::TensorProto& tensor) {
  if (tensor.has_raw_data()) return std::hash<std::string>()(tensor.raw_data());
  const auto value = ReadTensor(tensor);
  if (!value) return 0;
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size()});
}

std::string NodeKey(const onnx::NodeProto& node) {
  std::vector<std::string> attributes;
  for (onnx::AttributeProto attribute : node.attribute()) {
    attribute.clear_doc_string();
    attributes.push_back(attribute.SerializeAsString());
  }
  std::sort(attributes.begin(), attributes.end());
  onnx::NodeProto key;
  key.set_op_type(node.op_type());
  key.set_domain(node.domain());
  *key.mutable_input() = node.input();
  // Which optional outputs there are belongs to what a node computes.
  for (const auto& output : node.output()) key.add_output(output.empty() ? "" : "x");
  std::string text = key.SerializeAsString();
  for (const auto& attribute : attributes) text += std::to_string(attribute.size()) + ':' + attribute;
  return text;
}

class Merger {
 public:
  explicit Merger(onnx::GraphProto& graph)
      : graph_(graph), index_(graph), removed_(static_cast<size_t>(graph.node_size()), false) {}

  int Run() {
    MergeInitializers();
    for (int n = 0; n < graph_.node_size(); ++n) {
      onnx::NodeProto& node = *graph_.mutable_node(n);
      Redirect(node);
      MergeNode(n, node);
    }
    RemoveNodes(graph_, removed_);
    return count_;
  }

 private:
  void MergeInitializers() {
    std::unordered_map<std::string, std::vector<const onnx::TensorProto*>> groups;
    for (const auto& tensor : graph_.initializer()) {
      const bool fixed = !index_.IsGraphInput(tensor.name()) && !index_.IsGraphOutput(tensor.name());
      if (fixed && ElementBytes(tensor.data_type()) > 0) groups[InitializerKey(tensor)].push_back(&tensor);
    }
    for (const auto& [key, tensors] : groups) {
      if (tensors.size() > 1) MergeGroup(tensors);
    }
  }

  // The first of equal ones stays. RemoveUnused drops the others.
  void MergeGroup(const std::vector<const onnx::TensorProto*>& tensors) {
    std::unordered_map<size_t, std::vector<const onnx::TensorProto*>> seen;
    for (const auto* tensor : tensors) {
      auto& alike = seen[HashOf(*tensor)];
      const auto equal =
          std::find_if(alike.begin(), alike.end(), [&](const auto* other) { return HaveEqualValue(*tensor, *other); });
      if (equal == alike.end()) {
        alike.push_back(tensor);
      } else if (!index_.Consumers(tensor->name()).empty()) {
        forward_[tensor->name()] = (*equal)->name();
        ++count_;
      }
    }
  }

  void Redirect(onnx::NodeProto& node) const {
    for (auto& input : *node.mutable_input()) {
      const auto found = forward_.find(input);
      if (found != forward_.end()) input = found->second;
    }
    if (HasSubgraph(node)) RenameCaptured(node, forward_);
  }

  void MergeNode(int n, const onnx::NodeProto& node) {
    // What operators of other domains do with equal inputs is theirs alone to say.
    if (!IsStandardOp(node, node.op_type()) || IsRandom(node) || IsQuantization(node) || HasSubgraph(node) ||
        node.input().empty())
      return;
    const auto [found, fresh] = nodes_.try_emplace(NodeKey(node), n);
    if (fresh) return;
    const auto wanted = [&](const std::string& name) { return index_.IsGraphOutput(name); };
    if (std::any_of(node.output().begin(), node.output().end(), wanted)) return;
    const auto& survivor = graph_.node(found->second);
    for (int i = 0; i < node.output_size(); ++i) {
      if (!node.output(i).empty()) forward_[node.output(i)] = survivor.output(i);
    }
    removed_[static_cast<size_t>(n)] = true;
    ++count_;
  }

  onnx::GraphProto& graph_;
  GraphIndex index_;
  std::unordered_map<std::string, std::string> forward_;
  std::unordered_map<std::string, int> nodes_;
  std::vector<bool> removed_;
  int count_ = 0;
};

}  // namespace

int MergeEqual(onnx::GraphProto& graph) { return Merger(graph).Run(); }

}  // namespace hone
