// What a study knows of its groups of layers before it searches: the sensitivity table. It is a build without an
// artifact: one row of the builds, found again under a key of its content, leased, reported and lost as builds are, in
// any job. What came of it stands in the study's row before its first trial, so that a restarted coordinator proposes
// as this one did. A table that cannot be had is told, and the search goes on without it.
#include <fmt/format.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/measurement.h"
#include "coordinator/report_text.h"
#include "coordinator/scheduler.h"

namespace hone {
namespace {

constexpr const char* kTablePass = "sensitivity";
// Accuracy alone, and only to tell groups apart. With 16 samples, 12 groups of layers and the whole take fewer
// inferences for each precision than a trial's evaluation with 256.
constexpr uint64_t kTableSamples = 16;
// Of a search's time a table may take so much.
constexpr uint64_t kTableTimePart = 4;
constexpr uint64_t kTableTimeoutMs = 5 * 60 * 1000;
constexpr int kMostTableNotes = 20;

TrialKey TableOwner(const ActiveStudy& study) { return {study.record.job, study.record.study, 0}; }

// nullopt where the job has nothing to measure with.
std::optional<proto::SensitivityWork> TableWorkOf(const ActiveJob& job, const ActiveStudy& study,
                                                  const SensitivityPlan& plan) {
  const JobRecord& record = job.record;
  const std::optional<proto::Data>& data = record.evaluation ? record.evaluation : record.calibration;
  if (!data || record.model.format() != "onnx") return std::nullopt;
  proto::SensitivityWork work;
  *work.mutable_model() = record.model;
  *work.mutable_inputs() = record.recipe.inputs();
  *work.mutable_evaluation() = *data;
  *work.mutable_accuracy() = record.recipe.accuracy();
  work.mutable_accuracy()->clear_position();
  work.set_seed(record.recipe.search().seed());
  work.set_samples(kTableSamples);
  for (const proto::PassStep& step : plan.steps) {
    *work.add_steps() = step;
    const proto::PassInfo* pass = FindPass(study.record.catalogue, step.pass());
    const bool reads = pass != nullptr && (pass->needs_calibration() || pass->takes_calibration());
    if (reads && record.calibration) *work.mutable_calibration() = *record.calibration;
  }
  return work;
}

// Of what the table depends on. Times are the target's, so its tags belong to it.
std::string TableKeyOf(const ActiveStudy& study, proto::SensitivityWork work) {
  std::string text =
      fmt::format("{}\n{}\n{}\n{}\n", BundleId(work.model()), DataDigest(work.evaluation()),
                  work.has_calibration() ? DataDigest(work.calibration()) : "", Join(study.record.tags, ","));
  for (const proto::PassStep& step : work.steps()) {
    const proto::PassInfo* pass = FindPass(study.record.catalogue, step.pass());
    text += fmt::format("{} {}\n", step.pass(), pass == nullptr ? 0 : pass->version());
  }
  work.clear_model();
  work.clear_evaluation();
  work.clear_calibration();
  return kTablePrefix + DigestOf(text + work.SerializeAsString());
}

}  // namespace

Result<> Scheduler::ResolveTable(ActiveJob& job, ActiveStudy& study) {
  if (study.table_settled || !study.table.empty()) return {};
  const SensitivityPlan plan = study.TablePlan(job.record);
  // A search that was begun without it goes on without it.
  if (study.trials > 1) return SettleTable(study, kNoTable);
  const auto work = TableWorkOf(job, study, plan);
  if (!work) return LeaveTable(study, "the job has no data to measure it with, or no onnx model");
  const std::string key = TableKeyOf(study, *work);
  TRY_ASSIGN(const auto known, store_.FindBuild(key));
  if (known && known->state == BuildState::kDone) return TakeTable(job, study, *known);
  if (known && known->state == BuildState::kFailed && known->requester.job == job.record.id)
    return LeaveTable(study, known->error);
  return WaitForTable(job, study, key, *work);
}

Result<> Scheduler::WaitForTable(ActiveJob& job, ActiveStudy& study, const std::string& key,
                                 const proto::SensitivityWork& work) {
  const proto::PassStep& step = work.steps(0);
  ActiveBuild& build = builds_[key];
  const bool is_new = build.key.empty();
  if (build.waiting.empty()) {
    build.key = key;
    build.step = step;
    build.version = FindPass(study.record.catalogue, step.pass())->version();
    build.input = work.model();
    build.table = work;
    TRY_ASSIGN(const auto ended, store_.EndedBuilds(key, job.record.id));
    for (const auto& one : ended) build.history.Add(one.worker, one.outcome);
  }
  if (is_new) {
    build.requester = TableOwner(study);
    BuildRecord record;
    record.key = key;
    record.pass = kTablePass;
    record.version = build.version;
    record.parameters = CanonicalParameters(step.parameters());
    record.input_id = BundleId(build.input);
    record.requester = build.requester;
    TRY(store_.SaveBuild(record));
  }
  build.waiting.insert(TableOwner(study));
  study.table = key;
  return {};
}

Result<> Scheduler::TakeTable(ActiveJob& job, ActiveStudy& study, const BuildRecord& build) {
  study.TakeHints(job.record, build);
  if (build.requester.job != job.record.id) {
    TRY(Event(TableOwner(study), "sensitivity.reused",
              fmt::format("the sensitivity of {} groups of layers was measured before, by {}",
                          build.sensitivity->group_size(), build.worker)));
  }
  return SettleTable(study, build.key);
}

Result<> Scheduler::LeaveTable(ActiveStudy& study, const std::string& why) {
  TRY(Event(TableOwner(study), "sensitivity.none",
            fmt::format("the search goes on without a sensitivity table: {}", why)));
  return SettleTable(study, kNoTable);
}

Result<> Scheduler::SettleTable(ActiveStudy& study, const std::string& what) {
  study.table_settled = true;
  study.record.sensitivity = what;
  return store_.UpdateStudy(study.record);
}

void Scheduler::ForgetTable(ActiveStudy& study) {
  const auto build = builds_.find(study.table);
  if (build != builds_.end()) build->second.waiting.erase(TableOwner(study));
  study.table.clear();
}

const ActiveBuild* Scheduler::PendingTable(const ActiveStudy& study) const {
  const auto build = builds_.find(study.table);
  return build != builds_.end() && build->second.lease == 0 ? &build->second : nullptr;
}

uint64_t Scheduler::TableTimeoutMs(const proto::Recipe& recipe) const {
  const uint64_t timeout =
      recipe.measure().trial_timeout_ms() != 0 ? recipe.measure().trial_timeout_ms() : options_.trial_timeout_ms;
  const uint64_t time = recipe.search().time_ms();
  return std::min(
      {timeout, kTableTimeoutMs, time == 0 ? kTableTimeoutMs : std::max<uint64_t>(1, time / kTableTimePart)});
}

// One try is all it gets, but for what is the worker's own end.
Result<> Scheduler::EndTable(BuildRecord& build, const AttemptRecord& attempt, Outcome outcome,
                             const proto::Report& report) {
  const auto active = builds_.find(build.key);
  if (outcome != Outcome::kDone) {
    const std::string last = EndText(outcome, report);
    TRY_ASSIGN(const auto ended, store_.EndedBuilds(build.key, attempt.trial.job));
    AttemptHistory history;
    for (const auto& one : ended) history.Add(one.worker, one.outcome);
    const bool is_lost =
        outcome != Outcome::kFailed && history.blamed.empty() && history.unblamed < options_.unblamed_attempts;
    if (is_lost) {
      if (active != builds_.end()) active->second.history = std::move(history);
      return Requeued(attempt, outcome, fmt::format("sensitivity on {}: {}", attempt.worker, last));
    }
    build.state = BuildState::kFailed;
    build.error = last;
    build.lasting = false;
    build.requester.job = attempt.trial.job;
  } else {
    build.state = BuildState::kDone;
    build.error.clear();
    build.sensitivity = report.result().sensitivity();
    build.notes.clear();
    for (int i = 0; i < build.sensitivity->notes_size() && i < kMostTableNotes; ++i)
      build.notes.push_back(Printable(build.sensitivity->notes(i), 500));
    build.sensitivity->clear_notes();
    TRY(Event(attempt.trial, "sensitivity.done",
              fmt::format("sensitivity of {} groups of layers measured in {} ({} inferences) by {}",
                          build.sensitivity->group_size(), HumanDuration(static_cast<int64_t>(report.wall_ms())),
                          build.sensitivity->inferences(), attempt.worker)));
  }
  build.worker = attempt.worker;
  build.wall_ms = report.wall_ms();
  build.peak_memory_bytes = std::min<uint64_t>(report.peak_memory_bytes(), INT64_MAX);
  build.ended_unix_ms = clock_.UnixMs();
  TRY(store_.SaveBuild(build));
  return ReleaseWaiting(build.key);
}

}  // namespace hone
