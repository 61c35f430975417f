// Jobs: submitted, checked, cancelled.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "coordinator/coordinator.h"
#include "coordinator/study_plan.h"

namespace hone {
namespace {

constexpr size_t kMaxTextBytes = 256;
constexpr uint32_t kWarmCandidates = 5;
constexpr int32_t kHighestPriority = 100;
constexpr size_t kMaxRecipeBytes = 1 << 20;
// A lease carries the model twice and one data set as lists of files; it must fit a frame with room for the rest.
constexpr size_t kMaxLeaseBytes = kMaxFrameBytes - (2 << 20);

// Samplers that follow a fixed order or chance alone stay what they are.
bool BeginsWarm(const proto::Search& search) {
  return !search.cold() && search.sampler() != "random" && search.sampler() != "exhaustive";
}

// Names the bundle in errors.
Result<> CheckStored(const FileStore& artifacts, const char* what, const proto::Bundle& bundle) {
  if (const auto good = CheckBundle(bundle); !good) return FailWith(what, good.error());
  if (bundle.format().empty()) return Fail(ErrorCode::kRejected, fmt::format("{}: its format is not given", what));
  for (const proto::File& file : bundle.files()) {
    if (!artifacts.Has(file.digest())) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}: the store lacks {} ({})", what, Printable(file.path()), file.digest()),
                  "Upload the files before the job.");
    }
    const auto size = artifacts.Size(file.digest());
    if (size && *size != file.size_bytes()) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: {} is said to have {} bytes, it has {}", what,
                                                    Printable(file.path()), file.size_bytes(), *size));
    }
  }
  return {};
}

Result<> CheckBounds(const proto::Recipe& recipe) {
  if (recipe.ByteSizeLong() > kMaxRecipeBytes) {
    return Fail(ErrorCode::kRejected, fmt::format("the recipe has {}, at most {} are taken",
                                                  HumanBytes(recipe.ByteSizeLong()), HumanBytes(kMaxRecipeBytes)));
  }
  for (const auto& constraint : recipe.constraints()) {
    const bool finite = (!constraint.has_minimum() || std::isfinite(constraint.minimum())) &&
                        (!constraint.has_maximum() || std::isfinite(constraint.maximum()));
    if (!finite)
      return Fail(ErrorCode::kRejected, fmt::format("the constraint on {} is not finite", constraint.metric()));
  }
  return {};
}

Result<> CheckSubmission(const FileStore& artifacts, const proto::SubmitJob& submit) {
  if (submit.request().size() > kMaxTextBytes || submit.name().size() > kMaxTextBytes) {
    return Fail(ErrorCode::kRejected, fmt::format("a job's name and request key have at most {} bytes", kMaxTextBytes));
  }
  TRY(CheckBounds(submit.recipe()));
  TRY(CheckStored(artifacts, "model", submit.model()));
  if (submit.has_calibration()) TRY(CheckStored(artifacts, "calibration data", submit.calibration().bundle()));
  if (submit.has_evaluation()) TRY(CheckStored(artifacts, "evaluation data", submit.evaluation().bundle()));
  if (submit.has_baseline()) {
    TRY(CheckStored(artifacts, "baseline", submit.baseline().model()));
    if (submit.baseline().backend().empty()) return Fail(ErrorCode::kRejected, "the baseline's backend is not given");
  }
  const size_t models =
      submit.model().ByteSizeLong() + std::max(submit.model().ByteSizeLong(), submit.baseline().ByteSizeLong());
  const size_t data = std::max(submit.calibration().ByteSizeLong(), submit.evaluation().ByteSizeLong());
  if (models + data + submit.recipe().ByteSizeLong() > kMaxLeaseBytes) {
    return Fail(ErrorCode::kRejected, "model and data have too many files for one message",
                "Pack the data into an .npz file.");
  }
  return {};
}

PlanInputs InputsOf(const proto::SubmitJob& submit) {
  return {submit.model().format(), submit.has_calibration(), submit.has_evaluation(), submit.baseline().backend()};
}

std::string PlanText(const StudyPlan& plan) {
  const std::string size =
      plan.infinite ? "infinitely many candidates" : fmt::format("{} candidates", plan.record.candidates);
  return fmt::format("study {} [{}]: {}, on {}", plan.record.study, Join(plan.record.tags, ", "), size,
                     Join(plan.workers, ", "));
}

}  // namespace

// A client changes its own jobs alone, and those of nobody (from before there were keys); an administrator everybody's.
Result<> Coordinator::CheckOwner(uint64_t job, const Identity& who) {
  if (who.role == Role::everyone || who.role == Role::admin) return {};
  TRY_ASSIGN(const auto record, store_.FindJob(job));
  if (!record || record->owner.empty() || record->owner == who.name) return {};
  return Fail(ErrorCode::kDenied, fmt::format("job {} belongs to {}; the key is {}'s", job, record->owner, who.name),
              "An administrator's key may change every job.");
}

Result<Coordinator::Answer> Coordinator::HandleSubmitJob(const Request& request, proto::Frame* reply) {
  const proto::SubmitJob& submit = request.frame.submit_job();
  if (!submit.request().empty()) {
    TRY_ASSIGN(const auto known, store_.FindRequest(submit.request()));
    if (known) {
      TRY(CheckOwner(*known, request.identity));
      reply->mutable_submit_job_reply()->set_job(*known);
      return Answer::kNow;
    }
  }
  TRY(CheckRoom());
  TRY(CheckSubmission(artifacts_, submit));
  TRY_ASSIGN(auto plans, PlanStudies(submit.recipe(), InputsOf(submit), fleet_, options_));

  JobRecord job;
  job.name = Printable(submit.name(), kMaxTextBytes);
  job.request = submit.request();
  job.recipe = submit.recipe();
  // What holds without being written is written down.
  job.recipe.clear_objectives();
  for (const auto& objective : ObjectivesOf(submit.recipe())) *job.recipe.add_objectives() = objective;
  job.model = submit.model();
  if (submit.has_calibration()) job.calibration = submit.calibration();
  if (submit.has_evaluation()) job.evaluation = submit.evaluation();
  if (submit.has_baseline()) job.baseline = submit.baseline();
  job.priority = std::clamp(submit.priority(), -kHighestPriority, kHighestPriority);
  job.owner = request.identity.name;
  job.created_unix_ms = clock_.UnixMs();
  TRY(store_.NoteBundle(job.model, job.created_unix_ms));
  if (job.calibration) TRY(store_.NoteBundle(job.calibration->bundle(), job.created_unix_ms));
  if (job.evaluation) TRY(store_.NoteBundle(job.evaluation->bundle(), job.created_unix_ms));
  if (job.baseline) TRY(store_.NoteBundle(job.baseline->model(), job.created_unix_ms));
  TRY_ASSIGN(job.id, store_.InsertJob(job));
  proto::SubmitJobReply& answer = *reply->mutable_submit_job_reply();
  answer.set_job(job.id);
  for (StudyPlan& plan : plans) {
    plan.record.job = job.id;
    if (BeginsWarm(job.recipe.search())) {
      TRY_ASSIGN(plan.record.warm, store_.EarlierBest(BundleId(job.model), kWarmCandidates));
    }
    TRY(store_.InsertStudy(plan.record));
    for (const auto& note : plan.notes) answer.add_notes(note);
    const std::string text =
        fmt::format("job {} submitted{}: {}", job.id, job.name.empty() ? "" : " (" + job.name + ")", PlanText(plan));
    TRY(store_.AppendEvent({job.id, plan.record.study, 0}, "job.submitted", text, clock_.UnixMs()));
  }
  TRY(scheduler_.AddJob(job.id));
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleCheckRecipe(const Request& request, proto::Frame* reply) {
  const proto::CheckRecipe& check = request.frame.check_recipe();
  TRY(CheckBounds(check.recipe()));
  const PlanInputs inputs{check.model_format(), check.has_calibration(), check.has_evaluation(), ""};
  TRY_ASSIGN(const auto plans, PlanStudies(check.recipe(), inputs, fleet_, options_));
  proto::CheckRecipeReply& answer = *reply->mutable_check_recipe_reply();
  for (const StudyPlan& plan : plans) {
    auto& study = *answer.add_studies();
    for (const auto& tag : plan.record.tags) study.add_tags(tag);
    study.set_candidates(plan.record.candidates);
    study.set_infinite(plan.infinite);
    for (const auto& worker : plan.workers) study.add_workers(worker);
    for (const auto& note : plan.notes) answer.add_notes(note);
  }
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleCancelJob(const Request& request, proto::Frame* reply) {
  const proto::CancelJob& cancel = request.frame.cancel_job();
  TRY_ASSIGN(const auto job, store_.FindJob(cancel.job()));
  if (!job) return Fail(ErrorCode::kNotFound, fmt::format("there is no job {}", cancel.job()));
  TRY(CheckOwner(cancel.job(), request.identity));
  const std::string reason = cancel.reason().empty() ? "on request" : Printable(cancel.reason(), kMaxTextBytes);
  TRY_ASSIGN(const bool was_running, scheduler_.Cancel(cancel.job(), reason));
  reply->mutable_cancel_job_reply()->set_was_running(was_running);
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleRetryJob(const Request& request, proto::Frame* reply) {
  const proto::RetryJob& retry = request.frame.retry_job();
  TRY_ASSIGN(const auto job, store_.FindJob(retry.job()));
  if (!job)
    return Fail(ErrorCode::kNotFound, fmt::format("there is no job {}", retry.job()), "`hone jobs` lists them.");
  TRY(CheckOwner(job->id, request.identity));
  const auto study = retry.has_study() ? std::optional<uint32_t>(retry.study()) : std::nullopt;
  const auto trial =
      retry.has_trial() ? std::optional<uint64_t>(std::min<uint64_t>(retry.trial(), INT64_MAX)) : std::nullopt;
  TRY_ASSIGN(const uint64_t trials, store_.RetryFailed(job->id, study, trial));
  if (trials == 0) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has no failed trial{}", job->id, trial ? fmt::format(" {}", *trial) : ""),
                fmt::format("`hone trials {}` shows what became of each.", job->id));
  }
  TRY(store_.AppendEvent({job->id, retry.study(), retry.trial()}, "job.retried",
                         fmt::format("job {}: {} failed trials are tried again", job->id, trials), clock_.UnixMs()));
  TRY(scheduler_.Load());
  reply->mutable_retry_job_reply()->set_trials(static_cast<uint32_t>(trials));
  return Answer::kNow;
}

}  // namespace hone
