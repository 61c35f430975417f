#include "worker/supervisor/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace hone {
namespace {

// Files of /proc have no size: read until the end, bounded.
std::string ReadProc(const std::string& path, size_t limit = 1 << 20) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  char buffer[4096];
  while (text.size() < limit) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return text;
}

std::optional<pid_t> ParsePid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

// Names of a folder of /proc that are numbers.
std::vector<pid_t> NumbersIn(const std::string& folder) {
  std::vector<pid_t> numbers;
  DIR* const entries = opendir(folder.c_str());
  if (entries == nullptr) return numbers;
  while (const dirent* entry = readdir(entries)) {
    if (const auto pid = ParsePid(entry->d_name)) numbers.push_back(*pid);
  }
  closedir(entries);
  return numbers;
}

// The fields of /proc/PID/stat that follow the command name, which may itself hold spaces and parentheses.
std::optional<pid_t> ParentOf(pid_t pid) {
  const std::string stat = ReadProc(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= stat.size()) return std::nullopt;
  const std::string_view rest = std::string_view(stat).substr(name_end + 4);  // Past ") S ".
  return ParsePid(rest.substr(0, rest.find(' ')));
}

// Kernels without CONFIG_PROC_CHILDREN lack the children files.
bool KernelListsChildren() {
  static const bool lists = access(fmt::format("/proc/self/task/{}/children", getpid()).c_str(), R_OK) == 0;
  return lists;
}

std::vector<pid_t> ChildrenByScan(pid_t parent) {
  std::vector<pid_t> children;
  for (const pid_t pid : NumbersIn("/proc")) {
    if (ParentOf(pid) == parent) children.push_back(pid);
  }
  return children;
}

uint64_t PageBytes() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

uint64_t ResidentBytesOf(pid_t pid) {
  const std::string statm = ReadProc(fmt::format("/proc/{}/statm", pid));
  const size_t space = statm.find(' ');
  if (space == std::string::npos) return 0;
  return std::strtoull(statm.c_str() + space + 1, nullptr, 10) * PageBytes();
}

// utime, stime, cutime and cstime: fields 14 to 17 of /proc/PID/stat.
uint64_t ProcessorTicksOf(pid_t pid) {
  const std::string stat = ReadProc(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  uint64_t ticks = 0;
  const char* at = stat.c_str() + name_end + 1;
  for (int field = 3; field <= 17 && *at != '\0'; ++field) {
    while (*at == ' ') ++at;
    if (field >= 14) ticks += std::strtoull(at, nullptr, 10);
    while (*at != ' ' && *at != '\0') ++at;
  }
  return ticks;
}

uint64_t ProportionalBytesOf(pid_t pid) {
  const std::string rollup = ReadProc(fmt::format("/proc/{}/smaps_rollup", pid));
  const size_t line = rollup.find("\nPss:");
  if (line == std::string::npos) return ResidentBytesOf(pid);
  return std::strtoull(rollup.c_str() + line + 5, nullptr, 10) * 1024;
}

}  // namespace

std::vector<pid_t> ChildrenOf(pid_t parent) {
  if (!KernelListsChildren()) return ChildrenByScan(parent);
  std::vector<pid_t> children;
  for (const pid_t thread : NumbersIn(fmt::format("/proc/{}/task", parent))) {
    const std::string text = ReadProc(fmt::format("/proc/{}/task/{}/children", parent, thread));
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find(' ', begin);
      if (end == std::string::npos) break;
      if (const auto pid = ParsePid(std::string_view(text).substr(begin, end - begin))) children.push_back(*pid);
      begin = end + 1;
    }
  }
  return children;
}

std::vector<pid_t> DescendantsOf(pid_t ancestor, size_t limit) {
  std::vector<pid_t> found;
  std::unordered_set<pid_t> seen{ancestor};  // Ids may be reused while we walk.
  std::vector<pid_t> open{ancestor};
  while (!open.empty() && found.size() < limit) {
    const pid_t next = open.back();
    open.pop_back();
    for (const pid_t child : ChildrenOf(next)) {
      if (found.size() >= limit) break;
      if (!seen.insert(child).second) continue;
      found.push_back(child);
      open.push_back(child);
    }
  }
  return found;
}

uint64_t ResidentBytes(const std::vector<pid_t>& processes) {
  uint64_t bytes = 0;
  for (const pid_t pid : processes) bytes += ResidentBytesOf(pid);
  return bytes;
}

uint64_t ProportionalBytes(const std::vector<pid_t>& processes) {
  uint64_t bytes = 0;
  for (const pid_t pid : processes) bytes += ProportionalBytesOf(pid);
  return bytes;
}

uint64_t ProcessorMs(const std::vector<pid_t>& processes) {
  static const auto ticks_a_second = static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  uint64_t ticks = 0;
  for (const pid_t pid : processes) ticks += ProcessorTicksOf(pid);
  return ticks * 1000 / ticks_a_second;
}

NamelessBytes NamelessBytesOf(const std::vector<pid_t>& processes) {
  NamelessBytes bytes;
  std::set<std::pair<dev_t, ino_t>> seen;
  for (const pid_t pid : processes) {
    const std::string folder = fmt::format("/proc/{}/fd", pid);
    for (const pid_t number : NumbersIn(folder)) {
      const std::string path = fmt::format("{}/{}", folder, number);
      struct stat status {};
      if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 0) continue;
      if (!seen.emplace(status.st_dev, status.st_ino).second) continue;
      char target[32] = {};
      const bool memory =
          readlink(path.c_str(), target, sizeof target - 1) > 0 && std::string_view(target).starts_with("/memfd:");
      (memory ? bytes.memory : bytes.disk) += static_cast<uint64_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

}  // namespace hone
