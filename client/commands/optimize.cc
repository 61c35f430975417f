// hone optimize: one job on this machine, with a coordinator and a worker of its own.
#include <fmt/format.h>

#include <chrono>
#include <map>
#include <memory>

#include "client/command.h"
#include "client/explanation.h"
#include "client/embedded_fleet.h"
#include "client/interrupt.h"
#include "client/job_progress.h"
#include "client/local_task.h"
#include "client/optimize.h"
#include "client/recipe_check.h"
#include "client/result_files.h"
#include "client/search_plan.h"
#include "client/text_output.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// The result's model must not land on the model given.
Result<> RefuseOverwriting(const ModelFile& model, const fs::path& output) {
  std::error_code failure;
  if (fs::is_directory(model.path, failure) && fs::equivalent(model.path, output, failure)) {
    return Fail(ErrorCode::kRejected, fmt::format("the best model would be mixed with {}", model.path.string()),
                "name another folder with -o");
  }
  if (!fs::exists(output, failure) || model.path.stem() != "model") return {};
  if (!fs::equivalent(fs::absolute(model.path).parent_path(), output, failure)) return {};
  return Fail(ErrorCode::kRejected, fmt::format("the best model would overwrite {}", model.path.string()),
              "name another folder with -o");
}

struct Submitted {
  uint64_t job = 0;
  bool resumed = false;
};

// Runs of the same request are numbered; the first number that is new or still running is this one.
Result<Submitted> SubmitOrResume(Client& client, JobRequest& request) {
  TRY_ASSIGN(const std::vector<proto::JobSummary> jobs, client.Jobs(1000));
  std::map<uint64_t, proto::JobState> known;
  for (const proto::JobSummary& job : jobs) known[job.job()] = job.state();
  Submitted submitted;
  for (size_t run = 1; submitted.job == 0; ++run) {
    request.submission.request = fmt::format("{}/{}", request.key, run);
    TRY_ASSIGN(const proto::SubmitJobReply reply,
               client.Submit(request.submission, [](uint64_t, uint64_t) { return !Interrupted(); }));
    const auto earlier = known.find(reply.job());
    if (earlier != known.end() && earlier->second != proto::JOB_RUNNING) continue;
    submitted = {reply.job(), earlier != known.end()};
    for (const std::string& note : reply.notes()) request.notes.push_back(note);
  }
  // An interrupted job of another recipe or model would share the machine with this one.
  for (const auto& [job, state] : known) {
    if (state != proto::JOB_RUNNING || job == submitted.job) continue;
    TRY(client.Cancel(job, fmt::format("job {} of another recipe or model took its place", submitted.job)));
    request.notes.push_back(
        fmt::format("job {}, interrupted earlier, was cancelled: its recipe, model or data differ", job));
  }
  return submitted;
}

bool AnyBaseline(const proto::JobSummary& job) {
  for (const proto::StudySummary& study : job.studies()) {
    if (study.baseline().state() == proto::TRIAL_COMPLETE) return true;
  }
  return false;
}

class Optimize {
 public:
  Optimize(const OptimizeOptions& options, Console& console)
      : options_(options), console_(console), output_(options.output),
        state_(options.state.empty() ? output_ / ".hone" : fs::path(options.state)) {}

  Result<int> Run();

 private:
  Result<> CheckOutput() const;
  Result<int> DryRun();
  Result<proto::JobSummary> Search(EmbeddedFleet& fleet);
  Result<int> Deliver(EmbeddedFleet& fleet, const proto::JobSummary& job);

  const OptimizeOptions& options_;
  Console& console_;
  const fs::path output_;
  const fs::path state_;
  JobRequest request_;
  bool submitted_ = false;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

Result<> Optimize::CheckOutput() const {
  std::error_code failure;
  if (!fs::exists(output_, failure) || fs::is_directory(output_, failure)) return {};
  return Fail(ErrorCode::kRejected, fmt::format("{} is a file, not a folder", options_.output),
              "name another folder with -o");
}

Result<int> Optimize::DryRun() {
  TRY_ASSIGN(const SearchPlan plan, PlanSearch(options_.job, nullptr, console_.others));
  TRY(RefuseOverwriting(plan.request.model, output_));
  std::error_code failure;
  const std::string ending =
      fs::exists(state_, failure)
          ? fmt::format("nothing was changed; builds and measurements in {} will be reused", state_.string())
          : "nothing was changed";
  TRY(console_.json ? console_.PrintJson(PlanJson(plan))
                    : console_.Print(DryRunText(plan, console_.table_width(), ending)));
  return 0;
}

Result<int> Optimize::Run() {
  TRY(CheckOutput());
  if (options_.dry_run) return DryRun();
  TRY_ASSIGN(request_, PrepareJob(options_.job, LocalCatalogue, &console_.others));
  TRY(RefuseOverwriting(request_.model, output_));
  for (const std::string& note : request_.notes) console_.Note("hone: " + note);
  request_.notes.clear();

  const HoldInterrupts hold;
  TRY_ASSIGN(NewFolder output, NewFolder::Make(output_));
  TRY_ASSIGN(NewFolder state, NewFolder::Make(state_));
  FleetOptions fleet_options;
  fleet_options.state = fs::absolute(state_);
  fleet_options.threads = options_.job.threads;
  fleet_options.note = [this](const std::string& text) { console_.Note("hone: " + text); };
  TRY_ASSIGN(const std::unique_ptr<EmbeddedFleet> fleet, EmbeddedFleet::Start(fleet_options));

  const Result<proto::JobSummary> job = Search(*fleet);
  // A job that was refused, or failed before so much as a baseline, leaves nothing to come back to: what this command
  // made goes again.
  if (job ? AnyBaseline(*job) || job->state() != proto::JOB_FAILED : submitted_) {
    output.Keep();
    state.Keep();
  }
  if (!job && Interrupted() && submitted_) {
    return Fail(ErrorCode::kInterrupted, "interrupted",
                fmt::format("what is done is kept in {}; the same command goes on from there", state_.string()));
  }
  if (!job && Interrupted()) return Fail(ErrorCode::kInterrupted, "interrupted");
  if (!job) return Fail(job.error());
  if (!AnyBaseline(*job) && job->state() == proto::JOB_FAILED) {
    return Fail(ErrorCode::kFailed, job->error().empty() ? "the job failed" : job->error());
  }
  return Deliver(*fleet, *job);
}

Result<proto::JobSummary> Optimize::Search(EmbeddedFleet& fleet) {
  Client& client = fleet.client();
  const Result<Submitted> submitted = SubmitOrResume(client, request_);
  if (!submitted) {
    FindOthers(client, CheckOf(request_), submitted.error(), console_.others);
    return Fail(submitted.error());
  }
  submitted_ = true;
  for (const std::string& note : request_.notes) console_.Note("hone: " + note);
  FollowOptions follow;
  TRY_ASSIGN(const proto::JobSummary before, client.Job(submitted->job));
  if (submitted->resumed) {
    console_.Note(fmt::format("resuming job {}, {} trials done", submitted->job, FinishedTrials(before)));
    follow.after = before.last_event();
  }
  follow.live = CanDrawLive(console_);
  follow.heartbeat = HeartbeatInterval();
  if (!console_.quiet) follow.line = [this](const std::string& line) { console_.Note(line); };
  follow.tend = [&fleet] { return fleet.Tend(); };
  return FollowJob(client, submitted->job, console_, follow);
}

Result<int> Optimize::Deliver(EmbeddedFleet& fleet, const proto::JobSummary& job) {
  TRY_ASSIGN(const auto written, WriteBests(fleet.client(), job, output_));
  Json result = ResultJson(job, written);
  result["wall_s"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  TRY_ASSIGN(const std::vector<Explanation> explanations, ExplainStudies(fleet.client(), job));
  result["explanation"] = Json::array();
  for (const Explanation& explanation : explanations) result["explanation"].push_back(ExplanationJson(explanation));
  TRY(WriteResultFile(output_, result));
  const std::string text = ResultText(job, written, request_.model.path.filename().string()) +
                           fmt::format("report       {}", (output_ / "result.json").string());
  if (console_.json) {
    console_.Note(text);
    TRY(console_.PrintJson(result));
  } else {
    TRY(console_.Print(text + "\n"));
  }
  if (job.state() == proto::JOB_FAILED) console_.Note("hone: the job failed: " + job.error());
  return JobExitCode(job);
}

}  // namespace

Result<int> RunOptimize(const OptimizeOptions& options, Console& console) { return Optimize(options, console).Run(); }

Run DefineOptimize(Flags& flags) {
  auto options = std::make_shared<OptimizeOptions>();
  AddJobFlags(flags, options->job);
  flags.RequiredText("-o,--output", "DIR", "folder for the best model, result.json and the job's state",
                     options->output);
  flags.Count("--threads", "N", "let the search and everything measured use N cores", options->job.threads, 1, 4096);
  flags.Text("--state", "DIR", "where the job's state is kept (default: .hone in the output folder)", options->state);
  flags.Toggle("--dry-run", "check everything, tell what would be searched, and change nothing", options->dry_run);
  return [options](Console& console) { return RunOptimize(*options, console); };
}

}  // namespace hone
