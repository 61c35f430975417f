#include "coordinator/search/boxes.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/search/dimension.h"

namespace hone {
namespace {

constexpr size_t kMaxBoxes = 4096;

std::vector<uint32_t> ListOf(const Slot& slot) {
  if (!slot.all) return slot.values;
  std::vector<uint32_t> values(slot.count);
  for (uint32_t i = 0; i < values.size(); ++i) values[i] = i;
  return values;
}

Slot SlotOf(std::vector<uint32_t> values) {
  Slot slot;
  slot.present = true;
  slot.all = false;
  slot.count = values.size();
  slot.values = std::move(values);
  return slot;
}

// The part of the slot inside and outside a set of values.
std::pair<Slot, Slot> Divide(const Slot& slot, const std::vector<uint32_t>& set) {
  std::vector<uint32_t> inside, outside;
  for (const uint32_t value : ListOf(slot))
    (std::binary_search(set.begin(), set.end(), value) ? inside : outside).push_back(value);
  return {SlotOf(std::move(inside)), SlotOf(std::move(outside))};
}

std::vector<uint32_t> IndicesOf(const Dimension& dimension, const std::vector<proto::Value>& values) {
  std::vector<uint32_t> indices;
  for (const proto::Value& value : values) {
    if (const auto index = IndexIn(dimension, value)) indices.push_back(static_cast<uint32_t>(*index));
  }
  std::sort(indices.begin(), indices.end());
  return indices;
}

Slot WholeSlot(const Dimension& dimension) {
  Slot slot;
  slot.present = true;
  slot.count = PointsOf(dimension);
  slot.continuous = IsContinuous(dimension);
  return slot;
}

// Cuts each box along one condition: where it holds stays in `active`, the rest goes to `inactive`.
void CutBy(const Dimension::Condition& condition, const Dimension& dimension, std::vector<Box>& active,
           std::vector<Box>& inactive) {
  const std::vector<uint32_t> wanted = IndicesOf(dimension, condition.values);
  std::vector<Box> holding;
  for (Box& box : active) {
    if (!box[condition.dimension].present) {
      inactive.push_back(std::move(box));
      continue;
    }
    auto [inside, outside] = Divide(box[condition.dimension], wanted);
    if (outside.count > 0) {
      Box rest = box;
      rest[condition.dimension] = std::move(outside);
      inactive.push_back(std::move(rest));
    }
    if (inside.count > 0) {
      box[condition.dimension] = std::move(inside);
      holding.push_back(std::move(box));
    }
  }
  active = std::move(holding);
}

}  // namespace

Count operator+(const Count& a, const Count& b) {
  return {std::min(a.exact + b.exact, Count::kCeiling), a.approximate + b.approximate, a.infinite || b.infinite};
}

Count operator*(const Count& a, const Count& b) {
  if (a.exact == 0 || b.exact == 0) return {};
  const uint64_t exact = a.exact > Count::kCeiling / b.exact ? Count::kCeiling : a.exact * b.exact;
  return {exact, a.approximate * b.approximate, a.infinite || b.infinite};
}

Count CountOf(uint64_t number) { return {std::min(number, Count::kCeiling), static_cast<double>(number), false}; }

bool Holds(const Slot& slot, uint64_t value) {
  return slot.present &&
         (slot.all ? value < slot.count
                   : std::binary_search(slot.values.begin(), slot.values.end(), static_cast<uint32_t>(value)));
}

Count CountOf(const Slot& slot) {
  Count count = CountOf(slot.count);
  count.infinite = slot.present && slot.continuous;
  return count;
}

CountedBox::CountedBox(Box slots) : box(std::move(slots)), from(box.size() + 1, CountOf(uint64_t{1})) {
  for (size_t p = box.size(); p-- > 0;) from[p] = CountOf(box[p]) * from[p + 1];
}

RuleSplit SplitByRule(const Box& box, const StepRule& rule) {
  RuleSplit split;
  Box inside = box;
  for (const StepRule::Term& term : rule.terms) {
    if (!box[term.parameter].present) {
      if (!term.when_absent) return {{box}, std::nullopt};
      continue;
    }
    std::vector<uint32_t> holding;
    for (uint32_t i = 0; i < term.holds.size(); ++i) {
      if (term.holds[i]) holding.push_back(i);
    }
    auto [in, out] = Divide(inside[term.parameter], holding);
    if (in.count == 0) return {{box}, std::nullopt};
    if (out.count > 0) {
      split.kept.push_back(inside);
      split.kept.back()[term.parameter] = std::move(out);
    }
    inside[term.parameter] = std::move(in);
  }
  split.broken = std::move(inside);
  return split;
}

Result<SplitResult> SplitByConditions(const std::vector<ParameterPlan>& parameters, const std::vector<StepRule>& rules,
                                      const std::string& owner) {
  SplitResult result;
  const auto too_many = [&] {
    return Fail(ErrorCode::kRejected,
                fmt::format("the conditions of {} divide its parameters in more than {} ways", owner, kMaxBoxes),
                "Write fewer conditions");
  };
  result.boxes.emplace_back();
  for (size_t p = 0; p < parameters.size(); ++p) {
    std::vector<Box> active = std::move(result.boxes), inactive;
    for (const Dimension::Condition& condition : parameters[p].dimension.conditions) {
      CutBy(condition, parameters[condition.dimension].dimension, active, inactive);
    }
    if (active.empty() && !result.never) result.never = p;
    for (Box& box : active) box.push_back(WholeSlot(parameters[p].dimension));
    for (Box& box : inactive) box.emplace_back();
    result.boxes = std::move(active);
    result.boxes.insert(result.boxes.end(), std::make_move_iterator(inactive.begin()),
                        std::make_move_iterator(inactive.end()));
    if (result.boxes.size() > kMaxBoxes) return too_many();
  }
  for (const StepRule& rule : rules) {
    std::vector<Box> kept;
    for (const Box& box : result.boxes) {
      for (Box& piece : SplitByRule(box, rule).kept) kept.push_back(std::move(piece));
    }
    result.boxes = std::move(kept);
    if (result.boxes.size() > kMaxBoxes) return too_many();
  }
  return result;
}

}  // namespace hone
