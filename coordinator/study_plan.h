// What a recipe means on the fleet as it is: one study a target, each with its workers, their catalogue and its space.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/fleet.h"
#include "coordinator/options.h"
#include "coordinator/records.h"

namespace hone {

struct StudyPlan {
  StudyRecord record;                    // Without a job yet.
  std::vector<std::string> workers;
  bool infinite = false;
  std::vector<std::string> notes;
};

struct PlanInputs {
  std::string model_format;
  bool has_calibration = false;
  bool has_evaluation = false;
  std::string baseline_backend = {};     // "": the reference backend.
};

// kRejected with the recipe's position where a target has no live worker (telling which tags there are), where no
// matching worker has the baseline's backend, where the recipe does not fit the catalogue (Space::Build), where the
// sampler is unknown, and where nothing would ever end the search.
Result<std::vector<StudyPlan>> PlanStudies(const proto::Recipe& recipe, const PlanInputs& inputs, const Fleet& fleet,
                                           const CoordinatorOptions& options);

}  // namespace hone
