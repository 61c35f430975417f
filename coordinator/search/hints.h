// From a sensitivity table to what samplers are told: which forms of a model the table is asked for, and what each of
// its entries is in the space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/search/sampler.h"
#include "coordinator/search/space.h"
#include "proto/work.pb.h"

namespace hone {

struct SensitivityPlan {
  // What a group of layers is in the table and in the space.
  struct Place {
    uint32_t step = 0;
    std::string group;  // "layers.3"
    size_t dimension = 0;
    uint64_t choice = 0;
  };
  // For each pass option with precisions of its own for groups of layers, and each of their choices but the most
  // precise: the pass with all groups at that choice and its other parameters at their preferred values.
  std::vector<proto::PassStep> steps;
  std::vector<Place> places;
};

// Steps beyond these are left out; their groups are told of by the trials alone.
constexpr size_t kMostSensitivitySteps = 6;

// No step where the space has no such option, or the sampler that the recipe asks for takes no hints.
SensitivityPlan SensitivityPlanOf(const Space& space, const proto::Search& search);

// What the table says of the plan's places, in their order; what it has no finite loss for is left out. Where the
// metric counts labels the loss is the noise that the group adds instead. The gain is what the objective's metric
// wants: time, or where it was not taken and for sizes the weights that get smaller.
std::vector<GroupHint> HintsOf(const SensitivityPlan& plan, const proto::SensitivityResult& table,
                               std::string_view objective);

}  // namespace hone
