// openvino_weights: weights of matrix products and embedding tables in 8 or 4 bits, in the form that OpenVINO keeps
// compressed in memory and widens inside its kernels.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo OpenvinoWeightsInfo();
Result<proto::Bundle> OpenvinoWeights(PassContext& context);

}  // namespace hone
