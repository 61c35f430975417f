// From what was measured to the limits of a FakeQuantize, by the rules of NNCF, value for value:
//   symmetric   high = max(|x|), not below 1 % of the largest channel's nor 8e-5; low = -high for weights (255 codes),
//               -high * 256 / 254 for signed activations (256 codes), 0 for activations that are never negative
//   asymmetric  a range that holds 0 and spans at least 8e-4 or so, one end moved outwards until 0 is a code
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hone {

// One entry a channel, or a single one.
struct QuantizerLimits {
  std::vector<float> low;
  std::vector<float> high;
  int levels = 256;
};

enum class Scheme { symmetric, asymmetric };

// Of activations: the lowest value of each channel, and its highest (asymmetric) or its largest magnitude (symmetric).
QuantizerLimits ActivationLimits(Scheme scheme, const std::vector<float>& low, const std::vector<float>& high);

// Of weights: largest magnitude of each channel. high alone is the limit, low its negative; 255 codes.
std::vector<float> WeightLimits(std::vector<float> magnitudes);

// What a FakeQuantize of 255 levels between -high and high makes of a value: code * (high / 127).
int8_t WeightCode(float value, float high);

// SmoothQuant's scale of each channel that activations are divided by and weights multiplied with:
// activation^alpha / weight^(1 - alpha), not below its own tenth percentile nor above 100.
std::vector<float> SmoothingScales(const std::vector<float>& activation_magnitudes,
                                   const std::vector<float>& weight_magnitudes, double alpha);

}  // namespace hone
