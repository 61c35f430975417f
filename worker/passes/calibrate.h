// calibrate: the model as it is, with the statistics of its activations beside it.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

// A step of its own, so that all candidates that quantize the same model share one run over the data. kRejected without
// calibration data.
proto::PassInfo CalibrateInfo();
Result<proto::Bundle> Calibrate(PassContext& context);

}  // namespace hone
