// hone olive: Olive's command lines. Each becomes a configuration of Olive's, that a recipe, and the recipe a job on
// this machine.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "client/command.h"
#include "client/importers/olive_command.h"
#include "client/importers/olive_parts.h"
#include "client/importers/report.h"
#include "client/local_task.h"
#include "client/optimize.h"
#include "client/table.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

using importers::Imported;

struct OliveOptions {
  std::string form;
  std::string word;  // Older lines name the model without -m.
  importers::OliveArguments arguments;
  JobOptions job;
  bool partial = false;
};

std::string One(const OliveOptions& options, const std::string& key) {
  const auto found = options.arguments.find(key);
  return found == options.arguments.end() || found->second.empty() ? "" : found->second.front();
}

bool Given(const OliveOptions& options, const std::string& key) { return options.arguments.contains(key); }

// Olive names data sets of Hugging Face; hone reads what lies here.
Result<> TakeDataName(OliveOptions& options) {
  const std::string name = One(options, "data_name");
  if (name.empty()) return {};
  std::error_code failure;
  if (!fs::exists(name, failure)) {
    return Fail(
        ErrorCode::kRejected,
        fmt::format("--data_name {}: there is no such file or folder, and hone fetches nothing", Printable(name, 100)),
        "Save the samples once as an .npz with one array an input, and name that");
  }
  if (options.job.calibration.empty()) options.job.calibration = name;
  return {};
}

void SayWithout(const OliveOptions& options, Console& console) {
  for (const importers::OliveFlag& flag : importers::OliveFlags()) {
    if (*flag.without == '\0' || !Given(options, importers::KeyOf(flag))) continue;
    console.Note(fmt::format("hone: --{} is ignored: {}", importers::KeyOf(flag), flag.without));
  }
}

Result<Imported> ImportForm(const OliveOptions& options, const std::optional<ModelFile>& model) {
  const importers::Importer& olive = importers::Importers().front();
  importers::ImportOptions import_options;
  import_options.model = model ? &model->info : nullptr;
  if (options.form == "run") {
    const std::string file = One(options, "config");
    if (file.empty()) return Fail(ErrorCode::kUsage, "--config FILE is missing", "hone olive run --config FILE");
    return importers::ImportFile(olive, file, import_options);
  }
  const bool has_data = !options.job.calibration.empty() || !options.job.data.empty();
  TRY_ASSIGN(const importers::ConfigNode root, importers::ConfigurationOf(options.form, options.arguments, has_data));
  return importers::ImportTree(olive, root, "olive " + options.form, import_options);
}

// What cannot be done is an error unless the person wants the rest of it.
Result<> RequireWhole(const Imported& imported, bool partial) {
  if (imported.report.Whole() || partial) return {};
  std::vector<std::string> lines;
  for (const importers::LedgerRow& row : imported.report.rows) {
    if (row.fate == importers::Fate::impossible && lines.size() < 5)
      lines.push_back(fmt::format("{}: {}", row.key, row.text));
  }
  const size_t count = imported.report.counts[static_cast<size_t>(importers::Fate::impossible)];
  return Fail(ErrorCode::kRejected,
              fmt::format("{} of the configuration's values are impossible here: {}", count, Join(lines, "; ")),
              "--partial does the rest; `hone import olive FILE` tells all of it");
}

// The execution providers that this machine has, by the tags of its catalogue.
std::vector<std::string> ProvidersHere(const proto::Catalogue& catalogue) {
  std::vector<std::string> here;
  for (const importers::ProviderRow& row : importers::Providers()) {
    for (const std::string& device : Split(row.devices, ',')) {
      const std::string tag = importers::TagFor(row, device);
      const bool there = std::find(catalogue.tags().begin(), catalogue.tags().end(), tag) != catalogue.tags().end();
      const std::string text = fmt::format("{} ({})", row.name, device);
      if (there && (tag != "cpu" || device == "cpu")) here.push_back(text);
    }
  }
  return here;
}

Result<> RequireDevices(const proto::Catalogue& catalogue, const proto::Recipe& recipe) {
  for (const proto::Target& target : recipe.targets()) {
    for (const std::string& tag : target.tags()) {
      if (std::find(catalogue.tags().begin(), catalogue.tags().end(), tag) != catalogue.tags().end()) continue;
      return Fail(ErrorCode::kRejected, fmt::format("this machine has no {}", tag),
                  fmt::format("It has {}. A fleet may have more: hone import olive, then hone submit",
                              Join(ProvidersHere(catalogue), ", ")));
    }
  }
  return {};
}

// Samples that Python would have made have no file yet.
Result<> RequireData(const OliveOptions& options, const proto::Recipe& recipe, const fs::path& folder) {
  const auto missing = [&](const proto::DataRange& range, const std::string& given) {
    std::error_code failure;
    return !range.path().empty() && given.empty() && !fs::exists(folder / range.path(), failure);
  };
  if (missing(recipe.calibration(), options.job.calibration)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("there are no samples to calibrate with: {} is not there", recipe.calibration().path()),
                "Give some with --calibration D: an .npz with one array an input, or a folder of images");
  }
  if (missing(recipe.evaluation(), options.job.data)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("there are no samples to judge accuracy with: {} is not there", recipe.evaluation().path()),
                "Give some with --data D: an .npz with one array an input, and labels where accuracy counts them");
  }
  return {};
}

Result<int> ListPasses(Console& console) {
  Table table({{"pass of Olive's"}, {"in hone"}, {"", Align::left, true}});
  for (const importers::PassRow& row : importers::OlivePasses()) {
    table.Row({row.name, *row.pass != '\0' ? row.pass : importers::FateName(row.fate), row.text});
  }
  TRY(console.Print(table.Text(console.table_width())));
  return 0;
}

std::string OutputOf(const OliveOptions& options) {
  const std::string given = One(options, "output_path");
  if (!given.empty()) return given;
  for (const importers::OliveForm& form : importers::OliveForms()) {
    if (options.form == form.name) return form.output;
  }
  return "hone-output";
}

Result<int> RunOlive(OliveOptions options, Console& console) {
  TRY(importers::CheckArguments(options.form, options.arguments));
  if (Given(options, "list-passes")) return ListPasses(console);
  SayWithout(options, console);
  TRY(TakeDataName(options));
  options.job.model = !One(options, "model_name_or_path").empty() ? One(options, "model_name_or_path") : options.word;
  std::optional<ModelFile> model;
  if (!options.job.model.empty()) {
    TRY_ASSIGN(model, OpenModel(options.job.model));
  }
  if (!model && options.form != "run")
    return Fail(ErrorCode::kUsage, "-m MODEL is missing", fmt::format("hone olive {} -m model.onnx", options.form));
  TRY_ASSIGN(const Imported imported, ImportForm(options, model));
  const std::string source = options.form == "run" ? One(options, "config") : "olive " + options.form;
  console.Note(
      importers::ReportText(imported, source, console.traits().err_terminal ? console.traits().width : 0, false));
  const std::string recipe = importers::RecipeText(imported, "olive", source);
  if (Given(options, "dry_run")) {
    TRY(console.json ? console.PrintJson(importers::ReportJson(imported, "olive", source)) : console.Print(recipe));
    return imported.report.Whole() ? 0 : 1;
  }
  TRY(RequireWhole(imported, options.partial));
  TRY_ASSIGN(const proto::Catalogue here, LocalCatalogue());
  TRY(RequireDevices(here, imported.recipe));
  const fs::path folder = options.form == "run" ? fs::path(source).parent_path() : fs::path();
  TRY(RequireData(options, imported.recipe, folder));

  OptimizeOptions optimize;
  optimize.job = options.job;
  optimize.job.ready = imported.recipe;
  optimize.job.recipe = options.form == "run" ? source : "";
  // OpenVINO computes a float model in what the processor is fastest in, unless told.
  const std::string precision = One(options, "precision");
  const bool openvino = One(options, "provider") == "OpenVINOExecutionProvider";
  if (openvino && (precision == "bf16" || precision == "fp32")) optimize.job.precisions = {precision};
  optimize.output = OutputOf(options);
  TRY_ASSIGN(const int code, RunOptimize(optimize, console));
  if (Given(options, "save_config_file")) TRY(WriteFile(fs::path(optimize.output) / "recipe.yaml", recipe));
  return code;
}

void AddOliveFlags(Flags& flags, OliveOptions& options) {
  for (const importers::OliveFlag& flag : importers::OliveFlags()) {
    const std::string key = importers::KeyOf(flag);
    const bool toggle = flag.kind == importers::OliveFlagKind::toggle;
    const bool list = flag.kind == importers::OliveFlagKind::list;
    Flags::Row row;
    row.names = flag.names;
    row.kind = toggle ? Flags::Kind::toggle : list ? Flags::Kind::list : Flags::Kind::value;
    row.meta = toggle ? "" : *flag.meta == '\0' ? "X" : flag.meta;
    row.help = *flag.without == '\0' ? flag.help : std::string("ignored: ") + flag.without;
    row.set = [&options, key, toggle](const std::string& value) -> Result<> {
      std::vector<std::string>& values = options.arguments[key];
      if (!toggle) values.push_back(value);
      return {};
    };
    if (list) row.goes_on = [](const std::string& word) { return !word.starts_with('-'); };
    flags.Add(std::move(row));
  }
}

}  // namespace

Run DefineOlive(Flags& flags) {
  auto options = std::make_shared<OliveOptions>();
  flags.Argument("FORM", "run, auto-opt, optimize, quantize, run-pass, tune-session-params", options->form);
  flags.OptionalArgument("MODEL", "the model, as -m", options->word);
  AddOliveFlags(flags, *options);
  flags.Text("--calibration", "D", "hone's own: samples to calibrate with", options->job.calibration);
  flags.Text("--data", "D", "hone's own: samples to judge accuracy with", options->job.data);
  flags.List("--input", "NAME=1,64", "hone's own: pin the free dimensions of an input", options->job.inputs,
             LooksLikeAssignment);
  flags.Text("--max-accuracy-drop", "X", "hone's own: largest loss of accuracy allowed",
             options->job.max_accuracy_drop);
  flags.Count("--trials", "N", "hone's own: at most this many candidates", options->job.trials, 1, 1'000'000);
  flags.Duration("--time", "hone's own: at most this long", options->job.time_ms);
  flags.Count("--threads", "N", "hone's own: cores to use", options->job.threads, 1, 4096);
  flags.Count("--seed", "S", "hone's own: seed of every random choice", options->job.seed, 0, INT64_MAX);
  flags.Toggle("--partial", "hone's own: run what can be imported, though not all can", options->partial);
  return [options](Console& console) { return RunOlive(*options, console); };
}

}  // namespace hone
