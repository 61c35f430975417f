#include "worker/decoder/rope.h"

#include <algorithm>
#include <cmath>

namespace hone {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::vector<float> Powers(const RopeRule& rule) {
  std::vector<float> powers;
  for (int64_t i = 0; i < rule.dimensions; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rule.dimensions);
    powers.push_back(static_cast<float>(std::pow(rule.theta, static_cast<double>(exponent))));
  }
  return powers;
}

// Long waves are stretched, short ones kept, those between blended.
void Llama3(const RopeRule& rule, std::vector<float>& inverse) {
  const auto factor = static_cast<float>(rule.factor);
  const double original = static_cast<double>(rule.original_positions);
  const auto longest = static_cast<float>(original / rule.low_frequency);
  const auto shortest = static_cast<float>(original / rule.high_frequency);
  for (float& value : inverse) {
    const float wave = static_cast<float>(2 * kPi) / value;
    if (wave > longest) {
      value /= factor;
    } else if (!(wave < shortest)) {
      const float smooth = (static_cast<float>(original) / wave - static_cast<float>(rule.low_frequency)) /
                           static_cast<float>(rule.high_frequency - rule.low_frequency);
      value = (1 - smooth) * value / factor + smooth * value;
    }
  }
}

// The pair of elements that turns so often over the original positions.
double YarnPlace(const RopeRule& rule, double turns) {
  return static_cast<double>(rule.dimensions) *
         std::log(static_cast<double>(rule.original_positions) / (turns * 2 * kPi)) / (2 * std::log(rule.theta));
}

void Yarn(const RopeRule& rule, const std::vector<float>& powers, std::vector<float>& inverse) {
  double low = YarnPlace(rule, rule.beta_fast);
  double high = YarnPlace(rule, rule.beta_slow);
  if (rule.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rule.dimensions - 1));
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(rule.factor);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float ramp =
        std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float kept = 1 - ramp;
    inverse[i] = 1 / (factor * powers[i]) * (1 - kept) + inverse[i] * kept;
  }
}

float YarnFactor(const RopeRule& rule) {
  const auto scale = [&](double m) { return rule.factor <= 1 ? 1.0 : 0.1 * m * std::log(rule.factor) + 1.0; };
  if (rule.attention_factor) return static_cast<float>(*rule.attention_factor);
  if (rule.mscale != 0 && rule.mscale_all != 0) return static_cast<float>(scale(rule.mscale) / scale(rule.mscale_all));
  return static_cast<float>(scale(1));
}

float LongFactor(const RopeRule& rule) {
  if (rule.attention_factor) return static_cast<float>(*rule.attention_factor);
  if (rule.factor <= 1) return 1;
  return static_cast<float>(
      std::sqrt(1 + std::log(rule.factor) / std::log(static_cast<double>(rule.original_positions))));
}

}  // namespace

RopeFrequencies FrequenciesOf(const RopeRule& rule, RopeReach reach) {
  RopeFrequencies frequencies;
  const std::vector<float> powers = Powers(rule);
  std::vector<float>& inverse = frequencies.inverse;
  for (const float power : powers) inverse.push_back(1.0f / power);
  switch (rule.type) {
    case RopeType::plain:
      break;
    case RopeType::linear:
      for (float& value : inverse) value /= static_cast<float>(rule.factor);
      break;
    case RopeType::llama3:
      Llama3(rule, inverse);
      break;
    case RopeType::yarn:
      Yarn(rule, powers, inverse);
      frequencies.factor = YarnFactor(rule);
      break;
    case RopeType::longrope: {
      const auto& factors = reach == RopeReach::beyond ? rule.long_factors : rule.short_factors;
      for (size_t i = 0; i < inverse.size(); ++i) inverse[i] = 1.0f / (factors[i] * powers[i]);
      frequencies.factor = LongFactor(rule);
      break;
    }
  }
  for (size_t i = 0; i < inverse.size() && i < rule.divisors.size(); ++i) inverse[i] /= rule.divisors[i];
  return frequencies;
}

void RopeRows(const RopeFrequencies& frequencies, int64_t first, int64_t count, float* cosines, float* sines) {
  for (int64_t position = first; position < first + count; ++position) {
    for (const float inverse : frequencies.inverse) {
      const float angle = static_cast<float>(position) * inverse;
      *cosines++ = static_cast<float>(std::cos(static_cast<double>(angle))) * frequencies.factor;
      *sines++ = static_cast<float>(std::sin(static_cast<double>(angle))) * frequencies.factor;
    }
  }
}

}  // namespace hone
