// A recipe held against what workers can do: a fleet's, or this machine's.
#pragma once

#include <string>

#include "client/remote.h"
#include "common/base/mistakes.h"
#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

// The format by a file's name, or by what a folder holds; what the file holds does not matter to a recipe.
std::string FormatOfName(const std::string& model);

// Asks the coordinator that somebody named, else one that is started here for the question. Mistakes of the recipe
// beside the one that is returned are put into `others`.
Result<proto::CheckRecipeReply> CheckAgainstWorkers(const CoordinatorFlags& coordinator,
                                                    const proto::CheckRecipe& request, Mistakes& others);
// The same by a coordinator that is connected, and by one that is started here for the question.
Result<proto::CheckRecipeReply> CheckBy(Client& client, const proto::CheckRecipe& request, Mistakes& others);
Result<proto::CheckRecipeReply> CheckHere(const proto::CheckRecipe& request, Mistakes& others);

// A coordinator tells the first of a recipe's mistakes. This finds the others: what a mistake stands at is left out of
// the recipe, and the coordinator is asked again. What may follow from something that was left out is not told.
void FindOthers(Client& client, proto::CheckRecipe request, const Error& first, Mistakes& others);

}  // namespace hone
