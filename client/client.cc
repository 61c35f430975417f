#include "client/client.h"

#include <fmt/format.h>

#include <random>

namespace hone {
namespace {

using std::chrono::milliseconds;

// The coordinator answers within milliseconds; the bound is for a busy machine.
constexpr milliseconds kCallTimeout{10'000};
// A coordinator that went away and came back has forgotten who was waiting: ask again soon.
constexpr milliseconds kEventsTimeout{3'000};
// Checking a recipe counts its space.
constexpr milliseconds kSubmitTimeout{60'000};
constexpr uint32_t kAttemptsPerPage = 2000;
constexpr uint32_t kTrialsPerPage = 500;
constexpr uint32_t kEventsPerCall = 1000;
// How often a long call looks at whether it is still wanted.
constexpr milliseconds kLook{100};

// The reply's message of one kind, or a kBug error when the coordinator answered something else.
template <class Message>
Result<Message> Expect(Result<proto::Frame> reply, bool (proto::Frame::*has)() const,
                       const Message& (proto::Frame::*get)() const) {
  if (!reply) return Fail(std::move(reply.error()));
  if (!((*reply).*has)()) {
    return Fail(ErrorCode::kBug,
                fmt::format("the coordinator answered with message kind {}", static_cast<int>(reply->body_case())));
  }
  return ((*reply).*get)();
}

std::string RandomKey() {
  std::random_device device;
  std::string key;
  for (int i = 0; i < 4; ++i) key += fmt::format("{:08x}", device());
  return key;
}

proto::Data ToWire(const proto::LocalData& local) {
  proto::Data data;
  *data.mutable_bundle() = local.data().bundle();
  data.set_from(local.from());
  data.set_samples(local.samples());
  if (local.has_preprocess()) *data.mutable_preprocess() = local.preprocess();
  return data;
}

// Of a question about one trial.
template <class Message>
void NameTrial(uint64_t job, uint32_t study, uint64_t trial, Message& question) {
  question.set_job(job);
  question.set_study(study);
  question.set_trial(trial);
}

}  // namespace

#define HONE_CALL(frame, timeout, kind) \
  Expect(dialer_->Call(std::move(frame), (timeout)), &proto::Frame::has_##kind, &proto::Frame::kind)

Result<Client> Client::Connect(const std::string& endpoint, const DialerOptions& options) {
  TRY_ASSIGN(auto dialer, Dialer::Connect(endpoint, options));
  return Client(std::move(dialer));
}

Result<proto::PingReply> Client::Ping(milliseconds timeout) {
  proto::Frame frame;
  frame.mutable_ping();
  return HONE_CALL(frame, timeout, ping_reply);
}

Result<proto::SubmitJobReply> Client::Submit(const Submission& submission,
                                             const std::function<bool(uint64_t, uint64_t)>& progress) {
  TransferOptions transfer;
  transfer.progress = progress;
  std::vector<const proto::LocalBundle*> bundles = {&submission.model};
  if (submission.calibration) bundles.push_back(&submission.calibration->data());
  if (submission.evaluation) bundles.push_back(&submission.evaluation->data());
  if (submission.baseline) bundles.push_back(&submission.baseline->model);
  for (const proto::LocalBundle* bundle : bundles) {
    TRY(UploadBundle(*dialer_, bundle->bundle(), bundle->folder(), transfer));
  }

  proto::Frame frame;
  proto::SubmitJob& submit = *frame.mutable_submit_job();
  *submit.mutable_recipe() = submission.recipe;
  *submit.mutable_model() = submission.model.bundle();
  if (submission.calibration) *submit.mutable_calibration() = ToWire(*submission.calibration);
  if (submission.evaluation) *submit.mutable_evaluation() = ToWire(*submission.evaluation);
  if (submission.baseline) {
    proto::PinnedBaseline& baseline = *submit.mutable_baseline();
    *baseline.mutable_model() = submission.baseline->model.bundle();
    baseline.set_backend(submission.baseline->backend);
    baseline.mutable_settings()->Add(submission.baseline->settings.begin(), submission.baseline->settings.end());
  }
  submit.set_name(submission.name);
  submit.set_priority(submission.priority);
  submit.set_request(submission.request.empty() ? RandomKey() : submission.request);
  return HONE_CALL(frame, kSubmitTimeout, submit_job_reply);
}

Result<proto::JobSummary> Client::Job(uint64_t job) {
  proto::Frame frame;
  frame.mutable_get_job()->set_job(job);
  TRY_ASSIGN(proto::GetJobReply reply, HONE_CALL(frame, kCallTimeout, get_job_reply));
  return std::move(*reply.mutable_job());
}

Result<std::vector<proto::JobSummary>> Client::Jobs(uint32_t limit) {
  std::vector<proto::JobSummary> jobs;
  // Newest first; the coordinator gives a page at most.
  while (jobs.size() < limit) {
    proto::Frame frame;
    frame.mutable_list_jobs()->set_limit(limit - static_cast<uint32_t>(jobs.size()));
    if (!jobs.empty()) frame.mutable_list_jobs()->set_before(jobs.back().job());
    TRY_ASSIGN(proto::ListJobsReply reply, HONE_CALL(frame, kCallTimeout, list_jobs_reply));
    if (reply.jobs_size() == 0) break;
    jobs.insert(jobs.end(), reply.jobs().begin(), reply.jobs().end());
  }
  return jobs;
}

Result<std::vector<proto::TrialSummary>> Client::Trials(uint64_t job, std::optional<uint32_t> study) {
  std::vector<proto::TrialSummary> trials;
  for (bool more = true; more;) {
    proto::Frame frame;
    proto::ListTrials& list = *frame.mutable_list_trials();
    list.set_job(job);
    if (study) list.set_study(*study);
    list.set_from(trials.size());
    list.set_limit(kTrialsPerPage);
    TRY_ASSIGN(proto::ListTrialsReply reply, HONE_CALL(frame, kCallTimeout, list_trials_reply));
    trials.insert(trials.end(), reply.trials().begin(), reply.trials().end());
    more = reply.more() && reply.trials_size() > 0;
  }
  return trials;
}

Result<std::vector<proto::TrialSummary>> Client::TrialsFrom(uint64_t job, uint64_t from, uint32_t limit) {
  proto::Frame frame;
  proto::ListTrials& list = *frame.mutable_list_trials();
  list.set_job(job);
  list.set_from(from);
  list.set_limit(limit);
  list.set_brief(true);
  TRY_ASSIGN(const proto::ListTrialsReply reply, HONE_CALL(frame, kCallTimeout, list_trials_reply));
  return std::vector<proto::TrialSummary>(reply.trials().begin(), reply.trials().end());
}

Result<std::vector<proto::ListAttemptsReply::Attempt>> Client::Attempts(uint64_t job) {
  std::vector<proto::ListAttemptsReply::Attempt> attempts;
  for (bool more = true; more;) {
    proto::Frame frame;
    proto::ListAttempts& list = *frame.mutable_list_attempts();
    list.set_job(job);
    list.set_after(attempts.empty() ? 0 : attempts.back().attempt());
    list.set_limit(kAttemptsPerPage);
    TRY_ASSIGN(proto::ListAttemptsReply reply, HONE_CALL(frame, kCallTimeout, list_attempts_reply));
    attempts.insert(attempts.end(), reply.attempts().begin(), reply.attempts().end());
    more = reply.more() && reply.attempts_size() > 0;
  }
  return attempts;
}

Result<proto::GetJobReply> Client::JobInputs(uint64_t job) {
  proto::Frame frame;
  frame.mutable_get_job()->set_job(job);
  frame.mutable_get_job()->set_inputs(true);
  return HONE_CALL(frame, kCallTimeout, get_job_reply);
}

Result<proto::WatchEventsReply> Client::Events(uint64_t job, uint64_t after, milliseconds wait,
                                               const std::function<bool()>& give_up) {
  proto::Frame frame;
  proto::WatchEvents& watch = *frame.mutable_watch_events();
  watch.set_job(job);
  watch.set_after(after);
  watch.set_wait_ms(static_cast<uint32_t>(wait.count()));
  watch.set_limit(kEventsPerCall);
  TRY_ASSIGN(const uint64_t request, dialer_->Post(std::move(frame)));
  const auto deadline = std::chrono::steady_clock::now() + kEventsTimeout + wait;
  while (std::chrono::steady_clock::now() < deadline) {
    if (give_up && give_up()) return Fail(ErrorCode::kInterrupted, "interrupted");
    TRY_ASSIGN(std::optional<proto::Frame> reply, dialer_->Receive(kLook));
    if (!reply || reply->request() != request) continue;
    if (reply->has_error()) return Fail(FromProto(reply->error()));
    if (!reply->has_watch_events_reply())
      return Fail(ErrorCode::kBug, "the coordinator answered events with another message");
    return std::move(*reply->mutable_watch_events_reply());
  }
  return Fail(ErrorCode::kUnreachable, "the coordinator did not answer");
}

Result<proto::CancelJobReply> Client::Cancel(uint64_t job, const std::string& reason) {
  proto::Frame frame;
  frame.mutable_cancel_job()->set_job(job);
  frame.mutable_cancel_job()->set_reason(reason);
  return HONE_CALL(frame, kCallTimeout, cancel_job_reply);
}

Result<std::vector<proto::WorkerSummary>> Client::Workers() {
  proto::Frame frame;
  frame.mutable_list_workers();
  TRY_ASSIGN(proto::ListWorkersReply reply, HONE_CALL(frame, kCallTimeout, list_workers_reply));
  return std::vector<proto::WorkerSummary>(reply.workers().begin(), reply.workers().end());
}

Result<proto::Catalogue> Client::Catalogue() {
  proto::Frame frame;
  frame.mutable_get_catalogue();
  TRY_ASSIGN(proto::GetCatalogueReply reply, HONE_CALL(frame, kCallTimeout, get_catalogue_reply));
  return std::move(*reply.mutable_catalogue());
}

Result<> Client::Drain(const std::string& worker, bool undrain) {
  proto::Frame frame;
  frame.mutable_drain_worker()->set_name(worker);
  frame.mutable_drain_worker()->set_undrain(undrain);
  TRY(HONE_CALL(frame, kCallTimeout, drain_worker_reply));
  return {};
}

Result<proto::CheckRecipeReply> Client::Check(const proto::CheckRecipe& request) {
  proto::Frame frame;
  *frame.mutable_check_recipe() = request;
  return HONE_CALL(frame, kSubmitTimeout, check_recipe_reply);
}

Result<proto::GetSamplesReply> Client::Samples(uint64_t job, uint32_t study, uint64_t trial) {
  proto::Frame frame;
  NameTrial(job, study, trial, *frame.mutable_get_samples());
  return HONE_CALL(frame, kCallTimeout, get_samples_reply);
}

Result<proto::GetLogReply> Client::Log(uint64_t job, uint32_t study, uint64_t trial) {
  proto::Frame frame;
  NameTrial(job, study, trial, *frame.mutable_get_log());
  return HONE_CALL(frame, kCallTimeout, get_log_reply);
}

Result<proto::GetOriginReply> Client::Origin(uint64_t job, uint32_t study, uint64_t trial) {
  proto::Frame frame;
  NameTrial(job, study, trial, *frame.mutable_get_origin());
  return HONE_CALL(frame, kCallTimeout, get_origin_reply);
}

Result<uint32_t> Client::Retry(uint64_t job, std::optional<uint32_t> study, std::optional<uint64_t> trial) {
  proto::Frame frame;
  proto::RetryJob& retry = *frame.mutable_retry_job();
  retry.set_job(job);
  if (study) retry.set_study(*study);
  if (trial) retry.set_trial(*trial);
  TRY_ASSIGN(const proto::RetryJobReply reply, HONE_CALL(frame, kCallTimeout, retry_job_reply));
  return reply.trials();
}

#undef HONE_CALL

Result<> Client::Fetch(const proto::Bundle& bundle, const std::filesystem::path& folder) {
  return DownloadBundle(*dialer_, bundle, folder.string());
}

}  // namespace hone
