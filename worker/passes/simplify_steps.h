// The steps of simplify. Each works on the main graph, leaves subgraphs valid, and returns how many nodes or tensors it
// dealt with (0: nothing to do).
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "worker/model/model.h"

namespace hone {

// Types and shapes of the values of a main graph, as inference wrote them into it. Holds for the graph as it was;
// values that are renamed or made later are unknown.
class ValueTypes {
 public:
  struct Type {
    ElementType element = 0;                   // 0: unknown.
    std::optional<std::vector<int64_t>> dims;  // -1: free.
  };
  explicit ValueTypes(const onnx::GraphProto& graph);
  const Type& Of(const std::string& name) const;
  // Dims where every one is known.
  const std::vector<int64_t>* StaticDims(const std::string& name) const;

 private:
  void Add(const onnx::ValueInfoProto& value);
  std::unordered_map<std::string, Type> types_;
};

bool IsStandardOp(const onnx::NodeProto& node, std::string_view op_type);
// Whether two runs, or two copies, of the node may differ: random operators.
bool IsRandom(const onnx::NodeProto& node);
bool HasSubgraph(const onnx::NodeProto& node);
// QuantizeLinear and its kin: runtimes recognise them in place, so they are neither folded nor shared.
bool IsQuantization(const onnx::NodeProto& node);

// The values of an int64 or int32 tensor, as shapes and axes are kept; nullopt for others.
std::optional<std::vector<int64_t>> IntegersOf(const onnx::TensorProto& tensor);

// Deletes the nodes of the main graph whose flag is set.
void RemoveNodes(onnx::GraphProto& graph, const std::vector<bool>& removed);

// Constant nodes become initializers.
int LiftConstants(onnx::GraphProto& graph);

// If nodes whose condition is an initializer are replaced by the branch taken.
int InlineBranches(onnx::GraphProto& graph);

// Values that inference told exactly become initializers.
int FoldKnownValues(onnx::GraphProto& graph, const ValueTypes& types, const KnownValues& known);

// Nodes whose inputs are all constant are computed once, here. A result larger than max_bytes replaces its node only if
// it is no larger than what it makes superfluous. Operators that the runtime here lacks stay; notes tell.
Result<int> FoldConstants(onnx::ModelProto& model, const ValueTypes& types, uint64_t max_bytes,
                          std::vector<std::string>& notes);

// Nodes that give back what they got are taken out; pairs of Transpose or Reshape become one.
int RemoveIdentities(onnx::GraphProto& graph, const ValueTypes& types);

// Two nodes that do what one can become one: casts, rounding done twice, Squeeze and Unsqueeze, Concat, reductions,
// Transpose before Gemm, Pad before Conv, a bias behind Conv. The numbers stay, but for the rounding of that bias; with
// `lossy_casts`, a cast to another float and back goes too, and with it its rounding.
int MergeNeighbours(onnx::GraphProto& graph, const ValueTypes& types, bool lossy_casts);

// Initializers with the same value and nodes that compute the same are merged.
int MergeEqual(onnx::GraphProto& graph);

// BatchNormalization behind a convolution goes into the convolution's weights and bias.
int FoldBatchNorm(onnx::GraphProto& graph);

}  // namespace hone
