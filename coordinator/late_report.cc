// Results that come when their lease was lost already: from a worker that was cut off, frozen or started anew with what
// it had finished on its disk. Such a result is taken where there is no other, the work is still wanted, and its key
// says that it is the same work; who does it again meanwhile is told to stop. Everything else that comes late is
// counted and changes nothing.
#include <fmt/format.h>

#include "coordinator/measurement.h"
#include "coordinator/report_text.h"
#include "coordinator/scheduler.h"

namespace hone {

std::optional<uint64_t> Scheduler::WantedAgain(const AttemptRecord& lost) {
  if (lost.kind == AttemptKind::kBuild) {
    const auto build = builds_.find(lost.build);
    return build == builds_.end() || build->second.waiting.empty() ? std::nullopt : std::optional(build->second.lease);
  }
  ActiveTrial* trial = FindTrial(lost.trial);
  if (trial == nullptr || trial->kind != lost.kind || !trial->build.empty()) return std::nullopt;
  if (static_cast<int>(trial->record.step) != trial->record.candidate.pipeline_size()) return std::nullopt;
  const ActiveJob& job = *FindJob(lost.trial.job);
  const bool same = MeasureKey(job, job.studies.at(lost.trial.study), *trial) == lost.measure_key;
  return same ? std::optional(trial->lease) : std::nullopt;
}

Result<bool> Scheduler::TakeLateResult(const std::string& session, const proto::Report& report) {
  TRY_ASSIGN(const auto lost, store_.FindLost(report.lease(), report.token()));
  const Worker* worker = fleet_.FindSession(session);
  if (!lost || worker == nullptr || worker->record.name != lost->worker) return false;
  std::string why;
  if (Judge(*lost, report, &why) != Outcome::kDone) return false;
  if (lost->kind != AttemptKind::kBuild && !CheckMeasurement(report.result().measure())) return false;
  const auto holder = WantedAgain(*lost);
  if (!holder) return false;
  if (*holder != 0) {
    const std::string error = fmt::format("the result of lease {} came after all", lost->id);
    TRY(store_.CloseAttempt(*holder, {.outcome = Outcome::kCancelled, .error = error}, clock_.UnixMs()));
    leases_.Close(*holder);
  }
  TRY(store_.ReopenLost(lost->id));
  TRY(Event(lost->trial, "report.late",
            fmt::format("{}: the result of {} under the lost lease {} came late and is taken", TrialText(lost->trial),
                        lost->worker, lost->id)));
  TRY(EndLease(*lost, Outcome::kDone, report));
  return true;
}

Result<> Scheduler::CountLate(const proto::Report& report) {
  TRY_ASSIGN(const auto late, store_.CountLateReport(report.lease()));
  if (!late || !late->first) return {};
  const bool duplicate = late->outcome != Outcome::kWorkerLost && late->outcome != Outcome::kCancelled;
  return Event(late->trial, duplicate ? "report.duplicate" : "report.stale",
               fmt::format("{}: a report of {} under lease {} came too late and changes nothing ({})",
                           TrialText(late->trial), late->worker, report.lease(), NameOf(late->outcome)));
}

}  // namespace hone
