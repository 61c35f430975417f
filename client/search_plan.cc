#include "client/search_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "client/help.h"
#include "client/local_task.h"
#include "client/recipe_check.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// Where the recipe says nothing, as the coordinator has it.
constexpr uint64_t kDefaultFinalPairs = 20;
constexpr uint64_t kDefaultFinalists = 3;
// Jobs and trials that are looked at for cost and noise.
constexpr uint32_t kJobsLookedAt = 40;
constexpr size_t kTrialsEnough = 300;

// Trials of the same model count before those of any: cost and noise are the model's and the machines'.
Result<Knowledge> FromHistory(Client& client, const std::vector<proto::JobSummary>& jobs, const std::string& model_id) {
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

EarlierWork EarlierOf(const std::vector<proto::JobSummary>& jobs, const std::string& model_id) {
  EarlierWork earlier;
  for (const proto::JobSummary& job : jobs) {
    if (job.model_id() != model_id) continue;
    ++earlier.jobs;
    for (const proto::StudySummary& study : job.studies()) {
      const proto::Counts& counts = study.counts();
      earlier.trials += counts.complete() + counts.infeasible() + counts.pruned();
    }
  }
  return earlier;
}

StudyOutlook OutlookOf(const proto::CheckRecipeReply::StudySize& size) {
  StudyOutlook study;
  study.target = size.tags_size() == 0 ? "any worker" : Join({size.tags().begin(), size.tags().end()}, " ");
  if (!size.infinite()) study.candidates = size.candidates();
  study.workers = {size.workers().begin(), size.workers().end()};
  return study;
}

// --- what follows from a plan ----------------------------------------------------------------------------------------

const proto::Recipe& RecipeOf(const SearchPlan& plan) { return plan.request.submission.recipe; }

// 0: nothing bounds them but time.
uint64_t TrialsOf(const SearchPlan& plan, const StudyOutlook& study) {
  const uint64_t budget = RecipeOf(plan).search().trials();
  const uint64_t space = study.candidates.value_or(0);
  return budget == 0 || space == 0 ? std::max(budget, space) : std::min(budget, space);
}

// Of the whole study on its workers.
std::optional<Estimate> SecondsOf(const SearchPlan& plan, const StudyOutlook& study) {
  const uint64_t trials = TrialsOf(plan, study);
  if (!plan.known.seconds || trials == 0) return std::nullopt;
  return SecondsOfSearch(*plan.known.seconds, trials, study.workers.size());
}

uint64_t FinalPairsOf(const SearchPlan& plan) {
  const uint64_t pairs = RecipeOf(plan).measure().final_pairs();
  return pairs > 0 ? pairs : kDefaultFinalPairs;
}

uint64_t FinalistsOf(const SearchPlan& plan) {
  const uint64_t finalists = RecipeOf(plan).measure().finalists();
  return finalists > 0 ? finalists : kDefaultFinalists;
}

std::optional<double> SmallestOf(const SearchPlan& plan) {
  if (!plan.known.noise) return std::nullopt;
  return SmallestDifference(*plan.known.noise, FinalPairsOf(plan));
}

std::optional<uint64_t> PairsThatResolve(const SearchPlan& plan) {
  if (!plan.known.noise || !plan.resolve) return std::nullopt;
  return PairsToResolve(*plan.known.noise, *plan.resolve);
}

// --- documents -------------------------------------------------------------------------------------------------------

Json EstimateJson(const std::optional<Estimate>& spread) {
  return spread ? Json{{"p10", spread->low}, {"median", spread->middle}, {"p90", spread->high}} : Json(nullptr);
}

template <class T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json AboveZero(uint64_t number) { return number > 0 ? Json(number) : Json(nullptr); }
Json SecondsJson(uint64_t ms) { return ms > 0 ? Json(static_cast<double>(ms) / 1000) : Json(nullptr); }

Json RangeJson(const std::optional<proto::LocalData>& data, const proto::DataRange& range) {
  if (!data) return nullptr;
  return {{"path", range.path()}, {"from", data->from()}, {"samples", AboveZero(data->samples())}};
}

Json EarlierJson(const std::optional<EarlierWork>& earlier) {
  return earlier ? Json{{"jobs", earlier->jobs}, {"trials", earlier->trials}} : Json(nullptr);
}

// --- texts -----------------------------------------------------------------------------------------------------------

std::string SecondsText(double seconds) { return HumanDuration(std::llround(seconds * 1000)); }

std::string StudyText(const SearchPlan& plan, const StudyOutlook& study) {
  std::string text = fmt::format("target    {}\n", study.target);
  text += fmt::format("space     {} candidates\n",
                      study.candidates ? std::to_string(*study.candidates) : "infinitely many");
  text += fmt::format("workers   {}\n", study.workers.empty() ? "none matches now" : Join(study.workers, " "));
  const uint64_t trials = TrialsOf(plan, study);
  if (const std::optional<Estimate> seconds = SecondsOf(plan, study)) {
    text += fmt::format("cost      {} trials in about {} ({} to {})\n", trials, SecondsText(seconds->middle),
                        SecondsText(seconds->low), SecondsText(seconds->high));
  } else if (trials > 0) {
    text += fmt::format("cost      {} trials; what one takes is not known yet\n", trials);
  } else {
    text += "cost      no bound on trials: give --trials or --time\n";
  }
  const uint64_t limit_ms = RecipeOf(plan).search().time_ms();
  if (limit_ms > 0)
    text += fmt::format("          ends after {} in any case\n", HumanDuration(static_cast<int64_t>(limit_ms)));
  return text;
}

// What the final pairs can tell apart.
std::string ResolutionText(const SearchPlan& plan) {
  std::string text;
  if (const std::optional<double> smallest = SmallestOf(plan)) {
    text += fmt::format("resolve   differences of {:.1f} % and more will be seen, by {} pairs a finalist\n",
                        *smallest * 100, FinalPairsOf(plan));
  }
  constexpr uint64_t kManyPairs = 10'000;
  const std::optional<uint64_t> pairs = PairsThatResolve(plan);
  if (pairs && *pairs > kManyPairs) {
    text += fmt::format("          {:.1f} % cannot be seen on machines this noisy; `hone doctor` there tells why\n",
                        *plan.resolve * 100);
  } else if (pairs) {
    text += fmt::format("          to see {:.1f} %: measure: {{final_pairs: {}}}", *plan.resolve * 100, *pairs);
    if (plan.known.pair_seconds && *pairs > FinalPairsOf(plan)) {
      const double more =
          static_cast<double>((*pairs - FinalPairsOf(plan)) * FinalistsOf(plan)) * *plan.known.pair_seconds;
      text += fmt::format(", {} more for {} finalists", SecondsText(more), FinalistsOf(plan));
    }
    text += "\n";
  }
  return text;
}

std::string DataText(const char* use, const std::optional<proto::LocalData>& data, const proto::DataRange& range) {
  if (!data) return "";
  const std::string count = data->samples() > 0 ? fmt::format("{} samples", data->samples()) : "all samples";
  const std::string from = data->from() > 0 ? fmt::format(" from {}", data->from()) : "";
  return fmt::format("data      {} of {}{} {}\n", count, Printable(range.path()), from, use);
}

std::string GoalText(const proto::Recipe& recipe) {
  std::vector<std::string> goals;
  for (const proto::Objective& objective : recipe.objectives())
    goals.push_back(fmt::format("{} {}", objective.maximize() ? "maximize" : "minimize", objective.metric()));
  for (const proto::Constraint& constraint : recipe.constraints()) {
    if (constraint.has_minimum()) goals.push_back(fmt::format("{} >= {}", constraint.metric(), constraint.minimum()));
    if (constraint.has_maximum()) goals.push_back(fmt::format("{} <= {}", constraint.metric(), constraint.maximum()));
  }
  return fmt::format("goal      {}\n", Join(goals, ", "));
}

std::string BudgetText(const proto::Search& search) {
  std::vector<std::string> bounds;
  if (search.trials() > 0) bounds.push_back(fmt::format("{} trials a target", search.trials()));
  if (search.time_ms() > 0) bounds.push_back(HumanDuration(static_cast<int64_t>(search.time_ms())));
  if (search.machine_time_ms() > 0)
    bounds.push_back(HumanDuration(static_cast<int64_t>(search.machine_time_ms())) + " of the workers' time");
  if (search.patience() > 0) bounds.push_back(fmt::format("{} trials without a better one", search.patience()));
  if (bounds.empty()) bounds.emplace_back("none but the space");
  return fmt::format("budget    {}\n", Join(bounds, ", "));
}

std::string WrappedLines(const std::string& text, size_t width) {
  if (width == 0) return text;
  std::string lines;
  for (const std::string& line : Split(text, '\n')) lines += line.empty() ? "" : Wrapped(line, width, 10) + "\n";
  return lines;
}

}  // namespace

const CoordinatorFlags* CoordinatorIfNamed(const CoordinatorFlags& coordinator) {
  return IsCoordinatorNamed(coordinator.endpoint) ? &coordinator : nullptr;
}

Result<SearchPlan> PlanSearch(const JobOptions& job, const CoordinatorFlags* coordinator, Mistakes& others) {
  SearchPlan plan;
  std::optional<Client> client;
  TRY_ASSIGN(plan.request, PrepareJob(job, [&]() -> Result<proto::Catalogue> {
    if (coordinator == nullptr) return LocalCatalogue();
    TRY_ASSIGN(client, ConnectTo(*coordinator));
    return client->Catalogue();
  }, &others));
  const proto::CheckRecipe question = CheckOf(plan.request);
  TRY_ASSIGN(const proto::CheckRecipeReply reply,
             client ? CheckBy(*client, question, others) : CheckHere(question, others));
  for (const auto& size : reply.studies()) plan.studies.push_back(OutlookOf(size));
  plan.notes = plan.request.notes;
  plan.notes.insert(plan.notes.end(), reply.notes().begin(), reply.notes().end());
  if (!client) return plan;
  const std::string model_id = BundleId(plan.request.submission.model.bundle());
  TRY_ASSIGN(const std::vector<proto::JobSummary> jobs, client->Jobs(kJobsLookedAt));
  TRY_ASSIGN(plan.known, FromHistory(*client, jobs, model_id));
  plan.earlier = EarlierOf(jobs, model_id);
  return plan;
}

Json PlanJson(const SearchPlan& plan) {
  const Client::Submission& submission = plan.request.submission;
  const proto::Search& search = submission.recipe.search();
  Json studies = Json::array();
  for (const StudyOutlook& study : plan.studies) {
    studies.push_back({{"target", study.target},
                       {"candidates", OrNull(study.candidates)},
                       {"trials", AboveZero(TrialsOf(plan, study))},
                       {"workers", study.workers},
                       {"wall_s", EstimateJson(SecondsOf(plan, study))}});
  }
  return {{"schema", "hone.plan/1"},
          {"studies", studies},
          {"trial_s", EstimateJson(plan.known.seconds)},
          {"pair_s", OrNull(plan.known.pair_seconds)},
          {"known_from", plan.known.source.empty() ? Json(nullptr) : Json(plan.known.source)},
          {"final_pairs", FinalPairsOf(plan)},
          {"smallest_difference", OrNull(SmallestOf(plan))},
          {"resolve", OrNull(plan.resolve)},
          {"pairs_to_resolve", OrNull(PairsThatResolve(plan))},
          {"notes", plan.notes},
          {"model", plan.request.model.path.string()},
          {"data",
           {{"calibration", RangeJson(submission.calibration, submission.recipe.calibration())},
            {"evaluation", RangeJson(submission.evaluation, submission.recipe.evaluation())}}},
          {"budget",
           {{"trials", AboveZero(search.trials())},
            {"time_s", SecondsJson(search.time_ms())},
            {"machine_time_s", SecondsJson(search.machine_time_ms())}}},
          {"earlier", EarlierJson(plan.earlier)}};
}

std::string PlanText(const SearchPlan& plan, size_t width) {
  std::string text;
  for (const StudyOutlook& study : plan.studies) text += StudyText(plan, study);
  if (plan.known.seconds) {
    text += fmt::format("a trial   {} of one worker ({} to {})\n", SecondsText(plan.known.seconds->middle),
                        SecondsText(plan.known.seconds->low), SecondsText(plan.known.seconds->high));
  }
  text += ResolutionText(plan);
  if (plan.known.source.empty()) {
    text += "known     nothing was measured at this coordinator yet; --probe times the model against itself here\n";
  } else {
    text += fmt::format("known     from {}\n", plan.known.source);
  }
  for (const std::string& note : plan.notes) text += "note      " + Printable(note) + "\n";
  return WrappedLines(text, width);
}

std::string DryRunText(const SearchPlan& plan, size_t width, const std::string& ending) {
  const Client::Submission& submission = plan.request.submission;
  std::string text = fmt::format("model     {}\n", Printable(plan.request.model.path.string()));
  text += DataText("calibrate", submission.calibration, submission.recipe.calibration());
  text += DataText("evaluate", submission.evaluation, submission.recipe.evaluation());
  if (!submission.calibration && !submission.evaluation) text += "data      none: seeded synthetic inputs\n";
  text += GoalText(submission.recipe) + BudgetText(submission.recipe.search());
  for (const StudyOutlook& study : plan.studies) text += StudyText(plan, study);
  if (plan.earlier && plan.earlier->jobs > 0) {
    text += fmt::format("reuse     {} trials of {} earlier jobs of this model: what is the same is not made again\n",
                        plan.earlier->trials, plan.earlier->jobs);
  } else if (plan.earlier) {
    text += "reuse     nothing: the coordinator knows no job of this model\n";
  }
  for (const std::string& note : plan.notes) text += "note      " + Printable(note) + "\n";
  return WrappedLines(text + "dry run   " + ending + "\n", width);
}

}  // namespace hone
