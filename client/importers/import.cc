#include "client/importers/import.h"

#include <fmt/format.h>

#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

Result<> CheckChoice(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                     const google::protobuf::RepeatedPtrField<proto::Domain>& domains, const std::string& owner) {
  for (const proto::Domain& domain : domains) {
    for (const proto::Value& value : domain.choices()) {
      google::protobuf::RepeatedPtrField<proto::Parameter> one;
      one.Add()->set_name(domain.name());
      *one.begin()->mutable_value() = value;
      TRY(CheckParameters(infos, one, owner));
    }
  }
  return {};
}

std::string Comment(const std::string& text) { return "# " + Printable(text, 400) + "\n"; }

}  // namespace

const std::vector<Importer>& Importers() {
  static const std::vector<Importer> rows = {
      {"olive", "a configuration of Microsoft Olive (JSON or YAML, 0.2 to today)", ImportOlive},
      {"nncf", "a configuration of NNCF, or the parameters of nncf.quantize or nncf.compress_weights", ImportNncf},
      {"onnxruntime", "the parameters of quantize_static or quantize_dynamic with their extra_options",
       ImportOnnxRuntime},
      {"neural-compressor", "a YAML configuration of Intel Neural Compressor", ImportNeuralCompressor},
  };
  return rows;
}

Result<Imported> ImportTree(const Importer& importer, const ConfigNode& root, const std::string& name,
                            const ImportOptions& options) {
  Result<Imported> imported = importer.run(root, options);
  if (!imported) {
    Error error = std::move(imported.error());
    if (error.file.empty()) error.file = name;
    return Fail(std::move(error));
  }
  imported->recipe.set_name(name);
  const Result<proto::Recipe> read = ParseRecipe(WriteRecipe(imported->recipe), "the imported recipe");
  if (!read)
    return FailWith("import " + Printable(name, 200),
                    Error{ErrorCode::kRejected, read.error().message, read.error().remedy});
  return imported;
}

Result<Imported> ImportFile(const Importer& importer, const std::string& file, const ImportOptions& options) {
  TRY_ASSIGN(const ConfigNode root, ReadConfig(file));
  return ImportTree(importer, root, file, options);
}

std::string RecipeText(const Imported& imported, const std::string& tool, const std::string& source) {
  const ImportReport& report = imported.report;
  std::string text =
      Comment(fmt::format("Imported from {} ({}): {} done, {} changed, {} ignored, {} impossible.", source, tool,
                          report.counts[0], report.counts[1], report.counts[2], report.counts[3]));
  for (const std::string& what : imported.to_give) text += Comment("To give: " + what);
  for (const LedgerRow& row : report.rows) {
    if (row.fate == Fate::impossible)
      text += Comment(fmt::format("Impossible: {} = {}: {}", row.key, row.value, row.text));
  }
  return text + WriteRecipe(imported.recipe);
}

Result<> CheckAgainst(const proto::Catalogue& catalogue, const proto::Recipe& recipe) {
  for (const proto::Stage& stage : recipe.passes()) {
    for (const proto::PassChoice& option : stage.options()) {
      if (option.pass().empty()) continue;
      const auto pass = std::find_if(catalogue.passes().begin(), catalogue.passes().end(),
                                     [&](const proto::PassInfo& info) { return info.name() == option.pass(); });
      if (pass == catalogue.passes().end())
        return Fail(ErrorCode::kRejected, fmt::format("there is no pass '{}' here", option.pass()));
      TRY(CheckChoice(pass->parameters(), option.parameters(), "pass " + option.pass()));
    }
  }
  for (const proto::BackendChoice& choice : recipe.backends()) {
    const auto backend = std::find_if(catalogue.backends().begin(), catalogue.backends().end(),
                                      [&](const proto::BackendInfo& info) { return info.name() == choice.backend(); });
    if (backend == catalogue.backends().end()) {
      return Fail(ErrorCode::kRejected, fmt::format("there is no backend '{}' here", choice.backend()));
    }
    TRY(CheckChoice(backend->settings(), choice.settings(), "backend " + choice.backend()));
  }
  return {};
}

}  // namespace hone::importers
