// Calibration: runs the float model over a data set and keeps the statistics of chosen tensors, sample by sample, in
// constant memory.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

struct TensorRange {
  float low = 0;  // Of finite values alone.
  float high = 0;
  uint64_t values = 0;
  uint64_t non_finite = 0;  // NaN and infinities, left out of low and high.
};

// Minimum and maximum of each named float tensor over all samples. The result does not depend on the order of samples,
// on batching or on the thread count. kRejected for an empty data set or a tensor that the graph does not compute.
Result<std::map<std::string, TensorRange>> CollectRanges(const onnx::ModelProto& model,
                                                         const std::vector<std::string>& tensors, const DataSet& data,
                                                         int threads);

}  // namespace hone
