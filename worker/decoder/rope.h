// Tables of a rotary embedding, as torch computes them to the last bit but one: frequencies in float32, the power alone
// in double; the angle is the float32 product of position and frequency.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/checkpoint/decoder_config.h"

namespace hone {

enum class RopeReach { up_to_original, beyond };  // Of longrope: which of its two sets of factors.

struct RopeFrequencies {
  std::vector<float> inverse;  // One a pair of elements.
  float factor = 1;            // Of cosines and sines.
};
RopeFrequencies FrequenciesOf(const RopeRule& rule, RopeReach reach);

// Cosines and sines of positions [first, first + count), a row of frequencies each.
void RopeRows(const RopeFrequencies& frequencies, int64_t first, int64_t count, float* cosines, float* sines);

}  // namespace hone
