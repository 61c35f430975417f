// Replays recorded runs of Optuna's sampler against OptunaTpe.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct ReplaySummary {
  size_t runs = 0;
  size_t values = 0;
  size_t ties = 0;                        // Differ where candidates scored the same to 1e-9.
  std::vector<std::string> mismatches;    // "run, trial, parameter: value, recorded".
};

// The file's format: runs by name objO_condC_seedS_parP_consK; rows [trial, {parameter: value}, [objectives],
// constraint]. Every value is compared with what OptunaTpe suggests after the recorded history; of numbers, 1e-9 of
// their size is rounding.
Result<ReplaySummary> ReplayGolden(const std::string& path);

}  // namespace hone
