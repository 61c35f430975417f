// Builds, attempts and what attempts measured, in the database.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "common/artifact/bundle.h"
#include "coordinator/store.h"

namespace hone {
namespace {

// An unset case of a bound is NULL.
std::optional<double> Low(const proto::Metric& metric) {
  return metric.has_low() ? std::optional<double>(metric.low()) : std::nullopt;
}
std::optional<double> High(const proto::Metric& metric) {
  return metric.has_high() ? std::optional<double>(metric.high()) : std::nullopt;
}

proto::Metric ReadMetric(const Row& row, int column) {
  proto::Metric metric;
  metric.set_name(row.Text(column));
  metric.set_value(row.Real(column + 1));
  if (!row.IsNull(column + 2)) metric.set_low(row.Real(column + 2));
  if (!row.IsNull(column + 3)) metric.set_high(row.Real(column + 3));
  metric.set_samples(row.Unsigned(column + 4));
  return metric;
}

void AddMetric(AttemptMetrics& metrics, const std::string& subject, proto::Metric metric) {
  if (subject == NameOf(Subject::kCandidate)) {
    metrics.candidate.push_back(std::move(metric));
  } else if (subject == NameOf(Subject::kBaseline)) {
    metrics.baseline.push_back(std::move(metric));
  } else {
    metrics.speedup = std::move(metric);
  }
}

}  // namespace

Result<std::optional<BuildRecord>> Store::FindBuild(const std::string& key) {
  std::optional<BuildRecord> found;
  std::string state, output, notes, sensitivity;
  TRY(database_.Each(
      "SELECT build, state, pass, version, parameters, input_id, output, lasting, error, job, study, trial, step, "
      "worker, wall_ms, "
      "peak_memory_bytes, notes, ended_unix_ms, sensitivity FROM builds WHERE build = ?",
      [&](const Row& row) {
        BuildRecord& build = found.emplace();
        build.key = row.Text(0);
        state = row.Text(1);
        build.pass = row.Text(2);
        build.version = static_cast<uint32_t>(row.Int(3));
        build.parameters = row.Text(4);
        build.input_id = row.Text(5);
        output = row.Text(6);
        build.lasting = row.Int(7) != 0;
        build.error = row.Text(8);
        build.requester = {row.Unsigned(9), static_cast<uint32_t>(row.Int(10)), row.Unsigned(11)};
        build.step = static_cast<uint32_t>(row.Int(12));
        build.worker = row.Text(13);
        build.wall_ms = row.Unsigned(14);
        build.peak_memory_bytes = row.Unsigned(15);
        notes = row.Text(16);
        build.ended_unix_ms = row.Int(17);
        sensitivity = row.Text(18);
      },
      key));
  if (!found) return found;
  TRY_ASSIGN(found->state, StateOf<BuildState>(state));
  if (!output.empty()) TRY(FromJson(output, &found->output));
  if (!sensitivity.empty()) TRY(FromJson(sensitivity, &found->sensitivity.emplace()));
  TRY_ASSIGN(found->notes, TextsFromJson(notes));
  return found;
}

Result<> Store::SaveBuild(const BuildRecord& build) {
  const bool has_output = build.state == BuildState::kDone && !build.sensitivity;
  return database_.Run(
      "INSERT OR REPLACE INTO builds (build, state, pass, version, parameters, input_id, output, output_id, lasting, "
      "error, job, study, "
      "trial, step, worker, wall_ms, peak_memory_bytes, notes, ended_unix_ms, sensitivity) VALUES "
      "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
      build.key, NameOf(build.state), build.pass, build.version, build.parameters, build.input_id,
      has_output ? ToJson(build.output) : std::string(), has_output ? BundleId(build.output) : std::string(),
      build.lasting, build.error, build.requester.job, build.requester.study, build.requester.trial, build.step,
      build.worker, build.wall_ms, build.peak_memory_bytes, ToJson(build.notes), build.ended_unix_ms,
      build.sensitivity ? ToJson(*build.sensitivity) : std::string());
}

Result<AttemptRecord> Store::OpenAttempt(AttemptRecord attempt, int64_t unix_ms) {
  TRY(database_.Each("UPDATE counters SET value = value + 1 WHERE name = 'token' RETURNING value",
                     [&](const Row& row) { attempt.token = row.Unsigned(0); }));
  TRY(database_.Run(
      "INSERT INTO attempts (token, kind, job, study, trial, build, worker, session, measure_key, started_unix_ms) "
      "VALUES (?,?,?,?,?,?,?,?,?,?)",
      attempt.token, NameOf(attempt.kind), attempt.trial.job, attempt.trial.study, attempt.trial.trial, attempt.build,
      attempt.worker, attempt.session, attempt.measure_key, unix_ms));
  attempt.id = static_cast<uint64_t>(database_.LastId());
  return attempt;
}

Result<> Store::CloseAttempt(uint64_t attempt, const AttemptEnd& end, int64_t unix_ms) {
  return database_.Run(
      "UPDATE attempts SET outcome=?, error=?, signal=?, exit_status=?, output_tail=?, wall_ms=?, peak_memory_bytes=?, "
      "load_ms=?, accuracy_ms=?, "
      "timing_ms=?, wait_ms=?, ended_unix_ms=? "
      "WHERE attempt=? AND outcome='open'",
      NameOf(end.outcome), end.error, end.signal, end.exit_status, Blob{end.output_tail}, end.wall_ms,
      end.peak_memory_bytes, end.load_ms, end.accuracy_ms, end.timing_ms, end.wait_ms, unix_ms, attempt);
}

Result<std::vector<Store::Remembered>> Store::FindMeasured(const std::string& measure_key) {
  std::vector<Remembered> found;
  std::vector<std::string> states;
  TRY(database_.Each(
      "SELECT a.attempt, a.job, a.study, a.trial, a.worker, t.fingerprint, coalesce(m.samples, 0), t.state, t.reason, "
      "a.kind "
      "FROM attempts a JOIN trials t ON t.job = a.job AND t.study = a.study AND t.trial = a.trial "
      "LEFT JOIN metrics m ON m.attempt = a.attempt AND m.subject = 'paired' AND m.name = 'speedup' "
      "WHERE a.measure_key = ? AND a.measure_key <> '' AND a.outcome = 'done' "
      "AND (t.state = 'complete' OR (t.state = 'infeasible' AND t.result = a.attempt)) "
      "ORDER BY a.attempt DESC LIMIT 100",
      [&](const Row& row) {
        Remembered& one = found.emplace_back();
        one.attempt = row.Unsigned(0);
        one.trial = {row.Unsigned(1), static_cast<uint32_t>(row.Int(2)), row.Unsigned(3)};
        one.worker = row.Text(4);
        one.fingerprint = row.Text(5);
        one.pairs = static_cast<uint32_t>(row.Int(6));
        states.push_back(row.Text(7));
        one.reason = row.Text(8);
        one.is_final = row.Text(9) == NameOf(AttemptKind::kFinal);
      },
      measure_key));
  for (size_t i = 0; i < found.size(); ++i) {
    TRY_ASSIGN(found[i].state, StateOf<proto::TrialState>(states[i]));
  }
  return found;
}

Result<std::vector<AttemptRecord>> Store::OpenAttempts() {
  std::vector<AttemptRecord> attempts;
  std::vector<std::string> kinds;
  TRY(database_.Each(
      "SELECT attempt, token, job, study, trial, build, worker, session, kind FROM attempts WHERE outcome = 'open' "
      "ORDER BY attempt",
      [&](const Row& row) {
        AttemptRecord& attempt = attempts.emplace_back();
        attempt.id = row.Unsigned(0);
        attempt.token = row.Unsigned(1);
        attempt.trial = {row.Unsigned(2), static_cast<uint32_t>(row.Int(3)), row.Unsigned(4)};
        attempt.build = row.Text(5);
        attempt.worker = row.Text(6);
        attempt.session = row.Text(7);
        kinds.push_back(row.Text(8));
      }));
  for (size_t i = 0; i < attempts.size(); ++i) {
    TRY_ASSIGN(attempts[i].kind, StateOf<AttemptKind>(kinds[i]));
  }
  return attempts;
}

Result<std::vector<Store::Ended>> Store::EndedMeasures(const TrialKey& trial, AttemptKind kind) {
  std::vector<std::pair<std::string, std::string>> rows;
  TRY(database_.Each(
      "SELECT worker, outcome FROM attempts WHERE job = ? AND study = ? AND trial = ? AND kind = ? AND outcome <> "
      "'open' AND forgiven = 0 "
      "ORDER BY attempt",
      [&](const Row& row) { rows.emplace_back(row.Text(0), row.Text(1)); }, trial.job, trial.study, trial.trial,
      NameOf(kind)));
  std::vector<Ended> ended;
  for (auto& [worker, name] : rows) {
    TRY_ASSIGN(const Outcome outcome, StateOf<Outcome>(name));
    ended.push_back({std::move(worker), outcome});
  }
  return ended;
}

Result<std::vector<Store::Ended>> Store::EndedBuilds(const std::string& build, uint64_t job) {
  std::vector<std::pair<std::string, std::string>> rows;
  TRY(database_.Each(
      "SELECT worker, outcome FROM attempts WHERE build = ? AND job = ? AND kind = 'build' AND outcome <> 'open' AND "
      "forgiven = 0 "
      "ORDER BY attempt",
      [&](const Row& row) { rows.emplace_back(row.Text(0), row.Text(1)); }, build, job));
  std::vector<Ended> ended;
  for (auto& [worker, name] : rows) {
    TRY_ASSIGN(const Outcome outcome, StateOf<Outcome>(name));
    ended.push_back({std::move(worker), outcome});
  }
  return ended;
}

Result<std::vector<proto::GetLogReply::Attempt>> Store::AttemptLog(const TrialKey& trial, uint32_t limit) {
  std::vector<proto::GetLogReply::Attempt> log;
  TRY(database_.Each(
      "SELECT a.attempt, a.kind, a.worker, a.outcome, a.error, a.signal, a.exit_status, a.output_tail, a.wall_ms, "
      "a.peak_memory_bytes, a.started_unix_ms, a.late_reports, coalesce(b.pass, '') "
      "FROM attempts a LEFT JOIN builds b ON a.kind = 'build' AND b.build = a.build "
      "WHERE a.job = ? AND a.study = ? AND a.trial = ? ORDER BY a.attempt DESC LIMIT ?",
      [&](const Row& row) {
        proto::GetLogReply::Attempt& attempt = log.emplace_back();
        attempt.set_attempt(row.Unsigned(0));
        attempt.set_kind(row.Text(1));
        attempt.set_worker(row.Text(2));
        attempt.set_outcome(row.Text(3));
        attempt.set_error(row.Text(4));
        attempt.set_signal(static_cast<int32_t>(row.Int(5)));
        attempt.set_exit_status(static_cast<int32_t>(row.Int(6)));
        attempt.set_output_tail(row.Text(7));
        attempt.set_wall_ms(row.Unsigned(8));
        attempt.set_peak_memory_bytes(row.Unsigned(9));
        attempt.set_started_unix_ms(row.Unsigned(10));
        attempt.set_late_reports(static_cast<uint32_t>(row.Int(11)));
        attempt.set_pass(row.Text(12));
      },
      trial.job, trial.study, trial.trial, limit));
  std::reverse(log.begin(), log.end());
  return log;
}

Result<std::vector<proto::ListAttemptsReply::Attempt>> Store::Attempts(uint64_t job, uint64_t after, uint32_t limit) {
  std::vector<proto::ListAttemptsReply::Attempt> attempts;
  TRY(database_.Each(
      "SELECT a.attempt, a.kind, a.worker, a.outcome, a.study, a.trial, coalesce(b.pass, ''), a.started_unix_ms, "
      "a.ended_unix_ms, a.accuracy_ms, a.timing_ms, a.wait_ms "
      "FROM attempts a LEFT JOIN builds b ON a.kind = 'build' AND b.build = a.build "
      "WHERE a.job = ? AND a.attempt > ? ORDER BY a.attempt LIMIT ?",
      [&](const Row& row) {
        proto::ListAttemptsReply::Attempt& attempt = attempts.emplace_back();
        attempt.set_attempt(row.Unsigned(0));
        attempt.set_kind(row.Text(1));
        attempt.set_worker(row.Text(2));
        attempt.set_outcome(row.Text(3));
        attempt.set_study(static_cast<uint32_t>(row.Int(4)));
        attempt.set_trial(row.Unsigned(5));
        attempt.set_pass(row.Text(6));
        attempt.set_started_unix_ms(row.Unsigned(7));
        attempt.set_ended_unix_ms(row.Unsigned(8));
        attempt.set_accuracy_ms(row.Unsigned(9));
        attempt.set_timing_ms(row.Unsigned(10));
        attempt.set_wait_ms(row.Unsigned(11));
      },
      job, after, limit));
  return attempts;
}

Result<std::optional<AttemptRecord>> Store::FindLost(uint64_t id, uint64_t token) {
  std::optional<AttemptRecord> lost;
  std::string kind;
  TRY(database_.Each("SELECT job, study, trial, build, worker, session, measure_key, kind FROM attempts "
                     "WHERE attempt = ? AND token = ? AND outcome = 'worker_lost' AND forgiven = 0",
                     [&](const Row& row) {
                       AttemptRecord& attempt = lost.emplace();
                       attempt.id = id;
                       attempt.token = token;
                       attempt.trial = {row.Unsigned(0), static_cast<uint32_t>(row.Int(1)), row.Unsigned(2)};
                       attempt.build = row.Text(3);
                       attempt.worker = row.Text(4);
                       attempt.session = row.Text(5);
                       attempt.measure_key = row.Text(6);
                       kind = row.Text(7);
                     },
                     id, token));
  if (!lost) return lost;
  TRY_ASSIGN(lost->kind, StateOf<AttemptKind>(kind));
  return lost;
}

Result<> Store::ReopenLost(uint64_t attempt) {
  return database_.Run(
      "UPDATE attempts SET outcome = 'open', late_reports = late_reports + 1 WHERE attempt = ? AND outcome = "
      "'worker_lost'",
      attempt);
}

Result<std::optional<Store::LateReport>> Store::CountLateReport(uint64_t attempt) {
  std::optional<LateReport> late;
  std::string outcome;
  TRY(database_.Each(
      "SELECT job, study, trial, worker, outcome, late_reports FROM attempts WHERE attempt = ? AND outcome <> 'open'",
      [&](const Row& row) {
        late.emplace();
        late->trial = {row.Unsigned(0), static_cast<uint32_t>(row.Int(1)), row.Unsigned(2)};
        late->worker = row.Text(3);
        outcome = row.Text(4);
        late->first = row.Int(5) == 0;
      },
      attempt));
  if (!late) return late;
  TRY_ASSIGN(late->outcome, StateOf<Outcome>(outcome));
  TRY(database_.Run("UPDATE attempts SET late_reports = late_reports + 1 WHERE attempt = ?", attempt));
  return late;
}

Result<> Store::InsertMeasurement(uint64_t attempt, const TrialKey& trial, const Measurement& measurement,
                                  int64_t unix_ms) {
  const auto insert_metric = [&](Subject subject, const proto::Metric& metric) {
    return database_.Run(
        "INSERT INTO metrics (attempt, subject, name, job, study, trial, value, low, high, samples) "
        "VALUES (?,?,?,?,?,?,?,?,?,?)",
        attempt, NameOf(subject), metric.name(), trial.job, trial.study, trial.trial, metric.value(), Low(metric),
        High(metric), metric.samples());
  };
  for (const auto& metric : measurement.metrics) TRY(insert_metric(Subject::kCandidate, metric));
  for (const auto& metric : measurement.baseline_metrics) TRY(insert_metric(Subject::kBaseline, metric));
  if (measurement.speedup) TRY(insert_metric(Subject::kPaired, *measurement.speedup));
  for (const auto& series : measurement.samples) {
    std::string bytes(static_cast<size_t>(series.values_size()) * sizeof(double), '\0');
    std::memcpy(bytes.data(), series.values().data(), bytes.size());
    TRY(database_.Run(
        "INSERT OR REPLACE INTO samples (attempt, series, job, study, trial, count, doubles) VALUES (?,?,?,?,?,?,?)",
        attempt, series.series(), trial.job, trial.study, trial.trial, series.values_size(), Blob{bytes}));
  }
  const auto insert_execution = [&](Subject subject, const proto::Execution& execution) -> Result<> {
    if (execution.backend().empty()) return {};
    return database_.Run(
        "INSERT INTO executions (attempt, subject, job, study, trial, backend, version, detail) "
        "VALUES (?,?,?,?,?,?,?,?)",
        attempt, NameOf(subject), trial.job, trial.study, trial.trial, execution.backend(), execution.version(),
        json_.Of(execution));
  };
  TRY(insert_execution(Subject::kCandidate, measurement.execution));
  TRY(insert_execution(Subject::kBaseline, measurement.baseline_execution));
  return SaveFingerprint(measurement.fingerprint, unix_ms);
}

Result<AttemptMetrics> Store::Metrics(uint64_t attempt) {
  AttemptMetrics metrics;
  TRY(database_.Each(
      "SELECT subject, name, value, low, high, samples FROM metrics WHERE attempt = ? ORDER BY subject, name",
      [&](const Row& row) { AddMetric(metrics, row.Text(0), ReadMetric(row, 1)); }, attempt));
  return metrics;
}

Result<> Store::EachMetric(uint64_t job, uint32_t study, const TakeMetric& take) {
  std::optional<Error> broken;
  TRY(database_.Each(
      "SELECT t.trial, m.subject, m.name, m.value, m.high FROM trials t JOIN metrics m ON m.attempt = t.result "
      "WHERE t.job = ? AND t.study = ? ORDER BY t.trial, m.subject, m.name",
      [&](const Row& row) {
        const auto subject = StateOf<Subject>(row.View(1));
        if (!subject) {
          broken = subject.error();
          return;
        }
        take(row.Unsigned(0), *subject, row.View(2), row.Real(3),
             row.IsNull(4) ? std::nullopt : std::optional<double>(row.Real(4)));
      },
      job, study));
  if (broken) return Fail(*broken);
  return {};
}

Result<std::optional<proto::Execution>> Store::FindExecution(uint64_t attempt) {
  std::optional<std::string> text;
  TRY(database_.Each("SELECT detail FROM executions WHERE attempt = ? AND subject = 'candidate'",
                     [&](const Row& row) { text = row.Text(0); }, attempt));
  if (!text) return std::nullopt;
  proto::Execution execution;
  TRY(FromJson(*text, &execution));
  return execution;
}

Result<std::vector<proto::Samples>> Store::ReadSamples(uint64_t attempt) {
  std::vector<proto::Samples> all;
  TRY(database_.Each("SELECT series, doubles FROM samples WHERE attempt = ? ORDER BY series",
                     [&](const Row& row) {
                       proto::Samples& series = all.emplace_back();
                       series.set_series(row.Text(0));
                       const std::string bytes = row.Text(1);
                       series.mutable_values()->Resize(static_cast<int>(bytes.size() / sizeof(double)), 0);
                       std::memcpy(series.mutable_values()->mutable_data(), bytes.data(),
                                   bytes.size() / sizeof(double) * sizeof(double));
                     },
                     attempt));
  return all;
}

}  // namespace hone
