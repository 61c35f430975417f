#include "worker/supervisor/progress.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "worker/supervisor/process_tree.h"

namespace hone {
namespace {

// Timers of an idle runtime's threads tick now and then: this share of the time is no use of a processor, nor is one
// tick of the clock.
constexpr double kIdleShare = 0.001;
constexpr uint64_t kIdleMs = 20;
constexpr size_t kMostLines = 100'000;

uint64_t Apart(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

bool UsedProcessor(uint64_t before_ms, uint64_t now_ms, int64_t elapsed_ms) {
  const auto idle_ms = static_cast<uint64_t>(kIdleShare * static_cast<double>(std::max<int64_t>(0, elapsed_ms)));
  return Apart(before_ms, now_ms) > std::max(kIdleMs, idle_ms);
}

struct LockLine {
  std::string id;
  bool waits = false;
  pid_t pid = 0;
  uint64_t inode = 0;
};

// "7: -> FLOCK  ADVISORY  WRITE 4711 fd:01:1234567 0 EOF"; a holder's line lacks the arrow.
std::optional<LockLine> ParseLock(const std::string& text) {
  std::istringstream words(text);
  LockLine line;
  std::string word;
  if (!(words >> line.id >> word)) return std::nullopt;
  if (word == "->") {
    line.waits = true;
    words >> word;
  }
  std::string advisory;
  std::string kind;
  std::string file;
  if (word != "FLOCK" || !(words >> advisory >> kind >> line.pid >> file)) return std::nullopt;
  const size_t colon = file.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  line.inode = std::strtoull(file.c_str() + colon + 1, nullptr, 10);
  return line;
}

std::set<uint64_t> InodesOf(const std::vector<std::filesystem::path>& files) {
  std::set<uint64_t> inodes;
  struct stat status {};
  for (const auto& file : files) {
    if (lstat(file.c_str(), &status) == 0) inodes.insert(status.st_ino);
  }
  return inodes;
}

}  // namespace

std::optional<pid_t> HolderWaitedFor(const std::vector<std::filesystem::path>& lock_files,
                                     const std::vector<pid_t>& family) {
  const std::set<uint64_t> inodes = InodesOf(lock_files);
  if (inodes.empty()) return std::nullopt;
  const auto is_member = [&](pid_t pid) { return std::find(family.begin(), family.end(), pid) != family.end(); };
  std::ifstream locks("/proc/locks");
  std::optional<LockLine> holder;
  std::string text;
  for (size_t lines = 0; lines < kMostLines && std::getline(locks, text); ++lines) {
    const std::optional<LockLine> line = ParseLock(text);
    if (!line || !inodes.contains(line->inode)) continue;
    if (!line->waits) {
      holder = line;  // Those who wait for it follow under the same number.
    } else if (holder && holder->id == line->id && is_member(line->pid) && !is_member(holder->pid)) {
      return holder->pid;
    }
  }
  return std::nullopt;
}

void Progress::Look(const std::vector<pid_t>& family, uint64_t written, int64_t now_ms) {
  const uint64_t processor_ms = ProcessorMs(family);
  const bool first = !since_ms_;
  const bool moved = first || UsedProcessor(processor_ms_, processor_ms, now_ms - *since_ms_) || written != written_ ||
                     family.size() != members_;
  const bool busy = first || Apart(looked_processor_ms_, processor_ms) > kIdleMs;
  holder_ = busy ? std::nullopt : HolderWaitedFor(lock_files_, family);
  if (holder_) waited_ms_ += now_ms - looked_ms_;
  looked_ms_ = now_ms;
  looked_processor_ms_ = processor_ms;
  if (!moved && !holder_) return;
  since_ms_ = now_ms;
  processor_ms_ = processor_ms;
  written_ = written;
  members_ = family.size();
}

}  // namespace hone
