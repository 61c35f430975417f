// Before: If(true) {then: a = Relu(x)} {else: b = Sigmoid(x)} -> y
// After:  y = Relu(x)
//
// Everything that the branch defines gets a name of its own in the outer graph: two branches may use the same names,
// for neither sees the other.
#include <algorithm>
#include <unordered_set>

#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

using Names = std::unordered_map<std::string, std::string>;

// The branch that is always taken; nullptr where the condition is not known.
onnx::GraphProto* TakenBranch(onnx::NodeProto& node, const GraphIndex& index) {
  if (!IsStandardOp(node, "If") || node.input().empty() || index.IsGraphInput(node.input(0))) return nullptr;
  const auto* condition = index.Initializer(node.input(0));
  if (condition == nullptr || condition->data_type() != onnx::TensorProto::BOOL) return nullptr;
  const auto value = ReadTensor(*condition);
  if (!value || value->Elements() != 1) return nullptr;
  auto* attribute = const_cast<onnx::AttributeProto*>(
      FindAttribute(node, *value->data<uint8_t>() != 0 ? "then_branch" : "else_branch"));
  const bool usable = attribute != nullptr && attribute->has_g() &&
                      attribute->g().output_size() == node.output_size() && attribute->g().sparse_initializer().empty();
  return usable ? attribute->mutable_g() : nullptr;
}

void AddIdentity(const std::string& from, const std::string& to,
                 google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, GraphIndex& index) {
  onnx::NodeProto& node = *nodes.Add();
  node.set_op_type("Identity");
  node.set_name(index.FreshName(to + "_identity"));
  node.add_input(from);
  node.add_output(to);
}

class Inliner {
 public:
  Inliner(onnx::GraphProto& graph, GraphIndex& index, google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes)
      : graph_(graph), index_(index), nodes_(nodes) {}

  // Appends what stands for the node.
  void Inline(const onnx::NodeProto& node, onnx::GraphProto& branch) {
    NameOwnValues(node, branch);
    for (auto& tensor : *branch.mutable_initializer()) {
      tensor.set_name(names_[tensor.name()]);
      graph_.add_initializer()->Swap(&tensor);
    }
    for (auto& inner : *branch.mutable_node()) {
      Rename(inner);
      nodes_.Add()->Swap(&inner);
    }
    for (auto& value : *branch.mutable_value_info()) {
      const auto found = names_.find(value.name());
      if (found == names_.end()) continue;
      value.set_name(found->second);
      graph_.add_value_info()->Swap(&value);
    }
    for (int i = 0; i < node.output_size(); ++i) {
      const std::string source = NewName(branch.output(i).name());
      if (!node.output(i).empty() && source != node.output(i)) AddIdentity(source, node.output(i), nodes_, index_);
    }
  }

 private:
  // A value computed in the branch takes the name of the output that it is; everything else gets a fresh one.
  void NameOwnValues(const onnx::NodeProto& node, const onnx::GraphProto& branch) {
    std::unordered_set<std::string> computed;
    for (const auto& inner : branch.node()) computed.insert(inner.output().begin(), inner.output().end());
    for (int i = 0; i < branch.output_size(); ++i) {
      if (computed.contains(branch.output(i).name()) && !node.output(i).empty())
        names_.try_emplace(branch.output(i).name(), node.output(i));
    }
    for (const auto& tensor : branch.initializer()) names_.try_emplace(tensor.name(), index_.FreshName(tensor.name()));
    for (const auto& inner : branch.node()) {
      for (const auto& output : inner.output()) {
        if (!output.empty() && !names_.contains(output)) names_.emplace(output, index_.FreshName(output));
      }
    }
  }

  const std::string& NewName(const std::string& name) const {
    const auto found = names_.find(name);
    return found == names_.end() ? name : found->second;
  }

  void Rename(onnx::NodeProto& inner) const {
    for (auto& name : *inner.mutable_input()) name = NewName(name);
    for (auto& name : *inner.mutable_output()) name = NewName(name);
    if (HasSubgraph(inner)) RenameCaptured(inner, names_);
  }

  onnx::GraphProto& graph_;
  GraphIndex& index_;
  google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes_;
  Names names_;
};

}  // namespace

int InlineBranches(onnx::GraphProto& graph) {
  if (std::none_of(graph.node().begin(), graph.node().end(), [](const auto& node) { return IsStandardOp(node, "If"); }))
    return 0;
  GraphIndex index(graph);
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  int inlined = 0;
  for (auto& node : *graph.mutable_node()) {
    onnx::GraphProto* branch = TakenBranch(node, index);
    if (branch == nullptr) {
      nodes.Add()->Swap(&node);
      continue;
    }
    onnx::GraphProto taken;
    taken.Swap(branch);
    Inliner(graph, index, nodes).Inline(node, taken);
    ++inlined;
  }
  graph.mutable_node()->Swap(&nodes);
  return inlined;
}

}  // namespace hone
