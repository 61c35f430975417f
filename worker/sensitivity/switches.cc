// Before: y = MatMul(x, W)
// After:  y = If(Gather(switches, group)) { MatMul(DequantizeLinear(QuantizeLinear(x)), DequantizeLinear(Wq)) } else {
// MatMul(x, W) }
//
// Both branches read values and constants of the graph around them. Constants of the built model come in under fresh
// names, those with the original's content stay the original's.
#include "worker/sensitivity/switches.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

namespace hone {
namespace {

using Renames = std::unordered_map<std::string, std::string>;

void Rename(onnx::NodeProto& node, const Renames& renames) {
  const auto renamed = [&](const std::string& name) {
    const auto found = renames.find(name);
    return found == renames.end() ? name : found->second;
  };
  for (auto& input : *node.mutable_input()) input = renamed(input);
  for (auto& output : *node.mutable_output()) output = renamed(output);
  RenameCaptured(node, renames);
}

void AddMissingOpsets(const onnx::ModelProto& from, onnx::ModelProto& to) {
  for (const auto& opset : from.opset_import()) {
    if (OpsetVersion(to, opset.domain()) <= 0) SetOpset(to, opset.domain(), opset.version());
  }
}

class Switcher {
 public:
  Switcher(const onnx::ModelProto& original, const onnx::ModelProto& built)
      : original_(original), built_(built), names_(original.graph()), ours_(original.graph()), theirs_(built.graph()) {
    result_.model = original;
    graph_ = result_.model.mutable_graph();
  }

  Result<SwitchedModel> Run(const std::vector<Change>& changes, const std::vector<ChangeGroup>& groups) {
    AddMissingOpsets(built_, result_.model);
    result_.model.set_ir_version(std::max(original_.ir_version(), built_.ir_version()));
    AddInput(static_cast<int64_t>(groups.size()));
    std::map<int, onnx::NodeProto> replaced;  // By the last original node of a change.
    std::set<int> gone;
    for (size_t g = 0; g < groups.size(); ++g) {
      const std::string condition = AddCondition(static_cast<int64_t>(g));
      for (const size_t c : groups[g].changes) {
        replaced[changes[c].original.back()] = MakeIf(condition, changes[c]);
        for (const int n : changes[c].original) gone.insert(n);
      }
    }
    WriteNodes(replaced, gone, changes);
    // The order of nodes may have changed by what a branch reads; what only branches need went there.
    TRY(SortNodes(*graph_));
    RemoveUnused(*graph_);
    return std::move(result_);
  }

 private:
  void AddInput(int64_t groups) {
    result_.switches = names_.FreshName("hone_switches");
    onnx::ValueInfoProto& input = *graph_->add_input();
    input.set_name(result_.switches);
    input.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::BOOL);
    input.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(groups);
  }

  std::string AddCondition(int64_t group) {
    const std::string place = names_.FreshName("hone_group");
    *graph_->add_initializer() = MakeTensor(place, onnx::TensorProto::INT64, {}, std::vector<int64_t>{group});
    onnx::NodeProto& gather = added_.emplace_back();
    gather.set_op_type("Gather");
    gather.add_input(result_.switches);
    gather.add_input(place);
    gather.add_output(names_.FreshName("hone_switch"));
    gather.set_name(gather.output(0));
    return gather.output(0);
  }

  // Constants that a branch has for itself. Those with the original's content stay the outer graph's, but for
  // DequantizeLinear's: ONNX Runtime looks for them beside the node alone when it fuses it.
  void CopyConstants(const onnx::NodeProto& node, const Constants& constants, bool foreign, onnx::GraphProto& branch,
                     Renames& renames) {
    std::vector<std::string> read(node.input().begin(), node.input().end());
    for (auto& captured : CapturedNames(node)) read.push_back(std::move(captured));
    for (const auto& input : read) {
      const auto* tensor = input.empty() || renames.contains(input) ? nullptr : constants.Find(input);
      if (tensor == nullptr) continue;
      const auto* ours = ours_.Find(input);
      const bool same = !foreign || (ours != nullptr && SameTensor(*ours, *tensor));
      if (same && node.op_type() != "DequantizeLinear") continue;
      renames[input] = names_.FreshName(fmt::format("{}/{}", branch.name(), input));
      onnx::TensorProto& added = *branch.add_initializer();
      added = *tensor;
      added.set_name(renames[input]);
    }
  }

  onnx::GraphProto Branch(const onnx::GraphProto& source, const std::vector<int>& nodes,
                          const std::vector<std::string>& outputs, const Constants& constants, bool foreign,
                          const char* name) {
    Renames renames;
    onnx::GraphProto branch;
    branch.set_name(names_.FreshName(name));
    for (const int n : nodes) {
      for (const auto& output : source.node(n).output()) {
        if (!output.empty()) renames[output] = names_.FreshName(fmt::format("{}/{}", branch.name(), output));
      }
    }
    for (const int n : nodes) CopyConstants(source.node(n), constants, foreign, branch, renames);
    for (const int n : nodes) {
      onnx::NodeProto& node = *branch.add_node();
      node = source.node(n);
      Rename(node, renames);
    }
    for (const auto& output : outputs) branch.add_output()->set_name(renames.at(output));
    return branch;
  }

  // Puts an activation behind the branch's only output.
  void Activate(const onnx::NodeProto& activation, onnx::GraphProto& branch) {
    onnx::NodeProto& node = *branch.add_node();
    node = activation;
    node.set_input(0, branch.output(0).name());
    node.set_output(0, names_.FreshName(branch.output(0).name() + "/activated"));
    branch.mutable_output(0)->set_name(node.output(0));
  }

  onnx::NodeProto MakeIf(const std::string& condition, const Change& change) {
    onnx::NodeProto node;
    node.set_op_type("If");
    node.set_name(names_.FreshName("hone_if/" + change.outputs.front()));
    node.add_input(condition);
    for (const auto& output : change.outputs) node.add_output(output);
    const auto add = [&](const char* name, onnx::GraphProto branch) {
      auto* attribute = node.add_attribute();
      attribute->set_name(name);
      attribute->set_type(onnx::AttributeProto::GRAPH);
      *attribute->mutable_g() = std::move(branch);
    };
    onnx::GraphProto then = Branch(built_.graph(), change.built, change.outputs, theirs_, true, "hone_then");
    if (change.absorbed >= 0) Activate(original_.graph().node(change.absorbed), then);
    add("then_branch", std::move(then));
    add("else_branch", Branch(original_.graph(), change.original, change.outputs, ours_, false, "hone_else"));
    return node;
  }

  void WriteNodes(const std::map<int, onnx::NodeProto>& replaced, const std::set<int>& gone,
                  const std::vector<Change>& changes) {
    // A node that a branch holds may serve an unchanged one too; then it stays, unless it is an If now.
    std::unordered_set<std::string> given;
    for (const Change& change : changes) given.insert(change.outputs.begin(), change.outputs.end());
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    for (auto& node : added_) nodes.Add()->Swap(&node);
    for (int n = 0; n < original_.graph().node_size(); ++n) {
      const auto place = replaced.find(n);
      if (place != replaced.end()) {
        *nodes.Add() = place->second;
        continue;
      }
      const auto& outputs = original_.graph().node(n).output();
      const bool doubled = gone.contains(n) && std::any_of(outputs.begin(), outputs.end(),
                                                           [&](const auto& o) { return given.contains(o); });
      if (!doubled) *nodes.Add() = original_.graph().node(n);
    }
    graph_->mutable_node()->Swap(&nodes);
  }

  const onnx::ModelProto& original_;
  const onnx::ModelProto& built_;
  GraphIndex names_;
  Constants ours_;
  Constants theirs_;
  SwitchedModel result_;
  onnx::GraphProto* graph_ = nullptr;
  std::vector<onnx::NodeProto> added_;
};

}  // namespace

Result<SwitchedModel> AddSwitches(const onnx::ModelProto& original, const onnx::ModelProto& built,
                                  const std::vector<Change>& changes, const std::vector<ChangeGroup>& groups) {
  return Switcher(original, built).Run(changes, groups);
}

std::vector<std::string> ReadFromOutside(const onnx::GraphProto& graph, const Constants& constants,
                                         const std::vector<int>& nodes) {
  std::set<std::string> made;
  std::set<std::string> read;
  for (const int n : nodes) {
    made.insert(graph.node(n).output().begin(), graph.node(n).output().end());
    read.insert(graph.node(n).input().begin(), graph.node(n).input().end());
    for (auto& name : CapturedNames(graph.node(n))) read.insert(std::move(name));
  }
  std::vector<std::string> outside;
  for (const auto& name : read) {
    if (!name.empty() && !made.contains(name) && constants.Find(name) == nullptr) outside.push_back(name);
  }
  return outside;
}

onnx::ModelProto Alone(const onnx::ModelProto& source, const std::vector<int>& nodes,
                       const std::vector<std::string>& outputs, const std::vector<onnx::ValueInfoProto>& inputs) {
  onnx::ModelProto model;
  model.set_ir_version(source.ir_version());
  *model.mutable_opset_import() = source.opset_import();
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("alone");
  const Constants constants(source.graph());
  std::set<std::string> needed;
  std::set<std::string> made;
  for (const int n : nodes) {
    *graph.add_node() = source.graph().node(n);
    made.insert(source.graph().node(n).output().begin(), source.graph().node(n).output().end());
    needed.insert(source.graph().node(n).input().begin(), source.graph().node(n).input().end());
    for (auto& name : CapturedNames(source.graph().node(n))) needed.insert(std::move(name));
  }
  for (const auto& name : needed) {
    const auto* tensor = made.contains(name) ? nullptr : constants.Find(name);
    if (tensor == nullptr) continue;
    onnx::TensorProto& added = *graph.add_initializer();
    added = *tensor;
    added.set_name(name);
  }
  for (const auto& input : inputs) *graph.add_input() = input;
  for (const auto& output : outputs) graph.add_output()->set_name(output);
  return model;
}

}  // namespace hone
