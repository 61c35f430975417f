#include "coordinator/http/job_trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace hone {
namespace {

// Rows of one question: a few milliseconds of the loop.
constexpr uint32_t kPage = 100;
// Ranges with so few rows between them are read as one.
constexpr uint64_t kWorthSkipping = 8;
// What no event tells (phases of running trials) is at most so old.
constexpr int64_t kFreshMs = 250;
constexpr size_t kJobsKept = 16;
constexpr size_t kRowsKept = 300'000;

bool HasEnded(const proto::TrialSummary& trial) {
  return trial.state() != proto::TRIAL_WAITING && trial.state() != proto::TRIAL_RUNNING;
}

}  // namespace

void JobTrials::Seen(const proto::Event& event) {
  const auto found = jobs_.find(event.job());
  if (found == jobs_.end()) return;
  // A job that is cancelled or taken up again changes many trials at once.
  if (event.kind().starts_with("job.") && event.kind() != "job.complete") found->second.reload = true;
  found->second.changed.insert({event.study(), event.trial()});
}

void JobTrials::Get(uint64_t number, Take take) {
  if (jobs_.find(number) == jobs_.end()) Forget();
  Job& job = jobs_[number];
  job.rows.job = number;
  job.used_ms = clock_.SteadyMs();
  const bool ended = job.loaded && job.rows.summary.state() != proto::JOB_RUNNING;
  const bool fresh =
      job.loaded && !job.reload && job.changed.empty() && (ended || clock_.SteadyMs() - job.refreshed_ms < kFreshMs);
  if (fresh && !job.refreshing) return take(&job.rows);
  if (job.refreshing) return job.next.push_back(std::move(take));
  job.takes.push_back(std::move(take));
  Refresh(job);
}

void JobTrials::Refresh(Job& job) {
  job.refreshing = true;
  job.refreshed_ms = clock_.SteadyMs();
  proto::Frame frame;
  frame.mutable_get_job()->set_job(job.rows.job);
  questions_.Look(std::move(frame), [this, number = job.rows.job](const Result<proto::Frame>& reply) {
    Job& asked = jobs_.at(number);
    if (!reply) return Finish(asked, Fail(reply.error()));
    asked.rows.summary = reply->get_job_reply().job();
    Plan(asked);
    Go(number);
  });
}

// What has to be read: everything, or what events named, what has not ended, and what is new.
void JobTrials::Plan(Job& job) {
  job.todo.clear();
  if (!job.loaded) {
    job.rows.life = fmt::format("{}-{}", clock_.UnixMs(), ++lives_);
    job.rows.revision = 0;
  }
  ++job.rows.revision;
  std::set<TrialName> wanted = std::exchange(job.changed, {});
  const bool all = std::exchange(job.reload, false);
  std::map<uint32_t, uint64_t> ends;
  for (const auto& study : job.rows.summary.studies()) ends[study.study()] = 0;
  for (const auto& [name, row] : job.rows.rows) {
    if (all) break;
    ends[name.first] = std::max(ends[name.first], name.second + 1);
    if (!HasEnded(row.trial)) wanted.insert(name);
  }
  for (const auto& [study, trial] : wanted) {
    if (all || trial >= ends[study]) continue;
    if (!job.todo.empty() && job.todo.back().study == study &&
        trial <= job.todo.back().from + job.todo.back().count + kWorthSkipping) {
      job.todo.back().count = trial - job.todo.back().from + 1;
    } else {
      job.todo.push_back({study, trial, 1, false});
    }
  }
  for (const auto& [study, end] : ends) job.todo.push_back({study, end, 0, true});
}

void JobTrials::Go(uint64_t number) {
  Job& job = jobs_.at(number);
  if (job.todo.empty()) return Finish(job, {});
  const Range range = job.todo.back();
  proto::Frame frame;
  proto::ListTrials& list = *frame.mutable_list_trials();
  list.set_job(number);
  list.set_study(range.study);
  list.set_from(range.from);
  list.set_limit(range.to_end ? kPage : static_cast<uint32_t>(std::min<uint64_t>(range.count, kPage)));
  list.set_brief(true);
  questions_.Ask(std::move(frame), [this, number, range](const Result<proto::Frame>& reply) {
    if (!reply) return Finish(jobs_.at(number), Fail(reply.error()));
    TakePage(number, range, reply->list_trials_reply());
    Go(number);
  });
}

void JobTrials::TakePage(uint64_t number, const Range& range, const proto::ListTrialsReply& page) {
  Job& job = jobs_.at(number);
  for (const proto::TrialSummary& trial : page.trials()) {
    TrialRow& row = job.rows.rows[{trial.study(), trial.trial()}];
    std::string bytes = trial.SerializeAsString();
    if (row.bytes == bytes) continue;
    row.trial = trial;
    row.bytes = std::move(bytes);
    row.revision = job.rows.revision;
  }
  Range& rest = job.todo.back();
  const uint64_t next = page.trials_size() == 0 ? range.from : page.trials(page.trials_size() - 1).trial() + 1;
  const bool past = !range.to_end && next >= range.from + range.count;
  if (page.trials_size() == 0 || !page.more() || past) {
    job.todo.pop_back();
    return;
  }
  rest.count = range.to_end ? 0 : range.from + range.count - next;
  rest.from = next;
}

void JobTrials::Finish(Job& job, const Result<>& result) {
  job.refreshing = false;
  job.loaded = job.loaded || result.has_value();
  const uint64_t number = job.rows.job;
  const std::vector<Take> takes = std::exchange(job.takes, {});
  if (!result) {
    std::vector<Take> all = takes;
    std::move(job.next.begin(), job.next.end(), std::back_inserter(all));
    const Error error = result.error();
    jobs_.erase(number);
    for (const Take& take : all) take(Fail(error));
    return;
  }
  for (const Take& take : takes) take(&job.rows);
  job.takes = std::exchange(job.next, {});
  if (!job.takes.empty()) Refresh(job);
}

// The jobs that were not looked at for longest.
void JobTrials::Forget() {
  const auto rows = [&] {
    size_t sum = 0;
    for (const auto& [number, job] : jobs_) sum += job.rows.rows.size();
    return sum;
  };
  while (jobs_.size() >= kJobsKept || rows() > kRowsKept) {
    auto oldest = jobs_.end();
    for (auto it = jobs_.begin(); it != jobs_.end(); ++it) {
      if (!it->second.refreshing && (oldest == jobs_.end() || it->second.used_ms < oldest->second.used_ms)) oldest = it;
    }
    if (oldest == jobs_.end()) return;
    jobs_.erase(oldest);
  }
}

}  // namespace hone
