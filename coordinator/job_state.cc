#include "coordinator/job_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/recipe/value.h"
#include "coordinator/measurement.h"

namespace hone {
namespace {

// Whether the budget is enough for every candidate.
bool HoldsAll(const StudyRecord& study) { return study.candidates != 0 && study.candidates <= study.budget; }

bool IsOver(proto::TrialState state) { return state != proto::TRIAL_WAITING && state != proto::TRIAL_RUNNING; }

bool Holds(const google::protobuf::RepeatedPtrField<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A backend that tells no formats takes all.
bool Loads(const proto::BackendInfo& backend, const std::string& format) {
  return backend.formats().empty() || Holds(backend.formats(), format);
}

// The pass as it loses nothing.
proto::PassStep ExactStep(const proto::PassInfo& pass) {
  proto::PassStep step;
  step.set_pass(pass.name());
  const proto::Value exact = TextValue("f32");
  for (const auto& parameter : pass.parameters()) {
    const auto& choices = parameter.choices();
    const bool can = std::any_of(choices.begin(), choices.end(), [&](const auto& one) { return Equal(one, exact); });
    if (parameter.name() != "precision" || !can) continue;
    proto::Parameter& given = *step.add_parameters();
    given.set_name(parameter.name());
    *given.mutable_value() = exact;
  }
  return step;
}

// Rows of one query; a study may have many trials.
constexpr uint32_t kRowsPerQuery = 10'000;

bool IsBuilt(const TrialRecord& trial) {
  return static_cast<int>(trial.step) == trial.candidate.pipeline_size() && trial.step > 0;
}

// A trial that has work left.
Result<> LoadActive(Store& store, const TrialKey& key, ActiveStudy& study) {
  TRY_ASSIGN(auto record, store.FindTrial(key));
  CHECK_THAT(record.has_value());
  ActiveTrial active;
  active.kind = record->final_state == FinalState::kWanted ? AttemptKind::kFinal : AttemptKind::kMeasure;
  TRY_ASSIGN(const auto ended, store.EndedMeasures(key, active.kind));
  for (const auto& one : ended) active.history.Add(one.worker, one.outcome);
  if (key.trial == 0 && IsBuilt(*record)) study.baseline_model = record->model;
  active.record = std::move(*record);
  study.active.emplace(key.trial, std::move(active));
  return {};
}

// A search without groups of layers has nothing to settle.
Result<> LoadTable(Store& store, const ActiveJob& job, ActiveStudy& study) {
  const std::string& settled = study.record.sensitivity;
  study.table_settled = !settled.empty() || study.TablePlan(job.record).steps.empty();
  if (settled.empty() || settled == kNoTable) return {};
  TRY_ASSIGN(const auto build, store.FindBuild(settled));
  CHECK_THAT(build.has_value() && build->sensitivity.has_value());
  study.TakeHints(job.record, *build);
  return {};
}

Result<> LoadTrials(Store& store, const ActiveJob& job, ActiveStudy& study) {
  TRY_ASSIGN(study.measured, MeasuredOf(store, study.record.job, study.record.study));
  while (true) {
    TRY_ASSIGN(const auto rows, store.TrialOutlines(study.record.job, study.record.study, study.trials, kRowsPerQuery));
    for (const TrialRecord& row : rows) {
      ++study.trials;
      const bool is_baseline = row.key.trial == 0;
      const bool is_over = IsOver(row.state);
      if (is_baseline && is_over) study.baseline = row.state;
      if (!is_baseline) {
        if (is_over) study.machine_ms += row.wall_ms;
        study.observations.push_back(ObservationOf(job, study, row));
        if (row.state == proto::TRIAL_COMPLETE)
          study.finals.emplace_hint(study.finals.end(), row.key.trial, row.final_state);
      }
      if (!is_over || row.final_state == FinalState::kWanted) TRY(LoadActive(store, row.key, study));
    }
    if (rows.size() < kRowsPerQuery) break;
  }
  if (!study.baseline) return {};
  TRY_ASSIGN(const auto baseline, store.FindTrial({study.record.job, study.record.study, 0}));
  if (baseline) study.baseline_reason = baseline->reason;
  if (baseline && IsBuilt(*baseline)) study.baseline_model = baseline->model;
  return {};
}

}  // namespace

void AttemptHistory::Add(const std::string& worker, Outcome outcome) {
  if (hone::IsBlamed(outcome)) {
    blamed.push_back(worker);
  } else if (outcome == Outcome::kWorkerLost || outcome == Outcome::kReturned) {
    ++unblamed;
  }
}

bool AttemptHistory::IsBlamed(const std::string& worker) const {
  return std::find(blamed.begin(), blamed.end(), worker) != blamed.end();
}

bool AttemptHistory::GivenUp(const CoordinatorOptions& options, size_t workers) const {
  const size_t different = std::set<std::string>(blamed.begin(), blamed.end()).size();
  const uint32_t limit = workers <= 1 ? options.blamed_attempts_alone : options.blamed_attempts;
  return different >= options.blamed_workers || blamed.size() >= limit || unblamed >= options.unblamed_attempts;
}

StudyView ActiveStudy::View() const {
  StudyView view;
  view.space = &*space;
  view.observations = &observations;
  view.replaced = &replaced;
  view.seed = record.seed;
  // The job has at most CoordinatorOptions::targets studies; 0 would say nothing.
  view.lineage = (record.job << 16) + record.study + 1;
  view.budget = record.budget;
  view.races = reserve > 0;
  view.hints = hints.empty() ? nullptr : &hints;
  return view;
}

SensitivityPlan ActiveStudy::TablePlan(const JobRecord& job) const {
  return HoldsAll(record) ? SensitivityPlan() : SensitivityPlanOf(*space, job.recipe.search());
}

void ActiveStudy::TakeHints(const JobRecord& job, const BuildRecord& build) {
  if (build.sensitivity) hints = HintsOf(TablePlan(job), *build.sensitivity, ObjectivesOf(job.recipe).front().metric());
  if (build.requester.job == job.id) machine_ms += build.wall_ms;
}

const Measured* ActiveStudy::BaselineMeasured() const {
  const auto found = measured.find(0);
  return found == measured.end() ? nullptr : &found->second;
}

std::vector<Contender> ActiveStudy::Contenders() const {
  std::vector<Contender> contenders;
  for (const auto& [trial, final_state] : finals) {
    const auto found = measured.find(trial);
    if (final_state == FinalState::kFailed || found == measured.end()) continue;
    contenders.push_back({trial, found->second, final_state == FinalState::kDone});
  }
  return contenders;
}

Result<ActiveJob> LoadJob(Store& store, uint64_t id, int64_t now_ms) {
  TRY_ASSIGN(auto found, store.FindJob(id));
  if (!found) return Fail(ErrorCode::kNotFound, fmt::format("there is no job {}", id));
  ActiveJob job;
  job.record = std::move(*found);
  job.objectives = ObjectivesOf(job.record.recipe);
  job.calibration_digest = DataDigest(job.record.calibration);
  job.resumed_ms = job.saved_ms = now_ms;
  TRY_ASSIGN(auto studies, store.Studies(id));
  for (StudyRecord& record : studies) {
    ActiveStudy& study = job.studies[record.study];
    study.record = std::move(record);
    if (study.record.phase == StudyPhase::kDone) continue;
    SpaceInputs inputs;
    inputs.model_format = job.record.model.format();
    inputs.has_calibration = job.record.calibration.has_value();
    inputs.has_evaluation = job.record.evaluation.has_value();
    inputs.tags = study.record.tags;
    TRY_ASSIGN(Space space, Space::Build(job.record.recipe, study.record.catalogue, inputs));
    study.space.emplace(std::move(space));
    TRY_ASSIGN(study.sampler, MakeSampler(job.record.recipe.search()));
    study.reserve = ReserveOf(job.record.recipe.search(), study.record);
    TRY(LoadTable(store, job, study));
    TRY(LoadTrials(store, job, study));
  }
  return job;
}

Observation ObservationOf(const ActiveJob& job, const ActiveStudy& study, const TrialRecord& trial) {
  Observation observation;
  observation.trial = trial.key.trial;
  observation.state = trial.state;
  if (auto assignment = study.space->FromCandidate(trial.candidate)) observation.assignment = std::move(*assignment);
  const auto found = study.measured.find(trial.key.trial);
  const bool is_measured = found != study.measured.end();
  const bool has_figures = trial.state == proto::TRIAL_COMPLETE || trial.state == proto::TRIAL_INFEASIBLE;
  if (is_measured && has_figures) observation.constraints = Excesses(job.record.recipe, found->second);
  if (trial.state == proto::TRIAL_COMPLETE && is_measured) {
    auto values = ObjectiveValues(job.objectives, found->second, study.BaselineMeasured());
    if (values) observation.values = std::move(*values);
  } else if (trial.state == proto::TRIAL_INFEASIBLE) {
    observation.violation = is_measured ? Violation(job.record.recipe, found->second) : 0;
    // A worker may call a candidate infeasible for a reason that is no metric's excess; its figures would say that all
    // is well.
    if (!(observation.violation > 0)) {
      observation.violation = 1;
      observation.constraints.clear();
    }
  } else if (trial.state == proto::TRIAL_FAILED || trial.state == proto::TRIAL_PRUNED) {
    observation.violation = std::numeric_limits<double>::infinity();
  }
  return observation;
}

uint64_t ReserveOf(const proto::Search& search, const StudyRecord& study) {
  return TakesHints(search) && !HoldsAll(study) ? RaceReserve(study.budget) : 0;
}

const proto::PassInfo* FindPass(const proto::Catalogue& catalogue, const std::string& name) {
  for (const auto& pass : catalogue.passes()) {
    if (pass.name() == name) return &pass;
  }
  return nullptr;
}

const proto::PassInfo* StatisticsPass(const JobRecord& job, const proto::Catalogue& catalogue,
                                      const proto::PassInfo& pass, const proto::Bundle& input) {
  if (!pass.uses_statistics() || !job.calibration) return nullptr;
  const proto::PassInfo* calibrate = FindPass(catalogue, "calibrate");
  if (calibrate == nullptr) return nullptr;
  const auto& accepts = calibrate->accepts();
  return std::find(accepts.begin(), accepts.end(), input.format()) != accepts.end() ? calibrate : nullptr;
}

const proto::BackendInfo* ReferenceBackend(const proto::Catalogue& catalogue, const std::string& format) {
  const proto::BackendInfo* reference = nullptr;
  const proto::BackendInfo* loads = nullptr;
  for (const auto& backend : catalogue.backends()) {
    if (backend.reference()) reference = &backend;
    if (Loads(backend, format) && (loads == nullptr || backend.reference())) loads = &backend;
  }
  return reference != nullptr && loads != nullptr ? loads : reference;
}

const std::string& BaselineBackend(const ActiveJob& job, const ActiveStudy& study) {
  return job.record.baseline ? job.record.baseline->backend()
                             : ReferenceBackend(study.record.catalogue, job.record.model.format())->name();
}

Result<std::vector<proto::PassStep>> BaselinePipeline(const proto::Recipe& recipe, const proto::Catalogue& catalogue,
                                                      const std::string& format) {
  const auto& backends = catalogue.backends();
  const auto loads = [&](const std::string& name) {
    return std::any_of(backends.begin(), backends.end(), [&](const auto& one) { return Loads(one, name); });
  };
  if (format.empty() || loads(format)) return std::vector<proto::PassStep>();
  for (const auto& stage : recipe.passes()) {
    for (const auto& option : stage.options()) {
      const proto::PassInfo* pass = FindPass(catalogue, option.pass());
      const bool serves = pass != nullptr && Holds(pass->accepts(), format) && loads(pass->produces());
      if (serves) return std::vector<proto::PassStep>{ExactStep(*pass)};
    }
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("no backend loads {} models, and no pass of the recipe makes one that can be loaded", format),
              "Name such a pass in the recipe (build_decoder for language models, build_encoder for encoders), or "
              "convert the model first.");
}

proto::PinnedBaseline BaselineOf(const ActiveJob& job, const ActiveStudy& study) {
  if (job.record.baseline) return *job.record.baseline;
  proto::PinnedBaseline baseline;
  *baseline.mutable_model() = study.baseline_model ? *study.baseline_model : job.record.model;
  baseline.set_backend(BaselineBackend(job, study));
  return baseline;
}

uint64_t StudySeed(uint64_t job_seed, uint32_t study) {
  // splitmix64 (Steele, Lea, Flood 2014), so that studies of one job search independently.
  uint64_t state = job_seed + 0x9e3779b97f4a7c15ULL * (uint64_t{study} + 1);
  state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
  state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
  return state ^ (state >> 31);
}

}  // namespace hone
