#include "client/nightly/history.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <system_error>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/sqlite/migrate.h"
#include "proto/wire.pb.h"

namespace hone {
namespace {

constexpr DatabaseOwner kOwner = {0x686f6e6e, "hone nightly", "Give another --history file.",  // "honn"
                                  "Use the hone that wrote it, or a newer one."};

constexpr Migration kMigrations[] = {
    {1, R"sql(
CREATE TABLE nights (
  night TEXT PRIMARY KEY,
  suite TEXT NOT NULL,
  started_unix_ms INTEGER NOT NULL,
  finished_unix_ms INTEGER NOT NULL,
  exit_code INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX nights_of_suite ON nights (suite, started_unix_ms);

CREATE TABLE results (
  night TEXT NOT NULL REFERENCES nights,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  metric TEXT NOT NULL,
  recipe TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  runtime TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('regression', 'improvement', 'equivalent', 'inconclusive', 'environment',
    'error')),
  effect REAL NOT NULL,
  low REAL NOT NULL,
  high REAL NOT NULL,
  pairs INTEGER NOT NULL,
  smallest_effect REAL,
  p REAL NOT NULL,
  threshold REAL NOT NULL,
  exact INTEGER NOT NULL,
  absolute INTEGER NOT NULL,
  confirmed INTEGER NOT NULL,
  muted INTEGER NOT NULL,
  reason TEXT NOT NULL,
  worker TEXT NOT NULL,
  accepted TEXT NOT NULL,
  tonight TEXT NOT NULL,
  accepted_median REAL NOT NULL,
  tonight_median REAL NOT NULL,
  accepted_samples BLOB NOT NULL,
  tonight_samples BLOB NOT NULL,
  PRIMARY KEY (night, model, target, metric)
) WITHOUT ROWID;

CREATE TABLE controls (
  night TEXT NOT NULL REFERENCES nights,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  metric TEXT NOT NULL,
  alarm INTEGER NOT NULL,
  effect REAL NOT NULL,
  pairs INTEGER NOT NULL,
  PRIMARY KEY (night, model, target, metric)
) WITHOUT ROWID;

CREATE TABLE health (
  night TEXT NOT NULL REFERENCES nights,
  target TEXT NOT NULL,
  worker TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  launches INTEGER NOT NULL,
  disturbed INTEGER NOT NULL,
  notes TEXT NOT NULL,
  PRIMARY KEY (night, target, worker, fingerprint)
) WITHOUT ROWID;

CREATE TABLE artifacts (
  suite TEXT NOT NULL,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('accepted', 'tonight')),
  unix_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  artifact BLOB NOT NULL,
  PRIMARY KEY (suite, model, target, state, unix_ms)
) WITHOUT ROWID;

CREATE TABLE annotations (
  suite TEXT NOT NULL,
  unix_ms INTEGER NOT NULL,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  metric TEXT NOT NULL,
  text TEXT NOT NULL,
  author TEXT NOT NULL,
  link TEXT NOT NULL,
  PRIMARY KEY (suite, unix_ms, model, target, metric)
) WITHOUT ROWID;

CREATE TABLE mutes (
  suite TEXT NOT NULL,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  metric TEXT NOT NULL,
  until_unix_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (suite, model, target, metric)
) WITHOUT ROWID;

CREATE TABLE alerts (
  suite TEXT NOT NULL,
  model TEXT NOT NULL,
  target TEXT NOT NULL,
  metric TEXT NOT NULL,
  recipe TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  runtime TEXT NOT NULL,
  since TEXT NOT NULL,
  accepted TEXT NOT NULL,
  verdict TEXT NOT NULL,
  effect REAL NOT NULL,
  open INTEGER NOT NULL,
  PRIMARY KEY (suite, model, target, metric, since)
) WITHOUT ROWID;
)sql"},
    {2, R"sql(
ALTER TABLE health ADD COLUMN canary_ms REAL NOT NULL DEFAULT 0;
)sql"},
};

// What an import brings: rows that are not here yet.
constexpr const char* kTables[] = {"nights",    "results",     "controls", "health",
                                   "artifacts", "annotations", "mutes",    "alerts"};

// Doubles in the machine's order.
Blob BytesOf(const std::vector<double>& values) {
  if (values.empty()) return {""};  // Without a pointer it would be NULL.
  return {std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double))};
}

std::vector<double> DoublesOf(const std::string& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

// As the message that a job's baseline is.
std::string BytesOf(const NightArtifact& artifact) {
  proto::PinnedBaseline message;
  *message.mutable_model() = artifact.model;
  message.set_backend(artifact.backend);
  message.mutable_settings()->Add(artifact.settings.begin(), artifact.settings.end());
  return message.SerializeAsString();
}

Result<NightArtifact> ArtifactOf(const std::string& bytes) {
  proto::PinnedBaseline message;
  if (!message.ParseFromString(bytes))
    return Fail(ErrorCode::kConfiguration, "an artifact of the history cannot be read");
  TRY(CheckBundle(message.model()));
  return NightArtifact{message.model(), message.backend(), {message.settings().begin(), message.settings().end()}};
}

// Infinite where nothing would have been seen; SQL has no word for that.
std::optional<double> Finite(double value) { return std::isfinite(value) ? std::optional(value) : std::nullopt; }

SeriesKey ReadKey(const Row& row, int column) {
  return {row.Text(column),     row.Text(column + 1), row.Text(column + 2),
          row.Text(column + 3), row.Text(column + 4), row.Text(column + 5)};
}

struct ResultRow {
  SeriesResult result;
  std::string verdict;
};

ResultRow ReadResult(const Row& row) {
  ResultRow read;
  SeriesResult& result = read.result;
  result.key = ReadKey(row, 0);
  read.verdict = row.Text(6);
  Judgement& judgement = result.judgement;
  judgement.effect = row.Real(7);
  judgement.interval = {row.Real(8), row.Real(9)};
  judgement.pairs = static_cast<int>(row.Int(10));
  judgement.smallest_effect = row.IsNull(11) ? INFINITY : row.Real(11);
  judgement.p = row.Real(12);
  result.threshold = row.Real(13);
  result.exact = row.Int(14) != 0;
  result.absolute = row.Int(15) != 0;
  result.confirmed = row.Int(16) != 0;
  result.muted = row.Int(17) != 0;
  result.reason = row.Text(18);
  result.worker = row.Text(19);
  result.accepted = row.Text(20);
  result.tonight = row.Text(21);
  result.accepted_median = row.Real(22);
  result.tonight_median = row.Real(23);
  result.accepted_samples = DoublesOf(row.Text(24));
  result.tonight_samples = DoublesOf(row.Text(25));
  return read;
}

}  // namespace

Result<NightHistory> NightHistory::Open(const std::filesystem::path& file) {
  const auto open = [&]() -> Result<NightHistory> {
    TRY_ASSIGN(Database database, Database::Open(file));
    TRY(Migrate(database, kMigrations, kOwner));
    return NightHistory(std::move(database));
  };
  Result<NightHistory> history = open();
  // A person's file, no daemon's.
  if (!history && history.error().code == ErrorCode::kConfiguration) history.error().code = ErrorCode::kRejected;
  return history;
}

Result<std::optional<NightArtifact>> NightHistory::FindArtifact(std::string_view sql, const std::string& suite,
                                                                const std::string& model, const std::string& target) {
  std::optional<std::string> bytes;
  TRY(database_.Each(sql, [&](const Row& row) { bytes = row.Text(0); }, suite, model, target));
  if (!bytes) return std::optional<NightArtifact>();
  TRY_ASSIGN(NightArtifact artifact, ArtifactOf(*bytes));
  return std::optional(std::move(artifact));
}

Result<std::optional<NightArtifact>> NightHistory::Accepted(const std::string& suite, const std::string& model,
                                                            const std::string& target) {
  return FindArtifact(
      "SELECT artifact FROM artifacts WHERE suite=? AND model=? AND target=? AND state='accepted' "
      "ORDER BY unix_ms DESC LIMIT 1",
      suite, model, target);
}

Result<> NightHistory::Accept(const std::string& suite, const std::string& model, const std::string& target,
                              const NightArtifact& artifact, const std::string& reason, int64_t unix_ms) {
  const std::string bytes = BytesOf(artifact);
  return database_.Run("INSERT OR REPLACE INTO artifacts VALUES (?,?,?,'accepted',?,?,?)", suite, model, target,
                       unix_ms, reason, Blob{bytes});
}

Result<> NightHistory::NoteTonight(const std::string& suite, const std::string& model, const std::string& target,
                                   const NightArtifact& artifact, const std::string& night) {
  const std::string bytes = BytesOf(artifact);
  return database_.Run("INSERT OR REPLACE INTO artifacts VALUES (?,?,?,'tonight',0,?,?)", suite, model, target, night,
                       Blob{bytes});
}

Result<std::optional<NightArtifact>> NightHistory::Tonight(const std::string& suite, const std::string& model,
                                                           const std::string& target) {
  return FindArtifact("SELECT artifact FROM artifacts WHERE suite=? AND model=? AND target=? AND state='tonight'",
                      suite, model, target);
}

Result<> NightHistory::Save(const NightRecord& night) {
  TRY(database_.Script("BEGIN IMMEDIATE"));
  const auto save = [&]() -> Result<> {
    TRY(database_.Run("INSERT INTO nights VALUES (?,?,?,?,?)", night.id, night.suite, night.started_unix_ms,
                      night.finished_unix_ms, night.exit_code));
    for (const SeriesResult& result : night.results) TRY(SaveResult(night, result));
    for (const ControlResult& control : night.controls) {
      TRY(database_.Run("INSERT INTO controls VALUES (?,?,?,?,?,?,?)", night.id, control.model, control.target,
                        control.metric, control.alarm, control.effect, control.pairs));
    }
    for (const MachineHealth& machine : night.health) {
      TRY(database_.Run("INSERT INTO health VALUES (?,?,?,?,?,?,?,?)", night.id, machine.target, machine.worker,
                        machine.fingerprint, machine.launches, machine.disturbed, Join(machine.notes, "\n"),
                        machine.canary_ms));
    }
    return database_.Script("COMMIT");
  };
  const Result<> saved = save();
  if (!saved && database_.InTransaction()) (void)database_.Script("ROLLBACK");
  return saved;
}

Result<> NightHistory::SaveResult(const NightRecord& night, const SeriesResult& result) {
  const Judgement& judgement = result.judgement;
  return database_.Run(
      "INSERT INTO results VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", night.id, result.key.model,
      result.key.target, result.key.metric, result.key.recipe, result.key.fingerprint, result.key.runtime,
      NameOf(judgement.verdict), judgement.effect, judgement.interval.low, judgement.interval.high, judgement.pairs,
      Finite(judgement.smallest_effect), judgement.p, result.threshold, result.exact, result.absolute, result.confirmed,
      result.muted, result.reason, result.worker, result.accepted, result.tonight, result.accepted_median,
      result.tonight_median, BytesOf(result.accepted_samples), BytesOf(result.tonight_samples));
}

Result<NightRecord> NightHistory::Night(const std::string& suite, const std::string& id) {
  NightRecord night;
  TRY(database_.Each(
      "SELECT night, suite, started_unix_ms, finished_unix_ms, exit_code FROM nights WHERE suite = ?1 AND (?2 = '' OR "
      "night = ?2) "
      "ORDER BY started_unix_ms DESC LIMIT 1",
      [&](const Row& row) {
        night.id = row.Text(0);
        night.suite = row.Text(1);
        night.started_unix_ms = row.Int(2);
        night.finished_unix_ms = row.Int(3);
        night.exit_code = static_cast<int>(row.Int(4));
      },
      suite, id));
  if (night.id.empty()) {
    return Fail(ErrorCode::kNotFound,
                id.empty() ? fmt::format("the history has no night of the suite {}", suite)
                           : fmt::format("the history has no night {} of the suite {}", Printable(id, 100), suite));
  }
  std::vector<ResultRow> rows;
  TRY(database_.Each(
      "SELECT model, target, metric, recipe, fingerprint, runtime, verdict, effect, low, high, pairs, smallest_effect, "
      "p, threshold, "
      "exact, absolute, confirmed, muted, reason, worker, accepted, tonight, accepted_median, tonight_median, "
      "accepted_samples, "
      "tonight_samples FROM results WHERE night = ? ORDER BY model, target, metric",
      [&](const Row& row) { rows.push_back(ReadResult(row)); }, night.id));
  for (ResultRow& row : rows) {
    TRY_ASSIGN(row.result.judgement.verdict, ParseNightVerdict(row.verdict));
    night.results.push_back(std::move(row.result));
  }
  TRY(database_.Each(
      "SELECT model, target, metric, alarm, effect, pairs FROM controls WHERE night = ? ORDER BY model, target, metric",
      [&](const Row& row) {
        night.controls.push_back(
            {row.Text(0), row.Text(1), row.Text(2), row.Int(3) != 0, row.Real(4), static_cast<int>(row.Int(5))});
      },
      night.id));
  TRY(database_.Each(
      "SELECT target, worker, fingerprint, launches, disturbed, notes, canary_ms FROM health WHERE night = ? ORDER BY "
      "target, worker",
      [&](const Row& row) {
        MachineHealth machine{
            row.Text(0), row.Text(1), row.Text(2), static_cast<uint32_t>(row.Int(3)), static_cast<uint32_t>(row.Int(4)),
            {},          row.Real(6)};
        if (const std::string notes = row.Text(5); !notes.empty()) machine.notes = Split(notes, '\n');
        night.health.push_back(std::move(machine));
      },
      night.id));
  return night;
}

Result<std::vector<std::string>> NightHistory::Nights(const std::string& suite) {
  std::vector<std::string> nights;
  TRY(database_.Each(
      "SELECT night FROM nights WHERE suite = ? ORDER BY started_unix_ms, night",
      [&](const Row& row) { nights.push_back(row.Text(0)); }, suite));
  return nights;
}

Result<std::map<SeriesKey, std::vector<HistoryPoint>>> NightHistory::Series(const std::string& suite) {
  std::map<SeriesKey, std::vector<HistoryPoint>> series;
  std::vector<std::tuple<SeriesKey, HistoryPoint, std::string>> rows;
  TRY(database_.Each(
      "SELECT model, target, metric, recipe, fingerprint, runtime, n.night, n.started_unix_ms, accepted, verdict, "
      "effect, low, high, "
      "accepted_median, tonight_median FROM results r JOIN nights n USING (night) WHERE n.suite = ? AND r.fingerprint "
      "<> '' "
      "ORDER BY n.started_unix_ms, n.night",
      [&](const Row& row) {
        HistoryPoint point{row.Text(6),  row.Int(7),  row.Text(8), {}, row.Real(10), {row.Real(11), row.Real(12)},
                           row.Real(13), row.Real(14)};
        rows.emplace_back(ReadKey(row, 0), std::move(point), row.Text(9));
      },
      suite));
  for (auto& [key, point, verdict] : rows) {
    TRY_ASSIGN(point.verdict, ParseNightVerdict(verdict));
    series[key].push_back(std::move(point));
  }
  return series;
}

Result<std::string> NightHistory::LastFingerprint(const std::string& suite, const std::string& model,
                                                  const std::string& target) {
  std::string fingerprint;
  TRY(database_.Each(
      "SELECT fingerprint FROM results JOIN nights n USING (night) WHERE n.suite = ? AND model = ? AND target = ? AND "
      "fingerprint <> '' ORDER BY n.started_unix_ms DESC LIMIT 1",
      [&](const Row& row) { fingerprint = row.Text(0); }, suite, model, target));
  return fingerprint;
}

Result<std::vector<double>> NightHistory::Canaries(const std::string& suite, const std::string& fingerprint, int most) {
  std::vector<double> times;
  TRY(database_.Each(
      "SELECT canary_ms FROM health JOIN nights n USING (night) WHERE n.suite = ? AND fingerprint = ? AND canary_ms > "
      "0 "
      "ORDER BY n.started_unix_ms DESC LIMIT ?",
      [&](const Row& row) { times.push_back(row.Real(0)); }, suite, fingerprint, most));
  return times;
}

Result<AlarmRate> NightHistory::ControlAlarms(const std::string& suite) {
  uint64_t alarms = 0;
  uint64_t all = 0;
  TRY(database_.Each(
      "SELECT coalesce(sum(alarm), 0), count(*) FROM controls JOIN nights n USING (night) WHERE n.suite = ?",
      [&](const Row& row) {
        alarms = row.Unsigned(0);
        all = row.Unsigned(1);
      },
      suite));
  return AlarmRateOf(alarms, all);
}

Result<> NightHistory::Annotate(const std::string& suite, const Annotation& annotation) {
  return database_.Run("INSERT OR REPLACE INTO annotations VALUES (?,?,?,?,?,?,?,?)", suite, annotation.unix_ms,
                       annotation.model, annotation.target, annotation.metric, annotation.text, annotation.author,
                       annotation.link);
}

Result<std::vector<Annotation>> NightHistory::Annotations(const std::string& suite) {
  std::vector<Annotation> annotations;
  TRY(database_.Each(
      "SELECT unix_ms, model, target, metric, text, author, link FROM annotations WHERE suite = ? ORDER BY unix_ms",
      [&](const Row& row) {
        annotations.push_back(
            {row.Int(0), row.Text(1), row.Text(2), row.Text(3), row.Text(4), row.Text(5), row.Text(6)});
      },
      suite));
  return annotations;
}

Result<> NightHistory::AddMute(const std::string& suite, const Mute& mute) {
  return database_.Run("INSERT OR REPLACE INTO mutes VALUES (?,?,?,?,?,?)", suite, mute.model, mute.target, mute.metric,
                       mute.until_unix_ms, mute.reason);
}

Result<std::vector<Mute>> NightHistory::Mutes(const std::string& suite, int64_t now_unix_ms) {
  std::vector<Mute> mutes;
  TRY(database_.Each(
      "SELECT model, target, metric, until_unix_ms, reason FROM mutes WHERE suite = ? AND until_unix_ms > ?",
      [&](const Row& row) { mutes.push_back({row.Text(0), row.Text(1), row.Text(2), row.Int(3), row.Text(4)}); }, suite,
      now_unix_ms));
  return mutes;
}

Result<std::vector<Alert>> NightHistory::OpenAlerts(const std::string& suite) {
  std::vector<std::pair<Alert, std::string>> rows;
  TRY(database_.Each(
      "SELECT model, target, metric, recipe, fingerprint, runtime, since, accepted, verdict, effect FROM alerts "
      "WHERE suite = ? AND open = 1 ORDER BY since",
      [&](const Row& row) {
        rows.emplace_back(Alert{ReadKey(row, 0), row.Text(6), row.Text(7), {}, row.Real(9), true}, row.Text(8));
      },
      suite));
  std::vector<Alert> alerts;
  for (auto& [alert, verdict] : rows) {
    TRY_ASSIGN(alert.verdict, ParseNightVerdict(verdict));
    alerts.push_back(std::move(alert));
  }
  return alerts;
}

Result<> NightHistory::SaveAlert(const std::string& suite, const Alert& alert) {
  return database_.Run("INSERT OR REPLACE INTO alerts VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", suite, alert.key.model,
                       alert.key.target, alert.key.metric, alert.key.recipe, alert.key.fingerprint, alert.key.runtime,
                       alert.since, alert.accepted, NameOf(alert.verdict), alert.effect, alert.open);
}

Result<uint64_t> NightHistory::DropSamples(int64_t before_unix_ms) {
  const int64_t changes = database_.TotalChanges();
  TRY(
      database_.Run("UPDATE results SET accepted_samples = x'', tonight_samples = x'' WHERE length(accepted_samples) > "
                    "0 AND night IN "
                    "(SELECT night FROM nights WHERE started_unix_ms < ?)",
                    before_unix_ms));
  return static_cast<uint64_t>(database_.TotalChanges() - changes);
}

Result<> NightHistory::ExportTo(const std::filesystem::path& file) {
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored))
    return Fail(ErrorCode::kConflict, fmt::format("{} is there already", file.string()));
  return database_.CopyTo(file);
}

Result<uint64_t> NightHistory::ImportFrom(const std::filesystem::path& file) {
  // Opened as a history first: another program's file, or a newer schema, is refused; an older one is brought up in a
  // copy.
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-import-"));
  const std::filesystem::path copy = folder.path() / "history.db";
  {
    TRY_ASSIGN(Database other, Database::OpenToRead(file));
    TRY(other.CopyTo(copy));
  }
  {
    TRY_ASSIGN(NightHistory other, Open(copy));
    // The copy is complete in its one file once the connection is closed.
  }
  uint64_t nights = 0;
  TRY(database_.Run("ATTACH ? AS other", copy.string()));
  const auto take = [&]() -> Result<> {
    TRY(database_.Script("BEGIN IMMEDIATE"));
    for (const char* table : kTables) {
      const int64_t before = database_.TotalChanges();
      TRY(database_.Script(fmt::format("INSERT OR IGNORE INTO main.{0} SELECT * FROM other.{0}", table)));
      if (std::string_view(table) == "nights") nights = static_cast<uint64_t>(database_.TotalChanges() - before);
    }
    return database_.Script("COMMIT");
  };
  const Result<> taken = take();
  if (!taken && database_.InTransaction()) (void)database_.Script("ROLLBACK");
  TRY(database_.Script("DETACH other"));
  TRY(taken);
  return nights;
}

}  // namespace hone
