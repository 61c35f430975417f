// Jobs, studies and trials in the database.
#include <fmt/format.h>

#include "common/artifact/bundle.h"
#include "common/recipe/value.h"
#include "coordinator/store.h"

namespace hone {
namespace {

template <class Message>
std::optional<std::string> JsonOf(const std::optional<Message>& message) {
  return message ? std::optional<std::string>(ToJson(*message)) : std::nullopt;
}

// A row as read, before its JSON texts are parsed outside the query's callback.
struct TrialRow {
  TrialRecord record;
  std::string state, candidate, model, final_state, notes;
};

constexpr std::string_view kTrialColumns =
    "SELECT job, study, trial, state, candidate, step, model, final, result, reason, worker, fingerprint, pairs, "
    "wall_ms, attempts, notes, "
    "created_unix_ms, ended_unix_ms FROM trials ";

TrialRow ReadTrialRow(const Row& row) {
  TrialRow read;
  TrialRecord& record = read.record;
  record.key = {row.Unsigned(0), static_cast<uint32_t>(row.Int(1)), row.Unsigned(2)};
  read.state = row.Text(3);
  read.candidate = row.Text(4);
  record.step = static_cast<uint32_t>(row.Int(5));
  read.model = row.Text(6);
  read.final_state = row.Text(7);
  if (!row.IsNull(8)) record.result = row.Unsigned(8);
  record.reason = row.Text(9);
  record.worker = row.Text(10);
  record.fingerprint = row.Text(11);
  record.pairs = static_cast<uint32_t>(row.Int(12));
  record.wall_ms = row.Unsigned(13);
  record.attempts = static_cast<uint32_t>(row.Int(14));
  read.notes = row.Text(15);
  record.created_unix_ms = row.Int(16);
  record.ended_unix_ms = row.Int(17);
  return read;
}

Result<TrialRecord> Parse(TrialRow row) {
  TRY_ASSIGN(row.record.state, StateOf<proto::TrialState>(row.state));
  TRY_ASSIGN(row.record.candidate, ParseCanonicalCandidate(row.candidate));
  TRY(FromJson(row.model, &row.record.model));
  TRY_ASSIGN(row.record.final_state, StateOf<FinalState>(row.final_state));
  TRY_ASSIGN(row.record.notes, TextsFromJson(row.notes));
  return std::move(row.record);
}

Result<std::vector<TrialRecord>> ParseAll(std::vector<TrialRow> rows) {
  std::vector<TrialRecord> trials;
  trials.reserve(rows.size());
  for (TrialRow& row : rows) {
    TRY_ASSIGN(TrialRecord trial, Parse(std::move(row)));
    trials.push_back(std::move(trial));
  }
  return trials;
}

}  // namespace

Result<uint64_t> Store::InsertJob(const JobRecord& job) {
  const std::optional<std::string> request =
      job.request.empty() ? std::nullopt : std::optional<std::string>(job.request);
  TRY(
      database_.Run("INSERT INTO jobs (name, request, state, recipe, model, model_id, calibration, evaluation, "
                    "baseline, created_unix_ms, owner, "
                    "priority) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                    job.name, request, NameOf(job.state), ToJson(job.recipe), ToJson(job.model), BundleId(job.model),
                    JsonOf(job.calibration), JsonOf(job.evaluation), JsonOf(job.baseline), job.created_unix_ms,
                    job.owner, job.priority));
  return static_cast<uint64_t>(database_.LastId());
}

Result<std::optional<JobRecord>> Store::FindJob(uint64_t id) {
  std::optional<JobRecord> found;
  std::string state, recipe, model;
  std::optional<std::string> calibration, evaluation, baseline;
  TRY(database_.Each(
      "SELECT job, name, coalesce(request, ''), state, recipe, model, calibration, evaluation, error, created_unix_ms, "
      "finished_unix_ms, "
      "elapsed_ms, owner, priority, baseline FROM jobs WHERE job = ?",
      [&](const Row& row) {
        JobRecord& job = found.emplace();
        job.id = row.Unsigned(0);
        job.name = row.Text(1);
        job.request = row.Text(2);
        state = row.Text(3);
        recipe = row.Text(4);
        model = row.Text(5);
        if (!row.IsNull(6)) calibration = row.Text(6);
        if (!row.IsNull(7)) evaluation = row.Text(7);
        job.error = row.Text(8);
        job.created_unix_ms = row.Int(9);
        job.finished_unix_ms = row.Int(10);
        job.elapsed_ms = row.Int(11);
        job.owner = row.Text(12);
        job.priority = static_cast<int32_t>(row.Int(13));
        if (!row.IsNull(14)) baseline = row.Text(14);
      },
      id));
  if (!found) return found;
  TRY_ASSIGN(found->state, StateOf<proto::JobState>(state));
  TRY(FromJson(recipe, &found->recipe));
  TRY(FromJson(model, &found->model));
  if (calibration) TRY(FromJson(*calibration, &found->calibration.emplace()));
  if (evaluation) TRY(FromJson(*evaluation, &found->evaluation.emplace()));
  if (baseline) TRY(FromJson(*baseline, &found->baseline.emplace()));
  return found;
}

Result<std::optional<uint64_t>> Store::FindRequest(const std::string& request) {
  std::optional<uint64_t> job;
  TRY(database_.Each(
      "SELECT job FROM jobs WHERE request = ?", [&](const Row& row) { job = row.Unsigned(0); }, request));
  return job;
}

Result<std::vector<uint64_t>> Store::JobIds(uint64_t before, uint32_t limit) {
  std::vector<uint64_t> ids;
  TRY(database_.Each("SELECT job FROM jobs WHERE ?1 = 0 OR job < ?1 ORDER BY job DESC LIMIT ?2",
                     [&](const Row& row) { ids.push_back(row.Unsigned(0)); }, before, limit));
  return ids;
}

Result<std::vector<uint64_t>> Store::RunningJobIds() {
  std::vector<uint64_t> ids;
  TRY(database_.Each("SELECT job FROM jobs WHERE state = 'running' ORDER BY job",
                     [&](const Row& row) { ids.push_back(row.Unsigned(0)); }));
  return ids;
}

Result<> Store::EndJob(uint64_t job, proto::JobState state, const std::string& error, int64_t unix_ms,
                       int64_t elapsed_ms) {
  return database_.Run(
      "UPDATE jobs SET state=?, error=?, finished_unix_ms=?, elapsed_ms=? WHERE job=? AND state='running'",
      NameOf(state), error, unix_ms, elapsed_ms, job);
}

Result<uint64_t> Store::RetryFailed(uint64_t job, std::optional<uint32_t> study, std::optional<uint64_t> trial) {
  const int64_t before = database_.TotalChanges();
  TRY(database_.Run("UPDATE trials SET state='waiting', reason='', ended_unix_ms=0 WHERE job = ?1 AND state = 'failed' "
                    "AND (?2 IS NULL OR study = ?2) AND (?3 IS NULL OR trial = ?3)",
                    job, study, trial));
  const auto trials = static_cast<uint64_t>(database_.TotalChanges() - before);
  if (trials == 0) return trials;
  TRY(database_.Run(
      "UPDATE attempts SET forgiven = 1 WHERE job = ?1 AND outcome <> 'open' AND (?2 IS NULL OR study = ?2) AND "
      "(kind = 'build' OR ?3 IS NULL OR trial = ?3)",
      job, study, trial));
  TRY(database_.Run("DELETE FROM builds WHERE state = 'failed' AND job = ?", job));
  TRY(database_.Run("UPDATE studies SET phase='searching', ended_by='', error='' WHERE job = ?1 AND EXISTS "
                    "(SELECT 1 FROM trials t WHERE t.job = ?1 AND t.study = studies.study AND t.state = 'waiting')",
                    job));
  TRY(database_.Run("UPDATE jobs SET state='running', error='', finished_unix_ms=0 WHERE job = ?", job));
  return trials;
}

Result<> Store::SaveElapsed(uint64_t job, int64_t elapsed_ms) {
  return database_.Run("UPDATE jobs SET elapsed_ms=? WHERE job=?", elapsed_ms, job);
}

Result<> Store::InsertStudy(const StudyRecord& study) {
  return database_.Run(
      "INSERT INTO studies (job, study, tags, catalogue, phase, seed, budget, candidates, warm) VALUES "
      "(?,?,?,?,?,?,?,?,?)",
      study.job, study.study, ToJson(study.tags), ToJson(study.catalogue), NameOf(study.phase), study.seed,
      study.budget, study.candidates, ToJson(study.warm));
}

Result<> Store::UpdateStudy(const StudyRecord& study) {
  return database_.Run(
      "UPDATE studies SET phase=?, builds_run=?, builds_reused=?, best=?, ended_by=?, error=?, sensitivity=? WHERE "
      "job=? AND study=?",
      NameOf(study.phase), study.builds_run, study.builds_reused, study.best, study.ended_by, study.error,
      study.sensitivity, study.job, study.study);
}

Result<std::vector<StudyRecord>> Store::Studies(uint64_t job) {
  struct Texts {
    std::string tags, catalogue, phase, warm;
  };
  std::vector<StudyRecord> studies;
  std::vector<Texts> texts;
  TRY(database_.Each(
      "SELECT job, study, seed, budget, candidates, builds_run, builds_reused, best, error, tags, catalogue, phase, "
      "warm, ended_by, sensitivity FROM studies "
      "WHERE job = ? ORDER BY study",
      [&](const Row& row) {
        StudyRecord& study = studies.emplace_back();
        study.job = row.Unsigned(0);
        study.study = static_cast<uint32_t>(row.Int(1));
        study.seed = row.Unsigned(2);
        study.budget = static_cast<uint32_t>(row.Int(3));
        study.candidates = row.Unsigned(4);
        study.builds_run = static_cast<uint32_t>(row.Int(5));
        study.builds_reused = static_cast<uint32_t>(row.Int(6));
        if (!row.IsNull(7)) study.best = row.Unsigned(7);
        study.error = row.Text(8);
        texts.push_back({row.Text(9), row.Text(10), row.Text(11), row.Text(12)});
        study.ended_by = row.Text(13);
        study.sensitivity = row.Text(14);
      },
      job));
  for (size_t i = 0; i < studies.size(); ++i) {
    TRY_ASSIGN(studies[i].tags, TextsFromJson(texts[i].tags));
    TRY(FromJson(texts[i].catalogue, &studies[i].catalogue));
    TRY_ASSIGN(studies[i].phase, StateOf<StudyPhase>(texts[i].phase));
    TRY_ASSIGN(studies[i].warm, TextsFromJson(texts[i].warm));
  }
  return studies;
}

Result<std::vector<std::string>> Store::EarlierBest(const std::string& model_id, uint32_t limit) {
  std::vector<std::string> candidates;
  TRY(database_.Each(
      "SELECT t.candidate, max(s.job) AS latest FROM jobs j JOIN studies s ON s.job = j.job "
      "JOIN trials t ON t.job = s.job AND t.study = s.study AND t.trial = s.best "
      "WHERE j.model_id = ? AND j.state = 'complete' AND s.best > 0 GROUP BY t.candidate ORDER BY latest DESC LIMIT ?",
      [&](const Row& row) { candidates.push_back(row.Text(0)); }, model_id, limit));
  return candidates;
}

Result<> Store::InsertTrial(const TrialRecord& trial) {
  return database_.Run(
      "INSERT INTO trials (job, study, trial, state, candidate, step, model, model_id, created_unix_ms) VALUES "
      "(?,?,?,?,?,?,?,?,?)",
      trial.key.job, trial.key.study, trial.key.trial, NameOf(trial.state), CanonicalCandidate(trial.candidate),
      trial.step, json_.Of(trial.model), BundleId(trial.model), trial.created_unix_ms);
}

Result<> Store::UpdateTrialState(const TrialRecord& trial) {
  return database_.Run("UPDATE trials SET state=?, attempts=? WHERE job=? AND study=? AND trial=?", NameOf(trial.state),
                       trial.attempts, trial.key.job, trial.key.study, trial.key.trial);
}

Result<> Store::UpdateTrial(const TrialRecord& trial) {
  return database_.Run(
      "UPDATE trials SET state=?, step=?, model=?, model_id=?, final=?, result=?, reason=?, worker=?, fingerprint=?, "
      "pairs=?, wall_ms=?, "
      "attempts=?, notes=?, ended_unix_ms=? WHERE job=? AND study=? AND trial=?",
      NameOf(trial.state), trial.step, json_.Of(trial.model), BundleId(trial.model), NameOf(trial.final_state),
      trial.result, trial.reason, trial.worker, trial.fingerprint, trial.pairs, trial.wall_ms, trial.attempts,
      ToJson(trial.notes), trial.ended_unix_ms, trial.key.job, trial.key.study, trial.key.trial);
}

Result<std::optional<TrialRecord>> Store::FindTrial(const TrialKey& key) {
  static const std::string sql = std::string(kTrialColumns) + "WHERE job = ? AND study = ? AND trial = ?";
  std::optional<TrialRow> row;
  TRY(database_.Each(sql, [&](const Row& read) { row = ReadTrialRow(read); }, key.job, key.study, key.trial));
  if (!row) return std::nullopt;
  TRY_ASSIGN(TrialRecord trial, Parse(std::move(*row)));
  return trial;
}

Result<std::vector<TrialRecord>> Store::Trials(uint64_t job, uint32_t study, uint64_t from, uint32_t limit) {
  static const std::string sql =
      std::string(kTrialColumns) + "WHERE job = ? AND study = ? AND trial >= ? ORDER BY trial LIMIT ?";
  std::vector<TrialRow> rows;
  TRY(database_.Each(sql, [&](const Row& row) { rows.push_back(ReadTrialRow(row)); }, job, study, from, limit));
  return ParseAll(std::move(rows));
}

Result<std::vector<TrialRecord>> Store::TrialOutlines(uint64_t job, uint32_t study, uint64_t from, uint32_t limit) {
  std::vector<TrialRecord> trials;
  std::optional<Error> broken;
  const auto parse = [&](const Row& row) -> Result<> {
    TrialRecord& trial = trials.emplace_back();
    trial.key = {job, study, row.Unsigned(0)};
    TRY_ASSIGN(trial.state, StateOf<proto::TrialState>(row.View(1)));
    TRY_ASSIGN(trial.candidate, ParseCanonicalCandidate(row.View(2)));
    TRY_ASSIGN(trial.final_state, StateOf<FinalState>(row.View(3)));
    trial.wall_ms = row.Unsigned(4);
    return {};
  };
  TRY(database_.Each(
      "SELECT trial, state, candidate, final, wall_ms FROM trials WHERE job = ? AND study = ? AND trial >= ? ORDER BY "
      "trial LIMIT ?",
      [&](const Row& row) {
        if (const auto parsed = parse(row); !parsed && !broken) broken = parsed.error();
      },
      job, study, from, limit));
  if (broken) return Fail(*broken);
  return trials;
}

Result<std::vector<TrialRecord>> Store::AllTrials(uint64_t job, uint64_t skip, uint32_t limit) {
  static const std::string sql = std::string(kTrialColumns) + "WHERE job = ? ORDER BY study, trial LIMIT ? OFFSET ?";
  std::vector<TrialRow> rows;
  TRY(database_.Each(sql, [&](const Row& row) { rows.push_back(ReadTrialRow(row)); }, job, limit, skip));
  return ParseAll(std::move(rows));
}

Result<proto::Counts> Store::CountTrials(uint64_t job, uint32_t study) {
  std::map<std::string, uint32_t> counts;
  TRY(database_.Each("SELECT state, count(*) FROM trials WHERE job = ? AND study = ? AND trial > 0 GROUP BY state",
                     [&](const Row& row) { counts[row.Text(0)] = static_cast<uint32_t>(row.Int(1)); }, job, study));
  proto::Counts result;
  result.set_waiting(counts["waiting"]);
  result.set_running(counts["running"]);
  result.set_complete(counts["complete"]);
  result.set_infeasible(counts["infeasible"]);
  result.set_pruned(counts["pruned"]);
  result.set_failed(counts["failed"]);
  return result;
}

Result<std::map<uint64_t, FinalState>> Store::CompleteTrials(uint64_t job, uint32_t study) {
  std::map<uint64_t, std::string> names;
  TRY(database_.Each("SELECT trial, final FROM trials WHERE job = ? AND study = ? AND trial > 0 AND state = 'complete'",
                     [&](const Row& row) { names[row.Unsigned(0)] = row.Text(1); }, job, study));
  std::map<uint64_t, FinalState> trials;
  for (const auto& [trial, name] : names) {
    TRY_ASSIGN(trials[trial], StateOf<FinalState>(name));
  }
  return trials;
}

Result<std::string> Store::FirstFailure(uint64_t job) {
  std::string reason;
  TRY(database_.Each(
      "SELECT reason FROM trials WHERE job = ? AND state = 'failed' AND trial > 0 ORDER BY study, trial LIMIT 1",
      [&](const Row& row) { reason = row.Text(0); }, job));
  return reason;
}

}  // namespace hone
