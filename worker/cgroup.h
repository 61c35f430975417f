// What the control groups above this process allow, versions 1 and 2.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace hone {

struct CgroupLimits {
  std::optional<double> cores;            // The smallest CPU quota, in cores.
  std::optional<uint64_t> memory_bytes;   // The smallest memory limit.
};

// Reads /proc/self/cgroup and /proc/self/mountinfo beneath `root` and every group from this process's own up to the
// mount. What cannot be read limits nothing.
CgroupLimits ReadCgroupLimits(const std::filesystem::path& root = "/");

// The folder of this process's own group of version 2; nullopt where there is none.
std::optional<std::filesystem::path> OwnControlGroup(const std::filesystem::path& root = "/");

}  // namespace hone
