// hone get: models of a job, downloaded.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/command.h"
#include "client/remote.h"
#include "client/result_files.h"
#include "client/text_output.h"

namespace hone {
namespace {

struct GetOptions {
  std::string job;
  std::string output;
  CoordinatorFlags coordinator;
  std::optional<uint64_t> target;
};

Result<int> GetBests(Client& client, const GetOptions& options, const proto::JobSummary& job, Console& console) {
  const bool any = std::any_of(job.studies().begin(), job.studies().end(),
                               [](const proto::StudySummary& s) { return s.has_best(); });
  if (!any) {
    const bool running = job.state() == proto::JOB_RUNNING;
    return Fail(running ? ErrorCode::kUnsure : ErrorCode::kNo,
                fmt::format("job {} has no feasible candidate{}", job.job(), running ? " yet" : ""),
                fmt::format("see `hone trials {}`", job.job()));
  }
  TRY_ASSIGN(NewFolder output, NewFolder::Make(options.output));
  TRY_ASSIGN(const auto written, WriteBests(client, job, options.output));
  const Json result = ResultJson(job, written);
  TRY(WriteResultFile(options.output, result));
  output.Keep();
  TRY(console.json ? console.PrintJson(result) : console.Print(ResultText(job, written, job.name())));
  return 0;
}

Result<int> GetTrial(Client& client, const GetOptions& options, uint64_t job, uint64_t number, Console& console) {
  const auto study = static_cast<uint32_t>(options.target.value_or(1) - 1);
  TRY_ASSIGN(const proto::TrialSummary trial, FindTrial(client, job, study, number));
  if (trial.model().files_size() == 0) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("trial {}/{} is {} and has no model", job, number, StateName(trial.state())),
                trial.reason());
  }
  TRY_ASSIGN(NewFolder output, NewFolder::Make(options.output));
  TRY_ASSIGN(const WrittenModel written, WriteModel(client, trial.model(), options.output));
  Json document = {{"schema", "hone.trial/1"}, {"job", std::to_string(job)}};
  document.update(TrialJson(trial));
  document["path"] = written.path;
  document["files"] = written.files;
  TRY(WriteResultFile(options.output, document));
  output.Keep();
  TRY(console.json ? console.PrintJson(document)
                   : console.Print(TrialsText({trial}, console.table_width()) + written.path + "\n"));
  return 0;
}

Result<int> Get(const GetOptions& options, Console& console) {
  TRY_ASSIGN(const JobReference reference, ParseJobReference(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(proto::JobSummary job, client.Job(reference.job));
  if (options.target && *options.target > static_cast<uint64_t>(job.studies_size())) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has {} targets, not {}", reference.job, job.studies_size(), *options.target));
  }
  if (reference.trial) return GetTrial(client, options, reference.job, *reference.trial, console);
  if (options.target) {
    const proto::StudySummary chosen = job.studies(static_cast<int>(*options.target) - 1);
    job.clear_studies();
    *job.add_studies() = chosen;
  }
  return GetBests(client, options, job, console);
}

}  // namespace

Run DefineGet(Flags& flags) {
  auto options = std::make_shared<GetOptions>();
  flags.Argument("JOB", "JOB, JOB/TRIAL or JOB/baseline", options->job);
  flags.RequiredText("-o,--output", "DIR", "folder for the files", options->output);
  flags.Count("--target", "N", "of target number N (for a trial: default 1)", options->target, 1, 1000);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Get(*options, console); };
}

}  // namespace hone
