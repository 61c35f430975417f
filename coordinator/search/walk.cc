#include "coordinator/search/walk.h"

#include <algorithm>
#include <vector>

#include "coordinator/search/dimension.h"

namespace hone {
namespace {

// A box that still holds everything decided so far, with the count of what follows behind each of its steps.
struct LiveBox {
  const CountedBox* steps;
  Count behind;
  size_t index;   // In the caller's list.
};

// The stages in order, then the backend.
class Walker {
 public:
  Walker(const SpacePlan& plan, Chooser& chooser, Assignment* assignment)
      : plan_(plan), chooser_(chooser), assignment_(assignment), rivals_(plan.NoRivals()) {}

  std::optional<size_t> Run() {
    for (size_t stage = 0; stage < plan_.stages.size(); ++stage) {
      if (!WalkStage(stage)) return std::nullopt;
    }
    if (!WalkBackend()) return std::nullopt;
    return decided_;
  }

 private:
  void Decide(size_t dimension, uint64_t index) {
    ++decided_;
    if (assignment_ != nullptr) (*assignment_)[dimension] = ValueAt(plan_.dimensions[dimension], index);
  }

  SpacePlan::Prefix After(const OptionPlan& option, const Part* part) const {
    if (part == nullptr) return prefix_;
    return {option.next_format[static_cast<size_t>(prefix_.format)], prefix_.barred | part->barred};
  }

  Count Behind(size_t stage, size_t index, const Part* part) const {
    const OptionPlan& option = plan_.stages[stage].options[index];
    const SpacePlan::Prefix next = After(option, part);
    if (next.format < 0) return {};
    return plan_.Completions(stage + 1, next, plan_.RivalsAfter(rivals_, stage, index, part));
  }

  // What lies behind each part of the option; one count for none.
  std::vector<Count> BehindParts(size_t stage, size_t index) const {
    const OptionPlan& option = plan_.stages[stage].options[index];
    if (option.pass.empty()) return {Behind(stage, index, nullptr)};
    if (!plan_.ambiguous && option.backend_rules.empty())
      return std::vector<Count>(option.parts.size(), Behind(stage, index, &option.parts.front()));
    std::vector<Count> behind;
    for (const Part& part : option.parts) behind.push_back(Behind(stage, index, &part));
    return behind;
  }

  static Count Total(const OptionPlan& option, const std::vector<Count>& behind) {
    if (option.pass.empty()) return behind.front();
    Count count;
    for (size_t p = 0; p < behind.size(); ++p) count = count + option.parts[p].steps.from[0] * behind[p];
    return count;
  }

  bool WalkStage(size_t stage) {
    const StagePlan& plan = plan_.stages[stage];
    std::vector<std::vector<Count>> behind;
    std::vector<Count> counts;
    for (size_t i = 0; i < plan.options.size(); ++i) {
      behind.push_back(BehindParts(stage, i));
      counts.push_back(Total(plan.options[i], behind.back()));
    }
    const auto picked = chooser_.Pick(plan.dimension, counts);
    if (!picked) return false;
    Decide(plan.dimension, *picked);
    const OptionPlan& option = plan.options[*picked];
    if (option.pass.empty()) {
      rivals_ = plan_.RivalsAfter(rivals_, stage, *picked, nullptr);
      return true;
    }
    std::vector<LiveBox> live;
    for (size_t p = 0; p < option.parts.size(); ++p) live.push_back({&option.parts[p].steps, behind[*picked][p], p});
    const auto part = WalkParameters(option.parameters, option.first_dimension, std::move(live));
    if (!part) return false;
    rivals_ = plan_.RivalsAfter(rivals_, stage, *picked, &option.parts[*part]);
    prefix_ = After(option, &option.parts[*part]);
    return true;
  }

  bool WalkBackend() {
    std::vector<Count> counts;
    for (size_t b = 0; b < plan_.backends.size(); ++b)
      counts.push_back(plan_.Runs(b, prefix_) ? plan_.backends[b].count : Count{});
    const auto picked = chooser_.Pick(plan_.backend_dimension, counts);
    if (!picked) return false;
    Decide(plan_.backend_dimension, *picked);
    const BackendPlan& backend = plan_.backends[*picked];
    std::vector<LiveBox> live;
    for (size_t b = 0; b < backend.boxes.size(); ++b) live.push_back({&backend.boxes[b], CountOf(uint64_t{1}), b});
    return WalkParameters(backend.parameters, backend.first_dimension, std::move(live)).has_value();
  }

  // Decides the parameters; gives the index of the box that the decisions lie in.
  std::optional<size_t> WalkParameters(const std::vector<ParameterPlan>& parameters, size_t first_dimension,
                                       std::vector<LiveBox> live) {
    std::erase_if(live, [](const LiveBox& box) { return box.behind.exact == 0; });
    for (size_t p = 0; p < parameters.size() && !live.empty(); ++p) {
      // Whether a parameter takes part follows from those before it, so all live boxes agree.
      if (!live.front().steps->box[p].present) continue;
      const auto picked = PickValue(parameters[p].dimension, first_dimension + p, p, live);
      if (!picked) return std::nullopt;
      Decide(first_dimension + p, *picked);
      std::erase_if(live, [&](const LiveBox& box) { return !Holds(box.steps->box[p], *picked); });
    }
    return live.empty() ? std::nullopt : std::optional(live.front().index);
  }

  std::optional<uint64_t> PickValue(const Dimension& dimension, size_t number, size_t p,
                                    const std::vector<LiveBox>& live) {
    const uint64_t points = PointsOf(dimension);
    if (std::all_of(live.begin(), live.end(), [&](const LiveBox& box) { return box.steps->box[p].all; })) {
      Count each;
      for (const LiveBox& box : live) each = each + box.steps->from[p + 1] * box.behind;
      return chooser_.PickEqual(number, points, each);
    }
    std::vector<Count> counts(points);
    for (const LiveBox& box : live) {
      const Count behind = box.steps->from[p + 1] * box.behind;
      for (uint64_t i = 0; i < points; ++i) {
        if (Holds(box.steps->box[p], i)) counts[i] = counts[i] + behind;
      }
    }
    return chooser_.Pick(number, counts);
  }

  const SpacePlan& plan_;
  Chooser& chooser_;
  Assignment* assignment_;
  Rivals rivals_;
  SpacePlan::Prefix prefix_;
  size_t decided_ = 0;
};

}  // namespace

std::optional<size_t> Walk(const SpacePlan& plan, Chooser& chooser, Assignment* assignment) {
  if (plan.total.exact == 0) return std::nullopt;
  return Walker(plan, chooser, assignment).Run();
}

std::optional<uint64_t> IndexChooser::Pick(size_t, std::span<const Count> counts) {
  for (uint64_t i = 0; i < counts.size(); ++i) {
    if (index_ < counts[i].exact) return i;
    index_ -= counts[i].exact;
  }
  return std::nullopt;
}

std::optional<uint64_t> IndexChooser::PickEqual(size_t, uint64_t points, const Count& each) {
  if (each.exact == 0) return std::nullopt;
  const uint64_t picked = index_ / each.exact;
  index_ %= each.exact;
  return picked < points ? std::optional(picked) : std::nullopt;
}

std::optional<uint64_t> AssignmentChooser::Wanted(size_t dimension) const {
  const auto value = assignment_.find(dimension);
  return value == assignment_.end() ? std::nullopt : IndexIn(plan_.dimensions[dimension], value->second);
}

std::optional<uint64_t> AssignmentChooser::Pick(size_t dimension, std::span<const Count> counts) {
  const auto wanted = Wanted(dimension);
  if (!wanted || *wanted >= counts.size() || counts[*wanted].exact == 0) return std::nullopt;
  for (uint64_t i = 0; i < *wanted; ++i) before_ = std::min(before_ + counts[i].exact, Count::kCeiling);
  return wanted;
}

std::optional<uint64_t> AssignmentChooser::PickEqual(size_t dimension, uint64_t points, const Count& each) {
  const auto wanted = Wanted(dimension);
  if (!wanted || *wanted >= points || each.exact == 0) return std::nullopt;
  before_ = std::min(before_ + (CountOf(*wanted) * each).exact, Count::kCeiling);
  return wanted;
}

std::optional<uint64_t> RandomChooser::Pick(size_t, std::span<const Count> counts) {
  double total = 0;
  for (const Count& count : counts) total += count.approximate;
  double left = rng_.Uniform() * total;
  std::optional<uint64_t> last;
  for (uint64_t i = 0; i < counts.size(); ++i) {
    if (counts[i].exact == 0) continue;
    last = i;
    if (left < counts[i].approximate) break;
    left -= counts[i].approximate;
  }
  return last;
}

std::optional<uint64_t> RandomChooser::PickEqual(size_t, uint64_t points, const Count& each) {
  if (each.exact == 0) return std::nullopt;
  return std::min(static_cast<uint64_t>(rng_.Uniform() * static_cast<double>(points)), points - 1);
}

}  // namespace hone
