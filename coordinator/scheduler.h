// Decides what happens next: which trials exist, which builds they need, who measures what, when a study ends. Every
// decision is written to the database in the transaction that the caller has open; the state in memory is derived from
// it and read again after a failure.
//
//   trial:  builds, step by step (shared between trials by build key)  ->  measure  ->  complete | infeasible | failed
//   study:  baseline (trial 0)  ->  searching  ->  finalists (the best few measured again with more pairs)  ->  done
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "common/artifact/file_store.h"
#include "common/base/clock.h"
#include "common/base/result.h"
#include "coordinator/fleet.h"
#include "coordinator/job_state.h"
#include "coordinator/lease_table.h"
#include "coordinator/options.h"
#include "coordinator/result_share.h"
#include "coordinator/store.h"

namespace hone {

// One thread at a time. An error of any call leaves memory and database apart: roll back and call Load.
class Scheduler {
 public:
  // All must outlive the scheduler.
  Scheduler(const CoordinatorOptions& options, Store& store, Fleet& fleet, const FileStore& artifacts,
            const Clock& clock);

  // Reads all running jobs and open leases; only reads. The leases get a full lease time from now.
  Result<> Load();

  // Results of other coordinators; `share` must outlive the scheduler. Asked for with each piece of work that is not
  // known here.
  void Use(ResultShare* share) { share_ = share; }
  // Takes the answers that came.
  Result<> TakeShared();
  // Whether an answer may come any moment.
  bool asks() const { return !asked_.empty(); }
  // What was decided is durable.
  void Committed();

  // A job that is in the database with its studies.
  Result<> AddJob(uint64_t job);
  // Ends the job: its open leases are dropped, its unfinished trials pruned. False where it does not run.
  Result<bool> Cancel(uint64_t job, const std::string& reason);

  // The end of a lease as its worker tells it. The result of a lease that was lost is taken where there is no other;
  // any other report under a lease that is not open, or under another token or session, is counted and changes nothing.
  Result<> TakeReport(const std::string& session, const proto::Report& report);
  // The leases of a session that no longer holds them, or of a worker's earlier sessions, go back to the queue.
  Result<> LoseLease(uint64_t lease);
  Result<> LoseOtherSessions(const std::string& worker, const std::string& session);
  // Leases whose deadline has passed.
  Result<> ExpireDue();

  // Moves the studies that something happened to as far as they go without a worker; from time to time, and when the
  // fleet changed, all.
  Result<> Advance();

  // Hands out what waits. Each grant is an open attempt in the database.
  struct Idle {
    const Worker* worker = nullptr;
    uint32_t free_slots = 0;
  };
  struct Grant {
    std::string session;
    uint64_t lease = 0;
  };
  Result<std::vector<Grant>> Assign(std::vector<Idle> idle);

  // Whether Advance left something for the next call.
  bool more() const { return !touched_.empty() || next_touched_.has_value(); }

  // The message for an open lease; the same each time.
  Result<proto::Lease> LeaseMessage(uint64_t lease) const;

  LeaseTable& leases() { return leases_; }
  const LeaseTable& leases() const { return leases_; }
  bool IsActive(uint64_t job) const { return jobs_.count(job) > 0; }
  // "build static_int8", "measure", "final measure"; "" where the trial has no work left.
  std::string Phase(const TrialKey& key) const;
  // "measure trial 7 of job 3".
  std::string WorkText(const OpenLease& lease) const;

 private:
  // A piece of work that waits for a worker.
  struct Piece {
    AttemptKind kind = AttemptKind::kMeasure;
    TrialKey trial;
    std::string build;
    Need need;
    std::vector<std::string> preferred_tags;
    std::string input;               // The id of the model that it starts from.
    const AttemptHistory* history = nullptr;
  };
  // Whose piece is next: the smallest in this order.
  struct Turn {
    int64_t urgency = 0;             // Minus the job's priority.
    uint64_t of_owner = 0;           // Leases that the owner's jobs have.
    uint64_t of_job = 0;             // Leases that the job has.
    uint64_t job = 0;
    auto operator<=>(const Turn&) const = default;
  };
  using Turns = std::priority_queue<Turn, std::vector<Turn>, std::greater<>>;

  // advance.cc
  void TouchAll();
  Result<> AdvanceJob(ActiveJob& job);
  Result<> AdvanceStudy(ActiveJob& job, ActiveStudy& study);
  Result<> Search(ActiveJob& job, ActiveStudy& study);
  // The word for what ends the search now; "" where it goes on.
  std::string SpentBy(const ActiveJob& job, const ActiveStudy& study) const;
  Result<> EnterFinalists(ActiveJob& job, ActiveStudy& study);
  Result<> ChooseFinalists(ActiveJob& job, ActiveStudy& study);
  std::vector<uint64_t> NextRacers(const ActiveJob& job, const ActiveStudy& study, size_t most) const;
  Result<> MeasureAgain(ActiveJob& job, ActiveStudy& study, uint64_t number);
  Result<> EndStudy(ActiveJob& job, ActiveStudy& study, const std::string& error);
  Result<> EndJob(ActiveJob& job);
  Result<> CreateTrial(ActiveJob& job, ActiveStudy& study, proto::Candidate candidate);
  Result<> ResolveBuilds(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial);
  // True: the step is done or the trial has ended; false: the trial waits for a build.
  Result<bool> ResolveStep(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial);
  Result<> TakeBuilt(ActiveStudy& study, ActiveTrial& trial, const BuildRecord& build);
  Result<std::optional<BuildRecord>> Built(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial,
                                           const proto::PassInfo& pass, const proto::PassStep& step,
                                           const proto::Bundle& input);
  Result<> WaitForBuild(ActiveJob& job, ActiveTrial& trial, const std::string& key, const proto::PassInfo& pass,
                        const proto::PassStep& step, const proto::Bundle& input);
  Result<> CloseOrphans();
  Result<> NoticeStall(ActiveJob& job, ActiveStudy& study);
  size_t Slots(const ActiveStudy& study) const;
  // Whether the study may have another trial: none of its own waits for a worker, or few of all jobs do.
  bool MayPropose(const ActiveJob& job, const ActiveStudy& study) const;
  void CountPending(ActiveJob& job);

  // sensitivity.cc
  // Goes on towards the study's sensitivity table, or its absence.
  Result<> ResolveTable(ActiveJob& job, ActiveStudy& study);
  Result<> WaitForTable(ActiveJob& job, ActiveStudy& study, const std::string& key, const proto::SensitivityWork& work);
  Result<> TakeTable(ActiveJob& job, ActiveStudy& study, const BuildRecord& build);
  Result<> LeaveTable(ActiveStudy& study, const std::string& why);
  Result<> SettleTable(ActiveStudy& study, const std::string& what);
  // Nobody waits for it any more.
  void ForgetTable(ActiveStudy& study);
  // nullptr where it waits for none, or that is leased.
  const ActiveBuild* PendingTable(const ActiveStudy& study) const;
  uint64_t TableTimeoutMs(const proto::Recipe& recipe) const;
  Result<> EndTable(BuildRecord& build, const AttemptRecord& attempt, Outcome outcome, const proto::Report& report);

  // assignment.cc
  bool IsPending(const ActiveTrial& trial) const;
  bool HasPending(const ActiveJob& job) const;
  std::vector<Piece> PendingOf(const ActiveJob& job, std::set<std::string>& builds) const;
  Result<std::optional<Grant>> AssignOne(std::vector<Piece>& pieces, std::vector<Idle>& idle);
  void NoteHolder(const std::string& model_id, const std::string& worker);
  Piece MeasurePiece(const ActiveJob& job, const ActiveStudy& study, const ActiveTrial& trial) const;
  Piece BuildPiece(const ActiveBuild& build) const;
  const Worker* Choose(const Piece& piece, const std::vector<Idle>& idle) const;
  size_t LiveFor(const Need& need) const;
  // The trial that a build is made for now: the requester, or another one that waits where that is gone.
  static TrialKey Owner(const ActiveBuild& build);
  // Of the trials that wait for a build.
  Result<> SetWaiting(const ActiveBuild& build, proto::TrialState state);
  Result<uint64_t> OpenLeaseFor(const Piece& piece, const Worker& worker);
  Result<> NoteStart(const Piece& piece, const Worker& worker);

  // outcome.cc
  Result<> EndLease(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report);
  Result<> EndBuild(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report);
  Result<> EndMeasure(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report);
  Result<> FinishBuild(BuildRecord& build, const AttemptRecord& attempt, const proto::Report& report);
  Result<> FailBuild(BuildRecord& build, const AttemptRecord& attempt, const std::string& error, bool lasting);
  Result<> ReleaseWaiting(const std::string& key);
  Result<> FinishMeasure(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial, const AttemptRecord& attempt,
                         const proto::Report& report);
  struct Verdict {
    proto::TrialState state = proto::TRIAL_COMPLETE;
    std::string reason;
  };
  // What a measurement means for the trial, by the job's objectives and constraints.
  static Verdict VerdictOf(const ActiveJob& job, const ActiveStudy& study, uint64_t trial, const Measured& measured);
  Result<> Requeued(const AttemptRecord& attempt, Outcome outcome, const std::string& why);
  // Ends a trial's work. For a final measurement, failed leaves the trial complete with what it had.
  Result<> EndTrial(ActiveJob& job, ActiveStudy& study, uint64_t trial, proto::TrialState state,
                    const std::string& reason);
  Result<> SetTrialState(ActiveTrial& trial, proto::TrialState state);
  Outcome Judge(const AttemptRecord& attempt, const proto::Report& report, std::string* why) const;

  // late_report.cc
  // The result of a lease that was lost, where nobody else's is there. False: it changed nothing.
  Result<bool> TakeLateResult(const std::string& session, const proto::Report& report);
  // The lease under which the same work is done again now (0: none); nullopt where it is wanted no more, or is other
  // work.
  std::optional<uint64_t> WantedAgain(const AttemptRecord& lost);
  Result<> CountLate(const proto::Report& report);

  // shared.cc
  struct Asked {
    std::set<TrialKey> trials;       // Of a measurement.
    std::string fingerprint;
    std::string build;               // Of a build.
    int64_t until_ms = 0;            // Steady clock: then it is not waited for any more.
  };
  struct Offered {
    std::string question;
    proto::TaskResult result;
    std::string from;
  };
  static constexpr const char* kSharedSession = "shared";   // Of attempts that other coordinators' workers made.
  void AskForMeasurement(const ActiveJob& job, const ActiveStudy& study, ActiveTrial& trial,
                         const std::set<std::string>& fingerprints);
  void AskForBuild(ActiveBuild& build);
  void Release(const Asked& asked);
  Result<> TakeAnswer(const Asked& asked, const ResultShare::Answer& answer);
  Result<> TakeSharedMeasurement(ActiveTrial& trial, const std::string& from, const proto::Report& report);
  Result<> TakeSharedBuild(const std::string& key, const std::string& from, const proto::Report& report);
  Result<> EndShared(AttemptRecord attempt, const std::string& from, const proto::Report& report);
  void OfferMeasurement(const AttemptRecord& attempt, const std::string& measure_key, const std::string& fingerprint,
                        const proto::Report& report);
  void OfferBuild(const AttemptRecord& attempt, const proto::Report& report);

  // reuse.cc
  // Gives the trial the result of the same measurement, made earlier on such a machine. False where there is none.
  Result<bool> TakeMeasured(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial);
  const std::string& MeasureKey(const ActiveJob& job, const ActiveStudy& study, ActiveTrial& trial) const;
  // What the search begins with: the next of the candidates that were best before.
  Result<std::optional<Assignment>> WarmProposal(const ActiveStudy& study) const;

  // scheduler.cc
  proto::MeasureWork MeasureWorkOf(const ActiveJob& job, const ActiveStudy& study, const ActiveTrial& trial) const;
  uint32_t PairsOf(const ActiveJob& job, const ActiveTrial& trial) const;
  ActiveJob* FindJob(uint64_t job);
  const ActiveJob* FindJob(uint64_t job) const;
  ActiveTrial* FindTrial(const TrialKey& key);
  const ActiveTrial* FindTrial(const TrialKey& key) const;
  Result<> Event(const TrialKey& about, std::string_view kind, const std::string& text);
  bool HasFiles(const proto::Bundle& bundle) const;

  const CoordinatorOptions& options_;
  Store& store_;
  Fleet& fleet_;
  const FileStore& artifacts_;
  const Clock& clock_;

  // Derived from the database.
  std::map<uint64_t, ActiveJob> jobs_;
  std::map<std::string, ActiveBuild> builds_;
  LeaseTable leases_;
  std::vector<uint64_t> orphans_;        // Open attempts that nobody waits for.
  std::vector<std::pair<uint64_t, std::string>> broken_;   // Jobs that this version cannot continue, and why.
  std::map<std::string, std::vector<std::string>>
      holders_;                          // Model -> workers that have it, the latest last. Not in the database.
  std::set<uint64_t> touched_;           // Jobs to advance.
  ResultShare* share_ = nullptr;
  std::map<std::string, Asked> asked_;   // By question. Not in the database.
  std::vector<Offered> offered_;         // Once it is committed.
  int64_t advanced_all_ms_ = 0;          // Steady clock: when it was begun to advance all.
  std::optional<uint64_t> next_touched_; // The job from which on all have still to be advanced; nullopt: that is done.
  uint64_t fleet_seen_ = 0;              // The fleet's generation when all were advanced.
  size_t pending_ = 0;                   // Trials of all jobs that wait for a worker, as of each job's last advance.
};

}  // namespace hone
