#include "client/job_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "client/configuration.h"
#include "client/interrupt.h"
#include "client/keyboard.h"
#include "client/table.h"
#include "client/text_output.h"
#include "common/base/clock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// How long the coordinator may hold back an answer: the live view's clock moves at least this often.
constexpr milliseconds kWait{1'000};
// The job is read again at most this often while events come, and at least this often while none do.
constexpr milliseconds kRefresh{1'000};
constexpr milliseconds kRefreshAnyway{5'000};
// A log of a long search stays short: after so many lines of a kind, signs of life and the end alone are written.
constexpr int kTrialLines = 200;
constexpr int kOtherLines = 60;
constexpr int kBestLines = 80;
// Trials whose figures the live view looks at, and how many it asks for at once.
constexpr uint32_t kTrialsOfPicture = 500;
// Fewer rows show more of the search instead of the keys.
constexpr size_t kRowsForKeys = 5;
// Pauses of a replay are no longer than this: nobody wants to watch an idle night.
constexpr milliseconds kLongestPause{3'000};

int64_t MsSince(Steady::time_point start) {
  return std::chrono::duration_cast<milliseconds>(Steady::now() - start).count();
}

// Redraws a block of lines in place on stderr.
class LiveBlock {
 public:
  explicit LiveBlock(Console& console) : console_(console) {}
  ~LiveBlock() { Clear(); }

  void Draw(const std::vector<std::string>& lines) {
    if (lines == drawn_) return;
    // Terminals that know it show the frame at once; others pass over it.
    std::string text = "\x1b[?2026h" + Home();
    for (const std::string& line : lines) text += line + "\x1b[K\n";
    console_.Raw(text + "\x1b[J\x1b[?2026l");
    drawn_ = lines;
  }
  // For a line of its own: it stands above the block.
  void Clear() {
    if (!drawn_.empty()) console_.Raw(Home() + "\x1b[J");
    drawn_.clear();
  }

 private:
  std::string Home() const { return drawn_.empty() ? "\r" : fmt::format("\r\x1b[{}A", drawn_.size()); }
  Console& console_;
  std::vector<std::string> drawn_;
};

// What both the follower and the replay do with a state and with events.
class Teller {
 public:
  Teller(Console& console, const FollowOptions& options) : console_(console), options_(options), block_(console) {}

  ProgressState state;

  void Event(const proto::Event& event) {
    state.now_ms = std::max(state.now_ms, static_cast<int64_t>(event.unix_ms()));
    if (EndsATrial(event)) state.finished_ms.push_back(static_cast<int64_t>(event.unix_ms()));
    if (options_.event) return options_.event(event);
    if (options_.live || !(options_.compact ? IsWorthAShortLog(event) : IsWorthALine(event))) return;
    const bool of_trials = event.trial() > 0 || event.kind().compare(0, 6, "build.") == 0;
    int& told = of_trials ? trial_lines_ : other_lines_;
    if (told > (of_trials ? kTrialLines : kOtherLines)) return;
    if (++told > (of_trials ? kTrialLines : kOtherLines)) {
      return Line(LogLine(state.now_ms, state.job.job(), "note",
                          {{"text", "from here on bests, signs of life and the end alone are told"}}));
    }
    Line(EventLine(event, state.job.studies_size() > 1));
  }

  // A line a new best of a study.
  void Bests() {
    if (options_.live || options_.event) return;
    for (const proto::StudySummary& study : state.job.studies()) {
      if (!study.has_best() || !told_bests_.insert({study.study(), study.best().trial()}).second ||
          ++best_lines_ > kBestLines)
        continue;
      Line(BestLine(state.now_ms, state.job, study));
    }
  }

  bool is_paused = false;   // The view stays as it is, whatever happens.
  std::string keys;         // The view's last line: what the keys do; "" where none are read.

  void Show() {
    if (options_.live) {
      Draw();
    } else if (options_.heartbeat.count() > 0 && MsSince(spoke_) >= options_.heartbeat.count()) {
      Line(ProgressLine(state));
    }
  }

  void Draw() {
    const TerminalTraits traits = console_.CurrentTraits();
    const bool has_keys = !keys.empty() && traits.height > kRowsForKeys;
    const size_t rows = traits.height > 2 ? traits.height - 1 : 1;
    if (!is_paused || drawn_width_ != traits.width)
      drawn_ = ProgressLines(state, {traits.width, has_keys ? rows - 1 : rows, traits.utf8});
    drawn_width_ = traits.width;
    std::vector<std::string> lines = drawn_;
    if (has_keys) lines.push_back(CutEnd(keys, traits.width - 1));
    block_.Draw(lines);
  }

  // Something that happened to the watch itself.
  void Note(const std::string& event, const std::string& text) {
    if (options_.live) {
      block_.Clear();
      console_.Note("hone: " + text);
    } else {
      Line(LogLine(state.now_ms, state.job.job(), event, {{"text", text}}));
    }
  }

 private:
  void Line(const std::string& line) {
    if (options_.line && !options_.event) options_.line(line);
    spoke_ = Steady::now();
  }

  Console& console_;
  const FollowOptions& options_;
  LiveBlock block_;
  std::vector<std::string> drawn_;   // Without the line of keys.
  size_t drawn_width_ = 0;
  std::set<std::pair<uint32_t, uint64_t>> told_bests_;
  int trial_lines_ = 0;
  int other_lines_ = 0;
  int best_lines_ = 0;
  Steady::time_point spoke_ = Steady::now();
};

class Follower {
 public:
  Follower(Client& client, uint64_t job, Console& console, const FollowOptions& options)
      : client_(client), job_(job), options_(options), teller_(console, options), next_event_(options.after) {}

  Result<proto::JobSummary> Run();

 private:
  Result<bool> Look();         // True at the end.
  Result<bool> Lost(const Error& error);
  bool IsKeyPressed();
  Result<> Press(char key);
  void TellKeys();
  Result<> Refresh();
  Result<> ReadWorkers();
  Result<> ReadPoints();
  void TellGap(uint64_t events);

  Client& client_;
  const uint64_t job_;
  const FollowOptions& options_;
  Teller teller_;
  uint64_t next_event_;
  std::optional<uint64_t> next_trial_;   // Of the picture: the first that was not final when last asked.
  std::unique_ptr<Keyboard> keyboard_;   // nullptr: no keys are read.
  std::optional<char> key_;              // Pressed, and not done yet.
  bool asks_to_cancel_ = false;
  bool lost_ = false;
  int64_t clock_ahead_ms_ = 0;           // Of the coordinator's clock.
  Steady::time_point started_ = Steady::now();
  Steady::time_point heard_ = Steady::now();
  Steady::time_point refreshed_;
};

Result<proto::JobSummary> Follower::Run() {
  const HoldInterrupts hold;
  if (options_.live && options_.keys) keyboard_ = Keyboard::Open();
  TellKeys();
  TRY(Refresh());
  while (true) {
    if (Interrupted()) return FailInterrupted("interrupted");
    if (key_) TRY(Press(*std::exchange(key_, std::nullopt)));
    if (options_.tend) TRY(options_.tend());
    if (options_.timeout.count() > 0 && MsSince(started_) >= options_.timeout.count()) {
      return Fail(ErrorCode::kTimeout,
                  fmt::format("job {} still runs after {}", job_, HumanDuration(options_.timeout.count())),
                  fmt::format("it goes on: hone watch {}", job_));
    }
    TRY_ASSIGN(const bool over, Look());
    if (over) return teller_.state.job;
    teller_.state.now_ms = std::max(teller_.state.now_ms, SystemClock().UnixMs() + clock_ahead_ms_);
    teller_.Show();
  }
}

bool Follower::IsKeyPressed() {
  if (!key_ && keyboard_ != nullptr) key_ = keyboard_->Read();
  return key_.has_value();
}

void Follower::TellKeys() {
  if (keyboard_ == nullptr) return;
  if (asks_to_cancel_) {
    teller_.keys = fmt::format("cancel job {}?  y yes, any other key no", job_);
  } else if (teller_.is_paused) {
    teller_.keys = "paused  p go on  q leave  c cancel";
  } else {
    teller_.keys = "q leave, the job goes on  p pause  c cancel";
  }
}

// An unknown key does nothing. Whoever asks to cancel is asked once more.
Result<> Follower::Press(char key) {
  if (std::exchange(asks_to_cancel_, false)) {
    if (key == 'y' || key == 'Y') {
      const auto cancelled = client_.Cancel(job_, "by a key of its watch");
      if (!cancelled) teller_.Note("cancel", cancelled.error().message);
    }
  } else if (key == 'q') {
    return FailInterrupted("left the watch");
  } else if (key == 'p') {
    teller_.is_paused = !teller_.is_paused;
  } else if (key == 'c') {
    asks_to_cancel_ = true;
  }
  TellKeys();
  teller_.Show();
  return {};
}

Result<bool> Follower::Lost(const Error& error) {
  if (error.code == ErrorCode::kInterrupted) return false;   // The loop says it.
  if (error.code != ErrorCode::kUnreachable) return Fail(error);
  if (MsSince(heard_) > options_.lost_for.count()) {
    return Fail(ErrorCode::kUnreachable,
                fmt::format("the coordinator has not answered for {}", HumanDuration(MsSince(heard_))),
                fmt::format("the job is kept; when the coordinator is back: hone watch {}", job_));
  }
  if (!lost_) teller_.Note("reconnecting", "no answer from the coordinator, still trying (the job is kept)");
  lost_ = true;
  teller_.state.remark = fmt::format("reconnecting for {} (the job is kept)", HumanDuration(MsSince(heard_)));
  return false;
}

Result<bool> Follower::Look() {
  milliseconds wait = kWait;
  if (options_.timeout.count() > 0) {
    wait = std::clamp(milliseconds(options_.timeout.count() - MsSince(started_)), milliseconds(1), kWait);
  }
  const auto give_up = [this] { return Interrupted() || IsKeyPressed(); };
  const Result<proto::WatchEventsReply> reply = client_.Events(job_, next_event_, wait, give_up);
  if (!reply) return Lost(reply.error());
  if (lost_)
    teller_.Note("reconnected",
                 fmt::format("the coordinator is back after {}; nothing was missed", HumanDuration(MsSince(heard_))));
  lost_ = false;
  heard_ = Steady::now();
  teller_.state.remark.clear();
  if (reply->gap() > 0) TellGap(reply->gap());
  for (const proto::Event& event : reply->events()) {
    next_event_ = std::max(next_event_, event.sequence());
    teller_.Event(event);
  }
  const bool caught_up = reply->events_size() == 0 || next_event_ >= reply->last();
  const bool over = reply->state() != proto::JOB_RUNNING && caught_up;
  const milliseconds due = reply->events_size() > 0 ? kRefresh : kRefreshAnyway;
  if (over || reply->gap() > 0 || MsSince(refreshed_) >= due.count()) {
    const Result<> refreshed = Refresh();
    if (!refreshed) return Lost(refreshed.error());
    teller_.Bests();
    return over;
  }
  return false;
}

Result<> Follower::Refresh() {
  refreshed_ = Steady::now();
  TRY_ASSIGN(teller_.state.job, client_.Job(job_));
  if (!options_.live) return {};
  TRY(ReadWorkers());
  return ReadPoints();
}

Result<> Follower::ReadWorkers() {
  teller_.state.work.clear();
  TRY_ASSIGN(const std::vector<proto::WorkerSummary> workers, client_.Workers());
  for (const proto::WorkerSummary& worker : workers) {
    // A worker was seen just now: its stamp is the coordinator's clock.
    const int64_t seen = static_cast<int64_t>(worker.last_seen_unix_ms());
    if (worker.state() != "lost" && seen > 0)
      clock_ahead_ms_ = std::max(clock_ahead_ms_, seen - SystemClock().UnixMs());
    if (!worker.work().empty())
      teller_.state.work.push_back(fmt::format("{}: {}", Printable(worker.name(), 100), Printable(worker.work(), 200)));
  }
  return {};
}

// The picture grows by the trials that ended since; of a long search the last few hundred are enough.
Result<> Follower::ReadPoints() {
  const SketchAxes axes = AxesOf(teller_.state.job);
  if (!next_trial_) {
    const uint64_t finished = FinishedTrials(teller_.state.job);
    next_trial_ = finished > kTrialsOfPicture ? finished - kTrialsOfPicture : 0;
  }
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client_.TrialsFrom(job_, *next_trial_, kTrialsOfPicture));
  bool all_final = true;
  for (const proto::TrialSummary& trial : trials) {
    const bool ended = trial.state() != proto::TRIAL_RUNNING && trial.state() != proto::TRIAL_WAITING;
    all_final = all_final && ended;
    if (all_final) ++*next_trial_;
    if (!all_final || trial.trial() == 0) continue;
    const auto kind =
        trial.state() == proto::TRIAL_COMPLETE ? SketchPoint::Kind::feasible : SketchPoint::Kind::infeasible;
    if (const auto point = PointOf(axes, trial, kind)) teller_.state.points.push_back(*point);
  }
  return {};
}

// What they would have told is in the summary, which is read again.
void Follower::TellGap(uint64_t events) {
  next_event_ += events;
  teller_.state.missed += events;
  if (!options_.live) teller_.Note("gap", GapText(events));
}

// --- replay --------------------------------------------------------------------------------------------------------

// Whether `a` is better than `b` by the first objective.
bool IsBetter(const proto::JobSummary& job, const proto::TrialSummary& a, const proto::TrialSummary& b) {
  const std::string metric = job.objectives_size() > 0 ? job.objectives(0).metric() : "latency_ms_p50";
  if (metric == "latency_ms_p50" && a.has_speedup() && b.has_speedup())
    return a.speedup().value() > b.speedup().value();
  const proto::Metric* of_a = FindMetric(a.metrics(), metric);
  const proto::Metric* of_b = FindMetric(b.metrics(), metric);
  if (of_a == nullptr || of_b == nullptr) return of_a != nullptr;
  return job.objectives_size() > 0 && job.objectives(0).maximize() ? of_a->value() > of_b->value()
                                                                   : of_a->value() < of_b->value();
}

void Count(const proto::Event& event, proto::Counts& counts) {
  if (event.kind() == "trial.complete") counts.set_complete(counts.complete() + 1);
  if (event.kind() == "trial.infeasible") counts.set_infeasible(counts.infeasible() + 1);
  if (event.kind() == "trial.pruned") counts.set_pruned(counts.pruned() + 1);
  if (event.kind() == "trial.failed") counts.set_failed(counts.failed() + 1);
}

// The job as it stood after some of its events. What a search knew of a trial is what is stored of it now.
class Past {
 public:
  Past(proto::JobSummary done, const std::vector<proto::TrialSummary>& trials)
      : done_(std::move(done)), axes_(AxesOf(done_)) {
    for (const proto::TrialSummary& trial : trials) trials_[{trial.study(), trial.trial()}] = trial;
  }

  void Begin(ProgressState& state) const {
    state.job = done_;
    state.job.set_state(proto::JOB_RUNNING);
    state.now_ms = static_cast<int64_t>(done_.created_unix_ms());
    for (proto::StudySummary& study : *state.job.mutable_studies()) {
      study.clear_counts();
      study.clear_best();
      study.clear_pareto();
      study.set_builds_run(0);
      study.set_builds_reused(0);
    }
  }

  void After(const proto::Event& event, ProgressState& state) const {
    if (static_cast<int>(event.study()) >= state.job.studies_size()) return;
    proto::StudySummary& study = *state.job.mutable_studies(static_cast<int>(event.study()));
    if (event.kind() == "build.done") study.set_builds_run(study.builds_run() + 1);
    if (event.kind() == "build.reused") study.set_builds_reused(study.builds_reused() + 1);
    if (!EndsATrial(event)) return;
    Count(event, *study.mutable_counts());
    const auto trial = trials_.find({event.study(), event.trial()});
    if (trial == trials_.end()) return;
    const bool complete = event.kind() == "trial.complete";
    const auto kind = complete ? SketchPoint::Kind::feasible : SketchPoint::Kind::infeasible;
    if (const auto point = PointOf(axes_, trial->second, kind)) state.points.push_back(*point);
    if (complete && (!study.has_best() || IsBetter(done_, trial->second, study.best())))
      *study.mutable_best() = trial->second;
  }

  const proto::JobSummary& done() const { return done_; }

 private:
  proto::JobSummary done_;
  SketchAxes axes_;
  std::map<std::pair<uint32_t, uint64_t>, proto::TrialSummary> trials_;
};

Result<std::vector<proto::Event>> AllEvents(Client& client, uint64_t job) {
  std::vector<proto::Event> events;
  uint64_t after = 0;
  while (true) {
    TRY_ASSIGN(const proto::WatchEventsReply reply, client.Events(job, after, milliseconds(0), Interrupted));
    events.insert(events.end(), reply.events().begin(), reply.events().end());
    if (reply.events_size() == 0 || events.back().sequence() >= reply.last()) return events;
    after = events.back().sequence();
  }
}

// Lets the pause between two events pass, at the replay's pace; the view's clock goes on meanwhile.
Result<> Pause(double ms, double speed, Teller& teller) {
  const auto end =
      Steady::now() +
      std::min<Steady::duration>(kLongestPause, std::chrono::microseconds(static_cast<int64_t>(ms * 1000 / speed)));
  const int64_t began = teller.state.now_ms;
  const Steady::time_point start = Steady::now();
  while (Steady::now() < end) {
    if (Interrupted()) return FailInterrupted("interrupted");
    std::this_thread::sleep_for(std::min<Steady::duration>(end - Steady::now(), milliseconds(100)));
    teller.state.now_ms = began + static_cast<int64_t>(std::min(ms, static_cast<double>(MsSince(start)) * speed));
    teller.Show();
  }
  return {};
}

}  // namespace

Result<proto::JobSummary> FollowJob(Client& client, uint64_t job, Console& console, const FollowOptions& options) {
  return Follower(client, job, console, options).Run();
}

Result<proto::JobSummary> ReplayJob(Client& client, uint64_t number, double speed, Console& console,
                                    const FollowOptions& options) {
  const HoldInterrupts hold;
  TRY_ASSIGN(proto::JobSummary job, client.Job(number));
  if (job.state() == proto::JOB_RUNNING) {
    return Fail(ErrorCode::kConflict, fmt::format("job {} still runs: what is not over cannot be replayed", number),
                fmt::format("hone watch {}", number));
  }
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client.Trials(number, std::nullopt));
  TRY_ASSIGN(const std::vector<proto::Event> events, AllEvents(client, number));
  const Past past(std::move(job), trials);
  Teller teller(console, options);
  past.Begin(teller.state);
  for (const proto::Event& event : events) {
    const auto gap = static_cast<double>(static_cast<int64_t>(event.unix_ms()) - teller.state.now_ms);
    if (gap > 0) TRY(Pause(gap, speed, teller));
    teller.Event(event);
    past.After(event, teller.state);
    teller.Bests();
    teller.Show();
  }
  return past.done();
}

bool CanDrawLive(const Console& console) {
  return console.traits().err_terminal && !console.traits().dumb && !console.quiet;
}

milliseconds HeartbeatInterval() {
  const std::string& text = TheConfiguration().Get("progress_interval").value;
  const Result<int64_t> ms = ParseDuration(text);
  return milliseconds(ms ? *ms : 0);
}

}  // namespace hone
