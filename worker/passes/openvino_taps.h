// Runs the float model in OpenVINO over calibration data and looks at chosen tensors of its graph. The tensors become
// outputs of a copy of the model; a request of one thread computes one sample at a time and its values are reduced as
// soon as they are there, so memory holds a few samples, however many there are.
//
// Reductions are handed on in the order of the samples, so sums over samples have the same bits for any number of
// threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <openvino/core/model.hpp>
#include <optional>
#include <vector>

#include "common/base/result.h"
#include "kernels/range.h"
#include "worker/data/data_set.h"

namespace hone {

struct Tap {
  ov::Output<ov::Node> source;
  std::optional<int64_t> channel_axis;  // Non-negative; ranges and means of each of its indices are wanted.
};

// What one sample put into a tap.
struct TapSample {
  kernels::FloatRange range;
  std::vector<kernels::FloatRange> channels;
  std::vector<double> channel_means;  // Of finite values; 0 where there were none.
  // Where the channels are the last dimension: means over its rows of what share of the row's energy (sum of squares) a
  // channel has, and of what 1 is of that energy.
  std::vector<double> channel_shares;
  double inverse_energy = 0;
};

// Signature of the model's inputs, to open data for it. kRejected where an input cannot be fed.
Result<std::vector<InputSignature>> SignatureOfModel(ov::Model& model);

// Calls `fold` for every sample, in order, on the calling thread, with one entry a tap. Taps are float32 tensors of the
// model; several may have one source. Stops at the first failure. kRejected for an empty data set.
using FoldSample = std::function<Result<>(size_t sample, std::vector<TapSample>& taps)>;
Result<> RunTaps(const std::shared_ptr<ov::Model>& model, const std::vector<Tap>& taps, const DataSet& data,
                 int threads, const FoldSample& fold);

}  // namespace hone
