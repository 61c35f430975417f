// Which of a row of artifacts brought a change of a figure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "client/nightly/night.h"

namespace hone {

struct BisectStep {
  size_t artifact = 0;   // That was measured beside the first.
  Judgement judgement;   // Of it against the first.
  bool changed = false;  // Its effect is more than half of the last one's; meaningless where `decided` is not set.
  bool decided = false;  // The whole interval says so.
};

struct BisectResult {
  std::vector<BisectStep> steps;  // In the order in which they were measured; the last artifact first.
  size_t last_unchanged = 0;      // The change lies after this artifact
  size_t first_changed = 0;       // and at or before this one; next to each other where everything could be decided.
  bool complete() const { return first_changed == last_unchanged + 1; }
};

struct BisectOptions {
  SuiteMetric metric;
  uint64_t seed = 0;
  std::function<void(const std::string&)> note = {};  // A line of progress.
};

// Artifacts oldest first, at least two. The last is measured beside the first, with more launches while nothing is
// decided; then the middle of what is left, beside the first as well, and so on: whether its effect is that of the last
// or of the first is asked with half of the change as the border. kNo where the last differs from the first by no more
// than the metric's threshold; kUnsure where the data cannot decide that.
Result<BisectResult> Bisect(const Suite& suite, const SuiteModel& model, const SuiteTarget& target, NightBench& bench,
                            const std::vector<NightArtifact>& artifacts, const BisectOptions& options);

}  // namespace hone
