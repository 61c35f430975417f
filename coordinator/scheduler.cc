// Loading, jobs coming and going, and the little lookups. Advancing studies, assigning work and judging reports have
// files of their own.
#include "coordinator/scheduler.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "common/recipe/metrics.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

// A piece of work that uses no processor and writes nothing for so long is stuck; waiting for the machine does not
// count.
constexpr uint64_t kStallMs = 5 * 60 * 1000;

// The fewest timed inferences from which every metric that the recipe asks for can be told.
uint32_t RunsOf(const proto::Recipe& recipe) {
  uint32_t runs = 0;
  const auto ask = [&](const std::string& name) {
    if (const MetricInfo* metric = FindMetric(name)) runs = std::max(runs, metric->runs);
  };
  for (const proto::Objective& objective : recipe.objectives()) ask(objective.metric());
  for (const proto::Constraint& constraint : recipe.constraints()) ask(constraint.metric());
  return runs;
}

}  // namespace

Scheduler::Scheduler(const CoordinatorOptions& options, Store& store, Fleet& fleet, const FileStore& artifacts,
                     const Clock& clock)
    : options_(options), store_(store), fleet_(fleet), artifacts_(artifacts), clock_(clock) {}

Result<> Scheduler::Load() {
  // Clocks of jobs go on from what memory knew, so that a reload does not give time back.
  std::map<uint64_t, int64_t> elapsed;
  const int64_t now = clock_.SteadyMs();
  for (const auto& [id, job] : jobs_) elapsed[id] = job.ElapsedMs(now);
  jobs_.clear();
  touched_.clear();
  pending_ = 0;
  fleet_seen_ = 0;
  builds_.clear();
  leases_.Clear();
  orphans_.clear();
  broken_.clear();
  asked_.clear();
  offered_.clear();
  TRY_ASSIGN(const auto ids, store_.RunningJobIds());
  for (const uint64_t id : ids) {
    TRY(AddJob(id));
    if (const auto known = elapsed.find(id); known != elapsed.end() && jobs_.count(id) > 0) {
      jobs_.at(id).record.elapsed_ms = std::max(jobs_.at(id).record.elapsed_ms, known->second);
    }
  }
  TRY_ASSIGN(const auto attempts, store_.OpenAttempts());
  for (const AttemptRecord& attempt : attempts) {
    ActiveTrial* trial = FindTrial(attempt.trial);
    if (attempt.kind == AttemptKind::kBuild) {
      // Builds are made known to the scheduler by the trials that wait for them, found by their key.
      ActiveBuild& build = builds_[attempt.build];
      build.key = attempt.build;
      build.requester = attempt.trial;
      build.lease = attempt.id;  // The rest is filled in by the first trial that waits for it.
    } else if (trial != nullptr && trial->kind == attempt.kind) {
      trial->lease = attempt.id;
    } else {
      orphans_.push_back(attempt.id);
    }
    leases_.Open(attempt, now + options_.lease_ms);
  }
  return {};
}

Result<> Scheduler::AddJob(uint64_t id) {
  auto loaded = LoadJob(store_, id, clock_.SteadyMs());
  if (loaded) {
    jobs_.insert_or_assign(id, std::move(*loaded));
    touched_.insert(id);
    return {};
  }
  if (loaded.error().code != ErrorCode::kRejected) return Fail(std::move(loaded.error()));
  // The recipe was good when it was submitted; this program sees it otherwise.
  broken_.emplace_back(id, loaded.error().message);
  return {};
}

Result<bool> Scheduler::Cancel(uint64_t id, const std::string& reason) {
  ActiveJob* job = FindJob(id);
  if (job == nullptr) {
    TRY_ASSIGN(const auto record, store_.FindJob(id));
    if (!record || record->state != proto::JOB_RUNNING) return false;
    TRY(store_.EndJob(id, proto::JOB_CANCELLED, reason, clock_.UnixMs(), record->elapsed_ms));
    TRY(Event({id, 0, 0}, "job.cancelled", fmt::format("job {} cancelled: {}", id, reason)));
    return true;
  }
  // Builds that another job waits for as well go on for it.
  for (auto it = builds_.begin(); it != builds_.end();) {
    ActiveBuild& build = it->second;
    std::erase_if(build.waiting, [&](const TrialKey& key) { return key.job == id; });
    if (!build.waiting.empty() || build.requester.job != id) {
      if (!build.waiting.empty() && build.requester.job == id) build.requester = *build.waiting.begin();
      for (const TrialKey& key : build.waiting) touched_.insert(key.job);
      ++it;
      continue;
    }
    if (build.lease != 0) {
      TRY(store_.CloseAttempt(build.lease, {.outcome = Outcome::kCancelled, .error = "the job was cancelled"},
                              clock_.UnixMs()));
      leases_.Close(build.lease);
    }
    it = builds_.erase(it);
  }
  for (auto& [number, study] : job->studies) {
    for (auto& [trial, active] : study.active) {
      if (active.lease != 0) {
        TRY(store_.CloseAttempt(active.lease, {.outcome = Outcome::kCancelled, .error = "the job was cancelled"},
                                clock_.UnixMs()));
        leases_.Close(active.lease);
      }
      if (active.kind == AttemptKind::kFinal) {
        active.record.final_state = FinalState::kNone;
      } else {
        active.record.state = proto::TRIAL_PRUNED;
        active.record.reason = "the job was cancelled";
        active.record.ended_unix_ms = clock_.UnixMs();
      }
      TRY(store_.UpdateTrial(active.record));
    }
    if (study.record.phase == StudyPhase::kDone) continue;
    study.record.phase = StudyPhase::kDone;
    study.record.best = Best(job->objectives, study.Contenders(), study.BaselineMeasured());
    TRY(store_.UpdateStudy(study.record));
  }
  TRY(store_.EndJob(id, proto::JOB_CANCELLED, reason, clock_.UnixMs(), job->ElapsedMs(clock_.SteadyMs())));
  TRY(Event({id, 0, 0}, "job.cancelled", fmt::format("job {} cancelled: {}", id, reason)));
  pending_ -= job->pending;
  jobs_.erase(id);
  return true;
}

Result<> Scheduler::LoseLease(uint64_t lease) {
  const OpenLease* open = leases_.Find(lease);
  if (open == nullptr) return {};
  const AttemptRecord attempt = open->attempt;
  return EndLease(attempt, Outcome::kWorkerLost, {});
}

Result<> Scheduler::LoseOtherSessions(const std::string& worker, const std::string& session) {
  for (const uint64_t lease : leases_.OfOtherSessions(worker, session)) TRY(LoseLease(lease));
  return {};
}

Result<> Scheduler::ExpireDue() {
  for (const uint64_t lease : leases_.Due(clock_.SteadyMs())) TRY(LoseLease(lease));
  return {};
}

Result<proto::Lease> Scheduler::LeaseMessage(uint64_t id) const {
  const OpenLease* open = leases_.Find(id);
  CHECK_THAT(open != nullptr);
  const AttemptRecord& attempt = open->attempt;
  const auto build = builds_.find(attempt.build);
  const bool is_build = attempt.kind == AttemptKind::kBuild;
  const bool waited_for = build != builds_.end() && !build->second.waiting.empty();
  const TrialKey key = is_build && waited_for ? Owner(build->second) : attempt.trial;
  const ActiveJob* job = FindJob(key.job);
  if (job == nullptr || (is_build && !waited_for))
    return Fail(ErrorCode::kNotFound, fmt::format("nobody waits for lease {}", id));
  const proto::Recipe& recipe = job->record.recipe;
  proto::Lease lease;
  lease.set_id(attempt.id);
  lease.set_token(attempt.token);
  lease.set_job(key.job);
  lease.set_timeout_ms(recipe.measure().trial_timeout_ms() != 0 ? recipe.measure().trial_timeout_ms()
                                                                : options_.trial_timeout_ms);
  lease.set_stall_ms(kStallMs);
  lease.set_memory_bytes(recipe.measure().memory_bytes());
  if (is_build) {
    if (build->second.table) {
      *lease.mutable_sensitivity() = *build->second.table;
      lease.set_timeout_ms(TableTimeoutMs(recipe));
      return lease;
    }
    const proto::PassInfo* pass = FindPass(job->studies.at(key.study).record.catalogue, build->second.step.pass());
    proto::BuildWork& work = *lease.mutable_build();
    *work.mutable_model() = build->second.input;
    *work.mutable_step() = build->second.step;
    *work.mutable_inputs() = recipe.inputs();
    if (job->record.calibration && pass != nullptr && (pass->needs_calibration() || pass->takes_calibration())) {
      *work.mutable_calibration() = *job->record.calibration;
    }
    work.set_seed(recipe.search().seed());
    return lease;
  }
  const ActiveTrial* trial = FindTrial(key);
  if (trial == nullptr) return Fail(ErrorCode::kNotFound, fmt::format("nobody waits for lease {}", id));
  lease.set_trial(key.trial);
  *lease.mutable_measure() = MeasureWorkOf(*job, job->studies.at(key.study), *trial);
  return lease;
}

proto::MeasureWork Scheduler::MeasureWorkOf(const ActiveJob& job, const ActiveStudy& study,
                                            const ActiveTrial& trial) const {
  const proto::Recipe& recipe = job.record.recipe;
  const bool is_baseline = trial.record.key.trial == 0;
  proto::MeasureWork work;
  *work.mutable_model() = trial.record.model;
  work.set_backend(trial.record.candidate.backend());
  *work.mutable_settings() = trial.record.candidate.settings();
  const proto::PinnedBaseline baseline = BaselineOf(job, study);
  *work.mutable_baseline_model() = baseline.model();
  work.set_baseline_backend(baseline.backend());
  *work.mutable_baseline_settings() = baseline.settings();
  work.set_is_baseline(is_baseline);
  for (const proto::PassStep& step : trial.record.candidate.pipeline()) {
    const proto::PassInfo* pass = FindPass(study.record.catalogue, step.pass());
    if (pass == nullptr || pass->precisions().empty()) continue;
    // Asked for embedding tables alone, a pass leaves every product as it was.
    const proto::Value* only = Find(step.parameters(), "op_types");
    if (only != nullptr && only->text() == "Gather") continue;
    proto::Claim& claim = *work.add_claims();
    claim.set_pass(step.pass());
    *claim.mutable_precisions() = pass->precisions();
  }
  *work.mutable_inputs() = recipe.inputs();
  if (job.record.evaluation) *work.mutable_evaluation() = *job.record.evaluation;
  // Accuracy is always evaluated: a figure of speed without it means nothing. An empty wish lets the worker choose the
  // metric.
  *work.mutable_accuracy() = recipe.accuracy();
  // The baseline need not satisfy what is asked of candidates.
  if (!is_baseline) *work.mutable_constraints() = recipe.constraints();
  work.set_pairs(PairsOf(job, trial));
  work.set_runs(RunsOf(recipe));
  work.set_seed(recipe.search().seed());
  return work;
}

uint32_t Scheduler::PairsOf(const ActiveJob& job, const ActiveTrial& trial) const {
  const proto::Measure& measure = job.record.recipe.measure();
  if (trial.kind == AttemptKind::kFinal)
    return measure.final_pairs() != 0 ? measure.final_pairs() : options_.final_pairs;
  return measure.pairs() != 0 ? measure.pairs() : options_.pairs;
}

std::string Scheduler::Phase(const TrialKey& key) const {
  const ActiveTrial* trial = FindTrial(key);
  if (trial == nullptr) return {};
  if (trial->kind == AttemptKind::kFinal) return "final measure";
  const auto& pipeline = trial->record.candidate.pipeline();
  const int step = static_cast<int>(trial->record.step);
  return step < pipeline.size() ? "build " + pipeline[step].pass() : "measure";
}

std::string Scheduler::WorkText(const OpenLease& lease) const {
  const AttemptRecord& attempt = lease.attempt;
  const std::string phase = lease.phase.empty() ? std::string() : fmt::format(" ({})", lease.phase);
  if (IsTable(attempt.build)) return fmt::format("sensitivity of job {}{}", attempt.trial.job, phase);
  std::string what(NameOf(attempt.kind));
  if (attempt.kind == AttemptKind::kFinal) what = "final measure";
  const auto build = builds_.find(attempt.build);
  if (attempt.kind == AttemptKind::kBuild && build != builds_.end()) what += " " + build->second.step.pass() + " for";
  return fmt::format("{} trial {} of job {}{}", what, attempt.trial.trial, attempt.trial.job, phase);
}

ActiveJob* Scheduler::FindJob(uint64_t job) {
  const auto found = jobs_.find(job);
  return found == jobs_.end() ? nullptr : &found->second;
}

const ActiveJob* Scheduler::FindJob(uint64_t job) const { return const_cast<Scheduler*>(this)->FindJob(job); }

ActiveTrial* Scheduler::FindTrial(const TrialKey& key) {
  ActiveJob* job = FindJob(key.job);
  if (job == nullptr) return nullptr;
  const auto study = job->studies.find(key.study);
  if (study == job->studies.end()) return nullptr;
  const auto trial = study->second.active.find(key.trial);
  return trial == study->second.active.end() ? nullptr : &trial->second;
}

const ActiveTrial* Scheduler::FindTrial(const TrialKey& key) const {
  return const_cast<Scheduler*>(this)->FindTrial(key);
}

Result<> Scheduler::Event(const TrialKey& about, std::string_view kind, const std::string& text) {
  spdlog::info("job={} study={} trial={} {}: {}", about.job, about.study, about.trial, kind, text);
  TRY(store_.AppendEvent(about, kind, text, clock_.UnixMs()));
  return {};
}

bool Scheduler::HasFiles(const proto::Bundle& bundle) const {
  return std::all_of(bundle.files().begin(), bundle.files().end(),
                     [&](const auto& file) { return artifacts_.Has(file.digest()); });
}

}  // namespace hone
