// Recipes as people write them. docs/recipe.md is the reference, docs/recipe.schema.json what editors use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/mistakes.h"
#include "common/base/result.h"
#include "proto/recipe.pb.h"

namespace hone {

// Parses recipe YAML. Every error is kRejected with file, line and column: unknown keys (nearest known key offered),
// duplicate keys, wrong types, wrong ranges. Anchors and aliases are refused (they make bombs), at most 1 MiB of text,
// depth 32. Pass and backend names and parameters are not checked here: the fleet's catalogue decides
// (coordinator/search/space.h). Positions are kept in the message. With `others`, what stands beside a mistake is read
// too, and the mistakes beside the one that is returned are put there; none of them follows from another.
Result<proto::Recipe> ParseRecipe(std::string_view yaml, const std::string& file_name, Mistakes* others = nullptr);

// The built-in recipe `auto` (recipes/auto.yaml, compiled in).
std::string_view AutoRecipeText();
// The built-in recipe `llm_auto` (recipes/llm_auto.yaml), for checkpoints of language models.
std::string_view LlmAutoRecipeText();
// The built-in recipe `encoder_auto` (recipes/encoder_auto.yaml), for checkpoints of encoders.
std::string_view EncoderAutoRecipeText();

// YAML of a recipe, for `hone get` and the importers. ParseRecipe gives an equal message back, positions and name
// aside.
std::string WriteRecipe(const proto::Recipe& recipe);

// Every key that ParseRecipe knows, for documents and their tests. Keys that people make up (inputs, passes,
// parameters, backends) are none.
struct RecipeKey {
  const char* section;   // "recipe" for the top, else the map that the key belongs to: "data", "preprocess" ...
  const char* key;
};
const std::vector<RecipeKey>& RecipeKeys();

}  // namespace hone
