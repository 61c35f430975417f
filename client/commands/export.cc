// hone export: a trial's model, or a model file, laid out for a server, for Olive, or with programs that run it.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "client/command.h"
#include "client/embedded_fleet.h"
#include "client/exporters/exported.h"
#include "client/exporters/manifest.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/remote.h"
#include "client/result_files.h"
#include "client/step_flags.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using exporters::Exported;
using exporters::ExportFormat;
using exporters::Manifest;

constexpr uint64_t kMaxManifestBytes = 64 << 20;
constexpr const char* kManifestFile = "hone.manifest.json";

struct ExportOptions {
  std::string source;
  std::string format;
  std::string output;
  std::string name;
  std::string backend;
  std::vector<std::string> settings;
  std::string batch;
  std::string license;
  std::string storage_uri;
  std::string manifest;
  std::optional<uint64_t> max_batch;
  std::optional<uint64_t> version;
  std::optional<uint64_t> target;
  CoordinatorFlags coordinator;
};

// A name that every server takes.
std::string NameFor(const std::string& text) {
  std::string name;
  for (const char c : text)
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' ? c : '_';
  while (!name.empty() && name.front() == '.') name.erase(0, 1);
  return name.empty() ? "model" : name.substr(0, 100);
}

class Exporting {
 public:
  Exporting(const ExportOptions& options, Console& console) : options_(options), console_(console) {}
  Result<int> Run();

 private:
  Result<> TakeSource();
  Result<> TakeFile(const fs::path& path);
  Result<> TakeOptimized(const fs::path& folder);
  Result<> TakeTrial(Client& client, const JobReference& reference);
  Result<> TakeManifest(const fs::path& file);
  Result<> SettleRuntime(const proto::Catalogue& catalogue);
  std::optional<int64_t> TriedDim(const proto::TensorInfo& input, int d) const;
  Result<std::string> CheckLoads(const std::string& backend) const;
  Result<> CheckChoices() const;
  std::string LicenseText() const;

  const ExportOptions& options_;
  Console& console_;
  const ExportFormat* format_ = nullptr;
  Exported exported_;
  std::optional<ScopedFolder> downloads_;
};

Result<int> Exporting::Run() {
  TRY_ASSIGN(format_, exporters::FindExportFormat(options_.format));
  TRY(CheckChoices());
  TRY_ASSIGN(NewFolder folder, NewFolder::Make(options_.output));
  TRY(TakeSource());
  TRY_ASSIGN(const proto::Catalogue catalogue, LocalCatalogue());
  TRY(SettleRuntime(catalogue));
  exported_.license = LicenseText();
  exported_.batch = options_.batch;
  exported_.max_batch = options_.max_batch.value_or(8);
  exported_.version = options_.version.value_or(0);
  exported_.storage_uri = options_.storage_uri;
  // The repository's server may run another engine than the trial's: what it cannot load must not get there.
  const bool model_server = std::string(format_->name) == "openvino-model-server";
  TRY_ASSIGN(const std::string unknown, CheckLoads(model_server ? "openvino" : exported_.backend));

  TRY_ASSIGN(exporters::OutputTree tree, exporters::OutputTree::Begin(options_.output));
  TRY_ASSIGN(exporters::Notes notes, exporters::WriteExport(*format_, exported_, tree));
  if (!unknown.empty()) notes.push_back(unknown);
  TRY_ASSIGN(const std::vector<std::string> files, tree.Publish());
  folder.Keep();
  const std::string digest = BundleId(exported_.model.bundle());
  if (console_.json) {
    TRY(console_.PrintJson({{"schema", "hone.export/1"},
                            {"format", format_->name},
                            {"name", exported_.name},
                            {"path", options_.output},
                            {"artifact", digest},
                            {"backend", exported_.backend},
                            {"files", files},
                            {"notes", notes}}));
    return 0;
  }
  std::string text;
  for (const std::string& file : files) text += file + "\n";
  for (const std::string& note : notes) text += "note: " + note + "\n";
  TRY(console_.Print(text));
  return 0;
}

Result<> Exporting::CheckChoices() const {
  if (!options_.batch.empty() && options_.batch != "auto") {
    const Result<int64_t> batch = ParseInteger(options_.batch);
    if (!batch || *batch < 1)
      return Fail(ErrorCode::kUsage,
                  fmt::format("--batch {}: write a number from 1 on, or auto", Printable(options_.batch, 100)));
  }
  if (!options_.name.empty() && options_.name != NameFor(options_.name)) {
    return Fail(ErrorCode::kUsage, fmt::format("--name {}: a model's name has letters, digits, '_', '-' and '.'",
                                               Printable(options_.name, 100)));
  }
  return {};
}

Result<> Exporting::TakeSource() {
  const fs::path path = options_.source;
  std::error_code failure;
  if (fs::exists(path / ".hone" / "hone.db", failure) && fs::exists(path / "result.json", failure))
    return TakeOptimized(path);
  if (fs::exists(path, failure)) return TakeFile(path);
  const Result<JobReference> reference = ParseJobReference(options_.source);
  if (!reference) {
    return Fail(ErrorCode::kRejected,
                fmt::format("'{}' is no file, no folder and no job", Printable(options_.source, 200)),
                "name a model, the folder of a `hone optimize`, or JOB or JOB/TRIAL at a coordinator");
  }
  TRY_ASSIGN(Client client, ConnectTo(options_.coordinator));
  return TakeTrial(client, *reference);
}

Result<> Exporting::TakeFile(const fs::path& path) {
  TRY_ASSIGN(const ModelFile model, OpenModel(path));
  exported_.model = model.local;
  exported_.info = model.info;
  exported_.source_name = path.filename().empty() ? path.parent_path().filename().string() : path.filename().string();
  exported_.name = options_.name.empty() ? NameFor(path.stem().string()) : options_.name;
  if (!options_.manifest.empty()) return TakeManifest(options_.manifest);
  std::error_code failure;
  const fs::path beside = fs::path(model.local.folder()) / kManifestFile;
  if (fs::exists(beside, failure)) return TakeManifest(beside);
  Manifest manifest;
  manifest.name = exported_.name;
  manifest.source_name = exported_.source_name;
  manifest.source = manifest.result = model.local.bundle();
  exported_.manifest = exporters::ManifestJson(manifest);
  return {};
}

// A manifest that lies beside the model, or was named: how the file was made. It must be this file's.
Result<> Exporting::TakeManifest(const fs::path& file) {
  TRY_ASSIGN(const std::string text, ReadFile(file, kMaxManifestBytes));
  TRY_ASSIGN(Manifest manifest, exporters::ParseManifest(text, file.string()));
  const auto digests = [](const proto::Bundle& bundle) {
    std::vector<std::string> all;
    for (const proto::File& one : bundle.files()) all.push_back(one.digest());
    std::sort(all.begin(), all.end());
    return all;
  };
  if (digests(manifest.result) != digests(exported_.model.bundle())) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} tells of {}, but the model is {}", file.string(), BundleId(manifest.result),
                            BundleId(exported_.model.bundle())),
                "name the model's own manifest with --manifest, or move the model to a folder without one");
  }
  exported_.source_name = manifest.source_name;
  exported_.backend = manifest.backend;
  exported_.settings = manifest.settings;
  exported_.manifest = exporters::ManifestJson(manifest);
  return {};
}

// The coordinator of the folder is started once more and asked.
Result<> Exporting::TakeOptimized(const fs::path& folder) {
  TRY_ASSIGN(const std::string text, ReadFile(folder / "result.json", kMaxManifestBytes * 4));
  const Json result = Json::parse(text, nullptr, false);
  const std::string job = result.is_object() ? result.value("job", "") : "";
  const Result<uint64_t> number = ParseJob(job);
  if (!number)
    return Fail(ErrorCode::kRejected,
                fmt::format("{} is no result of `hone optimize`", (folder / "result.json").string()));
  FleetOptions fleet_options;
  fleet_options.state = fs::absolute(folder / ".hone");
  TRY_ASSIGN(const std::unique_ptr<EmbeddedFleet> fleet, EmbeddedFleet::Start(fleet_options));
  return TakeTrial(fleet->client(), JobReference{*number, std::nullopt});
}

Result<> Exporting::TakeTrial(Client& client, const JobReference& reference) {
  TRY_ASSIGN(const proto::JobSummary job, client.Job(reference.job));
  const uint64_t target = options_.target.value_or(1);
  if (target > static_cast<uint64_t>(job.studies_size())) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has {} targets, not {}", reference.job, job.studies_size(), target));
  }
  const proto::StudySummary& study = job.studies(static_cast<int>(target) - 1);
  if (!reference.trial && !study.has_best()) {
    return Fail(ErrorCode::kNo, fmt::format("job {} has no feasible candidate", reference.job),
                fmt::format("see `hone trials {}`", reference.job));
  }
  const uint64_t trial = reference.trial.value_or(study.best().trial());
  TRY_ASSIGN(proto::GetOriginReply origin, client.Origin(reference.job, study.study(), trial));
  const proto::Bundle& bundle = origin.trial().model();
  if (bundle.files_size() == 0) {
    return Fail(ErrorCode::kNotFound, fmt::format("trial {}/{} has no model", reference.job, trial),
                origin.trial().reason());
  }
  TRY(CheckBundle(bundle));
  TRY_ASSIGN(downloads_, ScopedFolder::Make(options_.output, ".incoming-"));
  TRY(client.Fetch(bundle, downloads_->path()));
  TRY_ASSIGN(const ModelFile model,
             OpenModel(bundle.main().empty() ? downloads_->path() : downloads_->path() / bundle.main()));
  exported_.model = model.local;
  exported_.info = model.info;
  exported_.job = reference.job;
  exported_.backend = origin.trial().candidate().backend();
  exported_.settings = origin.trial().candidate().settings();
  exported_.source_name = origin.request().recipe().model();
  exported_.name = options_.name.empty() ? NameFor(fs::path(exported_.source_name).stem().string()) : options_.name;
  exported_.manifest = exporters::ManifestJson(exporters::ManifestOf(origin, exported_.name));
  exported_.origin = std::move(origin);
  return {};
}

Result<> Exporting::SettleRuntime(const proto::Catalogue& catalogue) {
  if (!options_.backend.empty()) {
    exported_.backend = options_.backend;
    exported_.settings.Clear();
  }
  if (exported_.backend.empty()) {
    TRY_ASSIGN(exported_.backend, DefaultBackend(catalogue, exported_.model.bundle().format()));
  }
  TRY_ASSIGN(const proto::BackendInfo* backend, RequireBackend(catalogue, exported_.backend));
  if (options_.settings.empty()) return {};
  TRY_ASSIGN(exported_.settings, ParseSettings(options_.settings, backend->settings(), "backend " + exported_.backend));
  return {};
}

// The dimension that the load is tried with; nullopt for one that nobody knows. A batch of one does for every model,
// and so does one token, but no size of a picture does.
std::optional<int64_t> Exporting::TriedDim(const proto::TensorInfo& input, int d) const {
  const Result<int64_t> fixed = ParseInteger(input.dims(d));
  if (fixed) return *fixed;
  const Json& pins = exported_.manifest.at("inputs");
  const auto index = static_cast<size_t>(d);
  const bool pinned = pins.contains(input.name()) && index < pins[input.name()].size();
  if (pinned && pins[input.name()][index].get<int64_t>() > 0) return pins[input.name()][index].get<int64_t>();
  return d == 0 || input.dims_size() <= 3 ? std::optional<int64_t>(1) : std::nullopt;
}

// In a runner: loaded by the engine that will serve it. What is left to tell, or "".
Result<std::string> Exporting::CheckLoads(const std::string& backend) const {
  proto::Task task;
  proto::MeasureTask& measure = *task.mutable_measure();
  *measure.mutable_candidate()->mutable_model() = exported_.model;
  measure.mutable_candidate()->set_backend(backend);
  if (backend == exported_.backend) *measure.mutable_candidate()->mutable_settings() = exported_.settings;
  for (const proto::TensorInfo& input : exported_.info.inputs()) {
    proto::InputShape& shape = *measure.add_inputs();
    shape.set_name(input.name());
    for (int d = 0; d < input.dims_size(); ++d) {
      const std::optional<int64_t> dim = TriedDim(input, d);
      if (!dim) return fmt::format("it was not loaded by {} here: the size of '{}' is free", backend, input.name());
      shape.add_dims(*dim);
    }
  }
  const Result<proto::TaskResult> loaded = RunLocalTask(task);
  if (loaded) return std::string();
  Error error = loaded.error();
  error.remedy = "convert it for that engine, or export it for another one";
  return FailWith(fmt::format("{} does not load this model", backend), std::move(error));
}

// What --license says (the first line of a file, if it names one), else the licence file beside the model.
std::string Exporting::LicenseText() const {
  std::error_code failure;
  const auto first_line = [](const fs::path& file) {
    const Result<std::string> text = ReadFile(file, 1 << 20);
    return text ? std::string(Trim(Split(std::string(Trim(*text)), '\n').front())) : std::string();
  };
  if (!options_.license.empty())
    return fs::is_regular_file(options_.license, failure) ? first_line(options_.license) : options_.license;
  if (exported_.origin) return {};
  for (const char* name : {"LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"}) {
    const fs::path file = fs::path(exported_.model.folder()) / name;
    if (fs::is_regular_file(file, failure))
      return fmt::format("{} (of the file {} beside the model)", first_line(file), name);
  }
  return {};
}

}  // namespace

Run DefineExport(Flags& flags) {
  auto options = std::make_shared<ExportOptions>();
  flags.Argument("SOURCE", "JOB, JOB/TRIAL, the folder of a `hone optimize`, or a model file", options->source);
  flags.RequiredText("-f,--format", "F", "folder, openvino-model-server, triton, kserve or olive", options->format);
  flags.RequiredText("-o,--output", "DIR", "folder for the files; models of a repository that it is already stay",
                     options->output);
  flags.Text("--name", "NAME", "name of the model in a repository (default: the file's)", options->name);
  flags.Text("--backend", "B", "engine that it is meant for (default: the trial's, else the format's)",
             options->backend);
  flags.List("--set", "KEY=VALUE", "settings of that engine", options->settings, LooksLikeAssignment);
  flags.Text("--batch", "N|auto", "batch that a model server loads it with", options->batch);
  flags.Count("--max-batch", "N", "largest batch that Triton puts together (default 8)", options->max_batch, 1,
              1 << 20);
  flags.Count("--version", "N", "version in a repository (default: the next)", options->version, 1, INT32_MAX);
  flags.Count("--target", "N", "of target number N of the job", options->target, 1, 1000);
  flags.Text("--license", "TEXT", "licence for the model card, or the file that holds it", options->license);
  flags.Text("--storage-uri", "URI", "where KServe finds the storage folder", options->storage_uri);
  flags.Text("--manifest", "FILE", "how a model file was made (default: hone.manifest.json beside it)",
             options->manifest);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Exporting(*options, console).Run(); };
}

}  // namespace hone
