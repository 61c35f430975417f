// hone reproduce: the steps of a manifest once more, every digest compared.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/exporters/manifest.h"
#include "client/interrupt.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/result_files.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using exporters::Manifest;
using exporters::ManifestStep;

constexpr uint64_t kMaxManifestText = 64 << 20;

struct ReproduceOptions {
  std::string manifest;
  std::string model;
  std::string calibration;
  std::string output;
};

// A file under its name beside the manifest, in a folder `source` there, or in the working folder.
fs::path FindNamed(const fs::path& manifest, const std::string& name) {
  std::error_code failure;
  if (name.empty()) return {};
  for (const fs::path& folder : {manifest.parent_path() / "source", manifest.parent_path(), fs::path(".")}) {
    if (fs::exists(folder / fs::path(name).filename(), failure)) return folder / fs::path(name).filename();
  }
  return {};
}

class Reproduction {
 public:
  Reproduction(const ReproduceOptions& options, Console& console) : options_(options), console_(console) {}
  Result<int> Run();

 private:
  Result<> OpenSource();
  Result<> OpenCalibration();
  Result<> CheckVersions();
  Result<> RunStep(const ManifestStep& step, const fs::path& folder);
  std::string Whose(size_t index) const;
  Result<int> Differs(size_t index);
  Result<int> Finish(const std::vector<std::string>& files);

  const ReproduceOptions& options_;
  Console& console_;
  Manifest manifest_;
  proto::LocalBundle at_;
  std::optional<proto::LocalData> calibration_;
  std::vector<std::string> differences_;  // Of versions here and in the manifest, one a step; "" for none.
};

Result<int> Reproduction::Run() {
  Result<std::string> text = ReadFile(options_.manifest, kMaxManifestText);
  if (!text && text.error().code == ErrorCode::kNotFound) return Fail(ErrorCode::kRejected, text.error().message);
  if (!text) return Fail(text.error());
  TRY_ASSIGN(manifest_, exporters::ParseManifest(*text, options_.manifest));
  TRY(OpenSource());
  TRY(OpenCalibration());
  TRY(CheckVersions());
  const fs::path place = options_.output.empty() ? fs::temp_directory_path() : fs::path(options_.output);
  TRY_ASSIGN(NewFolder folder, NewFolder::Make(place));
  TRY_ASSIGN(const ScopedFolder scratch, ScopedFolder::Make(place, ".hone-reproduce-"));
  const HoldInterrupts hold;
  for (size_t i = 0; i < manifest_.steps.size(); ++i) {
    const ManifestStep& step = manifest_.steps[i];
    TRY(RunStep(step, scratch.path() / std::to_string(i)));
    if (step.made && BundleId(*step.made) != BundleId(at_.bundle())) return Differs(i);
  }
  if (BundleId(at_.bundle()) != BundleId(manifest_.result)) {
    return manifest_.steps.empty()
               ? Fail(ErrorCode::kRejected, "the manifest has no steps, and its result is not its source")
               : Differs(manifest_.steps.size() - 1);
  }
  std::vector<std::string> files;
  if (!options_.output.empty()) {
    // Without steps the files are the source's own: they stay where they are.
    if (manifest_.steps.empty()) {
      const fs::path copy = scratch.path() / "copy";
      for (const proto::File& file : at_.bundle().files()) {
        TRY(MakeFolder(PathIn(copy, file).parent_path()));
        TRY(LinkOrCopy(PathIn(at_.folder(), file), PathIn(copy, file)));
      }
      at_.set_folder(copy.string());
    }
    TRY_ASSIGN(const WrittenModel written, PlaceModel(at_.bundle(), at_.folder(), place));
    files = written.files;
    folder.Keep();
  }
  return Finish(files);
}

Result<> Reproduction::OpenSource() {
  const fs::path path =
      options_.model.empty() ? FindNamed(options_.manifest, manifest_.source_name) : fs::path(options_.model);
  const std::string wanted = fmt::format("the source {} ({})", manifest_.source_name, BundleId(manifest_.source));
  if (path.empty())
    return Fail(ErrorCode::kRejected, wanted + " is not beside the manifest", "name it with --model FILE");
  TRY_ASSIGN(const ModelFile model, OpenModel(path));
  if (BundleId(model.local.bundle()) != BundleId(manifest_.source)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} is {}, not {}", path.string(), BundleId(model.local.bundle()), wanted),
                "name the right one with --model FILE");
  }
  at_ = model.local;
  return {};
}

Result<> Reproduction::OpenCalibration() {
  if (!manifest_.calibration) return {};
  const fs::path path = options_.calibration.empty() ? FindNamed(options_.manifest, manifest_.calibration_name)
                                                     : fs::path(options_.calibration);
  const std::string wanted = fmt::format("the calibration data {} ({})", manifest_.calibration_name,
                                         BundleId(manifest_.calibration->bundle()));
  if (path.empty())
    return Fail(ErrorCode::kRejected, wanted + " are not beside the manifest", "name them with --calibration D");
  TRY_ASSIGN(const proto::LocalBundle data, OpenData(path));
  if (BundleId(data.bundle()) != BundleId(manifest_.calibration->bundle())) {
    return Fail(ErrorCode::kRejected, fmt::format("{} is {}, not {}", path.string(), BundleId(data.bundle()), wanted),
                "name the right ones with --calibration D");
  }
  calibration_.emplace();
  *calibration_->mutable_data() = data;
  calibration_->set_from(manifest_.calibration->from());
  calibration_->set_samples(manifest_.calibration->samples());
  if (manifest_.calibration->has_preprocess())
    *calibration_->mutable_preprocess() = manifest_.calibration->preprocess();
  return {};
}

// Another version of a pass may give other bytes, and only the bytes decide; but who looks for the cause is told.
Result<> Reproduction::CheckVersions() {
  TRY_ASSIGN(const proto::Catalogue catalogue, LocalCatalogue());
  for (const ManifestStep& step : manifest_.steps) {
    const proto::PassInfo* pass = FindPassInfo(catalogue, step.step.pass());
    if (pass == nullptr)
      return Fail(ErrorCode::kNotFound, fmt::format("this machine has no pass '{}'", step.step.pass()),
                  "`hone passes` lists them");
    std::string difference;
    if (pass->program_version() != step.program_version) {
      difference = fmt::format("its program is '{}' here and was '{}'", pass->program_version(), step.program_version);
    } else if (pass->version() != step.version) {
      difference = fmt::format("the pass has version {} here and had {}", pass->version(), step.version);
    }
    differences_.push_back(difference);
  }
  return {};
}

Result<> Reproduction::RunStep(const ManifestStep& step, const fs::path& folder) {
  TRY(MakeFolder(folder));
  proto::Task task;
  proto::BuildTask& build = *task.mutable_build();
  *build.mutable_model() = at_;
  *build.mutable_step() = step.step;
  *build.mutable_inputs() = manifest_.inputs;
  if (calibration_) *build.mutable_calibration() = *calibration_;
  build.set_seed(manifest_.seed);
  build.set_output_folder(fs::absolute(folder).string());
  Result<proto::TaskResult> result = RunLocalTask(task);
  if (!result) return FailWith(step.step.pass(), std::move(result.error()));
  *at_.mutable_bundle() = result->build().model();
  at_.set_folder(fs::absolute(folder).string());
  return CheckBundle(at_.bundle());
}

std::string Reproduction::Whose(size_t index) const {
  return fmt::format("step {} of {} ({})", index + 1, manifest_.steps.size(), manifest_.steps[index].step.pass());
}

Result<int> Reproduction::Differs(size_t index) {
  const ManifestStep& step = manifest_.steps[index];
  const std::string wanted = BundleId(step.made ? *step.made : manifest_.result);
  const std::string difference = differences_[index].empty() ? "the versions are the same" : differences_[index];
  if (console_.json) {
    TRY(console_.PrintJson({{"schema", "hone.reproduce/1"},
                            {"same", false},
                            {"step", index + 1},
                            {"pass", step.step.pass()},
                            {"made", BundleId(at_.bundle())},
                            {"wanted", wanted},
                            {"why", difference}}));
    return 1;
  }
  TRY(console_.Print(
      fmt::format("{} gives {}\n  instead of {}: {}\n", Whose(index), BundleId(at_.bundle()), wanted, difference)));
  return 1;
}

Result<int> Reproduction::Finish(const std::vector<std::string>& files) {
  const std::string digest = BundleId(at_.bundle());
  if (console_.json) {
    TRY(console_.PrintJson({{"schema", "hone.reproduce/1"},
                            {"same", true},
                            {"steps", manifest_.steps.size()},
                            {"artifact", digest},
                            {"files", files}}));
    return 0;
  }
  std::string text = fmt::format("the same bytes after {} steps: {}\n", manifest_.steps.size(), digest);
  for (const std::string& file : files) text += file + "\n";
  TRY(console_.Print(text));
  return 0;
}

}  // namespace

Run DefineReproduce(Flags& flags) {
  auto options = std::make_shared<ReproduceOptions>();
  flags.Argument("MANIFEST", "hone.manifest.json of an export", options->manifest);
  flags.Text("--model", "FILE", "the source model (default: by its name beside the manifest)", options->model);
  flags.Text("--calibration", "D", "the calibration data (default: by their name beside the manifest)",
             options->calibration);
  flags.Text("-o,--output", "DIR", "folder for the model; without it the digests are compared alone", options->output);
  return [options](Console& console) { return Reproduction(*options, console).Run(); };
}

}  // namespace hone
