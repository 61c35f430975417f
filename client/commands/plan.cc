// hone plan: what a search will cost, and the smallest difference that it can see, before machine time is spent.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/command.h"
#include "client/local_task.h"
#include "client/measured_side.h"
#include "client/recipe_flags.h"
#include "client/search_plan.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr uint32_t kProbePairs = 12;
constexpr uint64_t kProbeBudgetMs = 20'000;

struct PlanOptions {
  JobOptions job;
  CoordinatorFlags coordinator;
  std::string resolve;
  bool probe = false;
};

// Times the model against itself here.
Result<Knowledge> FromProbe(const JobRequest& request, Console& console) {
  TRY_ASSIGN(const proto::Catalogue catalogue, LocalCatalogue());
  TRY_ASSIGN(const MeasuredSide side, PrepareSide(request.model, "", {}, std::nullopt, catalogue));
  proto::Task whole;
  proto::BenchmarkTask& task = *whole.mutable_benchmark();
  *task.add_subjects() = side.subject;
  *task.add_subjects() = side.subject;
  *task.mutable_inputs() = request.submission.recipe.inputs();
  if (request.submission.evaluation) *task.mutable_evaluation() = *request.submission.evaluation;
  task.set_rounds(kProbePairs);
  task.set_launches(2);
  task.set_budget_ms(kProbeBudgetMs);
  task.set_exclusive_lock(MachineLock::DefaultPath().string());
  console.Note("timing the model against itself ...");
  TRY_ASSIGN(const MeasuredTask measured, RunMeasuredTask(whole));
  Knowledge known;
  if (measured.result.benchmark().runs_size() != 2) return known;
  proto::TrialSummary trial;
  *trial.mutable_speedup() = measured.result.benchmark().runs(1).speedup();
  known.noise = NoiseOfPairs({trial});
  const uint64_t pairs = std::max<uint64_t>(1, trial.speedup().samples());
  known.pair_seconds = static_cast<double>(measured.result.benchmark().timing_ms()) / 1000 / static_cast<double>(pairs);
  known.source = fmt::format("{} pairs of the model against itself on this machine", pairs);
  return known;
}

Result<std::optional<double>> ParseResolve(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const Result<double> share = ParseShare(text);
  if (share && *share > 0 && *share < 1) return *share;
  return Fail(ErrorCode::kUsage,
              fmt::format("--resolve {}: must be a share such as 1% or 0.01", Printable(text, 40)));
}

Result<int> MakePlan(const PlanOptions& options, Console& console) {
  TRY_ASSIGN(const std::optional<double> resolve, ParseResolve(options.resolve));
  TRY_ASSIGN(SearchPlan plan, PlanSearch(options.job, CoordinatorIfNamed(options.coordinator), console.others));
  plan.resolve = resolve;
  if (options.probe) {
    TRY_ASSIGN(Knowledge probed, FromProbe(plan.request, console));
    probed.seconds = plan.known.seconds;
    if (!probed.source.empty() && !plan.known.source.empty()) probed.source += "; cost from " + plan.known.source;
    plan.known = std::move(probed);
  }
  TRY(console.json ? console.PrintJson(PlanJson(plan)) : console.Print(PlanText(plan, console.table_width())));
  return plan.known.seconds || plan.known.noise ? 0 : ExitCode(ErrorCode::kUnsure);
}

}  // namespace

Run DefinePlan(Flags& flags) {
  auto options = std::make_shared<PlanOptions>();
  AddJobFlags(flags, options->job);
  flags.Text("--resolve", "X", "also tell what it takes to see differences so small, such as 1%", options->resolve);
  flags.Toggle("--probe", "time the model against itself on this machine for a few seconds", options->probe);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return MakePlan(*options, console); };
}

}  // namespace hone
