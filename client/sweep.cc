#include "client/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/strings.h"

namespace hone {

Result<std::vector<SweepAxis>> ParseSweep(const std::vector<std::string>& words) {
  std::vector<SweepAxis> axes;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    std::vector<std::string> values;
    if (equals != std::string::npos) values = Split(word.substr(equals + 1), ',');
    const bool complete = !name.empty() && !values.empty() &&
                          std::none_of(values.begin(), values.end(), [](const auto& v) { return v.empty(); });
    if (!complete) {
      return Fail(ErrorCode::kUsage, fmt::format("--sweep {}: must be a setting with its values, such as threads=1,2",
                                                 Printable(word, 100)));
    }
    if (std::set<std::string>(values.begin(), values.end()).size() != values.size()) {
      return Fail(ErrorCode::kUsage, fmt::format("--sweep {}: a value is given twice", Printable(word, 100)));
    }
    const auto same = [&](const SweepAxis& axis) { return axis.name == name; };
    if (std::any_of(axes.begin(), axes.end(), same))
      return Fail(ErrorCode::kUsage, fmt::format("--sweep: {} is given twice", Printable(name, 100)));
    axes.push_back({name, std::move(values)});
  }
  return axes;
}

std::vector<SweepPoint> PointsOf(const std::vector<SweepAxis>& axes) {
  std::vector<SweepPoint> points(1);
  for (const SweepAxis& axis : axes) {
    std::vector<SweepPoint> longer;
    for (const SweepPoint& point : points) {
      for (const std::string& value : axis.values) {
        longer.push_back(point);
        longer.back().emplace_back(axis.name, value);
      }
    }
    points = std::move(longer);
  }
  return points;
}

}  // namespace hone
