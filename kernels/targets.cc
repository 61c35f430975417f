#include "kernels/targets.h"

#include <hwy/highway.h>

namespace hone::kernels {

namespace {

// What the processor and the build have in common, whatever UseTarget says at the moment.
int64_t AllTargets() {
  static const int64_t targets = [] {
    hwy::SetSupportedTargetsForTest(0);
    return hwy::SupportedTargets() & HWY_TARGETS;
  }();
  return targets;
}

}  // namespace

std::vector<std::string> TargetNames() {
  std::vector<std::string> names;
  // A better set has a lower bit.
  for (int64_t left = AllTargets(); left != 0; left &= left - 1) names.emplace_back(hwy::TargetName(left & -left));
  return names;
}

bool UseTarget(const std::string& name) {
  const int64_t all = AllTargets();
  int64_t chosen = 0;
  for (int64_t left = all; left != 0; left &= left - 1) {
    if (name == hwy::TargetName(left & -left)) chosen = left & -left;
  }
  if (!name.empty() && chosen == 0) return false;
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(name.empty() ? all : chosen);
  return true;
}

}  // namespace hone::kernels
