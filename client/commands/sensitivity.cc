// hone sensitivity: what each group of layers loses under a pass, measured here.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "client/command.h"
#include "client/job_request.h"
#include "client/json_output.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/sensitivity_file.h"
#include "client/step_flags.h"
#include "client/table.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr const char* kDefaultPass = "static_int8";
constexpr uint64_t kCalibrationSamples = 128;
constexpr uint64_t kEvaluationSamples = 32;

struct SensitivityOptions {
  std::string model;
  std::vector<std::string> passes;
  std::string data;
  std::string calibration;
  std::string recipe;
  std::string against;
  std::string metric;
  std::string output_name;
  std::string groups = "auto";
  std::string file;
  std::vector<std::string> inputs;
  std::optional<uint64_t> samples;
  std::optional<uint64_t> calibration_samples;
  std::optional<uint64_t> threads;
  std::optional<uint64_t> seed;
  bool no_time = false;
};

// What is put together from the flags, and what came of it.
struct Study {
  ModelFile model;
  proto::SensitivityTask task;
  proto::SensitivityResult result;
  double wall_s = 0;
};

Result<proto::LocalData> OpenPart(const Study& study, const std::string& path, const proto::DataRange& range,
                                  uint64_t most) {
  proto::LocalData data;
  TRY_ASSIGN(*data.mutable_data(), OpenData(path));
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  TRY_ASSIGN(const uint64_t samples, CountSamples(study.model, study.task.inputs(), data));
  if (samples > most) data.set_samples(most);
  return data;
}

Result<> AddData(const SensitivityOptions& options, const proto::Recipe& recipe, const proto::Catalogue& catalogue,
                 Study& study) {
  proto::SensitivityTask& task = study.task;
  const proto::DataRange& evaluation =
      recipe.evaluation().has_preprocess() ? recipe.evaluation() : recipe.calibration();
  const proto::DataRange& calibration =
      recipe.calibration().has_preprocess() ? recipe.calibration() : recipe.evaluation();
  TRY_ASSIGN(*task.mutable_evaluation(),
             OpenPart(study, options.data, evaluation, options.samples.value_or(kEvaluationSamples)));
  const bool wanted = std::any_of(task.steps().begin(), task.steps().end(), [&](const proto::PassStep& step) {
    const proto::PassInfo* pass = FindPassInfo(catalogue, step.pass());
    return pass->needs_calibration() || pass->takes_calibration();
  });
  if (!wanted) return {};
  const std::string& path = options.calibration.empty() ? options.data : options.calibration;
  TRY_ASSIGN(*task.mutable_calibration(),
             OpenPart(study, path, calibration, options.calibration_samples.value_or(kCalibrationSamples)));
  return {};
}

Result<Study> Prepare(const SensitivityOptions& options) {
  Study study;
  if (options.data.empty()) return Fail(ErrorCode::kUsage, "--data D is missing", "see `hone sensitivity --help`");
  if (!options.against.empty() && options.against != "original" && options.against != "labels") {
    return Fail(ErrorCode::kUsage, "--against must be original or labels");
  }
  if (options.groups != "auto" && options.groups != "node" && options.groups != "block") {
    return Fail(ErrorCode::kUsage, "--groups must be auto, node or block");
  }
  TRY_ASSIGN(const std::vector<proto::InputShape> pins, ParsePins(options.inputs));
  proto::Recipe recipe;
  if (!options.recipe.empty()) {
    TRY_ASSIGN(recipe, ReadRecipe(options.recipe));
  }
  TRY_ASSIGN(study.model, OpenModel(options.model));
  TRY_ASSIGN(const proto::Catalogue catalogue, LocalCatalogue());
  RecipeFlags flags;
  flags.inputs = pins;
  std::vector<std::string> notes;
  TRY(ApplyFlags(flags, catalogue, recipe, notes));
  proto::SensitivityTask& task = study.task;
  *task.mutable_inputs() = recipe.inputs();
  TRY(CheckPins(study.model.info, task.inputs()));
  *task.mutable_model() = study.model.local;
  for (const std::string& word : options.passes.empty() ? std::vector<std::string>{kDefaultPass} : options.passes) {
    TRY_ASSIGN(*task.add_steps(), ParsePass(word, catalogue));
    TRY_ASSIGN(const std::string format,
               ChainFormats({*task.steps().rbegin()}, catalogue, study.model.local.bundle().format()));
    if (format != "onnx") {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} gives {}, whose layers cannot be told one by one", word, format));
    }
  }
  TRY(AddData(options, recipe, catalogue, study));
  proto::Accuracy& accuracy = *task.mutable_accuracy();
  const bool labels = options.against == "labels" || (options.against.empty() && recipe.accuracy().against_labels());
  accuracy = recipe.accuracy();
  if (accuracy.against_labels() != labels) accuracy.clear_metric();
  accuracy.set_against_labels(labels);
  if (!options.metric.empty()) accuracy.set_metric(options.metric);
  if (!options.output_name.empty()) accuracy.set_output(options.output_name);
  task.set_groups(options.groups);
  task.set_seed(options.seed.value_or(0));
  task.set_threads(static_cast<uint32_t>(options.threads.value_or(0)));
  task.set_time(!options.no_time);
  task.set_exclusive_lock(MachineLock::DefaultPath().string());
  return study;
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::vector<std::string> Texts(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

Json PrecisionsJson(const Study& study) {
  Json precisions = Json::array();
  for (const auto& whole : study.result.whole()) {
    const proto::PassStep& step = study.task.steps(static_cast<int>(whole.step()));
    precisions.push_back({{"pass", step.pass()},
                          {"params", ParametersJson(step.parameters())},
                          {"all",
                           {{"loss", Number(whole.loss())},
                            {"accuracy", Number(whole.accuracy())},
                            {"sqnr_db", whole.has_sqnr_db() ? Number(whole.sqnr_db()) : Json(nullptr)}}}});
  }
  return precisions;
}

Json GroupJson(const Study& study, const proto::SensitivityResult::Group& group) {
  Json losses = Json::array();
  for (const auto& loss : group.losses()) {
    losses.push_back({{"precision", loss.step()},
                      {"pass", study.task.steps(static_cast<int>(loss.step())).pass()},
                      {"loss", Number(loss.loss())},
                      {"accuracy", Number(loss.accuracy())},
                      {"sqnr_db", loss.has_sqnr_db() ? Number(loss.sqnr_db()) : Json(nullptr)},
                      {"gain_ms", loss.has_gain_ms() ? Number(loss.gain_ms()) : Json(nullptr)},
                      {"nodes", Texts(loss.nodes())},
                      {"exclude", NamesExpression(Texts(loss.nodes()))}});
  }
  return {
      {"name", group.name()}, {"nodes", Texts(group.nodes())}, {"parameters", group.parameters()}, {"losses", losses}};
}

Json Document(const SensitivityOptions& options, const Study& study) {
  const proto::SensitivityResult& result = study.result;
  Json groups = Json::array();
  for (const auto& group : result.group()) groups.push_back(GroupJson(study, group));
  Json digests = {{"model", BundleId(study.model.local.bundle())},
                  {"data", BundleId(study.task.evaluation().data().bundle())}};
  if (study.task.has_calibration()) digests["calibration"] = BundleId(study.task.calibration().data().bundle());
  return {{"schema", "hone.sensitivity/1"},
          {"model", options.model},
          {"metric", result.metric()},
          {"against", study.task.accuracy().against_labels() ? "labels" : "original"},
          {"grouping", result.groups()},
          {"precisions", PrecisionsJson(study)},
          {"groups", groups},
          {"samples", result.samples()},
          {"inferences", result.inferences()},
          {"sessions", result.sessions()},
          {"digests", digests},
          {"wall_s", study.wall_s},
          {"build_s", static_cast<double>(result.build_ms()) / 1000},
          {"measure_s", static_cast<double>(result.measure_ms()) / 1000},
          {"notes", Texts(result.notes())}};
}

std::string SqnrText(bool there, double value) { return there ? fmt::format("{:.1f}", value) : "-"; }

std::string Text(const Study& study, size_t width) {
  const proto::SensitivityResult& result = study.result;
  Table table({{"group", Align::left, true},
               {"pass", Align::left, false},
               {"loss", Align::right, false},
               {"SQNR dB", Align::right, false},
               {"gain ms", Align::right, false},
               {"parameters", Align::right, false}});
  for (const auto& group : result.group()) {
    for (const auto& loss : group.losses()) {
      table.Row({&loss == &group.losses(0) ? Printable(group.name(), 200) : "",
                 study.task.steps(static_cast<int>(loss.step())).pass(), fmt::format("{:.3g}", loss.loss()),
                 SqnrText(loss.has_sqnr_db(), loss.sqnr_db()),
                 loss.has_gain_ms() ? fmt::format("{:.3f}", loss.gain_ms()) : "-",
                 fmt::format("{}", group.parameters())});
    }
  }
  for (const auto& whole : result.whole()) {
    table.Row({"all groups", study.task.steps(static_cast<int>(whole.step())).pass(),
               fmt::format("{:.3g}", whole.loss()), SqnrText(whole.has_sqnr_db(), whole.sqnr_db()), "", ""});
  }
  return table.Text(width) +
         fmt::format("loss: drop in {} over {} samples; {} inferences in {:.1f} s, {} models compiled\n",
                     result.metric(), result.samples(), result.inferences(), study.wall_s, result.sessions());
}

Result<int> Measure(const SensitivityOptions& options, Console& console) {
  const auto started = std::chrono::steady_clock::now();
  TRY_ASSIGN(Study study, Prepare(options));
  console.Note("measuring each group ...");
  proto::Task task;
  *task.mutable_sensitivity() = study.task;
  TRY_ASSIGN(proto::TaskResult result, RunLocalTask(task));
  study.result = std::move(*result.mutable_sensitivity());
  study.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const Json document = Document(options, study);
  if (!options.file.empty()) TRY(WriteFile(options.file, document.dump(2) + "\n"));
  for (const auto& note : study.result.notes()) console.Note("note: " + Printable(note));
  TRY(console.json ? console.PrintJson(document) : console.Print(Text(study, console.table_width())));
  return 0;
}

}  // namespace

Run DefineSensitivity(Flags& flags) {
  auto options = std::make_shared<SensitivityOptions>();
  flags.Argument("MODEL", "the model", options->model);
  flags.List("--pass", "NAME[:key=value,...]",
             "the form to try on each group; repeat for several (default static_int8)", options->passes, LooksLikePass);
  flags.Text("--data", "D", "data to measure on: .npz, a folder of test_data_set_N, or a folder of images",
             options->data);
  flags.Text("--calibration", "D", "calibration data (default: the same)", options->calibration);
  flags.Text("--groups", "G", "auto, node or block (default auto)", options->groups);
  flags.Text("--against", "WHAT", "original or labels (default original)", options->against);
  flags.Text("--metric", "M", "accuracy metric (default cosine, or top1 with labels)", options->metric);
  flags.Text("--output-name", "NAME", "the output that counts (default: all)", options->output_name);
  flags.Text("-o,--output", "FILE", "also write the JSON document here", options->file);
  flags.Count("--samples", "N", "measure on the first N samples (default 32)", options->samples, 1, 1'000'000'000);
  flags.Count("--calibration-samples", "N", "calibrate with the first N samples (default 128)",
              options->calibration_samples, 1, 1'000'000'000);
  flags.Toggle("--no-time", "leave the gain in time out", options->no_time);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options->inputs, LooksLikeAssignment);
  flags.Text("-r,--recipe", "FILE", "recipe whose inputs, accuracy and preprocessing count", options->recipe);
  flags.Count("--threads", "N", "threads (default: all cores allowed)", options->threads, 1, 4096);
  flags.Count("--seed", "S", "seed of every random choice", options->seed, 0, INT64_MAX);
  return [options](Console& console) { return Measure(*options, console); };
}

}  // namespace hone
