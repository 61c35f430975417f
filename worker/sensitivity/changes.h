// What a pass changed, layer by layer: the places where a built model computes a value of the original in another way.
#pragma once

#include <onnx/onnx_pb.h>

#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "worker/model/model.h"

namespace hone {

// Constants of a main graph: initializers and Constant nodes that hold a tensor. Pointers into the graph.
class Constants {
 public:
  explicit Constants(const onnx::GraphProto& graph);
  const onnx::TensorProto* Find(const std::string& name) const;

 private:
  std::unordered_map<std::string, const onnx::TensorProto*> tensors_;
};

// Same type, dimensions and bytes, whatever the names and the fields that hold them.
bool SameTensor(const onnx::TensorProto& a, const onnx::TensorProto& b);

// One original node's outputs, computed anew. Both sides read nothing but constants and values that both models have.
struct Change {
  std::vector<std::string> outputs;  // Values that both models have, given by this place.
  std::vector<int> original;  // Nodes of the original that compute them, in its order; the last gives the outputs.
  std::vector<int> built;     // Nodes of the built model, in its order.
  // An activation of the original (Relu, Clip) that the built model leaves to the codes' range behind this place; -1:
  // none. The built nodes alone give what comes before it.
  int absorbed = -1;
  bool quantized = false;  // The built nodes hold codes of fewer bits.
};

// The places, in the original's order. Values are the same where both models call them the same and agree on the type;
// the two models have the same inputs and outputs. Empty where nothing changed. kRejected where a value of the original
// is scaled in place (smoothing, equalization): what one place then computes means nothing without the others.
Result<std::vector<Change>> FindChanges(const onnx::ModelProto& original, const onnx::ModelProto& built);

}  // namespace hone
