// How far the spread of a product's input channels moves into its weights (SmoothQuant). Both ends of the trade are
// rounding errors that can be told beforehand, so the exponent is chosen for each input by their sum:
//   input    step^2 / 12 for each value, step = range of the divided input / 255, times the squared weights it meets
//   weights  step^2 / 12 for each weight, step = largest magnitude of its output channel / 127, times the square of the
//            input it meets
// Each row's error counts as a share of the row's own energy, since what follows normalizes rows: a row of outliers
// shall not decide for all others. A fixed exponent serves most layers and ruins some: one whose input has a few huge
// channels leaves no codes for the other weights.
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
  std::vector<double> shares;  // Of a row's energy, on average.
  double inverse_energy = 0;   // 1 / a row's energy, on average.
  // In how many equal parts a channel stands there (openvino_outliers.h), for each part; empty: all are whole. Parts of
  // a channel are rounded alike where they are inputs, so their errors add up; as weights they are rounded to the right
  // sum.
  std::vector<float> parts;
};

// Scales of the exponent `alpha`: of the products' own, those that lie closest together (NNCF's rule).
std::vector<float> FixedSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& weights, double alpha);

// Scales of the exponent with the least expected error, or ones where dividing does not help.
std::vector<float> BestSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& weights, Scheme scheme);

// The sum of both errors over all outputs of the products, relative to the rows' energy.
double ExpectedError(const SmoothingInput& input, const std::vector<WeightPlace>& weights,
                     const std::vector<float>& scales, Scheme scheme);

}  // namespace hone
