// Plain loops that say what each kernel computes. They do the ends of arrays, and tests hold every instruction set to
// their bits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/block_fit.h"
#include "kernels/block_quantize.h"
#include "kernels/divergence.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "kernels/histogram.h"
#include "kernels/moments.h"
#include "kernels/nf4.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "kernels/range.h"

namespace hone::kernels::reference {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline FloatRange Range(const float* data, size_t count) {
  FloatRange range;
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(data[i])) {
      ++range.non_finite;
      continue;
    }
    ++range.finite;
    range.low = data[i] < range.low ? data[i] : range.low;
    range.high = data[i] > range.high ? data[i] : range.high;
  }
  range.low += 0.0f;
  range.high += 0.0f;
  return range;
}

inline float AbsMax(const float* data, size_t count) {
  float most = 0;
  for (size_t i = 0; i < count; ++i) {
    if (std::isfinite(data[i]) && std::fabs(data[i]) > most) most = std::fabs(data[i]);
  }
  return most;
}

inline void CountBins(const float* values, size_t count, const BinSpan& span, uint64_t* counts) {
  for (size_t i = 0; i < count; ++i) {
    float bin = std::floor(values[i] * span.inverse_width);
    if (values[i] < 0 && bin > -1) bin = -1;
    const float at = bin - static_cast<float>(span.first);
    if (at >= 0 && at < static_cast<float>(span.count)) ++counts[static_cast<size_t>(at)];
  }
}

// Value i of a run belongs to part i % kMomentParts.
inline constexpr size_t kMomentParts = 8;
struct RunParts {
  float low = kInfinity;
  float high = -kInfinity;
  uint64_t finite = 0;
  double sum[kMomentParts] = {};
  double magnitude[kMomentParts] = {};
};

inline double SumOfParts(const double (&p)[8]) {
  return ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
}

inline void AddRunParts(const float* values, size_t count, RunParts& parts) {
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) continue;
    ++parts.finite;
    parts.low = values[i] < parts.low ? values[i] : parts.low;
    parts.high = values[i] > parts.high ? values[i] : parts.high;
    parts.sum[i % kMomentParts] += static_cast<double>(values[i]);
    parts.magnitude[i % kMomentParts] += static_cast<double>(std::fabs(values[i]));
  }
}

inline void AddRun(const RunParts& parts, size_t channel, const ChannelMoments& moments) {
  moments.low[channel] = parts.low < moments.low[channel] ? parts.low : moments.low[channel];
  moments.high[channel] = parts.high > moments.high[channel] ? parts.high : moments.high[channel];
  moments.sum[channel] += SumOfParts(parts.sum);
  moments.magnitude[channel] += SumOfParts(parts.magnitude);
  moments.finite[channel] += parts.finite;
}

inline void AddChannelMoments(const float* data, size_t outer, size_t channels, size_t inner,
                              const ChannelMoments& moments) {
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      RunParts parts;
      AddRunParts(data + (o * channels + c) * inner, inner, parts);
      AddRun(parts, c, moments);
    }
  }
}

template <class T>
void QuantizeWithin(const float* values, size_t count, float scale, int32_t zero_point, CodeLimits limits, T* codes,
                    Rounding rounding) {
  const auto low = static_cast<float>(limits.low);
  const auto high = static_cast<float>(limits.high);
  for (size_t i = 0; i < count; ++i) {
    const float exact = values[i] / scale;
    float code = (rounding == Rounding::half_to_even ? std::nearbyint(exact) : std::round(exact)) +
                 static_cast<float>(zero_point);
    if (std::isnan(code)) code = static_cast<float>(zero_point);
    codes[i] = static_cast<T>(code < low ? low : code > high ? high : code);
  }
}

template <class T>
void Quantize(const float* values, size_t count, float scale, int32_t zero_point, T* codes,
              Rounding rounding = Rounding::half_to_even) {
  // Qualified: the kernel of this name would be found through the types of the arguments.
  reference::QuantizeWithin(values, count, scale, zero_point,
                            CodeLimits{std::numeric_limits<T>::min(), std::numeric_limits<T>::max()}, codes, rounding);
}

template <class T>
void Dequantize(const T* codes, size_t count, float scale, int32_t zero_point, float* values) {
  for (size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(static_cast<int32_t>(codes[i]) - zero_point) * scale;
}

inline uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float Saturate(float value, float largest) {
  return std::isfinite(value) && std::fabs(value) > largest ? std::copysign(largest, value) : value;
}
inline float RaiseTiny(float value, float smallest) {
  return value != 0 && std::fabs(value) < smallest ? std::copysign(smallest, value) : value;
}

inline uint16_t HalfBits(float value) {
  const uint32_t sign = (Bits(value) & 0x80000000u) >> 16;
  const uint32_t magnitude = Bits(value) & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return static_cast<uint16_t>(sign | (Bits(FromBits(magnitude) + 0.5f) - 0x3f000000u));
  return static_cast<uint16_t>(sign | ((magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13));
}
inline float HalfValue(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 31) return FromBits(sign | 0x7f800000u | (fraction << 13));
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(fraction | 0x400u), static_cast<int>(exponent) - 25);
  return FromBits(sign | Bits(magnitude));
}
inline uint16_t BfloatBits(float value) {
  const uint32_t bits = Bits(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline float BfloatValue(uint16_t bfloat) { return FromBits(static_cast<uint32_t>(bfloat) << 16); }

inline void FloatToHalf(const float* values, size_t count, Clamp clamp, uint16_t* halves) {
  for (size_t i = 0; i < count; ++i) {
    halves[i] = HalfBits(clamp == Clamp::yes ? RaiseTiny(Saturate(values[i], kLargestHalf), kSmallestHalf) : values[i]);
  }
}
inline void HalfToFloat(const uint16_t* halves, size_t count, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] = HalfValue(halves[i]);
}
inline void FloatToBfloat(const float* values, size_t count, Clamp clamp, uint16_t* bfloats) {
  for (size_t i = 0; i < count; ++i)
    bfloats[i] = BfloatBits(clamp == Clamp::yes ? Saturate(values[i], kLargestBfloat) : values[i]);
}
inline void BfloatToFloat(const uint16_t* bfloats, size_t count, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] = BfloatValue(bfloats[i]);
}

inline float RoundScale(float scale, ScaleFormat format) {
  switch (format) {
    case ScaleFormat::f16:
      return HalfValue(HalfBits(scale));
    case ScaleFormat::bf16:
      return BfloatValue(BfloatBits(scale));
    case ScaleFormat::f32:
      break;
  }
  return scale;
}

inline void PackCodes(const uint8_t* codes, size_t count, int bits, uint8_t* packed) {
  std::memset(packed, 0, PackedBytes(count, bits));
  const auto each = static_cast<size_t>(8 / bits);
  const int mask = (1 << bits) - 1;
  for (size_t i = 0; i < count; ++i)
    packed[i / each] =
        static_cast<uint8_t>(packed[i / each] | (codes[i] & mask) << (static_cast<int>(i % each) * bits));
}

inline void UnpackCodes(const uint8_t* packed, size_t count, int bits, uint8_t* codes) {
  const auto each = static_cast<size_t>(8 / bits);
  const int mask = (1 << bits) - 1;
  for (size_t i = 0; i < count; ++i)
    codes[i] = static_cast<uint8_t>((packed[i / each] >> (static_cast<int>(i % each) * bits)) & mask);
}

inline float TopCode(int bits) { return static_cast<float>((1 << bits) - 1); }
inline float MiddleCode(int bits) { return static_cast<float>(1 << (bits - 1)); }
inline float InverseScale(float scale) { return scale == 0 ? 0 : 1 / scale; }

// Where a block of a layout lies.
struct BlockPlace {
  size_t column = 0;
  size_t block = 0;

  size_t CodesAt(const BlockLayout& layout) const {
    return (column * layout.BlocksPerColumn() + block) * layout.BlockBytes();
  }
  size_t ScaleAt(const BlockLayout& layout) const { return column * layout.BlocksPerColumn() + block; }
};

// Blocks of a column come in order; the first of a byte sets the slots after it to the middle code.
inline void PackZeroPoint(uint8_t zero_point, const BlockLayout& layout, const BlockPlace& place,
                          uint8_t* zero_points) {
  uint8_t* column = zero_points + place.column * layout.ZeroPointBytesPerColumn();
  const auto each = static_cast<size_t>(8 / layout.bits);
  uint8_t& byte = column[place.block / each];
  const auto slot = static_cast<int>(place.block % each);
  if (slot == 0) {
    byte = 0;
    for (size_t other = 1; other < each; ++other)
      byte = static_cast<uint8_t>(byte | 1 << (static_cast<int>(other + 1) * layout.bits - 1));
  }
  const int mask = ((1 << layout.bits) - 1) << (slot * layout.bits);
  byte = static_cast<uint8_t>((byte & ~mask) | zero_point << (slot * layout.bits));
}

struct BlockChoice {
  float scale = 0;
  float zero_point = 0;
};

// low <= 0 <= high.
inline BlockChoice MinMaxBlock(float low, float high, int bits, bool symmetric, ScaleFormat format) {
  const float top = TopCode(bits);
  const float middle = MiddleCode(bits);
  if (symmetric) return {RoundScale((std::fabs(high) > std::fabs(low) ? high : low) / -middle, format), middle};
  const float scale = (high - low) / top;
  const float exact = scale == 0 ? 0 : 0 - low / scale;
  return {RoundScale(scale, format), std::round(exact < 0 ? 0 : exact > top ? top : exact)};
}

inline float FitCode(float value, const BlockChoice& choice, float top) {
  const float code = std::round(value * InverseScale(choice.scale) + choice.zero_point);
  return code < 0 ? 0 : code > top ? top : code;
}

// A matrix as the quantizer sees it: weight (row, column) at weights[row * row_stride + column * column_stride].
struct MatrixView {
  const float* weights = nullptr;
  size_t row_stride = 0;
  size_t column_stride = 0;
};

inline void QuantizeBlocks(const MatrixView& matrix, const BlockLayout& layout, size_t first, size_t last,
                           uint8_t* codes, float* scales, uint8_t* zero_points) {
  const float top = TopCode(layout.bits);
  const size_t each = static_cast<size_t>(8 / layout.bits);
  for (size_t column = first; column < last; ++column) {
    for (size_t block = 0; block < layout.BlocksPerColumn(); ++block) {
      const size_t begin = block * layout.block;
      const size_t rows = layout.rows - begin < layout.block ? layout.rows - begin : layout.block;
      const float* corner = matrix.weights + begin * matrix.row_stride + column * matrix.column_stride;
      float low = 0;
      float high = 0;
      for (size_t row = 0; row < rows; ++row) {
        const float value = corner[row * matrix.row_stride];
        low = value < low ? value : low;
        high = value > high ? value : high;
      }
      const BlockChoice choice = MinMaxBlock(low, high, layout.bits, layout.symmetric, layout.scale_format);
      const BlockPlace place{column, block};
      uint8_t* out = codes + place.CodesAt(layout);
      std::memset(out, 0, layout.BlockBytes());
      for (size_t row = 0; row < rows; ++row) {
        const auto code = static_cast<int>(FitCode(corner[row * matrix.row_stride], choice, top));
        const int shift = static_cast<int>(row % each) * layout.bits;
        out[row / each] = static_cast<uint8_t>(out[row / each] | code << shift);
      }
      scales[place.ScaleAt(layout)] = choice.scale;
      if (zero_points != nullptr) PackZeroPoint(static_cast<uint8_t>(choice.zero_point), layout, place, zero_points);
    }
  }
}

inline void QuantizeBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last, uint8_t* codes,
                           float* scales, uint8_t* zero_points) {
  reference::QuantizeBlocks(MatrixView{weights, layout.columns, 1}, layout, first, last, codes, scales, zero_points);
}
inline void QuantizeRowBlocks(const float* weights, const BlockLayout& layout, size_t first, size_t last,
                              uint8_t* codes, float* scales, uint8_t* zero_points) {
  reference::QuantizeBlocks(MatrixView{weights, 1, layout.rows}, layout, first, last, codes, scales, zero_points);
}

// --- block_fit.h -------------------------------------------------------------------------------------------------

struct FitBlockView {
  const float* values = nullptr;
  const float* importance = nullptr;
  size_t count = 0;
};

// With c = code - zero point: sums of (value - c * scale)^2, value * c and c^2, each times the importance. Value i of a
// block belongs to part i % kFitParts.
inline constexpr size_t kFitParts = 16;
struct FitParts {
  float error[kFitParts] = {};
  float dot[kFitParts] = {};
  float square[kFitParts] = {};
};
struct FitSums {
  float error = 0;
  float dot = 0;
  float square = 0;
};

inline void AddFitParts(const FitBlockView& block, size_t begin, const BlockChoice& choice, float top,
                        FitParts& parts) {
  for (size_t i = begin; i < block.count; ++i) {
    const float code = FitCode(block.values[i], choice, top) - choice.zero_point;
    const float difference = block.values[i] - code * choice.scale;
    const float weight = block.importance == nullptr ? 1 : block.importance[i];
    parts.error[i % kFitParts] += difference * difference * weight;
    parts.dot[i % kFitParts] += block.values[i] * code * weight;
    parts.square[i % kFitParts] += code * code * weight;
  }
}

inline float SumOfParts(const float (&p)[kFitParts]) {
  float sum[kFitParts / 2];
  for (size_t i = 0; i < kFitParts / 2; ++i) sum[i] = p[i] + p[i + kFitParts / 2];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
inline FitSums Sum(const FitParts& parts) {
  return {SumOfParts(parts.error), SumOfParts(parts.dot), SumOfParts(parts.square)};
}

// Keeps the candidate with the least error, the earlier one of equals.
template <class Evaluate>
class BestBlock {
 public:
  BestBlock(const FitOptions& options, const BlockChoice& first, const Evaluate& evaluate)
      : options_(options), evaluate_(evaluate), best_(first), error_(evaluate(first).error) {}

  // Scale as it is before rounding; a zero point that is no code yet is rounded and clamped.
  FitSums Consider(float scale, float zero_point) {
    const float top = TopCode(options_.bits);
    const float whole = std::round(zero_point);
    const BlockChoice candidate{RoundScale(scale, options_.scale_format), whole < 0 ? 0 : whole > top ? top : whole};
    if (!std::isfinite(candidate.scale) || candidate.scale == 0 || std::isnan(zero_point)) return {};
    const FitSums sums = evaluate_(candidate);
    if (sums.error < error_) {
      error_ = sums.error;
      best_ = candidate;
    }
    return sums;
  }
  // A range that holds zero.
  FitSums ConsiderRange(float low, float high) {
    const float scale = (high - low) / TopCode(options_.bits);
    return Consider(scale, -low / scale);
  }
  const BlockChoice& best() const { return best_; }

 private:
  const FitOptions& options_;
  const Evaluate& evaluate_;
  BlockChoice best_;
  float error_;
};

inline constexpr int kShrinks = 24;
inline constexpr float kShrinkStep = 0.03f;
inline constexpr int kScaleSteps = 10;  // To each side.
inline constexpr float kScaleStep = 0.1f;

template <class Best>
void SearchClipping(float low, float high, const FitOptions& options, Best& best) {
  const float middle = MiddleCode(options.bits);
  const float largest = (std::fabs(high) > std::fabs(low) ? high : low) / -middle;
  for (int i = 0; i <= kShrinks; ++i) {
    const float share = 1 - static_cast<float>(i) * kShrinkStep;
    if (options.symmetric) {
      best.Consider(largest * share, middle);
      best.Consider(-largest * share, middle);
    } else {
      best.ConsiderRange(low * share, high * share);
      best.ConsiderRange(low * share, high);
      best.ConsiderRange(low, high * share);
    }
  }
}

template <class Best>
void SearchKQuant(float low, float high, const FitOptions& options, Best& best) {
  const float top = TopCode(options.bits);
  const float middle = MiddleCode(options.bits);
  const float extreme = std::fabs(high) > std::fabs(low) ? high : low;
  for (int i = -kScaleSteps; i <= kScaleSteps; ++i) {
    const float codes = static_cast<float>(i) * kScaleStep + (options.symmetric ? middle : top);
    const float scale = options.symmetric ? extreme / -codes : (high - low) / codes;
    const float zero_point = options.symmetric ? middle : -low / scale;
    const FitSums sums = best.Consider(scale, zero_point);
    if (!(sums.square > 0)) continue;
    const float solved = sums.dot / sums.square;
    best.Consider(solved, zero_point);
    if (!options.symmetric) best.Consider(solved, -low / solved);
  }
}

template <class Evaluate>
BlockChoice ChooseBlock(const FitBlockView& block, const FitOptions& options, const Evaluate& evaluate) {
  float low = 0;
  float high = 0;
  for (size_t i = 0; i < block.count; ++i) {
    low = block.values[i] < low ? block.values[i] : low;
    high = block.values[i] > high ? block.values[i] : high;
  }
  const BlockChoice first = MinMaxBlock(low, high, options.bits, options.symmetric, options.scale_format);
  if (options.rule == FitRule::min_max || first.scale == 0) return first;
  BestBlock<Evaluate> best(options, first, evaluate);
  if (options.rule == FitRule::least_squares) {
    SearchClipping(low, high, options, best);
  } else {
    SearchKQuant(low, high, options, best);
  }
  return best.best();
}

inline void FitBlocks(const float* values, const float* importance, size_t count, size_t block,
                      const FitOptions& options, float* scales, uint8_t* zero_points, uint8_t* codes) {
  const float top = TopCode(options.bits);
  for (size_t begin = 0, index = 0; begin < count; begin += block, ++index) {
    const FitBlockView view{values + begin, importance == nullptr ? nullptr : importance + begin,
                            count - begin < block ? count - begin : block};
    const BlockChoice choice = ChooseBlock(view, options, [&](const BlockChoice& candidate) {
      FitParts parts;
      AddFitParts(view, 0, candidate, top, parts);
      return Sum(parts);
    });
    scales[index] = choice.scale;
    zero_points[index] = static_cast<uint8_t>(choice.zero_point);
    for (size_t i = 0; i < view.count; ++i)
      codes[begin + i] = static_cast<uint8_t>(FitCode(view.values[i], choice, top));
  }
}

// --- nf4.h ---------------------------------------------------------------------------------------------------------

inline constexpr uint8_t kNf4Zero = 7;

// Above it, the next code is nearer.
inline float Nf4Threshold(size_t code) { return (kNf4Levels[code] + kNf4Levels[code + 1]) / 2; }

inline void QuantizeNf4(const float* values, size_t count, float scale, uint8_t* codes) {
  for (size_t i = 0; i < count; ++i) {
    const float value = scale == 0 ? 0 : values[i] / scale;
    uint8_t code = 0;
    while (code < 15 && value > Nf4Threshold(code)) ++code;
    codes[i] = code;
  }
}
inline void DequantizeNf4(const uint8_t* codes, size_t count, float scale, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] = kNf4Levels[codes[i] & 15] * scale;
}

// --- divergence.h --------------------------------------------------------------------------------------------------

struct DivergenceSums {
  double total_reference = 0;
  double total_value = 0;
  double weighted = 0;
};

inline void AddDivergenceSums(const float* reference, const float* value, size_t count, float top_reference,
                              float top_value, DivergenceSums& sums) {
  for (size_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(std::exp(reference[i] - top_reference));
    sums.total_reference += share;
    sums.total_value += static_cast<double>(std::exp(value[i] - top_value));
    sums.weighted += share * (static_cast<double>(reference[i]) - static_cast<double>(value[i]));
  }
}

inline double Divergence(const DivergenceSums& sums, float top_reference, float top_value) {
  const double divergence = sums.weighted / sums.total_reference +
                            (static_cast<double>(top_value) + std::log(sums.total_value)) -
                            (static_cast<double>(top_reference) + std::log(sums.total_reference));
  return divergence > 0 ? divergence : 0;
}

// Value i of a call belongs to part i % kErrorParts.
inline constexpr size_t kErrorParts = 8;
struct ErrorParts {
  uint64_t count = 0;
  uint64_t non_finite = 0;
  double squared_error[kErrorParts] = {};
  double squared_reference[kErrorParts] = {};
  double squared_value[kErrorParts] = {};
  double dot[kErrorParts] = {};
  double max_error[kErrorParts] = {};
};

inline void AddErrorParts(const float* reference, const float* value, size_t count, ErrorParts& parts) {
  for (size_t i = 0; i < count; ++i) {
    const double x = reference[i];
    const double y = value[i];
    if (!std::isfinite(x) || !std::isfinite(y)) {
      ++parts.non_finite;
      continue;
    }
    const size_t part = i % kErrorParts;
    const double error = x - y;
    ++parts.count;
    parts.squared_error[part] += error * error;
    parts.squared_reference[part] += x * x;
    parts.squared_value[part] += y * y;
    parts.dot[part] += x * y;
    parts.max_error[part] = std::fabs(error) > parts.max_error[part] ? std::fabs(error) : parts.max_error[part];
  }
}

inline ErrorStats Sum(const ErrorParts& parts) {
  ErrorStats stats;
  stats.count = parts.count;
  stats.non_finite = parts.non_finite;
  stats.squared_error = SumOfParts(parts.squared_error);
  stats.squared_reference = SumOfParts(parts.squared_reference);
  stats.squared_value = SumOfParts(parts.squared_value);
  stats.dot = SumOfParts(parts.dot);
  for (const double error : parts.max_error) stats.max_error = error > stats.max_error ? error : stats.max_error;
  return stats;
}

}  // namespace hone::kernels::reference
