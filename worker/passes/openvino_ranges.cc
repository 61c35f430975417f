#include "worker/passes/openvino_ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hone {
namespace {

constexpr float kSmallestHigh = 8e-5F;
constexpr float kShareOfLargest = 0.01F;
constexpr float kSmallestSpan = 8e-4F;
constexpr float kSmallestMagnitude = 1e-5F;
constexpr float kLargestScale = 100.0F;
constexpr double kScaleQuantile = 0.1;

// high with the floors that keep a channel without values from an empty range.
std::vector<float> WithFloor(std::vector<float> high) {
  const float largest = high.empty() ? 0.0F : *std::max_element(high.begin(), high.end());
  const float floor = std::max(largest * kShareOfLargest, kSmallestHigh);
  for (float& value : high) value = std::max(value, floor);
  return high;
}

// Moves one border outwards so that 0 falls on a code; the wider of the two ways is taken.
void PutZeroOnCode(float& low, float& high) {
  constexpr float last = 255.0F;
  const float code = std::nearbyint(-low * (last / (high - low)));
  const float moved_low = code < last ? code / (code - last) * high : low;
  const float moved_high = code > 0.0F ? (code - last) / code * low : high;
  if (high - moved_low > moved_high - low) {
    low = moved_low;
  } else {
    high = moved_high;
  }
}

}  // namespace

QuantizerLimits ActivationLimits(Scheme scheme, const std::vector<float>& low, const std::vector<float>& high) {
  QuantizerLimits limits{low, high, 256};
  if (scheme == Scheme::symmetric) {
    const bool is_signed = std::any_of(low.begin(), low.end(), [](float value) { return value < 0; });
    limits.high = WithFloor(std::move(limits.high));
    for (size_t i = 0; i < low.size(); ++i)
      limits.low[i] = is_signed ? -limits.high[i] * static_cast<float>(256.0 / 254.0) : 0.0F;
    return limits;
  }
  for (size_t i = 0; i < low.size(); ++i) {
    const float span = high[i] - low[i];
    const float widen = span > kSmallestSpan ? 0.0F : kSmallestSpan;
    limits.low[i] = std::min(low[i] - widen, 0.0F);
    limits.high[i] = std::max(high[i] + widen, 0.0F);
    PutZeroOnCode(limits.low[i], limits.high[i]);
  }
  return limits;
}

std::vector<float> WeightLimits(std::vector<float> magnitudes) { return WithFloor(std::move(magnitudes)); }

int8_t WeightCode(float value, float high) {
  if (value <= -high) return -127;
  if (value > high) return 127;
  const float span = high - -high;
  return static_cast<int8_t>(static_cast<int>(std::nearbyint((value - -high) / span * 254.0F)) - 127);
}

std::vector<float> SmoothingScales(const std::vector<float>& activation_magnitudes,
                                   const std::vector<float>& weight_magnitudes, double alpha) {
  constexpr float epsilon = std::numeric_limits<float>::epsilon();
  std::vector<float> scales(activation_magnitudes.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    const float activation = std::max(activation_magnitudes[i], kSmallestMagnitude);
    const float weight = std::max(weight_magnitudes[i], kSmallestMagnitude);
    scales[i] = std::pow(activation, static_cast<float>(alpha)) /
                (std::pow(weight, static_cast<float>(1 - alpha)) + epsilon);
  }
  if (scales.empty()) return scales;
  std::vector<float> sorted = scales;
  std::sort(sorted.begin(), sorted.end());
  const double at = kScaleQuantile * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double rest = at - static_cast<double>(below);
  const auto least = static_cast<float>(sorted[below] + (sorted[above] - sorted[below]) * rest);
  for (float& scale : scales) scale = std::min(std::max(scale, least), kLargestScale);
  return scales;
}

}  // namespace hone
