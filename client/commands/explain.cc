// hone explain, compare: why a result is what it is.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/explanation.h"
#include "client/remote.h"

namespace hone {
namespace {

struct ExplainOptions {
  CoordinatorFlags coordinator;
  std::string job;
  std::string a, b;
  std::optional<uint64_t> target;
};

Result<proto::TrialSummary> Named(Client& client, const std::string& name, uint64_t target) {
  TRY_ASSIGN(const JobReference reference, ParseJobReference(name));
  TRY_ASSIGN(const proto::JobSummary job, client.Job(reference.job));
  if (target > static_cast<uint64_t>(job.studies_size())) {
    return Fail(ErrorCode::kNotFound, fmt::format("job {} has {} targets, not {}", reference.job, job.studies_size(), target));
  }
  const proto::StudySummary& study = job.studies(static_cast<int>(target) - 1);
  if (!reference.trial) {
    if (study.has_best()) return study.best();
    return Fail(ErrorCode::kNotFound, fmt::format("job {} has no best candidate", reference.job), fmt::format("see `hone trials {}`", reference.job));
  }
  return FindTrial(client, reference.job, study.study(), *reference.trial);
}

Result<int> CompareTrials(const ExplainOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const proto::TrialSummary a, Named(client, options.a, options.target.value_or(1)));
  TRY_ASSIGN(const proto::TrialSummary b, Named(client, options.b, options.target.value_or(1)));
  TRY(console.json ? console.PrintJson(ComparisonJson(a, b)) : console.Print(ComparisonText(options.a, a, options.b, b)));
  return 0;
}

}  // namespace

Run DefineExplain(Flags& flags) {
  auto options = std::make_shared<ExplainOptions>();
  flags.Argument("JOB", "number of the job", options->job);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return PrintExplanations(options->job, options->coordinator, console); };
}

Run DefineCompare(Flags& flags) {
  auto options = std::make_shared<ExplainOptions>();
  flags.Argument("A", "JOB (its best), JOB/TRIAL or JOB/baseline", options->a);
  flags.Argument("B", "the same", options->b);
  flags.Count("--target", "N", "of target number N (default 1)", options->target, 1, 1000);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return CompareTrials(*options, console); };
}

}  // namespace hone
