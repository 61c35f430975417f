// One stage of the pipeline after the other, the others held at the best so far.
#pragma once

#include <memory>

#include "coordinator/search/sampler.h"

namespace hone {

// Each stage has its share of the budget, the backend with its settings the last one; without a budget a stage goes on
// until it is used up. Within a stage `inner` proposes.
std::unique_ptr<Sampler> MakePassByPass(std::unique_ptr<Sampler> inner);

}  // namespace hone
