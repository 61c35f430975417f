#include "worker/passes/openvino_codes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/half.h"

namespace hone {
namespace {

constexpr float kEpsilon = std::numeric_limits<float>::epsilon();

// Quantiles of a normal distribution scaled to [-1, 1] (QLoRA, appendix E).
constexpr float kNormalQuantiles[16] = {
    -1.0F,        -0.6961928F, -0.52507305F, -0.3949175F, -0.28444138F, -0.18477343F, -0.091050036F, 0.0F,
    0.0795803F,   0.1609302F,  0.2461123F,   0.33791524F, 0.44070983F,  0.562617F,    0.72295684F,   1.0F};

float Floored(float scale) { return std::fabs(scale) < kEpsilon ? kEpsilon : scale; }

uint8_t NearestQuantile(float value) {
  uint8_t code = 0;
  for (size_t i = 0; i + 1 < 16; ++i) {
    const float middle = (kNormalQuantiles[i] + kNormalQuantiles[i + 1]) / 2.0F;
    if (middle < value) code = static_cast<uint8_t>(i + 1);
  }
  return code;
}

float AsStored(float scale) {
  uint16_t half = 0;
  float stored = 0;
  kernels::FloatToHalf(&scale, 1, kernels::Clamp::no, &half);
  kernels::HalfToFloat(&half, 1, &stored);
  return stored;
}

struct Group {
  float scale = 1;
  int zero_point = 0;
};

Group ParametersOf(const float* values, size_t count, const CodeFormat& format) {
  const auto [least, most] = std::minmax_element(values, values + count);
  Group group;
  if (format.nf4) {
    group.scale = Floored(std::max(std::fabs(*least), std::fabs(*most)));
  } else if (format.symmetric) {
    const float below = std::fabs(*least);
    group.scale = Floored((below >= *most ? below : -*most) / static_cast<float>(1 << (format.bits - 1)));
  } else {
    const float low = std::min(*least, 0.0F);
    const float high = std::max(*most, 0.0F);
    const int last = (1 << format.bits) - 1;
    group.scale = Floored((high - low) / static_cast<float>(last));
    group.zero_point = std::clamp(-static_cast<int>(std::nearbyint(low / group.scale)), 0, last);
  }
  return group;
}

// The code and the value that it stands for before the scale.
struct Code {
  uint8_t code = 0;
  float level = 0;
};

Code Encode(float value, const Group& group, const CodeFormat& format) {
  const float scaled = value / group.scale;
  if (format.nf4) {
    const uint8_t code = NearestQuantile(scaled);
    return {code, kNormalQuantiles[code]};
  }
  const int low = format.symmetric ? -(1 << (format.bits - 1)) : 0;
  const int high = low + (1 << format.bits) - 1;
  const float shifted = format.symmetric ? scaled : scaled + static_cast<float>(group.zero_point);
  const float rounded = std::clamp(std::nearbyint(shifted), static_cast<float>(low), static_cast<float>(high));
  const int code = static_cast<int>(rounded);
  return {static_cast<uint8_t>(code), static_cast<float>(code - group.zero_point)};
}

}  // namespace

EncodedWeights EncodeWeights(const std::vector<float>& values, size_t group, const CodeFormat& format) {
  EncodedWeights result;
  result.codes.resize(values.size());
  for (size_t at = 0; at < values.size(); at += group) {
    const Group parameters = ParametersOf(&values[at], group, format);
    const float stored = AsStored(parameters.scale);
    result.scales.push_back(parameters.scale);
    if (!format.symmetric && !format.nf4) result.zero_points.push_back(static_cast<uint8_t>(parameters.zero_point));
    for (size_t i = at; i < at + group; ++i) {
      const Code code = Encode(values[i], parameters, format);
      result.codes[i] = code.code;
      const double error = static_cast<double>(values[i]) - static_cast<double>(code.level) * static_cast<double>(stored);
      result.squared_error += error * error;
      result.squared_sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
  }
  return result;
}

std::vector<uint8_t> PackNibbles(const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> packed((codes.size() + 1) / 2, 0);
  for (size_t i = 0; i < codes.size(); ++i)
    packed[i / 2] = static_cast<uint8_t>(packed[i / 2] | (codes[i] & 15U) << (i % 2 == 0 ? 0 : 4));
  return packed;
}

}  // namespace hone
