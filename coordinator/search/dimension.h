// The values of one dimension, numbered.
#pragma once

#include <cstdint>
#include <optional>

#include "coordinator/search/space.h"

namespace hone {

// A range without step. Its values are not numbered: it counts as one.
bool IsContinuous(const Dimension& dimension);
uint64_t PointsOf(const Dimension& dimension);
// Of a continuous range its low end.
proto::Value ValueAt(const Dimension& dimension, uint64_t index);
// nullopt if the value is none of the dimension's; 0 for every value of a continuous range.
std::optional<uint64_t> IndexIn(const Dimension& dimension, const proto::Value& value);
// The value nearest to the middle: of a range its (geometric, if log) centre, of choices the first.
proto::Value MiddleOf(const Dimension& dimension);

}  // namespace hone
