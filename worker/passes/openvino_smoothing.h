// How far the spread of a product's input channels moves into its weights (SmoothQuant). Both ends of the trade are
// rounding errors that can be told beforehand, so the exponent is chosen for each input by their sum:
//   input    step^2 / 12 for each value, step = range of the divided input / 255, times the squared weights it meets
//   weights  step^2 / 12 for each weight, step = largest magnitude of its output channel / 127, times the mean square of
//            the input it meets
// A fixed exponent serves most layers and ruins some: one whose input has a few huge channels leaves no codes for the
// other weights.
#pragma once

#include <vector>

#include "kernels/range.h"
#include "worker/passes/openvino_layers.h"
#include "worker/passes/openvino_ranges.h"

namespace hone {

// What is known of an input, by channel.
struct SmoothingInput {
  std::vector<std::vector<kernels::FloatRange>> samples;  // Some samples' ranges.
  std::vector<float> magnitudes;
  std::vector<double> mean_squares;
};

// Scales of the exponent `alpha`: of the products' own, those that lie closest together (NNCF's rule).
std::vector<float> FixedSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& weights, double alpha);

// Scales of the exponent with the least expected error, or ones where dividing does not help.
std::vector<float> BestSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& weights, Scheme scheme);

// Expected error of the products with these scales, as a share of the energy that their outputs would have if inputs
// were independent.
double ExpectedNoise(const SmoothingInput& input, const std::vector<WeightPlace>& weights,
                     const std::vector<float>& scales, Scheme scheme);

}  // namespace hone
