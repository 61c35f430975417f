// hone benchmark and evaluate: one measurement on this machine, by the engine that measures a search's candidates.
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <memory>

#include "client/command.h"
#include "client/job_request.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/step_flags.h"
#include "client/text_output.h"
#include "client/verdict.h"
#include "common/artifact/bundle.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr uint32_t kDefaultPairs = 20;

// What both commands share.
struct MeasureOptions {
  std::string model;
  std::string backend;
  std::vector<std::string> settings;
  std::string other;                       // --vs or --against.
  std::string other_backend;
  std::vector<std::string> other_settings;
  std::string data;
  std::string recipe;
  std::vector<std::string> inputs;
  std::optional<uint64_t> threads;
  std::optional<uint64_t> seed;
};

void AddMeasureFlags(Flags& flags, MeasureOptions& options) {
  flags.Argument("MODEL", "the model", options.model);
  flags.Text("--backend", "B", "backend (default: the reference where it loads the model)", options.backend);
  flags.List("--set", "KEY=VALUE", "a setting of the backend; see `hone backends`", options.settings, LooksLikeAssignment);
  flags.Text("--data", "D", "data: .npz, a folder of test_data_set_N, or a folder of images", options.data);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options.inputs, LooksLikeAssignment);
  flags.Text("-r,--recipe", "FILE", "recipe whose inputs, accuracy and preprocessing count", options.recipe);
  flags.Count("--threads", "N", "threads of the backends (default: all cores allowed)", options.threads, 1, 4096);
  flags.Count("--seed", "S", "seed of synthetic inputs and of resampling", options.seed, 0, INT64_MAX);
}

// A model on a backend, with what is told about it.
struct Side {
  ModelFile model;
  proto::Subject subject;
};

Result<Side> PrepareSide(const std::string& path, const std::string& backend_wish, const std::vector<std::string>& words,
                         const std::optional<uint64_t>& threads, const proto::Catalogue& catalogue) {
  Side side;
  TRY_ASSIGN(side.model, OpenModel(path));
  std::string name = backend_wish;
  if (name.empty()) {
    TRY_ASSIGN(name, DefaultBackend(catalogue, side.model.local.bundle().format()));
  }
  TRY_ASSIGN(const proto::BackendInfo* backend, RequireBackend(catalogue, name));
  std::vector<std::string> settings = words;
  const std::string threads_setting = ThreadsSetting(*backend);
  if (threads && !threads_setting.empty()) settings.push_back(fmt::format("{}={}", threads_setting, *threads));
  *side.subject.mutable_model() = side.model.local;
  side.subject.set_backend(name);
  TRY_ASSIGN(*side.subject.mutable_settings(), ParseSettings(settings, backend->settings(), name));
  return side;
}

// A measurement being put together.
struct Measurement {
  proto::Catalogue catalogue;
  proto::Recipe recipe;
  Side candidate;
  std::optional<Side> other;
  proto::MeasureTask task;
  proto::MeasureResult result;
  double wall_s = 0;
  uint64_t peak_memory_bytes = 0;
};

Result<> AddData(const MeasureOptions& options, Measurement& m) {
  if (options.data.empty()) {
    TRY(RequireKnownShapes(m.candidate.model.info, m.task.inputs()));
    return m.other ? RequireKnownShapes(m.other->model.info, m.task.inputs()) : Result<>{};
  }
  proto::LocalData& data = *m.task.mutable_evaluation();
  TRY_ASSIGN(*data.mutable_data(), OpenData(options.data));
  const proto::DataRange& range = m.recipe.evaluation().has_preprocess() ? m.recipe.evaluation() : m.recipe.calibration();
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  TRY(CountSamples(m.candidate.model, m.task.inputs(), data));
  return {};
}

Result<Measurement> Prepare(const MeasureOptions& options) {
  Measurement m;
  TRY_ASSIGN(const std::vector<proto::InputShape> pins, ParsePins(options.inputs));
  if (!options.recipe.empty()) {
    TRY_ASSIGN(m.recipe, ReadRecipe(options.recipe));
  }
  TRY_ASSIGN(m.catalogue, LocalCatalogue());
  RecipeFlags flags;
  flags.inputs = pins;
  std::vector<std::string> notes;
  TRY(ApplyFlags(flags, m.catalogue, m.recipe, notes));
  *m.task.mutable_inputs() = m.recipe.inputs();

  TRY_ASSIGN(m.candidate, PrepareSide(options.model, options.backend, options.settings, options.threads, m.catalogue));
  TRY(CheckPins(m.candidate.model.info, m.task.inputs()));
  *m.task.mutable_candidate() = m.candidate.subject;
  const bool compared = !options.other.empty() || !options.other_backend.empty() || !options.other_settings.empty();
  if (compared) {
    const std::string& path = options.other.empty() ? options.model : options.other;
    // The other side runs as this one does, unless told or unable.
    std::string backend = options.other_backend.empty() ? options.backend : options.other_backend;
    std::vector<std::string> settings = options.other_settings;
    if (options.other_backend.empty() && options.other_settings.empty()) settings = options.settings;
    TRY_ASSIGN(m.other, PrepareSide(path, backend, settings, options.threads, m.catalogue));
    *m.task.mutable_baseline() = m.other->subject;
    m.task.set_baseline_execution(true);
  }
  TRY(AddData(options, m));
  m.task.set_seed(options.seed.value_or(0));
  m.task.set_exclusive_lock(MachineLock::DefaultPath().string());
  return m;
}

Result<> Execute(Measurement& m) {
  const auto started = std::chrono::steady_clock::now();
  proto::Task task;
  *task.mutable_measure() = m.task;
  TRY_ASSIGN(proto::TaskResult result, RunLocalTask(task));
  m.result = std::move(*result.mutable_measure());
  m.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  rusage usage{};
  // The largest of the runner's processes; Linux counts KiB.
  if (getrusage(RUSAGE_CHILDREN, &usage) == 0) m.peak_memory_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return {};
}

Json SideJson(const Side& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics, const proto::Execution* execution) {
  return {{"model", side.model.path.string()},
          {"artifact", BundleId(side.model.local.bundle())},
          {"backend", side.subject.backend()},
          {"settings", ParametersJson(side.subject.settings())},
          {"metrics", MetricsJson(metrics)},
          {"intervals", IntervalsJson(metrics)},
          {"execution", execution == nullptr ? Json(nullptr) : ExecutionJson(*execution)}};
}

Json MeasurementJson(const char* schema, const Measurement& m) {
  Json document = {{"schema", schema}};
  document.update(SideJson(m.candidate, m.result.metrics(), m.result.has_execution() ? &m.result.execution() : nullptr));
  Json digests = {{"model", BundleId(m.candidate.model.local.bundle())}};
  if (m.other) digests["other"] = BundleId(m.other->model.local.bundle());
  if (m.task.has_evaluation()) digests["data"] = BundleId(m.task.evaluation().data().bundle());
  Json notes = Json::array();
  for (const std::string& note : m.result.notes()) notes.push_back(note);
  document["digests"] = digests;
  document["synthetic_inputs"] = m.result.synthetic_inputs();
  document["wall_s"] = m.wall_s;
  document["peak_memory_bytes"] = m.peak_memory_bytes;
  document["fingerprint"] = FingerprintJson(m.result.fingerprint());
  document["notes"] = notes;
  return document;
}

Json OtherJson(const Measurement& m) {
  if (!m.other) return nullptr;
  return SideJson(*m.other, m.result.baseline_metrics(), m.result.has_baseline_execution() ? &m.result.baseline_execution() : nullptr);
}

std::string SideText(const Side& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  return fmt::format("{} on {} ({})\n{}", side.model.path.string(), side.subject.backend(), SettingsText(side.subject.settings()),
                     MetricsText(metrics));
}

std::string NotesText(const Measurement& m) {
  std::string text = m.result.synthetic_inputs() && m.result.notes().empty() ? "note: inputs are synthetic: no data were given\n" : "";
  for (const std::string& note : m.result.notes()) text += "note: " + Printable(note) + "\n";
  return text;
}

// --- benchmark -------------------------------------------------------------------------------------------------

struct BenchmarkOptions {
  MeasureOptions measure;
  std::string expect;
  std::string delta;
  std::optional<uint64_t> pairs;
  std::optional<int64_t> time_ms;
};

struct Judgement {
  std::optional<Verdict> verdict;        // With another side.
  std::optional<Answer> answer;          // With an expectation.
  double delta = 0;
};

int BenchmarkCode(const Measurement& m, const Judgement& judgement) {
  const bool timed = FindMetric(m.result.metrics(), "latency_ms_p50") != nullptr;
  if (!timed) return ExitCode(ErrorCode::kUnsure);
  if (!judgement.answer || *judgement.answer == Answer::yes) return 0;
  return ExitCode(*judgement.answer == Answer::no ? ErrorCode::kNo : ErrorCode::kUnsure);
}

Json BenchmarkJson(const BenchmarkOptions& options, const Measurement& m, const Judgement& judgement) {
  Json document = MeasurementJson("hone.benchmark/1", m);
  document["vs"] = OtherJson(m);
  document["speedup"] = m.result.has_speedup() ? SpeedupJson(m.result.speedup()) : Json(nullptr);
  document["verdict"] = judgement.verdict ? Json(VerdictName(*judgement.verdict)) : Json(nullptr);
  document["delta"] = judgement.verdict ? Json(judgement.delta) : Json(nullptr);
  document["expect"] = options.expect.empty() ? Json(nullptr) : Json(options.expect);
  const bool decided = judgement.answer && *judgement.answer != Answer::undecided;
  document["expectation_met"] = decided ? Json(*judgement.answer == Answer::yes) : Json(nullptr);
  return document;
}

std::string BenchmarkText(const Measurement& m, const Judgement& judgement) {
  std::string text = SideText(m.candidate, m.result.metrics());
  if (m.other) text += "against " + SideText(*m.other, m.result.baseline_metrics());
  text += NotesText(m);
  if (!judgement.verdict) return text;
  if (m.result.has_speedup()) {
    const proto::Metric& speedup = m.result.speedup();
    text += fmt::format("speed-up {:.3f}x [{:.3f}, {:.3f}] with 99 % confidence, {} pairs\n", speedup.value(), speedup.low(), speedup.high(),
                        speedup.samples());
  }
  const std::string band = fmt::format("(equal within {:.1f} %)", judgement.delta * 100);
  return text + fmt::format("verdict: {} {}\n", VerdictName(*judgement.verdict), band);
}

Result<int> Benchmark(const BenchmarkOptions& options, Console& console) {
  Judgement judgement;
  std::optional<Expectation> expectation;
  if (!options.expect.empty()) {
    TRY_ASSIGN(expectation, ParseExpectation(options.expect));
  }
  const Result<double> delta = ParseShare(options.delta);
  if (!delta || *delta >= 1) return Fail(ErrorCode::kUsage, fmt::format("--delta {}: must be a share such as 2% or 0.02", options.delta));
  judgement.delta = *delta;
  const MeasureOptions& measure = options.measure;
  if (expectation && measure.other.empty() && measure.other_backend.empty() && measure.other_settings.empty()) {
    return Fail(ErrorCode::kUsage, "--expect needs something to compare with", "give --vs MODEL2, --vs-backend or --vs-set");
  }

  TRY_ASSIGN(Measurement m, Prepare(measure));
  m.task.set_time(true);
  m.task.set_pairs(static_cast<uint32_t>(options.pairs.value_or(kDefaultPairs)));
  m.task.set_budget_ms(static_cast<uint64_t>(options.time_ms.value_or(0)));
  console.Note(m.other ? "measuring both, interleaved ..." : "measuring ...");
  TRY(Execute(m));

  if (m.other) judgement.verdict = m.result.has_speedup() ? Judge(m.result.speedup(), *delta) : Verdict::undecided;
  if (expectation) judgement.answer = m.result.has_speedup() ? Check(m.result.speedup(), *delta, *expectation) : Answer::undecided;
  TRY(console.json ? console.PrintJson(BenchmarkJson(options, m, judgement)) : console.Print(BenchmarkText(m, judgement)));
  return BenchmarkCode(m, judgement);
}

// --- evaluate --------------------------------------------------------------------------------------------------

struct EvaluateOptions {
  MeasureOptions measure;
  std::string metric;
  std::string output;
  std::string max_drop;
};

constexpr const char* kLabels = "labels";

Result<int> Evaluate(const EvaluateOptions& options, Console& console) {
  MeasureOptions measure = options.measure;
  const bool labels = measure.other == kLabels;
  if (labels) measure.other.clear();
  if (measure.data.empty()) return Fail(ErrorCode::kUsage, "--data D is missing", "see `hone evaluate --help`");
  if (labels && !measure.other_backend.empty()) {
    return Fail(ErrorCode::kUsage, "--against-backend needs a model in --against");
  }
  std::optional<double> limit;
  if (!options.max_drop.empty()) {
    const Result<double> share = ParseShare(options.max_drop);
    if (!share) return FailWith("--max-accuracy-drop " + options.max_drop, share.error());
    limit = *share;
  }
  TRY_ASSIGN(Measurement m, Prepare(measure));
  proto::Accuracy& accuracy = *m.task.mutable_accuracy();
  accuracy = m.recipe.accuracy();
  // The recipe's metric counts only where it compares with the same thing.
  if (accuracy.against_labels() != labels) accuracy.clear_metric();
  accuracy.set_against_labels(labels);
  if (!options.metric.empty()) accuracy.set_metric(options.metric);
  if (!options.output.empty()) accuracy.set_output(options.output);
  if (limit) {
    proto::Constraint& constraint = *m.task.add_constraints();
    constraint.set_metric("accuracy_drop");
    constraint.set_maximum(*limit);
  }
  console.Note("evaluating ...");
  TRY(Execute(m));

  const bool measured = FindMetric(m.result.metrics(), "accuracy") != nullptr;
  if (console.json) {
    Json document = MeasurementJson("hone.evaluate/1", m);
    document["against"] = labels ? Json(kLabels) : OtherJson(m);
    document["feasible"] = limit ? Json(!m.result.infeasible()) : Json(nullptr);
    document["reason"] = m.result.infeasible() ? Json(m.result.infeasible_reason()) : Json(nullptr);
    TRY(console.PrintJson(document));
  } else {
    std::string text = SideText(m.candidate, m.result.metrics());
    if (m.other) text += "against " + SideText(*m.other, m.result.baseline_metrics());
    text += NotesText(m);
    if (m.result.infeasible()) text += Printable(m.result.infeasible_reason()) + "\n";
    TRY(console.Print(text));
  }
  if (m.result.infeasible()) return ExitCode(ErrorCode::kNo);
  return measured ? 0 : ExitCode(ErrorCode::kUnsure);
}

}  // namespace

Run DefineBenchmark(Flags& flags) {
  auto options = std::make_shared<BenchmarkOptions>();
  options->delta = "2%";
  AddMeasureFlags(flags, options->measure);
  flags.Text("--vs", "MODEL2", "measure against this model, interleaved", options->measure.other);
  flags.Text("--vs-backend", "B", "its backend (default: the same)", options->measure.other_backend);
  flags.List("--vs-set", "KEY=VALUE", "its settings (default: the same)", options->measure.other_settings, LooksLikeAssignment);
  flags.Text("--expect", "WHAT", "faster, not-slower or equal: the verdict becomes the exit code", options->expect);
  flags.Text("--delta", "X", "differences up to this share count as equal (default 2%)", options->delta);
  flags.Count("--pairs", "N", "interleaved pairs (default 20)", options->pairs, 1, 100'000);
  flags.Duration("--time", "stop timing after this long", options->time_ms);
  return [options](Console& console) { return Benchmark(*options, console); };
}

Run DefineEvaluate(Flags& flags) {
  auto options = std::make_shared<EvaluateOptions>();
  AddMeasureFlags(flags, options->measure);
  flags.RequiredText("--against", "REF", "a model whose outputs count as right, or `labels` of the data", options->measure.other);
  flags.Text("--against-backend", "B", "its backend (default: the same)", options->measure.other_backend);
  flags.Text("--metric", "M", "cosine, sqnr_db, max_error, mse, top1_agreement, top1, top5, f1", options->metric);
  flags.Text("--output-name", "NAME", "the output that counts (default: all; for labels the first)", options->output);
  flags.Text("--max-accuracy-drop", "X", "exit 1 where the accuracy drops by more: 0.01 or 1%", options->max_drop);
  return [options](Console& console) { return Evaluate(*options, console); };
}

}  // namespace hone
