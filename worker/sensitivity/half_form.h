// What float16 does to each operator of a model.
#pragma once

#include <onnx/onnx_pb.h>

namespace hone {

// The model with every float32 value and constant that a node reads or gives rounded to float16 and back, each node by
// itself. Its values keep names and types, so that nodes can be tried one at a time. Rounds as the fp16 pass does:
// weights are clamped, activations overflow to infinity.
onnx::ModelProto RoundToHalf(const onnx::ModelProto& model);

}  // namespace hone
