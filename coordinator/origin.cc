#include "coordinator/origin.h"

#include "common/artifact/bundle.h"
#include "common/recipe/value.h"
#include "coordinator/job_state.h"
#include "coordinator/measurement.h"

namespace hone {
namespace {

proto::SubmitJob RequestOf(const JobRecord& job) {
  proto::SubmitJob request;
  *request.mutable_recipe() = job.recipe;
  *request.mutable_model() = job.model;
  if (job.calibration) *request.mutable_calibration() = *job.calibration;
  if (job.evaluation) *request.mutable_evaluation() = *job.evaluation;
  if (job.baseline) *request.mutable_baseline() = *job.baseline;
  request.set_name(job.name);
  return request;
}

// Walks the pipeline by the keys of its builds, as the scheduler did.
class Chain {
 public:
  Chain(Store& store, const JobRecord& job, const StudyRecord& study, proto::GetOriginReply& reply)
      : store_(store),
        job_(job),
        study_(study),
        calibration_(DataDigest(job.calibration)),
        reply_(reply),
        at_(job.model) {}

  Result<> Follow(const proto::PassStep& step) {
    const proto::PassInfo* pass = FindPass(study_.catalogue, step.pass());
    const proto::PassInfo* statistics =
        pass == nullptr || !at_ ? nullptr : StatisticsPass(job_, study_.catalogue, *pass, *at_);
    if (statistics != nullptr) {
      proto::PassStep calibrate;
      calibrate.set_pass(statistics->name());
      TRY(Add(statistics, calibrate));
    }
    return Add(pass, step);
  }

 private:
  Result<> Add(const proto::PassInfo* pass, const proto::PassStep& step) {
    proto::GetOriginReply::Step& made = *reply_.add_steps();
    *made.mutable_step() = step;
    if (pass == nullptr) {
      at_.reset();
      return {};
    }
    made.set_version(pass->version());
    made.set_program_version(pass->program_version());
    if (!at_) return {};
    const proto::Recipe& recipe = job_.recipe;
    TRY_ASSIGN(const auto build, store_.FindBuild(BuildKey(*pass, BundleId(*at_), step, recipe.inputs(), calibration_,
                                                           recipe.search().seed())));
    at_.reset();
    if (!build || build->state != BuildState::kDone) return {};
    at_ = build->output;
    *made.mutable_model() = *at_;
    return {};
  }

  Store& store_;
  const JobRecord& job_;
  const StudyRecord& study_;
  const std::string calibration_;
  proto::GetOriginReply& reply_;
  std::optional<proto::Bundle> at_;
};

}  // namespace

Result<proto::GetOriginReply> OriginOf(Store& store, const JobRecord& job, const StudyRecord& study,
                                       const TrialRecord& trial) {
  proto::GetOriginReply reply;
  *reply.mutable_request() = RequestOf(job);
  Chain chain(store, job, study, reply);
  for (const proto::PassStep& step : trial.candidate.pipeline()) TRY(chain.Follow(step));
  TRY_ASSIGN(const auto fingerprint, store.FindFingerprint(trial.fingerprint));
  if (fingerprint) *reply.mutable_fingerprint() = *fingerprint;
  return reply;
}

}  // namespace hone
