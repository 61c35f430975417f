// The sampler of recipes that name none.
#pragma once

#include <memory>

#include "coordinator/search/sampler.h"

namespace hone {

std::unique_ptr<Sampler> MakeAutoSampler();

}  // namespace hone
