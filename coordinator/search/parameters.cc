#include "coordinator/search/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/search/boxes.h"
#include "coordinator/search/dimension.h"

namespace hone {
namespace {

using Infos = google::protobuf::RepeatedPtrField<proto::ParameterInfo>;
using Domains = google::protobuf::RepeatedPtrField<proto::Domain>;

// Beyond these a double no longer tells neighbours apart, and nobody means it.
constexpr double kMaxInteger = 9007199254740992.0;
constexpr double kMaxPoints = 1e15;
constexpr uint32_t kMaxGroups = 1000;

struct Draft {
  ParameterPlan plan;
  const proto::Domain* domain;
  const proto::ParameterInfo* info;
};

class ParameterPlanner {
 public:
  ParameterPlanner(const Infos& infos, const ParameterOwner& owner, const ParameterRules& rules,
                   std::vector<std::string>& notes)
      : infos_(infos), owner_(owner), skip_(rules.skip), has_calibration_(rules.has_calibration), notes_(notes) {}

  Result<std::vector<ParameterPlan>> Plan(const Domains& domains) {
    for (const proto::Domain& domain : domains) TRY(Expand(domain));
    for (const proto::Domain& domain : expanded_) TRY(AddDomain(domain));
    while (true) {
      TRY_ASSIGN(const bool dropped, ResolveConditions());
      if (dropped) continue;
      TRY(OrderByConditions());
      TRY_ASSIGN(const bool contradiction, DropContradiction());
      if (!contradiction) break;
    }
    std::vector<ParameterPlan> plans;
    for (Draft& draft : drafts_) plans.push_back(std::move(draft.plan));
    return plans;
  }

 private:
  std::string Named(const std::string& name) const {
    return fmt::format("{} '{}' of {}", owner_.word, Printable(name, 80), owner_.name);
  }

  std::vector<std::string> DeclaredNames() const {
    std::vector<std::string> names;
    for (const proto::ParameterInfo& info : infos_) names.push_back(info.name());
    return names;
  }

  const proto::ParameterInfo* FindInfo(const std::string& name) const { return hone::FindInfo(infos_, name); }

  // One parameter a group of layers.
  Result<> Expand(const proto::Domain& domain) {
    if (domain.groups() == 0) {
      expanded_.push_back(domain);
      return {};
    }
    if (domain.groups() > kMaxGroups)
      return RejectAt(domain.position(), fmt::format("{} has more than {} groups", Named(domain.name()), kMaxGroups));
    if (const proto::ParameterInfo* info = FindInfo(domain.name() + ".0");
        info == nullptr && FindInfo(domain.name()) != nullptr) {
      return LeaveOut(domain.position(), Named(domain.name()) + " holds for the whole model, not for groups of layers",
                      "Take 'groups' out");
    }
    for (uint32_t group = 0; group < domain.groups(); ++group) {
      proto::Domain& one = expanded_.emplace_back(domain);
      one.set_name(fmt::format("{}.{}", domain.name(), group));
      one.clear_groups();
    }
    return {};
  }

  std::optional<size_t> FindDraft(const std::string& name) const {
    const auto found =
        std::find_if(drafts_.begin(), drafts_.end(), [&](const Draft& draft) { return draft.domain->name() == name; });
    return found == drafts_.end() ? std::nullopt : std::optional(static_cast<size_t>(found - drafts_.begin()));
  }

  // A mistake, or with skip a note.
  Result<> LeaveOut(const proto::Position& position, std::string message, std::string remedy = {}) {
    if (!skip_) return RejectAt(position, std::move(message), std::move(remedy));
    notes_.push_back(fmt::format("left out: {}", message));
    return {};
  }

  Result<> AddDomain(const proto::Domain& domain) {
    if (FindDraft(domain.name())) return RejectAt(domain.position(), Named(domain.name()) + " is given twice");
    const proto::ParameterInfo* info = FindInfo(domain.name());
    if (info == nullptr) {
      const std::vector<std::string> names = DeclaredNames();
      return LeaveOut(
          domain.position(),
          fmt::format("{} has no {} '{}'{}", owner_.name, owner_.word, Printable(domain.name(), 80),
                      DidYouMean(domain.name(), names)),
          names.empty() ? fmt::format("It takes no {}s", owner_.word) : fmt::format("It knows {}", Join(names, ", ")));
    }
    Draft draft{{}, &domain, info};
    draft.plan.dimension.name = domain.name();
    draft.plan.dimension.integer = info->type() == proto::ParameterInfo::INTEGER;
    draft.plan.dimension.group = info->per_group();
    const Result<bool> usable = domain.choices().empty() ? PlanRange(domain, *info, draft.plan.dimension)
                                                         : PlanChoices(domain, *info, draft.plan.dimension);
    if (!usable) return Fail(usable.error());
    if (!*usable) return {};
    draft.plan.preferred = Preferred(*info, draft.plan.dimension);
    drafts_.push_back(std::move(draft));
    return {};
  }

  static proto::Value Normalized(const proto::ParameterInfo& info, const proto::Value& value) {
    return info.type() == proto::ParameterInfo::REAL ? RealValue(RealOf(value)) : value;
  }

  static proto::Value Preferred(const proto::ParameterInfo& info, const Dimension& dimension) {
    const auto index = IndexIn(dimension, info.default_value());
    if (!index) return MiddleOf(dimension);
    return IsContinuous(dimension) ? Normalized(info, info.default_value()) : ValueAt(dimension, *index);
  }

  // Whether anything is left of it.
  Result<bool> PlanChoices(const proto::Domain& domain, const proto::ParameterInfo& info, Dimension& dimension) {
    for (const proto::Value& value : domain.choices()) {
      const auto checked = CheckValue(info, value, owner_.name);
      if (!checked) {
        TRY(LeaveOut(domain.position(), checked.error().message, checked.error().remedy));
        continue;
      }
      const auto needs = [&](const proto::Value& needing) { return Equal(needing, value); };
      if (!has_calibration_ && std::any_of(info.needs_calibration().begin(), info.needs_calibration().end(), needs)) {
        TRY(LeaveOut(domain.position(),
                     fmt::format("{} needs calibration data for '{}', and the job has none", Named(domain.name()),
                                 Printable(ToText(value), 80)),
                     "Add data.calibration or --calibration, or take the value out"));
        continue;
      }
      if (IndexIn(dimension, value) && !dimension.choices.empty()) {
        return RejectAt(domain.position(),
                        fmt::format("{} has the value '{}' twice", Named(domain.name()), Printable(ToText(value), 80)));
      }
      dimension.choices.push_back(Normalized(info, value));
    }
    return !dimension.choices.empty();
  }

  Result<bool> PlanRange(const proto::Domain& domain, const proto::ParameterInfo& info, Dimension& dimension) {
    const auto refuse = [&](const std::string& cause, const std::string& remedy = {}) {
      return RejectAt(domain.position(), fmt::format("{} {}", Named(domain.name()), cause), remedy);
    };
    if (!IsFinite(domain.low()) || !IsFinite(domain.high()))
      return refuse("has neither values nor a range of finite numbers");
    if (domain.has_step() && !(IsFinite(domain.step()) && RealOf(domain.step()) >= 0))
      return refuse("has a step that is no number above 0");
    const bool number = info.type() == proto::ParameterInfo::INTEGER || info.type() == proto::ParameterInfo::REAL;
    if (!number) return refuse("takes no range, it is no number", info.help());
    if (!info.choices().empty()) return refuse("takes no range, only certain values", "List the values wanted");
    for (const proto::Value* bound : {&domain.low(), &domain.high()}) {
      const auto checked = CheckValue(info, *bound, owner_.name);
      if (checked) continue;
      TRY(LeaveOut(domain.position(), checked.error().message, checked.error().remedy));
      return false;
    }
    dimension.low = RealOf(domain.low());
    dimension.high = RealOf(domain.high());
    dimension.step = domain.has_step() ? RealOf(domain.step()) : 0;
    dimension.log = domain.log();
    if (dimension.low > dimension.high)
      return refuse(fmt::format("has a range whose low {} is above its high {}", dimension.low, dimension.high));
    if (dimension.log && dimension.low <= 0) return refuse("has a range with log that does not begin above 0");
    if (dimension.integer) {
      if (dimension.step != std::floor(dimension.step))
        return refuse(fmt::format("is an integer; its step must be one too, is {}", dimension.step));
      if (std::max(std::fabs(dimension.low), std::fabs(dimension.high)) > kMaxInteger)
        return refuse("has a range beyond 2^53");
      dimension.step = std::max(dimension.step, 1.0);
    }
    if (dimension.step > 0 && (dimension.high - dimension.low) / dimension.step > kMaxPoints)
      return refuse("has a range of more than 10^15 values", "Give it a larger step");
    if (dimension.low == dimension.high) dimension.choices = {Normalized(info, domain.low())};
    return true;
  }

  static bool IsFinite(const proto::Value& value) {
    const bool number = value.kind_case() == proto::Value::kInteger || value.kind_case() == proto::Value::kReal;
    return number && std::isfinite(RealOf(value));
  }

  // Makes conditions of every `when`. True if a parameter was left out, which may concern others.
  Result<bool> ResolveConditions() {
    for (size_t i = 0; i < drafts_.size(); ++i) {
      Draft& draft = drafts_[i];
      draft.plan.dimension.conditions.clear();
      for (const proto::When& when : draft.domain->when()) {
        TRY_ASSIGN(const bool possible, ResolveCondition(when, draft));
        if (possible) continue;
        TRY(LeaveOut(draft.domain->position(),
                     fmt::format("{} never takes part: its condition on '{}' cannot hold", Named(draft.domain->name()),
                                 Printable(when.parameter(), 80)),
                     "Compare the values in 'when' with those that the recipe lists"));
        drafts_.erase(drafts_.begin() + static_cast<std::ptrdiff_t>(i));
        return true;
      }
    }
    return false;
  }

  // False where the condition can never hold.
  Result<bool> ResolveCondition(const proto::When& when, Draft& draft) {
    const proto::Position& position = draft.domain->position();
    const proto::ParameterInfo* info = FindInfo(when.parameter());
    if (info == nullptr) {
      if (skip_) return false;
      return RejectAt(
          position,
          fmt::format("{} depends on '{}', which {} does not have{}", Named(draft.domain->name()),
                      Printable(when.parameter(), 80), owner_.name, DidYouMean(when.parameter(), DeclaredNames())),
          fmt::format("It knows {}", Join(DeclaredNames(), ", ")));
    }
    if (when.parameter() == draft.domain->name())
      return RejectAt(position, Named(draft.domain->name()) + " depends on itself");
    std::vector<proto::Value> values;
    for (const proto::Value& value : when.values()) {
      const auto checked = CheckValue(*info, value, owner_.name);
      if (checked) {
        values.push_back(Normalized(*info, value));
      } else if (!skip_) {
        return RejectAt(
            position,
            fmt::format("the condition of '{}': {}", Printable(draft.domain->name(), 80), checked.error().message),
            checked.error().remedy);
      }
    }
    const auto target = FindDraft(when.parameter());
    if (!target) return HoldsByDefault(*info, values, position, draft);
    const Dimension& dimension = drafts_[*target].plan.dimension;
    if (IsContinuous(dimension) || PointsOf(dimension) > kMaxListedValues) {
      return RejectAt(
          position,
          fmt::format("{} depends on '{}', which has no list of values", Named(draft.domain->name()), dimension.name),
          "List the values of both");
    }
    const bool possible = std::any_of(values.begin(), values.end(),
                                      [&](const proto::Value& value) { return IndexIn(dimension, value).has_value(); });
    draft.plan.dimension.conditions.push_back({*target, std::move(values)});
    return possible;
  }

  // A condition on a parameter that the recipe leaves at its default holds always or never.
  Result<bool> HoldsByDefault(const proto::ParameterInfo& info, const std::vector<proto::Value>& values,
                              const proto::Position& position, const Draft& draft) const {
    if (info.default_value().kind_case() == proto::Value::KIND_NOT_SET && !skip_) {
      return RejectAt(position,
                      fmt::format("{} depends on '{}', which the recipe does not give and which has no default",
                                  Named(draft.domain->name()), info.name()),
                      fmt::format("Give '{}' its values", info.name()));
    }
    return std::any_of(values.begin(), values.end(),
                       [&](const proto::Value& value) { return Equal(value, info.default_value()); });
  }

  // Puts every parameter behind those that its conditions name, otherwise in the recipe's order.
  Result<> OrderByConditions() {
    std::vector<size_t> order, place(drafts_.size());
    std::vector<bool> placed(drafts_.size(), false);
    while (order.size() < drafts_.size()) {
      const auto ready = [&](size_t i) {
        const auto& conditions = drafts_[i].plan.dimension.conditions;
        return !placed[i] && std::all_of(conditions.begin(), conditions.end(),
                                         [&](const auto& condition) { return placed[condition.dimension]; });
      };
      size_t next = 0;
      while (next < drafts_.size() && !ready(next)) ++next;
      if (next == drafts_.size()) return RefuseCircle(placed);
      place[next] = order.size();
      placed[next] = true;
      order.push_back(next);
    }
    std::vector<Draft> ordered;
    for (const size_t i : order) {
      for (auto& condition : drafts_[i].plan.dimension.conditions) condition.dimension = place[condition.dimension];
      ordered.push_back(std::move(drafts_[i]));
    }
    drafts_ = std::move(ordered);
    return {};
  }

  Result<> RefuseCircle(const std::vector<bool>& placed) const {
    const auto first = static_cast<size_t>(std::find(placed.begin(), placed.end(), false) - placed.begin());
    return RejectAt(
        drafts_[first].domain->position(),
        fmt::format("{} depends on itself through the conditions of others", Named(drafts_[first].domain->name())),
        "Take one 'when' of the circle out");
  }

  // Conditions that hold one by one may still not hold together. True if a parameter was left out.
  Result<bool> DropContradiction() {
    std::vector<ParameterPlan> plans;
    for (const Draft& draft : drafts_) plans.push_back(draft.plan);
    const auto split = SplitByConditions(plans, {}, owner_.name);
    if (!split)
      return Fail(drafts_.empty() ? split.error() : LocatedAt(drafts_.front().domain->position(), split.error()));
    if (!split->never) return false;
    const Draft& draft = drafts_[*split->never];
    TRY(LeaveOut(draft.domain->position(),
                 Named(draft.domain->name()) + " never takes part: its conditions cannot hold together",
                 "Compare the values in 'when' with those that the recipe lists"));
    drafts_.erase(drafts_.begin() + static_cast<std::ptrdiff_t>(*split->never));
    return true;
  }

  const Infos& infos_;
  const ParameterOwner& owner_;
  const bool skip_;
  const bool has_calibration_;
  std::vector<std::string>& notes_;
  std::deque<proto::Domain> expanded_;   // Drafts point into it.
  std::vector<Draft> drafts_;
};

}  // namespace

Result<std::vector<ParameterPlan>> PlanParameters(const Domains& domains, const Infos& infos,
                                                  const ParameterOwner& owner, const ParameterRules& rules,
                                                  std::vector<std::string>& notes) {
  return ParameterPlanner(infos, owner, rules, notes).Plan(domains);
}

Error LocatedAt(const proto::Position& position, Error error) {
  error.file = position.file();
  error.line = position.line();
  error.column = position.column();
  return error;
}

tl::unexpected<Error> RejectAt(const proto::Position& position, std::string message, std::string remedy) {
  return Fail(LocatedAt(position, {ErrorCode::kRejected, std::move(message), std::move(remedy)}));
}

}  // namespace hone
