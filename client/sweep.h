// Ways of running one model that `hone benchmark --sweep` makes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace hone {

// One axis: `threads` and `backend` have their own meaning (the backend's setting for threads; the engine), all others
// are settings.
struct SweepAxis {
  std::string name;
  std::vector<std::string> values;
};

// One point: what it says of each axis, in their order.
using SweepPoint = std::vector<std::pair<std::string, std::string>>;

// "threads=1,2". kUsage for a word that is no axis, an axis given twice, or a value given twice.
Result<std::vector<SweepAxis>> ParseSweep(const std::vector<std::string>& words);

// Every combination, the last axis fastest; one empty point where there is no axis.
std::vector<SweepPoint> PointsOf(const std::vector<SweepAxis>& axes);

}  // namespace hone
