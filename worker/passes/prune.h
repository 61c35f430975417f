#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo PruneInfo();
Result<> Prune(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
