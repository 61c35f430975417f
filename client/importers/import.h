// Importers: from a configuration of another tool to a recipe and a report of what became of every value.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "client/importers/ledger.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"
#include "proto/work.pb.h"

namespace hone::importers {

struct ImportOptions {
  std::vector<std::string> tags;  // Take the place of the configuration's targets where there are any.
  const proto::InspectResult* model =
      nullptr;  // Of the model that is meant, where it is at hand: its inputs settle free dimensions.
};

struct Imported {
  proto::Recipe recipe;
  ImportReport report;
  std::string kind;                  // What the configuration needs, in a clause; "" where the tool knows no kinds.
  std::string kind_code;             // The same as a short word for scripts: "onnx", "exported", "python" ...
  std::vector<std::string> to_give;  // What a person has to add: the exported model, samples.
};

// kRejected, at its place: no configuration of that tool, values of a wrong kind, unknown passes, paths that leave the
// folder.
Result<Imported> ImportOlive(const ConfigNode& root, const ImportOptions& options);
Result<Imported> ImportNncf(const ConfigNode& root, const ImportOptions& options);
Result<Imported> ImportOnnxRuntime(const ConfigNode& root, const ImportOptions& options);
Result<Imported> ImportNeuralCompressor(const ConfigNode& root, const ImportOptions& options);

struct Importer {
  const char* name;  // As `hone import NAME` has it.
  const char* reads;
  Result<Imported> (*run)(const ConfigNode& root, const ImportOptions& options);
};
const std::vector<Importer>& Importers();

// Reads the file and imports it; the recipe was written and read back.
Result<Imported> ImportFile(const Importer& importer, const std::string& file, const ImportOptions& options);
// The same of a tree that is there already; `name` stands in messages.
Result<Imported> ImportTree(const Importer& importer, const ConfigNode& root, const std::string& name,
                            const ImportOptions& options);

// The YAML with what a person has to know above it.
std::string RecipeText(const Imported& imported, const std::string& tool, const std::string& source);

// Whether the catalogue has every pass, parameter and value of the recipe, and its backends' settings; kRejected with
// what is not there.
Result<> CheckAgainst(const proto::Catalogue& catalogue, const proto::Recipe& recipe);

}  // namespace hone::importers
