// What a lease's end means. A failure that the work itself explains ends the trial at once; a crash, a time-out or an
// out-of-memory is tried again elsewhere and then given up with its evidence; a lost or stopping worker is nobody's
// fault.
#include <fmt/format.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/measurement.h"
#include "coordinator/report_text.h"
#include "coordinator/scheduler.h"

namespace hone {
namespace {

constexpr size_t kMaxTrialNotes = 100;
constexpr uint64_t kMaxWallMs = uint64_t{1} << 40;

AttemptHistory HistoryOf(const std::vector<Store::Ended>& ended) {
  AttemptHistory history;
  for (const auto& one : ended) history.Add(one.worker, one.outcome);
  return history;
}

// "crashed with signal 11 (...); tried 2 times, on one and two".
std::string GivenUpText(const std::string& last, const AttemptHistory& history) {
  if (history.blamed.empty())
    return fmt::format("was begun {} times and never ended; the last time {}", history.unblamed, last);
  const std::set<std::string> workers(history.blamed.begin(), history.blamed.end());
  return fmt::format("{}; tried {} times, on {}", last, history.blamed.size(),
                     Join({workers.begin(), workers.end()}, " and "));
}

// Bad input fails on every worker; a full disk does not.
bool IsLasting(const proto::Report& report) {
  const auto code = report.result().has_error() ? report.result().error().code() : report.error().code();
  return code == proto::Error::REJECTED || code == proto::Error::FAILED || code == proto::Error::NO;
}

}  // namespace

Result<> Scheduler::TakeReport(const std::string& session, const proto::Report& report) {
  const OpenLease* lease = leases_.Find(report.lease());
  if (lease != nullptr && lease->attempt.token == report.token() && lease->attempt.session == session) {
    const AttemptRecord attempt = lease->attempt;
    std::string why;
    const Outcome outcome = Judge(attempt, report, &why);
    if (why.empty()) return EndLease(attempt, outcome, report);
    proto::Report judged = report;
    judged.mutable_error()->set_message(why);
    return EndLease(attempt, outcome, judged);
  }
  // A lease that is open is another's, or of another token.
  TRY_ASSIGN(const bool taken, lease == nullptr ? TakeLateResult(session, report) : Result<bool>(false));
  return taken ? Result<>() : CountLate(report);
}

// The outcome that the report's own words and its result bear out.
Outcome Scheduler::Judge(const AttemptRecord& attempt, const proto::Report& report, std::string* why) const {
  switch (report.outcome()) {
    case proto::Report::FAILED:
      return Outcome::kFailed;
    case proto::Report::TIMED_OUT:
      return Outcome::kTimedOut;
    case proto::Report::OUT_OF_MEMORY:
      return Outcome::kOutOfMemory;
    // Nobody asked for it while the lease is open, so the piece goes back.
    case proto::Report::CANCELLED:
    case proto::Report::RETURNED:
      return Outcome::kReturned;
    case proto::Report::DONE:
      break;
    default:
      return Outcome::kCrashed;
  }
  const proto::TaskResult& result = report.result();
  if (result.has_error()) return Outcome::kFailed;
  if (attempt.kind != AttemptKind::kBuild) {
    if (result.has_measure()) return Outcome::kDone;
    *why = "the worker reported a measurement without its result";
    return Outcome::kCrashed;
  }
  if (IsTable(attempt.build)) {
    if (result.has_sensitivity()) return Outcome::kDone;
    *why = "the worker reported a sensitivity table without its result";
    return Outcome::kCrashed;
  }
  if (!result.has_build()) {
    *why = "the worker reported a build without its result";
    return Outcome::kCrashed;
  }
  if (const auto good = CheckBundle(result.build().model()); !good) {
    *why = "the worker reported a broken model: " + good.error().message;
    return Outcome::kCrashed;
  }
  if (!HasFiles(result.build().model())) {
    *why = "the worker reported a model whose files are not in the store";
    return Outcome::kCrashed;
  }
  return Outcome::kDone;
}

Result<> Scheduler::EndLease(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report) {
  AttemptEnd end;
  end.outcome = outcome;
  if (outcome != Outcome::kDone) end.error = EndText(outcome, report);
  end.signal = report.signal();
  end.exit_status = report.exit_status();
  const std::string& tail = report.output_tail();
  end.output_tail = tail.substr(tail.size() - std::min<size_t>(tail.size(), options_.output_tail_bytes));
  end.wall_ms = std::min(report.wall_ms(), kMaxWallMs);
  end.peak_memory_bytes = std::min<uint64_t>(report.peak_memory_bytes(), INT64_MAX);
  const proto::MeasureResult& measured = report.result().measure();
  end.load_ms = std::min(measured.load_ms(), kMaxWallMs);
  end.accuracy_ms = std::min(measured.accuracy_ms(), kMaxWallMs);
  end.timing_ms = std::min(measured.timing_ms(), kMaxWallMs);
  end.wait_ms = std::min(measured.wait_ms(), kMaxWallMs);
  TRY(store_.CloseAttempt(attempt.id, end, clock_.UnixMs()));
  leases_.Close(attempt.id);
  touched_.insert(attempt.trial.job);
  return attempt.kind == AttemptKind::kBuild ? EndBuild(attempt, outcome, report)
                                             : EndMeasure(attempt, outcome, report);
}

Result<> Scheduler::EndBuild(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report) {
  TRY_ASSIGN(auto found, store_.FindBuild(attempt.build));
  if (!found) return Fail(ErrorCode::kBug, fmt::format("lease {} is for an unknown build", attempt.id));
  const auto active = builds_.find(attempt.build);
  if (active != builds_.end()) active->second.lease = 0;
  if (IsTable(attempt.build)) return EndTable(*found, attempt, outcome, report);
  if (ActiveTrial* owner = FindTrial(attempt.trial); owner != nullptr)
    owner->record.wall_ms += std::min(report.wall_ms(), kMaxWallMs);
  if (outcome == Outcome::kDone) return FinishBuild(*found, attempt, report);
  const std::string last = EndText(outcome, report);
  if (outcome == Outcome::kFailed) return FailBuild(*found, attempt, last, IsLasting(report));
  TRY_ASSIGN(const auto ended, store_.EndedBuilds(attempt.build, attempt.trial.job));
  const AttemptHistory history = HistoryOf(ended);
  Need need;
  need.pass = found->pass;
  need.version = found->version;
  if (history.GivenUp(options_, LiveFor(need))) return FailBuild(*found, attempt, GivenUpText(last, history), false);
  if (active != builds_.end()) {
    active->second.history = history;
    TRY(SetWaiting(active->second, proto::TRIAL_WAITING));
  }
  return Requeued(attempt, outcome,
                  fmt::format("{}: {} on {}: {}", TrialText(attempt.trial), found->pass, attempt.worker, last));
}

Result<> Scheduler::FinishBuild(BuildRecord& build, const AttemptRecord& attempt, const proto::Report& report) {
  const proto::BuildResult& result = report.result().build();
  build.state = BuildState::kDone;
  build.output = result.model();
  build.error.clear();
  build.worker = attempt.worker;
  build.wall_ms = std::min(result.wall_ms() != 0 ? result.wall_ms() : report.wall_ms(), kMaxWallMs);
  build.peak_memory_bytes =
      std::min<uint64_t>(std::max(result.peak_memory_bytes(), report.peak_memory_bytes()), INT64_MAX);
  build.notes.clear();
  for (int i = 0; i < result.notes_size() && i < 20; ++i) build.notes.push_back(Printable(result.notes(i), 500));
  build.ended_unix_ms = clock_.UnixMs();
  TRY(store_.SaveBuild(build));
  TRY(store_.NoteBundle(build.output, clock_.UnixMs()));
  NoteHolder(BundleId(build.output), attempt.worker);
  OfferBuild(attempt, report);
  if (ActiveJob* job = FindJob(attempt.trial.job); job != nullptr) {
    StudyRecord& study = job->studies.at(attempt.trial.study).record;
    ++(attempt.session == kSharedSession ? study.builds_reused : study.builds_run);
    TRY(store_.UpdateStudy(study));
  }
  TRY(Event(attempt.trial, "build.done",
            fmt::format("{}: {} built in {} ({}) by {}", TrialText(attempt.trial), build.pass,
                        HumanDuration(static_cast<int64_t>(build.wall_ms)), HumanBytes(BundleBytes(build.output)),
                        attempt.worker)));
  return ReleaseWaiting(build.key);
}

Result<> Scheduler::FailBuild(BuildRecord& build, const AttemptRecord& attempt, const std::string& error,
                              bool lasting) {
  build.state = BuildState::kFailed;
  build.error = error;
  build.lasting = lasting;
  build.worker = attempt.worker;
  build.ended_unix_ms = clock_.UnixMs();
  // The failure belongs to the job that saw it; another job that waits tries for itself unless it would only be
  // repeated.
  build.requester.job = attempt.trial.job;
  TRY(store_.SaveBuild(build));
  TRY(Event(attempt.trial, "build.failed", fmt::format("{}: {} {}", TrialText(attempt.trial), build.pass, error)));
  return ReleaseWaiting(build.key);
}

// The trials or studies that waited look again what the database says about the build.
Result<> Scheduler::ReleaseWaiting(const std::string& key) {
  const auto active = builds_.find(key);
  if (active == builds_.end()) return {};
  const std::set<TrialKey> waiting = std::move(active->second.waiting);
  builds_.erase(active);
  for (const TrialKey& one : waiting) {
    touched_.insert(one.job);
    if (IsTable(key)) {
      FindJob(one.job)->studies.at(one.study).table.clear();
      continue;
    }
    ActiveTrial& trial = *FindTrial(one);
    trial.build.clear();
    TRY(SetTrialState(trial, proto::TRIAL_WAITING));
  }
  return {};
}

Result<> Scheduler::EndMeasure(const AttemptRecord& attempt, Outcome outcome, const proto::Report& report) {
  ActiveTrial* trial = FindTrial(attempt.trial);
  ActiveJob* job = FindJob(attempt.trial.job);
  if (trial == nullptr || job == nullptr || trial->kind != attempt.kind) return {};
  ActiveStudy& study = job->studies.at(attempt.trial.study);
  trial->lease = 0;
  trial->record.wall_ms += std::min(report.wall_ms(), kMaxWallMs);
  if (outcome == Outcome::kDone) return FinishMeasure(*job, study, *trial, attempt, report);
  const std::string last = EndText(outcome, report);
  trial->record.worker = attempt.worker;
  if (outcome == Outcome::kFailed) return EndTrial(*job, study, attempt.trial.trial, proto::TRIAL_FAILED, last);
  TRY_ASSIGN(const auto ended, store_.EndedMeasures(attempt.trial, attempt.kind));
  trial->history = HistoryOf(ended);
  if (trial->history.GivenUp(options_, LiveFor(MeasurePiece(*job, study, *trial).need))) {
    return EndTrial(*job, study, attempt.trial.trial, proto::TRIAL_FAILED, GivenUpText(last, trial->history));
  }
  TRY(SetTrialState(*trial, proto::TRIAL_WAITING));
  TRY(store_.UpdateTrial(trial->record));
  return Requeued(attempt, outcome,
                  fmt::format("{}: {} on {}: {}", TrialText(attempt.trial), "measurement", attempt.worker, last));
}

Result<> Scheduler::FinishMeasure(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial, const AttemptRecord& attempt,
                                  const proto::Report& report) {
  const uint64_t number = attempt.trial.trial;
  const auto checked = CheckMeasurement(report.result().measure());
  if (!checked) return EndTrial(job, study, number, proto::TRIAL_FAILED, checked.error().message);
  TRY(store_.InsertMeasurement(attempt.id, attempt.trial, *checked, clock_.UnixMs()));
  const Measured measured = MeasuredOf(*checked);
  Verdict verdict;
  if (checked->infeasible) {
    verdict.state = number == 0 ? proto::TRIAL_FAILED : proto::TRIAL_INFEASIBLE;
    verdict.reason = checked->infeasible_reason.empty() ? "the worker found it infeasible" : checked->infeasible_reason;
  } else {
    verdict = VerdictOf(job, study, number, measured);
  }
  const auto& [state, reason] = verdict;
  // A final measurement that gave nothing leaves the trial with what it had.
  if (trial.kind == AttemptKind::kFinal && state == proto::TRIAL_FAILED)
    return EndTrial(job, study, number, state, reason);
  TrialRecord& record = trial.record;
  record.result = attempt.id;
  record.worker = attempt.worker;
  record.fingerprint = checked->fingerprint.digest();
  if (const Worker* worker = fleet_.FindName(attempt.worker); record.fingerprint.empty() && worker != nullptr) {
    record.fingerprint = worker->record.catalogue.fingerprint().digest();
  }
  record.pairs =
      checked->speedup ? static_cast<uint32_t>(std::min<uint64_t>(checked->speedup->samples(), UINT32_MAX)) : 0;
  for (const auto& note : checked->notes) {
    if (record.notes.size() < kMaxTrialNotes) record.notes.push_back(note);
  }
  study.measured[number] = measured;
  if (state != proto::TRIAL_FAILED)
    OfferMeasurement(attempt, MeasureKey(job, study, trial), record.fingerprint, report);
  return EndTrial(job, study, number, state, reason);
}

Scheduler::Verdict Scheduler::VerdictOf(const ActiveJob& job, const ActiveStudy& study, uint64_t trial,
                                        const Measured& measured) {
  if (trial == 0) {
    if (measured.metrics.empty()) return {proto::TRIAL_FAILED, "it was measured without a single metric"};
    return {};
  }
  const auto values = ObjectiveValues(job.objectives, measured, study.BaselineMeasured());
  if (!values) return {proto::TRIAL_FAILED, values.error().message};
  const auto broken = BrokenConstraint(job.record.recipe, measured);
  if (!broken) return {proto::TRIAL_FAILED, broken.error().message};
  if (*broken) return {proto::TRIAL_INFEASIBLE, **broken};
  return {};
}

Result<> Scheduler::Requeued(const AttemptRecord& attempt, Outcome outcome, const std::string& why) {
  return Event(attempt.trial, fmt::format("attempt.{}", NameOf(outcome)), why + "; it goes back to the queue");
}

Result<> Scheduler::EndTrial(ActiveJob& job, ActiveStudy& study, uint64_t number, proto::TrialState state,
                             const std::string& reason) {
  ActiveTrial trial = std::move(study.active.at(number));
  study.active.erase(number);
  TrialRecord& record = trial.record;
  const bool is_final = trial.kind == AttemptKind::kFinal;
  std::string kind = fmt::format("trial.{}", NameOf(state));
  if (is_final && state == proto::TRIAL_FAILED) {
    record.final_state = FinalState::kFailed;
    record.notes.push_back("the final measurement failed: " + reason);
    kind = "trial.final_failed";
  } else {
    record.state = state;
    record.reason = reason;
    if (is_final) record.final_state = FinalState::kDone;
    if (is_final && state == proto::TRIAL_COMPLETE) kind = "trial.measured_again";
  }
  record.ended_unix_ms = clock_.UnixMs();
  TRY(store_.UpdateTrial(record));
  if (number == 0) {
    study.baseline = record.state;
    study.baseline_reason = reason;
  } else {
    if (!is_final) study.machine_ms += record.wall_ms;
    study.observations.at(number - 1) = ObservationOf(job, study, record);
    study.replaced.push_back(number - 1);
    study.finals.erase(number);
    if (record.state == proto::TRIAL_COMPLETE) study.finals[number] = record.final_state;
  }
  std::string what = is_final && state == proto::TRIAL_COMPLETE ? "measured again" : std::string(NameOf(state));
  if (kind == "trial.final_failed") what = "could not be measured again";
  const auto measured = study.measured.find(number);
  const std::string detail = state == proto::TRIAL_COMPLETE && measured != study.measured.end()
                                 ? ResultText(job.record.recipe, measured->second)
                                 : reason;
  return Event(record.key, kind,
               fmt::format("{} {}: {}: {}", TrialText(record.key), what, detail, CandidateText(record.candidate)));
}

Result<> Scheduler::SetTrialState(ActiveTrial& trial, proto::TrialState state) {
  // A complete trial that is measured again stays complete.
  if (trial.kind == AttemptKind::kFinal || trial.record.state == state) return {};
  trial.record.state = state;
  return store_.UpdateTrialState(trial.record);
}

}  // namespace hone
