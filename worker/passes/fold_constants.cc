// Constant folding: LiftConstants, FoldKnownValues and FoldConstants.
//
// Nodes that depend on constants alone are gathered in one sub-model without inputs, whose outputs are what the rest of
// the graph needs, and ONNX Runtime computes them with its optimizer off. Where that fails (an operator without a
// kernel here), they are tried one by one, so that one unsupported operator costs only itself. Sizes are known before
// anything is computed: a node takes part only if the shapes of its outputs are inferred, so a graph cannot make us
// allocate more than the limits say.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "common/base/strings.h"
#include "worker/backends/backend.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

constexpr uint64_t kMaxGrowthBytes = uint64_t{64} << 20;   // Of the whole model in one round.
constexpr uint64_t kMaxSubmodelBytes = uint64_t{1} << 30;  // What is handed to the runtime at once.

// The value of a Constant node as a tensor; empty for kinds that initializers do not have.
std::optional<onnx::TensorProto> ConstantTensor(const onnx::NodeProto& node) {
  if (node.attribute_size() != 1 || node.output_size() != 1) return std::nullopt;
  const auto& attribute = node.attribute(0);
  const std::string& name = node.output(0);
  std::optional<onnx::TensorProto> tensor;
  if (attribute.name() == "value" && attribute.has_t()) {
    tensor = attribute.t();
    tensor->set_name(name);
  } else if (attribute.name() == "value_float") {
    tensor = MakeTensor(name, onnx::TensorProto::FLOAT, {}, std::vector<float>{attribute.f()});
  } else if (attribute.name() == "value_int") {
    tensor = MakeTensor(name, onnx::TensorProto::INT64, {}, std::vector<int64_t>{attribute.i()});
  } else if (attribute.name() == "value_floats") {
    tensor = MakeTensor(name, onnx::TensorProto::FLOAT, {attribute.floats_size()},
                        std::vector<float>(attribute.floats().begin(), attribute.floats().end()));
  } else if (attribute.name() == "value_ints") {
    tensor = MakeTensor(name, onnx::TensorProto::INT64, {attribute.ints_size()},
                        std::vector<int64_t>(attribute.ints().begin(), attribute.ints().end()));
  }
  return tensor;
}

// Finds what can be computed beforehand and computes it.
class Folder {
 public:
  Folder(onnx::ModelProto& model, const ValueTypes& types, uint64_t max_bytes)
      : model_(model),
        graph_(*model.mutable_graph()),
        index_(graph_),
        types_(types),
        max_bytes_(max_bytes),
        removed_(static_cast<size_t>(graph_.node_size()), false) {
    for (int i = 0; i < graph_.initializer_size(); ++i) {
      if (!index_.IsGraphInput(graph_.initializer(i).name())) initializers_[graph_.initializer(i).name()] = i;
    }
  }

  Result<int> Run(std::vector<std::string>& notes) {
    const std::vector<int> nodes = ConstantNodes();
    if (nodes.empty()) return 0;
    int folded = Fold(nodes) ? static_cast<int>(nodes.size()) : 0;
    std::string failed;
    for (size_t i = 0; folded == 0 && i < nodes.size(); ++i) {
      if (!HasStoredInputs(nodes[i])) continue;
      if (!Fold({nodes[i]})) failed += (failed.empty() ? "" : ", ") + NodeText(graph_.node(nodes[i]));
      alone_ += removed_[static_cast<size_t>(nodes[i])] ? 1 : 0;
    }
    if (!failed.empty()) notes.push_back("not folded, ONNX Runtime does not run it: " + Printable(failed, 500));
    RemoveNodes(graph_, removed_);
    return folded + alone_;
  }

 private:
  uint64_t BytesOf(const std::string& name) const {
    const auto* dims = types_.StaticDims(name);
    const Result<uint64_t> bytes =
        dims != nullptr ? TensorBytes(types_.Of(name).element, *dims) : Fail(ErrorCode::kNotFound, "");
    return bytes ? *bytes : 0;
  }

  // Known shape, and elements that can be handed over.
  bool HasPlainType(const std::string& name) const {
    return types_.StaticDims(name) != nullptr && ElementBytes(types_.Of(name).element) > 0;
  }

  bool MayFold(const onnx::NodeProto& node, const std::unordered_set<std::string>& computed) const {
    const bool standard = node.domain().empty() || node.domain() == "ai.onnx";
    if (!standard || node.input().empty() || IsRandom(node) || IsQuantization(node) || HasSubgraph(node)) return false;
    const auto constant = [&](const std::string& name) {
      return name.empty() || initializers_.contains(name) || computed.contains(name);
    };
    const auto plain = [&](const std::string& name) {
      return name.empty() || (HasPlainType(name) && !index_.IsGraphOutput(name));
    };
    return std::all_of(node.input().begin(), node.input().end(), constant) &&
           std::all_of(node.output().begin(), node.output().end(), plain);
  }

  // Bytes of the inputs that nothing but this node uses.
  uint64_t OwnInputBytes(int n) const {
    uint64_t bytes = 0;
    std::unordered_set<std::string> seen;
    for (const auto& input : graph_.node(n).input()) {
      if (input.empty() || !seen.insert(input).second || index_.IsGraphOutput(input)) continue;
      const auto& uses = index_.Consumers(input);
      if (std::all_of(uses.begin(), uses.end(), [&](const Use& use) { return use.node == n; })) bytes += BytesOf(input);
    }
    return bytes;
  }

  // In order.
  std::vector<int> ConstantNodes() const {
    std::vector<int> nodes;
    std::unordered_set<std::string> computed;
    uint64_t growth = 0;
    for (int n = 0; n < graph_.node_size(); ++n) {
      const auto& node = graph_.node(n);
      if (!MayFold(node, computed)) continue;
      uint64_t bytes = 0;
      for (const auto& output : node.output()) bytes += output.empty() ? 0 : BytesOf(output);
      const uint64_t own = OwnInputBytes(n);
      if (bytes > own && (bytes > max_bytes_ || growth + bytes > kMaxGrowthBytes)) continue;
      growth += bytes > own ? bytes : 0;
      nodes.push_back(n);
      computed.insert(node.output().begin(), node.output().end());
    }
    return nodes;
  }

  bool HasStoredInputs(int n) const {
    const auto& inputs = graph_.node(n).input();
    return std::all_of(inputs.begin(), inputs.end(),
                       [&](const std::string& name) { return name.empty() || initializers_.contains(name); });
  }

  // Outputs of these nodes that others need, or that nothing needs where there are no others.
  std::vector<std::string> Frontier(const std::vector<int>& nodes) const {
    const std::unordered_set<int> inside(nodes.begin(), nodes.end());
    std::vector<std::string> frontier;
    for (const int n : nodes) {
      for (const auto& output : graph_.node(n).output()) {
        const auto& uses = index_.Consumers(output);
        if (std::any_of(uses.begin(), uses.end(), [&](const Use& use) { return !inside.contains(use.node); }))
          frontier.push_back(output);
      }
    }
    return frontier;
  }

  onnx::ModelProto Submodel(const std::vector<int>& nodes, const std::vector<std::string>& outputs) const {
    onnx::ModelProto model;
    model.set_ir_version(model_.ir_version());
    *model.mutable_opset_import() = model_.opset_import();
    onnx::GraphProto& graph = *model.mutable_graph();
    graph.set_name("constants");
    std::unordered_set<std::string> stored;
    for (const int n : nodes) {
      *graph.add_node() = graph_.node(n);
      for (const auto& input : graph_.node(n).input()) {
        const auto found = initializers_.find(input);
        if (found != initializers_.end() && stored.insert(input).second)
          *graph.add_initializer() = graph_.initializer(found->second);
      }
    }
    for (const auto& name : outputs) {
      auto* output = graph.add_output();
      output->set_name(name);
      output->mutable_type()->mutable_tensor_type()->set_elem_type(types_.Of(name).element);
    }
    return model;
  }

  // What the runtime computes must be what inference said, or the limits would mean nothing.
  bool Fits(const Tensor& value, const std::string& name) const {
    return value.type == types_.Of(name).element && value.dims == *types_.StaticDims(name) &&
           value.bytes.size() == BytesOf(name);
  }

  Result<std::vector<Tensor>> Compute(const std::vector<int>& nodes, const std::vector<std::string>& outputs) const {
    const onnx::ModelProto submodel = Submodel(nodes, outputs);
    if (submodel.ByteSizeLong() > kMaxSubmodelBytes) return Fail(ErrorCode::kRejected, "too large to fold at once");
    std::string bytes;
    if (!submodel.SerializeToString(&bytes)) return Fail(ErrorCode::kFailed, "the constants could not be serialized");
    TRY_ASSIGN(const std::unique_ptr<Session> session, LoadOnnxBytes(bytes, 1, false));
    TRY_ASSIGN(std::vector<Tensor> values, session->Run({}));
    if (values.size() != outputs.size())
      return Fail(ErrorCode::kFailed, "the runtime gave other outputs than asked for");
    return values;
  }

  bool Fold(const std::vector<int>& nodes) {
    const std::vector<std::string> outputs = Frontier(nodes);
    if (!outputs.empty()) {
      const Result<std::vector<Tensor>> values = Compute(nodes, outputs);
      if (!values) return false;
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!Fits((*values)[i], outputs[i])) return false;
      }
      for (size_t i = 0; i < outputs.size(); ++i) Store(outputs[i], (*values)[i]);
    }
    for (const int n : nodes) removed_[static_cast<size_t>(n)] = true;
    return true;
  }

  void Store(const std::string& name, const Tensor& value) {
    initializers_[name] = graph_.initializer_size();
    *graph_.add_initializer() = MakeTensor(name, value.type, value.dims,
                                           {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  }

  onnx::ModelProto& model_;
  onnx::GraphProto& graph_;
  GraphIndex index_;
  const ValueTypes& types_;
  uint64_t max_bytes_;
  std::vector<bool> removed_;
  std::unordered_map<std::string, int> initializers_;  // Name -> position; constants alone.
  int alone_ = 0;
};

}  // namespace

int LiftConstants(onnx::GraphProto& graph) {
  const GraphIndex index(graph);
  std::vector<bool> removed(static_cast<size_t>(graph.node_size()), false);
  int lifted = 0;
  for (int n = 0; n < graph.node_size(); ++n) {
    if (!IsStandardOp(graph.node(n), "Constant") || index.IsGraphOutput(graph.node(n).output(0))) continue;
    std::optional<onnx::TensorProto> tensor = ConstantTensor(graph.node(n));
    if (!tensor) continue;
    graph.add_initializer()->Swap(&*tensor);
    removed[static_cast<size_t>(n)] = true;
    ++lifted;
  }
  RemoveNodes(graph, removed);
  return lifted;
}

int FoldKnownValues(onnx::GraphProto& graph, const ValueTypes& types, const KnownValues& known) {
  const GraphIndex index(graph);
  std::vector<bool> removed(static_cast<size_t>(graph.node_size()), false);
  int folded = 0;
  for (int n = 0; n < graph.node_size(); ++n) {
    const auto& node = graph.node(n);
    if (node.output_size() != 1 || HasSubgraph(node) || IsRandom(node) || index.IsGraphOutput(node.output(0))) continue;
    const std::string& name = node.output(0);
    const auto value = known.find(name);
    const auto* dims = types.StaticDims(name);
    if (value == known.end() || dims == nullptr || dims->size() > 1) continue;
    if (types.Of(name).element != onnx::TensorProto::INT64 ||
        ElementCount(*dims) != static_cast<int64_t>(value->second.size()))
      continue;
    *graph.add_initializer() = MakeTensor(name, onnx::TensorProto::INT64, *dims, value->second);
    removed[static_cast<size_t>(n)] = true;
    ++folded;
  }
  RemoveNodes(graph, removed);
  return folded;
}

Result<int> FoldConstants(onnx::ModelProto& model, const ValueTypes& types, uint64_t max_bytes,
                          std::vector<std::string>& notes) {
  return Folder(model, types, max_bytes).Run(notes);
}

}  // namespace hone
