// One search of a problem by one strategy, as hone or Optuna would run it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/search/problem.h"

namespace hone {

struct Outcome {
  std::vector<double> regret;      // At each of the budgets: of the candidate that a user would pick.
  uint64_t duplicates = 0;         // Measurements of a candidate that was measured before, races aside.
  uint64_t asked = 0;
  double ask_ms = 0;               // Sum over asks.
};

struct RunPlan {
  std::string strategy;  // A sampler; optuna: Optuna 5's default as OptunaTpe replays it; auto+table: auto with a
                         // sensitivity table.
  std::vector<uint64_t> budgets;   // Ascending.
  size_t parallel = 1;
  uint64_t seed = 0;
};

// A strategy that looks at the budget is run once for each budget, any other once for the largest. Workers take equally
// long: results come in order, `parallel` - 1 trials behind. A sensitivity table costs one trial for each cheaper
// precision: the model is built and compiled once for it, and the groups are measured by inference alone. hone's
// infeasible trials are not timed; Optuna's are. The last tenth of auto's budget is timings of the best few.
Outcome RunStrategy(const Problem& problem, const RunPlan& plan);

}  // namespace hone
