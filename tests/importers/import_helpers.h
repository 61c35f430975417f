// What the importers' tests share.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "client/importers/import.h"
#include "common/recipe/recipe_yaml.h"

namespace hone::importers {

inline const Importer& ImporterOf(const std::string& name) {
  for (const Importer& importer : Importers()) {
    if (name == importer.name) return importer;
  }
  ADD_FAILURE() << "no importer " << name;
  return Importers().front();
}

inline Result<Imported> ImportText(const std::string& text, const std::string& tool = "olive",
                                   const ImportOptions& options = {}) {
  TRY_ASSIGN(const ConfigNode root, ParseConfig(text, "configuration"));
  return ImportTree(ImporterOf(tool), root, "configuration", options);
}

// "simplify|none,static_int8": stages by '|', options by ','.
inline std::string StagesOf(const proto::Recipe& recipe) {
  std::string text;
  for (const proto::Stage& stage : recipe.passes()) {
    if (!text.empty()) text += '|';
    for (int i = 0; i < stage.options_size(); ++i)
      text += (i == 0 ? "" : ",") + (stage.options(i).pass().empty() ? "none" : stage.options(i).pass());
  }
  return text;
}

// The row of a key; fails where there is none.
inline LedgerRow RowOf(const Imported& imported, const std::string& key) {
  for (const LedgerRow& row : imported.report.rows) {
    if (row.key == key) return row;
  }
  ADD_FAILURE() << "the report has no row " << key;
  return {};
}

inline std::string RecipeOf(const Imported& imported) { return WriteRecipe(imported.recipe); }

}  // namespace hone::importers
