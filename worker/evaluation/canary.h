// A small computation that never changes: where its time changes from night to night, the machine did.
#pragma once

#include <vector>

namespace hone {

// The series of a measurement's samples that holds the canary's times.
inline constexpr const char* kCanarySeries = "canary_ms";

// Times of a few runs, a millisecond or two each, in the calling process. The least of them is the least disturbed.
std::vector<double> CanaryTimes();

}  // namespace hone
