// Latency of two instances, interleaved.
//
// A pair is one block of runs of each, side by side in time, in an order drawn from the seed, so that a slow drift of the machine (frequency,
// temperature, neighbours) strikes both alike and cancels in the ratio (Georges et al. 2007; duet benchmarking, Bulej et al. 2020). The
// value of a block is the median of its runs; the speed-up is the median ratio over pairs with its bootstrap interval.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/evaluation/instance.h"

namespace hone {

struct TimingOptions {
  uint32_t pairs = 6;
  uint64_t budget_ms = 0;        // 0: no bound; at least three pairs are measured in any case.
  uint64_t seed = 0;
  double block_ms = 25;          // A block lasts at least this long
  uint32_t block_runs = 3;       // and has at least so many runs (one where a single run lasts longer than 250 ms).
  uint32_t runs = 0;             // Fewest runs of each over all pairs; the time budget may cut them with the pairs.
};

struct Timing {
  std::vector<double> candidate_ms;         // Every run.
  std::vector<double> baseline_ms;
  std::vector<double> candidate_blocks_ms;  // Median of each block; element i of both is pair i.
  std::vector<double> baseline_blocks_ms;
  std::vector<std::string> notes;
};

// Both instances hold bound inputs. Without a baseline the candidate's blocks are measured alone.
Result<Timing> TimeInterleaved(Instance& candidate, Instance* baseline, const TimingOptions& options);

}  // namespace hone
