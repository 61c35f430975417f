// What is known already is not measured again. A measurement's key names everything that it depends on but the machine:
// the candidate's files, backend and settings, the baseline's, inputs, evaluation data, accuracy, constraints. Under
// one key a result holds for every worker of the same fingerprint, in this job or a later one. A search also begins
// with the candidates that were best for the same model before.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/recipe/value.h"
#include "coordinator/scheduler.h"

namespace hone {

const std::string& Scheduler::MeasureKey(const ActiveJob& job, const ActiveStudy& study, ActiveTrial& trial) const {
  // Of a trial that is built nothing that the key names changes any more.
  if (!trial.measure_key.empty()) return trial.measure_key;
  proto::MeasureWork work = MeasureWorkOf(job, study, trial);
  work.clear_model();
  work.clear_baseline_model();
  work.clear_pairs();
  work.mutable_accuracy()->clear_position();
  for (auto& constraint : *work.mutable_constraints()) constraint.clear_position();
  if (work.has_evaluation()) {
    // Files count by their content, not by where they came from.
    const std::string id = BundleId(work.evaluation().bundle());
    work.mutable_evaluation()->mutable_bundle()->Clear();
    work.mutable_evaluation()->mutable_bundle()->set_main(id);
  }
  const std::string models =
      fmt::format("{}\n{}\n", BundleId(trial.record.model), BundleId(BaselineOf(job, study).model()));
  trial.measure_key = DigestOf(models + work.SerializeAsString());
  return trial.measure_key;
}

Result<bool> Scheduler::TakeMeasured(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial) {
  if (trial.looked_up || job.record.recipe.measure().fresh()) return false;
  trial.looked_up = true;
  std::set<std::string> fingerprints;
  for (const Worker* worker : fleet_.Matching(study.record.tags))
    fingerprints.insert(worker->record.catalogue.fingerprint().digest());
  TRY_ASSIGN(const auto known, store_.FindMeasured(MeasureKey(job, study, trial)));
  const bool is_final = trial.kind == AttemptKind::kFinal;
  const uint32_t least = is_final ? PairsOf(job, trial) : 0;
  const auto fits = [&](const Store::Remembered& one) {
    const bool enough = one.state == proto::TRIAL_INFEASIBLE ? !is_final : one.pairs >= least;
    return enough && !one.fingerprint.empty() && fingerprints.contains(one.fingerprint);
  };
  // First looks are compared with first looks, so that the same job chooses the same finalists.
  auto found =
      std::find_if(known.begin(), known.end(), [&](const auto& one) { return fits(one) && one.is_final == is_final; });
  if (found == known.end()) found = std::find_if(known.begin(), known.end(), fits);
  if (found == known.end()) {
    AskForMeasurement(job, study, trial, fingerprints);
    return false;
  }
  TRY_ASSIGN(const AttemptMetrics metrics, store_.Metrics(found->attempt));
  const Measured measured = MeasuredOf(metrics);
  const uint64_t number = trial.record.key.trial;
  Verdict verdict{found->state, found->reason};
  if (found->state == proto::TRIAL_COMPLETE) verdict = VerdictOf(job, study, number, measured);
  TrialRecord& record = trial.record;
  record.result = found->attempt;
  record.worker = found->worker;
  record.fingerprint = found->fingerprint;
  record.pairs = found->pairs;
  record.notes.push_back(fmt::format("measured before, as trial {} of job {}", found->trial.trial, found->trial.job));
  study.measured[number] = measured;
  TRY(Event(record.key, "measure.reused",
            fmt::format("trial {}: was measured before, as trial {} of job {}", number, found->trial.trial,
                        found->trial.job)));
  TRY(EndTrial(job, study, number, verdict.state, verdict.reason));
  return true;
}

Result<std::optional<Assignment>> Scheduler::WarmProposal(const ActiveStudy& study) const {
  if (study.observations.size() >= study.record.warm.size()) return std::optional<Assignment>();
  std::set<std::string> tried;
  for (const Observation& seen : study.observations)
    tried.insert(CanonicalCandidate(study.space->ToCandidate(seen.assignment)));
  for (const std::string& text : study.record.warm) {
    TRY_ASSIGN(const proto::Candidate candidate, ParseCanonicalCandidate(text));
    auto assignment = study.space->FromCandidate(candidate);
    if (assignment && !tried.contains(CanonicalCandidate(study.space->ToCandidate(*assignment)))) return assignment;
  }
  return std::optional<Assignment>();
}

}  // namespace hone
