#include "client/job_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/recipe_check.h"
#include "client/recipe_flags.h"
#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxRecipeBytes = 1 << 20;
constexpr uint64_t kCalibrationSamples = 128;

// A path of a recipe means a file beside it.
fs::path BesideRecipe(const std::string& recipe, const std::string& path) {
  if (recipe.empty() || fs::path(path).is_absolute()) return path;
  return fs::path(recipe).parent_path() / path;
}

// A flag names another data set than the recipe. The recipe's range and preprocessing stay: they say how a data set is
// used.
void Override(const std::string& path, const proto::DataRange& other, proto::DataRange& range) {
  range.set_path(path);
  if (!range.has_preprocess() && other.has_preprocess()) *range.mutable_preprocess() = other.preprocess();
}

Result<proto::LocalData> OpenRange(const proto::DataRange& range, const fs::path& path) {
  Result<proto::LocalBundle> bundle = OpenData(path);
  if (!bundle) {
    Error error = std::move(bundle.error());
    error.file = range.position().file();
    error.line = range.position().line();
    error.column = range.position().column();
    return Fail(std::move(error));
  }
  proto::LocalData data;
  *data.mutable_data() = std::move(*bundle);
  data.set_from(range.from());
  data.set_samples(range.samples());
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  return data;
}

bool HasData(const proto::Recipe& recipe, bool calibration) {
  return calibration ? recipe.has_calibration() && !recipe.calibration().path().empty()
                     : recipe.has_evaluation() && !recipe.evaluation().path().empty();
}

class Preparation {
 public:
  Preparation(const JobOptions& options, const std::function<Result<proto::Catalogue>()>& catalogue, Mistakes* others)
      : options_(options), ask_catalogue_(catalogue), others_(others) {}

  Result<JobRequest> Run() {
    TRY(Read());
    TRY(OpenFiles());
    TRY_ASSIGN(catalogue_, ask_catalogue_());
    TRY(ApplyOptions());
    TRY(SettleData());
    Finish();
    return std::move(request_);
  }

 private:
  Result<> Read();
  Result<> OpenFiles();
  Result<> ApplyOptions();
  Result<> SettleData();
  void Split(uint64_t samples);
  void Finish();

  JobOptions options_;
  const std::function<Result<proto::Catalogue>()>& ask_catalogue_;
  Mistakes* const others_;
  proto::Recipe recipe_;
  proto::Catalogue catalogue_;
  RecipeFlags flags_;
  std::optional<proto::LocalData> calibration_;
  std::optional<proto::LocalData> evaluation_;
  JobRequest request_;
};

Result<> Preparation::Read() {
  TRY_ASSIGN(flags_.inputs, ParsePins(options_.inputs));
  if (!options_.max_accuracy_drop.empty()) {
    const Result<double> share = ParseShare(options_.max_accuracy_drop);
    if (!share) return FailWith("--max-accuracy-drop " + options_.max_accuracy_drop, share.error());
    flags_.max_accuracy_drop = *share;
  }
  flags_.backends = options_.backends;
  flags_.precisions = options_.precisions;
  flags_.minimize = options_.minimize;
  flags_.maximize = options_.maximize;
  flags_.trials = options_.trials;
  flags_.time_ms = options_.time_ms;
  flags_.seed = options_.seed;
  flags_.threads = options_.threads;
  if (options_.ready) {
    recipe_ = *options_.ready;
  } else {
    std::string format = FormatOfName(options_.model);
    if (options_.recipe.empty() && format == "checkpoint") {
      TRY_ASSIGN(request_.model, OpenModel(options_.model));
      if (IsEncoderCheckpoint(request_.model.info)) format = kEncoder;
    }
    TRY_ASSIGN(recipe_, ReadRecipe(options_.recipe, format, others_));
  }
  // A recipe that parts one data set for both uses parts the one that a flag names in its place.
  const bool one_set = HasData(recipe_, true) && recipe_.calibration().path() == recipe_.evaluation().path();
  if (one_set && options_.calibration.empty()) options_.calibration = options_.data;
  if (one_set && options_.data.empty()) options_.data = options_.calibration;
  if (!options_.data.empty()) Override(options_.data, recipe_.calibration(), *recipe_.mutable_evaluation());
  if (!options_.calibration.empty())
    Override(options_.calibration, recipe_.evaluation(), *recipe_.mutable_calibration());
  return {};
}

Result<> Preparation::OpenFiles() {
  const fs::path model =
      options_.model.empty() ? BesideRecipe(options_.recipe, recipe_.model()) : fs::path(options_.model);
  if (model.empty()) {
    return Fail(ErrorCode::kUsage, "no model was named",
                "give one: hone optimize MODEL -o DIR, or `model:` in the recipe");
  }
  if (request_.model.path.empty()) {
    TRY_ASSIGN(request_.model, OpenModel(model));
  }
  if (HasData(recipe_, true)) {
    const proto::DataRange& range = recipe_.calibration();
    TRY_ASSIGN(calibration_, OpenRange(range, options_.calibration.empty() ? BesideRecipe(options_.recipe, range.path())
                                                                           : fs::path(range.path())));
  }
  if (HasData(recipe_, false)) {
    const proto::DataRange& range = recipe_.evaluation();
    TRY_ASSIGN(evaluation_, OpenRange(range, options_.data.empty() ? BesideRecipe(options_.recipe, range.path())
                                                                   : fs::path(range.path())));
  }
  return {};
}

Result<> Preparation::ApplyOptions() {
  TRY(ApplyFlags(flags_, catalogue_, recipe_, request_.notes));
  return CheckPins(request_.model.info, recipe_.inputs());
}

Result<> Preparation::SettleData() {
  if (!calibration_ && !evaluation_) {
    recipe_.clear_calibration();
    recipe_.clear_evaluation();
    return RequireKnownShapes(request_.model.info, recipe_.inputs());
  }
  uint64_t samples = 0;
  for (const std::optional<proto::LocalData>* data : {&calibration_, &evaluation_}) {
    if (!*data) continue;
    TRY_ASSIGN(samples, CountSamples(request_.model, recipe_.inputs(), **data));
  }
  const bool one_set = !calibration_ || !evaluation_;
  if (one_set && NeedsCalibration(catalogue_, recipe_)) Split(samples);
  if (calibration_ && !evaluation_) {
    evaluation_ = calibration_;
    request_.notes.push_back("the calibration data also evaluate: no other data were given");
  }
  return {};
}

void Preparation::Split(uint64_t samples) {
  proto::LocalData whole = calibration_ ? *calibration_ : *evaluation_;
  const uint64_t first = CalibrationShare(samples);
  if (first == 0) {
    calibration_ = whole;
    evaluation_ = whole;
    request_.notes.push_back("the same data calibrate and evaluate: there are too few samples to part them");
    return;
  }
  calibration_ = whole;
  calibration_->set_samples(first);
  evaluation_ = whole;
  evaluation_->set_from(whole.from() + first);
  evaluation_->set_samples(samples - first);
  request_.notes.push_back(
      fmt::format("the first {} samples calibrate, the other {} evaluate", first, samples - first));
}

void Preparation::Finish() {
  const auto write_range = [](const std::optional<proto::LocalData>& data, const std::string& other_path,
                              proto::DataRange& range) {
    if (range.path().empty()) range.set_path(other_path);
    range.set_from(data->from());
    range.set_samples(data->samples());
    if (data->has_preprocess()) *range.mutable_preprocess() = data->preprocess();
  };
  const std::string any_path =
      recipe_.evaluation().path().empty() ? recipe_.calibration().path() : recipe_.evaluation().path();
  if (calibration_) write_range(calibration_, any_path, *recipe_.mutable_calibration());
  if (evaluation_) write_range(evaluation_, any_path, *recipe_.mutable_evaluation());

  // The key is made of content: the same files under other names are the same job.
  proto::Recipe content = recipe_;
  content.clear_model();
  content.clear_name();
  if (content.has_calibration()) content.mutable_calibration()->set_path("calibration");
  if (content.has_evaluation()) content.mutable_evaluation()->set_path("evaluation");
  Hasher hasher;
  hasher.Update(WriteRecipe(content));
  hasher.Update("\nmodel " + BundleId(request_.model.local.bundle()));
  for (const std::optional<proto::LocalData>* data : {&calibration_, &evaluation_}) {
    if (!*data) continue;
    hasher.Update(
        fmt::format("\ndata {} {} {}", BundleId((*data)->data().bundle()), (*data)->from(), (*data)->samples()));
  }
  if (options_.threads) hasher.Update(fmt::format("\nthreads {}", *options_.threads));
  request_.key = hasher.Finish();

  recipe_.set_model(request_.model.path.filename().string());
  request_.submission.name = options_.name.empty() ? request_.model.path.filename().string() : options_.name;
  request_.submission.recipe = std::move(recipe_);
  request_.submission.model = request_.model.local;
  request_.submission.calibration = std::move(calibration_);
  request_.submission.evaluation = std::move(evaluation_);
}

}  // namespace

uint64_t CalibrationShare(uint64_t samples) { return std::min(kCalibrationSamples, samples / 2); }

void AddJobFlags(Flags& flags, JobOptions& options) {
  flags.OptionalArgument("MODEL",
                         "the model: .onnx, .xml (OpenVINO), .tflite, .pdmodel, .gguf, or a checkpoint's folder; may "
                         "stand in the recipe", options.model);
  flags.Text("-r,--recipe", "FILE",
             "recipe (YAML); without one the built-in recipe `auto`, of checkpoints `llm_auto` or `encoder_auto`",
             options.recipe);
  flags.Text("--data", "D",
             "evaluation data: .npz, a folder of test_data_set_N, a folder of images, a text (.txt), or token ids "
             "(.npy, .json)", options.data);
  flags.Text("--calibration", "D",
             "calibration data; with one of the two alone, its first part (up to 128, at most half) calibrates",
             options.calibration);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options.inputs, LooksLikeAssignment);
  flags.CommaList("--backend", "B,...", "only these backends", options.backends);
  flags.CommaList("--precision", "P,...", "only these precisions: auto, fp32 (f32), fp16, bf16, int8, int4",
                  options.precisions);
  flags.Text("--max-accuracy-drop", "X", "largest loss of accuracy allowed: 0.01 or 1%", options.max_accuracy_drop);
  flags.CommaList("--minimize", "METRIC,...", "objectives: latency_ms_p50, size_bytes, memory_bytes ...",
                  options.minimize);
  flags.CommaList("--maximize", "METRIC,...", "objectives to make large: throughput_per_s ...", options.maximize);
  flags.Count("--trials", "N", "at most this many candidates", options.trials, 1, 1'000'000);
  flags.Duration("--time", "at most this long: 90s, 10m, 1h30m", options.time_ms);
  flags.Count("--seed", "S", "seed of every random choice", options.seed, 0, INT64_MAX);
  flags.Text("--name", "TEXT", "name of the job", options.name);
}

Result<proto::Recipe> ReadRecipe(const std::string& path, const std::string& model_format, Mistakes* others) {
  const bool checkpoint = model_format == "checkpoint" || model_format == "gguf";
  if (path.empty() && checkpoint) return ParseRecipe(LlmAutoRecipeText(), "llm_auto");
  if (path.empty() && model_format == kEncoder) return ParseRecipe(EncoderAutoRecipeText(), "encoder_auto");
  if (path.empty()) return ParseRecipe(AutoRecipeText(), "auto");
  Result<std::string> text = ReadFile(path, kMaxRecipeBytes);
  if (!text) {
    Error error = std::move(text.error());
    if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kRejected;
    return FailWith("recipe " + Printable(path), std::move(error));
  }
  return ParseRecipe(*text, path, others);
}

Result<JobRequest> PrepareJob(const JobOptions& options, const std::function<Result<proto::Catalogue>()>& catalogue,
                              Mistakes* others) {
  return Preparation(options, catalogue, others).Run();
}

proto::CheckRecipe CheckOf(const JobRequest& request) {
  proto::CheckRecipe question;
  *question.mutable_recipe() = request.submission.recipe;
  question.set_model_format(request.submission.model.bundle().format());
  question.set_has_calibration(request.submission.calibration.has_value());
  question.set_has_evaluation(request.submission.evaluation.has_value());
  return question;
}

}  // namespace hone
