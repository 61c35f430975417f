// Who does what. Builds go to any worker that has the pass, measurements to workers of the target alone. A worker on which a piece of
// work crashed gets it again only where nobody else could.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "common/recipe/value.h"
#include "coordinator/scheduler.h"

namespace hone {

Result<std::vector<Scheduler::Grant>> Scheduler::Assign(std::vector<Idle> idle) {
  std::vector<Grant> grants;
  if (idle.empty()) return grants;
  for (const Piece& piece : Pending()) {
    const Worker* worker = Choose(piece, idle);
    if (worker == nullptr) continue;
    TRY_ASSIGN(const uint64_t lease, OpenLeaseFor(piece, *worker));
    grants.push_back({worker->record.session, lease});
    for (Idle& one : idle) one.free_slots -= one.worker == worker ? 1 : 0;
    std::erase_if(idle, [](const Idle& one) { return one.free_slots == 0; });
    if (idle.empty()) break;
  }
  return grants;
}

// Jobs take turns; within a job the older trial goes first.
std::vector<Scheduler::Piece> Scheduler::Pending() const {
  std::map<uint64_t, uint64_t> turns;
  for (const auto& [id, lease] : leases_.all()) ++turns[lease.attempt.trial.job];
  std::vector<Piece> pieces;
  const auto add = [&](Piece piece) {
    piece.turn = turns[piece.trial.job]++;
    pieces.push_back(std::move(piece));
  };
  std::set<std::string> builds;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [number, study] : job.studies) {
      for (const auto& [trial_number, trial] : study.active) {
        if (trial.build.empty()) {
          const bool built = static_cast<int>(trial.record.step) == trial.record.candidate.pipeline_size();
          if (built && trial.lease == 0) add(MeasurePiece(job, study, trial));
          continue;
        }
        const auto build = builds_.find(trial.build);
        if (build != builds_.end() && build->second.lease == 0 && builds.insert(trial.build).second) add(BuildPiece(build->second));
      }
    }
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.turn < b.turn; });
  return pieces;
}

Scheduler::Piece Scheduler::MeasurePiece(const ActiveJob&, const ActiveStudy& study, const ActiveTrial& trial) const {
  Piece piece;
  piece.kind = trial.kind;
  piece.trial = trial.record.key;
  piece.need.tags = study.record.tags;
  piece.need.backends = {trial.record.candidate.backend(), ReferenceBackend(study.record.catalogue)->name()};
  piece.preferred_tags = study.record.tags;
  piece.history = &trial.history;
  return piece;
}

Scheduler::Piece Scheduler::BuildPiece(const ActiveBuild& build) const {
  Piece piece;
  piece.kind = AttemptKind::kBuild;
  piece.trial = Owner(build);
  piece.build = build.key;
  piece.need.pass = build.step.pass();
  piece.need.version = build.version;
  if (const ActiveJob* job = FindJob(piece.trial.job); job != nullptr) {
    piece.preferred_tags = job->studies.at(piece.trial.study).record.tags;
  }
  piece.history = &build.history;
  return piece;
}

TrialKey Scheduler::Owner(const ActiveBuild& build) {
  return build.waiting.empty() || build.waiting.count(build.requester) > 0 ? build.requester : *build.waiting.begin();
}

const Worker* Scheduler::Choose(const Piece& piece, const std::vector<Idle>& idle) const {
  const Worker* best = nullptr;
  const auto rank = [&](const Worker& worker) {
    return std::tuple(piece.history->IsBlamed(worker.record.name), !HasTags(worker, piece.preferred_tags), worker.record.name);
  };
  for (const Idle& one : idle) {
    if (!one.worker->TakesWork() || !Offers(*one.worker, piece.need)) continue;
    if (best == nullptr || rank(*one.worker) < rank(*best)) best = one.worker;
  }
  if (best == nullptr || !piece.history->IsBlamed(best->record.name)) return best;
  // Another worker that is busy now shall try it.
  for (const Worker* other : fleet_.Live()) {
    if (other->TakesWork() && Offers(*other, piece.need) && !piece.history->IsBlamed(other->record.name)) return nullptr;
  }
  return best;
}

size_t Scheduler::LiveFor(const Need& need) const {
  const auto live = fleet_.Live();
  return static_cast<size_t>(
      std::count_if(live.begin(), live.end(), [&](const Worker* worker) { return worker->TakesWork() && Offers(*worker, need); }));
}

Result<uint64_t> Scheduler::OpenLeaseFor(const Piece& piece, const Worker& worker) {
  AttemptRecord attempt;
  attempt.kind = piece.kind;
  attempt.trial = piece.trial;
  attempt.build = piece.build;
  attempt.worker = worker.record.name;
  attempt.session = worker.record.session;
  if (piece.kind != AttemptKind::kBuild) {
    const ActiveJob& job = *FindJob(piece.trial.job);
    attempt.measure_key = MeasureKey(job, job.studies.at(piece.trial.study), *FindTrial(piece.trial));
  }
  TRY_ASSIGN(attempt, store_.OpenAttempt(std::move(attempt), clock_.UnixMs()));
  TRY(NoteStart(piece, worker));
  if (piece.kind == AttemptKind::kBuild) {
    ActiveBuild& build = builds_.at(piece.build);
    build.lease = attempt.id;
    for (const TrialKey& key : build.waiting) TRY(SetTrialState(*FindTrial(key), proto::TRIAL_RUNNING));
  } else {
    ActiveTrial& trial = *FindTrial(piece.trial);
    trial.lease = attempt.id;
    TRY(SetTrialState(trial, proto::TRIAL_RUNNING));
  }
  const uint64_t id = attempt.id;
  leases_.Open(std::move(attempt), clock_.SteadyMs() + options_.lease_ms);
  return id;
}

Result<> Scheduler::NoteStart(const Piece& piece, const Worker& worker) {
  ActiveTrial& trial = *FindTrial(piece.trial);
  if (trial.record.attempts++ == 0) {
    const std::string what = CandidateText(trial.record.candidate);
    const std::string text = piece.trial.trial == 0 ? fmt::format("baseline started: {}", what)
                                                    : fmt::format("trial {} started: {}", piece.trial.trial, what);
    TRY(Event(piece.trial, "trial.started", text));
  }
  TRY(store_.UpdateTrial(trial.record));
  if (piece.kind != AttemptKind::kBuild) return {};
  return Event(piece.trial, "build.started",
               fmt::format("trial {}: {} is built by {}", piece.trial.trial, piece.need.pass, worker.record.name));
}

}  // namespace hone
