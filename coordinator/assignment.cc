// Who does what. Work of a higher priority goes first; then owners take turns, then an owner's jobs, by how many leases
// each has; within a job the older trial goes first. Builds go to any worker that has the pass, measurements to workers
// of the target alone; a worker that has the model already is preferred. A worker on which a piece of work crashed gets
// it again only where nobody else could.
#include <fmt/format.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "common/recipe/sandbox_level.h"
#include "common/recipe/value.h"
#include "coordinator/scheduler.h"

namespace hone {
namespace {

// Models whose whereabouts are remembered, and workers of each.
constexpr size_t kModelsKept = 4096;
constexpr size_t kHoldersKept = 8;

}  // namespace

Result<std::vector<Scheduler::Grant>> Scheduler::Assign(std::vector<Idle> idle) {
  std::vector<Grant> grants;
  if (idle.empty()) return grants;
  std::sort(idle.begin(), idle.end(),
            [](const Idle& a, const Idle& b) { return a.worker->record.name < b.worker->record.name; });
  std::map<std::string, uint64_t> owners;
  std::map<uint64_t, uint64_t> open;
  for (const auto& [id, lease] : leases_.all()) ++open[lease.attempt.trial.job];
  for (const auto& [id, leases] : open) {
    if (const ActiveJob* job = FindJob(id); job != nullptr) owners[job->record.owner] += leases;
  }
  std::set<std::string> builds;
  Turns turns;
  // Whatever may have given a job something to wait for has it advanced, and counted, before this. There may be
  // thousands.
  for (const auto& [id, job] : jobs_) {
    if (job.pending == 0 || !HasPending(job)) continue;
    const auto leases = open.find(id);
    turns.push({-job.record.priority, owners[job.record.owner], leases == open.end() ? 0 : leases->second, id});
  }
  std::map<uint64_t, std::vector<Piece>> pending;
  while (!turns.empty() && !idle.empty()) {
    Turn turn = turns.top();
    turns.pop();
    const ActiveJob& job = jobs_.at(turn.job);
    // Another job of the same owner has been served since.
    if (const uint64_t now = owners[job.record.owner]; now != turn.of_owner) {
      turn.of_owner = now;
      turns.push(turn);
      continue;
    }
    auto [pieces, is_new] = pending.try_emplace(turn.job);
    if (is_new) pieces->second = PendingOf(job, builds);
    TRY_ASSIGN(const auto grant, AssignOne(pieces->second, idle));
    if (!grant) continue;
    grants.push_back(*grant);
    turn.of_owner = ++owners[job.record.owner];
    ++turn.of_job;
    if (!pieces->second.empty()) turns.push(turn);
  }
  return grants;
}

// The first of the pieces (the last in the vector) that an idle worker can do is leased; those before it stay for
// another round.
Result<std::optional<Scheduler::Grant>> Scheduler::AssignOne(std::vector<Piece>& pieces, std::vector<Idle>& idle) {
  while (!pieces.empty()) {
    const Piece piece = std::move(pieces.back());
    pieces.pop_back();
    const Worker* worker = Choose(piece, idle);
    if (worker == nullptr) continue;
    TRY_ASSIGN(const uint64_t lease, OpenLeaseFor(piece, *worker));
    const auto chosen = std::find_if(idle.begin(), idle.end(), [&](const Idle& one) { return one.worker == worker; });
    if (--chosen->free_slots == 0) idle.erase(chosen);
    return Grant{worker->record.session, lease};
  }
  return std::nullopt;
}

bool Scheduler::IsPending(const ActiveTrial& trial) const {
  if (trial.build.empty()) {
    return static_cast<int>(trial.record.step) == trial.record.candidate.pipeline_size() && trial.lease == 0 &&
           trial.questions == 0;
  }
  const auto build = builds_.find(trial.build);
  return build != builds_.end() && build->second.lease == 0 && !build->second.asked;
}

bool Scheduler::HasPending(const ActiveJob& job) const {
  return std::any_of(job.studies.begin(), job.studies.end(), [&](const auto& study) {
    const auto& active = study.second.active;
    if (PendingTable(study.second) != nullptr) return true;
    return std::any_of(active.begin(), active.end(), [&](const auto& entry) { return IsPending(entry.second); });
  });
}

// The youngest trial first, so that the oldest is taken off the end. A build that several trials wait for is there
// once.
std::vector<Scheduler::Piece> Scheduler::PendingOf(const ActiveJob& job, std::set<std::string>& builds) const {
  std::vector<Piece> pieces;
  for (const auto& [number, study] : job.studies) {
    for (const auto& [trial_number, trial] : study.active) {
      if (!IsPending(trial)) continue;
      if (trial.build.empty()) {
        pieces.push_back(MeasurePiece(job, study, trial));
      } else if (builds.insert(trial.build).second) {
        pieces.push_back(BuildPiece(builds_.at(trial.build)));
      }
    }
    // There is no trial then but the baseline.
    if (const ActiveBuild* table = PendingTable(study); table != nullptr && builds.insert(table->key).second)
      pieces.push_back(BuildPiece(*table));
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Scheduler::Piece Scheduler::MeasurePiece(const ActiveJob& job, const ActiveStudy& study,
                                         const ActiveTrial& trial) const {
  Piece piece;
  piece.kind = trial.kind;
  piece.trial = trial.record.key;
  piece.need.tags = study.record.tags;
  piece.need.backends = {trial.record.candidate.backend(), BaselineBackend(job, study)};
  piece.preferred_tags = study.record.tags;
  piece.input = BundleId(trial.record.model);
  piece.history = &trial.history;
  return piece;
}

Scheduler::Piece Scheduler::BuildPiece(const ActiveBuild& build) const {
  Piece piece;
  piece.kind = AttemptKind::kBuild;
  piece.trial = Owner(build);
  piece.build = build.key;
  piece.input = BundleId(build.input);
  piece.need.pass = build.step.pass();
  piece.need.version = build.version;
  if (const ActiveJob* job = FindJob(piece.trial.job); job != nullptr) {
    if (const std::string& level = job->record.recipe.sandbox(); !level.empty())
      piece.need.tags = {std::string(kSandboxTag) + level};
    piece.preferred_tags = job->studies.at(piece.trial.study).record.tags;
    // Its times are of the target's machines.
    if (build.table) piece.need.tags = piece.preferred_tags;
  }
  piece.history = &build.history;
  return piece;
}

Result<> Scheduler::SetWaiting(const ActiveBuild& build, proto::TrialState state) {
  if (build.table) return {};
  for (const TrialKey& key : build.waiting) TRY(SetTrialState(*FindTrial(key), state));
  return {};
}

TrialKey Scheduler::Owner(const ActiveBuild& build) {
  return build.waiting.empty() || build.waiting.count(build.requester) > 0 ? build.requester : *build.waiting.begin();
}

// A worker without blame goes before one with; then one of the study's tags, one that has the model already, the first
// by name.
const Worker* Scheduler::Choose(const Piece& piece, const std::vector<Idle>& idle) const {
  const auto holders = holders_.find(piece.input);
  const auto holds = [&](const Worker& worker) {
    return holders != holders_.end() &&
           std::find(holders->second.begin(), holders->second.end(), worker.record.name) != holders->second.end();
  };
  constexpr int kPerfect = 0;
  const auto faults = [&](const Worker& worker) {
    return (piece.history->IsBlamed(worker.record.name) ? 4 : 0) + (HasTags(worker, piece.preferred_tags) ? 0 : 2) +
           (holds(worker) ? 0 : 1);
  };
  const Worker* best = nullptr;
  int fewest = 0;
  for (const Idle& one : idle) {
    if (!one.worker->TakesWork() || !Offers(*one.worker, piece.need)) continue;
    const int found = faults(*one.worker);
    if (best != nullptr && found >= fewest) continue;
    best = one.worker;
    fewest = found;
    if (fewest == kPerfect || (fewest == 1 && holders == holders_.end())) break;
  }
  if (best == nullptr || !piece.history->IsBlamed(best->record.name)) return best;
  // Another worker that is busy now shall try it.
  for (const Worker* other : fleet_.Live()) {
    if (other->TakesWork() && Offers(*other, piece.need) && !piece.history->IsBlamed(other->record.name))
      return nullptr;
  }
  return best;
}

void Scheduler::NoteHolder(const std::string& model_id, const std::string& worker) {
  auto& names = holders_[model_id];
  if (std::find(names.begin(), names.end(), worker) == names.end()) names.push_back(worker);
  if (names.size() > kHoldersKept) names.erase(names.begin());
  // Which model is forgotten does not matter: knowing saves a transfer, nothing else.
  if (holders_.size() > kModelsKept) holders_.erase(holders_.begin());
}

size_t Scheduler::LiveFor(const Need& need) const {
  const auto live = fleet_.Live();
  return static_cast<size_t>(std::count_if(
      live.begin(), live.end(), [&](const Worker* worker) { return worker->TakesWork() && Offers(*worker, need); }));
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
    TRY(SetWaiting(build, proto::TRIAL_RUNNING));
  } else {
    ActiveTrial& trial = *FindTrial(piece.trial);
    trial.lease = attempt.id;
    TRY(SetTrialState(trial, proto::TRIAL_RUNNING));
  }
  const uint64_t id = attempt.id;
  NoteHolder(piece.input, worker.record.name);
  touched_.insert(piece.trial.job);
  leases_.Open(std::move(attempt), clock_.SteadyMs() + options_.lease_ms);
  return id;
}

Result<> Scheduler::NoteStart(const Piece& piece, const Worker& worker) {
  if (IsTable(piece.build)) {
    return Event(piece.trial, "sensitivity.started",
                 fmt::format("the sensitivity of groups of layers is measured by {}", worker.record.name));
  }
  ActiveTrial& trial = *FindTrial(piece.trial);
  if (trial.record.attempts++ == 0) {
    const std::string what = CandidateText(trial.record.candidate);
    const std::string text = piece.trial.trial == 0 ? fmt::format("baseline started: {}", what)
                                                    : fmt::format("trial {} started: {}", piece.trial.trial, what);
    TRY(Event(piece.trial, "trial.started", text));
  }
  // A lease of a measurement sets the state as well (OpenLeaseFor).
  if (piece.kind == AttemptKind::kBuild || trial.kind == AttemptKind::kFinal ||
      trial.record.state == proto::TRIAL_RUNNING) {
    TRY(store_.UpdateTrialState(trial.record));
  }
  if (piece.kind != AttemptKind::kBuild) return {};
  return Event(piece.trial, "build.started",
               fmt::format("trial {}: {} is built by {}", piece.trial.trial, piece.need.pass, worker.record.name));
}

}  // namespace hone
