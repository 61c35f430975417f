// The numbers of linear quantization, bit for bit those of ONNX Runtime's quantizer: real = (code - zero_point) *
// scale.
//
// A range is widened to hold zero; scale = (high - low) / (top - bottom) is computed in float64 and then rounded to
// float32; the zero point is round_half_to_even(bottom - low / scale) with the scale before rounding. A symmetric range
// is [-m, m] with m the larger magnitude, and its zero point the middle of the codes. A scale below the smallest normal
// float32 becomes 1 with zero point 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/model/tensor.h"

namespace hone {

enum class CodeType { u8, s8, u16, s16 };

// onnx::TensorProto::DataType of the codes.
ElementType CodeElementType(CodeType type);

struct CodeRange {
  int32_t bottom = 0;
  int32_t top = 0;
};
// What the type holds; codes saturate here.
CodeRange FullCodes(CodeType type);
// What the scale is computed for: symmetric leaves out the code that has no positive partner (signed types), reduced
// keeps one bit free against the saturation of processors without VNNI and goes before symmetric.
CodeRange ScaleCodes(CodeType type, bool reduced, bool symmetric);

struct ScaleZero {
  float scale = 1;
  int32_t zero_point = 0;
  bool operator==(const ScaleZero&) const = default;
};

// low and high finite.
ScaleZero ComputeScale(float low, float high, CodeRange codes, bool symmetric);

// The same for OpenVINO, equal to what NNCF writes into a FakeQuantize of 256 levels, in float32. Asymmetric: a span of
// at most 8e-4 is widened by as much on both sides, and then one end is moved outwards until zero has a code.
// Symmetric: [0, high] where nothing is negative, else [-high * 256 / 254, high], with high at least 8e-5. u8 and s8
// alone.
ScaleZero ComputeFakeQuantizeScale(float low, float high, CodeType type, bool symmetric);

// How a weight is quantized. axis: one scale for each index along this dimension; none: one for all.
struct WeightScheme {
  CodeType type = CodeType::s8;
  bool symmetric = true;
  bool reduced = false;
  std::optional<int> axis;
  // Symmetric alone: a channel's magnitude counts for at least a hundredth of the largest, and 8e-5, as in NNCF.
  bool raise_small = false;
};

// One entry, or one a channel. Empty where the weight holds NaN or an infinity, which no scale serves.
std::vector<ScaleZero> WeightScales(const float* values, const std::vector<int64_t>& dims, const WeightScheme& scheme);

// The bytes of the codes, row-major as the values. scales as from WeightScales, for the same axis.
std::vector<uint8_t> WeightCodes(const float* values, const std::vector<int64_t>& dims, const WeightScheme& scheme,
                                 const std::vector<ScaleZero>& scales);

// A bias in int32 at scale input_scale * weight_scale (a float32 product). weight_scales: one, or one an element along
// the last dimension of the bias, whose size it must divide.
struct BiasCodes {
  std::vector<int32_t> codes;
  std::vector<float> scales;
};
BiasCodes QuantizeBias(const std::vector<float>& bias, float input_scale, const std::vector<float>& weight_scales);

// Raises symmetric weight scales where a bias would not fit int32 at scale input_scale * weight_scale. bias_magnitudes:
// the largest |bias| for each weight scale. Returns whether one changed.
bool RaiseScalesForBias(const std::vector<float>& bias_magnitudes, float input_scale,
                        std::vector<ScaleZero>& weight_scales);

}  // namespace hone
