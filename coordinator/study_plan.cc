#include "coordinator/study_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/strings.h"
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

std::vector<proto::Target> TargetsOf(const proto::Recipe& recipe) {
  if (recipe.targets().empty()) return {proto::Target()};
  return {recipe.targets().begin(), recipe.targets().end()};
}

Result<StudyPlan> PlanStudy(const proto::Recipe& recipe, const proto::Target& target, uint32_t number, const PlanInputs& inputs,
                            const Fleet& fleet) {
  const std::vector<std::string> tags(target.tags().begin(), target.tags().end());
  const auto live = fleet.Live();
  if (live.empty()) return FailAt(target.position(), "no worker is connected", "Start hone-worker, then submit again.");
  const auto matching = fleet.Matching(tags);
  if (matching.empty()) {
    return FailAt(target.position(), fmt::format("no worker has all tags of the target [{}]: {}", Join(tags, ", "), TagsText(live)),
                  "Use tags that a worker has, or start a worker with --tag.");
  }
  StudyPlan plan;
  plan.record.study = number;
  plan.record.tags = tags;
  plan.record.catalogue = UnionOf(matching);
  for (const Worker* worker : matching) plan.workers.push_back(worker->record.name);
  const auto& backends = plan.record.catalogue.backends();
  const std::string& wanted = inputs.baseline_backend;
  if (!wanted.empty() && std::none_of(backends.begin(), backends.end(), [&](const auto& backend) { return backend.name() == wanted; })) {
    return FailAt(target.position(), fmt::format("no worker of the target [{}] has the baseline's backend '{}'", Join(tags, ", "),
                                                 Printable(wanted, 100)));
  }
  if (wanted.empty() && ReferenceBackend(plan.record.catalogue) == nullptr) {
    return FailAt(target.position(), fmt::format("no worker of the target [{}] has a reference backend for the baseline", Join(tags, ", ")));
  }
  SpaceInputs space_inputs;
  space_inputs.model_format = inputs.model_format;
  space_inputs.has_calibration = inputs.has_calibration;
  space_inputs.has_evaluation = inputs.has_evaluation;
  space_inputs.tags = tags;
  TRY_ASSIGN(const Space space, Space::Build(recipe, plan.record.catalogue, space_inputs));
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
  const auto targets = TargetsOf(recipe);
  if (targets.size() > options.targets) {
    return FailAt(targets.back().position(), fmt::format("{} targets; at most {} are taken", targets.size(), options.targets));
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
