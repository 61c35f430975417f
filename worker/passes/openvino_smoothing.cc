#include "worker/passes/openvino_smoothing.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hone {
namespace {

constexpr double kExponents[] = {0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95};

// A weight reduced to what the estimates need.
struct Weight {
  WeightLayout layout;
  std::vector<float> values;
  std::vector<float> magnitudes;      // Of each input channel.
  std::vector<double> square_sums;    // Of each input channel.
};

Weight Reduce(const WeightPlace& place) {
  Weight weight{LayoutOf(place), FloatsOf(*place.constant), {}, {}};
  weight.magnitudes.assign(weight.layout.Inputs(), 0.0F);
  weight.square_sums.assign(weight.layout.Inputs(), 0.0);
  VisitWeight(weight.layout, [&](size_t element, size_t, size_t input) {
    const float value = std::fabs(weight.values[element]);
    weight.magnitudes[input] = std::max(weight.magnitudes[input], value);
    weight.square_sums[input] += static_cast<double>(value) * static_cast<double>(value);
  });
  return weight;
}

std::vector<float> ScalesFor(const SmoothingInput& input, const std::vector<Weight>& weights, double alpha) {
  std::vector<float> best;
  float best_ratio = 0;
  for (const Weight& weight : weights) {
    std::vector<float> scales = SmoothingScales(input.magnitudes, weight.magnitudes, alpha);
    const auto [least, most] = std::minmax_element(scales.begin(), scales.end());
    const float ratio = *least / (*most + std::numeric_limits<float>::epsilon());
    if (ratio <= best_ratio) continue;
    best_ratio = ratio;
    best = std::move(scales);
  }
  return best.empty() ? std::vector<float>(input.magnitudes.size(), 1.0F) : best;
}

// Mean over samples of the divided input's range.
double MeanRange(const SmoothingInput& input, const std::vector<float>& scales, Scheme scheme) {
  double sum = 0;
  for (const auto& channels : input.samples) {
    float low = 0;
    float high = 0;
    for (size_t c = 0; c < channels.size(); ++c) {
      if (channels[c].finite == 0) continue;
      low = std::min(low, channels[c].low / scales[c]);
      high = std::max(high, channels[c].high / scales[c]);
    }
    const float magnitude = std::max(-low, high);
    sum += static_cast<double>(scheme == Scheme::symmetric ? (low < 0 ? 2 * magnitude : magnitude) : high - low);
  }
  return input.samples.empty() ? 0 : sum / static_cast<double>(input.samples.size());
}

double ErrorOf(const SmoothingInput& input, const std::vector<Weight>& weights, const std::vector<float>& scales,
                     Scheme scheme) {
  const double step = MeanRange(input, scales, scheme) / 255;
  const auto parts = [&](size_t c) { return input.parts.empty() ? 1.0 : static_cast<double>(input.parts[c]); };
  const auto square = [&](size_t c) { return static_cast<double>(scales[c]) * static_cast<double>(scales[c]); };
  double input_energy = 0;
  for (size_t c = 0; c < scales.size(); ++c) input_energy += input.shares[c] / square(c) / parts(c);
  double error = 0;
  for (const Weight& weight : weights) {
    double weight_energy = 0;
    for (size_t c = 0; c < scales.size(); ++c) weight_energy += weight.square_sums[c] * square(c) * parts(c);
    std::vector<float> largest(weight.layout.Outputs(), 0.0F);
    VisitWeight(weight.layout, [&](size_t element, size_t output, size_t channel) {
      largest[output] = std::max(largest[output], std::fabs(weight.values[element]) * scales[channel]);
    });
    double weight_steps = 0;
    for (const float magnitude : largest)
      weight_steps += static_cast<double>(magnitude) * static_cast<double>(magnitude);
    error +=
        step * step / 12 * input.inverse_energy * weight_energy + weight_steps / (127.0 * 127.0 * 12) * input_energy;
  }
  return error;
}

std::vector<Weight> ReduceAll(const std::vector<WeightPlace>& places) {
  std::vector<Weight> weights;
  for (const WeightPlace& place : places) weights.push_back(Reduce(place));
  return weights;
}

}  // namespace

std::vector<float> FixedSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& weights, double alpha) {
  return ScalesFor(input, ReduceAll(weights), alpha);
}

std::vector<float> BestSmoothing(const SmoothingInput& input, const std::vector<WeightPlace>& places, Scheme scheme) {
  const std::vector<Weight> weights = ReduceAll(places);
  std::vector<float> best(input.magnitudes.size(), 1.0F);
  double least = ErrorOf(input, weights, best, scheme);
  for (const double alpha : kExponents) {
    std::vector<float> scales = ScalesFor(input, weights, alpha);
    const double error = ErrorOf(input, weights, scales, scheme);
    if (error >= least) continue;
    least = error;
    best = std::move(scales);
  }
  return best;
}

double ExpectedError(const SmoothingInput& input, const std::vector<WeightPlace>& weights,
                     const std::vector<float>& scales, Scheme scheme) {
  return ErrorOf(input, ReduceAll(weights), scales, scheme);
}

}  // namespace hone
