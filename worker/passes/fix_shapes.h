// fix_shapes: pins the free dimensions of the inputs, once and for all.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// Writes the pins of the task into the inputs and infers every other shape anew. kRejected where an input keeps a free
// dimension.
proto::PassInfo FixShapesInfo();
Result<> FixShapes(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
