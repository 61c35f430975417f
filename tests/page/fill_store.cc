// Writes the store of a coordinator with jobs that the page's tests look at: page_fixture DATA_FOLDER. The same every
// time.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "client/nightly/history.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "coordinator/store.h"

namespace hone {
namespace {

constexpr int64_t kTrialMs = 9'000;
constexpr uint64_t kSamplesEach = 4'000;  // As a model of a millisecond has them.
constexpr size_t kWithSamples = 40;  // Trials of a job whose raw samples are kept.
constexpr std::array kObservers = {"minmax", "percentile", "mse", "entropy"};
constexpr std::array kWorkers = {"lab-xeon-1", "lab-xeon-2", "lab-xeon-3"};
constexpr double kBaselineMs = 12.4;
constexpr double kMostDrop = 0.02;

enum class Kind { usual, failed, hostile };

struct JobPlan {
  const char* name;
  uint64_t trials;
  Kind kind;
};
constexpr JobPlan kPlans[] = {
    {"resnet50 cpu-int8", 200, Kind::usual},  {"bert-base", 2'000, Kind::usual},
    {"mobilenet sweep", 10'000, Kind::usual}, {"one", 0, Kind::usual},
    {"all failed", 6, Kind::failed},          {"<img src=x onerror=alert(1)>\"'&", 12, Kind::hostile}};

proto::Parameter Text(const char* name, const std::string& value) {
  proto::Parameter parameter;
  parameter.set_name(name);
  parameter.mutable_value()->set_text(value);
  return parameter;
}

proto::Candidate CandidateOf(uint64_t trial, Kind kind) {
  proto::Candidate candidate;
  candidate.set_backend(trial == 0 ? "onnxruntime" : "openvino");
  if (trial == 0) return candidate;
  proto::PassStep& step = *candidate.add_pipeline();
  step.set_pass("static_int8");
  const size_t observer = trial * 7 % kObservers.size();
  *step.add_parameters() = Text(
      "observer", kind == Kind::hostile ? fmt::format("<b>\"{}\"</b>", kObservers[observer]) : kObservers[observer]);
  proto::Parameter& channel = *step.add_parameters();
  channel.set_name("per_channel");
  channel.mutable_value()->set_boolean(trial % 2 == 0);
  if (observer == 1) {
    proto::Parameter& percentile = *step.add_parameters();
    percentile.set_name("percentile");
    percentile.mutable_value()->set_real(99.9 + static_cast<double>(trial % 10) / 100);
  }
  *candidate.add_settings() = Text("hint", trial % 3 == 0 ? "throughput" : "latency");
  proto::Parameter& threads = *candidate.add_settings();
  threads.set_name("threads");
  threads.mutable_value()->set_integer(static_cast<int64_t>(1 + trial % 4));
  return candidate;
}

proto::Metric MetricOf(const char* name, double value, double spread = 0) {
  proto::Metric metric;
  metric.set_name(name);
  metric.set_value(value);
  metric.set_samples(kSamplesEach);
  if (spread > 0) {
    metric.set_low(value * (1 - spread));
    metric.set_high(value * (1 + spread));
  }
  return metric;
}

proto::Samples Around(const char* series, double center, uint64_t seed) {
  proto::Samples samples;
  samples.set_series(series);
  for (uint64_t i = 0; i < kSamplesEach; ++i) {
    const double wave = std::sin(static_cast<double>(i * 37 + seed * 11)) + std::sin(static_cast<double>(i * i % 911));
    samples.add_values(center * (1 + 0.012 * wave + (i % 53 == 0 ? 0.2 : 0)));
  }
  return samples;
}

proto::Execution ExecutionOf(const char* backend, const char* precision) {
  proto::Execution execution;
  execution.set_backend(backend);
  execution.set_version("1.0");
  const std::pair<const char*, uint32_t> kernels[] = {
      {"Convolution", 53}, {"Eltwise", 16}, {"Pooling", 2}, {"FullyConnected", 1}};
  for (const auto& [type, count] : kernels) {
    auto& kernel = *execution.add_kernels();
    kernel.set_type(type);
    kernel.set_precision(type == std::string("Pooling") ? "f32" : precision);
    kernel.set_kernel(fmt::format("jit_{}", precision));
    kernel.set_count(count);
  }
  return execution;
}

Measurement MeasurementOf(uint64_t trial, double latency, double drop) {
  Measurement measurement;
  measurement.metrics = {MetricOf("accuracy_drop", drop)};
  measurement.fingerprint.set_digest(DigestOf("machine"));
  measurement.fingerprint.set_cpu_model("Xeon");
  if (latency <= 0) {
    measurement.infeasible = true;
    return measurement;
  }
  for (auto& metric :
       {MetricOf("latency_ms_p50", latency, 0.011), MetricOf("latency_ms_p90", latency * 1.09, 0.02),
        MetricOf("size_bytes", trial == 0 ? 97'800'000 : 24'600'000 + static_cast<double>(trial % 9) * 100'000),
        MetricOf("memory_bytes", 90'000'000 + static_cast<double>(trial % 5) * 1e6)})
    measurement.metrics.push_back(metric);
  measurement.execution = ExecutionOf(trial == 0 ? "onnxruntime" : "openvino", trial == 0 ? "f32" : "i8");
  if (trial == 0) return measurement;
  measurement.baseline_metrics = {MetricOf("latency_ms_p50", kBaselineMs, 0.01)};
  measurement.speedup = MetricOf("speedup", kBaselineMs / latency, 0.015);
  measurement.speedup->set_samples(20);
  return measurement;
}

proto::Bundle ModelOf(const std::string& name) {
  proto::Bundle bundle;
  bundle.set_format("onnx");
  bundle.set_main("model.onnx");
  proto::File& file = *bundle.add_files();
  file.set_path("model.onnx");
  file.set_digest(DigestOf(name));
  file.set_size_bytes(24'600'000);
  return bundle;
}

class Filler {
 public:
  Filler(Store& store, int64_t now_unix_ms) : store_(store), now_(now_unix_ms) {}

  Result<> Fill(const JobPlan& plan) {
    const int64_t began = now_ - 4 * 3'600'000;
    JobRecord job;
    job.name = plan.name;
    job.state = proto::JOB_COMPLETE;
    job.model = ModelOf("source");
    job.created_unix_ms = began;
    job.finished_unix_ms = began + static_cast<int64_t>(plan.trials + 1) * kTrialMs / 3;
    job.recipe.add_objectives()->set_metric("latency_ms_p50");
    proto::Constraint& limit = *job.recipe.add_constraints();
    limit.set_metric("accuracy_drop");
    limit.set_maximum(kMostDrop);
    TRY(store_.NoteBundle(job.model, began));
    TRY_ASSIGN(const uint64_t number, store_.InsertJob(job));
    StudyRecord study;
    study.job = number;
    study.tags = {"cpu"};
    study.phase = StudyPhase::kDone;
    study.budget = static_cast<uint32_t>(plan.trials);
    study.ended_by = "trials";
    study.sensitivity = kNoTable;
    TRY(store_.InsertStudy(study));
    double least = 1e9;
    for (uint64_t trial = 0; trial <= plan.trials; ++trial) {
      TRY_ASSIGN(const double latency, AddTrial({number, 0, trial}, plan.kind, began));
      if (trial > 0 && latency > 0 && latency < least) {
        least = latency;
        study.best = trial;
      }
    }
    TRY(store_.UpdateStudy(study));
    TRY(store_.AppendEvent({number, 0, 0}, "job.submitted", "submitted " + job.name, began));
    TRY(store_.AppendEvent({number, 0, 0}, "job.complete", "complete", job.finished_unix_ms));
    return store_.EndJob(number, job.state, "", job.finished_unix_ms, job.finished_unix_ms - began);
  }

 private:
  // Its latency; 0 where it has none.
  Result<double> AddTrial(const TrialKey& key, Kind kind, int64_t began) {
    const uint64_t number = key.trial;
    const size_t observer = number * 7 % kObservers.size();
    const double wave = std::sin(static_cast<double>(number) * 12.9898);
    const double drop = number == 0 ? 0 : std::abs(std::array{0.001, 0.004, 0.012, 0.03}[observer] + wave * 0.002);
    double latency =
        number == 0 ? kBaselineMs
                    : std::array{10.0, 8.0, 5.0, 6.5}[observer] + wave * 0.3 + static_cast<double>(number % 4) * 0.4;
    const bool fails = kind == Kind::failed || (number > 0 && number % 17 == 0);
    const bool breaks = drop > kMostDrop;
    if (fails || breaks) latency = 0;
    TrialRecord trial;
    trial.key = key;
    trial.candidate = CandidateOf(number, kind);
    trial.model = ModelOf(fmt::format("{}", number % 64));
    trial.step = static_cast<uint32_t>(trial.candidate.pipeline_size());
    trial.worker = kWorkers[number % kWorkers.size()];
    trial.created_unix_ms = began + static_cast<int64_t>(number / kWorkers.size()) * kTrialMs;
    TRY(store_.NoteBundle(trial.model, trial.created_unix_ms));
    TRY(store_.InsertTrial(trial));
    AttemptRecord attempt;
    attempt.trial = key;
    attempt.worker = trial.worker;
    attempt.session = "fixture";
    TRY_ASSIGN(attempt, store_.OpenAttempt(attempt, trial.created_unix_ms));
    AttemptEnd end;
    end.outcome = fails ? Outcome::kFailed : Outcome::kDone;
    end.error = fails ? "operator GridSample is not supported" : "";
    end.output_tail = kind == Kind::hostile ? "<script>alert(1)</script>" : "calibrated 128 samples\n";
    end.wall_ms = static_cast<uint64_t>(kTrialMs - 700 - static_cast<int64_t>(number % 7) * 200);
    end.peak_memory_bytes = 300'000'000;
    trial.wall_ms = end.wall_ms;
    trial.ended_unix_ms = trial.created_unix_ms + static_cast<int64_t>(end.wall_ms);
    TRY(store_.CloseAttempt(attempt.id, end, trial.ended_unix_ms));
    trial.attempts = 1;
    trial.state = fails ? proto::TRIAL_FAILED : breaks ? proto::TRIAL_INFEASIBLE : proto::TRIAL_COMPLETE;
    trial.reason = fails ? end.error : breaks ? fmt::format("accuracy_drop {:.3f} is above {}", drop, kMostDrop) : "";
    if (!fails) {
      Measurement measurement = MeasurementOf(number, latency, drop);
      if (latency > 0 && number < kWithSamples)
        measurement.samples = {Around("candidate.latency_ms", latency, number),
                               Around("baseline.latency_ms", kBaselineMs, number + 7)};
      TRY(store_.InsertMeasurement(attempt.id, key, measurement, trial.ended_unix_ms));
      trial.result = attempt.id;
      trial.fingerprint = measurement.fingerprint.digest();
      trial.pairs = 20;
    }
    TRY(store_.UpdateTrial(trial));
    return latency;
  }

  Store& store_;
  const int64_t now_;
};

constexpr int64_t kDayMs = 86'400'000;
constexpr int kNights = 40;
constexpr int kSlowerFrom = 25;

SeriesResult NightOf(const char* model, int night, double effect) {
  SeriesResult result;
  result.key = {model, "server", "latency_ms_p50", DigestOf("recipe"), DigestOf("machine"), "openvino 2026.4.1"};
  result.threshold = 0.02;
  result.accepted = result.tonight = "sha256:1 openvino {}";
  result.accepted_median = kBaselineMs;
  result.tonight_median = kBaselineMs * (1 + effect);
  Judgement& judgement = result.judgement;
  judgement.verdict = effect > 0.02     ? NightVerdict::regression
                      : night % 13 == 7 ? NightVerdict::inconclusive
                                        : NightVerdict::equivalent;
  judgement.effect = effect;
  judgement.interval = {effect - 0.008, effect + 0.009};
  judgement.pairs = 20;
  return result;
}

Result<> FillNights(const std::filesystem::path& file) {
  TRY_ASSIGN(NightHistory history, NightHistory::Open(file));
  const int64_t now = SystemClock().UnixMs();
  for (int night = 0; night < kNights; ++night) {
    NightRecord record;
    record.id = fmt::format("night-{:03}", night);
    record.suite = "fleet <1>";
    record.started_unix_ms = now - (kNights - night) * kDayMs;
    record.finished_unix_ms = record.started_unix_ms + 600'000;
    const double wave = std::sin(night * 7.13) * 0.004;
    record.results = {NightOf("resnet50", night, wave + (night >= kSlowerFrom ? 0.045 : 0)),
                      NightOf("bert", night, wave)};
    record.exit_code = NightExitCode(record.results);
    TRY(history.Save(record));
  }
  return history.Annotate("fleet <1>", {now - 15 * kDayMs, "resnet50", "", "", "a new compiler", "ann", ""});
}

Result<> FillFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  TRY_ASSIGN(Store store, Store::Open(folder / "hone.db", 0));
  TRY(store.Begin());
  Filler filler(store, SystemClock().UnixMs());
  for (const JobPlan& plan : kPlans) TRY(filler.Fill(plan));
  WorkerRecord worker;
  worker.name = kWorkers[0];
  worker.session = "fixture";
  worker.tags = {"cpu", "x86_64", "avx512_vnni"};
  worker.first_seen_unix_ms = worker.last_seen_unix_ms = SystemClock().UnixMs() - 3'600'000;
  TRY(store.SaveWorker(worker));
  return store.Commit();
}

}  // namespace
}  // namespace hone

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "page_fixture DATA_FOLDER HISTORY\n");
    return 2;
  }
  auto filled = hone::FillFolder(argv[1]);
  if (filled) filled = hone::FillNights(argv[2]);
  if (!filled) std::fprintf(stderr, "page_fixture: %s\n", filled.error().message.c_str());
  return filled ? 0 : 4;
}
