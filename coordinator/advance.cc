// How studies move on. Trials are asked for lazily: as many are under way as the study's workers can take plus a small
// look-ahead, and with a single worker exactly one, so that the proposals of a sequential sampler depend on the results
// alone and a restarted search goes on with the same ones.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/report_text.h"
#include "coordinator/scheduler.h"

namespace hone {
namespace {

// Trials whose builds are known to fail end as soon as they are made; the loop must come back to its messages in
// between.
constexpr int kTrialsPerAdvance = 64;
// Limits of time, stalls and saved clocks are looked at this often.
constexpr int64_t kAdvanceAllMs = 250;
constexpr size_t kTouchedAtOnce = 64;

// Ended trials since the first objective was last improved upon, in the order of their numbers.
uint64_t TrialsWithoutImprovement(const std::vector<Observation>& observations) {
  double best = std::numeric_limits<double>::infinity();
  uint64_t since = 0;
  for (const Observation& trial : observations) {
    if (trial.state == proto::TRIAL_WAITING || trial.state == proto::TRIAL_RUNNING) continue;
    ++since;
    if (trial.state != proto::TRIAL_COMPLETE || trial.values.empty() || !(trial.values.front() < best)) continue;
    best = trial.values.front();
    since = 0;
  }
  return since;
}

std::string StudyText(const StudyRecord& study) {
  return fmt::format("study {} [{}]", study.study, Join(study.tags, ", "));
}

}  // namespace

Result<> Scheduler::Advance() {
  for (const auto& [id, why] : broken_) {
    const std::string error = "cannot be continued by this version: " + why;
    TRY(store_.EndJob(id, proto::JOB_FAILED, error, clock_.UnixMs(), 0));
    TRY(Event({id, 0, 0}, "job.failed", fmt::format("job {} {}", id, error)));
  }
  broken_.clear();
  TouchAll();
  // What is touched meanwhile is for the next round.
  for (const uint64_t id : std::exchange(touched_, {})) {
    if (ActiveJob* job = FindJob(id); job != nullptr) TRY(AdvanceJob(*job));
  }
  return CloseOrphans();
}

// A few jobs a round, the rest in the rounds that follow at once: with thousands of jobs, messages are served in
// between.
void Scheduler::TouchAll() {
  const int64_t now = clock_.SteadyMs();
  if (fleet_seen_ != fleet_.generation() || (!next_touched_ && now - advanced_all_ms_ >= kAdvanceAllMs)) {
    fleet_seen_ = fleet_.generation();
    advanced_all_ms_ = now;
    next_touched_ = 0;
  }
  if (!next_touched_) return;
  auto job = jobs_.lower_bound(*next_touched_);
  for (size_t i = 0; i < kTouchedAtOnce && job != jobs_.end(); ++i, ++job) touched_.insert(job->first);
  next_touched_ = job == jobs_.end() ? std::nullopt : std::optional(job->first);
}

void Scheduler::CountPending(ActiveJob& job) {
  size_t pending = 0;
  for (const auto& [number, study] : job.studies) {
    for (const auto& [trial_number, trial] : study.active) pending += IsPending(trial) ? 1 : 0;
    pending += PendingTable(study) != nullptr ? 1 : 0;
  }
  pending_ += pending - job.pending;
  job.pending = pending;
}

bool Scheduler::MayPropose(const ActiveJob& job, const ActiveStudy& study) const {
  const size_t slots = Slots(study);
  if (study.active.size() >= (slots <= 1 ? slots : 2 * slots)) return false;
  // Look-ahead is for the fleet as a whole: thousands of jobs shall not each hold proposals for all workers.
  if (pending_ - job.pending < 2 * slots) return true;
  return std::none_of(study.active.begin(), study.active.end(),
                      [&](const auto& entry) { return IsPending(entry.second); });
}

// Attempts that were open when the coordinator started and whose trial has no use for them any more.
Result<> Scheduler::CloseOrphans() {
  for (const auto& [key, build] : builds_) {
    if (build.waiting.empty() && build.lease != 0) orphans_.push_back(build.lease);
  }
  std::erase_if(builds_, [](const auto& entry) { return entry.second.waiting.empty(); });
  for (const uint64_t lease : orphans_) {
    TRY(store_.CloseAttempt(lease, {.outcome = Outcome::kCancelled, .error = "nobody waits for it"}, clock_.UnixMs()));
    leases_.Close(lease);
  }
  orphans_.clear();
  return {};
}

Result<> Scheduler::AdvanceJob(ActiveJob& job) {
  const int64_t now = clock_.SteadyMs();
  if (now - job.saved_ms >= options_.elapsed_save_ms) {
    job.saved_ms = now;
    TRY(store_.SaveElapsed(job.record.id, job.ElapsedMs(now)));
  }
  bool done = true;
  for (auto& [number, study] : job.studies) {
    if (study.record.phase != StudyPhase::kDone) TRY(AdvanceStudy(job, study));
    done = done && study.record.phase == StudyPhase::kDone;
  }
  CountPending(job);
  return done ? EndJob(job) : Result<>{};
}

Result<> Scheduler::AdvanceStudy(ActiveJob& job, ActiveStudy& study) {
  if (study.trials == 0) {
    const proto::PinnedBaseline baseline = BaselineOf(job, study);
    proto::Candidate candidate;
    candidate.set_backend(baseline.backend());
    *candidate.mutable_settings() = baseline.settings();
    if (!job.record.baseline) {
      TRY_ASSIGN(const auto steps,
                 BaselinePipeline(job.record.recipe, study.record.catalogue, baseline.model().format()));
      candidate.mutable_pipeline()->Add(steps.begin(), steps.end());
    }
    TRY(CreateTrial(job, study, std::move(candidate)));
  }
  if (study.record.phase == StudyPhase::kSearching) TRY(ResolveTable(job, study));
  std::vector<uint64_t> numbers;
  for (const auto& [number, trial] : study.active) numbers.push_back(number);
  for (const uint64_t number : numbers) TRY(ResolveBuilds(job, study, study.active.at(number)));
  if (study.baseline && *study.baseline != proto::TRIAL_COMPLETE) {
    return EndStudy(job, study, "the baseline could not be measured: " + study.baseline_reason);
  }
  const bool may_search = study.baseline && (study.table_settled || !SpentBy(job, study).empty());
  if (may_search && study.record.phase == StudyPhase::kSearching) TRY(Search(job, study));
  if (study.record.phase == StudyPhase::kFinalists) {
    TRY(ChooseFinalists(job, study));
    if (study.active.empty()) return EndStudy(job, study, study.record.error);
  }
  return NoticeStall(job, study);
}

Result<> Scheduler::Search(ActiveJob& job, ActiveStudy& study) {
  int created = 0;
  std::string spent = SpentBy(job, study);
  while (spent.empty() && MayPropose(job, study)) {
    if (++created > kTrialsPerAdvance) {
      touched_.insert(job.record.id);
      return {};
    }
    TRY_ASSIGN(auto warm, WarmProposal(study));
    auto asked = warm ? Result<std::optional<Assignment>>(std::move(warm))
                      : study.sampler->Ask(study.View(), study.observations.size() + 1);
    if (!asked) {
      study.record.error = "the sampler gave up: " + asked.error().message;
      TRY(store_.UpdateStudy(study.record));
      study.nothing_left = true;
    } else if (!*asked) {
      study.nothing_left = true;
    } else {
      TRY(CreateTrial(job, study, study.space->ToCandidate(**asked)));
    }
    spent = SpentBy(job, study);
  }
  if (spent.empty() || !study.active.empty()) return {};
  study.record.ended_by = spent;
  return EnterFinalists(job, study);
}

std::string Scheduler::SpentBy(const ActiveJob& job, const ActiveStudy& study) const {
  const proto::Search& search = job.record.recipe.search();
  if (study.record.budget != 0 && study.observations.size() >= study.record.budget - study.reserve) return "trials";
  if (search.time_ms() != 0 && job.ElapsedMs(clock_.SteadyMs()) >= static_cast<int64_t>(search.time_ms()))
    return "time";
  if (search.machine_time_ms() != 0 && study.machine_ms >= search.machine_time_ms()) return "machine_time";
  const auto reaches = [&](const auto& entry) {
    const bool feasible = entry.first > 0 && study.observations.at(entry.first - 1).state == proto::TRIAL_COMPLETE;
    return feasible && Reaches(search.goal(), entry.second);
  };
  if (!search.goal().empty() && std::any_of(study.measured.begin(), study.measured.end(), reaches)) return "goal";
  if (search.patience() != 0 && TrialsWithoutImprovement(study.observations) >= search.patience()) return "patience";
  return study.nothing_left ? "space" : "";
}

Result<> Scheduler::CreateTrial(ActiveJob& job, ActiveStudy& study, proto::Candidate candidate) {
  ActiveTrial trial;
  trial.record.key = {job.record.id, study.record.study, study.trials};
  trial.record.candidate = std::move(candidate);
  trial.record.model = study.trials == 0 ? BaselineOf(job, study).model() : job.record.model;
  trial.record.created_unix_ms = clock_.UnixMs();
  TRY(store_.InsertTrial(trial.record));
  if (study.trials > 0) study.observations.push_back(ObservationOf(job, study, trial.record));
  const uint64_t number = study.trials++;
  ActiveTrial& active = study.active.emplace(number, std::move(trial)).first->second;
  return ResolveBuilds(job, study, active);
}

Result<> Scheduler::ResolveBuilds(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial) {
  const uint64_t number = trial.record.key.trial;
  while (trial.build.empty() && static_cast<int>(trial.record.step) < trial.record.candidate.pipeline_size()) {
    TRY_ASSIGN(const bool resolved, ResolveStep(job, study, trial));
    // A step that cannot be built ends the trial.
    if (!resolved || study.active.count(number) == 0) return {};
  }
  if (trial.build.empty() && trial.lease == 0) TRY(TakeMeasured(job, study, trial));
  return {};
}

Result<bool> Scheduler::ResolveStep(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial) {
  const proto::PassStep& step = trial.record.candidate.pipeline(static_cast<int>(trial.record.step));
  const uint64_t number = trial.record.key.trial;
  const proto::PassInfo* pass = FindPass(study.record.catalogue, step.pass());
  if (pass == nullptr) {
    TRY(EndTrial(job, study, number, proto::TRIAL_FAILED, fmt::format("no worker offered the pass {}", step.pass())));
    return true;
  }
  proto::Bundle input = trial.record.model;
  if (const proto::PassInfo* calibrate = StatisticsPass(job.record, study.record.catalogue, *pass, input);
      calibrate != nullptr) {
    proto::PassStep statistics;
    statistics.set_pass(calibrate->name());
    TRY_ASSIGN(const auto built, Built(job, study, trial, *calibrate, statistics, input));
    if (!built) return study.active.count(number) == 0;
    input = built->output;
  }
  TRY_ASSIGN(const auto built, Built(job, study, trial, *pass, step, input));
  if (!built) return study.active.count(number) == 0;
  TRY(TakeBuilt(study, trial, *built));
  return true;
}

// The build of a step on a model. nullopt: the trial waits for it, or has ended because it cannot be built.
Result<std::optional<BuildRecord>> Scheduler::Built(ActiveJob& job, ActiveStudy& study, ActiveTrial& trial,
                                                    const proto::PassInfo& pass, const proto::PassStep& step,
                                                    const proto::Bundle& input) {
  const proto::Recipe& recipe = job.record.recipe;
  const std::string key =
      BuildKey(pass, BundleId(input), step, recipe.inputs(), job.calibration_digest, recipe.search().seed());
  TRY_ASSIGN(auto known, store_.FindBuild(key));
  if (known && known->state == BuildState::kDone && HasFiles(known->output)) return known;
  // Another job may have had less time or memory; only what any worker would repeat is taken from it.
  if (known && known->state == BuildState::kFailed && (known->lasting || known->requester.job == job.record.id)) {
    TRY(EndTrial(job, study, trial.record.key.trial, proto::TRIAL_FAILED,
                 fmt::format("{}: {}", pass.name(), known->error)));
  } else {
    TRY(WaitForBuild(job, trial, key, pass, step, input));
  }
  return std::optional<BuildRecord>();
}

Result<> Scheduler::TakeBuilt(ActiveStudy& study, ActiveTrial& trial, const BuildRecord& build) {
  const bool own = build.requester == trial.record.key && build.step == trial.record.step;
  if (!own) {
    ++study.record.builds_reused;
    TRY(store_.UpdateStudy(study.record));
    TRY(Event(trial.record.key, "build.reused",
              fmt::format("trial {}: {} is there already", trial.record.key.trial, build.pass)));
  }
  trial.record.model = build.output;
  ++trial.record.step;
  const bool is_built = static_cast<int>(trial.record.step) == trial.record.candidate.pipeline_size();
  if (trial.record.key.trial == 0 && is_built) study.baseline_model = build.output;
  for (const auto& note : build.notes) trial.record.notes.push_back(build.pass + ": " + note);
  return store_.UpdateTrial(trial.record);
}

Result<> Scheduler::WaitForBuild(ActiveJob& job, ActiveTrial& trial, const std::string& key,
                                 const proto::PassInfo& pass, const proto::PassStep& step, const proto::Bundle& input) {
  const TrialKey& own = trial.record.key;
  ActiveBuild& build = builds_[key];
  if (build.key.empty()) {
    build.key = key;
    build.requester = own;
    BuildRecord record;
    record.key = key;
    record.pass = pass.name();
    record.version = pass.version();
    record.parameters = CanonicalParameters(step.parameters());
    record.input_id = BundleId(input);
    record.requester = own;
    record.step = trial.record.step;
    TRY(store_.SaveBuild(record));
  }
  if (build.waiting.empty()) {
    build.step = step;
    build.version = pass.version();
    build.input = input;
    TRY_ASSIGN(const auto ended, store_.EndedBuilds(key, job.record.id));
    for (const auto& one : ended) build.history.Add(one.worker, one.outcome);
    AskForBuild(build);
  }
  build.waiting.insert(own);
  trial.build = key;
  return SetTrialState(trial, build.lease != 0 ? proto::TRIAL_RUNNING : proto::TRIAL_WAITING);
}

Result<> Scheduler::EnterFinalists(ActiveJob& job, ActiveStudy& study) {
  study.record.phase = StudyPhase::kFinalists;
  TRY(store_.UpdateStudy(study.record));
  const proto::Measure& measure = job.record.recipe.measure();
  const size_t finalists = measure.finalists() != 0 ? measure.finalists() : options_.finalists;
  const size_t count = std::min(finalists, study.Contenders().size());
  if (count == 0) return {};
  return Event({job.record.id, study.record.study, 0}, "study.finalists",
               fmt::format("{}: {} trials searched, the best {} are measured again", StudyText(study.record),
                           study.observations.size(), count));
}

// The best few by what the first look said. One whose second measurement fails is replaced by the next, at most as
// often as there are finalists. Where the search left a part of its budget to it, the race goes on (NextRacers).
Result<> Scheduler::ChooseFinalists(ActiveJob& job, ActiveStudy& study) {
  const proto::Measure& measure = job.record.recipe.measure();
  const size_t finalists = measure.finalists() != 0 ? measure.finalists() : options_.finalists;
  while (true) {
    size_t chosen = 0, failed = 0;
    for (const auto& [trial, state] : study.finals) {
      chosen += state == FinalState::kWanted || state == FinalState::kDone ? 1 : 0;
      failed += state == FinalState::kFailed ? 1 : 0;
    }
    for (const uint64_t number : Ranked(job.objectives, study.Contenders(), study.BaselineMeasured())) {
      if (chosen >= finalists || chosen + failed >= 2 * finalists) break;
      if (study.finals.at(number) != FinalState::kNone) continue;
      TRY(MeasureAgain(job, study, number));
      ++chosen;
    }
    if (!study.active.empty() || chosen < finalists || chosen + failed >= finalists + study.reserve) return {};
    const auto racers = NextRacers(job, study, finalists + study.reserve - chosen - failed);
    if (racers.empty()) return {};
    for (const uint64_t number : racers) TRY(MeasureAgain(job, study, number));
  }
}

// Those that the first look leaves a chance to be better than the best so far: the interval of what it saw reaches
// beyond that. The likeliest first, one for each worker, so that the next ones have a higher bar to pass.
std::vector<uint64_t> Scheduler::NextRacers(const ActiveJob& job, const ActiveStudy& study, size_t most) const {
  const Measured* baseline = study.BaselineMeasured();
  const std::vector<Contender> contenders = study.Contenders();
  const proto::Objective& objective = job.objectives.front();
  const auto best = Best(job.objectives, contenders, baseline);
  const auto bar = best ? ObjectiveValue(objective, study.measured.at(*best), baseline) : std::nullopt;
  std::vector<uint64_t> racers;
  for (const uint64_t number : Ranked(job.objectives, contenders, baseline)) {
    if (!bar || racers.size() >= std::min(most, std::max<size_t>(1, Slots(study)))) break;
    const auto least = OptimisticValue(objective, study.measured.at(number), baseline);
    if (study.finals.at(number) == FinalState::kNone && least && *least < *bar) racers.push_back(number);
  }
  return racers;
}

Result<> Scheduler::MeasureAgain(ActiveJob& job, ActiveStudy& study, uint64_t number) {
  const proto::Measure& measure = job.record.recipe.measure();
  const uint32_t pairs = measure.final_pairs() != 0 ? measure.final_pairs() : options_.final_pairs;
  TRY_ASSIGN(auto record, store_.FindTrial({job.record.id, study.record.study, number}));
  CHECK_THAT(record.has_value());
  // The first look may have had as many pairs already.
  record->final_state = record->pairs >= pairs ? FinalState::kDone : FinalState::kWanted;
  TRY(store_.UpdateTrial(*record));
  study.finals[number] = record->final_state;
  if (record->final_state == FinalState::kDone) return {};
  ActiveTrial trial;
  trial.kind = AttemptKind::kFinal;
  trial.record = std::move(*record);
  ActiveTrial& active = study.active.emplace(number, std::move(trial)).first->second;
  TRY(TakeMeasured(job, study, active));
  return {};
}

Result<> Scheduler::EndStudy(ActiveJob& job, ActiveStudy& study, const std::string& error) {
  ForgetTable(study);
  study.record.phase = StudyPhase::kDone;
  study.record.error = error;
  study.record.best = Best(job.objectives, study.Contenders(), study.BaselineMeasured());
  TRY(store_.UpdateStudy(study.record));
  const TrialKey about{job.record.id, study.record.study, study.record.best.value_or(0)};
  if (!error.empty()) return Event(about, "study.failed", fmt::format("{} ended: {}", StudyText(study.record), error));
  if (!study.record.best)
    return Event(about, "study.done", fmt::format("{} done: nothing feasible was found", StudyText(study.record)));
  TRY_ASSIGN(const auto best, store_.FindTrial(about));
  CHECK_THAT(best.has_value());
  return Event(
      about, "study.done",
      fmt::format("{} done: the best is trial {}: {}: {}", StudyText(study.record), about.trial,
                  ResultText(job.record.recipe, study.measured.at(about.trial)), CandidateText(best->candidate)));
}

Result<> Scheduler::EndJob(ActiveJob& job) {
  const uint64_t id = job.record.id;
  std::vector<std::string> errors;
  size_t broken = 0, measured = 0, failed = 0;
  for (const auto& [number, study] : job.studies) {
    TRY_ASSIGN(const proto::Counts counts, store_.CountTrials(id, number));
    measured += counts.complete() + counts.infeasible();
    failed += counts.failed();
    if (study.record.error.empty()) continue;
    ++broken;
    errors.push_back(fmt::format("{}: {}", StudyText(study.record), study.record.error));
  }
  bool is_failed = measured == 0 && broken == job.studies.size();
  if (!is_failed && measured == 0 && failed > 0) {
    TRY_ASSIGN(const std::string reason, store_.FirstFailure(id));
    errors.push_back(fmt::format("all {} trials failed; the first: {}", failed, reason));
    is_failed = true;
  }
  const std::string error = Join(errors, "; ");
  const auto state = is_failed ? proto::JOB_FAILED : proto::JOB_COMPLETE;
  TRY(store_.EndJob(id, state, error, clock_.UnixMs(), job.ElapsedMs(clock_.SteadyMs())));
  const std::string why = error.empty() ? std::string() : ": " + error;
  TRY(Event({id, 0, 0}, fmt::format("job.{}", NameOf(state)), fmt::format("job {} {}{}", id, NameOf(state), why)));
  pending_ -= job.pending;
  jobs_.erase(id);
  return {};
}

Result<> Scheduler::NoticeStall(ActiveJob& job, ActiveStudy& study) {
  const auto is_leased = [&](const auto& entry) {
    const auto build = builds_.find(entry.second.build);
    return entry.second.lease != 0 || (build != builds_.end() && build->second.lease != 0);
  };
  const auto has_worker = [&](const auto& entry) {
    const auto build = builds_.find(entry.second.build);
    return LiveFor((build != builds_.end() ? BuildPiece(build->second) : MeasurePiece(job, study, entry.second)).need) >
           0;
  };
  const auto& active = study.active;
  const bool can_work = active.empty() ? Slots(study) > 0
                                       : std::any_of(active.begin(), active.end(), is_leased) ||
                                             std::any_of(active.begin(), active.end(), has_worker);
  if (can_work) {
    study.stalled_since_ms.reset();
    study.stall_told = false;
    return {};
  }
  const int64_t now = clock_.SteadyMs();
  if (!study.stalled_since_ms) study.stalled_since_ms = now;
  if (study.stall_told || now - *study.stalled_since_ms < options_.stall_ms) return {};
  study.stall_told = true;
  std::string what = "its trials";
  if (!study.active.empty()) {
    const auto& [number, trial] = *study.active.rbegin();
    what = fmt::format("{} of trial {}", Phase(trial.record.key), number);
  }
  const auto live = fleet_.Live();
  return Event({job.record.id, study.record.study, 0}, "study.waiting",
               fmt::format("{} waits: no live worker can do {} ({})", StudyText(study.record), what,
                           live.empty() ? "no worker is connected" : TagsText(live)));
}

size_t Scheduler::Slots(const ActiveStudy& study) const {
  if (study.slots_seen == fleet_.generation()) return study.slots;
  study.slots_seen = fleet_.generation();
  study.slots = 0;
  for (const Worker* worker : fleet_.Matching(study.record.tags))
    study.slots += worker->TakesWork() ? worker->record.slots : 0;
  return study.slots;
}

}  // namespace hone
