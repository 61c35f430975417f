#include "coordinator/search/rules.h"

#include <algorithm>

#include "common/recipe/value.h"
#include "coordinator/search/boxes.h"
#include "coordinator/search/dimension.h"

namespace hone {
namespace {

using Infos = google::protobuf::RepeatedPtrField<proto::ParameterInfo>;

// nullopt where the rule is not to be kept.
std::optional<StepRule> RuleOf(const proto::Impossible& rule, const Infos& infos, const std::vector<ParameterPlan>& parameters) {
  StepRule made;
  made.reason = rule.reason();
  for (const proto::Impossible::Term& term : rule.terms()) {
    const proto::ParameterInfo* info = FindInfo(infos, term.parameter());
    const bool by_default = info != nullptr && TermHolds(term, info->default_value());
    const auto given = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const ParameterPlan& parameter) { return parameter.dimension.name == term.parameter(); });
    if (given == parameters.end()) {
      if (!by_default) return std::nullopt;
      continue;
    }
    const Dimension& dimension = given->dimension;
    if (IsContinuous(dimension) || PointsOf(dimension) > kMaxListedValues) return std::nullopt;
    StepRule::Term& own = made.terms.emplace_back();
    own.parameter = static_cast<size_t>(given - parameters.begin());
    own.when_absent = by_default;
    for (uint64_t i = 0; i < PointsOf(dimension); ++i) own.holds.push_back(TermHolds(term, ValueAt(dimension, i)));
    const bool never = !by_default && std::find(own.holds.begin(), own.holds.end(), true) == own.holds.end();
    if (never) return std::nullopt;
  }
  return made;
}

}  // namespace

std::vector<StepRule> RulesOf(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules, const Infos& infos,
                              const std::vector<ParameterPlan>& parameters) {
  std::vector<StepRule> kept;
  for (const proto::Impossible& rule : rules) {
    if (auto made = RuleOf(rule, infos, parameters)) kept.push_back(*std::move(made));
  }
  return kept;
}

}  // namespace hone
