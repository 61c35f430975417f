// A hierarchy is mounted somewhere (mountinfo: which part of it, and where), and the process sits in one of its groups
// (cgroup). A container may see its own group as the mount's root, so the group's path is taken relative to the part
// that is mounted; where such a folder does not exist the nearest one above it counts.
#include "worker/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

struct Mount {
  std::string part;        // Of the hierarchy.
  fs::path point;
  bool version2 = false;
  std::vector<std::string> controllers;   // Version 1.
};

struct Membership {
  std::vector<std::string> controllers;   // Empty: version 2.
  std::string group;
};

std::vector<std::string> LinesOf(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// mountinfo writes space, tab, newline and backslash in octal.
std::string Unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4) {
      plain += static_cast<char>(code);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// 36 35 98:0 /part /point options [optional ...] - type source super-options
std::vector<Mount> CgroupMounts(const fs::path& root) {
  std::vector<Mount> mounts;
  for (const std::string& line : LinesOf(root / "proc/self/mountinfo")) {
    const std::vector<std::string> words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const std::string& type = *(dash + 1);
    if (type != "cgroup" && type != "cgroup2") continue;
    mounts.push_back({Unescape(words[3]), root / fs::path(Unescape(words[4])).relative_path(), type == "cgroup2",
                      Split(*(dash + 3), ',')});
  }
  return mounts;
}

// 4:memory:/group   0::/group
std::vector<Membership> Memberships(const fs::path& root) {
  std::vector<Membership> memberships;
  for (const std::string& line : LinesOf(root / "proc/self/cgroup")) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    memberships.push_back(
        {controllers.empty() ? std::vector<std::string>{} : Split(controllers, ','), line.substr(second + 1)});
  }
  return memberships;
}

bool Has(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Folders from the process's group up to the mount point.
std::vector<fs::path> GroupFolders(const Mount& mount, const std::string& group) {
  std::string below = group;
  if (mount.part != "/" && below.starts_with(mount.part)) below = below.substr(mount.part.size());
  fs::path relative = fs::path(below).relative_path();
  std::vector<fs::path> folders;
  for (;; relative = relative.parent_path()) {
    folders.push_back(relative.empty() ? mount.point : mount.point / relative);
    if (relative.empty()) return folders;
  }
}

std::optional<std::string> FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> NumberIn(const fs::path& path) {
  const auto line = FirstLine(path);
  if (!line) return std::nullopt;
  const auto number = ParseInteger(Trim(*line));
  return number ? std::optional(*number) : std::nullopt;
}

template <class T>
void Lower(std::optional<T>& least, T value) {
  if (!least || value < *least) least = value;
}

void LowerByQuota(CgroupLimits& limits, int64_t quota_us, int64_t period_us) {
  if (quota_us > 0 && period_us > 0)
    Lower(limits.cores, static_cast<double>(quota_us) / static_cast<double>(period_us));
}

// cpu.max: "max 100000" or "200000 100000".
void ReadVersion2(const fs::path& folder, CgroupLimits& limits) {
  if (const auto line = FirstLine(folder / "cpu.max")) {
    const std::vector<std::string> words = Split(*line, ' ');
    if (words.size() == 2) LowerByQuota(limits, ParseInteger(words[0]).value_or(0), ParseInteger(words[1]).value_or(0));
  }
  if (const auto bytes = NumberIn(folder / "memory.max"); bytes && *bytes >= 0)
    Lower(limits.memory_bytes, static_cast<uint64_t>(*bytes));
}

void ReadVersion1Cpu(const fs::path& folder, CgroupLimits& limits) {
  LowerByQuota(limits, NumberIn(folder / "cpu.cfs_quota_us").value_or(0),
               NumberIn(folder / "cpu.cfs_period_us").value_or(0));
}

// Without a limit the file holds the largest number of pages in bytes, which lowers nothing.
void ReadVersion1Memory(const fs::path& folder, CgroupLimits& limits) {
  if (const auto bytes = NumberIn(folder / "memory.limit_in_bytes"); bytes && *bytes > 0) {
    Lower(limits.memory_bytes, static_cast<uint64_t>(*bytes));
  }
}

}  // namespace

CgroupLimits ReadCgroupLimits(const fs::path& root) {
  CgroupLimits limits;
  const std::vector<Membership> memberships = Memberships(root);
  for (const Mount& mount : CgroupMounts(root)) {
    for (const Membership& membership : memberships) {
      const bool version2 = membership.controllers.empty();
      if (version2 != mount.version2) continue;
      const bool cpu = !version2 && Has(membership.controllers, "cpu") && Has(mount.controllers, "cpu");
      const bool memory = !version2 && Has(membership.controllers, "memory") && Has(mount.controllers, "memory");
      for (const fs::path& folder : GroupFolders(mount, membership.group)) {
        if (version2) ReadVersion2(folder, limits);
        if (cpu) ReadVersion1Cpu(folder, limits);
        if (memory) ReadVersion1Memory(folder, limits);
      }
    }
  }
  return limits;
}

std::optional<fs::path> OwnControlGroup(const fs::path& root) {
  for (const Membership& membership : Memberships(root)) {
    if (!membership.controllers.empty()) continue;
    for (const Mount& mount : CgroupMounts(root)) {
      if (!mount.version2) continue;
      const fs::path folder = GroupFolders(mount, membership.group).front();
      std::error_code ignored;
      if (fs::is_directory(folder, ignored)) return folder;
    }
  }
  return std::nullopt;
}

}  // namespace hone
