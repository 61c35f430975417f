// Cuts the steps of every option into parts that belong to the same set of options.
#pragma once

#include "common/base/result.h"
#include "coordinator/search/plan.h"

namespace hone {

// Fills OptionPlan::parts, StagePlan::shared and SpacePlan::ambiguous. kRejected where a pass is listed so often, or
// over such ranges, that its steps cannot be told apart.
Result<> CutIntoParts(SpacePlan& plan);

}  // namespace hone
