// Ask/tell. A sampler holds no state: it proposes from the finished and running trials of the study (the database's
// content) and the seed, so that a restarted coordinator goes on with the same search.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "coordinator/search/space.h"
#include "proto/wire.pb.h"

namespace hone {

struct Observation {
  uint64_t trial = 0;
  Assignment assignment;
  proto::TrialState state = proto::TRIAL_WAITING;
  std::vector<double> values;  // One an objective, to be minimized (maximized ones are negated); complete trials only.
  double violation = 0;           // Sum of constraint violations; infinity for failed trials.
  // One a constraint of the recipe, of trials that measured it, feasible or not: how far beyond its bound in units of
  // the bound (of 1 where the bound is 0), negative within; NaN where it is not known. Empty: not told.
  std::vector<double> constraints = {};
};

// What a sensitivity table says of one group of layers: what it loses and gains where it alone has a cheaper choice.
// Only proportions matter: the search learns from its trials how much of either a whole candidate shows.
struct GroupHint {
  size_t dimension = 0;           // A dimension with `group`.
  uint64_t choice = 0;            // Index among its choices, 1 and up.
  double loss = 0;                // Of accuracy, in any unit that is the same for all.
  double gain = 0;                // Of the first objective (time saved), in any unit that is the same for all.
  bool operator==(const GroupHint&) const = default;
};

struct StudyView {
  const Space* space = nullptr;
  const std::vector<Observation>* observations = nullptr;   // By trial number; running and waiting trials included.
  uint64_t seed = 0;              // The job's seed mixed with the study's index.
  // Views with the same number other than 0 show the same study at different times: the same trial number at the same
  // place is the same assignment. It lets a sampler keep what it derived from the trials; it never changes what is
  // proposed.
  uint64_t lineage = 0;
  uint64_t budget = 0;            // Trials that the study may have in all; 0: not bounded.
  // The scheduler spends what a sampler leaves of the budget on measuring the best few again (see RaceReserve).
  bool races = false;
  // Of the study's sensitivity table; nullptr where there is none. The same at every ask.
  const std::vector<GroupHint>* hints = nullptr;
  // Places in `observations` whose trial was replaced by what became of it, in the order in which that happened; grows
  // only. With it a sampler looks at what is new alone. nullptr: any of them may have been.
  const std::vector<size_t>* replaced = nullptr;
};

// Trials' worth of measuring that the last part of a budget keeps for racing the best few: a tenth, from 20 trials on.
uint64_t RaceReserve(uint64_t budget);

class Sampler {
 public:
  virtual ~Sampler() = default;
  // The assignment of trial number `trial` (numbers start at 1), never one that an observation has already. nullopt:
  // nothing is left to propose. Deterministic in (view, trial). Not thread-safe.
  virtual Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) = 0;
};

struct SamplerRow {
  const char* name;
  const char* help;
  std::unique_ptr<Sampler> (*make)();
};
const std::vector<SamplerRow>& Samplers();
Result<std::unique_ptr<Sampler>> MakeSampler(std::string_view name);  // "" is auto. kRejected with the names there are.
// As a recipe asks for, its order too.
Result<std::unique_ptr<Sampler>> MakeSampler(const proto::Search& search);

// Whether the search that a recipe asks for is auto's over all stages at once, which looks at StudyView::hints and
// leaves a reserve for races.
bool TakesHints(const proto::Search& search);

// Whether a dominates b: feasible before infeasible, smaller violation before larger, else Pareto dominance of values
// (NaN is worst). A trial that has not ended, or was pruned, neither dominates nor is dominated.
bool Dominates(const Observation& a, const Observation& b);
// Indices of the non-dominated feasible complete observations, by first objective.
std::vector<size_t> ParetoFront(const std::vector<Observation>& observations);

}  // namespace hone
