#include "worker/passes/openvino_codes.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "kernels/half.h"

namespace hone {
namespace {

constexpr float kEpsilon = std::numeric_limits<float>::epsilon();

// Quantiles of a normal distribution scaled to [-1, 1] (QLoRA, appendix E).
constexpr float kNormalQuantiles[16] = {
    -1.0F,        -0.6961928F, -0.52507305F, -0.3949175F, -0.28444138F, -0.18477343F, -0.091050036F, 0.0F,
    0.0795803F,   0.1609302F,  0.2461123F,   0.33791524F, 0.44070983F,  0.562617F,    0.72295684F,   1.0F};

// Values that are worked on at once: loops of this many have no rest, so the compiler makes vectors of them.
constexpr size_t kLanes = 16;
// Added and taken away, it leaves a float of at most 2^22 rounded to an integer, ties to even.
constexpr float kRounder = 12582912.0F;

float Floored(float scale) { return std::fabs(scale) < kEpsilon ? kEpsilon : scale; }

float AsStored(float scale) {
  uint16_t half = 0;
  float stored = 0;
  kernels::FloatToHalf(&scale, 1, kernels::Clamp::no, &half);
  kernels::HalfToFloat(&half, 1, &stored);
  return stored;
}

struct Ends {
  float low;
  float high;
};

Ends EndsOf(const float* values, size_t count) {
  float low[kLanes];
  float high[kLanes];
  for (size_t i = 0; i < kLanes; ++i) low[i] = high[i] = values[0];
  const size_t whole = count / kLanes * kLanes;
  for (size_t at = 0; at < whole; at += kLanes) {
    for (size_t i = 0; i < kLanes; ++i) {
      low[i] = values[at + i] < low[i] ? values[at + i] : low[i];
      high[i] = values[at + i] > high[i] ? values[at + i] : high[i];
    }
  }
  for (size_t at = whole; at < count; ++at) {
    low[0] = std::min(low[0], values[at]);
    high[0] = std::max(high[0], values[at]);
  }
  return {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
}

// How a group's values become codes.
struct Coder {
  float scale = 1;
  float zero_point = 0;
  float least = 0;
  float most = 0;
};

Coder CoderFor(const Ends& ends, const CodeFormat& format) {
  Coder coder;
  const int codes = 1 << format.bits;
  if (format.nf4) {
    coder.scale = Floored(std::max(std::fabs(ends.low), std::fabs(ends.high)));
  } else if (format.symmetric) {
    const float below = std::fabs(ends.low);
    coder.scale = Floored((below >= ends.high ? below : -ends.high) / static_cast<float>(codes / 2));
    coder.least = static_cast<float>(-codes / 2);
    coder.most = static_cast<float>(codes / 2 - 1);
  } else {
    const float low = std::min(ends.low, 0.0F);
    const float high = std::max(ends.high, 0.0F);
    coder.most = static_cast<float>(codes - 1);
    coder.scale = Floored((high - low) / coder.most);
    coder.zero_point = std::clamp(-std::nearbyint(low / coder.scale), 0.0F, coder.most);
  }
  return coder;
}

// Count: kLanes, or fewer for the rest of a group.
template <size_t kCount>
void EncodeLanes(const float* values, const Coder& coder, uint8_t* codes) {
  float shifted[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    const float code = values[i] / coder.scale + coder.zero_point;
    const float above = code < coder.least ? coder.least : code;
    shifted[i] = ((above > coder.most ? coder.most : above) + kRounder) - kRounder;
  }
  for (size_t i = 0; i < kCount; ++i) codes[i] = static_cast<uint8_t>(static_cast<int>(shifted[i]));
}

// The number of middles between quantiles that lie below the value.
template <size_t kCount>
void EncodeQuantiles(const float* values, const Coder& coder, uint8_t* codes) {
  float scaled[kCount];
  int code[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    scaled[i] = values[i] / coder.scale;
    code[i] = 0;
  }
  for (size_t quantile = 0; quantile + 1 < std::size(kNormalQuantiles); ++quantile) {
    const float middle = (kNormalQuantiles[quantile] + kNormalQuantiles[quantile + 1]) / 2.0F;
    for (size_t i = 0; i < kCount; ++i) code[i] += middle < scaled[i] ? 1 : 0;
  }
  for (size_t i = 0; i < kCount; ++i) codes[i] = static_cast<uint8_t>(code[i]);
}

void EncodeGroup(const float* values, size_t count, const Coder& coder, bool quantiles, uint8_t* codes) {
  const size_t whole = count / kLanes * kLanes;
  for (size_t at = 0; at < whole; at += kLanes) {
    if (quantiles) {
      EncodeQuantiles<kLanes>(values + at, coder, codes + at);
    } else {
      EncodeLanes<kLanes>(values + at, coder, codes + at);
    }
  }
  for (size_t at = whole; at < count; ++at) {
    if (quantiles) {
      EncodeQuantiles<1>(values + at, coder, codes + at);
    } else {
      EncodeLanes<1>(values + at, coder, codes + at);
    }
  }
}

double LevelOf(uint8_t code, uint8_t zero_point, const CodeFormat& format) {
  if (format.nf4) return static_cast<double>(kNormalQuantiles[code & 15]);
  return format.symmetric ? static_cast<int8_t>(code) : static_cast<int>(code) - zero_point;
}

}  // namespace

EncodedWeights EncodeWeights(const float* values, size_t count, size_t group, const CodeFormat& format) {
  EncodedWeights encoded;
  encoded.codes.resize(count);
  encoded.scales.reserve(count / group);
  const bool asymmetric = !format.symmetric && !format.nf4;
  for (size_t at = 0; at < count; at += group) {
    const Coder coder = CoderFor(EndsOf(values + at, group), format);
    EncodeGroup(values + at, group, coder, format.nf4, &encoded.codes[at]);
    encoded.scales.push_back(coder.scale);
    if (asymmetric) encoded.zero_points.push_back(static_cast<uint8_t>(coder.zero_point));
  }
  return encoded;
}

double EncodingNoise(const float* values, size_t group, const CodeFormat& format, const EncodedWeights& encoded) {
  double error = 0;
  double energy = 0;
  for (size_t i = 0; i < encoded.codes.size(); ++i) {
    const size_t of = i / group;
    const uint8_t zero_point = encoded.zero_points.empty() ? uint8_t{0} : encoded.zero_points[of];
    const double value = static_cast<double>(values[i]);
    const double stands_for =
        LevelOf(encoded.codes[i], zero_point, format) * static_cast<double>(AsStored(encoded.scales[of]));
    error += (value - stands_for) * (value - stands_for);
    energy += value * value;
  }
  return energy > 0 ? error / energy : 0;
}

std::vector<uint8_t> PackNibbles(const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> packed((codes.size() + 1) / 2, 0);
  for (size_t i = 0; i + 1 < codes.size(); i += 2)
    packed[i / 2] = static_cast<uint8_t>((codes[i] & 15U) | (codes[i + 1] & 15U) << 4);
  if (codes.size() % 2 == 1) packed.back() = codes.back() & 15U;
  return packed;
}

}  // namespace hone
