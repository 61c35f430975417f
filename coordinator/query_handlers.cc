// Questions about jobs; nothing here writes.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>

#include "coordinator/coordinator.h"
#include "coordinator/origin.h"
#include "coordinator/report_text.h"
#include "coordinator/summaries.h"

namespace hone {
namespace {

// SQLite's integers are signed; no sequence number or trial is beyond.
uint64_t Bounded(uint64_t number) { return std::min<uint64_t>(number, INT64_MAX); }

Result<JobRecord> RequireJob(Store& store, uint64_t id) {
  TRY_ASSIGN(auto job, store.FindJob(Bounded(id)));
  if (!job) return Fail(ErrorCode::kNotFound, fmt::format("there is no job {}", id), "`hone jobs` lists them.");
  return std::move(*job);
}

}  // namespace

Result<Coordinator::Answer> Coordinator::HandleGetJob(const Request& request, proto::Frame* reply) {
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, request.frame.get_job().job()));
  proto::GetJobReply& answer = *reply->mutable_get_job_reply();
  TRY_ASSIGN(*answer.mutable_job(), SummarizeJob(store_, scheduler_, job, Detail::full, options_.page_bytes));
  if (!request.frame.get_job().inputs()) return Answer::kNow;
  *answer.mutable_recipe() = job.recipe;
  *answer.mutable_model() = job.model;
  if (job.calibration) *answer.mutable_calibration() = *job.calibration;
  if (job.evaluation) *answer.mutable_evaluation() = *job.evaluation;
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleListJobs(const Request& request, proto::Frame* reply) {
  const proto::ListJobs& list = request.frame.list_jobs();
  const uint32_t limit = list.limit() == 0 ? options_.page_jobs : std::min(list.limit(), options_.page_jobs);
  TRY_ASSIGN(const auto ids, store_.JobIds(Bounded(list.before()), limit));
  proto::ListJobsReply& answer = *reply->mutable_list_jobs_reply();
  uint64_t bytes = 0;
  for (const uint64_t id : ids) {
    TRY_ASSIGN(const JobRecord job, RequireJob(store_, id));
    TRY_ASSIGN(auto summary, SummarizeJob(store_, scheduler_, job, Detail::brief, options_.page_bytes));
    bytes += summary.ByteSizeLong();
    if (bytes > options_.page_bytes && answer.jobs_size() > 0) break;
    *answer.add_jobs() = std::move(summary);
  }
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleListTrials(const Request& request, proto::Frame* reply) {
  const proto::ListTrials& list = request.frame.list_trials();
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, list.job()));
  const uint32_t limit = list.limit() == 0 ? options_.page_trials : std::min(list.limit(), options_.page_trials);
  const uint64_t from = Bounded(list.from());
  // One more row tells whether there are more.
  TRY_ASSIGN(const auto trials, list.has_study() ? store_.Trials(job.id, list.study(), from, limit + 1)
                                                 : store_.AllTrials(job.id, from, limit + 1));
  proto::ListTrialsReply& answer = *reply->mutable_list_trials_reply();
  uint64_t bytes = 0;
  for (const TrialRecord& trial : trials) {
    TRY_ASSIGN(auto summary, SummarizeTrial(store_, scheduler_, trial, list.brief() ? Detail::brief : Detail::full));
    bytes += summary.ByteSizeLong();
    const bool full = static_cast<uint32_t>(answer.trials_size()) == limit ||
                      (bytes > options_.page_bytes && answer.trials_size() > 0);
    if (full) {
      answer.set_more(true);
      break;
    }
    *answer.add_trials() = std::move(summary);
  }
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleGetSamples(const Request& request, proto::Frame* reply) {
  const proto::GetSamples& get = request.frame.get_samples();
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, get.job()));
  TRY_ASSIGN(const auto trial, store_.FindTrial({job.id, get.study(), Bounded(get.trial())}));
  if (!trial)
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has no trial {} in study {}", job.id, get.trial(), get.study()));
  proto::GetSamplesReply& answer = *reply->mutable_get_samples_reply();
  if (!trial->result) return Answer::kNow;
  TRY_ASSIGN(auto samples, store_.ReadSamples(*trial->result));
  for (auto& series : samples) *answer.add_samples() = std::move(series);
  TRY_ASSIGN(const auto metrics, store_.Metrics(*trial->result));
  for (const auto& metric : metrics.baseline) *answer.add_baseline_metrics() = metric;
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleGetLog(const Request& request, proto::Frame* reply) {
  const proto::GetLog& get = request.frame.get_log();
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, get.job()));
  TRY_ASSIGN(const auto trial, store_.FindTrial({job.id, get.study(), Bounded(get.trial())}));
  if (!trial)
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has no trial {} in study {}", job.id, get.trial(), get.study()));
  TRY_ASSIGN(auto attempts, store_.AttemptLog(trial->key, options_.log_attempts));
  proto::GetLogReply& answer = *reply->mutable_get_log_reply();
  for (auto& attempt : attempts) *answer.add_attempts() = std::move(attempt);
  answer.set_command(CommandText(job, *trial));
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleListAttempts(const Request& request, proto::Frame* reply) {
  const proto::ListAttempts& list = request.frame.list_attempts();
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, list.job()));
  const uint32_t limit = list.limit() == 0 ? options_.page_attempts : std::min(list.limit(), options_.page_attempts);
  // One more row tells whether there are more.
  TRY_ASSIGN(auto attempts, store_.Attempts(job.id, Bounded(list.after()), limit + 1));
  proto::ListAttemptsReply& answer = *reply->mutable_list_attempts_reply();
  answer.set_more(attempts.size() > limit);
  if (answer.more()) attempts.pop_back();
  for (auto& attempt : attempts) *answer.add_attempts() = std::move(attempt);
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleGetOrigin(const Request& request, proto::Frame* reply) {
  const proto::GetOrigin& get = request.frame.get_origin();
  TRY_ASSIGN(const JobRecord job, RequireJob(store_, get.job()));
  TRY_ASSIGN(const auto studies, store_.Studies(job.id));
  TRY_ASSIGN(const auto trial, store_.FindTrial({job.id, get.study(), Bounded(get.trial())}));
  TRY_ASSIGN(const auto baseline, store_.FindTrial({job.id, get.study(), 0}));
  if (!trial || !baseline || get.study() >= studies.size()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has no trial {} in study {}", job.id, get.trial(), get.study()));
  }
  TRY_ASSIGN(auto origin, OriginOf(store_, job, studies[get.study()], *trial));
  TRY_ASSIGN(*origin.mutable_trial(), SummarizeTrial(store_, scheduler_, *trial, Detail::full));
  TRY_ASSIGN(*origin.mutable_baseline(), SummarizeTrial(store_, scheduler_, *baseline, Detail::full));
  *reply->mutable_get_origin_reply() = std::move(origin);
  return Answer::kNow;
}

Result<bool> Coordinator::FillWatch(const proto::WatchEvents& watch, proto::WatchEventsReply* reply) {
  proto::JobState state = proto::JOB_STATE_UNSPECIFIED;
  if (watch.job() != 0) {
    TRY_ASSIGN(const JobRecord job, RequireJob(store_, watch.job()));
    state = job.state;
  }
  const uint32_t limit = watch.limit() == 0 ? options_.page_events : std::min(watch.limit(), options_.page_events);
  TRY_ASSIGN(auto events, store_.Events(Bounded(watch.job()), Bounded(watch.after()), limit));
  TRY_ASSIGN(const uint64_t last, store_.LastEvent(Bounded(watch.job())));
  TRY_ASSIGN(const uint64_t dropped, store_.EventsDropped());
  if (dropped > watch.after()) {
    // What is gone is others' where the job's first event is still there.
    TRY_ASSIGN(const bool begins, store_.HasFirstEvent(Bounded(watch.job())));
    if (!begins) reply->set_gap(dropped - watch.after());
  }
  for (auto& event : events) *reply->add_events() = std::move(event);
  reply->set_state(state);
  reply->set_last(last);
  // Nothing more will happen to a job that has ended.
  return reply->events_size() > 0 || (watch.job() != 0 && state != proto::JOB_RUNNING);
}

Result<Coordinator::Answer> Coordinator::HandleWatchEvents(const Request& request, proto::Frame* reply) {
  const proto::WatchEvents& watch = request.frame.watch_events();
  TRY_ASSIGN(const bool news, FillWatch(watch, reply->mutable_watch_events_reply()));
  const uint32_t wait = std::min(watch.wait_ms(), options_.watch_wait_ms);
  if (news || wait == 0 || watches_.size() >= options_.parked_watchers) return Answer::kNow;
  watches_.push_back({request.peer, request.frame.request(), clock_.SteadyMs() + wait, watch});
  return Answer::kLater;
}

std::vector<proto::Event> Coordinator::EventsSince(uint64_t& told) {
  constexpr uint32_t kEventsAtOnce = 500;
  const auto last = store_.LastEvent(0);
  if (!last || *last <= told) return {};
  auto events = store_.Events(0, told, kEventsAtOnce);
  if (!events) {
    spdlog::warn("events cannot be read: {}", events.error().message);
    return {};
  }
  // Numbers of which nothing is left are passed over.
  told = events->empty() ? *last : events->back().sequence();
  return std::move(*events);
}

Result<Coordinator::Running> Coordinator::CountRunning() {
  Running running;
  TRY_ASSIGN(const auto jobs, store_.RunningJobIds());
  running.jobs = jobs.size();
  for (const uint64_t job : jobs) {
    TRY_ASSIGN(const auto studies, store_.Studies(job));
    for (const StudyRecord& study : studies) {
      TRY_ASSIGN(const proto::Counts counts, store_.CountTrials(job, study.study));
      running.trials.set_waiting(running.trials.waiting() + counts.waiting());
      running.trials.set_running(running.trials.running() + counts.running());
    }
  }
  return running;
}

}  // namespace hone
