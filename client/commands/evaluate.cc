// hone evaluate: accuracy of one model on this machine, by the engine that measures a search's candidates.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/command.h"
#include "client/measured_side.h"
#include "client/recipe_flags.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "common/recipe/metrics.h"

namespace hone {
namespace {

struct EvaluateOptions {
  MeasureFlags measure;
  std::string against;
  std::string against_backend;
  std::string metric;
  std::string output;
  std::string max_drop;
};

constexpr const char* kLabels = "labels";

// An evaluation being put together.
struct Evaluation {
  MeasureContext context;
  MeasuredSide candidate;
  std::optional<MeasuredSide> reference;  // Not with labels.
  proto::MeasureTask task;
};

Result<Evaluation> Prepare(const EvaluateOptions& options) {
  const MeasureFlags& flags = options.measure;
  Evaluation e;
  TRY_ASSIGN(e.context, PrepareContext(flags));
  *e.task.mutable_inputs() = e.context.recipe.inputs();
  TRY_ASSIGN(const ModelFile model, OpenModel(flags.model));
  TRY(CheckPins(model.info, e.task.inputs()));
  TRY_ASSIGN(e.candidate, PrepareSide(model, flags.backend, flags.settings, flags.threads, e.context.catalogue));
  *e.task.mutable_candidate() = e.candidate.subject;
  if (options.against != kLabels) {
    TRY_ASSIGN(const ModelFile reference, OpenModel(options.against));
    // The reference runs as the model does, unless told.
    const bool told = !options.against_backend.empty();
    TRY_ASSIGN(e.reference,
               PrepareSide(reference, told ? options.against_backend : flags.backend,
                           told ? std::vector<std::string>{} : flags.settings, flags.threads, e.context.catalogue));
    *e.task.mutable_baseline() = e.reference->subject;
    e.task.set_baseline_execution(true);
  }
  TRY_ASSIGN(const auto data, PrepareData(flags, e.context, {&e.candidate.model}));
  *e.task.mutable_evaluation() = *data;
  e.task.set_seed(flags.seed.value_or(0));
  e.task.set_exclusive_lock(MachineLock::DefaultPath().string());
  return e;
}

void SetAccuracy(const EvaluateOptions& options, const std::optional<double>& limit, Evaluation& e) {
  const bool labels = options.against == kLabels;
  proto::Accuracy& accuracy = *e.task.mutable_accuracy();
  accuracy = e.context.recipe.accuracy();
  // The recipe's metric counts only where it compares with the same thing.
  if (accuracy.against_labels() != labels) accuracy.clear_metric();
  accuracy.set_against_labels(labels);
  if (!options.metric.empty()) accuracy.set_metric(options.metric);
  if (!options.output.empty()) accuracy.set_output(options.output);
  if (!limit) return;
  proto::Constraint& constraint = *e.task.add_constraints();
  constraint.set_metric("accuracy_drop");
  constraint.set_maximum(*limit);
}

// Without another model the engine compares the model with itself, which says nothing.
void KeepWhatLabelsTell(proto::MeasureResult& result) {
  const auto compares = [](const proto::Metric& metric) {
    const MetricInfo* info = FindMetric(metric.name());
    return metric.name() == "accuracy_drop" || (info != nullptr && info->is_accuracy && !info->needs_labels);
  };
  auto& metrics = *result.mutable_metrics();
  metrics.erase(std::remove_if(metrics.begin(), metrics.end(), compares), metrics.end());
}

Json EvaluationJson(const Evaluation& e, const MeasuredTask& measured, bool limited) {
  const proto::MeasureResult& result = measured.result.measure();
  Json document = {{"schema", "hone.evaluate/1"}};
  document.update(SideJson(e.candidate, result.metrics(), result.has_execution() ? &result.execution() : nullptr));
  Json digests = {{"model", BundleId(e.candidate.model.local.bundle())}};
  if (e.reference) digests["other"] = BundleId(e.reference->model.local.bundle());
  digests["data"] = BundleId(e.task.evaluation().data().bundle());
  Json against = kLabels;
  if (e.reference) {
    against = SideJson(*e.reference, result.baseline_metrics(),
                       result.has_baseline_execution() ? &result.baseline_execution() : nullptr);
  }
  document["digests"] = digests;
  document["synthetic_inputs"] = result.synthetic_inputs();
  document["wall_s"] = measured.wall_s;
  document["peak_memory_bytes"] = measured.peak_memory_bytes;
  document["fingerprint"] = FingerprintJson(result.fingerprint());
  document["notes"] = Json(std::vector<std::string>(result.notes().begin(), result.notes().end()));
  document["against"] = against;
  document["feasible"] = limited ? Json(!result.infeasible()) : Json(nullptr);
  document["reason"] = result.infeasible() ? Json(result.infeasible_reason()) : Json(nullptr);
  return document;
}

std::string EvaluationText(const Evaluation& e, const proto::MeasureResult& result) {
  std::string text = SideText(e.candidate, result.metrics());
  if (e.reference) text += "against " + SideText(*e.reference, result.baseline_metrics());
  text += NotesText(result.notes());
  return result.infeasible() ? text + Printable(result.infeasible_reason()) + "\n" : text;
}

Result<int> Evaluate(const EvaluateOptions& options, Console& console) {
  if (options.measure.data.empty()) return Fail(ErrorCode::kUsage, "--data D is missing", "see `hone evaluate --help`");
  if (options.against == kLabels && !options.against_backend.empty()) {
    return Fail(ErrorCode::kUsage, "--against-backend needs a model in --against");
  }
  if (options.against == kLabels && !options.max_drop.empty()) {
    return Fail(ErrorCode::kUsage, "--max-accuracy-drop needs a model in --against: labels alone show no drop",
                "give the original as --against");
  }
  std::optional<double> limit;
  if (!options.max_drop.empty()) {
    const Result<double> share = ParseShare(options.max_drop);
    if (!share) return FailWith("--max-accuracy-drop " + options.max_drop, share.error());
    limit = *share;
  }
  TRY_ASSIGN(Evaluation e, Prepare(options));
  SetAccuracy(options, limit, e);
  console.Note("evaluating ...");
  proto::Task task;
  *task.mutable_measure() = e.task;
  TRY_ASSIGN(MeasuredTask measured, RunMeasuredTask(task));
  if (!e.reference) KeepWhatLabelsTell(*measured.result.mutable_measure());
  const proto::MeasureResult& result = measured.result.measure();
  TRY(console.json ? console.PrintJson(EvaluationJson(e, measured, limit.has_value()))
                   : console.Print(EvaluationText(e, result)));
  if (result.infeasible()) return ExitCode(ErrorCode::kNo);
  return FindMetric(result.metrics(), "accuracy") != nullptr ? 0 : ExitCode(ErrorCode::kUnsure);
}

}  // namespace

Run DefineEvaluate(Flags& flags) {
  auto options = std::make_shared<EvaluateOptions>();
  AddMeasureFlags(flags, options->measure);
  flags.RequiredText("--against", "REF", "a model whose outputs count as right, or `labels` of the data",
                     options->against);
  flags.Text("--against-backend", "B", "its backend (default: the same)", options->against_backend);
  flags.Text("--metric", "M", "cosine, sqnr_db, max_error, mse, top1_agreement, top1, top5, f1", options->metric);
  flags.Text("--output-name", "NAME", "the output that counts (default: all; for labels the first)", options->output);
  flags.Text("--max-accuracy-drop", "X", "exit 1 where the accuracy drops by more: 0.01 or 1%", options->max_drop);
  return [options](Console& console) { return Evaluate(*options, console); };
}

}  // namespace hone
