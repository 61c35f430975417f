#include "coordinator/study_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/strings.h"
#include "common/recipe/sandbox_level.h"
#include "coordinator/job_state.h"
#include "coordinator/search/sampler.h"
#include "coordinator/search/space.h"

namespace hone {
namespace {

// Spaces are counted up to here; counting must not hold the loop for seconds.
constexpr uint64_t kCountLimit = 1'000'000;

tl::unexpected<Error> FailAt(const proto::Position& position, std::string message, std::string remedy = {}) {
  Error error{ErrorCode::kRejected, std::move(message), std::move(remedy)};
  error.file = position.file();
  error.line = position.line();
  error.column = position.column();
  return Fail(std::move(error));
}

// The recipe's sandbox level is a tag that every target asks for.
std::vector<proto::Target> TargetsOf(const proto::Recipe& recipe) {
  std::vector<proto::Target> targets(recipe.targets().begin(), recipe.targets().end());
  if (targets.empty()) targets.emplace_back();
  if (SandboxRank(recipe.sandbox()).value_or(0) == 0) return targets;
  for (proto::Target& target : targets) target.add_tags(std::string(kSandboxTag) + recipe.sandbox());
  return targets;
}

// Where workers of the target are there, but none that confines its work so well: which levels there are.
Result<> CheckSandbox(const proto::Target& target, const std::vector<std::string>& tags, const Fleet& fleet) {
  const std::string asked(SandboxOf(tags));
  std::vector<std::string> others = tags;
  std::erase_if(others, [](const std::string& tag) { return tag.starts_with(kSandboxTag); });
  std::map<std::string, std::vector<std::string>> levels;
  for (const Worker* worker : fleet.Matching(others))
    levels[std::string(SandboxOf(worker->record.tags))].push_back(worker->record.name);
  if (others.size() == tags.size() || levels.empty()) return {};
  std::vector<std::string> texts;
  for (const auto& [level, names] : levels) texts.push_back(fmt::format("sandbox={} ({})", level, Join(names, ", ")));
  return FailAt(
      target.position(),
      fmt::format("no worker of the target [{}] confines its work with sandbox={}; there is {}", Join(others, ", "),
                  asked, Join(texts, ", ")),
      "Ask for a level that is there, or let `hone-worker sandbox` tell on a machine what it lacks (docs/sandbox.md).");
}

Result<StudyPlan> PlanStudy(const proto::Recipe& recipe, const proto::Target& target, uint32_t number,
                            const PlanInputs& inputs, const Fleet& fleet) {
  const std::vector<std::string> tags(target.tags().begin(), target.tags().end());
  const auto live = fleet.Live();
  if (live.empty()) return FailAt(target.position(), "no worker is connected", "Start hone-worker, then submit again.");
  const auto matching = fleet.Matching(tags);
  if (matching.empty()) {
    TRY(CheckSandbox(target, tags, fleet));
    return FailAt(target.position(),
                  fmt::format("no worker has all tags of the target [{}]: {}", Join(tags, ", "), TagsText(live)),
                  "Use tags that a worker has, or start a worker with --tag.");
  }
  StudyPlan plan;
  plan.record.study = number;
  plan.record.tags = tags;
  plan.record.catalogue = UnionOf(matching);
  for (const Worker* worker : matching) plan.workers.push_back(worker->record.name);
  const auto& backends = plan.record.catalogue.backends();
  const std::string& wanted = inputs.baseline_backend;
  if (!wanted.empty() &&
      std::none_of(backends.begin(), backends.end(), [&](const auto& backend) { return backend.name() == wanted; })) {
    return FailAt(target.position(), fmt::format("no worker of the target [{}] has the baseline's backend '{}'",
                                                 Join(tags, ", "), Printable(wanted, 100)));
  }
  if (wanted.empty() && ReferenceBackend(plan.record.catalogue, inputs.model_format) == nullptr) {
    return FailAt(
        target.position(),
        fmt::format("no worker of the target [{}] has a reference backend for the baseline", Join(tags, ", ")));
  }
  SpaceInputs space_inputs;
  space_inputs.model_format = inputs.model_format;
  space_inputs.has_calibration = inputs.has_calibration;
  space_inputs.has_evaluation = inputs.has_evaluation;
  space_inputs.tags = tags;
  TRY_ASSIGN(const Space space, Space::Build(recipe, plan.record.catalogue, space_inputs));
  if (wanted.empty()) TRY(BaselinePipeline(recipe, plan.record.catalogue, inputs.model_format));
  const auto size = space.Size(kCountLimit);
  plan.infinite = !size.has_value();
  plan.record.candidates = size.value_or(0);
  plan.record.budget = recipe.search().trials();
  plan.record.seed = StudySeed(recipe.search().seed(), number);
  plan.notes = space.notes();
  if (plan.infinite && recipe.search().trials() == 0 && recipe.search().time_ms() == 0) {
    return FailAt(recipe.search().position(), "the space is infinite and the search has neither trials nor time",
                  "Give search.trials or search.time.");
  }
  return plan;
}

}  // namespace

Result<std::vector<StudyPlan>> PlanStudies(const proto::Recipe& recipe, const PlanInputs& inputs, const Fleet& fleet,
                                           const CoordinatorOptions& options) {
  if (!recipe.sandbox().empty() && !SandboxRank(recipe.sandbox())) {
    const std::vector<std::string> levels(kSandboxLevels.begin(), kSandboxLevels.end());
    return Fail(ErrorCode::kRejected,
                fmt::format("unknown sandbox level '{}'{}", Printable(recipe.sandbox(), 80),
                            DidYouMean(recipe.sandbox(), levels)),
                "Levels are " + Join(levels, ", "));
  }
  const auto targets = TargetsOf(recipe);
  if (targets.size() > options.targets) {
    return FailAt(targets.back().position(),
                  fmt::format("{} targets; at most {} are taken", targets.size(), options.targets));
  }
  if (const auto made = MakeSampler(recipe.search()); !made) {
    return FailAt(recipe.search().position(), made.error().message, made.error().remedy);
  }
  std::vector<StudyPlan> plans;
  for (const auto& target : targets) {
    TRY_ASSIGN(StudyPlan plan, PlanStudy(recipe, target, static_cast<uint32_t>(plans.size()), inputs, fleet));
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace hone
