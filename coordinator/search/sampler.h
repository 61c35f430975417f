// Ask/tell. A sampler holds no state: it proposes from the finished and running trials of the study (the database's content) and the seed,
// so that a restarted coordinator goes on with the same search.
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
  std::vector<double> values;     // One an objective, to be minimized (maximized ones are negated); complete trials only.
  double violation = 0;           // Sum of constraint violations; infinity for failed trials.
};

struct StudyView {
  const Space* space = nullptr;
  const std::vector<Observation>* observations = nullptr;   // By trial number; running and waiting trials included.
  uint64_t seed = 0;              // The job's seed mixed with the study's index.
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  // The assignment of trial number `trial` (numbers start at 1), never one that an observation has already. nullopt: nothing is left
  // to propose. Deterministic in (view, trial). Not thread-safe.
  virtual Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) = 0;
};

struct SamplerRow {
  const char* name;
  const char* help;
  std::unique_ptr<Sampler> (*make)();
};
const std::vector<SamplerRow>& Samplers();
Result<std::unique_ptr<Sampler>> MakeSampler(std::string_view name);  // "" is auto. kRejected with the names there are.

// Whether a dominates b: feasible before infeasible, smaller violation before larger, else Pareto dominance of values (NaN is worst). A trial
// that has not ended, or was pruned, neither dominates nor is dominated.
bool Dominates(const Observation& a, const Observation& b);
// Indices of the non-dominated feasible complete observations, by first objective.
std::vector<size_t> ParetoFront(const std::vector<Observation>& observations);

}  // namespace hone
