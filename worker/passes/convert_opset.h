// convert_opset: the same model under another version of the default operator set.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// kRejected, naming the operator, where an operator of the model has no form in the wanted version.
proto::PassInfo ConvertOpsetInfo();
Result<> ConvertOpset(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
