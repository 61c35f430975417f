#include "client/text_output.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "client/table.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string ValueText(std::string_view name, double value) {
  if (EndsWith(name, "_bytes") && value >= 0) return HumanBytes(static_cast<uint64_t>(value));
  if (name.find("_ms") != std::string_view::npos) return HumanNumber(value) + " ms";
  if (EndsWith(name, "_per_s")) return HumanNumber(value) + "/s";
  // Shares near 1 differ in digits that three significant ones hide.
  return name.find("accuracy") == std::string_view::npos ? HumanNumber(value) : fmt::format("{:.4f}", value);
}

std::string LocalTime(uint64_t unix_ms) {
  if (unix_ms == 0) return "-";
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", local);
}

std::string Words(const google::protobuf::RepeatedPtrField<std::string>& words, std::string_view separator = " ") {
  return Join(std::vector<std::string>(words.begin(), words.end()), separator);
}

std::string TargetText(const proto::StudySummary& study) {
  return study.tags_size() == 0 ? "any worker" : Words(study.tags());
}

std::string DefaultText(const proto::ParameterInfo& info) {
  return info.default_value().kind_case() == proto::Value::KIND_NOT_SET ? "unset" : ToText(info.default_value());
}

std::string AllowedText(const proto::ParameterInfo& info) {
  if (info.choices_size() > 0) {
    std::vector<std::string> choices;
    for (const proto::Value& choice : info.choices()) choices.push_back(ToText(choice));
    return Join(choices, "|");
  }
  if (info.type() == proto::ParameterInfo::BOOLEAN) return "true|false";
  const bool low = info.minimum().kind_case() != proto::Value::KIND_NOT_SET;
  const bool high = info.maximum().kind_case() != proto::Value::KIND_NOT_SET;
  if (low || high) return fmt::format("{}..{}", low ? ToText(info.minimum()) : "", high ? ToText(info.maximum()) : "");
  static constexpr const char* kTypes[] = {"", "boolean", "integer", "number", "text"};
  const auto type = static_cast<size_t>(info.type());
  return type < std::size(kTypes) ? kTypes[type] : "";
}

std::string ParameterTable(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos) {
  Table table({{"", Align::left, false}, {"", Align::left, false}, {"", Align::left, false}, {"", Align::left, false}});
  for (const proto::ParameterInfo& info : infos) {
    table.Row({"  " + info.name(), AllowedText(info), "default " + DefaultText(info), info.help()});
  }
  return table.Text();
}

std::string StudyResult(const proto::StudySummary& study) {
  const proto::TrialSummary& baseline = study.baseline();
  const proto::TrialSummary& best = study.best();
  Table table({{"", Align::left, false},
               {"baseline", Align::right, false},
               {"best", Align::right, false},
               {"", Align::left, false}});
  static constexpr struct { const char* label; const char* metric; } kRows[] = {
      {"latency p50", "latency_ms_p50"}, {"latency p90", "latency_ms_p90"}, {"throughput", "throughput_per_s"},
      {"tokens read", "prompt_tokens_per_s"},       {"tokens written", "decode_tokens_per_s"},
      {"first token", "time_to_first_token_ms"},    {"perplexity", "perplexity"},
      {"size", "size_bytes"},            {"memory", "memory_bytes"},        {"load", "load_ms"},
      {"accuracy", "accuracy"}};
  if (best.has_speedup()) {
    const proto::Metric& speedup = best.speedup();
    std::string interval;
    if (speedup.has_low() && speedup.has_high()) {
      interval = fmt::format("[{:.2f}, {:.2f}] with 99 % confidence, {} pairs", speedup.low(), speedup.high(),
                             speedup.samples());
    }
    table.Row({"speed-up", "1.00x", fmt::format("{:.2f}x", speedup.value()), interval});
  }
  for (const auto& row : kRows) {
    const proto::Metric* before = FindMetric(baseline.metrics(), row.metric);
    const proto::Metric* after = FindMetric(best.metrics(), row.metric);
    if (before == nullptr && after == nullptr) continue;
    std::string remark;
    const proto::Metric* drop = FindMetric(best.metrics(), "accuracy_drop");
    if (std::string_view(row.metric) == "accuracy" && drop != nullptr)
      remark = fmt::format("drop {:.4f}", drop->value());
    table.Row({row.label, MetricText(row.metric, before), MetricText(row.metric, after), remark});
  }
  table.Row({"backend", baseline.candidate().backend(), best.candidate().backend(), ""});
  std::string text = table.Text();
  text += fmt::format("pipeline     {}\n", PipelineText(best.candidate()));
  text += fmt::format("settings     {}\n", SettingsText(best.candidate().settings()));
  if (best.has_speedup() && best.speedup().has_low() && best.speedup().low() <= 1) {
    text += "note         the interval of the speed-up reaches down to 1: not measurably faster than the original\n";
  }
  std::set<std::string> told;
  for (const std::string& note : best.notes()) {
    if (told.insert(note).second) text += fmt::format("note         {}\n", Printable(note));
  }
  return text;
}

}  // namespace

std::string MetricText(std::string_view name, const proto::Metric* metric) {
  return metric == nullptr ? "-" : ValueText(name, metric->value());
}

std::string SpeedupText(const proto::TrialSummary& trial) {
  if (!trial.has_speedup()) return "-";
  const proto::Metric& speedup = trial.speedup();
  std::string text = fmt::format("{:.2f}x", speedup.value());
  if (speedup.has_low() && speedup.has_high()) text += fmt::format(" [{:.2f}, {:.2f}]", speedup.low(), speedup.high());
  return text;
}

std::string CountsText(const proto::Counts& counts) {
  return fmt::format("{} complete, {} infeasible, {} pruned, {} failed", counts.complete(), counts.infeasible(),
                     counts.pruned(), counts.failed());
}

uint32_t Finished(const proto::Counts& counts) {
  return counts.complete() + counts.infeasible() + counts.pruned() + counts.failed();
}

std::string ResultText(const proto::JobSummary& job, const std::vector<std::optional<WrittenModel>>& written,
                       const std::string& model_name) {
  std::string text;
  uint32_t run = 0;
  uint32_t reused = 0;
  for (int i = 0; i < job.studies_size(); ++i) {
    const proto::StudySummary& study = job.studies(i);
    run += study.builds_run();
    reused += study.builds_reused();
    const std::string target = job.studies_size() > 1 ? " for " + TargetText(study) : "";
    const uint32_t finished = Finished(study.counts());
    if (!study.has_best()) {
      text += fmt::format("{}{}: no feasible candidate among {} trials ({})\n", model_name, target, finished,
                          CountsText(study.counts()));
      if (study.has_baseline() && !study.baseline().reason().empty())
        text += "baseline: " + Printable(study.baseline().reason()) + "\n";
    } else {
      text += fmt::format("{}{}: trial {} is the best of {}\n\n", model_name, target, study.best().trial(), finished);
      text += StudyResult(study);
      text += fmt::format("trials       {}\n", CountsText(study.counts()));
    }
    const auto index = static_cast<size_t>(i);
    if (index < written.size() && written[index])
      text += fmt::format("model        {}\n", Join(written[index]->files, "\n             "));
    if (i + 1 < job.studies_size()) text += "\n";
  }
  // Steps are also shared between the trials of one job; with none run, all of them stem from before it.
  text += fmt::format("build steps: {} run, {} reused{}\n", run, reused,
                      run == 0 && reused > 0 ? " from earlier runs" : "");
  return text;
}

std::string JobsText(const std::vector<proto::JobSummary>& jobs, size_t width) {
  if (jobs.empty()) return "no jobs\n";
  Table table({{"job", Align::right, false},
               {"state", Align::left, false},
               {"name", Align::left, true},
               {"trials", Align::right, false},
               {"best", Align::left, false},
               {"created", Align::left, false}});
  for (const proto::JobSummary& job : jobs) {
    uint32_t finished = 0;
    std::string best = "-";
    for (const proto::StudySummary& study : job.studies()) {
      finished += Finished(study.counts());
      if (best == "-" && study.has_best()) best = SpeedupText(study.best());
    }
    table.Row({std::to_string(job.job()), StateName(job.state()), Printable(job.name()), std::to_string(finished), best,
               LocalTime(job.created_unix_ms())});
  }
  return table.Text(width);
}

std::string JobText(const proto::JobSummary& job, size_t width) {
  std::string text = fmt::format("job {}  {}  {}\n", job.job(), Printable(job.name()), StateName(job.state()));
  if (!job.error().empty()) text += fmt::format("error    {}\n", Printable(job.error()));
  for (const proto::StudySummary& study : job.studies()) {
    text += fmt::format("target   {}{}\n", TargetText(study), study.phase().empty() ? "" : ", " + study.phase());
    std::string total = study.budget() > 0 ? fmt::format(" of {}", study.budget()) : "";
    text += fmt::format("trials   {}{}: {}; {} running\n", Finished(study.counts()), total, CountsText(study.counts()),
                        study.counts().running());
    text += fmt::format("builds   {} run, {} reused\n", study.builds_run(), study.builds_reused());
    if (study.has_baseline()) {
      text += fmt::format("baseline {}\n",
                          MetricText("latency_ms_p50", FindMetric(study.baseline().metrics(), "latency_ms_p50")));
    }
    if (study.has_best()) {
      const std::string line = fmt::format("best     trial {}  {}  {}", study.best().trial(), SpeedupText(study.best()),
                                           CandidateText(study.best().candidate()));
      text += (width > 0 ? CutEnd(line, width) : line) + "\n";
    }
  }
  return text;
}

std::string TrialsText(const std::vector<proto::TrialSummary>& trials, size_t width) {
  if (trials.empty()) return "no trials yet\n";
  Table table({{"trial", Align::right, false}, {"state", Align::left, false}, {"speed-up", Align::left, false},
               {"latency p50", Align::right, false}, {"accuracy", Align::right, false}, {"size", Align::right, false},
               {"candidate", Align::left, true}, {"", Align::left, true}});
  for (const proto::TrialSummary& trial : trials) {
    const std::string remark = trial.state() == proto::TRIAL_RUNNING ? trial.phase() : trial.reason();
    const std::string prefix = trial.study() > 0 ? std::to_string(trial.study()) + "/" : "";
    table.Row({prefix + std::to_string(trial.trial()), StateName(trial.state()), SpeedupText(trial),
               MetricText("latency_ms_p50", FindMetric(trial.metrics(), "latency_ms_p50")),
               MetricText("accuracy", FindMetric(trial.metrics(), "accuracy")),
               MetricText("size_bytes", FindMetric(trial.metrics(), "size_bytes")), CandidateText(trial.candidate()),
               Printable(remark, 200)});
  }
  return table.Text(width);
}

std::string WorkersText(const std::vector<proto::WorkerSummary>& workers, size_t width, uint64_t now_unix_ms) {
  if (workers.empty()) return "no workers\n";
  Table table({{"worker", Align::left, false},
               {"state", Align::left, false},
               {"seen", Align::right, false},
               {"cpu", Align::left, true},
               {"cores", Align::right, false},
               {"backends", Align::left, true},
               {"doing", Align::left, true},
               {"tags", Align::left, true}});
  for (const proto::WorkerSummary& worker : workers) {
    const uint64_t ago = now_unix_ms > worker.last_seen_unix_ms() ? now_unix_ms - worker.last_seen_unix_ms() : 0;
    table.Row({worker.name(), worker.state(),
               worker.last_seen_unix_ms() == 0 ? "never" : HumanDuration(static_cast<int64_t>(ago)) + " ago",
               worker.fingerprint().cpu_model(), std::to_string(worker.fingerprint().cores_allowed()),
               Words(worker.backends()), Printable(worker.work(), 200), Words(worker.tags())});
  }
  return table.Text(width);
}

namespace {

const char* CalibrationText(const proto::PassInfo& pass) {
  if (pass.needs_calibration()) return "needed";
  return pass.takes_calibration() ? "used" : "-";
}

// What does not go together.
std::string RulesText(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules) {
  std::string text;
  for (const proto::Impossible& rule : rules)
    text += fmt::format("{}  {}\n", text.empty() ? "never:\n" : "", rule.reason());
  return text;
}

}  // namespace

std::string PassesText(const proto::Catalogue& catalogue, size_t width) {
  Table table({{"pass", Align::left, false},
               {"precision", Align::left, false},
               {"data", Align::left, false},
               {"does", Align::left, true}});
  for (const proto::PassInfo& pass : catalogue.passes()) {
    table.Row({pass.name(), pass.precisions_size() == 0 ? "-" : Words(pass.precisions(), ","), CalibrationText(pass),
               pass.summary()});
  }
  return table.Text(width);
}

std::string PassText(const proto::PassInfo& pass) {
  std::string text = fmt::format("{}: {}\n", pass.name(), pass.summary());
  text += fmt::format("version {}; takes {}; gives {}{}{}\n", pass.version(), Words(pass.accepts(), ", "),
                      pass.produces().empty() ? "the same format" : pass.produces(),
                      pass.precisions_size() == 0 ? "" : "; precision " + Words(pass.precisions(), ", "),
                      pass.needs_calibration()   ? "; needs calibration data"
                      : pass.takes_calibration() ? "; uses calibration data where given"
                                                 : "");
  text += pass.parameters_size() == 0 ? "no parameters\n" : "parameters:\n" + ParameterTable(pass.parameters());
  return text + RulesText(pass.impossible());
}

std::string BackendsText(const proto::Catalogue& catalogue) {
  std::string text;
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    text += fmt::format("{} {}{}\n", backend.name(), backend.version(),
                        backend.reference() ? " (reference: the baseline runs on it)" : "");
    text +=
        fmt::format("  devices  {}\n  formats  {}\n", Words(backend.devices(), ", "), Words(backend.formats(), ", "));
    if (backend.settings_size() > 0) text += "  settings\n" + ParameterTable(backend.settings());
  }
  return text.empty() ? "no backends\n" : text;
}

std::string InspectText(const std::string& path, const proto::InspectResult& info) {
  std::string text = fmt::format("{}  {}  {}\n{}\n", path, info.format(), HumanBytes(info.size_bytes()), info.digest());
  if (!info.producer().empty()) text += fmt::format("made by      {}\n", Printable(info.producer(), 200));
  if (info.ir_version() > 0) text += fmt::format("IR version   {}\n", info.ir_version());
  for (const proto::Parameter& opset : info.opsets()) {
    text += fmt::format("opset        {} {}\n", opset.name().empty() ? "ai.onnx" : opset.name(), ToText(opset.value()));
  }
  const auto tensors = [&](const char* label, const google::protobuf::RepeatedPtrField<proto::TensorInfo>& list) {
    for (const proto::TensorInfo& tensor : list) {
      text += fmt::format("{:<12} {}  {}[{}]\n", label, Printable(tensor.name(), 200), tensor.type(),
                          Words(tensor.dims(), ","));
    }
  };
  tensors("input", info.inputs());
  tensors("output", info.outputs());
  const auto operators = [&](const char* label,
                             const google::protobuf::RepeatedPtrField<proto::InspectResult::Operator>& list) {
    std::vector<std::string> words;
    for (const auto& row : list) words.push_back(fmt::format("{} {}", row.type(), row.count()));
    if (!words.empty()) text += fmt::format("{:<12} {}\n", label, Join(words, ", "));
  };
  operators("operators", info.operators());
  operators("quantized", info.quantized());
  text += fmt::format("parameters   {} in {}\n", info.parameters(), HumanBytes(info.parameters_bytes()));
  for (const proto::Parameter& type : info.parameter_types()) {
    const bool counted = type.value().kind_case() == proto::Value::kInteger && type.value().integer() >= 0;
    text += fmt::format("  {:<10} {}\n", type.name(),
                        counted ? HumanBytes(static_cast<uint64_t>(type.value().integer())) : ToText(type.value()));
  }
  for (const std::string& file : info.external_files()) text += fmt::format("external     {}\n", Printable(file, 400));
  return text;
}

std::string MetricsText(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  Table table(
      {{"", Align::left, false}, {"", Align::right, false}, {"", Align::left, false}, {"", Align::left, false}});
  for (const proto::Metric& metric : metrics) {
    std::string interval;
    if (metric.has_low() && metric.has_high()) {
      interval =
          fmt::format("[{}, {}]", ValueText(metric.name(), metric.low()), ValueText(metric.name(), metric.high()));
    }
    table.Row({"  " + metric.name(), ValueText(metric.name(), metric.value()), interval,
               metric.samples() > 0 ? fmt::format("n = {}", metric.samples()) : ""});
  }
  return table.Text();
}

}  // namespace hone
