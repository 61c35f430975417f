// Values of one step, or settings of one backend, that do not go together (proto::Impossible), over the parameters that a recipe gives.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/search/parameters.h"

namespace hone {

// A step is impossible where all terms hold.
struct StepRule {
  struct Term {
    size_t parameter = 0;        // In the list of ParameterPlans.
    std::vector<bool> holds;     // By the number of its value.
    bool when_absent = false;    // Its conditions do not hold: it has its default.
  };
  std::vector<Term> terms;
  std::string reason;
};

// Terms on parameters that the recipe leaves alone are decided by their defaults; rules that cannot hold are left out. So are rules on a
// range without steps, or of more than kMaxListedValues of them: those are the pass's own to refuse.
std::vector<StepRule> RulesOf(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules,
                              const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                              const std::vector<ParameterPlan>& parameters);

// The first rule that the values break; nullptr if none. `number_of(p)`: of parameter p's value, nullopt where it is absent.
template <class NumberOf>
const StepRule* BrokenRule(const std::vector<StepRule>& rules, NumberOf number_of) {
  const auto holds = [&](const StepRule::Term& term) {
    const std::optional<size_t> number = number_of(term.parameter);
    return number ? term.holds[*number] : term.when_absent;
  };
  for (const StepRule& rule : rules) {
    bool all = true;
    for (const StepRule::Term& term : rule.terms) all = all && holds(term);
    if (all) return &rule;
  }
  return nullptr;
}

}  // namespace hone
