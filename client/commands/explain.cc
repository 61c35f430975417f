// hone explain, compare: why a result is what it is.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/comparison_view.h"
#include "client/explanation.h"
#include "client/recipe_flags.h"
#include "client/remote.h"
#include "client/verdict.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct ExplainOptions {
  CoordinatorFlags coordinator;
  std::string job;
  std::string a, b;
  std::string expect;
  std::string delta = "2%";
  std::optional<uint64_t> target;
  std::optional<uint64_t> pairs;
  bool fresh = false;
};

constexpr uint32_t kFreshPairs = 20;

Result<NamedTrial> Named(Client& client, const std::string& name, uint64_t target) {
  TRY_ASSIGN(const JobReference reference, ParseJobReference(name));
  TRY_ASSIGN(const proto::JobSummary job, client.Job(reference.job));
  if (target > static_cast<uint64_t>(job.studies_size())) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("job {} has {} targets, not {}", reference.job, job.studies_size(), target));
  }
  const proto::StudySummary& study = job.studies(static_cast<int>(target) - 1);
  NamedTrial named{name, reference.job, {}};
  if (reference.trial) {
    TRY_ASSIGN(named.trial, FindTrial(client, reference.job, study.study(), *reference.trial));
    return named;
  }
  if (!study.has_best()) {
    return Fail(ErrorCode::kNotFound, fmt::format("job {} has no best candidate", reference.job),
                fmt::format("see `hone trials {}`", reference.job));
  }
  named.trial = study.best();
  return named;
}

// Without --expect 0 where anything was compared, 3 where nothing was; with it 0 yes, 1 no, 3 undecided.
int CompareCode(const Comparison& comparison, const std::optional<Expectation>& expectation, double delta) {
  if (!comparison.speedup) return ExitCode(ErrorCode::kUnsure);
  if (!expectation) return 0;
  proto::Metric speedup;
  speedup.set_value(*comparison.speedup);
  if (comparison.low && comparison.high) {
    speedup.set_low(*comparison.low);
    speedup.set_high(*comparison.high);
  }
  switch (Check(speedup, delta, *expectation)) {
    case Answer::yes: return 0;
    case Answer::no: return ExitCode(ErrorCode::kNo);
    case Answer::undecided: break;
  }
  return ExitCode(ErrorCode::kUnsure);
}

Result<int> CompareTrials(const ExplainOptions& options, Console& console) {
  std::optional<Expectation> expectation;
  if (!options.expect.empty()) {
    TRY_ASSIGN(expectation, ParseExpectation(options.expect));
  }
  const Result<double> delta = ParseShare(options.delta);
  if (!delta || *delta >= 1)
    return Fail(ErrorCode::kUsage,
                fmt::format("--delta {}: must be a share such as 2% or 0.02", Printable(options.delta, 40)));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const NamedTrial a, Named(client, options.a, options.target.value_or(1)));
  TRY_ASSIGN(const NamedTrial b, Named(client, options.b, options.target.value_or(1)));
  std::optional<FreshComparison> fresh;
  if (options.fresh) {
    TRY_ASSIGN(fresh, MeasureAgain(client, a, b, static_cast<uint32_t>(options.pairs.value_or(kFreshPairs)), console));
  }
  const FreshComparison* again = fresh ? &*fresh : nullptr;
  TRY(console.json ? console.PrintJson(SideBySideJson(a, b, again))
                   : console.Print(SideBySideText(a, b, again, console.table_width())));
  return CompareCode(fresh ? CompareFresh(*fresh) : Compare(a.trial, b.trial), expectation, *delta);
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
  flags.Toggle("--fresh", "download both and measure them again here, interleaved", options->fresh);
  flags.Count("--pairs", "N", "with --fresh: interleaved pairs (default 20)", options->pairs, 1, 10'000);
  flags.Text("--expect", "WHAT", "faster, not-slower or equal: whether B is so decides the exit code", options->expect);
  flags.Choose({"faster", "not-slower", "equal"});
  flags.Text("--delta", "X", "differences up to this share count as equal (default 2%)", options->delta);
  flags.Count("--target", "N", "of target number N (default 1)", options->target, 1, 1000);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return CompareTrials(*options, console); };
}

}  // namespace hone
