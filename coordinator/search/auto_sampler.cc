// What to try next follows from how many trials there are, so that a restarted search goes on as it would have:
//
//   1. the space's presets: every option on every backend, and all layer groups alike;
//   2. probes: where layer groups have precisions of their own, and no sensitivity table tells what each costs in
//   accuracy and gains in speed,
//      blocks of them at their cheapest on the best of the presets do. A budget has room for at most a quarter of
//      probes, so blocks grow where groups are many;
//   3. if what is left of the space fits into what is left of the budget, all of it;
//   4. otherwise the neighbour of the best that a model of everything measured so far finds worthiest (guided.h: it
//   finds the cheapest form that keeps
//      the constraints and closes in on their bounds as a bisection does); from 40 trials on in turn with TPE, and
//      chance for one trial in ten;
//   5. where the scheduler races the best few again, the last tenth of the budget is left to that.
#include "coordinator/search/auto_sampler.h"

#include <algorithm>

#include "coordinator/search/guided.h"
#include "coordinator/search/proposals.h"
#include "coordinator/search/tpe.h"

namespace hone {
namespace {

constexpr uint64_t kTurnSalt = 0x7475726e;
constexpr uint64_t kGuideSalt = 0x6775696465;
constexpr uint64_t kAutoTpeSalt = 0x6175746f747065;
// Trials before TPE and chance have their turns: the first ones are better spent on what is known to matter.
constexpr size_t kExploreFrom = 40;
// From then on one trial in so many is chance.
constexpr uint64_t kChance = 10;
// Probes have at most this part of the budget that presets leave.
constexpr uint64_t kProbePart = 4;
// Presets have at most this part of the budget.
constexpr uint64_t kPresetPart = 2;

class AutoSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) override {
    if (view.space->dimensions().empty()) return std::nullopt;
    memory_.See(view);
    const uint64_t done = memory_.rows().size();
    if (view.races && view.budget > 0 && done >= view.budget - RaceReserve(view.budget)) return std::nullopt;
    std::optional<Point> point = UntriedPreset(view);
    if (!point && Hints(view).empty()) point = Probe(view);
    if (!point) point = InTurn(view, trial);
    if (!point) point = Untried(memory_, view.seed, trial);
    if (!point) return std::nullopt;
    return memory_.space().Decode(memory_.space().Canonical(*point));
  }

 private:
  static const std::vector<GroupHint>& Hints(const StudyView& view) {
    static const std::vector<GroupHint> none;
    return view.hints == nullptr ? none : *view.hints;
  }

  static size_t PresetsWithin(const StudyView& view) {
    const size_t presets = view.space->Presets().size();
    return view.budget == 0 ? presets : std::min<size_t>(presets, std::max<uint64_t>(1, view.budget / kPresetPart));
  }

  std::optional<Point> UntriedPreset(const StudyView& view) const {
    const auto& presets = view.space->Presets();
    for (size_t i = 0; i < PresetsWithin(view); ++i) {
      auto point = memory_.space().Encode(presets[i]);
      if (point && !memory_.IsTaken(*point)) return memory_.space().Canonical(*point);
    }
    return std::nullopt;
  }

  // The best of the presets with groups of layers; where none keeps the constraints, the first with all groups at their
  // most precise.
  std::optional<Point> ProbeBase(const StudyView& view) const {
    const CodedSpace& space = memory_.space();
    const auto has_groups = [&](const Point& point) {
      for (size_t d = 0; d < space.size(); ++d) {
        if (space[d].group && !space[d].IsFixed() && point[d] != kAbsent) return true;
      }
      return false;
    };
    const TrialRow* best = nullptr;
    for (size_t i = 0; i < std::min(PresetsWithin(view), memory_.rows().size()); ++i) {
      const TrialRow& row = memory_.rows()[i];
      if (row.standing != Standing::kFeasible || !has_groups(row.point)) continue;
      if (best == nullptr || row.values.front() < best->values.front()) best = &row;
    }
    if (best != nullptr) return best->point;
    std::optional<Point> base;
    for (size_t i = 0; !base && i < view.space->Presets().size(); ++i) {
      auto point = space.Encode(view.space->Presets()[i]);
      if (point && has_groups(*point)) base = *std::move(point);
    }
    for (size_t d = 0; base && d < space.size(); ++d) {
      if (space[d].group && (*base)[d] != kAbsent) (*base)[d] = 0;
    }
    return base;
  }

  // Probe number k is whatever trial comes k trials after the presets.
  std::optional<Point> Probe(const StudyView& view) const {
    const CodedSpace& space = memory_.space();
    const size_t presets = PresetsWithin(view), done = memory_.rows().size();
    if (done < presets) return std::nullopt;
    std::optional<Point> base = ProbeBase(view);
    if (!base) return std::nullopt;
    std::vector<size_t> groups;
    for (size_t d = 0; d < space.size(); ++d) {
      const bool is_group = space[d].group && !space[d].IsFixed() && (*base)[d] != kAbsent;
      if (is_group && (*base)[d] < static_cast<double>(space[d].points - 1)) groups.push_back(d);
    }
    const uint64_t left =
        view.budget == 0 ? kProbePart * groups.size() : view.budget - std::min<uint64_t>(view.budget, presets);
    const size_t blocks = std::min<size_t>(groups.size(), left / kProbePart), block = done - presets;
    if (block >= blocks) return std::nullopt;
    for (size_t i = 0; i < groups.size(); ++i) {
      if (i * blocks / groups.size() == block) (*base)[groups[i]] = static_cast<double>(space[groups[i]].points - 1);
    }
    if (memory_.IsTaken(*base)) return std::nullopt;
    return base;
  }

  std::optional<Point> InTurn(const StudyView& view, uint64_t trial) {
    const size_t done = memory_.rows().size();
    const auto size = view.space->Size(kMaxNumbered);
    const uint64_t budget = view.budget - (view.races ? RaceReserve(view.budget) : 0);
    const bool all_fits = size && budget > done && *size - std::min<uint64_t>(*size, memory_.taken()) <= budget - done;
    const uint64_t turn = MixOf(view.seed, kTurnSalt, trial);
    const bool explores = !all_fits && done >= kExploreFrom;
    if (explores && turn % kChance == 0) return std::nullopt;
    if (explores && trial % 2 == 0) {
      Rng rng(SeedOf(view.seed, kAutoTpeSalt, trial));
      if (auto point = tpe_.Propose(memory_, rng)) return point;
    }
    Rng rng(SeedOf(view.seed, kGuideSalt, trial));
    if (done <= Guided::kMost) {
      if (auto point = guided_.Propose(memory_, Hints(view), rng)) return point;
    }
    return Mutated(memory_, Parents(memory_), rng);
  }

  StudyMemory memory_;
  Guided guided_;
  Tpe tpe_;
};

}  // namespace

std::unique_ptr<Sampler> MakeAutoSampler() { return std::make_unique<AutoSampler>(); }

}  // namespace hone
