#include "common/results/messages.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ctime>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr std::array kUsualMetrics = {"latency_ms_p50", "accuracy", "size_bytes", "memory_bytes"};

Json MetricNumber(const std::string& name, double value) {
  const bool bytes = name.size() > 6 && name.compare(name.size() - 6, 6, "_bytes") == 0;
  const bool whole = std::isfinite(value) && value >= 0 && value < 9e15 && value == std::floor(value);
  return bytes && whole ? Json(static_cast<uint64_t>(value)) : NumberOrNull(value);
}

Json ParameterInfosJson(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos) {
  Json list = Json::array();
  for (const proto::ParameterInfo& info : infos) {
    static constexpr std::array kTypes = {"unknown", "boolean", "integer", "real", "text"};
    const auto type = static_cast<size_t>(info.type());
    Json choices = Json::array();
    for (const proto::Value& choice : info.choices()) choices.push_back(ValueJson(choice));
    list.push_back({{"name", info.name()},
                    {"type", type < kTypes.size() ? kTypes[type] : "unknown"},
                    {"default", ValueJson(info.default_value())},
                    {"choices", choices.empty() ? Json(nullptr) : choices},
                    {"minimum", ValueJson(info.minimum())},
                    {"maximum", ValueJson(info.maximum())},
                    {"help", info.help()}});
  }
  return list;
}

Json TargetJson(const proto::StudySummary& study) { return {{"tags", TextsJson(study.tags())}}; }

Json ReasonsJson(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules) {
  Json reasons = Json::array();
  for (const proto::Impossible& rule : rules) reasons.push_back(rule.reason());
  return reasons;
}

}  // namespace

const proto::Metric* FindMetric(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics,
                                std::string_view name) {
  for (const proto::Metric& metric : metrics) {
    if (metric.name() == name) return &metric;
  }
  return nullptr;
}

std::string PipelineText(const proto::Candidate& candidate) {
  std::vector<std::string> steps;
  for (const proto::PassStep& step : candidate.pipeline()) {
    const std::string parameters = step.parameters_size() == 0 ? "" : "(" + SettingsText(step.parameters()) + ")";
    steps.push_back(step.pass() + parameters);
  }
  return steps.empty() ? "original" : Join(steps, " + ");
}

std::string SettingsText(const google::protobuf::RepeatedPtrField<proto::Parameter>& settings) {
  std::vector<std::string> words;
  for (const proto::Parameter& setting : settings) words.push_back(setting.name() + "=" + ToText(setting.value()));
  return words.empty() ? "defaults" : Join(words, ", ");
}

Json TextOrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json NumberOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json TextsJson(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  Json list = Json::array();
  for (const std::string& text : texts) list.push_back(text);
  return list;
}

Json WithSchema(const char* schema, const Json& body) {
  Json document = {{"schema", schema}};
  document.update(body);
  return document;
}

Json BundleJson(const proto::Bundle& bundle) {
  Json files = Json::array();
  for (const proto::File& file : bundle.files()) {
    files.push_back({{"path", file.path()}, {"digest", file.digest()}, {"size_bytes", file.size_bytes()}});
  }
  return {{"format", bundle.format()}, {"main", bundle.main()}, {"files", files}};
}

Json ValueJson(const proto::Value& value) {
  switch (value.kind_case()) {
    case proto::Value::kBoolean:
      return value.boolean();
    case proto::Value::kInteger:
      return value.integer();
    case proto::Value::kReal:
      return NumberOrNull(value.real());
    case proto::Value::kText:
      return value.text();
    case proto::Value::KIND_NOT_SET:
      break;
  }
  return nullptr;
}

Json ParametersJson(const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters) {
  Json object = Json::object();
  for (const proto::Parameter& parameter : parameters) object[parameter.name()] = ValueJson(parameter.value());
  return object;
}

Json PipelineJson(const proto::Candidate& candidate) {
  Json steps = Json::array();
  for (const proto::PassStep& step : candidate.pipeline()) {
    steps.push_back({{"pass", step.pass()}, {"params", ParametersJson(step.parameters())}});
  }
  return steps;
}

Json MetricsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  Json object = Json::object();
  for (const proto::Metric& metric : metrics) object[metric.name()] = MetricNumber(metric.name(), metric.value());
  return object;
}

Json FullMetricsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  Json object = MetricsJson(metrics);
  for (const char* name : kUsualMetrics) {
    if (!object.contains(name)) object[name] = nullptr;
  }
  return object;
}

Json IntervalsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  Json object = Json::object();
  for (const proto::Metric& metric : metrics) {
    if (!metric.has_low() || !metric.has_high()) continue;
    object[metric.name()] = {{"ci99", {NumberOrNull(metric.low()), NumberOrNull(metric.high())}},
                             {"samples", metric.samples()}};
  }
  return object;
}

Json SpeedupJson(const proto::Metric& speedup) {
  const bool interval = speedup.has_low() && speedup.has_high();
  return {{"median", NumberOrNull(speedup.value())},
          {"ci99", interval ? Json{NumberOrNull(speedup.low()), NumberOrNull(speedup.high())} : Json(nullptr)},
          {"pairs", speedup.samples()}};
}

Json ExecutionJson(const proto::Execution& execution) {
  Json kernels = Json::array();
  for (const proto::Execution::Kernel& kernel : execution.kernels()) {
    kernels.push_back({{"type", kernel.type()},
                       {"precision", TextOrNull(kernel.precision())},
                       {"kernel", TextOrNull(kernel.kernel())},
                       {"count", kernel.count()}});
  }
  return {{"backend", execution.backend()},
          {"version", TextOrNull(execution.version())},
          {"effective", ParametersJson(execution.effective())},
          {"kernels", kernels}};
}

Json FingerprintJson(const proto::Fingerprint& fingerprint) {
  return {{"digest", TextOrNull(fingerprint.digest())},
          {"cpu_model", TextOrNull(fingerprint.cpu_model())},
          {"cpu_features", TextsJson(fingerprint.cpu_features())},
          {"cores_allowed", fingerprint.cores_allowed()},
          {"memory_bytes", fingerprint.memory_bytes()},
          {"governor", TextOrNull(fingerprint.governor())},
          {"kernel", TextOrNull(fingerprint.kernel())},
          {"hostname", TextOrNull(fingerprint.hostname())},
          {"versions", ParametersJson(fingerprint.versions())}};
}

Json CountsJson(const proto::Counts& counts) {
  return {{"waiting", counts.waiting()},       {"running", counts.running()}, {"complete", counts.complete()},
          {"infeasible", counts.infeasible()}, {"pruned", counts.pruned()},   {"failed", counts.failed()}};
}

std::string StateName(proto::JobState state) {
  static constexpr std::array kNames = {"unknown", "running", "complete", "failed", "cancelled"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string StateName(proto::TrialState state) {
  static constexpr std::array kNames = {"unknown", "waiting", "running", "complete", "infeasible", "pruned", "failed"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

Json TimeJson(uint64_t unix_ms) {
  if (unix_ms == 0) return nullptr;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)),
                     unix_ms % 1000);
}

Json TrialJson(const proto::TrialSummary& trial) {
  return {
      {"trial", trial.trial()},
      {"study", trial.study()},
      {"state", StateName(trial.state())},
      {"phase", TextOrNull(trial.phase())},
      {"pipeline", PipelineJson(trial.candidate())},
      {"backend", TextOrNull(trial.candidate().backend())},
      {"settings", ParametersJson(trial.candidate().settings())},
      {"metrics", MetricsJson(trial.metrics())},
      {"intervals", IntervalsJson(trial.metrics())},
      {"speedup", trial.has_speedup() ? SpeedupJson(trial.speedup()) : Json(nullptr)},
      {"artifact", trial.has_model() && trial.model().files_size() > 0 ? Json(BundleId(trial.model())) : Json(nullptr)},
      {"reason", TextOrNull(trial.reason())},
      {"worker", TextOrNull(trial.worker())},
      {"attempts", trial.attempts()},
      {"wall_s", static_cast<double>(trial.wall_ms()) / 1000},
      {"execution", trial.has_execution() ? ExecutionJson(trial.execution()) : Json(nullptr)},
      {"fingerprint", TextOrNull(trial.fingerprint())},
      {"notes", TextsJson(trial.notes())}};
}

Json EventJson(const proto::Event& event) {
  return {{"schema", "hone.event/1"},
          {"seq", event.sequence()},
          {"job", std::to_string(event.job())},
          {"time", TimeJson(event.unix_ms())},
          {"kind", event.kind()},
          {"study", event.study()},
          {"trial", event.trial()},
          {"text", event.text()}};
}

Json JobJson(const proto::JobSummary& job) { return WithSchema("hone.status/1", JobBody(job)); }

Json JobsJson(const std::vector<proto::JobSummary>& jobs) {
  Json list = Json::array();
  for (const proto::JobSummary& job : jobs) list.push_back(JobBody(job));
  return {{"schema", "hone.jobs/1"}, {"jobs", list}};
}

Json TrialsJson(uint64_t job, const std::vector<proto::TrialSummary>& trials) {
  Json list = Json::array();
  for (const proto::TrialSummary& trial : trials) list.push_back(TrialJson(trial));
  return {{"schema", "hone.trials/1"}, {"job", std::to_string(job)}, {"trials", list}};
}

Json BestsJson(const proto::JobSummary& job) {
  Json studies = Json::array();
  for (const proto::StudySummary& study : job.studies()) {
    studies.push_back({{"study", study.study()},
                       {"target", TargetJson(study)},
                       {"baseline", BaselineJson(study)},
                       {"best", BestJson(study)}});
  }
  return {{"schema", "hone.best/1"},
          {"job", std::to_string(job.job())},
          {"state", StateName(job.state())},
          {"studies", studies}};
}

Json ParetoJson(const proto::JobSummary& job) {
  Json studies = Json::array();
  for (const proto::StudySummary& study : job.studies()) {
    studies.push_back(
        {{"study", study.study()}, {"target", TargetJson(study)}, {"pareto", TrialListJson(study.pareto())}});
  }
  return {{"schema", "hone.pareto/1"},
          {"job", std::to_string(job.job())},
          {"state", StateName(job.state())},
          {"studies", studies}};
}

Json WorkersJson(const std::vector<proto::WorkerSummary>& workers) {
  Json list = Json::array();
  for (const proto::WorkerSummary& worker : workers) {
    list.push_back({{"name", worker.name()},
                    {"state", worker.state()},
                    {"tags", TextsJson(worker.tags())},
                    {"last_seen", TimeJson(worker.last_seen_unix_ms())},
                    {"work", TextOrNull(worker.work())},
                    {"passes", TextsJson(worker.passes())},
                    {"backends", TextsJson(worker.backends())},
                    {"fingerprint", FingerprintJson(worker.fingerprint())}});
  }
  return {{"schema", "hone.workers/1"}, {"workers", list}};
}

Json PassJson(const proto::PassInfo& pass) {
  return {{"name", pass.name()},
          {"version", pass.version()},
          {"summary", pass.summary()},
          {"parameters", ParameterInfosJson(pass.parameters())},
          {"accepts", TextsJson(pass.accepts())},
          {"produces", TextOrNull(pass.produces())},
          {"needs_calibration", pass.needs_calibration()},
          {"takes_calibration", pass.takes_calibration()},
          {"precisions", TextsJson(pass.precisions())},
          {"impossible", ReasonsJson(pass.impossible())}};
}

Json PassesJson(const proto::Catalogue& catalogue) {
  Json list = Json::array();
  for (const proto::PassInfo& pass : catalogue.passes()) list.push_back(PassJson(pass));
  return {{"schema", "hone.passes/1"}, {"passes", list}};
}

Json BackendsJson(const proto::Catalogue& catalogue) {
  Json list = Json::array();
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    list.push_back({{"name", backend.name()},
                    {"version", TextOrNull(backend.version())},
                    {"reference", backend.reference()},
                    {"devices", TextsJson(backend.devices())},
                    {"formats", TextsJson(backend.formats())},
                    {"settings", ParameterInfosJson(backend.settings())}});
  }
  return {{"schema", "hone.backends/1"},
          {"backends", list},
          {"tags", TextsJson(catalogue.tags())},
          {"fingerprint", FingerprintJson(catalogue.fingerprint())}};
}

Json TrialListJson(const google::protobuf::RepeatedPtrField<proto::TrialSummary>& trials) {
  Json list = Json::array();
  for (const proto::TrialSummary& trial : trials) list.push_back(TrialJson(trial));
  return list;
}

Json BestJson(const proto::StudySummary& study) {
  if (!study.has_best()) return nullptr;
  Json best = TrialJson(study.best());
  best["metrics"] = FullMetricsJson(study.best().metrics());
  return best;
}

Json BaselineJson(const proto::StudySummary& study) {
  if (!study.has_baseline()) return nullptr;
  const proto::TrialSummary& baseline = study.baseline();
  return {{"backend", TextOrNull(baseline.candidate().backend())},
          {"settings", ParametersJson(baseline.candidate().settings())},
          {"state", StateName(baseline.state())},
          {"metrics", FullMetricsJson(baseline.metrics())},
          {"intervals", IntervalsJson(baseline.metrics())},
          {"execution", baseline.has_execution() ? ExecutionJson(baseline.execution()) : Json(nullptr)},
          {"fingerprint", TextOrNull(baseline.fingerprint())},
          {"reason", TextOrNull(baseline.reason())}};
}

Json StudyJson(const proto::StudySummary& study) {
  return {{"study", study.study()},
          {"target", TargetJson(study)},
          {"phase", TextOrNull(study.phase())},
          {"ended_by", TextOrNull(study.ended_by())},
          {"trials", CountsJson(study.counts())},
          {"budget", study.budget() > 0 ? Json(study.budget()) : Json(nullptr)},
          {"candidates", study.candidates() > 0 ? Json(study.candidates()) : Json(nullptr)},
          {"build_steps", {{"run", study.builds_run()}, {"reused", study.builds_reused()}}},
          {"baseline", BaselineJson(study)},
          {"best", BestJson(study)},
          {"pareto", TrialListJson(study.pareto())}};
}

proto::Counts SumCounts(const proto::JobSummary& job) {
  proto::Counts sum;
  for (const proto::StudySummary& study : job.studies()) {
    const proto::Counts& counts = study.counts();
    sum.set_waiting(sum.waiting() + counts.waiting());
    sum.set_running(sum.running() + counts.running());
    sum.set_complete(sum.complete() + counts.complete());
    sum.set_infeasible(sum.infeasible() + counts.infeasible());
    sum.set_pruned(sum.pruned() + counts.pruned());
    sum.set_failed(sum.failed() + counts.failed());
  }
  return sum;
}

Json JobBody(const proto::JobSummary& job) {
  Json objectives = Json::array();
  for (const proto::Objective& objective : job.objectives()) {
    objectives.push_back({{objective.maximize() ? "maximize" : "minimize", objective.metric()}});
  }
  Json constraints = Json::array();
  for (const proto::Constraint& constraint : job.constraints()) {
    constraints.push_back({{"metric", constraint.metric()},
                           {"minimum", constraint.has_minimum() ? NumberOrNull(constraint.minimum()) : Json(nullptr)},
                           {"maximum", constraint.has_maximum() ? NumberOrNull(constraint.maximum()) : Json(nullptr)}});
  }
  Json studies = Json::array();
  for (const proto::StudySummary& study : job.studies()) studies.push_back(StudyJson(study));
  return {{"job", std::to_string(job.job())},
          {"name", TextOrNull(job.name())},
          {"owner", TextOrNull(job.owner())},
          {"priority", job.priority()},
          {"state", StateName(job.state())},
          {"error", TextOrNull(job.error())},
          {"created", TimeJson(job.created_unix_ms())},
          {"finished", TimeJson(job.finished_unix_ms())},
          {"model", TextOrNull(job.model_id())},
          {"objectives", objectives},
          {"constraints", constraints},
          {"trials", CountsJson(SumCounts(job))},
          {"last_event", job.last_event()},
          {"studies", studies}};
}

Json ErrorBody(const Error& error) {
  return {{"code", ExitCode(error.code)},
          {"message", error.message},
          {"remedy", TextOrNull(error.remedy)},
          {"file", TextOrNull(error.file)},
          {"line", error.line > 0 ? Json(error.line) : Json(nullptr)},
          {"column", error.column > 0 ? Json(error.column) : Json(nullptr)}};
}

}  // namespace hone
