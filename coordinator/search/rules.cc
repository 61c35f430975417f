#include "coordinator/search/rules.h"

#include <algorithm>

#include "common/recipe/value.h"
#include "coordinator/search/boxes.h"
#include "coordinator/search/dimension.h"

namespace hone {
namespace {

using Infos = google::protobuf::RepeatedPtrField<proto::ParameterInfo>;

// The parameters of the recipe that a term is about: one, or those of all groups of layers.
std::vector<size_t> ParametersOf(const proto::Impossible::Term& term, const Infos& infos,
                                 const std::vector<ParameterPlan>& parameters) {
  std::vector<size_t> found;
  for (size_t p = 0; p < parameters.size(); ++p) {
    const std::string& name = parameters[p].dimension.name;
    const proto::ParameterInfo* info = parameters[p].dimension.group ? FindInfo(infos, name) : nullptr;
    if (name == term.parameter() || (info != nullptr && info->name() == term.parameter())) found.push_back(p);
  }
  return found;
}

// nullopt where the rule is not to be kept.
std::optional<StepRule> RuleOf(const proto::Impossible& rule, const Infos& infos,
                               const std::vector<ParameterPlan>& parameters) {
  StepRule made;
  made.reason = rule.reason();
  made.backends.assign(rule.backends().begin(), rule.backends().end());
  for (const proto::Impossible::Term& term : rule.terms()) {
    const proto::ParameterInfo* info = FindInfo(infos, term.parameter());
    const bool by_default = info != nullptr && TermHolds(term, info->default_value());
    const std::vector<size_t> given = ParametersOf(term, infos, parameters);
    if (given.empty() && !by_default) return std::nullopt;
    for (const size_t p : given) {
      const Dimension& dimension = parameters[p].dimension;
      if (IsContinuous(dimension) || PointsOf(dimension) > kMaxListedValues) return std::nullopt;
      StepRule::Term& own = made.terms.emplace_back();
      own.parameter = p;
      own.when_absent = by_default;
      for (uint64_t i = 0; i < PointsOf(dimension); ++i) own.holds.push_back(TermHolds(term, ValueAt(dimension, i)));
      const bool never = !by_default && std::find(own.holds.begin(), own.holds.end(), true) == own.holds.end();
      if (never) return std::nullopt;
    }
  }
  return made;
}

}  // namespace

std::vector<StepRule> RulesOf(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules, const Infos& infos,
                              const std::vector<ParameterPlan>& parameters, const std::vector<std::string>& tags) {
  std::vector<StepRule> kept;
  const auto is_there = [&](const std::string& tag) { return std::find(tags.begin(), tags.end(), tag) != tags.end(); };
  for (const proto::Impossible& rule : rules) {
    if (std::any_of(rule.without().begin(), rule.without().end(), is_there)) continue;
    if (auto made = RuleOf(rule, infos, parameters)) kept.push_back(*std::move(made));
  }
  return kept;
}

}  // namespace hone
