#include "coordinator/search/coded.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/recipe/value.h"
#include "coordinator/search/dimension.h"

namespace hone {
namespace {

constexpr uint32_t kMaxCells = 64;
// Longer lists of choices share cells; nobody writes them by hand.
constexpr uint32_t kMaxChoiceCells = 4096;

Coordinate CoordinateOf(const std::vector<Dimension>& dimensions, size_t d) {
  const Dimension& dimension = dimensions[d];
  Coordinate coordinate;
  coordinate.categorical = !dimension.choices.empty();
  coordinate.continuous = IsContinuous(dimension);
  coordinate.group = dimension.group;
  coordinate.points = PointsOf(dimension);
  coordinate.low = dimension.low;
  coordinate.high = dimension.high;
  coordinate.log = dimension.log;
  if (dimension.log && dimension.low > 0) coordinate.log_range = std::log(dimension.high / dimension.low);
  coordinate.cells = coordinate.continuous
                         ? kMaxCells
                         : static_cast<uint32_t>(std::min<uint64_t>(
                               coordinate.points, coordinate.categorical ? kMaxChoiceCells : kMaxCells));
  for (const Dimension::Condition& condition : dimension.conditions) {
    Coordinate::Condition coded{condition.dimension,
                                std::vector<bool>(PointsOf(dimensions[condition.dimension]), false)};
    for (const proto::Value& value : condition.values) {
      if (const auto index = IndexIn(dimensions[condition.dimension], value)) coded.holds[*index] = true;
    }
    coordinate.conditions.push_back(std::move(coded));
  }
  return coordinate;
}

double CodeOf(const Dimension& dimension, const proto::Value& value) {
  return IsContinuous(dimension) ? RealOf(value) + 0.0 : static_cast<double>(*IndexIn(dimension, value));
}

}  // namespace

size_t PointHash::operator()(const Point& point) const {
  uint64_t hash = point.size();
  for (const double value : point) hash = Mix(hash ^ std::bit_cast<uint64_t>(value + 0.0));
  return hash;
}

double Coordinate::Scaled(double value) const {
  if (!continuous) return points <= 1 ? 0.5 : value / static_cast<double>(points - 1);
  return log ? std::log(value / low) / log_range : (value - low) / (high - low);
}

uint32_t Coordinate::CellOf(double value) const {
  if (!continuous && points <= cells) return static_cast<uint32_t>(value);
  if (categorical) return static_cast<uint32_t>(std::fmod(value, static_cast<double>(cells)));
  return static_cast<uint32_t>(std::clamp(Scaled(value) * cells, 0.0, static_cast<double>(cells - 1)));
}

double Coordinate::ValueIn(uint32_t cell, Rng& rng) const {
  if (!continuous && points <= cells) return cell;
  if (categorical) {
    const uint64_t rows = (points - 1 - cell) / cells + 1;
    return static_cast<double>(
        cell + cells * std::min(static_cast<uint64_t>(rng.Uniform() * static_cast<double>(rows)), rows - 1));
  }
  const double share = (cell + rng.Uniform()) / cells;
  if (!continuous)
    return std::clamp(std::nearbyint(share * static_cast<double>(points - 1)), 0.0, static_cast<double>(points - 1));
  return std::clamp(log ? low * std::pow(high / low, share) : low + share * (high - low), low, high);
}

double Coordinate::Any(Rng& rng) const {
  if (continuous) return ValueIn(std::min(static_cast<uint32_t>(rng.Uniform() * cells), cells - 1), rng);
  return std::min(std::floor(rng.Uniform() * static_cast<double>(points)), static_cast<double>(points - 1));
}

CodedSpace::CodedSpace(const Space& space) : space_(space) {
  const SpacePlan& plan = *space.plan();
  for (size_t d = 0; d < plan.dimensions.size(); ++d) coordinates_.push_back(CoordinateOf(plan.dimensions, d));
  const auto prefer = [&](const std::vector<ParameterPlan>& parameters, size_t first) {
    for (size_t p = 0; p < parameters.size(); ++p) {
      coordinates_[first + p].preferred = CodeOf(plan.dimensions[first + p], parameters[p].preferred);
    }
  };
  for (const StagePlan& stage : plan.stages) {
    coordinates_[stage.dimension].structural = true;
    for (const OptionPlan& option : stage.options) prefer(option.parameters, option.first_dimension);
  }
  for (const BackendPlan& backend : plan.backends) prefer(backend.parameters, backend.first_dimension);
  if (!plan.backends.empty()) coordinates_[plan.backend_dimension].structural = true;
}

std::optional<Point> CodedSpace::Encode(const Assignment& assignment) const {
  const auto& dimensions = space_.dimensions();
  if (assignment.empty() || assignment.rbegin()->first >= dimensions.size()) return std::nullopt;
  Point point(dimensions.size(), kAbsent);
  for (const auto& [d, value] : assignment) {
    if (!IndexIn(dimensions[d], value)) return std::nullopt;
    point[d] = CodeOf(dimensions[d], value);
  }
  for (size_t d = 0; d < point.size(); ++d) {
    if ((point[d] != kAbsent) != IsActive(d, point)) return std::nullopt;
  }
  if (!IsPossible(point)) return std::nullopt;
  return point;
}

Assignment CodedSpace::Decode(const Point& point) const {
  const auto& dimensions = space_.dimensions();
  Assignment assignment;
  for (size_t d = 0; d < point.size(); ++d) {
    if (point[d] == kAbsent) continue;
    assignment[d] =
        coordinates_[d].continuous ? RealValue(point[d]) : ValueAt(dimensions[d], static_cast<uint64_t>(point[d]));
  }
  return assignment;
}

bool CodedSpace::IsActive(size_t dimension, const Point& point) const {
  const auto& conditions = coordinates_[dimension].conditions;
  return std::all_of(conditions.begin(), conditions.end(), [&](const Coordinate::Condition& condition) {
    const double value = point[condition.dimension];
    return value != kAbsent && condition.holds[static_cast<size_t>(value)];
  });
}

bool CodedSpace::IsPossible(const Point& point) const {
  const SpacePlan& plan = *space_.plan();
  if (plan.backends.empty()) return false;
  int format = 0;
  for (const StagePlan& stage : plan.stages) {
    const OptionPlan& option = stage.options[static_cast<size_t>(point[stage.dimension])];
    if (!option.pass.empty()) format = option.next_format[static_cast<size_t>(format)];
    if (format < 0) return false;
  }
  return plan.backends[static_cast<size_t>(point[plan.backend_dimension])].loads[static_cast<size_t>(format)] &&
         plan.KeepsRules([&](size_t d) {
           return point[d] == kAbsent ? std::nullopt : std::optional(static_cast<size_t>(point[d]));
         });
}

bool CodedSpace::Repair(Point& point) const {
  for (size_t d = 0; d < point.size(); ++d) {
    if (!coordinates_[d].conditions.empty() && !IsActive(d, point)) {
      point[d] = kAbsent;
    } else if (point[d] == kAbsent) {
      point[d] = coordinates_[d].preferred;
    }
  }
  return IsPossible(point);
}

Point CodedSpace::Canonical(const Point& point) const {
  if (!space_.plan()->ambiguous) return point;
  const auto first = space_.FromCandidate(space_.ToCandidate(Decode(point)));
  if (!first) return point;
  return Encode(*first).value_or(point);
}

}  // namespace hone
