// hone jobs, status, watch, wait, trials, best, pareto, cancel: questions about jobs at a coordinator.
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "client/command.h"
#include "client/explanation.h"
#include "client/job_progress.h"
#include "client/remote.h"
#include "client/rows.h"
#include "client/text_output.h"
#include "common/base/clock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct JobCommandOptions {
  CoordinatorFlags coordinator;
  std::string job;
  std::string reason;
  std::optional<uint64_t> limit;
  std::optional<uint64_t> target;
  std::optional<int64_t> timeout_ms;
  std::optional<uint64_t> since;
  std::string replay;
  std::string events;
  std::string format;  // Of a list: "", csv, md or jsonl.
  bool why = false;
  bool plain = false;
  bool compact = false;
};

std::shared_ptr<JobCommandOptions> WithJob(Flags& flags) {
  auto options = std::make_shared<JobCommandOptions>();
  flags.Argument("JOB", "number of the job", options->job);
  AddCoordinatorFlag(flags, options->coordinator);
  return options;
}

// Prints one view of a job; the exit code is the view's.
struct View {
  std::function<Json(const proto::JobSummary&)> json;
  std::function<std::string(const proto::JobSummary&, size_t)> text;
  std::function<int(const proto::JobSummary&)> code = [](const proto::JobSummary&) { return 0; };
};

Result<int> Show(const JobCommandOptions& options, const View& view, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const proto::JobSummary job, client.Job(number));
  TRY(console.json ? console.PrintJson(view.json(job)) : console.Print(view.text(job, console.table_width())));
  return view.code(job);
}

std::string BestsText(const proto::JobSummary& job, size_t width) {
  std::vector<proto::TrialSummary> bests;
  for (const proto::StudySummary& study : job.studies()) {
    if (study.has_best()) bests.push_back(study.best());
  }
  return bests.empty() ? fmt::format("job {} has no feasible candidate{}\n", job.job(),
                                     job.state() == proto::JOB_RUNNING ? " yet" : "")
                       : TrialsText(bests, width);
}

std::string FrontText(const proto::JobSummary& job, size_t width) {
  std::vector<proto::TrialSummary> front;
  for (const proto::StudySummary& study : job.studies())
    front.insert(front.end(), study.pareto().begin(), study.pareto().end());
  return front.empty() ? fmt::format("job {} has no feasible candidate{}\n", job.job(),
                                     job.state() == proto::JOB_RUNNING ? " yet" : "")
                       : TrialsText(front, width);
}

// 0 with a best for every target; without: 3 while the job still runs, 1 once it is over.
int BestCode(const proto::JobSummary& job) {
  bool all = job.studies_size() > 0;
  for (const proto::StudySummary& study : job.studies()) all = all && study.has_best();
  if (all) return 0;
  return ExitCode(job.state() == proto::JOB_RUNNING ? ErrorCode::kUnsure : ErrorCode::kNo);
}

enum class Voice { events, silent };

// How the watch ended, for scripts: the one last line.
int EndOf(const Result<proto::JobSummary>& job) { return job ? JobExitCode(*job) : ExitCode(job.error().code); }

FollowOptions FollowOptionsOf(const JobCommandOptions& options, Voice voice, Console& console) {
  FollowOptions follow;
  follow.timeout = std::chrono::milliseconds(options.timeout_ms.value_or(0));
  if (voice == Voice::silent || console.quiet) return follow;
  follow.heartbeat = HeartbeatInterval();
  follow.after = options.since.value_or(0);
  follow.compact = options.compact;
  follow.live = CanDrawLive(console) && !options.plain && !options.compact && options.events.empty();
  follow.keys = follow.live;
  // The lines are the answer, unless a JSON document is.
  follow.line = [&console](const std::string& line) {
    if (console.json) return console.Note(line);
    (void)console.Print(line + "\n");
  };
  if (!options.events.empty()) {
    follow.event = [&console](const proto::Event& event) {
      (void)console.Print(EventJson(event).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    };
  }
  return follow;
}

Result<double> ParseSpeed(const std::string& text) {
  const std::string number = !text.empty() && text.back() == 'x' ? text.substr(0, text.size() - 1) : text;
  const Result<double> speed = ParseReal(number);
  if (speed && *speed > 0 && *speed <= 1e9) return *speed;
  return Fail(ErrorCode::kUsage,
              fmt::format("--replay {}: must be how many times as fast, such as 60x", Printable(text, 40)));
}

Result<int> Follow(const JobCommandOptions& options, Voice voice, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  std::optional<double> speed;
  if (!options.replay.empty()) {
    TRY_ASSIGN(speed, ParseSpeed(options.replay));
  }
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  const FollowOptions follow = FollowOptionsOf(options, voice, console);
  const Result<proto::JobSummary> job =
      speed ? ReplayJob(client, number, *speed, console, follow) : FollowJob(client, number, console, follow);
  const bool lines =
      voice == Voice::events && !console.json && !console.quiet && !follow.live && options.events.empty();
  const int64_t now = SystemClock().UnixMs();
  const bool is_over_for_us =
      !job && job.error().code != ErrorCode::kNotFound && job.error().code != ErrorCode::kConflict;
  if (lines && is_over_for_us) TRY(console.Print(GoesOnLine(now, number, EndOf(job)) + "\n"));
  if (!job && job.error().code == ErrorCode::kInterrupted) {
    return Fail(ErrorCode::kInterrupted, job.error().message,
                fmt::format("job {} goes on: hone watch {}", number, number));
  }
  if (!job) return Fail(job.error());
  if (console.json) {
    TRY(console.PrintJson(JobJson(*job)));
  } else if (lines) {
    TRY(console.Print(EndLine(speed ? static_cast<int64_t>(job->finished_unix_ms()) : now, *job, EndOf(job)) + "\n"));
  } else if (options.events.empty()) {
    TRY(console.Print(VerdictText(*job)));
  }
  return JobExitCode(*job);
}

Result<int> ListJobs(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const std::vector<proto::JobSummary> jobs, client.Jobs(static_cast<uint32_t>(options.limit.value_or(20))));
  TRY(PrintList(
      console, options.format, [&] { return JobsJson(jobs); }, "jobs",
      [&] { return JobsText(jobs, console.table_width()); }));
  return 0;
}

Result<int> ListTrials(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  std::optional<uint32_t> study;
  if (options.target) study = static_cast<uint32_t>(*options.target - 1);
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client.Trials(number, study));
  TRY(PrintList(
      console, options.format, [&] { return TrialsJson(number, trials); }, "trials",
      [&] { return TrialsText(trials, console.table_width()); }));
  return 0;
}

Result<int> Cancel(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const proto::CancelJobReply reply, client.Cancel(number, options.reason));
  if (console.json) {
    TRY(console.PrintJson(
        {{"schema", "hone.cancel/1"}, {"job", std::to_string(number)}, {"was_running", reply.was_running()}}));
  } else {
    TRY(console.Print(fmt::format("job {} {}\n", number, reply.was_running() ? "is cancelled" : "was over already")));
  }
  return 0;
}

}  // namespace

Run DefineJobs(Flags& flags) {
  auto options = std::make_shared<JobCommandOptions>();
  flags.Count("--limit", "N", "at most this many (default 20)", options->limit, 1, 10'000);
  AddFormatFlag(flags, options->format);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return ListJobs(*options, console); };
}

Run DefineStatus(Flags& flags) {
  const auto options = WithJob(flags);
  return [options](Console& console) { return Show(*options, {JobJson, JobText}, console); };
}

Run DefineBest(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Toggle("--why", "what ended the search, what each pass bought, what mattered, what kept trials out",
               options->why);
  return [options](Console& console) {
    return options->why ? PrintExplanations(options->job, options->coordinator, console)
                        : Show(*options, {BestsJson, BestsText, BestCode}, console);
  };
}

Run DefinePareto(Flags& flags) {
  const auto options = WithJob(flags);
  return [options](Console& console) { return Show(*options, {ParetoJson, FrontText, BestCode}, console); };
}

Run DefineWatch(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Toggle("--plain", "lines on a terminal, too", options->plain);
  flags.Toggle("--compact", "lines of what matters alone: bests, lost workers, failures, the end", options->compact);
  flags.Text("--events", "FORMAT", "the events as they are, one JSON object a line: jsonl", options->events);
  flags.Choose({"jsonl"});
  flags.Count("--since", "SEQ", "go on after this event's number", options->since, 0, INT64_MAX);
  flags.Text("--replay", "SPEED", "show a job that is over as it happened, so many times as fast: 60x",
             options->replay);
  flags.Duration("--timeout", "stop watching after this long (exit 10); the job goes on", options->timeout_ms);
  return [options](Console& console) { return Follow(*options, Voice::events, console); };
}

Run DefineWait(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Duration("--timeout", "stop waiting after this long (exit 10); the job goes on", options->timeout_ms);
  return [options](Console& console) { return Follow(*options, Voice::silent, console); };
}

Run DefineTrials(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Count("--target", "N", "of target number N alone", options->target, 1, 1000);
  AddFormatFlag(flags, options->format);
  return [options](Console& console) { return ListTrials(*options, console); };
}

Run DefineCancel(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Text("--reason", "TEXT", "kept with the job", options->reason);
  return [options](Console& console) { return Cancel(*options, console); };
}

}  // namespace hone
