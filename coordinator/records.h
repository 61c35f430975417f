// The rows of the database as structs, and the names that states have in it. docs/storage.md tells what each column
// means.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

struct TrialKey {
  uint64_t job = 0;
  uint32_t study = 0;
  uint64_t trial = 0;
  auto operator<=>(const TrialKey&) const = default;
};

enum class StudyPhase { kSearching, kFinalists, kDone };
enum class AttemptKind { kBuild, kMeasure, kFinal };
enum class FinalState { kNone, kWanted, kDone, kFailed };
enum class BuildState { kWanted, kDone, kFailed };
enum class Outcome { kOpen, kDone, kFailed, kCrashed, kTimedOut, kOutOfMemory, kCancelled, kReturned, kWorkerLost };
enum class Subject { kCandidate, kBaseline, kPaired };

// The one word that a state has in SQL, events and logs.
std::string_view NameOf(proto::JobState state);
std::string_view NameOf(proto::TrialState state);
std::string_view NameOf(StudyPhase phase);
std::string_view NameOf(AttemptKind kind);
std::string_view NameOf(FinalState state);
std::string_view NameOf(BuildState state);
std::string_view NameOf(Outcome outcome);
std::string_view NameOf(Subject subject);
// The inverse; kConfiguration (a damaged database) for a word that is none.
template <class State>
Result<State> StateOf(std::string_view name);

// Crashed, timed out, out of memory: the work may have killed its runner.
bool IsBlamed(Outcome outcome);

struct JobRecord {
  uint64_t id = 0;
  std::string name;
  std::string request;                       // "" = none.
  proto::JobState state = proto::JOB_RUNNING;
  proto::Recipe recipe;
  proto::Bundle model;
  std::optional<proto::Data> calibration;
  std::optional<proto::Data> evaluation;
  std::optional<proto::PinnedBaseline> baseline;  // Absent: the model itself on the reference backend.
  std::string error;
  int64_t created_unix_ms = 0;
  int64_t finished_unix_ms = 0;
  int64_t elapsed_ms = 0;                    // While a coordinator was up.
  std::string owner;                         // The name of the key that submitted it; "" without keys.
  int32_t priority = 0;                      // Work of a higher one goes first.
};

struct StudyRecord {
  uint64_t job = 0;
  uint32_t study = 0;
  std::vector<std::string> tags;
  proto::Catalogue catalogue;  // Of the matching workers when the job was submitted: it defines the space.
  StudyPhase phase = StudyPhase::kSearching;
  uint64_t seed = 0;
  uint32_t budget = 0;                       // Trials; 0 unbounded.
  uint64_t candidates = 0;                   // 0 infinite.
  uint32_t builds_run = 0;
  uint32_t builds_reused = 0;
  std::optional<uint64_t> best;
  std::vector<std::string> warm;             // Canonical candidates that the search begins with: what was best before.
  std::string ended_by;  // What ended the search: "trials", "time", "patience" ...; "" while it goes on.
  std::string error;
  // The build that is the table its proposals are guided by, or kNoTable; "" while it is not settled.
  std::string sensitivity;
};

struct TrialRecord {
  TrialKey key;
  proto::TrialState state = proto::TRIAL_WAITING;
  proto::Candidate candidate;
  uint32_t step = 0;                         // Pipeline steps that are done.
  proto::Bundle model;                       // After those steps.
  FinalState final_state = FinalState::kNone;
  std::optional<uint64_t> result;            // The attempt whose metrics are the trial's.
  std::string reason;
  std::string worker;
  std::string fingerprint;
  uint32_t pairs = 0;
  uint64_t wall_ms = 0;
  uint32_t attempts = 0;
  std::vector<std::string> notes;
  int64_t created_unix_ms = 0;
  int64_t ended_unix_ms = 0;
};

// Of the keys of builds that are sensitivity tables (coordinator/sensitivity.cc), and the word for a study that has
// none.
constexpr const char* kTablePrefix = "sensitivity:";
constexpr const char* kNoTable = "none";
inline bool IsTable(std::string_view build) { return build.starts_with(kTablePrefix); }

struct BuildRecord {
  std::string key;
  BuildState state = BuildState::kWanted;
  std::string pass;
  uint32_t version = 0;
  std::string parameters;                    // Canonical.
  std::string input_id;
  proto::Bundle output;
  bool lasting = false;                      // A failure that any worker would repeat.
  std::string error;
  TrialKey requester;                        // The trial that it is, or was, built for.
  uint32_t step = 0;                         // Of the requester.
  std::string worker;
  uint64_t wall_ms = 0;
  uint64_t peak_memory_bytes = 0;
  std::vector<std::string> notes;
  int64_t ended_unix_ms = 0;
  // What it gave where its key has kTablePrefix; it has no output then.
  std::optional<proto::SensitivityResult> sensitivity;
};

struct AttemptRecord {
  uint64_t id = 0;                           // The lease's id.
  uint64_t token = 0;
  AttemptKind kind = AttemptKind::kMeasure;
  TrialKey trial;                            // Of a build: the trial that asked for it.
  std::string build;
  std::string worker;
  std::string session;
  std::string measure_key;                   // Of a measurement: what is measured, and how (MeasureKey).
};

// How an attempt ended.
struct AttemptEnd {
  Outcome outcome = Outcome::kDone;
  std::string error = {};
  int32_t signal = 0;
  int32_t exit_status = 0;
  std::string output_tail = {};
  uint64_t wall_ms = 0;
  uint64_t peak_memory_bytes = 0;
  // Of a measurement: where its time went.
  uint64_t load_ms = 0;
  uint64_t accuracy_ms = 0;
  uint64_t timing_ms = 0;
  uint64_t wait_ms = 0;
};

struct WorkerRecord {
  std::string name;
  std::string session;
  std::vector<std::string> tags;
  proto::Catalogue catalogue;
  uint32_t slots = 1;
  bool draining = false;
  int64_t first_seen_unix_ms = 0;
  int64_t last_seen_unix_ms = 0;
};

// What a measurement left behind, checked (coordinator/measurement.h).
struct Measurement {
  std::vector<proto::Metric> metrics;
  std::vector<proto::Metric> baseline_metrics;
  std::optional<proto::Metric> speedup;
  std::vector<proto::Samples> samples;
  proto::Execution execution;
  proto::Execution baseline_execution;
  proto::Fingerprint fingerprint;
  bool infeasible = false;
  std::string infeasible_reason;
  std::vector<std::string> notes;
};

}  // namespace hone
