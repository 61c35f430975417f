// Before: x -> MatMul(W1), x -> MatMul(W2)              x: activations with a few large channels
// After:  x / s -> MatMul(s * W1), x / s -> MatMul(s * W2)
//
// Smoothing (Xiao et al., SmoothQuant, 2022): a channel of the activations that needs a wide range is divided by a
// factor that its rows of the weights are multiplied with, so that one scale serves all channels. The products stay
// what they were.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "worker/calibration/statistics.h"
#include "worker/passes/mask_values.h"
#include "worker/passes/node_choice.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct SmoothOptions {
  double alpha = 0.5;
  // Every set of products takes the alpha between 0 and `alpha`, or none, that promises the least error of its sums:
  // from the step of the activations' codes on the smoothed weights, and that of the weights' codes on the activations.
  bool search = false;
  bool mean_is_corrected = false;  // By bias correction: only what varies counts for the weights' error.
};

struct Smoothed {
  // A value whose channels along the last dimension are those of `source` times `factors`. source is the value's own
  // name where its producer was changed.
  struct Value {
    std::string source;
    std::vector<float> factors;
  };
  std::map<std::string, Value> values;
  int groups = 0;  // Sets of products that read one activation.
  int folded = 0;  // Of them, without a Mul of their own.
};

// Smooths every set of MatMul and Gemm nodes with a constant matrix that read one value: factor = (largest |x| of the
// channel)^alpha / (largest |w| of its rows in all of them)^(1 - alpha), no smaller than the factors' lowest tenth and
// at most 100. Divides in the gain and bias of a LayerNormalization, or in a Mul (and Add) by constants, where nothing
// else reads the value; elsewhere by a Mul of its own. Needs channel statistics of the values (axis -1); those without
// are left. The graph has new nodes afterwards: make another QuantizationGraph of the model.
Result<Smoothed> Smooth(QuantizationGraph& graph, const NodeChoice& choice, const MaskValues& masks,
                        const Statistics& statistics, const SmoothOptions& options);

// What the statistics of a smoothed value are, from those of its source: the range, and the channels' ranges and means.
// The per-sample figures and the histogram are not kept: they do not follow from it.
TensorStatistics ScaleChannels(const TensorStatistics& source, const std::vector<float>& factors);

}  // namespace hone
