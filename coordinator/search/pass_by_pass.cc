// Which stage a trial searches follows from the trials before it: stages come in order, and one ends with its share of
// the budget or when nothing is left of it. What is held fixed is the best trial when the stage began, at first the
// first preset. So that a stage's beginning is the same whenever it is looked at, only trials below its first number
// count for it; trials that had not ended then are waited for by no one and may come to count later, which changes what
// the stage proposes from then on but never what it proposed.
#include "coordinator/search/pass_by_pass.h"

#include <algorithm>
#include <limits>
#include <map>

namespace hone {
namespace {

class PassByPass : public Sampler {
 public:
  explicit PassByPass(std::unique_ptr<Sampler> inner) : inner_(std::move(inner)) {}

  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) override {
    const Space& space = *view.space;
    if (space.dimensions().empty() || space.Presets().empty()) return std::nullopt;
    const size_t parts = space.stages() + 1;
    // Where the budget gives a part no trial, the last ones go without.
    const uint64_t share = view.budget == 0 ? 0 : std::max<uint64_t>(1, view.budget / parts);
    size_t first = view.budget == 0 ? 0 : std::min<size_t>(parts - 1, view.observations->size() / share);
    for (size_t part = first; part < parts; ++part) {
      TRY_ASSIGN(auto proposal, AskPart(view, part, share, trial));
      if (proposal) return proposal;
    }
    // What the shares left over goes to everything at once.
    StudyView rest = view;
    rest.lineage = 0;
    return view.budget == 0 ? Result<std::optional<Assignment>>(std::nullopt) : inner_->Ask(rest, trial);
  }

 private:
  Result<std::optional<Assignment>> AskPart(const StudyView& view, size_t part, uint64_t share, uint64_t trial) {
    const Space& space = *view.space;
    const size_t begin =
        share == 0 ? view.observations->size() : std::min<size_t>(view.observations->size(), part * share);
    const Space restricted = space.Restricted(part, Best(view, begin));
    std::vector<Observation> observations;
    for (const Observation& observation : *view.observations) {
      Observation mapped = observation;
      mapped.assignment.clear();
      if (space.Valid(observation.assignment)) {
        if (auto assignment = restricted.FromCandidate(space.ToCandidate(observation.assignment)))
          mapped.assignment = *std::move(assignment);
      }
      observations.push_back(std::move(mapped));
    }
    StudyView inner = view;
    inner.space = &restricted;
    inner.observations = &observations;
    inner.lineage = 0;
    // They name dimensions of the whole space.
    inner.hints = nullptr;
    TRY_ASSIGN(const auto proposal, inner_->Ask(inner, trial));
    if (!proposal) return std::nullopt;
    return space.FromCandidate(restricted.ToCandidate(*proposal));
  }

  // Of the first trials the best, else the first preset.
  static Assignment Best(const StudyView& view, size_t count) {
    const Observation* best = nullptr;
    for (size_t i = 0; i < count; ++i) {
      const Observation& observation = (*view.observations)[i];
      const bool ended = observation.state == proto::TRIAL_COMPLETE || observation.state == proto::TRIAL_INFEASIBLE;
      if (!ended || !view.space->Valid(observation.assignment)) continue;
      if (best == nullptr || Dominates(observation, *best)) best = &observation;
    }
    return best != nullptr ? best->assignment : view.space->Presets().front();
  }

  std::unique_ptr<Sampler> inner_;
};

}  // namespace

std::unique_ptr<Sampler> MakePassByPass(std::unique_ptr<Sampler> inner) {
  return std::make_unique<PassByPass>(std::move(inner));
}

}  // namespace hone
