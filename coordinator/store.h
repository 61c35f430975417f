// The database as typed rows. SQL lives in the store_*.cc files alone; who decides what is written is the scheduler.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "common/sqlite/database.h"
#include "coordinator/records.h"

namespace hone {

// The metrics of one attempt by whom they describe.
struct AttemptMetrics {
  std::vector<proto::Metric> candidate;
  std::vector<proto::Metric> baseline;
  std::optional<proto::Metric> speedup;
};

// Messages as JSON, remembered by their content: trials share models and executions, and writing JSON costs more than
// the row.
class JsonMemory {
 public:
  std::string Of(const google::protobuf::Message& message);

 private:
  std::unordered_map<std::string, std::string> known_;
  size_t bytes_ = 0;
};

// One thread at a time. Everything but the transaction calls belongs inside Begin ... Commit.
class Store {
 public:
  // Opens or creates the database, checks it and brings its schema up to date.
  static Result<Store> Open(const std::filesystem::path& file, uint64_t quick_check_bytes);

  // Transactions. Commit is durable when it returns.
  Result<> Begin();
  Result<> Commit();
  void Rollback();                                   // Does nothing where there is no transaction.
  Result<> Savepoint();
  Result<> ReleaseSavepoint();
  Result<> RollbackToSavepoint();
  bool InTransaction() const { return database_.InTransaction(); }
  int64_t TotalChanges() const { return database_.TotalChanges(); }
  // Bounds the file, as a full disk would; 0 takes the bound away. For tests and quotas.
  Result<> LimitPages(int64_t pages);
  Result<int64_t> Pages();

  // Jobs and studies.
  Result<uint64_t> InsertJob(const JobRecord& job);
  Result<std::optional<JobRecord>> FindJob(uint64_t job);
  Result<std::optional<uint64_t>> FindRequest(const std::string& request);
  // Newest first, those before `before` (0: all).
  Result<std::vector<uint64_t>> JobIds(uint64_t before, uint32_t limit);
  Result<std::vector<uint64_t>> RunningJobIds();
  Result<> EndJob(uint64_t job, proto::JobState state, const std::string& error, int64_t unix_ms, int64_t elapsed_ms);
  Result<> SaveElapsed(uint64_t job, int64_t elapsed_ms);
  // Takes the failed trials of a job up again, those of one study or one trial where given: they wait, their studies
  // search, the job runs, and what was blamed on them is forgiven. Returns how many; 0 changes nothing.
  Result<uint64_t> RetryFailed(uint64_t job, std::optional<uint32_t> study, std::optional<uint64_t> trial);
  Result<> InsertStudy(const StudyRecord& study);
  Result<> UpdateStudy(const StudyRecord& study);    // Phase, counters, best, error, sensitivity.
  Result<std::vector<StudyRecord>> Studies(uint64_t job);
  // Canonical candidates that were the best of studies of complete jobs of the same model, the latest first, no
  // repeats.
  Result<std::vector<std::string>> EarlierBest(const std::string& model_id, uint32_t limit);

  // Trials.
  Result<> InsertTrial(const TrialRecord& trial);
  Result<> UpdateTrial(const TrialRecord& trial);
  Result<> UpdateTrialState(const TrialRecord& trial);   // The state and the number of attempts alone.
  Result<std::optional<TrialRecord>> FindTrial(const TrialKey& key);
  Result<std::vector<TrialRecord>> Trials(uint64_t job, uint32_t study, uint64_t from, uint32_t limit);
  // As Trials, of each its key, state, candidate, final state and wall time alone: what a search is read from.
  Result<std::vector<TrialRecord>> TrialOutlines(uint64_t job, uint32_t study, uint64_t from, uint32_t limit);
  // Of the whole job by (study, trial), skipping `skip` rows.
  Result<std::vector<TrialRecord>> AllTrials(uint64_t job, uint64_t skip, uint32_t limit);
  Result<proto::Counts> CountTrials(uint64_t job, uint32_t study);  // The baseline not counted.
  Result<std::map<uint64_t, FinalState>> CompleteTrials(uint64_t job, uint32_t study);  // The baseline left out.
  Result<std::string> FirstFailure(uint64_t job);  // The reason of the first failed trial; "" if there is none.

  // Builds.
  Result<std::optional<BuildRecord>> FindBuild(const std::string& key);
  Result<> SaveBuild(const BuildRecord& build);

  // Attempts and what they measured.
  Result<AttemptRecord> OpenAttempt(AttemptRecord attempt, int64_t unix_ms);  // Fills id and token.
  Result<> CloseAttempt(uint64_t attempt, const AttemptEnd& end, int64_t unix_ms);
  // Measurements of complete and infeasible trials under a key, first looks and final ones, the latest first.
  struct Remembered {
    uint64_t attempt = 0;
    TrialKey trial;
    std::string worker;
    std::string fingerprint;
    uint32_t pairs = 0;
    bool is_final = false;
    proto::TrialState state = proto::TRIAL_COMPLETE;
    std::string reason;
  };
  Result<std::vector<Remembered>> FindMeasured(const std::string& measure_key);
  Result<std::vector<AttemptRecord>> OpenAttempts();
  struct Ended {
    std::string worker;
    Outcome outcome;
  };
  // Closed attempts at a trial's measurement, or at a build for a job.
  Result<std::vector<Ended>> EndedMeasures(const TrialKey& trial, AttemptKind kind);
  Result<std::vector<Ended>> EndedBuilds(const std::string& build, uint64_t job);
  struct LateReport {
    TrialKey trial;
    std::string worker;
    Outcome outcome;
    bool first = false;
  };
  // Of a trial, its builds included, the oldest first; the newest `limit`.
  Result<std::vector<proto::GetLogReply::Attempt>> AttemptLog(const TrialKey& trial, uint32_t limit);
  // Of a job, its builds included, those numbered after `after`, the oldest first.
  Result<std::vector<proto::ListAttemptsReply::Attempt>> Attempts(uint64_t job, uint64_t after, uint32_t limit);
  // The attempt with this token, where its lease was lost and nothing was forgiven since.
  Result<std::optional<AttemptRecord>> FindLost(uint64_t attempt, uint64_t token);
  // As if its lease were still open; the report that does it counts as late.
  Result<> ReopenLost(uint64_t attempt);
  // Counts a report that came when the attempt was closed. nullopt: there is no such attempt, or it is open.
  Result<std::optional<LateReport>> CountLateReport(uint64_t attempt);
  Result<> InsertMeasurement(uint64_t attempt, const TrialKey& trial, const Measurement& measurement, int64_t unix_ms);
  Result<AttemptMetrics> Metrics(uint64_t attempt);
  // The metrics of every trial of a study that has a result, by trial number. `high` is the upper end of the interval
  // where there is one, the name is valid in the call alone.
  using TakeMetric = std::function<void(uint64_t trial, Subject subject, std::string_view name, double value,
                                        std::optional<double> high)>;
  Result<> EachMetric(uint64_t job, uint32_t study, const TakeMetric& take);
  Result<std::optional<proto::Execution>> FindExecution(uint64_t attempt);
  Result<std::vector<proto::Samples>> ReadSamples(uint64_t attempt);

  // Workers and artifacts.
  Result<> SaveWorker(const WorkerRecord& worker);
  Result<> SaveSeen(const std::string& worker, int64_t unix_ms);
  Result<> SaveDraining(const std::string& worker, bool draining);
  Result<std::vector<WorkerRecord>> Workers();
  Result<> SaveFingerprint(const proto::Fingerprint& fingerprint, int64_t unix_ms);
  Result<std::optional<proto::Fingerprint>> FindFingerprint(const std::string& digest);
  Result<> NoteArtifact(const std::string& digest, uint64_t size_bytes, int64_t unix_ms);
  Result<> NoteBundle(const proto::Bundle& bundle, int64_t unix_ms);

  // Events. job 0: about the fleet.
  Result<uint64_t> AppendEvent(const TrialKey& about, std::string_view kind, const std::string& text, int64_t unix_ms);
  // After `after`, in order; job 0: of all jobs and the fleet.
  Result<std::vector<proto::Event>> Events(uint64_t job, uint64_t after, uint32_t limit);
  Result<uint64_t> LastEvent(uint64_t job);
  // Drops all but the newest `keep` events, some thousands a call. EventsDropped: the newest sequence that was dropped.
  Result<> DropOldEvents(uint64_t keep);
  Result<uint64_t> EventsDropped();
  // Whether the event of the job's submission is kept. False for job 0.
  Result<bool> HasFirstEvent(uint64_t job);

 private:
  explicit Store(Database database) : database_(std::move(database)) {}
  Database database_;
  JsonMemory json_;
  std::set<std::string> fingerprints_;   // Digests that are in the database; forgotten with each rollback.
};

// Messages as JSON text with proto field names, so that the database can be read without a program of ours.
std::string ToJson(const google::protobuf::Message& message);
Result<> FromJson(const std::string& text, google::protobuf::Message* message);
std::string ToJson(const std::vector<std::string>& texts);
Result<std::vector<std::string>> TextsFromJson(const std::string& text);

}  // namespace hone
