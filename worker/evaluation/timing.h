// Latency of instances, interleaved.
//
// A round is one block of runs of each, side by side in time, in an order drawn from the seed, so that a slow drift of
// the machine (frequency, temperature, neighbours) strikes all alike and cancels in the ratio (Georges et al. 2007;
// duet benchmarking, Bulej et al. 2020). With two instances a round is a pair. The value of a block is the median of
// its runs; the speed-up is the median ratio over rounds with its bootstrap interval.
//
// The machine is watched meanwhile (machine_figures.h). A round that something disturbed is thrown away and measured
// again, as long as repeats are left; what was thrown away, and what was kept although disturbed, stands in the notes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/evaluation/instance.h"
#include "worker/evaluation/machine_figures.h"

namespace hone {

struct TimingOptions {
  uint32_t pairs = 6;      // Rounds.
  uint64_t budget_ms = 0;  // 0: no bound; at least three rounds are measured in any case.
  uint64_t seed = 0;
  double block_ms = 25;     // A block lasts at least this long
  uint32_t block_runs = 3;  // and has at least so many runs (one where a single run lasts longer than 250 ms).
  uint32_t runs = 0;        // Fewest runs of each over all rounds; the time budget may cut them with the rounds.
  // Disturbed rounds that are measured again, as a share of the rounds; at least two.
  double repeats = 0.5;
  // Reads the machine; tests give their own.
  std::function<MachineFigures(const std::vector<pid_t>& measured)> read_machine = {};
};

struct Rounds {
  struct Series {
    std::vector<double> runs_ms;     // Every run.
    std::vector<double> blocks_ms;   // Median of each block; element i of all series is round i.
    std::optional<double> energy_j;  // Of one run, where the machine shows it.
  };
  std::vector<Series> series;  // One an instance.
  std::vector<std::string> notes;
};

// All instances hold bound inputs; at least one.
Result<Rounds> TimeRounds(const std::vector<Instance*>& instances, const TimingOptions& options);

}  // namespace hone
