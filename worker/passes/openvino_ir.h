// openvino_ir: any model that OpenVINO reads, as its own format.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// Reads onnx, tflite, tensorflow, paddle or openvino_ir and writes model.xml with model.bin: tensor names as they were,
// pins of the task applied, the same bytes for the same task wherever it runs.
proto::PassInfo OpenvinoIrInfo();
Result<proto::Bundle> ConvertToOpenvinoIr(PassContext& context);

}  // namespace hone
