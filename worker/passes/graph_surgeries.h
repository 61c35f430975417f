// graph_surgeries: single rewrites by the names that Olive's users know.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo GraphSurgeriesInfo();
Result<> GraphSurgeries(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
