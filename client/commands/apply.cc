// hone apply: passes in order, without a search.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "client/command.h"
#include "client/interrupt.h"
#include "client/job_request.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/result_files.h"
#include "client/step_flags.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

struct ApplyOptions {
  std::string model;
  std::string shown;               // What the document calls the model; "" as it is named.
  std::string output;
  std::string data;
  std::string calibration;
  std::string recipe;              // For inputs and preprocessing.
  std::vector<std::string> passes;
  std::vector<std::string> inputs;
  std::optional<uint64_t> samples;
  std::optional<uint64_t> threads;
  std::optional<uint64_t> seed;
};

// What OUT names: a file of a format, or a folder.
struct Place {
  fs::path folder;
  std::string stem = "model";
  std::string format;      // "" for a folder: any.
};

Result<Place> ParsePlace(const std::string& output) {
  const fs::path path(output);
  std::error_code failure;
  if (path.empty()) return Fail(ErrorCode::kUsage, "-o names nothing");
  if (fs::is_directory(path, failure) || output.back() == '/') return Place{path, "model", ""};
  static constexpr std::pair<const char*, const char*> kFormats[] = {
      {".onnx", "onnx"}, {".xml", "openvino_ir"}, {".tflite", "tflite"}};
  for (const auto& [extension, format] : kFormats) {
    if (path.extension() == extension) {
      return Place{path.has_parent_path() ? path.parent_path() : fs::path("."), path.stem().string(), format};
    }
  }
  if (fs::exists(path, failure))
    return Fail(ErrorCode::kRejected, fmt::format("{} is a file of an unknown kind", output),
                "name a folder, .onnx or .xml");
  return Place{path, "model", ""};
}

struct StepDone {
  proto::PassStep step;
  proto::BuildResult result;
};

class Apply {
 public:
  Apply(const ApplyOptions& options, Console& console) : options_(options), console_(console) {}
  Result<int> Run();

 private:
  Result<> Prepare();
  Result<> PrepareCalibration(const proto::Recipe& recipe);
  Result<> RunSteps(const fs::path& scratch);
  Result<> CheckTargets(const proto::Bundle& bundle) const;
  Json Document() const;
  std::string Text() const;

  const ApplyOptions& options_;
  Console& console_;
  Place place_;
  ModelFile model_;
  proto::Catalogue catalogue_;
  std::vector<proto::PassStep> steps_;
  google::protobuf::RepeatedPtrField<proto::InputShape> pins_;
  std::optional<proto::LocalData> calibration_;
  std::vector<StepDone> done_;
  proto::LocalBundle built_;
  WrittenModel written_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

Result<int> Apply::Run() {
  TRY(Prepare());
  const HoldInterrupts hold;
  // Beside the target, so that the end is a rename; removed with everything in it unless all passes succeed.
  TRY_ASSIGN(NewFolder folder, NewFolder::Make(place_.folder));
  TRY_ASSIGN(const ScopedFolder scratch, ScopedFolder::Make(place_.folder, ".hone-apply-"));
  TRY(RunSteps(scratch.path()));
  TRY(CheckTargets(built_.bundle()));
  TRY_ASSIGN(written_, PlaceModel(built_.bundle(), built_.folder(), place_.folder, place_.stem));
  folder.Keep();
  TRY(console_.json ? console_.PrintJson(Document()) : console_.Print(Text()));
  return 0;
}

Result<> Apply::Prepare() {
  TRY_ASSIGN(place_, ParsePlace(options_.output));
  TRY_ASSIGN(const std::vector<proto::InputShape> pins, ParsePins(options_.inputs));
  proto::Recipe recipe;
  if (!options_.recipe.empty()) {
    TRY_ASSIGN(recipe, ReadRecipe(options_.recipe, "onnx", &console_.others));
  }
  TRY_ASSIGN(model_, OpenModel(options_.model));
  TRY_ASSIGN(catalogue_, LocalCatalogue());
  for (const std::string& word : options_.passes) {
    TRY_ASSIGN(proto::PassStep step, ParsePass(word, catalogue_));
    steps_.push_back(std::move(step));
  }
  TRY_ASSIGN(const std::string format, ChainFormats(steps_, catalogue_, model_.local.bundle().format()));
  if (!place_.format.empty() && place_.format != format) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the passes give {}, but {} is named as {}", format, options_.output, place_.format),
                format == "openvino_ir" ? "name OUT with .xml, or a folder" : "name a folder");
  }
  RecipeFlags flags;
  flags.inputs = pins;
  std::vector<std::string> notes;
  TRY(ApplyFlags(flags, catalogue_, recipe, notes));
  pins_ = recipe.inputs();
  TRY(CheckPins(model_.info, pins_));
  return PrepareCalibration(recipe);
}

Result<> Apply::PrepareCalibration(const proto::Recipe& recipe) {
  const auto needing = std::find_if(steps_.begin(), steps_.end(), [&](const proto::PassStep& step) {
    return FindPassInfo(catalogue_, step.pass())->needs_calibration();
  });
  const std::string& path = options_.calibration.empty() ? options_.data : options_.calibration;
  if (needing != steps_.end() && path.empty()) {
    return Fail(ErrorCode::kRejected, fmt::format("{} needs calibration data", needing->pass()),
                "give --calibration D, an .npz or a folder of data");
  }
  if (path.empty()) return {};
  TRY_ASSIGN(proto::LocalBundle bundle, OpenData(path));
  proto::LocalData data;
  *data.mutable_data() = std::move(bundle);
  const proto::DataRange& range = recipe.calibration().has_preprocess() ? recipe.calibration() : recipe.evaluation();
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  TRY_ASSIGN(const uint64_t samples, CountSamples(model_, pins_, data));
  const uint64_t wanted = options_.samples.value_or(128);
  if (samples > wanted) data.set_samples(wanted);
  const bool taken = std::any_of(steps_.begin(), steps_.end(), [&](const proto::PassStep& step) {
    return FindPassInfo(catalogue_, step.pass())->takes_calibration();
  });
  if (needing != steps_.end() || taken) calibration_ = std::move(data);
  return {};
}

Result<> Apply::RunSteps(const fs::path& scratch) {
  built_ = model_.local;
  for (const proto::PassStep& step : steps_) {
    const fs::path folder = scratch / std::to_string(done_.size());
    TRY(MakeFolder(folder));
    proto::Task task;
    proto::BuildTask& build = *task.mutable_build();
    *build.mutable_model() = built_;
    *build.mutable_step() = step;
    *build.mutable_inputs() = pins_;
    if (calibration_) *build.mutable_calibration() = *calibration_;
    build.set_seed(options_.seed.value_or(0));
    build.set_threads(static_cast<uint32_t>(options_.threads.value_or(0)));
    build.set_output_folder(fs::absolute(folder).string());
    Result<proto::TaskResult> result = RunLocalTask(task);
    if (!result && result.error().code == ErrorCode::kInterrupted)
      return Fail(ErrorCode::kInterrupted, "interrupted: nothing was written");
    if (!result) return FailWith(step.pass(), std::move(result.error()));
    done_.push_back({step, std::move(*result->mutable_build())});
    *built_.mutable_bundle() = done_.back().result.model();
    built_.set_folder(fs::absolute(folder).string());
    TRY(CheckBundle(built_.bundle()));
  }
  return {};
}

// Weights beside the model keep the name that the model gives them; they must not replace another model's, nor the
// input itself.
Result<> Apply::CheckTargets(const proto::Bundle& bundle) const {
  if (IsInParts(bundle) && !place_.format.empty()) {
    return Fail(ErrorCode::kRejected, fmt::format("the parts are several files, but {} is one", options_.output),
                "name a folder with -o");
  }
  const std::vector<std::string> names = OutputNames(bundle, place_.stem);
  for (int i = 0; i < bundle.files_size(); ++i) {
    const fs::path target = place_.folder / names[static_cast<size_t>(i)];
    std::error_code failure;
    if (!fs::exists(target, failure)) continue;
    for (const proto::File& source : model_.local.bundle().files()) {
      if (fs::equivalent(target, PathIn(model_.local.folder(), source), failure)) {
        return Fail(ErrorCode::kRejected,
                    fmt::format("{} would overwrite the model that it is made from", target.string()),
                    "name another file or folder with -o");
      }
    }
    const bool named_by_model =
        names[static_cast<size_t>(i)] == bundle.files(i).path() && bundle.files(i).path() != bundle.main();
    if (named_by_model && !place_.format.empty()) {
      return Fail(ErrorCode::kRejected, fmt::format("{} is in the way of the model's weights", target.string()),
                  "name a new folder with -o");
    }
  }
  return {};
}

Json Apply::Document() const {
  Json steps = Json::array();
  uint64_t peak = 0;
  for (const StepDone& done : done_) {
    Json notes = Json::array();
    for (const std::string& note : done.result.notes()) notes.push_back(note);
    peak = std::max(peak, done.result.peak_memory_bytes());
    steps.push_back({{"pass", done.step.pass()},
                     {"params", ParametersJson(done.step.parameters())},
                     {"wall_s", static_cast<double>(done.result.wall_ms()) / 1000},
                     {"peak_memory_bytes", done.result.peak_memory_bytes()},
                     {"artifact", BundleId(done.result.model())},
                     {"size_bytes", BundleBytes(done.result.model())},
                     {"notes", notes}});
  }
  const std::string digest = BundleId(built_.bundle());
  return {{"schema", "hone.apply/1"},
          {"model", options_.shown.empty() ? options_.model : options_.shown},
          {"path", written_.path},
          {"files", written_.files},
          {"artifact", digest},
          {"digests", {{"input", BundleId(model_.local.bundle())}, {"output", digest}}},
          {"metrics",
           {{"size_bytes", BundleBytes(built_.bundle())}, {"input_size_bytes", BundleBytes(model_.local.bundle())}}},
          {"wall_s", std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count()},
          {"peak_memory_bytes", peak},
          {"steps", steps}};
}

std::string Apply::Text() const {
  std::string text;
  for (const StepDone& done : done_) {
    text += fmt::format("{}  {}\n", done.step.pass(), HumanDuration(static_cast<int64_t>(done.result.wall_ms())));
    for (const std::string& note : done.result.notes()) text += fmt::format("  {}\n", Printable(note));
  }
  return text + fmt::format("{}  {} (was {})\n", written_.path, HumanBytes(BundleBytes(built_.bundle())),
                            HumanBytes(BundleBytes(model_.local.bundle())));
}

struct ComposeOptions {
  std::string first;
  std::string second;
  std::vector<std::string> others;
  std::string output;
};

// The models side by side in a folder, as the pass `split` leaves parts, with no more told than their order.
Result<> StageParts(const std::vector<std::string>& models, const fs::path& folder) {
  Json parts = Json::array();
  for (const std::string& path : models) {
    TRY_ASSIGN(const ModelFile model, OpenModel(path));
    const proto::Bundle& bundle = model.local.bundle();
    if (bundle.format() != "onnx")
      return Fail(ErrorCode::kRejected, fmt::format("{} is {}, and compose joins ONNX models", path, bundle.format()));
    const std::string name = fmt::format("part_{}", parts.size());
    for (const proto::File& file : bundle.files()) {
      const bool is_main = file.path() == bundle.main();
      if (!is_main && file.path() == "model.onnx")
        return Fail(ErrorCode::kRejected, fmt::format("{} keeps its weights in a file called model.onnx", path));
      const fs::path target = folder / name / (is_main ? std::string("model.onnx") : file.path());
      TRY(MakeFolder(target.parent_path()));
      TRY(LinkOrCopy(PathIn(model.local.folder(), file), target));
    }
    parts.push_back({{"model", name + "/model.onnx"}});
  }
  return WriteFile(folder / kPartsFile, Json({{"parts", parts}}).dump());
}

Result<int> Compose(const ComposeOptions& options, Console& console) {
  std::vector<std::string> models = {options.first, options.second};
  models.insert(models.end(), options.others.begin(), options.others.end());
  TRY_ASSIGN(const Place place, ParsePlace(options.output));
  const HoldInterrupts hold;
  TRY_ASSIGN(NewFolder folder, NewFolder::Make(place.folder));
  TRY_ASSIGN(const ScopedFolder stage, ScopedFolder::Make(place.folder, ".hone-compose-"));
  TRY(StageParts(models, stage.path()));
  ApplyOptions apply;
  apply.model = stage.path().string();
  apply.shown = Join(models, " ");
  apply.output = options.output;
  apply.passes = {"compose"};
  TRY_ASSIGN(const int code, Apply(apply, console).Run());
  folder.Keep();
  return code;
}

}  // namespace

Run DefineCompose(Flags& flags) {
  auto options = std::make_shared<ComposeOptions>();
  flags.Argument("FIRST", "the model that comes first", options->first);
  flags.Argument("SECOND", "the model that takes its outputs", options->second);
  flags.List("--then", "MODEL", "another one behind them; repeat for several, in order", options->others);
  flags.RequiredText("-o,--output", "OUT", "file (.onnx) or folder", options->output);
  return [options](Console& console) { return Compose(*options, console); };
}

Run DefineApply(Flags& flags) {
  auto options = std::make_shared<ApplyOptions>();
  flags.Argument("MODEL", "the model", options->model);
  flags.RequiredList("--pass", "NAME[:key=value,...]", "a pass with its parameters; repeat for several, in order",
                     options->passes, LooksLikePass);
  flags.RequiredText("-o,--output", "OUT", "file (.onnx, .xml) or folder", options->output);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options->inputs, LooksLikeAssignment);
  flags.Text("--calibration", "D", "calibration data: .npz, a folder of test_data_set_N, or a folder of images",
             options->calibration);
  flags.Text("--data", "D", "the same, where --calibration is not given", options->data);
  flags.Count("--samples", "N", "calibrate with the first N samples (default 128)", options->samples, 1, 1'000'000'000);
  flags.Text("-r,--recipe", "FILE", "recipe whose inputs and preprocessing count", options->recipe);
  flags.Count("--threads", "N", "threads (default: all cores allowed)", options->threads, 1, 4096);
  flags.Count("--seed", "S", "seed of every random choice", options->seed, 0, INT64_MAX);
  return [options](Console& console) { return Apply(*options, console).Run(); };
}

}  // namespace hone
