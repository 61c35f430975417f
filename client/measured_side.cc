#include "client/measured_side.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include "client/job_request.h"
#include "client/local_task.h"
#include "client/recipe_flags.h"
#include "client/step_flags.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone {

void AddMeasureFlags(Flags& flags, MeasureFlags& options) {
  flags.Argument("MODEL", "the model", options.model);
  flags.Text("--backend", "B", "backend (default: the reference where it loads the model)", options.backend);
  flags.List("--set", "KEY=VALUE", "a setting of the backend; see `hone backends`", options.settings,
             LooksLikeAssignment);
  flags.Text("--data", "D", "data: .npz, a folder of test_data_set_N, or a folder of images", options.data);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options.inputs, LooksLikeAssignment);
  flags.Text("-r,--recipe", "FILE", "recipe whose inputs, accuracy and preprocessing count", options.recipe);
  flags.Count("--threads", "N", "threads of the backends (default: all cores allowed)", options.threads, 1, 4096);
  flags.Count("--seed", "S", "seed of synthetic inputs and of resampling", options.seed, 0, INT64_MAX);
}

Result<MeasuredSide> PrepareSide(const ModelFile& model, const std::string& backend_wish,
                                 const std::vector<std::string>& words, const std::optional<uint64_t>& threads,
                                 const proto::Catalogue& catalogue) {
  MeasuredSide side{model, {}};
  std::string name = backend_wish;
  if (name.empty()) {
    TRY_ASSIGN(name, DefaultBackend(catalogue, model.local.bundle().format()));
  }
  TRY_ASSIGN(const proto::BackendInfo* backend, RequireBackend(catalogue, name));
  std::vector<std::string> settings = words;
  const std::string threads_setting = ThreadsSetting(*backend);
  if (threads && !threads_setting.empty()) settings.push_back(fmt::format("{}={}", threads_setting, *threads));
  *side.subject.mutable_model() = model.local;
  side.subject.set_backend(name);
  TRY_ASSIGN(*side.subject.mutable_settings(), ParseSettings(settings, backend->settings(), name));
  return side;
}

Result<MeasureContext> PrepareContext(const MeasureFlags& flags) {
  MeasureContext context;
  RecipeFlags recipe_flags;
  TRY_ASSIGN(recipe_flags.inputs, ParsePins(flags.inputs));
  if (!flags.recipe.empty()) {
    TRY_ASSIGN(context.recipe, ReadRecipe(flags.recipe));
  }
  TRY_ASSIGN(context.catalogue, LocalCatalogue());
  std::vector<std::string> notes;
  TRY(ApplyFlags(recipe_flags, context.catalogue, context.recipe, notes));
  return context;
}

Result<std::optional<proto::LocalData>> PrepareData(const MeasureFlags& flags, const MeasureContext& context,
                                                    const std::vector<const ModelFile*>& models) {
  const auto& pins = context.recipe.inputs();
  if (flags.data.empty()) {
    for (const ModelFile* model : models) TRY(RequireKnownShapes(model->info, pins));
    return std::nullopt;
  }
  proto::LocalData data;
  TRY_ASSIGN(*data.mutable_data(), OpenData(flags.data));
  const proto::Recipe& recipe = context.recipe;
  const proto::DataRange& range = recipe.evaluation().has_preprocess() ? recipe.evaluation() : recipe.calibration();
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  TRY(CountSamples(*models.front(), pins, data));
  return data;
}

Result<MeasuredTask> RunMeasuredTask(const proto::Task& task) {
  MeasuredTask measured;
  const auto started = std::chrono::steady_clock::now();
  TRY_ASSIGN(measured.result, RunLocalTask(task));
  measured.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  rusage usage{};
  // Linux counts KiB.
  if (getrusage(RUSAGE_CHILDREN, &usage) == 0)
    measured.peak_memory_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return measured;
}

Json SideJson(const MeasuredSide& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics,
              const proto::Execution* execution) {
  return {{"model", side.model.path.string()},
          {"artifact", BundleId(side.model.local.bundle())},
          {"backend", side.subject.backend()},
          {"settings", ParametersJson(side.subject.settings())},
          {"metrics", MetricsJson(metrics)},
          {"intervals", IntervalsJson(metrics)},
          {"execution", execution == nullptr ? Json(nullptr) : ExecutionJson(*execution)}};
}

std::string SideText(const MeasuredSide& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  return fmt::format("{} on {} ({})\n{}", side.model.path.string(), side.subject.backend(),
                     SettingsText(side.subject.settings()), MetricsText(metrics));
}

std::string NotesText(const google::protobuf::RepeatedPtrField<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += "note: " + Printable(note) + "\n";
  return text;
}

}  // namespace hone
