// simplify: the same function with less to compute.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// Folds constants, removes nodes that change nothing and nodes computed twice, merges BatchNormalization into
// convolutions, inlines branches whose condition is known, drops what no output needs, and writes down the shapes that
// can be inferred. Results stay equal within rounding (1e-5).
proto::PassInfo SimplifyInfo();
Result<> Simplify(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
