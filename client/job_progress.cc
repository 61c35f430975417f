#include "client/job_progress.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "client/interrupt.h"
#include "client/table.h"
#include "client/text_output.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// How long the coordinator may hold back an answer: the live view's clock moves at least this often.
constexpr milliseconds kWait{500};
constexpr milliseconds kRedraw{200};
constexpr milliseconds kHeartbeat{30'000};
// After these many lines of events a log gets heartbeats and changes of the best alone.
constexpr int kEventLines = 200;
constexpr uint32_t kTrialsForPace = 3;

int64_t MsSince(Steady::time_point start) { return std::chrono::duration_cast<milliseconds>(Steady::now() - start).count(); }

std::string Bar(uint64_t done, uint64_t total, size_t width, bool utf8) {
  const size_t full = total == 0 ? 0 : static_cast<size_t>(std::min<uint64_t>(done, total) * width / total);
  std::string bar;
  for (size_t i = 0; i < width; ++i) bar += i < full ? (utf8 ? "█" : "#") : (utf8 ? "░" : ".");
  return utf8 ? bar : "[" + bar + "]";
}

std::string BestLine(const proto::JobSummary& job, const proto::StudySummary& study) {
  if (!study.has_best()) return "none yet";
  const proto::TrialSummary& best = study.best();
  std::string text = SpeedupText(best);
  if (job.objectives_size() > 0 && (!best.has_speedup() || job.objectives(0).metric() != "latency_ms_p50")) {
    const std::string& metric = job.objectives(0).metric();
    text += fmt::format("  {} {}", metric, MetricText(metric, FindMetric(best.metrics(), metric)));
  }
  return fmt::format("{}  trial {}  {}", text, best.trial(), CandidateText(best.candidate()));
}

// The counts that are not 0: a line has to fit 80 columns.
std::string HappenedText(const proto::Counts& counts) {
  std::string text = fmt::format("{} complete", counts.complete());
  if (counts.infeasible() > 0) text += fmt::format(", {} infeasible", counts.infeasible());
  if (counts.pruned() > 0) text += fmt::format(", {} pruned", counts.pruned());
  if (counts.failed() > 0) text += fmt::format(", {} failed", counts.failed());
  return text;
}

// Redraws a block of lines in place on stderr.
class LiveBlock {
 public:
  explicit LiveBlock(Console& console) : console_(console) {}
  ~LiveBlock() { Clear(); }

  void Draw(const std::vector<std::string>& lines) {
    std::string text = Home();
    for (const std::string& line : lines) text += line + "\x1b[K\n";
    console_.Raw(text + "\x1b[J");
    shown_ = lines.size();
  }
  void Clear() {
    if (shown_ > 0) console_.Raw(Home() + "\x1b[J");
    shown_ = 0;
  }

 private:
  std::string Home() const { return shown_ == 0 ? "\r" : fmt::format("\r\x1b[{}A", shown_); }
  Console& console_;
  size_t shown_ = 0;
};

class Follower {
 public:
  Follower(Client& client, uint64_t job, Console& console, const FollowOptions& options)
      : client_(client), job_(job), console_(console), options_(options), block_(console), next_event_(options.after) {}

  Result<proto::JobSummary> Run();

 private:
  Result<bool> Look();         // True at the end.
  Result<> Refresh();
  void Tell(const proto::Event& event);
  void TellGap(uint64_t events);
  void Show();
  void Heartbeat();

  Client& client_;
  const uint64_t job_;
  Console& console_;
  const FollowOptions& options_;
  LiveBlock block_;
  ProgressState state_;
  uint64_t next_event_;
  int lines_told_ = 0;
  std::string best_told_;
  Steady::time_point started_ = Steady::now();
  Steady::time_point heard_ = Steady::now();
  Steady::time_point refreshed_;
  Steady::time_point spoke_ = Steady::now();
};

Result<proto::JobSummary> Follower::Run() {
  const HoldInterrupts hold;
  TRY(Refresh());
  state_.done_at_start = FinishedTrials(state_.job);
  while (true) {
    if (Interrupted()) return FailInterrupted("interrupted");
    if (options_.tend) TRY(options_.tend());
    if (options_.timeout.count() > 0 && MsSince(started_) >= options_.timeout.count()) {
      return Fail(ErrorCode::kTimeout, fmt::format("job {} still runs after {}", job_, HumanDuration(options_.timeout.count())),
                  fmt::format("it goes on: hone watch {}", job_));
    }
    TRY_ASSIGN(const bool over, Look());
    if (over) return state_.job;
    Show();
  }
}

Result<bool> Follower::Look() {
  milliseconds wait = kWait;
  if (options_.timeout.count() > 0) {
    wait = std::clamp(milliseconds(options_.timeout.count() - MsSince(started_)), milliseconds(1), kWait);
  }
  const Result<proto::WatchEventsReply> reply = client_.Events(job_, next_event_, wait, Interrupted);
  if (!reply) {
    if (reply.error().code == ErrorCode::kInterrupted) return false;   // The loop says it.
    if (reply.error().code != ErrorCode::kUnreachable || MsSince(heard_) > options_.lost_for.count()) return Fail(reply.error());
    state_.remark = "no answer from the coordinator, still trying (the job goes on)";
    return false;
  }
  heard_ = Steady::now();
  state_.remark.clear();
  if (reply->gap() > 0) TellGap(reply->gap());
  for (const proto::Event& event : reply->events()) {
    next_event_ = std::max(next_event_, event.sequence());
    Tell(event);
  }
  const bool caught_up = reply->events_size() == 0 || next_event_ >= reply->last();
  const bool over = reply->state() != proto::JOB_RUNNING && caught_up;
  if (over || reply->gap() > 0 || MsSince(refreshed_) >= kRedraw.count()) {
    const Result<> refreshed = Refresh();
    if (refreshed) return over;
    if (refreshed.error().code != ErrorCode::kUnreachable) return Fail(refreshed.error());
  }
  return false;
}

Result<> Follower::Refresh() {
  refreshed_ = Steady::now();
  TRY_ASSIGN(state_.job, client_.Job(job_));
  if (!options_.live) return {};
  state_.work.clear();
  const Result<std::vector<proto::WorkerSummary>> workers = client_.Workers();
  if (!workers) return Fail(workers.error());
  for (const proto::WorkerSummary& worker : *workers) {
    if (!worker.work().empty()) state_.work.push_back(fmt::format("{}: {}", worker.name(), Printable(worker.work(), 200)));
  }
  return {};
}

void Follower::Tell(const proto::Event& event) {
  if (options_.live || !options_.line || !IsWorthALine(event)) return;
  const bool about_job = event.kind().compare(0, 4, "job.") == 0;
  if (lines_told_ >= kEventLines && !about_job) return;
  ++lines_told_;
  options_.line(EventLine(event, state_.job.studies_size() > 1));
  spoke_ = Steady::now();
}

// What they would have told is in the summary, which is read again.
void Follower::TellGap(uint64_t events) {
  next_event_ += events;
  state_.missed += events;
  if (options_.live || !options_.line) return;
  options_.line(GapText(events));
  spoke_ = Steady::now();
}

void Follower::Show() {
  state_.elapsed_ms = MsSince(started_);
  if (options_.live) {
    block_.Draw(ProgressLines(state_, console_.traits().width, 12, console_.traits().utf8));
  } else {
    Heartbeat();
  }
}

void Follower::Heartbeat() {
  if (!options_.line) return;
  std::string best;
  for (const proto::StudySummary& study : state_.job.studies()) best += BestLine(state_.job, study);
  const bool changed = lines_told_ >= kEventLines && best != best_told_;
  if (!changed && MsSince(spoke_) < kHeartbeat.count()) return;
  best_told_ = best;
  spoke_ = Steady::now();
  options_.line(ProgressSentence(state_));
}

}  // namespace

uint64_t ExpectedTrials(const proto::JobSummary& job) {
  uint64_t total = 0;
  for (const proto::StudySummary& study : job.studies()) {
    const uint64_t budget = study.budget();
    const uint64_t space = study.candidates();
    const uint64_t expected = budget == 0 || space == 0 ? std::max(budget, space) : std::min(budget, space);
    if (expected == 0) return 0;
    total += expected;
  }
  return total;
}

uint32_t FinishedTrials(const proto::JobSummary& job) {
  uint32_t finished = 0;
  for (const proto::StudySummary& study : job.studies()) finished += Finished(study.counts());
  return finished;
}

int64_t RemainingMs(const ProgressState& state) {
  const uint64_t total = ExpectedTrials(state.job);
  const uint32_t finished = FinishedTrials(state.job);
  const uint32_t here = finished - std::min(finished, state.done_at_start);
  if (total == 0 || here < kTrialsForPace || finished >= total) return -1;
  return state.elapsed_ms * static_cast<int64_t>(total - finished) / here;
}

std::vector<std::string> ProgressLines(const ProgressState& state, size_t width, size_t rows, bool utf8) {
  const proto::JobSummary& job = state.job;
  const uint64_t total = ExpectedTrials(job);
  const uint32_t finished = FinishedTrials(job);
  const int64_t left = RemainingMs(state);
  std::vector<std::string> lines;
  lines.push_back(fmt::format("job {}  {}  {}, {}", job.job(), Printable(job.name(), 200), StateName(job.state()), HumanDuration(state.elapsed_ms)));
  const std::string count = total > 0 ? fmt::format("{}/{} trials", finished, total) : fmt::format("{} trials", finished);
  const std::string eta = left >= 0 ? ", about " + HumanDuration(left) + " left" : "";
  lines.push_back(total > 0 ? Bar(finished, total, std::min<size_t>(30, width / 3), utf8) + "  " + count + eta : count);
  uint32_t run = 0;
  uint32_t reused = 0;
  proto::Counts sum;
  for (const proto::StudySummary& study : job.studies()) {
    const std::string target = job.studies_size() > 1 ? fmt::format(" {}", study.study() + 1) : "";
    lines.push_back(fmt::format("best{}   {}", target, BestLine(job, study)));
    run += study.builds_run();
    reused += study.builds_reused();
    sum.set_complete(sum.complete() + study.counts().complete());
    sum.set_infeasible(sum.infeasible() + study.counts().infeasible());
    sum.set_pruned(sum.pruned() + study.counts().pruned());
    sum.set_failed(sum.failed() + study.counts().failed());
  }
  lines.push_back(fmt::format("so far {}; builds {} run, {} reused", HappenedText(sum), run, reused));
  for (const std::string& work : state.work) lines.push_back("now    " + work);
  if (state.missed > 0) lines.push_back(GapText(state.missed));
  if (!state.remark.empty()) lines.push_back(state.remark);
  if (lines.size() > rows && rows > 0) {
    const size_t hidden = lines.size() - rows + 1;
    lines.resize(rows - 1);
    lines.push_back(fmt::format("       and {} more", hidden));
  }
  // One column stays free, so that no terminal wraps.
  for (std::string& line : lines) line = CutEnd(line, width > 1 ? width - 1 : width);
  return lines;
}

std::string ProgressSentence(const ProgressState& state) {
  if (!state.remark.empty()) return state.remark;
  const uint64_t total = ExpectedTrials(state.job);
  const int64_t left = RemainingMs(state);
  std::string text = fmt::format("job {}: {}{} trials", state.job.job(), FinishedTrials(state.job), total > 0 ? fmt::format("/{}", total) : "");
  for (const proto::StudySummary& study : state.job.studies()) {
    text += fmt::format(", best {}", study.has_best() ? SpeedupText(study.best()) : "none yet");
  }
  return left >= 0 ? text + ", about " + HumanDuration(left) + " left" : text;
}

std::string EventLine(const proto::Event& event, bool several_targets) {
  const auto seconds = static_cast<std::time_t>(event.unix_ms() / 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  const std::string target = several_targets && event.trial() > 0 ? fmt::format("target {}: ", event.study() + 1) : "";
  const std::string text = event.text().empty() ? event.kind() : event.text();
  return fmt::format("{:%H:%M:%S}  {}{}", local, target, Printable(text, 500));
}

std::string GapText(uint64_t events) {
  return fmt::format("{} earlier event{} no longer kept by the coordinator; counts and best are as of now", events, events == 1 ? " is" : "s are");
}

bool IsWorthALine(const proto::Event& event) {
  for (const std::string_view end : {".started", ".reused", ".leased", ".waiting"}) {
    const std::string& kind = event.kind();
    if (kind.size() >= end.size() && kind.compare(kind.size() - end.size(), end.size(), end) == 0) return false;
  }
  return true;
}

Result<proto::JobSummary> FollowJob(Client& client, uint64_t job, Console& console, const FollowOptions& options) {
  return Follower(client, job, console, options).Run();
}

int JobExitCode(const proto::JobSummary& job) {
  if (job.state() == proto::JOB_FAILED) return ExitCode(ErrorCode::kFailed);
  if (job.state() == proto::JOB_CANCELLED) return ExitCode(ErrorCode::kCancelled);
  if (job.studies_size() == 0) return ExitCode(ErrorCode::kNo);
  for (const proto::StudySummary& study : job.studies()) {
    if (!study.has_best()) return ExitCode(ErrorCode::kNo);
  }
  return 0;
}

}  // namespace hone
