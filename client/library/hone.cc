// The library's calls, over the client's own: messages become the plain structs of include/hone/hone.h.
#include "include/hone/hone.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "client/client.h"
#include "client/job_request.h"
#include "client/remote.h"
#include "client/result_files.h"
#include "client/sister_program.h"
#include "common/base/file.h"
#include "common/recipe/value.h"
#include "common/results/messages.h"

namespace hone::sdk {
inline namespace v1 {

struct Session::Body {
  hone::Client client;
};

namespace {

constexpr std::chrono::milliseconds kWait{500};
// A search of a whole model may take long; these calls are one measurement or a few passes.
constexpr std::chrono::hours kLongest{12};

Error ToSdk(const hone::Error& error) {
  return {hone::ExitCode(error.code), error.message, error.remedy, error.file, error.line, error.column};
}

Metric ToSdk(const proto::Metric& metric) {
  Metric out{metric.name(), metric.value(), {}, {}, metric.samples()};
  if (metric.has_low()) out.low = metric.low();
  if (metric.has_high()) out.high = metric.high();
  return out;
}

Trial ToSdk(const proto::TrialSummary& trial) {
  Trial out;
  out.number = trial.trial();
  out.target = trial.study() + 1;
  out.state = StateName(trial.state());
  out.candidate = CandidateText(trial.candidate());
  for (const proto::Metric& metric : trial.metrics()) out.metrics.push_back(ToSdk(metric));
  if (trial.has_speedup()) out.speedup = ToSdk(trial.speedup());
  out.reason = trial.reason();
  return out;
}

Job ToSdk(const proto::JobSummary& job) {
  Job out{job.job(), job.name(), StateName(job.state()), job.error(), {}};
  for (const proto::StudySummary& study : job.studies()) {
    Target& target = out.targets.emplace_back();
    target.tags = {study.tags().begin(), study.tags().end()};
    target.complete = study.counts().complete();
    target.infeasible = study.counts().infeasible();
    target.pruned = study.counts().pruned();
    target.failed = study.counts().failed();
    if (study.has_baseline()) target.baseline = ToSdk(study.baseline());
    if (study.has_best()) target.best = ToSdk(study.best());
  }
  return out;
}

Event ToSdk(const proto::Event& event) {
  return {event.sequence(), static_cast<int64_t>(event.unix_ms()), event.kind(), event.text(), event.trial()};
}

std::vector<Metric> MetricsOf(const Json& document) {
  std::vector<Metric> metrics;
  const Json intervals = document.value("intervals", Json::object());
  for (const auto& [name, value] : document.at("metrics").items()) {
    if (!value.is_number()) continue;
    Metric& metric = metrics.emplace_back(Metric{name, value.get<double>(), {}, {}, 0});
    const auto interval = intervals.find(name);
    if (interval == intervals.end() || !interval->is_object()) continue;
    metric.low = interval->at("ci99").at(0).get<double>();
    metric.high = interval->at("ci99").at(1).get<double>();
    metric.samples = interval->value("samples", uint64_t{0});
  }
  return metrics;
}

// What a document lacks is a bug of the program that wrote it, and no exception of ours.
template <class T, class Read>
Outcome<T> FromProgram(const std::vector<std::string>& words, const Read& read) {
  const auto answer = AskProgram("hone", "HONE_PROGRAM", words, kLongest);
  if (!answer) return ToSdk(answer.error());
  try {
    return read(answer->document);
  } catch (const Json::exception& error) {
    return Error{70, std::string("hone answered with another document: ") + error.what(), "", "", 0, 0};
  }
}

}  // namespace

Session::Session(std::unique_ptr<Body> body) : body_(std::move(body)) {}
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;
Session::~Session() = default;

Outcome<Session> Session::Connect(const Connection& connection) {
  auto client = ConnectTo({connection.coordinator, connection.keys});
  if (!client) return ToSdk(client.error());
  return Session(std::unique_ptr<Body>(new Body{std::move(*client)}));
}

Outcome<uint64_t> Session::Submit(const Submission& submission) {
  JobOptions options;
  options.model = submission.model;
  options.recipe = submission.recipe;
  options.data = submission.data;
  options.calibration = submission.calibration;
  options.name = submission.name;
  options.trials = submission.trials;
  options.seed = submission.seed;
  const auto request = PrepareJob(options, [this] { return body_->client.Catalogue(); });
  if (!request) return ToSdk(request.error());
  const auto reply = body_->client.Submit(request->submission);
  if (!reply) return ToSdk(reply.error());
  return reply->job();
}

Outcome<Job> Session::Status(uint64_t job) {
  const auto summary = body_->client.Job(job);
  if (!summary) return ToSdk(summary.error());
  return ToSdk(*summary);
}

Outcome<std::vector<Job>> Session::Jobs(uint32_t limit) {
  const auto summaries = body_->client.Jobs(limit);
  if (!summaries) return ToSdk(summaries.error());
  std::vector<Job> jobs;
  for (const proto::JobSummary& summary : *summaries) jobs.push_back(ToSdk(summary));
  return jobs;
}

Outcome<std::vector<Trial>> Session::Trials(uint64_t job) {
  const auto summaries = body_->client.Trials(job, std::nullopt);
  if (!summaries) return ToSdk(summaries.error());
  std::vector<Trial> trials;
  for (const proto::TrialSummary& summary : *summaries) trials.push_back(ToSdk(summary));
  return trials;
}

Outcome<Job> Session::Watch(uint64_t job, const std::function<bool(const Event&)>& heard, double timeout_s) {
  const auto start = std::chrono::steady_clock::now();
  uint64_t after = 0;
  while (true) {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (timeout_s > 0 && passed.count() >= timeout_s)
      return Error{10, "the job still runs", "watch it again: it goes on", "", 0, 0};
    const auto reply = body_->client.Events(job, after, kWait);
    if (!reply) return ToSdk(reply.error());
    for (const proto::Event& event : reply->events()) {
      after = std::max(after, event.sequence());
      if (heard && !heard(ToSdk(event))) return Error{130, "the watch was ended", "the job goes on", "", 0, 0};
    }
    after += reply->gap();
    const bool caught_up = reply->events_size() == 0 || after >= reply->last();
    if (reply->state() != proto::JOB_RUNNING && caught_up) return Status(job);
  }
}

Outcome<std::string> Session::Get(uint64_t job, const std::string& folder) {
  const auto summary = body_->client.Job(job);
  if (!summary) return ToSdk(summary.error());
  if (summary->studies_size() == 0 || !summary->studies(0).has_best())
    return Error{1, "the job has no best candidate", "see its trials", "", 0, 0};
  if (const auto made = MakeFolder(folder); !made) return ToSdk(made.error());
  const auto written = WriteModel(body_->client, summary->studies(0).best().model(), folder);
  if (!written) return ToSdk(written.error());
  return written->path;
}

Outcome<Done> Session::Cancel(uint64_t job, const std::string& reason) {
  const auto reply = body_->client.Cancel(job, reason);
  if (!reply) return ToSdk(reply.error());
  return Done{};
}

Outcome<Quantized> Quantize(const std::string& model, const std::vector<std::string>& passes, const std::string& output,
                            const std::string& calibration) {
  std::vector<std::string> words = {"apply", model, "-o", output, "--json", "--quiet"};
  for (const std::string& pass : passes) words.insert(words.end(), {"--pass", pass});
  if (!calibration.empty()) words.insert(words.end(), {"--calibration", calibration});
  return FromProgram<Quantized>(words, [](const Json& document) {
    return Quantized{document.at("path").get<std::string>(), document.at("metrics").value("size_bytes", uint64_t{0})};
  });
}

Outcome<Measurement> Benchmark(const std::string& model, const std::string& other, const std::string& backend,
                               const std::vector<std::string>& more_arguments) {
  std::vector<std::string> words = {"benchmark", model, "--json", "--quiet"};
  if (!other.empty()) words.insert(words.end(), {"--vs", other});
  if (!backend.empty()) words.insert(words.end(), {"--backend", backend});
  words.insert(words.end(), more_arguments.begin(), more_arguments.end());
  return FromProgram<Measurement>(words, [](const Json& document) {
    Measurement measurement{MetricsOf(document), {}, ""};
    const Json speedup = document.value("speedup", Json());
    if (speedup.is_object()) {
      Metric metric{"speedup", speedup.at("median").get<double>(), {}, {}, speedup.value("pairs", uint64_t{0})};
      if (speedup.contains("ci99") && speedup.at("ci99").is_array()) {
        metric.low = speedup.at("ci99").at(0).get<double>();
        metric.high = speedup.at("ci99").at(1).get<double>();
      }
      measurement.speedup = metric;
    }
    if (document.contains("verdict") && document.at("verdict").is_string())
      measurement.verdict = document.at("verdict").get<std::string>();
    return measurement;
  });
}

std::string Version() { return HONE_VERSION; }

}  // namespace v1
}  // namespace hone::sdk
