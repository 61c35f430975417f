// From a recipe and a catalogue to a SpacePlan.
#pragma once

#include <memory>

#include "common/base/result.h"
#include "coordinator/search/plan.h"

namespace hone {

// As Space::Build says.
Result<std::shared_ptr<const SpacePlan>> BuildPlan(const proto::Recipe& recipe, const proto::Catalogue& catalogue,
                                                   const SpaceInputs& inputs);

}  // namespace hone
