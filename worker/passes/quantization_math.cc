#include "worker/passes/quantization_math.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "common/base/result.h"
#include "kernels/quantize.h"
#include "kernels/range.h"

namespace hone {
namespace {

struct CodeTypeRow {
  CodeType type;
  ElementType element;
  CodeRange full;
  CodeRange symmetric;
  CodeRange reduced;
};

constexpr std::array<CodeTypeRow, 4> kCodeTypes = {{
    {CodeType::u8, onnx::TensorProto::UINT8, {0, 255}, {0, 255}, {0, 127}},
    {CodeType::s8, onnx::TensorProto::INT8, {-128, 127}, {-127, 127}, {-64, 64}},
    {CodeType::u16, onnx::TensorProto::UINT16, {0, 65535}, {0, 65535}, {0, 32767}},
    {CodeType::s16, onnx::TensorProto::INT16, {-32768, 32767}, {-32767, 32767}, {-16384, 16384}},
}};

const CodeTypeRow& RowOf(CodeType type) { return kCodeTypes[static_cast<size_t>(type)]; }

// NNCF's least magnitudes of a symmetric range.
constexpr float kSmallShare = 0.01f;
constexpr float kSmallestBound = 8e-5f;

// A weight as [outer, channels, inner].
struct ChannelShape {
  size_t outer = 1;
  size_t channels = 1;
  size_t inner = 1;
};

ChannelShape ShapeFor(const std::vector<int64_t>& dims, std::optional<int> axis) {
  ChannelShape shape;
  for (size_t i = 0; i < dims.size(); ++i) {
    const size_t size = static_cast<size_t>(dims[i]);
    if (axis && static_cast<int>(i) == *axis) {
      shape.channels = size;
    } else if (axis && static_cast<int>(i) < *axis) {
      shape.outer *= size;
    } else {
      shape.inner *= size;
    }
  }
  return shape;
}

template <class T>
void QuantizeShape(const float* values, const ChannelShape& shape, const std::vector<ScaleZero>& scales, T* codes) {
  if (scales.size() == 1 && shape.channels == 1) {
    kernels::Quantize(values, shape.outer * shape.inner, scales[0].scale, scales[0].zero_point, codes);
    return;
  }
  std::vector<float> scale_values;
  std::vector<int32_t> zero_points;
  for (const ScaleZero& entry : scales) {
    scale_values.push_back(entry.scale);
    zero_points.push_back(entry.zero_point);
  }
  if constexpr (sizeof(T) == 1) {
    if (shape.inner == 1) {
      kernels::QuantizeColumns(values, shape.outer, shape.channels, scale_values.data(), zero_points.data(), codes);
      return;
    }
  }
  kernels::QuantizeChannels(values, shape.outer, shape.channels, shape.inner, scale_values.data(), zero_points.data(),
                            codes);
}

}  // namespace

ElementType CodeElementType(CodeType type) { return RowOf(type).element; }
CodeRange FullCodes(CodeType type) { return RowOf(type).full; }

CodeRange ScaleCodes(CodeType type, bool reduced, bool symmetric) {
  if (reduced) return RowOf(type).reduced;
  return symmetric ? RowOf(type).symmetric : RowOf(type).full;
}

ScaleZero ComputeScale(float low, float high, CodeRange codes, bool symmetric) {
  double bottom = std::min(low, 0.0f);
  double top = std::max(high, 0.0f);
  if (symmetric) {
    top = std::max(std::fabs(bottom), std::fabs(top));
    bottom = -top;
  }
  const double scale = (top - bottom) / (static_cast<double>(codes.top) - codes.bottom);
  if (scale < std::numeric_limits<float>::min()) return {1.0f, 0};
  const double zero_point = symmetric ? (codes.bottom + codes.top) / 2.0 : codes.bottom - bottom / scale;
  return {static_cast<float>(scale), static_cast<int32_t>(std::nearbyint(zero_point))};
}

ScaleZero ComputeFakeQuantizeScale(float low, float high, CodeType type, bool symmetric) {
  CHECK_THAT(type == CodeType::u8 || type == CodeType::s8);
  constexpr float kTop = 255;
  constexpr float kSmallestSpan = 8e-4f;
  float left = 0;
  float right = 0;
  if (symmetric) {
    right = std::max(std::max(std::fabs(low), std::fabs(high)), kSmallestBound);
    left = low < 0 ? -right * 256.0f / 254.0f : 0.0f;
  } else {
    const float more = high - low > kSmallestSpan ? 0.0f : kSmallestSpan;
    left = std::min(low - more, 0.0f);
    right = std::max(high + more, 0.0f);
    const float code = std::nearbyint(-left * (kTop / (right - left)));
    const float left_for_code = code < kTop ? code / (code - kTop) * right : left;
    const float right_for_code = code > 0 ? (code - kTop) / code * left : right;
    if (right - left_for_code > right_for_code - left) {
      left = left_for_code;
    } else {
      right = right_for_code;
    }
  }
  const float scale = (right - left) / kTop;
  const int32_t bottom = FullCodes(type).bottom;
  const int32_t zero_point = bottom - static_cast<int32_t>(std::nearbyint(left / scale));
  return {scale, std::clamp(zero_point, bottom, FullCodes(type).top)};
}

std::vector<ScaleZero> WeightScales(const float* values, const std::vector<int64_t>& dims, const WeightScheme& scheme) {
  const ChannelShape shape = ShapeFor(dims, scheme.axis);
  std::vector<kernels::FloatRange> ranges(shape.channels);
  kernels::ChannelRanges(values, shape.outer, shape.channels, shape.inner, ranges.data());
  const CodeRange codes = ScaleCodes(scheme.type, scheme.reduced, scheme.symmetric);
  float least = 0;
  if (scheme.raise_small && scheme.symmetric) {
    for (const auto& range : ranges) least = std::max(least, range.AbsMax() * kSmallShare);
    least = std::max(least, kSmallestBound);
  }
  std::vector<ScaleZero> scales;
  for (const auto& range : ranges) {
    if (range.non_finite > 0) return {};
    scales.push_back(range.finite == 0 ? ScaleZero()
                                       : ComputeScale(range.low, std::max(range.high, least), codes, scheme.symmetric));
  }
  return scales;
}

std::vector<uint8_t> WeightCodes(const float* values, const std::vector<int64_t>& dims, const WeightScheme& scheme,
                                 const std::vector<ScaleZero>& scales) {
  const ChannelShape shape = ShapeFor(dims, scheme.axis);
  CHECK_THAT(scales.size() == shape.channels);
  std::vector<uint8_t> codes(shape.outer * shape.channels * shape.inner * ElementBytes(CodeElementType(scheme.type)));
  switch (scheme.type) {
    case CodeType::u8:
      QuantizeShape(values, shape, scales, codes.data());
      break;
    case CodeType::s8:
      QuantizeShape(values, shape, scales, reinterpret_cast<int8_t*>(codes.data()));
      break;
    case CodeType::u16:
      QuantizeShape(values, shape, scales, reinterpret_cast<uint16_t*>(codes.data()));
      break;
    case CodeType::s16:
      QuantizeShape(values, shape, scales, reinterpret_cast<int16_t*>(codes.data()));
      break;
  }
  return codes;
}

BiasCodes QuantizeBias(const std::vector<float>& bias, float input_scale, const std::vector<float>& weight_scales) {
  BiasCodes result;
  for (const float weight_scale : weight_scales) result.scales.push_back(input_scale * weight_scale);
  for (size_t i = 0; i < bias.size(); ++i) {
    const double code = std::nearbyint(static_cast<double>(bias[i]) / result.scales[i % result.scales.size()]);
    const double low = std::numeric_limits<int32_t>::min();
    const double high = std::numeric_limits<int32_t>::max();
    result.codes.push_back(static_cast<int32_t>(std::clamp(code, low, high)));
  }
  return result;
}

bool RaiseScalesForBias(const std::vector<float>& bias_magnitudes, float input_scale,
                        std::vector<ScaleZero>& weight_scales) {
  CHECK_THAT(bias_magnitudes.size() == weight_scales.size());
  // The margin of ONNX Runtime over the 2^32 - 2 codes of a symmetric int32.
  constexpr double kMargin = 1.0001;
  constexpr double kCodes = 4294967294.0;
  bool changed = false;
  for (size_t i = 0; i < weight_scales.size(); ++i) {
    const double needed = kMargin * (2.0 * static_cast<double>(bias_magnitudes[i])) / kCodes;
    const double bias_scale = static_cast<double>(input_scale) * static_cast<double>(weight_scales[i].scale);
    if (!(bias_scale < needed) || bias_scale <= 0) continue;
    weight_scales[i].scale = static_cast<float>(static_cast<double>(weight_scales[i].scale) * (needed / bias_scale));
    changed = true;
  }
  return changed;
}

}  // namespace hone
