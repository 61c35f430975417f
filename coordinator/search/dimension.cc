#include "coordinator/search/dimension.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "common/recipe/value.h"

namespace hone {
namespace {

// A range whose end is a whole number of steps away includes it in spite of rounding.
constexpr double kStepTolerance = 1e-9;

// low + index * step as a person would write it: 0.3, not 0.30000000000000004.
double GridPoint(const Dimension& dimension, uint64_t index) {
  const double point = dimension.low + static_cast<double>(index) * dimension.step;
  return std::strtod(fmt::format("{:.12g}", point).c_str(), nullptr);
}

uint64_t NearestPoint(const Dimension& dimension, double value) {
  const double steps = std::round((value - dimension.low) / dimension.step);
  return static_cast<uint64_t>(std::clamp(steps, 0.0, static_cast<double>(PointsOf(dimension) - 1)));
}

}  // namespace

bool IsContinuous(const Dimension& dimension) { return dimension.choices.empty() && dimension.step <= 0; }

uint64_t PointsOf(const Dimension& dimension) {
  if (!dimension.choices.empty()) return dimension.choices.size();
  if (IsContinuous(dimension)) return 1;
  return static_cast<uint64_t>(std::floor((dimension.high - dimension.low) / dimension.step + kStepTolerance)) + 1;
}

proto::Value ValueAt(const Dimension& dimension, uint64_t index) {
  if (!dimension.choices.empty()) return dimension.choices[index];
  if (IsContinuous(dimension)) return RealValue(dimension.low);
  if (!dimension.integer) return RealValue(std::min(GridPoint(dimension, index), dimension.high));
  return IntValue(static_cast<int64_t>(dimension.low) +
                  static_cast<int64_t>(index) * static_cast<int64_t>(dimension.step));
}

std::optional<uint64_t> IndexIn(const Dimension& dimension, const proto::Value& value) {
  if (!dimension.choices.empty()) {
    const auto found = std::find_if(dimension.choices.begin(), dimension.choices.end(),
                                    [&](const proto::Value& choice) { return Equal(choice, value); });
    return found == dimension.choices.end() ? std::nullopt
                                            : std::optional(static_cast<uint64_t>(found - dimension.choices.begin()));
  }
  const bool number = value.kind_case() == proto::Value::kInteger || value.kind_case() == proto::Value::kReal;
  if (!number) return std::nullopt;
  const double real = RealOf(value);
  if (!(real >= dimension.low && real <= dimension.high)) return std::nullopt;
  if (IsContinuous(dimension)) return 0;
  const uint64_t index = NearestPoint(dimension, real);
  return Equal(ValueAt(dimension, index), value) ? std::optional(index) : std::nullopt;
}

proto::Value MiddleOf(const Dimension& dimension) {
  if (!dimension.choices.empty()) return dimension.choices.front();
  const double centre = dimension.log ? std::sqrt(dimension.low) * std::sqrt(dimension.high)
                                      : dimension.low + (dimension.high - dimension.low) / 2;
  if (IsContinuous(dimension)) return RealValue(std::clamp(centre, dimension.low, dimension.high));
  return ValueAt(dimension, NearestPoint(dimension, centre));
}

}  // namespace hone
