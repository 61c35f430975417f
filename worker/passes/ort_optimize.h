#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo OrtOptimizeInfo();
Result<> OrtOptimize(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
