// Per-channel range, sum and sum of magnitudes in one pass. NaN and infinities are left out.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hone::kernels {

// One entry a channel in each array. Start: low +infinity, high -infinity, the rest 0.
struct ChannelMoments {
  float* low = nullptr;
  float* high = nullptr;
  double* sum = nullptr;
  double* magnitude = nullptr;
  uint64_t* finite = nullptr;  // How many values went in.
};

// Adds data of shape [outer, channels, inner]. Sums are float64 in one fixed order, the same bits on every instruction
// set: with inner == 1 the rows one after another; else each run of `inner` values in eight interleaved parts that are
// then added up.
void AddChannelMoments(const float* data, size_t outer, size_t channels, size_t inner, const ChannelMoments& moments);

}  // namespace hone::kernels
