// Results of other coordinators (result_share.h). A trial that is to be measured, and a step that is to be built, is
// asked for first and held back until the answer is there, for a moment at most. An answer becomes an attempt of its
// own that ended well, by the same way and with the same checks as a worker's report; one that fails a check is as
// none. What this fleet measures and builds is offered once it is committed.
#include <fmt/format.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "coordinator/measurement.h"
#include "coordinator/report_text.h"
#include "coordinator/scheduler.h"

namespace hone {
namespace {

// Longer than a Redis beside needs, and too short to be felt in a trial.
constexpr int64_t kPatienceMs = 100;
// Kinds of machines that are asked for one by one.
constexpr size_t kFingerprintsAsked = 4;

std::string MeasureQuestion(const std::string& measure_key, const std::string& fingerprint, AttemptKind kind) {
  return fmt::format("measure:{}:{}:{}", measure_key, fingerprint, kind == AttemptKind::kFinal ? "final" : "first");
}
std::string BuildQuestion(const std::string& build) { return "build:" + build; }

}  // namespace

void Scheduler::AskForMeasurement(const ActiveJob& job, const ActiveStudy& study, ActiveTrial& trial,
                                  const std::set<std::string>& fingerprints) {
  if (share_ == nullptr) return;
  size_t asked = 0;
  for (const std::string& fingerprint : fingerprints) {
    if (fingerprint.empty() || asked++ == kFingerprintsAsked) continue;
    const std::string question = MeasureQuestion(MeasureKey(job, study, trial), fingerprint, trial.kind);
    const bool known = asked_.contains(question);
    if (!known && !share_->Ask(question)) return;
    Asked& entry = asked_[question];
    if (!known) entry.until_ms = clock_.SteadyMs() + kPatienceMs;
    entry.fingerprint = fingerprint;
    if (entry.trials.insert(trial.record.key).second) ++trial.questions;
  }
}

void Scheduler::AskForBuild(ActiveBuild& build) {
  const std::string question = BuildQuestion(build.key);
  if (share_ == nullptr || build.lease != 0 || asked_.contains(question) || !share_->Ask(question)) return;
  Asked& entry = asked_[question];
  entry.until_ms = clock_.SteadyMs() + kPatienceMs;
  entry.build = build.key;
  build.asked = true;
}

Result<> Scheduler::TakeShared() {
  if (share_ == nullptr) return {};
  for (const ResultShare::Answer& answer : share_->TakeAnswers()) {
    auto asked = asked_.extract(answer.key);
    // Nobody waits for it any more.
    if (asked.empty()) continue;
    Release(asked.mapped());
    if (answer.result) TRY(TakeAnswer(asked.mapped(), answer));
  }
  const int64_t now = clock_.SteadyMs();
  for (auto it = asked_.begin(); it != asked_.end();) {
    if (it->second.until_ms > now) {
      ++it;
      continue;
    }
    Release(it->second);
    it = asked_.erase(it);
  }
  return {};
}

// What was held back may be leased.
void Scheduler::Release(const Asked& asked) {
  for (const TrialKey& key : asked.trials) {
    if (ActiveTrial* trial = FindTrial(key); trial != nullptr && trial->questions > 0) --trial->questions;
    touched_.insert(key.job);
  }
  const auto build = builds_.find(asked.build);
  if (build == builds_.end()) return;
  build->second.asked = false;
  for (const TrialKey& key : build->second.waiting) touched_.insert(key.job);
}

Result<> Scheduler::TakeAnswer(const Asked& asked, const ResultShare::Answer& answer) {
  proto::Report report;
  report.set_outcome(proto::Report::DONE);
  *report.mutable_result() = *answer.result;
  if (answer.result->has_build() && !asked.build.empty()) return TakeSharedBuild(asked.build, answer.from, report);
  if (!answer.result->has_measure() || answer.result->measure().fingerprint().digest() != asked.fingerprint) return {};
  for (const TrialKey& key : asked.trials) {
    ActiveTrial* trial = FindTrial(key);
    const bool wanted = trial != nullptr && trial->lease == 0 &&
                        answer.key == MeasureQuestion(trial->measure_key, asked.fingerprint, trial->kind);
    if (wanted) TRY(TakeSharedMeasurement(*trial, answer.from, report));
  }
  return {};
}

Result<> Scheduler::TakeSharedMeasurement(ActiveTrial& trial, const std::string& from, const proto::Report& report) {
  const auto checked = CheckMeasurement(report.result().measure());
  if (!checked) return {};
  const ActiveJob& job = *FindJob(trial.record.key.job);
  const uint64_t pairs = checked->speedup ? checked->speedup->samples() : 0;
  if (trial.kind == AttemptKind::kFinal && (checked->infeasible || pairs < PairsOf(job, trial))) return {};
  AttemptRecord attempt;
  attempt.kind = trial.kind;
  attempt.trial = trial.record.key;
  attempt.measure_key = trial.measure_key;
  TRY(Event(attempt.trial, "measure.shared",
            fmt::format("{}: was measured by {} for another coordinator", TrialText(attempt.trial), from)));
  return EndShared(std::move(attempt), from, report);
}

Result<> Scheduler::TakeSharedBuild(const std::string& key, const std::string& from, const proto::Report& report) {
  const auto build = builds_.find(key);
  const proto::Bundle& model = report.result().build().model();
  if (build == builds_.end() || build->second.lease != 0 || build->second.waiting.empty() || !CheckBundle(model) ||
      !HasFiles(model))
    return {};
  AttemptRecord attempt;
  attempt.kind = AttemptKind::kBuild;
  attempt.trial = Owner(build->second);
  attempt.build = key;
  TRY(Event(attempt.trial, "build.shared",
            fmt::format("{}: {} was built by {} for another coordinator", TrialText(attempt.trial),
                        build->second.step.pass(), from)));
  return EndShared(std::move(attempt), from, report);
}

Result<> Scheduler::EndShared(AttemptRecord attempt, const std::string& from, const proto::Report& report) {
  attempt.worker = from;
  attempt.session = kSharedSession;
  TRY_ASSIGN(attempt, store_.OpenAttempt(std::move(attempt), clock_.UnixMs()));
  return EndLease(attempt, Outcome::kDone, report);
}

void Scheduler::OfferMeasurement(const AttemptRecord& attempt, const std::string& measure_key,
                                 const std::string& fingerprint, const proto::Report& report) {
  if (share_ == nullptr || attempt.session == kSharedSession || fingerprint.empty()) return;
  Offered& offered = offered_.emplace_back();
  offered.question = MeasureQuestion(measure_key, fingerprint, attempt.kind);
  *offered.result.mutable_measure() = report.result().measure();
  offered.result.mutable_measure()->mutable_fingerprint()->set_digest(fingerprint);
  offered.from = attempt.worker;
}

void Scheduler::OfferBuild(const AttemptRecord& attempt, const proto::Report& report) {
  if (share_ == nullptr || attempt.session == kSharedSession) return;
  Offered& offered = offered_.emplace_back();
  offered.question = BuildQuestion(attempt.build);
  *offered.result.mutable_build() = report.result().build();
  offered.from = attempt.worker;
}

void Scheduler::Committed() {
  for (const Offered& offered : std::exchange(offered_, {}))
    share_->Offer(offered.question, offered.result, offered.from);
}

}  // namespace hone
