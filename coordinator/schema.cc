#include "coordinator/schema.h"

namespace hone {
namespace {

constexpr DatabaseOwner kOwner = {0x686f6e65, "hone", "Give another --data folder.",  // "hone"
                                  "Start the hone-coordinator that wrote it, or a newer one."};

constexpr Migration kMigrations[] = {
    {1, R"sql(
CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters VALUES ('token', 0);

CREATE TABLE artifacts (
  digest TEXT PRIMARY KEY,
  size_bytes INTEGER NOT NULL,
  created_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE fingerprints (
  digest TEXT PRIMARY KEY,
  cpu_model TEXT NOT NULL,
  cores_allowed INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  governor TEXT NOT NULL,
  kernel TEXT NOT NULL,
  hostname TEXT NOT NULL,
  detail TEXT NOT NULL,
  first_seen_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
  name TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  tags TEXT NOT NULL,
  catalogue TEXT NOT NULL,
  slots INTEGER NOT NULL,
  draining INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  first_seen_unix_ms INTEGER NOT NULL,
  last_seen_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
  job INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  request TEXT UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('running', 'complete', 'failed', 'cancelled')),
  recipe TEXT NOT NULL,
  model TEXT NOT NULL,
  model_id TEXT NOT NULL,
  calibration TEXT,
  evaluation TEXT,
  error TEXT NOT NULL DEFAULT '',
  created_unix_ms INTEGER NOT NULL,
  finished_unix_ms INTEGER NOT NULL DEFAULT 0,
  elapsed_ms INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_running ON jobs (job) WHERE state = 'running';

CREATE TABLE studies (
  job INTEGER NOT NULL REFERENCES jobs,
  study INTEGER NOT NULL,
  tags TEXT NOT NULL,
  catalogue TEXT NOT NULL,
  phase TEXT NOT NULL CHECK (phase IN ('searching', 'finalists', 'done')),
  seed INTEGER NOT NULL,
  budget INTEGER NOT NULL,
  candidates INTEGER NOT NULL,
  builds_run INTEGER NOT NULL DEFAULT 0,
  builds_reused INTEGER NOT NULL DEFAULT 0,
  best INTEGER,
  error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (job, study)
) WITHOUT ROWID;

CREATE TABLE trials (
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'complete', 'infeasible', 'pruned', 'failed')),
  candidate TEXT NOT NULL,
  step INTEGER NOT NULL,
  model TEXT NOT NULL,
  model_id TEXT NOT NULL,
  final TEXT NOT NULL DEFAULT 'none' CHECK (final IN ('none', 'wanted', 'done', 'failed')),
  result INTEGER REFERENCES attempts (attempt),
  reason TEXT NOT NULL DEFAULT '',
  worker TEXT NOT NULL DEFAULT '',
  fingerprint TEXT NOT NULL DEFAULT '',
  pairs INTEGER NOT NULL DEFAULT 0,
  wall_ms INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  notes TEXT NOT NULL DEFAULT '[]',
  created_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, study, trial),
  FOREIGN KEY (job, study) REFERENCES studies
) WITHOUT ROWID;

CREATE TABLE builds (
  build TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('wanted', 'done', 'failed')),
  pass TEXT NOT NULL,
  version INTEGER NOT NULL,
  parameters TEXT NOT NULL,
  input_id TEXT NOT NULL,
  output TEXT NOT NULL DEFAULT '',
  output_id TEXT NOT NULL DEFAULT '',
  lasting INTEGER NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '',
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  step INTEGER NOT NULL,
  worker TEXT NOT NULL DEFAULT '',
  wall_ms INTEGER NOT NULL DEFAULT 0,
  peak_memory_bytes INTEGER NOT NULL DEFAULT 0,
  notes TEXT NOT NULL DEFAULT '[]',
  ended_unix_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE attempts (
  attempt INTEGER PRIMARY KEY AUTOINCREMENT,
  token INTEGER NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('build', 'measure', 'final')),
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  build TEXT NOT NULL DEFAULT '',
  worker TEXT NOT NULL,
  session TEXT NOT NULL,
  outcome TEXT NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'done', 'failed', 'crashed', 'timed_out',
    'out_of_memory', 'cancelled', 'returned', 'worker_lost')),
  error TEXT NOT NULL DEFAULT '',
  signal INTEGER NOT NULL DEFAULT 0,
  exit_status INTEGER NOT NULL DEFAULT 0,
  output_tail BLOB NOT NULL DEFAULT x'',
  wall_ms INTEGER NOT NULL DEFAULT 0,
  peak_memory_bytes INTEGER NOT NULL DEFAULT 0,
  load_ms INTEGER NOT NULL DEFAULT 0,
  accuracy_ms INTEGER NOT NULL DEFAULT 0,
  timing_ms INTEGER NOT NULL DEFAULT 0,
  wait_ms INTEGER NOT NULL DEFAULT 0,
  started_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL DEFAULT 0,
  late_reports INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX attempts_open_measure ON attempts (job, study, trial) WHERE outcome = 'open' AND kind <> 'build';
CREATE UNIQUE INDEX attempts_open_build ON attempts (build) WHERE outcome = 'open' AND kind = 'build';
CREATE INDEX attempts_of_trial ON attempts (job, study, trial);
CREATE INDEX attempts_of_build ON attempts (build) WHERE kind = 'build';

CREATE TABLE metrics (
  attempt INTEGER NOT NULL REFERENCES attempts,
  subject TEXT NOT NULL CHECK (subject IN ('candidate', 'baseline', 'paired')),
  name TEXT NOT NULL,
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  value REAL NOT NULL,
  low REAL,
  high REAL,
  samples INTEGER NOT NULL,
  PRIMARY KEY (attempt, subject, name)
) WITHOUT ROWID;

CREATE TABLE samples (
  attempt INTEGER NOT NULL REFERENCES attempts,
  series TEXT NOT NULL,
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  count INTEGER NOT NULL,
  doubles BLOB NOT NULL,
  PRIMARY KEY (attempt, series)
);

CREATE TABLE executions (
  attempt INTEGER NOT NULL REFERENCES attempts,
  subject TEXT NOT NULL CHECK (subject IN ('candidate', 'baseline')),
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  backend TEXT NOT NULL,
  version TEXT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (attempt, subject)
) WITHOUT ROWID;

CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  study INTEGER NOT NULL,
  trial INTEGER NOT NULL,
  unix_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX events_of_job ON events (job, sequence);
)sql"},
    // What a measurement was of, so that the same is found again; the candidates that a search begins with.
    {2, R"sql(
ALTER TABLE attempts ADD COLUMN measure_key TEXT NOT NULL DEFAULT '';
CREATE INDEX attempts_measured ON attempts (measure_key) WHERE measure_key <> '' AND outcome = 'done';
ALTER TABLE studies ADD COLUMN warm TEXT NOT NULL DEFAULT '[]';
ALTER TABLE studies ADD COLUMN ended_by TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_of_model ON jobs (model_id);
)sql"},
    // Whose job it is and what goes first; up to which event the record was thinned out; failed trials that were taken
    // up again.
    {3, R"sql(
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_open ON attempts (attempt) WHERE outcome = 'open';
INSERT INTO counters VALUES ('events_dropped', 0);
)sql"},
    // Jobs that are measured against something else than their own model.
    {4, R"sql(
ALTER TABLE jobs ADD COLUMN baseline TEXT;
)sql"},
    // Sensitivity tables, and which of them a study's proposals follow.
    {5, R"sql(
ALTER TABLE builds ADD COLUMN sensitivity TEXT NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN sensitivity TEXT NOT NULL DEFAULT '';
)sql"},
};

}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }

Result<> Migrate(Database& database, std::span<const Migration> migrations) {
  return Migrate(database, migrations, kOwner);
}

}  // namespace hone
