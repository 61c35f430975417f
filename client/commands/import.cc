// hone import: a recipe from another tool's configuration, with a report of what became of every value.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/command.h"
#include "client/importers/report.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct ImportCommandOptions {
  std::string tool;
  std::string file;
  std::string output;
  std::string model;
  std::vector<std::string> tags;
  bool all = false;
};

Result<const importers::Importer*> FindImporter(const std::string& name) {
  std::vector<std::string> names;
  for (const importers::Importer& importer : importers::Importers()) {
    if (name == importer.name) return &importer;
    names.emplace_back(importer.name);
  }
  return Fail(ErrorCode::kUsage,
              fmt::format("hone imports nothing from '{}'{}", Printable(name, 80), DidYouMean(name, names)),
              "It imports from " + Join(names, ", "));
}

// The recipe to the file or to stdout, the report to the other.
Result<> Deliver(const importers::Imported& imported, const ImportCommandOptions& options, Console& console) {
  const std::string recipe = importers::RecipeText(imported, options.tool, options.file);
  if (!options.output.empty()) TRY(WriteFile(options.output, recipe));
  if (console.json) return console.PrintJson(importers::ReportJson(imported, options.tool, options.file));
  const std::string report = importers::ReportText(imported, options.file, console.table_width(), options.all);
  if (options.output.empty()) {
    console.Note(report);
    return console.Print(recipe);
  }
  return console.Print(report + fmt::format("recipe: {}\n", options.output));
}

Result<int> RunImport(const ImportCommandOptions& options, Console& console) {
  TRY_ASSIGN(const importers::Importer* importer, FindImporter(options.tool));
  importers::ImportOptions import_options;
  import_options.tags = options.tags;
  std::optional<ModelFile> model;
  if (!options.model.empty()) {
    TRY_ASSIGN(model, OpenModel(options.model));
    import_options.model = &model->info;
  }
  TRY_ASSIGN(const importers::Imported imported, importers::ImportFile(*importer, options.file, import_options));
  TRY(Deliver(imported, options, console));
  // A fleet may have what this machine lacks: a note, no error.
  if (const Result<proto::Catalogue> here = LocalCatalogue(); here) {
    if (const Result<> checked = importers::CheckAgainst(*here, imported.recipe); !checked) {
      console.Note(fmt::format("hone: this machine cannot do all of it: {}", checked.error().message));
    }
  }
  return imported.report.Whole() ? 0 : 1;
}

}  // namespace

Run DefineImport(Flags& flags) {
  auto options = std::make_shared<ImportCommandOptions>();
  flags.Argument("TOOL", "olive, nncf, onnxruntime or neural-compressor", options->tool);
  flags.Argument("FILE", "its configuration, JSON or YAML", options->file);
  flags.Text("-o,--output", "RECIPE",
             "file for the recipe; without it the recipe goes to stdout and the report to stderr", options->output);
  flags.Text("--model", "M",
             "the model it is meant for: settles dimensions by their names, and takes the place of the model's path",
             options->model);
  flags.CommaList("--target", "TAG,...", "workers with these tags, in place of the configuration's devices",
                  options->tags);
  flags.Toggle("--all", "show what is simply done, too", options->all);
  return [options](Console& console) { return RunImport(*options, console); };
}

}  // namespace hone
