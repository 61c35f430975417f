// NormalFloat4 (QLoRA): sixteen levels from -1 to 1 at quantiles of the normal distribution; value = level * scale with
// the largest magnitude of a block as its scale. Code 7 is zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_quantize.h"

namespace hone::kernels {

constexpr float kNf4Levels[16] = {
    -1.0f,                 -0.6961928009986877f,  -0.5250730514526367f,  -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,   0.7229568362236023f,   1.0f};

// Codes of the nearest levels to value / scale, one a byte; halfway between two is the lower one. A scale of 0 gives
// code 7 throughout.
void QuantizeNf4(const float* values, size_t count, float scale, uint8_t* codes);
void DequantizeNf4(const uint8_t* codes, size_t count, float scale, float* values);

// Consecutive blocks, the last of which may be shorter. scales[ceil(count / block)] are exact in scale_format.
void QuantizeNf4Blocks(const float* values, size_t count, size_t block, ScaleFormat scale_format, float* scales,
                       uint8_t* codes);

}  // namespace hone::kernels
