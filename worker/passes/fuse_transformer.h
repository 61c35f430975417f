#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo FuseTransformerInfo();
Result<> FuseTransformer(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
