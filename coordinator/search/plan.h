// What a Space holds, constant after it is built.
//
// A candidate is a word: the steps of its pipeline (a pass with its parameters), then a backend with its settings. An
// assignment spells the word out by choices, and different choices may spell the same word: `none` leaves no trace, and
// a pass may be an option at several places. Each candidate must count once, so of the assignments that spell a word
// only the first in enumeration order is kept.
//
// To count them, stages are walked in order together with the rivals: the places at which an earlier assignment that
// has spelt the same word so far may stand. An assignment that ends where a rival can end too is not the first, and
// does not count. What happens to rivals depends on the step alone; and steps that behave alike are counted together as
// a Part. Where no pass is listed twice there are no rivals, and the count is a plain product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coordinator/search/boxes.h"
#include "coordinator/search/space.h"

namespace hone {

// Stage and option.
using OptionPlace = std::pair<size_t, size_t>;

// Steps of one option that belong to the same set of options.
struct Part {
  CountedBox steps;                       // In the option's own parameters and values.
  std::vector<OptionPlace> places;        // Every option that has these steps, this one too; ordered.
  uint64_t barred = 0;                    // Backends that none of these steps can end on: bit b is backend number b.
};

struct OptionPlan {
  int choice = 0;                         // In the recipe's stage.
  std::string label;  // The dimension's value: the pass, "none", or "fp16#2" for a pass listed before.
  std::string pass;                       // "" is none.
  std::vector<int> next_format;           // By the format before; -1 where the pass does not accept it.
  size_t first_dimension = 0;             // Of its parameters, which follow one another.
  std::vector<ParameterPlan> parameters;
  std::vector<StepRule> rules;
  std::vector<BackendRule> backend_rules;
  std::vector<Part> parts;                // Disjoint; together all its steps.
};

struct StagePlan {
  int index = 0;                          // In the recipe.
  size_t dimension = 0;
  std::vector<OptionPlan> options;
  bool shared = false;                    // Some pass of it is listed at another place too.
};

struct BackendPlan {
  std::string name;
  std::vector<bool> loads;                // By format.
  size_t first_dimension = 0;
  std::vector<ParameterPlan> parameters;
  std::vector<StepRule> rules;
  std::vector<CountedBox> boxes;
  Count count;
};

// By stage, and one more for the end: how many of the stage's first options a rival may take; 0 is no rival there. A
// rival that stands before a `none` stands behind it as well.
using Rivals = std::vector<uint16_t>;

struct SpacePlan {
  std::vector<Dimension> dimensions;
  std::vector<std::string> formats;       // 0 is the model's.
  std::vector<StagePlan> stages;
  size_t backend_dimension = 0;
  std::vector<BackendPlan> backends;
  bool ambiguous = false;                 // Some candidate may have several assignments. If not, there are no rivals.
  std::unordered_map<std::string, Count> completions;   // By CompletionKey; every state that an enumeration meets.
  Count total;
  std::vector<Assignment> presets;
  std::vector<std::string> notes;
  // What it was built from.
  proto::Recipe recipe;
  proto::Catalogue catalogue;
  SpaceInputs inputs;

  // The rivals after a step of `part` (nullptr: after none) at option `option` of stage `stage`.
  Rivals RivalsAfter(const Rivals& rivals, size_t stage, size_t option, const Part* part) const;
  // What the stages before one leave: the format, and the backends that their steps are not for.
  struct Prefix {
    int format = 0;
    uint64_t barred = 0;
  };
  // Candidates that go on from before `stage` with the prefix and no rival that spells them earlier. Counts and
  // remembers.
  Result<Count> CountCompletions(size_t stage, const Prefix& prefix, const Rivals& rivals);
  // Whether the steps taken and the backend break none of their rules. `number_of(d)`: of the value of dimension d,
  // nullopt where it is absent.
  template <class NumberOf>
  bool KeepsRules(NumberOf number_of) const {
    const size_t backend = *number_of(backend_dimension);
    const auto keeps = [&](const auto& owner) {
      return owner.rules.empty() ||
             BrokenRule(owner.rules, [&](size_t p) { return number_of(owner.first_dimension + p); }) == nullptr;
    };
    return keeps(backends[backend]) && std::all_of(stages.begin(), stages.end(), [&](const StagePlan& stage) {
             const OptionPlan& option = stage.options[*number_of(stage.dimension)];
             const auto number_in = [&](size_t p) { return number_of(option.first_dimension + p); };
             return keeps(option) && (BarredBackends(option.backend_rules, number_in) >> backend & 1) == 0;
           });
  }
  // The remembered count.
  Count Completions(size_t stage, const Prefix& prefix, const Rivals& rivals) const;
  bool Runs(size_t backend, const Prefix& prefix) const {
    return backends[backend].loads[static_cast<size_t>(prefix.format)] && (prefix.barred >> backend & 1) == 0;
  }
  Count BackendsFor(const Prefix& prefix) const;
  Rivals NoRivals() const { return Rivals(stages.size() + 1, 0); }
};


}  // namespace hone
