// Each invariant is a function with the queries that find what breaks it; a row of a query is one violation. Queries
// stream, so that a database with millions of trials is checked in little memory; files are hashed after the snapshot
// was given up, so that a running coordinator's write-ahead log is not kept from being reset for long.
#include "coordinator/fsck.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "coordinator/ranking.h"
#include "coordinator/schema.h"
#include "coordinator/store.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostListed = 100;
constexpr int64_t kHoneApplication = 0x686f6e65;
// How long after its start a coordinator may not have written down yet which workers are gone.
constexpr int64_t kSettleMs = 30'000;

constexpr const char* kRestore = "Restore the folder from a backup (docs/operations.md).";
constexpr const char* kReport = "Keep a copy of the folder and report it: no sequence of crashes leads here.";

struct Artifact {
  uint64_t size_bytes = 0;
  std::string needed_by;
};

// What the functions below share.
struct Examination {
  Database& database;
  const FsckOptions& options;
  FsckReport& report;
  fs::path folder;
  std::map<std::string, Artifact> artifacts;   // By digest: what must be in the store.
};

void Add(FsckCheck& check, std::string row, std::string message, std::string remedy) {
  if (check.violations.size() >= kMostListed) {
    ++check.more;
    return;
  }
  check.violations.push_back({std::move(row), std::move(message), std::move(remedy)});
}

// What cannot be read is a violation of the check that wanted to.
void AddError(FsckCheck& check, const Error& error) {
  Add(check, "hone.db", error.message, error.remedy.empty() ? kRestore : error.remedy);
}

// The row's name is its first column, the message its second.
void Violations(Examination& on, FsckCheck& check, std::string_view sql, const char* remedy) {
  const auto read = on.database.Each(sql, [&](const Row& row) { Add(check, row.Text(0), row.Text(1), remedy); });
  if (!read) AddError(check, read.error());
}

uint64_t Count(Examination& on, FsckCheck& check, std::string_view sql) {
  uint64_t count = 0;
  if (const auto read = on.database.Each(sql, [&](const Row& row) { count = row.Unsigned(0); }); !read)
    AddError(check, read.error());
  return count;
}

std::string TrialName(uint64_t job, uint64_t study, uint64_t trial) {
  return fmt::format("trial {} of job {} (study {})", trial, job, study);
}

// --- I1 ----------------------------------------------------------------------------------------------------------

// Numbers are given out in the transaction that stores the row, and rows are never deleted: a gap is a row that was
// lost.
constexpr const char* kJobGaps = R"sql(
WITH numbers(n) AS (SELECT 0 UNION ALL SELECT job FROM jobs UNION ALL SELECT seq + 1 FROM sqlite_sequence WHERE name = 'jobs'),
     pairs(n, next) AS (SELECT n, lead(n) OVER (ORDER BY n) FROM numbers)
SELECT 'job ' || (n + 1), 'jobs ' || (n + 1) || ' to ' || (next - 1) || ' are missing; their numbers were given out' FROM pairs WHERE next > n + 1)sql";
constexpr const char* kAttemptGaps = R"sql(
WITH numbers(n) AS (SELECT 0 UNION ALL SELECT attempt FROM attempts UNION ALL SELECT seq + 1 FROM sqlite_sequence WHERE name = 'attempts'),
     pairs(n, next) AS (SELECT n, lead(n) OVER (ORDER BY n) FROM numbers)
SELECT 'attempt ' || (n + 1), 'attempts ' || (n + 1) || ' to ' || (next - 1) || ' are missing; their leases were given out'
FROM pairs WHERE next > n + 1)sql";
constexpr const char* kJobsWithoutStudy = R"sql(
SELECT 'job ' || job, 'it has no study' FROM jobs WHERE NOT EXISTS (SELECT 1 FROM studies WHERE studies.job = jobs.job))sql";
constexpr const char* kTrialGaps = R"sql(
SELECT 'study ' || study || ' of job ' || job, 'it has ' || count(*) || ' trials, numbered ' || min(trial) || ' to ' || max(trial)
FROM trials GROUP BY job, study HAVING min(trial) <> 0 OR max(trial) + 1 <> count(*))sql";
constexpr const char* kWithoutResult = R"sql(
SELECT 'trial ' || t.trial || ' of job ' || t.job || ' (study ' || t.study || ')',
       'it is ' || t.state || CASE WHEN t.result IS NULL THEN ' without a result' ELSE ' and its result, attempt ' || t.result || ', is missing' END
FROM trials t LEFT JOIN attempts a ON a.attempt = t.result WHERE t.state IN ('complete', 'infeasible') AND a.attempt IS NULL)sql";
constexpr const char* kWithoutMetrics = R"sql(
SELECT 'trial ' || t.trial || ' of job ' || t.job || ' (study ' || t.study || ')', 'it is complete and attempt ' || t.result || ' has no metrics'
FROM trials t JOIN attempts a ON a.attempt = t.result WHERE t.state = 'complete'
AND NOT EXISTS (SELECT 1 FROM metrics m WHERE m.attempt = t.result AND m.subject = 'candidate'))sql";
constexpr const char* kWithoutBuild = R"sql(
SELECT 'attempt ' || attempt, 'it built ' || build || ', of which there is no row' FROM attempts
WHERE kind = 'build' AND outcome = 'done' AND forgiven = 0 AND NOT EXISTS (SELECT 1 FROM builds WHERE builds.build = attempts.build))sql";

// One thing that somebody was told, and what the database says about it.
using LogLine = nlohmann::json;

void CheckLoggedJob(Examination& on, FsckCheck& check, const LogLine& line) {
  const auto job = line.value("job", uint64_t{0});
  const std::string request = line.value("request", std::string());
  std::optional<std::string> stored;
  const auto read = on.database.Each(
      "SELECT coalesce(request, '') FROM jobs WHERE job = ?", [&](const Row& row) { stored = row.Text(0); }, job);
  if (!read) return AddError(check, read.error());
  const std::string row = fmt::format("job {}", job);
  if (!stored) return Add(check, row, "it was acknowledged to a client and is missing", kRestore);
  if (!request.empty() && *stored != request) {
    Add(check, row,
        fmt::format("a client was told this number for request '{}', it is of '{}'", Printable(request, 100), *stored),
        kReport);
  }
}

void CheckLoggedCancel(Examination& on, FsckCheck& check, const LogLine& line) {
  const auto job = line.value("job", uint64_t{0});
  std::string state;
  const auto read =
      on.database.Each("SELECT state FROM jobs WHERE job = ?", [&](const Row& row) { state = row.Text(0); }, job);
  if (!read) return AddError(check, read.error());
  if (state != "cancelled")
    Add(check, fmt::format("job {}", job), fmt::format("its cancelling was acknowledged, it is '{}'", state), kReport);
}

void CheckLoggedArtifact(Examination& on, FsckCheck&, const LogLine& line) {
  on.artifacts.insert_or_assign(line.value("digest", std::string()),
                                Artifact{line.value("size_bytes", uint64_t{0}), "an acknowledged upload"});
}

// A report that was acknowledged either ended its attempt or is counted as one that came too late.
void CheckLoggedReport(Examination& on, FsckCheck& check, const LogLine& line) {
  const auto lease = line.value("lease", uint64_t{0});
  const std::string told = line.value("outcome", std::string());
  std::string outcome;
  uint64_t token = 0, late = 0;
  const auto read = on.database.Each("SELECT outcome, token, late_reports FROM attempts WHERE attempt = ?",
                                     [&](const Row& row) {
                                       outcome = row.Text(0);
                                       token = row.Unsigned(1);
                                       late = row.Unsigned(2);
                                     },
                                     lease);
  if (!read) return AddError(check, read.error());
  const std::string row = fmt::format("attempt {}", lease);
  if (outcome.empty()) return Add(check, row, "its report was acknowledged and it is missing", kRestore);
  // A report of an earlier life of the database, under another token, is acknowledged because nobody wants it.
  if (token != line.value("token", uint64_t{0})) return;
  if (outcome == "open") return Add(check, row, "its report was acknowledged and it is still open", kReport);
  if (!told.empty() && outcome != told && late == 0) {
    Add(check, row,
        fmt::format("the acknowledged report said '{}', it is '{}' and no late report is counted", told, outcome),
        kReport);
  }
}

// An ended trial stays ended; only a complete one may become infeasible, by its final measurement.
void CheckLoggedTrial(Examination& on, FsckCheck& check, const LogLine& line) {
  const auto job = line.value("job", uint64_t{0}), study = line.value("study", uint64_t{0}),
             trial = line.value("trial", uint64_t{0});
  const std::string told = line.value("state", std::string());
  std::string state;
  const auto read = on.database.Each("SELECT state FROM trials WHERE job = ? AND study = ? AND trial = ?",
                                     [&](const Row& row) { state = row.Text(0); }, job, study, trial);
  if (!read) return AddError(check, read.error());
  const std::string row = TrialName(job, study, trial);
  if (state.empty()) return Add(check, row, "a client saw it and it is missing", kRestore);
  const bool ended = told == "complete" || told == "infeasible" || told == "failed" || told == "pruned";
  if (ended && state != told && !(told == "complete" && state == "infeasible")) {
    Add(check, row, fmt::format("a client saw it '{}', it is '{}'", told, state), kReport);
  }
}

void CheckLoggedEvent(Examination& on, FsckCheck& check, const LogLine& line) {
  const auto sequence = line.value("sequence", uint64_t{0});
  std::string kind;
  uint64_t job = 0;
  bool found = false;
  const auto read = on.database.Each("SELECT kind, job FROM events WHERE sequence = ?",
                                     [&](const Row& row) {
                                       kind = row.Text(0);
                                       job = row.Unsigned(1);
                                       found = true;
                                     },
                                     sequence);
  if (!read) return AddError(check, read.error());
  const std::string row = fmt::format("event {}", sequence);
  // The oldest are dropped in time, and counted.
  const bool dropped =
      sequence <= Count(on, check, "SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'events_dropped'");
  if (!found && dropped) return;
  if (!found) return Add(check, row, "a client saw it and it is missing", kRestore);
  if (kind != line.value("event", std::string()) || job != line.value("job", uint64_t{0})) {
    Add(check, row, fmt::format("a client saw '{}' of job {}, it is '{}' of job {}", line.value("event", std::string()),
                                line.value("job", uint64_t{0}), kind, job),
        kReport);
  }
}

struct LogKind {
  const char* name;
  void (*check)(Examination&, FsckCheck&, const LogLine&);
};
constexpr LogKind kLogKinds[] = {{"job", CheckLoggedJob},           {"cancel", CheckLoggedCancel},
                                 {"artifact", CheckLoggedArtifact}, {"report", CheckLoggedReport},
                                 {"trial", CheckLoggedTrial},       {"event", CheckLoggedEvent}};

void CheckLog(Examination& on, FsckCheck& check) {
  if (on.options.log.empty()) return;
  std::ifstream file(on.options.log);
  if (!file) return Add(check, on.options.log.string(), "the log cannot be read", "Name the file with --log.");
  std::string text;
  for (uint64_t number = 1; std::getline(file, text); ++number) {
    const LogLine line = LogLine::parse(text, nullptr, false);
    const std::string kind =
        line.is_object() && line.contains("kind") && line["kind"].is_string() ? line["kind"].get<std::string>() : "";
    const auto row = std::find_if(std::begin(kLogKinds), std::end(kLogKinds),
                                  [&](const LogKind& known) { return kind == known.name; });
    if (row == std::end(kLogKinds)) {
      Add(check, fmt::format("{} line {}", on.options.log.string(), number), "it is no acknowledgement of a known kind",
          "Its writer was cut off; the lines before it count.");
      continue;
    }
    ++check.checked;
    try {
      row->check(on, check, line);
    } catch (const nlohmann::json::exception& error) {
      Add(check, fmt::format("{} line {}", on.options.log.string(), number), error.what(),
          "A number or text has another type.");
    }
  }
}

void CheckAcknowledged(Examination& on, FsckCheck& check) {
  check.checked =
      Count(on, check,
            "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM trials) + (SELECT count(*) FROM attempts)");
  for (const char* sql :
       {kJobGaps, kAttemptGaps, kJobsWithoutStudy, kTrialGaps, kWithoutResult, kWithoutMetrics, kWithoutBuild}) {
    Violations(on, check, sql, kRestore);
  }
  CheckLog(on, check);
}

// --- I2 ----------------------------------------------------------------------------------------------------------

constexpr const char* kResultNotDone = R"sql(
SELECT 'trial ' || t.trial || ' of job ' || t.job || ' (study ' || t.study || ')', 'its result, attempt ' || a.attempt || ', is a ' || a.kind || ' that ended as ' || a.outcome
FROM trials t JOIN attempts a ON a.attempt = t.result WHERE a.outcome <> 'done' OR a.kind = 'build')sql";
// A measurement may serve another trial that would only repeat it; then it has a key to be found by.
constexpr const char* kResultOfAnother = R"sql(
SELECT 'trial ' || t.trial || ' of job ' || t.job || ' (study ' || t.study || ')', 'its result, attempt ' || a.attempt || ', is of trial ' || a.trial || ' of job ' || a.job
FROM trials t JOIN attempts a ON a.attempt = t.result
WHERE (a.job <> t.job OR a.study <> t.study OR a.trial <> t.trial) AND a.measure_key = '')sql";
// Failed trials that are taken up again on request may be measured again; what was before is marked as forgiven.
constexpr const char* kTwoResults = R"sql(
SELECT 'trial ' || trial || ' of job ' || job || ' (study ' || study || ')', count(*) || ' ' || kind || ' attempts took effect: ' || group_concat(attempt)
FROM attempts WHERE outcome = 'done' AND kind <> 'build' AND forgiven = 0 AND EXISTS (SELECT 1 FROM metrics m WHERE m.attempt = attempts.attempt)
GROUP BY job, study, trial, kind HAVING count(*) > 1)sql";
constexpr const char* kEffectOfNoResult = R"sql(
SELECT 'attempt ' || attempt, 'it ended as ' || outcome || ' and has metrics' FROM attempts
WHERE outcome <> 'done' AND EXISTS (SELECT 1 FROM metrics m WHERE m.attempt = attempts.attempt))sql";
constexpr const char* kMetricsOfAnother = R"sql(
SELECT 'attempt ' || a.attempt, 'it measured trial ' || a.trial || ' of job ' || a.job || ', its metric ' || m.name || ' says trial ' || m.trial || ' of job ' || m.job
FROM metrics m JOIN attempts a ON a.attempt = m.attempt WHERE m.job <> a.job OR m.study <> a.study OR m.trial <> a.trial)sql";

void CheckOneResult(Examination& on, FsckCheck& check) {
  check.checked = Count(on, check, "SELECT count(*) FROM trials WHERE result IS NOT NULL");
  for (const char* sql : {kResultNotDone, kResultOfAnother, kTwoResults, kEffectOfNoResult, kMetricsOfAnother}) {
    Violations(on, check, sql, kReport);
  }
}

// --- I3 ----------------------------------------------------------------------------------------------------------

struct FinishedStudy {
  uint64_t job = 0;
  uint64_t study = 0;
  std::optional<uint64_t> best;
  std::string recipe;
};

// The best by the rule of ranking.h, one trial in memory at a time.
class BestOf {
 public:
  BestOf(proto::Objective objective, std::optional<Measured> baseline)
      : objective_(std::move(objective)), baseline_(std::move(baseline)) {}

  void Add(uint64_t trial, bool measured_again, const Measured& measured) {
    if (measured_again && !again_) {
      again_ = true;
      best_.reset();
    }
    if (measured_again != again_) return;
    const auto value = ObjectiveValue(objective_, measured, baseline_ ? &*baseline_ : nullptr);
    if (value && (!best_ || std::pair(*value, trial) < *best_)) best_ = std::pair(*value, trial);
  }
  std::optional<uint64_t> trial() const { return best_ ? std::optional(best_->second) : std::nullopt; }

 private:
  const proto::Objective objective_;
  const std::optional<Measured> baseline_;
  bool again_ = false;
  std::optional<std::pair<double, uint64_t>> best_;
};

void AddMetric(Measured& measured, const std::string& subject, const std::string& name, double value) {
  if (subject == "candidate") measured.metrics[name] = value;
  if (subject == "paired") measured.speedup = value;
}

Result<std::optional<Measured>> BaselineOf(Examination& on, const FinishedStudy& study) {
  std::optional<Measured> baseline;
  TRY(on.database.Each("SELECT m.subject, m.name, m.value FROM trials t JOIN metrics m ON m.attempt = t.result "
                       "WHERE t.job = ? AND t.study = ? AND t.trial = 0",
                       [&](const Row& row) {
                         if (!baseline) baseline.emplace();
                         AddMetric(*baseline, row.Text(0), row.Text(1), row.Real(2));
                       },
                       study.job, study.study));
  return baseline;
}

Result<std::optional<uint64_t>> RecomputedBest(Examination& on, const FinishedStudy& study) {
  proto::Recipe recipe;
  TRY(FromJson(study.recipe, &recipe));
  TRY_ASSIGN(auto baseline, BaselineOf(on, study));
  BestOf best(ObjectivesOf(recipe).front(), std::move(baseline));
  std::optional<uint64_t> number;
  bool again = false;
  Measured measured;
  const auto finish = [&] {
    if (number) best.Add(*number, again, measured);
    measured = {};
  };
  TRY(on.database.Each(
      "SELECT t.trial, t.final, m.subject, m.name, m.value FROM trials t JOIN metrics m ON m.attempt = t.result "
      "WHERE t.job = ? AND t.study = ? AND t.trial > 0 AND t.state = 'complete' AND t.final <> 'failed' ORDER BY "
      "t.trial",
      [&](const Row& row) {
        if (number != row.Unsigned(0)) finish();
        number = row.Unsigned(0);
        again = row.Text(1) == "done";
        AddMetric(measured, row.Text(2), row.Text(3), row.Real(4));
      },
      study.job, study.study));
  finish();
  return best.trial();
}

std::string BestText(const std::optional<uint64_t>& best) {
  return best ? fmt::format("trial {}", *best) : std::string("none");
}

void CheckBest(Examination& on, FsckCheck& check) {
  std::vector<FinishedStudy> studies;
  const auto read = on.database.Each(
      "SELECT s.job, s.study, s.best, j.recipe FROM studies s JOIN jobs j ON j.job = s.job WHERE s.phase = 'done' "
      "ORDER BY s.job, s.study",
      [&](const Row& row) {
        studies.push_back({row.Unsigned(0), row.Unsigned(1),
                           row.IsNull(2) ? std::nullopt : std::optional(row.Unsigned(2)), row.Text(3)});
      });
  if (!read) return AddError(check, read.error());
  for (const FinishedStudy& study : studies) {
    ++check.checked;
    const auto best = RecomputedBest(on, study);
    const std::string row = fmt::format("study {} of job {}", study.study, study.job);
    if (!best) {
      Add(check, row, best.error().message, kRestore);
    } else if (*best != study.best) {
      Add(check, row, fmt::format("its best is {}, its results give {}", BestText(study.best), BestText(*best)),
          kReport);
    }
  }
}

// --- I4 ----------------------------------------------------------------------------------------------------------

constexpr const char* kWithoutCause = R"sql(
SELECT 'attempt ' || attempt, 'it ended as ' || outcome || ' without a cause' FROM attempts WHERE outcome NOT IN ('open', 'done') AND error = '')sql";
constexpr const char* kWithoutEnd = R"sql(
SELECT 'attempt ' || attempt, CASE WHEN outcome = 'open' THEN 'it is open and has an end' ELSE 'it ended as ' || outcome || ' at no time' END
FROM attempts WHERE (outcome = 'open') <> (ended_unix_ms = 0))sql";
// Work that is taken up again on request starts its count anew.
constexpr const char* kTooMany = R"sql(
WITH counted AS (
  SELECT job, study, trial, kind, CASE WHEN kind = 'build' THEN build ELSE '' END AS build,
         sum(outcome IN ('crashed', 'timed_out', 'out_of_memory')) AS blamed, sum(outcome IN ('worker_lost', 'returned')) AS unblamed
  FROM attempts WHERE outcome NOT IN ('open', 'done') AND forgiven = 0
  GROUP BY job, CASE WHEN kind = 'build' THEN 0 ELSE study END, CASE WHEN kind = 'build' THEN 0 ELSE trial END, kind,
           CASE WHEN kind = 'build' THEN build ELSE '' END)
SELECT CASE WHEN kind = 'build' THEN 'build ' || build || ' for job ' || job
            ELSE 'trial ' || trial || ' of job ' || job || ' (study ' || study || ')' END,
       'it was tried ' || blamed || ' times to blame and ' || unblamed || ' times lost or given back; the limits are ' || ?1 || ' and ' || ?2
FROM counted WHERE blamed > ?1 OR unblamed > ?2)sql";

void CheckAttempts(Examination& on, FsckCheck& check) {
  check.checked = Count(on, check, "SELECT count(*) FROM attempts");
  Violations(on, check, kWithoutCause, kReport);
  Violations(on, check, kWithoutEnd, kReport);
  const auto read = on.database.Each(kTooMany, [&](const Row& row) { Add(check, row.Text(0), row.Text(1), kReport); },
                                     on.options.limits.blamed_attempts, on.options.limits.unblamed_attempts);
  if (!read) AddError(check, read.error());
}

// --- I5 ----------------------------------------------------------------------------------------------------------

// A running trial has its own measurement leased, or waits for a build that is: on its model, or on the calibration
// statistics of its model.
constexpr const char* kRunningWithoutLease = R"sql(
SELECT 'trial ' || trial || ' of job ' || job || ' (study ' || study || ')', 'it is running and no lease is open for it' FROM trials t
WHERE state = 'running' AND EXISTS (SELECT 1 FROM jobs j WHERE j.job = t.job AND j.state = 'running')
AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.outcome = 'open' AND a.kind <> 'build' AND a.job = t.job AND a.study = t.study AND a.trial = t.trial)
AND NOT EXISTS (SELECT 1 FROM attempts a JOIN builds b ON b.build = a.build WHERE a.outcome = 'open' AND a.kind = 'build' AND (b.input_id = t.model_id
  OR EXISTS (SELECT 1 FROM builds c WHERE c.output_id = b.input_id AND c.input_id = t.model_id AND c.pass = 'calibrate'))))sql";
constexpr const char* kOpenAfterTheEnd = R"sql(
SELECT 'attempt ' || a.attempt, 'it is open and job ' || a.job || ' is ' || j.state FROM attempts a JOIN jobs j ON j.job = a.job
WHERE a.outcome = 'open' AND j.state <> 'running' AND (a.kind <> 'build' OR NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running')))sql";
constexpr const char* kOpenOfEnded = R"sql(
SELECT 'attempt ' || a.attempt, 'it is open and its trial is ' || t.state || ', final ' || t.final FROM attempts a
JOIN trials t ON t.job = a.job AND t.study = a.study AND t.trial = a.trial WHERE a.outcome = 'open'
AND ((a.kind = 'measure' AND t.state <> 'running') OR (a.kind = 'final' AND t.final <> 'wanted')))sql";
// With a coordinator running: a worker that was not heard of for the lease time, counted generously, has no open lease.
constexpr const char* kOpenOfSilent = R"sql(
SELECT 'attempt ' || a.attempt, 'it is open and worker ' || a.worker || ' was last heard ' || ((?1 - w.last_seen_unix_ms) / 1000) || ' s ago'
FROM attempts a JOIN workers w ON w.name = a.worker WHERE a.outcome = 'open' AND w.last_seen_unix_ms < ?1 - ?2 AND a.started_unix_ms < ?1 - ?2)sql";

void CheckLeases(Examination& on, FsckCheck& check) {
  check.checked = Count(on, check,
                        "SELECT (SELECT count(*) FROM trials WHERE state = 'running') + (SELECT count(*) FROM attempts "
                        "WHERE outcome = 'open')");
  for (const char* sql : {kRunningWithoutLease, kOpenAfterTheEnd, kOpenOfEnded}) Violations(on, check, sql, kReport);
  const auto listed = on.database.Each(
      "SELECT attempt, kind, trial, job, worker FROM attempts WHERE outcome = 'open' ORDER BY attempt LIMIT 100",
      [&](const Row& row) {
        on.report.open_attempts.push_back(fmt::format("attempt {}: {} trial {} of job {} on {}", row.Int(0),
                                                      row.Text(1), row.Int(2), row.Int(3), row.Text(4)));
      });
  if (!listed) AddError(check, listed.error());
  struct stat lock {};
  const int64_t now = SystemClock().UnixMs();
  // The lock is written when a coordinator starts; until it has settled, leases of an earlier life live on.
  const bool settled =
      ::stat((on.folder / "lock").c_str(), &lock) == 0 && now - int64_t{lock.st_mtime} * 1000 > kSettleMs;
  if (!on.report.running || !settled) return;
  const int64_t silence = int64_t{on.options.limits.lease_ms} + on.options.limits.seen_save_ms + 1000;
  const auto read = on.database.Each(
      kOpenOfSilent, [&](const Row& row) { Add(check, row.Text(0), row.Text(1), kReport); }, now, silence);
  if (!read) AddError(check, read.error());
}

// --- I6 ----------------------------------------------------------------------------------------------------------

constexpr const char* kWrongCount = R"sql(
SELECT 'study ' || s.study || ' of job ' || s.job, 'its budget is ' || s.budget || ' trials, it has ' || count(t.trial) || CASE s.ended_by WHEN '' THEN '' ELSE ' and ended by ' || s.ended_by END
FROM studies s LEFT JOIN trials t ON t.job = s.job AND t.study = s.study AND t.trial > 0
WHERE s.budget > 0 GROUP BY s.job, s.study HAVING count(t.trial) > s.budget OR (s.ended_by = 'trials' AND count(t.trial) <> s.budget))sql";
constexpr const char* kUnended = R"sql(
SELECT 'trial ' || t.trial || ' of job ' || t.job || ' (study ' || t.study || ')', 'it is ' || t.state || ' and its study is done'
FROM trials t JOIN studies s ON s.job = t.job AND s.study = t.study WHERE s.phase = 'done' AND t.state IN ('waiting', 'running'))sql";
constexpr const char* kUnendedStudy = R"sql(
SELECT 'study ' || s.study || ' of job ' || s.job, 'it is ' || s.phase || ' and its job is ' || j.state
FROM studies s JOIN jobs j ON j.job = s.job WHERE j.state = 'complete' AND s.phase <> 'done')sql";
constexpr const char* kRepeated = R"sql(
SELECT 'study ' || study || ' of job ' || job, 'trials ' || group_concat(trial) || ' are the same candidate' FROM trials WHERE trial > 0
GROUP BY job, study, candidate HAVING count(*) > 1)sql";

void CheckBudget(Examination& on, FsckCheck& check) {
  check.checked = Count(on, check, "SELECT count(*) FROM studies");
  for (const char* sql : {kWrongCount, kUnended, kUnendedStudy, kRepeated}) Violations(on, check, sql, kReport);
}

// --- I7 ----------------------------------------------------------------------------------------------------------

void Need(Examination& on, FsckCheck& check, const std::string& text, bool is_data, const std::string& needed_by) {
  if (text.empty()) return;
  proto::Bundle bundle;
  proto::Data data;
  const auto parsed = is_data ? FromJson(text, &data) : FromJson(text, &bundle);
  if (!parsed) return Add(check, needed_by, parsed.error().message, kRestore);
  for (const proto::File& file : (is_data ? data.bundle() : bundle).files()) {
    on.artifacts.emplace(file.digest(), Artifact{file.size_bytes(), needed_by});
  }
}

void CollectArtifacts(Examination& on, FsckCheck& check) {
  const auto jobs = on.database.Each("SELECT job, model, coalesce(calibration, ''), coalesce(evaluation, '') FROM jobs",
                                     [&](const Row& row) {
                                       const std::string by = fmt::format("job {}", row.Int(0));
                                       Need(on, check, row.Text(1), false, by);
                                       Need(on, check, row.Text(2), true, by);
                                       Need(on, check, row.Text(3), true, by);
                                     });
  if (!jobs) AddError(check, jobs.error());
  const auto builds = on.database.Each(
      "SELECT build, output FROM builds WHERE state = 'done' AND sensitivity = ''",
      [&](const Row& row) { Need(on, check, row.Text(1), false, fmt::format("build {}", row.Text(0))); });
  if (!builds) AddError(check, builds.error());
  const auto trials = on.database.Each(
      "SELECT min(trial), min(job), min(study), model FROM trials GROUP BY model_id", [&](const Row& row) {
        Need(on, check, row.Text(3), false, TrialName(row.Unsigned(1), row.Unsigned(2), row.Unsigned(0)));
      });
  if (!trials) AddError(check, trials.error());
  const auto rows = on.database.Each("SELECT digest, size_bytes FROM artifacts", [&](const Row& row) {
    on.artifacts.emplace(row.Text(0), Artifact{row.Unsigned(1), "the table of artifacts"});
  });
  if (!rows) AddError(check, rows.error());
}

// "" where the file is what its name and the database say.
std::string FaultOf(const fs::path& path, const std::string& digest, uint64_t size_bytes, bool quick) {
  const auto file = OpenRegular(path, Links::refuse);
  if (!file) return file.error().code == ErrorCode::kNotFound ? "it is missing" : file.error().message;
  if (file->size_bytes != size_bytes) return fmt::format("it has {} bytes, not {}", file->size_bytes, size_bytes);
  if (quick) return {};
  const auto actual = DigestOfFile(path);
  if (!actual) return actual.error().message;
  return *actual == digest ? std::string() : fmt::format("its content has the digest {}", *actual);
}

void CheckArtifacts(Examination& on, FsckCheck& check) {
  for (const auto& [digest, artifact] : on.artifacts) {
    ++check.checked;
    const std::string row = fmt::format("artifact {}", digest);
    const fs::path path = ArtifactPath(on.folder, digest);
    const std::string fault =
        path.empty() ? "its name is no digest" : FaultOf(path, digest, artifact.size_bytes, on.options.quick);
    if (fault.empty()) continue;
    const bool rebuilt = artifact.needed_by.starts_with("build") || artifact.needed_by.starts_with("trial");
    Add(check, row, fmt::format("{} (named by {})", fault, artifact.needed_by),
        fmt::format("Remove {} if it is there, and copy it from a backup; {}.", path.string(),
                    rebuilt ? "what a pass made is also made again when a job next needs it"
                            : "or upload the file again: a client does so when it submits"));
  }
}

// --- I8 ----------------------------------------------------------------------------------------------------------

// SQLite keeps other words out when it writes; what was written without it is found here.
constexpr const char* kUnknownWords = R"sql(
SELECT 'job ' || job, 'its state is ' || state FROM jobs WHERE state NOT IN ('running', 'complete', 'failed', 'cancelled')
UNION ALL SELECT 'study ' || study || ' of job ' || job, 'its phase is ' || phase FROM studies WHERE phase NOT IN ('searching', 'finalists', 'done')
UNION ALL SELECT 'trial ' || trial || ' of job ' || job || ' (study ' || study || ')', 'its state is ' || state || ', final ' || final FROM trials
WHERE state NOT IN ('waiting', 'running', 'complete', 'infeasible', 'pruned', 'failed') OR final NOT IN ('none', 'wanted', 'done', 'failed')
UNION ALL SELECT 'build ' || build, 'its state is ' || state FROM builds WHERE state NOT IN ('wanted', 'done', 'failed')
UNION ALL SELECT 'attempt ' || attempt, 'it is a ' || kind || ' that ended as ' || outcome FROM attempts WHERE kind NOT IN ('build', 'measure', 'final')
OR outcome NOT IN ('open', 'done', 'failed', 'crashed', 'timed_out', 'out_of_memory', 'cancelled', 'returned', 'worker_lost'))sql";

void CheckIntegrity(Examination& on, FsckCheck& check) {
  const std::string_view pragma = on.options.quick ? "PRAGMA quick_check(100)" : "PRAGMA integrity_check(100)";
  const auto integrity = on.database.Each(pragma, [&](const Row& row) {
    ++check.checked;
    if (row.Text(0) != "ok") Add(check, "hone.db", row.Text(0), kRestore);
  });
  if (!integrity) AddError(check, integrity.error());
  Violations(on, check, kUnknownWords, kRestore);
  const auto keys = on.database.Each("PRAGMA foreign_key_check", [&](const Row& row) {
    Add(check, fmt::format("table {} row {}", row.Text(0), row.IsNull(1) ? "?" : row.Text(1)),
        fmt::format("it refers to a row of {} that is missing", row.Text(2)), kRestore);
  });
  if (!keys) AddError(check, keys.error());
  ++check.checked;
  const auto tokens = on.database.Each(
      "SELECT (SELECT value FROM counters WHERE name = 'token'), coalesce(max(token), 0) FROM attempts",
      [&](const Row& row) {
        if (row.IsNull(0) || row.Int(0) < row.Int(1)) {
          Add(check, "counter token",
              fmt::format("it is {}, and {} was given out", row.IsNull(0) ? "missing" : row.Text(0), row.Int(1)),
              kRestore);
        }
      });
  if (!tokens) AddError(check, tokens.error());
}

struct Invariant {
  const char* id;
  const char* name;
  void (*check)(Examination&, FsckCheck&);
  bool reads_files;                  // Looks at files alone, after the snapshot was given up.
};
constexpr Invariant kInvariants[] = {
    {"I1", "every acknowledged job, trial and result exists", CheckAcknowledged, false},
    {"I2", "at most one effective result a trial", CheckOneResult, false},
    {"I3", "the best is the one that the results give", CheckBest, false},
    {"I4", "attempts within their limits, each end with its cause", CheckAttempts, false},
    {"I5", "no running trial without a lease", CheckLeases, false},
    {"I6", "as many trials as the budget says, all ended", CheckBudget, false},
    {"I7", "every artifact is there and has its digest", CheckArtifacts, true},
    {"I8", "the database is sound", CheckIntegrity, false},
};

Result<int64_t> Pragma(Database& database, const char* sql) {
  int64_t value = 0;
  TRY(database.Each(sql, [&](const Row& row) { value = row.Int(0); }));
  return value;
}

Error NotOurs(const fs::path& folder, const std::string& why) {
  return {ErrorCode::kRejected, fmt::format("{} is no data folder of hone-coordinator: {}", folder.string(), why),
          "Name the folder that the coordinator has as --data."};
}

// The version of the schema.
Result<int64_t> CheckOwner(Database& database, const fs::path& folder) {
  const auto owner = Pragma(database, "PRAGMA application_id");
  // What no page can be read of cannot be told from somebody else's file.
  if (!owner) return Fail(NotOurs(folder, owner.error().message));
  if (*owner != kHoneApplication) return Fail(NotOurs(folder, "hone.db is another program's database"));
  TRY_ASSIGN(const int64_t version, Pragma(database, "PRAGMA user_version"));
  const int64_t newest = Migrations().back().version;
  if (version <= newest) return version;
  return Fail(ErrorCode::kRejected,
              fmt::format("{} has schema {}, this program knows up to {}", folder.string(), version, newest),
              "Use the hone of the coordinator that wrote it, or a newer one.");
}

// Whether a process holds the folder's lock. The kernel is asked for a shared lock, which is given back at once.
bool IsRunning(const fs::path& folder) {
  const Descriptor lock(::open((folder / "lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

Result<fs::path> FindDataFolder(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored))
    return Fail(ErrorCode::kNotFound, fmt::format("there is no folder {}", folder.string()));
  if (!fs::is_directory(folder, ignored)) return Fail(NotOurs(folder, "it is a file"));
  for (const fs::path& candidate : {folder, folder / ".hone"}) {
    if (fs::is_regular_file(candidate / "hone.db", ignored)) return candidate;
  }
  return Fail(NotOurs(folder, "it holds no hone.db"));
}

void RunChecks(Examination& on) {
  // Every query sees the same moment.
  const auto begun = on.database.Script("BEGIN");
  FsckCheck names;
  CollectArtifacts(on, names);
  for (const Invariant& invariant : kInvariants) {
    FsckCheck check;
    check.id = invariant.id;
    check.name = invariant.name;
    if (!invariant.reads_files && !begun) AddError(check, begun.error());
    if (!invariant.reads_files) invariant.check(on, check);
    on.report.checks.push_back(std::move(check));
  }
  (void)on.database.Script("ROLLBACK");
  for (size_t i = 0; i < std::size(kInvariants); ++i) {
    if (!kInvariants[i].reads_files) continue;
    on.report.checks[i].violations = std::move(names.violations);
    on.report.checks[i].more = names.more;
    kInvariants[i].check(on, on.report.checks[i]);
  }
}

}  // namespace

bool FsckReport::ok() const {
  return std::all_of(checks.begin(), checks.end(), [](const FsckCheck& check) { return check.violations.empty(); });
}

fs::path ArtifactPath(const fs::path& folder, const std::string& digest) {
  constexpr size_t kPrefixBytes = 7;  // "sha256:"
  if (!IsDigest(digest)) return {};
  const std::string hex = digest.substr(kPrefixBytes);
  return folder / "artifacts" / hex.substr(0, 2) / hex.substr(2, 2) / hex;
}

Result<FolderState> LookAt(const fs::path& given) {
  TRY_ASSIGN(const fs::path folder, FindDataFolder(given));
  TRY_ASSIGN(Database database, Database::OpenToRead(folder / "hone.db"));
  TRY_ASSIGN(const int64_t version, CheckOwner(database, folder));
  return FolderState{folder, IsRunning(folder), version};
}

Result<FsckReport> Fsck(const fs::path& given, const FsckOptions& options) {
  const int64_t start = SystemClock().SteadyMs();
  TRY_ASSIGN(const FolderState state, LookAt(given));
  FsckReport report;
  report.folder = state.folder;
  report.running = state.running;
  report.schema_version = state.schema_version;
  report.quick = options.quick;
  TRY_ASSIGN(Database database, Database::OpenToRead(report.folder / "hone.db"));
  std::optional<ScopedFolder> copies;
  if (report.schema_version < Migrations().back().version) {
    TRY_ASSIGN(copies, ScopedFolder::Make(fs::temp_directory_path(), "hone-fsck-"));
    TRY(database.CopyTo(copies->path() / "hone.db"));
    TRY(Store::Open(copies->path() / "hone.db", 0));
    TRY_ASSIGN(database, Database::OpenToRead(copies->path() / "hone.db"));
  }
  Examination examination{database, options, report, report.folder, {}};
  RunChecks(examination);
  report.wall_ms = SystemClock().SteadyMs() - start;
  return report;
}

std::string FsckJson(const FsckReport& report) {
  using Json = nlohmann::ordered_json;
  Json checks = Json::array();
  for (const FsckCheck& check : report.checks) {
    Json violations = Json::array();
    for (const FsckFault& one : check.violations)
      violations.push_back({{"row", one.row}, {"message", one.message}, {"remedy", one.remedy}});
    checks.push_back({{"id", check.id},
                      {"name", check.name},
                      {"checked", check.checked},
                      {"violations", violations},
                      {"more", check.more}});
  }
  const Json document = {{"schema", "hone.fsck/1"},
                         {"ok", report.ok()},
                         {"folder", report.folder.string()},
                         {"running", report.running},
                         {"schema_version", report.schema_version},
                         {"quick", report.quick},
                         {"wall_s", static_cast<double>(report.wall_ms) / 1000},
                         {"open_attempts", report.open_attempts},
                         {"checks", checks}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hone
