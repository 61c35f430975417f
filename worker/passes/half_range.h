// Which nodes float16 has not the range for.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <string>

#include "common/base/result.h"
#include "worker/passes/pass.h"

namespace hone {

// Node index -> why, for the nodes of the main graph (sorted) that must stay in float32:
//
// With calibration data: a node that reads or gives an activation whose largest finite magnitude, times `headroom`,
// leaves float16's range, or all of whose values are too small for its normal numbers. Infinities, which float16 has,
// do not count.
//
// Without: operators whose results grow beyond their inputs (powers, sums of squares, exponentials but those of a
// softmax, products), with what their results pass through until an operator contracts them (roots, divisions,
// logarithms, activations); and arithmetic with a constant above float16's largest number. Large negative constants are
// masks: they are clamped and stay in float16.
Result<std::map<int, std::string>> NodesBeyondHalf(const onnx::ModelProto& model, double headroom,
                                                   PassContext& context);

}  // namespace hone
