#include "coordinator/summaries.h"

#include "common/artifact/bundle.h"
#include "coordinator/ranking.h"

namespace hone {
namespace {

// A study's complete trials as ranking wants them, with the baseline's figures.
struct Standing {
  std::vector<Contender> contenders;
  std::optional<Measured> baseline;

  const Measured* baseline_or_null() const { return baseline ? &*baseline : nullptr; }
};

Result<Standing> StandingOf(Store& store, uint64_t job, uint32_t study) {
  Standing standing;
  TRY_ASSIGN(const auto complete, store.CompleteTrials(job, study));
  TRY_ASSIGN(auto measured, MeasuredOf(store, job, study));
  for (auto& [trial, of_trial] : measured) {
    const auto found = complete.find(trial);
    if (found != complete.end()) standing.contenders.push_back({trial, of_trial, found->second == FinalState::kDone});
    if (trial == 0) standing.baseline = std::move(of_trial);
  }
  return standing;
}

Result<std::optional<proto::TrialSummary>> SummaryOf(Store& store, const Scheduler& scheduler, const TrialKey& key,
                                                     Detail detail) {
  TRY_ASSIGN(const auto trial, store.FindTrial(key));
  if (!trial) return std::nullopt;
  TRY_ASSIGN(auto summary, SummarizeTrial(store, scheduler, *trial, detail));
  return summary;
}

Result<> AddFront(Store& store, const Scheduler& scheduler, const std::vector<proto::Objective>& objectives,
                  const Standing& standing, const StudyRecord& study, uint64_t max_bytes,
                  proto::StudySummary& summary) {
  uint64_t bytes = summary.ByteSizeLong();
  for (const uint64_t trial : Front(objectives, standing.contenders, standing.baseline_or_null())) {
    const Detail detail = bytes < max_bytes ? Detail::full : Detail::brief;
    TRY_ASSIGN(auto one, SummaryOf(store, scheduler, {study.job, study.study, trial}, detail));
    if (!one) continue;
    bytes += one->ByteSizeLong();
    *summary.add_pareto() = std::move(*one);
  }
  return {};
}

Result<proto::StudySummary> SummarizeStudy(Store& store, const Scheduler& scheduler,
                                           const std::vector<proto::Objective>& objectives, const StudyRecord& study,
                                           Detail detail, uint64_t max_bytes) {
  proto::StudySummary summary;
  summary.set_study(study.study);
  for (const auto& tag : study.tags) summary.add_tags(tag);
  TRY_ASSIGN(*summary.mutable_counts(), store.CountTrials(study.job, study.study));
  summary.set_budget(study.budget);
  summary.set_candidates(study.candidates);
  summary.set_phase(std::string(NameOf(study.phase)));
  summary.set_builds_run(study.builds_run);
  summary.set_builds_reused(study.builds_reused);
  summary.set_ended_by(study.ended_by);
  TRY_ASSIGN(auto baseline, SummaryOf(store, scheduler, {study.job, study.study, 0}, detail));
  if (baseline) *summary.mutable_baseline() = std::move(*baseline);
  // A study that ended knows its best: a list of jobs does not read the trials again.
  const bool done = study.phase == StudyPhase::kDone;
  Standing standing;
  if (!done || detail == Detail::full) {
    TRY_ASSIGN(standing, StandingOf(store, study.job, study.study));
  }
  const auto best = done ? study.best : Best(objectives, standing.contenders, standing.baseline_or_null());
  if (best) {
    TRY_ASSIGN(auto trial, SummaryOf(store, scheduler, {study.job, study.study, *best}, detail));
    if (trial) *summary.mutable_best() = std::move(*trial);
  }
  if (detail == Detail::full) TRY(AddFront(store, scheduler, objectives, standing, study, max_bytes, summary));
  return summary;
}

}  // namespace

Result<proto::TrialSummary> SummarizeTrial(Store& store, const Scheduler& scheduler, const TrialRecord& trial,
                                           Detail detail) {
  proto::TrialSummary summary;
  summary.set_trial(trial.key.trial);
  summary.set_study(trial.key.study);
  summary.set_state(trial.state);
  *summary.mutable_candidate() = trial.candidate;
  summary.set_reason(trial.reason);
  const bool is_built = static_cast<int>(trial.step) == trial.candidate.pipeline_size();
  if (is_built) *summary.mutable_model() = trial.model;
  summary.set_worker(trial.worker);
  summary.set_wall_ms(trial.wall_ms);
  summary.set_phase(scheduler.Phase(trial.key));
  summary.set_attempts(trial.attempts);
  summary.set_fingerprint(trial.fingerprint);
  summary.set_pairs(trial.pairs);
  for (const auto& note : trial.notes) summary.add_notes(note);
  summary.set_created_unix_ms(static_cast<uint64_t>(trial.created_unix_ms));
  summary.set_ended_unix_ms(static_cast<uint64_t>(trial.ended_unix_ms));
  if (!trial.result) return summary;
  TRY_ASSIGN(const auto metrics, store.Metrics(*trial.result));
  for (const auto& metric : metrics.candidate) *summary.add_metrics() = metric;
  if (metrics.speedup) *summary.mutable_speedup() = *metrics.speedup;
  if (detail == Detail::full) {
    TRY_ASSIGN(auto execution, store.FindExecution(*trial.result));
    if (execution) *summary.mutable_execution() = std::move(*execution);
  }
  return summary;
}

Result<proto::JobSummary> SummarizeJob(Store& store, const Scheduler& scheduler, const JobRecord& job, Detail detail,
                                       uint64_t max_bytes) {
  proto::JobSummary summary;
  summary.set_job(job.id);
  summary.set_name(job.name);
  summary.set_state(job.state);
  summary.set_error(job.error);
  summary.set_created_unix_ms(static_cast<uint64_t>(job.created_unix_ms));
  summary.set_finished_unix_ms(static_cast<uint64_t>(job.finished_unix_ms));
  summary.set_model_id(BundleId(job.model));
  summary.set_owner(job.owner);
  summary.set_priority(job.priority);
  TRY_ASSIGN(const uint64_t last, store.LastEvent(job.id));
  summary.set_last_event(last);
  const auto objectives = ObjectivesOf(job.recipe);
  for (const auto& objective : objectives) *summary.add_objectives() = objective;
  *summary.mutable_constraints() = job.recipe.constraints();
  *summary.mutable_accuracy() = job.recipe.accuracy();
  TRY_ASSIGN(const auto studies, store.Studies(job.id));
  for (const StudyRecord& study : studies) {
    TRY_ASSIGN(*summary.add_studies(),
               SummarizeStudy(store, scheduler, objectives, study, detail, max_bytes / studies.size()));
  }
  return summary;
}

}  // namespace hone
