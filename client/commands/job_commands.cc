// hone jobs, status, watch, wait, trials, best, pareto, cancel: questions about jobs at a coordinator.
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "client/command.h"
#include "client/explanation.h"
#include "client/job_progress.h"
#include "client/remote.h"
#include "client/text_output.h"

namespace hone {
namespace {

struct JobCommandOptions {
  CoordinatorFlags coordinator;
  std::string job;
  std::string reason;
  std::optional<uint64_t> limit;
  std::optional<uint64_t> target;
  std::optional<int64_t> timeout_ms;
  bool why = false;
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
  return bests.empty() ? fmt::format("job {} has no feasible candidate{}\n", job.job(), job.state() == proto::JOB_RUNNING ? " yet" : "")
                       : TrialsText(bests, width);
}

std::string FrontText(const proto::JobSummary& job, size_t width) {
  std::vector<proto::TrialSummary> front;
  for (const proto::StudySummary& study : job.studies()) front.insert(front.end(), study.pareto().begin(), study.pareto().end());
  return front.empty() ? fmt::format("job {} has no feasible candidate{}\n", job.job(), job.state() == proto::JOB_RUNNING ? " yet" : "")
                       : TrialsText(front, width);
}

// 0 with a best for every target; without: 3 while the job still runs, 1 once it is over.
int BestCode(const proto::JobSummary& job) {
  bool all = job.studies_size() > 0;
  for (const proto::StudySummary& study : job.studies()) all = all && study.has_best();
  if (all) return 0;
  return ExitCode(job.state() == proto::JOB_RUNNING ? ErrorCode::kUnsure : ErrorCode::kNo);
}

std::string Verdict(const proto::JobSummary& job) {
  std::string text = fmt::format("job {} {}", job.job(), StateName(job.state()));
  if (!job.error().empty()) text += ": " + job.error();
  for (const proto::StudySummary& study : job.studies()) {
    text += study.has_best() ? fmt::format("; best trial {}, {}", study.best().trial(), SpeedupText(study.best())) : "; no feasible candidate";
  }
  const bool any = BestCode(job) == 0;
  return text + (any ? fmt::format("\nhone get {} -o out\n", job.job()) : "\n");
}

enum class Voice { events, silent };

Result<int> Follow(const JobCommandOptions& options, Voice voice, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  FollowOptions follow;
  follow.timeout = std::chrono::milliseconds(options.timeout_ms.value_or(0));
  if (voice == Voice::events && !console.quiet) {
    follow.live = console.traits().err_terminal && !console.traits().dumb;
    // The events are the answer, unless a JSON document is.
    follow.line = [&console](const std::string& line) {
      if (console.json) return console.Note(line);
      (void)console.Print(line + "\n");
    };
  }
  const Result<proto::JobSummary> job = FollowJob(client, number, console, follow);
  if (!job && job.error().code == ErrorCode::kInterrupted) {
    return Fail(ErrorCode::kInterrupted, "interrupted", fmt::format("job {} goes on: hone watch {}", number, number));
  }
  if (!job) return Fail(job.error());
  TRY(console.json ? console.PrintJson(JobJson(*job)) : console.Print(Verdict(*job)));
  return JobExitCode(*job);
}

Result<int> ListJobs(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const std::vector<proto::JobSummary> jobs, client.Jobs(static_cast<uint32_t>(options.limit.value_or(20))));
  TRY(console.json ? console.PrintJson(JobsJson(jobs)) : console.Print(JobsText(jobs, console.table_width())));
  return 0;
}

Result<int> ListTrials(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  std::optional<uint32_t> study;
  if (options.target) study = static_cast<uint32_t>(*options.target - 1);
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client.Trials(number, study));
  TRY(console.json ? console.PrintJson(TrialsJson(number, trials)) : console.Print(TrialsText(trials, console.table_width())));
  return 0;
}

Result<int> Cancel(const JobCommandOptions& options, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const proto::CancelJobReply reply, client.Cancel(number, options.reason));
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.cancel/1"}, {"job", std::to_string(number)}, {"was_running", reply.was_running()}}));
  } else {
    TRY(console.Print(fmt::format("job {} {}\n", number, reply.was_running() ? "is cancelled" : "was over already")));
  }
  return 0;
}

}  // namespace

Run DefineJobs(Flags& flags) {
  auto options = std::make_shared<JobCommandOptions>();
  flags.Count("--limit", "N", "at most this many (default 20)", options->limit, 1, 10'000);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return ListJobs(*options, console); };
}

Run DefineStatus(Flags& flags) {
  const auto options = WithJob(flags);
  return [options](Console& console) { return Show(*options, {JobJson, JobText}, console); };
}

Run DefineBest(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Toggle("--why", "what ended the search, what each pass bought, what mattered, what kept trials out", options->why);
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
  flags.Duration("--timeout", "stop watching after this long (exit 10)", options->timeout_ms);
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
  return [options](Console& console) { return ListTrials(*options, console); };
}

Run DefineCancel(Flags& flags) {
  const auto options = WithJob(flags);
  flags.Text("--reason", "TEXT", "kept with the job", options->reason);
  return [options](Console& console) { return Cancel(*options, console); };
}

}  // namespace hone
