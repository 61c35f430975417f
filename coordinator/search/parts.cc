// A pass that is listed once has the boxes of its conditions as parts. A pass that is listed at several places has
// their common refinement: each box is laid over the parts found so far, and what overlaps becomes a part of its own
// that belongs to both. To compare values, those of a parameter get numbers that all places share ("common" below).
#include "coordinator/search/parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/recipe/value.h"
#include "coordinator/search/dimension.h"

namespace hone {
namespace {

constexpr size_t kMaxParts = 10'000;

// Values of one parameter over all places, numbered. A range too long to list is one value that stands for all of it.
struct CommonValues {
  std::map<std::string, uint32_t> numbers;
  std::vector<uint64_t> weights;
  std::vector<bool> continuous;
  bool has_long_range = false;
};

bool IsLong(const Dimension& dimension) { return IsContinuous(dimension) || PointsOf(dimension) > kMaxListedValues; }

std::string LongRangeText(const Dimension& dimension) {
  return fmt::format("{} to {} by {} {}", dimension.low, dimension.high, dimension.step, dimension.log);
}

// A box of common values with the options that have it.
struct CommonPart {
  Box box;
  std::vector<OptionPlace> places;
};

class PassRefinement {
 public:
  PassRefinement(const std::string& pass, std::vector<OptionPlace> places, SpacePlan& plan)
      : pass_(pass), places_(std::move(places)), plan_(plan) {}

  Result<> Run() {
    for (const OptionPlace& place : places_) TRY(Number(OptionAt(place)));
    for (const OptionPlace& place : places_) {
      for (const Part& part : OptionAt(place).parts) TRY(Lay(ToCommon(OptionAt(place), part.steps.box), place));
    }
    for (const OptionPlace& place : places_) OptionAt(place).parts.clear();
    for (const CommonPart& part : parts_) {
      for (const OptionPlace& place : part.places)
        OptionAt(place).parts.push_back({CountedBox(ToLocal(OptionAt(place), part.box)), part.places});
    }
    return {};
  }

 private:
  OptionPlan& OptionAt(const OptionPlace& place) { return plan_.stages[place.first].options[place.second]; }

  tl::unexpected<Error> Refuse(const std::string& cause) const {
    return Fail(ErrorCode::kRejected, fmt::format("pass '{}' is listed several times, {}", pass_, cause),
                "List it once, with its parameters as lists");
  }

  // Names all parameters and numbers all values of one place.
  Result<> Number(const OptionPlan& option) {
    for (const ParameterPlan& parameter : option.parameters) {
      const Dimension& dimension = parameter.dimension;
      if (!names_.contains(dimension.name)) {
        names_.emplace(dimension.name, names_.size());
        values_.emplace_back();
      }
      CommonValues& common = values_[names_.at(dimension.name)];
      if (IsLong(dimension)) {
        const auto [at, added] =
            common.numbers.emplace(LongRangeText(dimension), static_cast<uint32_t>(common.weights.size()));
        if (!added) continue;
        // Continuous ranges make the space infinite, where candidates are told apart one by one; grids must not overlap
        // unseen.
        if (!IsContinuous(dimension) && !common.weights.empty())
          return Refuse(fmt::format("and '{}' with different long ranges", dimension.name));
        common.weights.push_back(PointsOf(dimension));
        common.continuous.push_back(IsContinuous(dimension));
        common.has_long_range = common.has_long_range || !IsContinuous(dimension);
        continue;
      }
      for (uint64_t i = 0; i < PointsOf(dimension); ++i) {
        const auto [at, added] =
            common.numbers.emplace(ToText(ValueAt(dimension, i)), static_cast<uint32_t>(common.weights.size()));
        if (!added) continue;
        if (common.has_long_range) return Refuse(fmt::format("and '{}' with different long ranges", dimension.name));
        common.weights.push_back(1);
        common.continuous.push_back(false);
      }
    }
    return {};
  }

  Slot CommonSlot(const CommonValues& common, std::vector<uint32_t> values) const {
    std::sort(values.begin(), values.end());
    Slot slot;
    slot.present = true;
    slot.all = false;
    slot.count = 0;
    for (const uint32_t value : values) {
      slot.count += common.weights[value];
      slot.continuous = slot.continuous || common.continuous[value];
    }
    slot.values = std::move(values);
    return slot;
  }

  Box ToCommon(const OptionPlan& option, const Box& local) const {
    Box box(names_.size());
    for (size_t p = 0; p < local.size(); ++p) {
      if (!local[p].present) continue;
      const Dimension& dimension = option.parameters[p].dimension;
      const size_t at = names_.at(dimension.name);
      std::vector<uint32_t> values;
      if (IsLong(dimension)) {
        values.push_back(values_[at].numbers.at(LongRangeText(dimension)));
      } else {
        for (uint64_t i = 0; i < PointsOf(dimension); ++i) {
          if (Holds(local[p], i)) values.push_back(values_[at].numbers.at(ToText(ValueAt(dimension, i))));
        }
      }
      box[at] = CommonSlot(values_[at], std::move(values));
    }
    return box;
  }

  Box ToLocal(const OptionPlan& option, const Box& common) const {
    Box box(option.parameters.size());
    for (size_t p = 0; p < box.size(); ++p) {
      const Dimension& dimension = option.parameters[p].dimension;
      const size_t at = names_.at(dimension.name);
      const Slot& from = common[at];
      if (!from.present) continue;
      Slot& slot = box[p];
      slot.present = true;
      if (IsLong(dimension)) {
        slot.count = PointsOf(dimension);
        slot.continuous = IsContinuous(dimension);
        continue;
      }
      slot.all = false;
      for (uint64_t i = 0; i < PointsOf(dimension); ++i) {
        if (Holds(from, values_[at].numbers.at(ToText(ValueAt(dimension, i)))))
          slot.values.push_back(static_cast<uint32_t>(i));
      }
      slot.count = slot.values.size();
    }
    return box;
  }

  // The common part of two boxes; nullopt if there is none.
  std::optional<Box> Intersect(const Box& a, const Box& b) const {
    Box both(a.size());
    for (size_t p = 0; p < a.size(); ++p) {
      if (a[p].present != b[p].present) return std::nullopt;
      if (!a[p].present) continue;
      std::vector<uint32_t> values;
      std::set_intersection(a[p].values.begin(), a[p].values.end(), b[p].values.begin(), b[p].values.end(),
                            std::back_inserter(values));
      if (values.empty()) return std::nullopt;
      both[p] = CommonSlot(values_[p], std::move(values));
    }
    return both;
  }

  // What is in `whole` and not in `part`, which lies within it.
  std::vector<Box> Subtract(const Box& whole, const Box& part) const {
    std::vector<Box> rest;
    Box inside = whole;
    for (size_t p = 0; p < whole.size(); ++p) {
      if (!whole[p].present) continue;
      std::vector<uint32_t> outside;
      std::set_difference(whole[p].values.begin(), whole[p].values.end(), part[p].values.begin(), part[p].values.end(),
                          std::back_inserter(outside));
      if (!outside.empty()) {
        Box box = inside;
        box[p] = CommonSlot(values_[p], std::move(outside));
        rest.push_back(std::move(box));
      }
      inside[p] = part[p];
    }
    return rest;
  }

  // Lays a box of one place over the parts so far.
  Result<> Lay(const Box& box, const OptionPlace& place) {
    std::vector<Box> pieces = {box};
    std::vector<CommonPart> refined;
    for (CommonPart& part : parts_) {
      std::vector<Box> untouched = {part.box};
      std::vector<Box> left;
      for (Box& piece : pieces) {
        const auto both = Intersect(part.box, piece);
        if (!both) {
          left.push_back(std::move(piece));
          continue;
        }
        std::vector<OptionPlace> places = part.places;
        places.push_back(place);
        refined.push_back({*both, std::move(places)});
        for (Box& rest : Subtract(piece, *both)) left.push_back(std::move(rest));
        untouched = SubtractFromAll(untouched, *both);
      }
      for (Box& rest : untouched) refined.push_back({std::move(rest), part.places});
      pieces = std::move(left);
      if (refined.size() + pieces.size() > kMaxParts) return Refuse("and its parameters overlap in too many ways");
    }
    for (Box& piece : pieces) refined.push_back({std::move(piece), {place}});
    parts_ = std::move(refined);
    return {};
  }

  std::vector<Box> SubtractFromAll(const std::vector<Box>& boxes, const Box& taken) const {
    std::vector<Box> rest;
    for (const Box& box : boxes) {
      const auto both = Intersect(box, taken);
      if (!both) {
        rest.push_back(box);
        continue;
      }
      for (Box& piece : Subtract(box, *both)) rest.push_back(std::move(piece));
    }
    return rest;
  }

  const std::string& pass_;
  const std::vector<OptionPlace> places_;
  SpacePlan& plan_;
  std::map<std::string, size_t> names_;
  std::vector<CommonValues> values_;
  std::vector<CommonPart> parts_;
};

// In each of the boxes that come of it, the rule holds everywhere or nowhere.
std::vector<Box> CutByRule(const std::vector<Box>& boxes, const StepRule& rule) {
  std::vector<Box> cut;
  for (const Box& box : boxes) {
    RuleSplit split = SplitByRule(box, rule);
    if (split.broken) split.kept.push_back(*std::move(split.broken));
    cut.insert(cut.end(), std::make_move_iterator(split.kept.begin()), std::make_move_iterator(split.kept.end()));
  }
  return cut;
}

// Of a box within those that CutByRule gave, by its first steps.
uint64_t BarredOf(const OptionPlan& option, const Box& box) {
  return BarredBackends(option.backend_rules, [&](size_t p) -> std::optional<size_t> {
    if (!box[p].present) return std::nullopt;
    return box[p].all ? 0 : box[p].values.front();
  });
}

}  // namespace

Result<> CutIntoParts(SpacePlan& plan) {
  std::map<std::string, std::vector<OptionPlace>> places;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    size_t nones = 0;
    for (size_t o = 0; o < plan.stages[s].options.size(); ++o) {
      OptionPlan& option = plan.stages[s].options[o];
      if (option.pass.empty()) {
        plan.ambiguous = plan.ambiguous || ++nones > 1;
        continue;
      }
      TRY_ASSIGN(SplitResult split,
                 SplitByConditions(option.parameters, option.rules, fmt::format("pass '{}'", option.pass)));
      for (const BackendRule& rule : option.backend_rules) split.boxes = CutByRule(split.boxes, rule.rule);
      for (Box& box : split.boxes) option.parts.push_back({CountedBox(std::move(box)), {{s, o}}});
      places[option.pass].emplace_back(s, o);
    }
  }
  for (const auto& [pass, listed] : places) {
    if (listed.size() < 2) continue;
    plan.ambiguous = true;
    for (const OptionPlace& place : listed) plan.stages[place.first].shared = true;
    TRY(PassRefinement(pass, listed, plan).Run());
  }
  for (StagePlan& stage : plan.stages) {
    for (OptionPlan& option : stage.options) {
      for (Part& part : option.parts) part.barred = BarredOf(option, part.steps.box);
    }
  }
  return {};
}

}  // namespace hone
