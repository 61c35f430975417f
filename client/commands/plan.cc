// hone plan: what a search will cost, and the smallest difference that it can see, before machine time is spent.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "client/command.h"
#include "client/forecast.h"
#include "client/help.h"
#include "client/job_request.h"
#include "client/local_task.h"
#include "client/measured_side.h"
#include "client/recipe_check.h"
#include "client/recipe_flags.h"
#include "client/remote.h"
#include "common/artifact/bundle.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// Where the recipe says nothing, as the coordinator has it.
constexpr uint64_t kDefaultFinalPairs = 20;
constexpr uint64_t kDefaultFinalists = 3;
// Jobs and trials that are looked at for cost and noise.
constexpr uint32_t kJobsLookedAt = 40;
constexpr size_t kTrialsEnough = 300;
constexpr uint32_t kProbePairs = 12;
constexpr uint64_t kProbeBudgetMs = 20'000;

struct PlanOptions {
  JobOptions job;
  CoordinatorFlags coordinator;
  std::string resolve;
  bool probe = false;
};

// What is known of cost and noise, and whence.
struct Knowledge {
  std::optional<Estimate> seconds;       // Of one worker, a trial.
  std::optional<double> noise;
  std::optional<double> pair_seconds;  // Of a probe.
  std::string source;                  // "41 trials of this model", ...
};

struct StudyPlan {
  std::string target;
  std::optional<uint64_t> candidates;  // nullopt: infinitely many.
  std::vector<std::string> workers;
  uint64_t trials = 0;                 // 0: nothing bounds them but time.
  std::optional<Estimate> seconds;       // Of the whole study on these workers.
};

struct SearchPlan {
  proto::Recipe recipe;
  std::vector<StudyPlan> studies;
  Knowledge known;
  std::vector<std::string> notes;
  uint64_t pairs = 0;
  uint64_t finalists = 0;
  std::optional<double> smallest;      // Share.
  std::optional<double> resolve;       // As asked for.
  std::optional<uint64_t> pairs_to_resolve;
};

// Trials of the same model count before those of any: cost and noise are the model's and the machines'.
Result<Knowledge> FromHistory(Client& client, const std::string& model_id) {
  TRY_ASSIGN(const std::vector<proto::JobSummary> jobs, client.Jobs(kJobsLookedAt));
  for (const bool same_model : {true, false}) {
    std::vector<proto::TrialSummary> trials;
    for (const proto::JobSummary& job : jobs) {
      if ((job.model_id() == model_id) != same_model || trials.size() >= kTrialsEnough) continue;
      TRY_ASSIGN(const std::vector<proto::TrialSummary> some, client.TrialsFrom(job.job(), 0, kTrialsEnough));
      trials.insert(trials.end(), some.begin(), some.end());
    }
    Knowledge known;
    known.seconds = SecondsPerTrial(trials);
    known.noise = NoiseOfPairs(trials);
    known.source =
        fmt::format("{} trials of {} at this coordinator", trials.size(), same_model ? "this model" : "other models");
    if (known.seconds) return known;
  }
  return Knowledge{};
}

// Times the model against itself here.
Result<Knowledge> FromProbe(const JobRequest& request, const proto::Catalogue& catalogue, Console& console) {
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

StudyPlan PlanStudy(const proto::CheckRecipeReply::StudySize& size, const proto::Recipe& recipe,
                    const Knowledge& known) {
  StudyPlan study;
  study.target = size.tags_size() == 0 ? "any worker" : Join({size.tags().begin(), size.tags().end()}, " ");
  if (!size.infinite()) study.candidates = size.candidates();
  study.workers = {size.workers().begin(), size.workers().end()};
  const uint64_t budget = recipe.search().trials();
  const uint64_t space = study.candidates.value_or(0);
  study.trials = budget == 0 || space == 0 ? std::max(budget, space) : std::min(budget, space);
  if (known.seconds && study.trials > 0)
    study.seconds = SecondsOfSearch(*known.seconds, study.trials, study.workers.size());
  return study;
}

Json EstimateJson(const std::optional<Estimate>& spread) {
  return spread ? Json{{"p10", spread->low}, {"median", spread->middle}, {"p90", spread->high}} : Json(nullptr);
}

template <class T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json PlanJson(const SearchPlan& plan) {
  Json studies = Json::array();
  for (const StudyPlan& study : plan.studies) {
    studies.push_back({{"target", study.target},
                       {"candidates", OrNull(study.candidates)},
                       {"trials", study.trials == 0 ? Json(nullptr) : Json(study.trials)},
                       {"workers", study.workers},
                       {"wall_s", EstimateJson(study.seconds)}});
  }
  return {{"schema", "hone.plan/1"},
          {"studies", studies},
          {"trial_s", EstimateJson(plan.known.seconds)},
          {"pair_s", OrNull(plan.known.pair_seconds)},
          {"known_from", plan.known.source.empty() ? Json(nullptr) : Json(plan.known.source)},
          {"final_pairs", plan.pairs},
          {"smallest_difference", OrNull(plan.smallest)},
          {"resolve", OrNull(plan.resolve)},
          {"pairs_to_resolve", OrNull(plan.pairs_to_resolve)},
          {"notes", plan.notes}};
}

std::string SecondsText(double seconds) { return HumanDuration(std::llround(seconds * 1000)); }

std::string StudyText(const StudyPlan& study, const SearchPlan& plan) {
  std::string text = fmt::format("target    {}\n", study.target);
  text += fmt::format("space     {} candidates\n",
                      study.candidates ? std::to_string(*study.candidates) : "infinitely many");
  text += fmt::format("workers   {}\n", study.workers.empty() ? "none matches now" : Join(study.workers, " "));
  if (study.seconds) {
    text +=
        fmt::format("cost      {} trials in about {} ({} to {})\n", study.trials, SecondsText(study.seconds->middle),
                    SecondsText(study.seconds->low), SecondsText(study.seconds->high));
  } else if (study.trials > 0) {
    text += fmt::format("cost      {} trials; what one takes is not known yet\n", study.trials);
  } else {
    text += "cost      no bound on trials: give --trials or --time\n";
  }
  const uint64_t limit_ms = plan.recipe.search().time_ms();
  if (limit_ms > 0)
    text += fmt::format("          ends after {} in any case\n", HumanDuration(static_cast<int64_t>(limit_ms)));
  return text;
}

std::string PlanText(const SearchPlan& plan, size_t width) {
  std::string text;
  for (const StudyPlan& study : plan.studies) text += StudyText(study, plan);
  if (plan.known.seconds) {
    text += fmt::format("a trial   {} of one worker ({} to {})\n", SecondsText(plan.known.seconds->middle),
                        SecondsText(plan.known.seconds->low), SecondsText(plan.known.seconds->high));
  }
  if (plan.smallest) {
    text += fmt::format("resolve   differences of {:.1f} % and more will be seen, by {} pairs a finalist\n",
                        *plan.smallest * 100, plan.pairs);
  }
  constexpr uint64_t kManyPairs = 10'000;
  if (plan.pairs_to_resolve && *plan.pairs_to_resolve > kManyPairs) {
    text += fmt::format("          {:.1f} % cannot be seen on machines this noisy; `hone doctor` there tells why\n",
                        *plan.resolve * 100);
  } else if (plan.pairs_to_resolve) {
    text += fmt::format("          to see {:.1f} %: measure: {{final_pairs: {}}}", *plan.resolve * 100,
                        *plan.pairs_to_resolve);
    if (plan.known.pair_seconds && *plan.pairs_to_resolve > plan.pairs) {
      const double more =
          static_cast<double>((*plan.pairs_to_resolve - plan.pairs) * plan.finalists) * *plan.known.pair_seconds;
      text += fmt::format(", {} more for {} finalists", SecondsText(more), plan.finalists);
    }
    text += "\n";
  }
  if (plan.known.source.empty()) {
    text += "known     nothing was measured at this coordinator yet; --probe times the model against itself here\n";
  } else {
    text += fmt::format("known     from {}\n", plan.known.source);
  }
  for (const std::string& note : plan.notes) text += "note      " + Printable(note) + "\n";
  if (width == 0) return text;
  std::string cut;
  for (const std::string& line : Split(text, '\n')) cut += line.empty() ? "" : Wrapped(line, width, 10) + "\n";
  return cut;
}

proto::CheckRecipe QuestionOf(const JobRequest& request) {
  proto::CheckRecipe question;
  *question.mutable_recipe() = request.submission.recipe;
  question.set_model_format(request.submission.model.bundle().format());
  question.set_has_calibration(request.submission.calibration.has_value());
  question.set_has_evaluation(request.submission.evaluation.has_value());
  return question;
}

Result<int> MakePlan(const PlanOptions& options, Console& console) {
  SearchPlan plan;
  if (!options.resolve.empty()) {
    const Result<double> share = ParseShare(options.resolve);
    if (!share || *share <= 0 || *share >= 1) {
      return Fail(ErrorCode::kUsage,
                  fmt::format("--resolve {}: must be a share such as 1% or 0.01", Printable(options.resolve, 40)));
    }
    plan.resolve = *share;
  }
  const bool remote = IsCoordinatorNamed(options.coordinator.endpoint);
  std::optional<Client> client;
  proto::Catalogue catalogue;
  TRY_ASSIGN(const JobRequest request, PrepareJob(options.job, [&]() -> Result<proto::Catalogue> {
    if (!remote) {
      TRY_ASSIGN(catalogue, LocalCatalogue());
      return catalogue;
    }
    TRY_ASSIGN(client, ConnectTo(options.coordinator));
    return client->Catalogue();
  }));
  TRY_ASSIGN(const proto::CheckRecipeReply reply, CheckAgainstWorkers(options.coordinator, QuestionOf(request)));
  plan.recipe = request.submission.recipe;
  plan.notes = request.notes;
  plan.notes.insert(plan.notes.end(), reply.notes().begin(), reply.notes().end());
  if (client) {
    TRY_ASSIGN(plan.known, FromHistory(*client, BundleId(request.submission.model.bundle())));
  }
  if (options.probe) {
    if (remote) {
      TRY_ASSIGN(catalogue, LocalCatalogue());
    }
    TRY_ASSIGN(Knowledge probed, FromProbe(request, catalogue, console));
    probed.seconds = plan.known.seconds;
    if (!probed.source.empty() && !plan.known.source.empty()) probed.source += "; cost from " + plan.known.source;
    plan.known = std::move(probed);
  }
  for (const auto& size : reply.studies()) plan.studies.push_back(PlanStudy(size, plan.recipe, plan.known));
  const proto::Measure& measure = plan.recipe.measure();
  plan.pairs = measure.final_pairs() > 0 ? measure.final_pairs() : kDefaultFinalPairs;
  plan.finalists = measure.finalists() > 0 ? measure.finalists() : kDefaultFinalists;
  if (plan.known.noise) plan.smallest = SmallestDifference(*plan.known.noise, plan.pairs);
  if (plan.known.noise && plan.resolve) plan.pairs_to_resolve = PairsToResolve(*plan.known.noise, *plan.resolve);
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
