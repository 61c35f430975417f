// Values of one step, or settings of one backend, that do not go together (proto::Impossible), over the parameters that
// a recipe gives.
#pragma once

#include <algorithm>
#include <cstdint>
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
  std::vector<std::string> backends;   // On these alone; none: on all.
};

// A rule on some of a space's backends: bit b is backend number b.
struct BackendRule {
  StepRule rule;
  uint64_t backends = 0;
};

// Terms on parameters that the recipe leaves alone are decided by their defaults, terms on a parameter for groups of
// layers hold where they do for each group; rules that cannot hold are left out, as are those that do not concern a
// target whose workers have `tags`. So are rules on a range without steps, or of more than kMaxListedValues of them:
// those are the pass's own to refuse.
std::vector<StepRule> RulesOf(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules,
                              const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                              const std::vector<ParameterPlan>& parameters, const std::vector<std::string>& tags);

// Whether the values break the rule. `number_of(p)`: of parameter p's value, nullopt where it is absent.
template <class NumberOf>
bool Breaks(const StepRule& rule, NumberOf number_of) {
  return std::all_of(rule.terms.begin(), rule.terms.end(), [&](const StepRule::Term& term) {
    const std::optional<size_t> number = number_of(term.parameter);
    return number ? term.holds[*number] : term.when_absent;
  });
}

// The first rule that the values break; nullptr if none.
template <class NumberOf>
const StepRule* BrokenRule(const std::vector<StepRule>& rules, NumberOf number_of) {
  const auto broken =
      std::find_if(rules.begin(), rules.end(), [&](const StepRule& rule) { return Breaks(rule, number_of); });
  return broken == rules.end() ? nullptr : &*broken;
}

// The backends that some rule keeps from what has the values.
template <class NumberOf>
uint64_t BarredBackends(const std::vector<BackendRule>& rules, NumberOf number_of) {
  uint64_t barred = 0;
  for (const BackendRule& rule : rules) {
    if (Breaks(rule.rule, number_of)) barred |= rule.backends;
  }
  return barred;
}

}  // namespace hone
