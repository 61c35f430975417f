// A recipe held against what workers can do: a fleet's, or this machine's.
#pragma once

#include <string>

#include "client/remote.h"
#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

// The format by a file's name, or by what a folder holds; what the file holds does not matter to a recipe.
std::string FormatOfName(const std::string& model);

// Asks the coordinator that somebody named, else one that is started here for the question.
Result<proto::CheckRecipeReply> CheckAgainstWorkers(const CoordinatorFlags& coordinator,
                                                    const proto::CheckRecipe& request);

}  // namespace hone
