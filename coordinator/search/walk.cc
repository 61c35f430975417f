#include "coordinator/search/walk.h"

#include <algorithm>
#include <vector>

#include "coordinator/search/dimension.h"

namespace hone {
namespace {

// A box that still holds everything decided so far, with the count of what follows behind each of its steps.
struct LiveBox {
  const Box* box;
  Count behind;
  size_t index;   // In the caller's list.
};

Count CountFrom(const Box& box, size_t first) { return CountOf(std::span(box).subspan(first)); }

// Decides the parameters; gives the index of the box that the decisions lie in.
std::optional<size_t> WalkParameters(const std::vector<ParameterPlan>& parameters, size_t first_dimension, std::vector<LiveBox> live, Chooser& chooser,
                                     Assignment& assignment) {
  std::erase_if(live, [](const LiveBox& box) { return box.behind.exact == 0; });
  for (size_t p = 0; p < parameters.size() && !live.empty(); ++p) {
    // Whether a parameter takes part follows from those before it, so all live boxes agree.
    if (!(*live.front().box)[p].present) continue;
    const uint64_t points = PointsOf(parameters[p].dimension);
    const bool all = std::all_of(live.begin(), live.end(), [&](const LiveBox& box) { return (*box.box)[p].all; });
    std::optional<uint64_t> picked;
    if (all) {
      Count each;
      for (const LiveBox& box : live) each = each + CountFrom(*box.box, p + 1) * box.behind;
      picked = chooser.PickEqual(first_dimension + p, points, each);
    } else {
      std::vector<Count> counts(points);
      for (const LiveBox& box : live) {
        const Count behind = CountFrom(*box.box, p + 1) * box.behind;
        for (uint64_t i = 0; i < points; ++i) {
          if (Holds((*box.box)[p], i)) counts[i] = counts[i] + behind;
        }
      }
      picked = chooser.Pick(first_dimension + p, counts);
    }
    if (!picked) return std::nullopt;
    assignment[first_dimension + p] = ValueAt(parameters[p].dimension, *picked);
    std::erase_if(live, [&](const LiveBox& box) { return !Holds((*box.box)[p], *picked); });
  }
  return live.empty() ? std::nullopt : std::optional(live.front().index);
}

// The stages in order, then the backend.
class Walker {
 public:
  Walker(const SpacePlan& plan, Chooser& chooser) : plan_(plan), chooser_(chooser), rivals_(plan.NoRivals()) {}

  std::optional<Assignment> Run() {
    for (size_t stage = 0; stage < plan_.stages.size(); ++stage) {
      if (!WalkStage(stage)) return std::nullopt;
    }
    if (!WalkBackend()) return std::nullopt;
    return std::move(assignment_);
  }

 private:
  Count Behind(size_t stage, size_t index, const Part* part) const {
    const OptionPlan& option = plan_.stages[stage].options[index];
    const int next = option.pass.empty() ? format_ : option.next_format[static_cast<size_t>(format_)];
    if (next < 0) return {};
    return plan_.Completions(stage + 1, next, plan_.RivalsAfter(rivals_, stage, index, part));
  }

  Count OptionCount(size_t stage, size_t index) const {
    const OptionPlan& option = plan_.stages[stage].options[index];
    if (option.pass.empty()) return Behind(stage, index, nullptr);
    Count count;
    for (const Part& part : option.parts) count = count + CountOf(part.box) * Behind(stage, index, &part);
    return count;
  }

  bool WalkStage(size_t stage) {
    const StagePlan& plan = plan_.stages[stage];
    std::vector<Count> counts;
    for (size_t i = 0; i < plan.options.size(); ++i) counts.push_back(OptionCount(stage, i));
    const auto picked = chooser_.Pick(plan.dimension, counts);
    if (!picked) return false;
    const OptionPlan& option = plan.options[*picked];
    assignment_[plan.dimension] = plan_.dimensions[plan.dimension].choices[*picked];
    if (option.pass.empty()) {
      rivals_ = plan_.RivalsAfter(rivals_, stage, *picked, nullptr);
      return true;
    }
    std::vector<LiveBox> live;
    for (size_t p = 0; p < option.parts.size(); ++p) live.push_back({&option.parts[p].box, Behind(stage, *picked, &option.parts[p]), p});
    const auto part = WalkParameters(option.parameters, option.first_dimension, std::move(live), chooser_, assignment_);
    if (!part) return false;
    rivals_ = plan_.RivalsAfter(rivals_, stage, *picked, &option.parts[*part]);
    format_ = option.next_format[static_cast<size_t>(format_)];
    return true;
  }

  bool WalkBackend() {
    std::vector<Count> counts;
    for (const BackendPlan& backend : plan_.backends) {
      Count count;
      for (const Box& box : backend.boxes) count = count + CountOf(box);
      counts.push_back(backend.loads[static_cast<size_t>(format_)] ? count : Count{});
    }
    const auto picked = chooser_.Pick(plan_.backend_dimension, counts);
    if (!picked) return false;
    const BackendPlan& backend = plan_.backends[*picked];
    assignment_[plan_.backend_dimension] = plan_.dimensions[plan_.backend_dimension].choices[*picked];
    std::vector<LiveBox> live;
    for (size_t b = 0; b < backend.boxes.size(); ++b) live.push_back({&backend.boxes[b], CountOf(uint64_t{1}), b});
    return WalkParameters(backend.parameters, backend.first_dimension, std::move(live), chooser_, assignment_).has_value();
  }

  const SpacePlan& plan_;
  Chooser& chooser_;
  Rivals rivals_;
  int format_ = 0;
  Assignment assignment_;
};

}  // namespace

std::optional<Assignment> Walk(const SpacePlan& plan, Chooser& chooser) {
  if (plan.total.exact == 0) return std::nullopt;
  return Walker(plan, chooser).Run();
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
