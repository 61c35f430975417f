// What every quantizing pass asks of a graph and does to it: types of values, constant weights, fresh names, which
// nodes are wanted, and what is told to people at the end.
#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "worker/model/model.h"
#include "worker/passes/pass.h"
#include "worker/passes/quantization_math.h"

namespace hone {

// Edits the main graph of a model; graphs inside nodes are left as they are. Made once at the start of a pass: it turns
// Constant nodes into initializers (a weight is a weight, however it was exported) and looks at types and shapes, which
// it does not write into the model.
//
// Nodes and initializers may be added while it lives, none removed: RunPass drops what is no longer needed.
class QuantizationGraph {
 public:
  explicit QuantizationGraph(onnx::ModelProto& model);

  onnx::ModelProto& model() { return model_; }
  const onnx::ModelProto& model() const { return model_; }
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }
  // Nodes that were there at the start: indices [0, NodeCount()).
  int NodeCount() const { return node_count_; }
  onnx::NodeProto& Node(int index) { return *graph().mutable_node(index); }
  const onnx::NodeProto& Node(int index) const { return model_.graph().node(index); }

  const GraphIndex& index() const { return index_; }
  std::string FreshName(const std::string& wish) { return index_.FreshName(wish); }

  // 0 where unknown.
  ElementType TypeOf(const std::string& value) const;
  bool IsFloat(const std::string& value) const { return TypeOf(value) == onnx::TensorProto::FLOAT; }
  // nullopt where the rank is unknown.
  std::optional<std::vector<int64_t>> ShapeOf(const std::string& value) const;

  // The initializer of this name whatever its type, added ones included; nullptr if it is none.
  const onnx::TensorProto* AnyWeight(const std::string& name) const;
  // The float32 initializer of this name, added ones included; nullptr if it is none.
  const onnx::TensorProto* FloatWeight(const std::string& name) const;

  onnx::NodeProto* AddNode(const std::string& type, const std::string& name, const std::vector<std::string>& inputs,
                           const std::vector<std::string>& outputs, const std::string& domain = "");
  // Under its name, which must be fresh.
  void AddInitializer(onnx::TensorProto tensor);
  template <class T>
  std::string AddConstant(const std::string& wish, ElementType type, const std::vector<int64_t>& dims,
                          const std::vector<T>& values) {
    std::string name = FreshName(wish);
    AddInitializer(MakeTensor(name, type, dims, values));
    return name;
  }
  // The name of a transposed copy of a weight of rank 2; one copy, however often it is asked for.
  Result<std::string> Transposed(const std::string& weight);
  // Scales and zero points as initializers "<base>_scale" and "<base>_zero_point": scalars, or vectors with
  // `per_channel`.
  struct ScaleNames {
    std::string scale;
    std::string zero_point;
  };
  ScaleNames AddScales(const std::string& base, CodeType type, const std::vector<ScaleZero>& scales, bool per_channel);

 private:
  onnx::ModelProto& model_;
  GraphIndex index_;
  int node_count_;
  std::unordered_map<std::string, const onnx::TensorProto*> added_;
  std::unordered_map<std::string, std::string> transposed_;
  std::unordered_map<std::string, ElementType> types_;
  std::unordered_map<std::string, std::vector<int64_t>> shapes_;
};

// Which nodes a pass may touch, from its parameters: "exclude" (regular expressions, comma-separated, each matched
// against the whole node name) and, where the pass has it, "op_types" (comma-separated operator names; empty: all that
// the pass knows), and the groups of layers that stay in float (layer_groups.h) where the pass has those.
class NodeFilter {
 public:
  // kRejected for a broken expression, and for more groups than the graph has layers.
  // types: of the nodes that the pass quantizes.
  static Result<NodeFilter> Make(const PassContext& context, const onnx::GraphProto& graph,
                                 const std::set<std::string>& types);
  bool Wanted(const onnx::NodeProto& node) const;
  bool WantedType(const std::string& op_type) const { return types_.empty() || types_.contains(op_type); }

 private:
  std::vector<std::regex> excluded_;
  std::set<std::string> types_;
  std::set<std::string> in_float_;   // First outputs of the nodes of groups that stay in float.
};
proto::ParameterInfo ExcludeParameter();
proto::ParameterInfo OpTypesParameter();

// Counts by operator type what was quantized and why the rest was not, and tells it.
class QuantizationTally {
 public:
  void Quantized(const onnx::NodeProto& node) { ++counts_[node.op_type()].quantized; }
  // reason completes "3 Gemm left in float: ...".
  void Left(const onnx::NodeProto& node, const std::string& reason) { ++counts_[node.op_type()].left[reason]; }
  int QuantizedNodes() const;
  // Adds the notes: "12 of 14 MatMul quantized", "2 MatMul left in float: no constant weight".
  void Tell(PassContext& context) const;
  // kRejected if nothing was quantized, with the reasons.
  Result<> CheckAny(std::string_view wanted) const;

 private:
  struct Count {
    int quantized = 0;
    std::map<std::string, int> left;
  };
  std::vector<std::string> Reasons() const;
  std::map<std::string, Count> counts_;
};

// The name of an input; "" where the node has none there.
std::string InputOf(const onnx::NodeProto& node, int index);

// Whether the operator is ONNX's own (domain "" or "ai.onnx").
bool IsStandard(const onnx::NodeProto& node);
// Adds a note if graphs inside nodes hold operators that a pass would have quantized.
void TellOfSubgraphs(const onnx::GraphProto& graph, const std::set<std::string>& op_types, PassContext& context);

// Raises the default opset to at least `version` by the version converter, with a note. Does nothing where it is there
// already.
Result<> RequireOpset(onnx::ModelProto& model, int64_t version, PassContext& context);

// Gemm with alpha 1, beta 1 (or no C) and an untransposed A is a MatMul and an Add. nullptr where it is, else why not.
const char* WhyNotMatMul(const onnx::NodeProto& gemm);
// Turns such a Gemm into MatMul "<name>_MatMul" and Add in place; a constant B is transposed where transB says so. The
// node at `index` becomes the MatMul.
Result<> GemmToMatMul(QuantizationGraph& graph, int index);

// Runs work(0) ... work(count - 1) on up to `threads` threads.
void ParallelFor(int threads, size_t count, const std::function<void(size_t)>& work);

}  // namespace hone
