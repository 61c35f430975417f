// Sets of parameter assignments as disjoint boxes: in a box every parameter is either absent or takes any value of a
// set of its own, whatever the others take. Conditions cut a list of parameters into boxes; then counting is
// multiplying.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/result.h"
#include "coordinator/search/parameters.h"
#include "coordinator/search/rules.h"

namespace hone {

// Numbers that stop at a ceiling instead of overflowing; approximate goes on as a floating-point number.
struct Count {
  static constexpr uint64_t kCeiling = uint64_t{1} << 62;
  uint64_t exact = 0;         // kCeiling: that many or more.
  double approximate = 0;
  bool infinite = false;      // A continuous range takes part; it counted as one.
};
Count operator+(const Count& a, const Count& b);
Count operator*(const Count& a, const Count& b);
Count CountOf(uint64_t number);

struct Slot {
  bool present = false;
  bool all = true;                  // Every value of the parameter; else `values`.
  std::vector<uint32_t> values;     // Ordered.
  uint64_t count = 1;               // Values in the set; 1 where absent.
  bool continuous = false;
};
using Box = std::vector<Slot>;      // One slot a parameter.

bool Holds(const Slot& slot, uint64_t value);
Count CountOf(const Slot& slot);

// A box with its counts at hand.
struct CountedBox {
  CountedBox() = default;
  explicit CountedBox(Box slots);
  Box box;
  std::vector<Count> from;          // [p]: of the slots from p on; [0] is the whole box, the last is 1.
};

// Values of one parameter that are told one by one.
constexpr uint64_t kMaxListedValues = 65536;

// What of a box breaks a rule, and the rest.
struct RuleSplit {
  std::vector<Box> kept;
  std::optional<Box> broken;
};
RuleSplit SplitByRule(const Box& box, const StepRule& rule);

struct SplitResult {
  std::vector<Box> boxes;
  std::optional<size_t> never;      // A parameter that is in no box: its conditions never hold.
};
// Without what breaks a rule; no box is left where everything does. kRejected where it would take too many boxes.
Result<SplitResult> SplitByConditions(const std::vector<ParameterPlan>& parameters, const std::vector<StepRule>& rules,
                                      const std::string& owner);

}  // namespace hone
