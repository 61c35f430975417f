// openvino_int8: quantizes activations and weights in OpenVINO's own graph, the form its low-precision transformations
// execute fastest.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo OpenvinoInt8Info();
Result<proto::Bundle> OpenvinoInt8(PassContext& context);

}  // namespace hone
