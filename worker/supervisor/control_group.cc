#include "worker/supervisor/control_group.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

#include "common/base/clock.h"
#include "common/base/strings.h"
#include "worker/cgroup.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "hone-run-";               // hone-run-PID-NUMBER
constexpr const char* kSupervisor = "hone-supervisor";
constexpr int64_t kEmptyDeadlineMs = 2000;

// The kernel takes a value in one write, and its error is the answer.
int Write(const fs::path& file, const std::string& value) {
  const Descriptor fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  return write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size()) ? 0 : errno;
}

std::vector<std::string> WordsIn(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// "key number" lines.
uint64_t NumberOf(const fs::path& file, const std::string& key) {
  const std::vector<std::string> words = WordsIn(file);
  const auto at = std::find(words.begin(), words.end(), key);
  if (at == words.end() || at + 1 == words.end()) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(0, ParseInteger(*(at + 1)).value_or(0)));
}

bool Lists(const fs::path& file, const std::string& word) {
  const std::vector<std::string> words = WordsIn(file);
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

bool ControlGroup::Occupied() const { return NumberOf(folder_ / "cgroup.events", "populated") != 0; }

void ControlGroup::Kill() { Write(folder_ / "cgroup.kill", "1"); }

uint64_t ControlGroup::OutOfMemoryKills() const { return NumberOf(folder_ / "memory.events", "oom_kill"); }

ControlGroup::~ControlGroup() {
  Kill();
  const int64_t deadline = SystemClock().SteadyMs() + kEmptyDeadlineMs;
  // The kernel tells by POLLPRI that cgroup.events changed.
  const Descriptor events(open((folder_ / "cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  while (Occupied() && SystemClock().SteadyMs() < deadline) {
    pollfd item = {events.get(), POLLPRI, 0};
    poll(&item, 1, 10);
  }
  rmdir(folder_.c_str());
}

Result<std::unique_ptr<ControlGroups>> ControlGroups::Find(const fs::path& root) {
  const auto own = OwnControlGroup(root);
  if (!own) return Fail(ErrorCode::kEnvironment, "no control groups of version 2 are mounted");
  std::unique_ptr<ControlGroups> groups(new ControlGroups(*own));
  groups->RemoveStale();
  TRY(groups->Make({}));
  groups->TakeControllers();
  return groups;
}

// Below a group that holds processes no controller is given on, save at the hierarchy's root.
void ControlGroups::TakeControllers() {
  const auto take = [this](const char* name) {
    if (Lists(own_ / "cgroup.subtree_control", name)) return 0;
    if (!Lists(own_ / "cgroup.controllers", name)) return ENOENT;
    return Write(own_ / "cgroup.subtree_control", fmt::format("+{}", name));
  };
  const auto take_both = [&] {
    const int memory = take("memory"), pids = take("pids");
    memory_ = memory == 0;
    pids_ = pids == 0;
    return memory == EBUSY || pids == EBUSY;
  };
  if (!take_both()) return;
  const bool alone = WordsIn(own_ / "cgroup.procs") == std::vector<std::string>{std::to_string(getpid())};
  const fs::path leaf = own_ / kSupervisor;
  if (!alone || (mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST)) return;
  if (Write(leaf / "cgroup.procs", "0") == 0) take_both();
}

// A folder that a killed worker left is empty, or holds what its death did not end.
void ControlGroups::RemoveStale() const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(own_, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const auto pid = ParseInteger(Split(name.substr(std::strlen(kPrefix)), '-').front());
    if (!pid || *pid <= 0 || kill(static_cast<pid_t>(*pid), 0) == 0 || errno != ESRCH) continue;
    Write(entry.path() / "cgroup.kill", "1");
    rmdir(entry.path().c_str());
  }
}

Result<std::unique_ptr<ControlGroup>> ControlGroups::Make(const Limits& limits) {
  const fs::path folder = own_ / fmt::format("{}{}-{}", kPrefix, getpid(), next_++);
  const auto failed = [&](int error_number) {
    return Fail(ErrorCode::kEnvironment,
                fmt::format("make control group {}: {}", folder.string(), std::strerror(error_number)));
  };
  if (mkdir(folder.c_str(), 0755) != 0) return failed(errno);
  Descriptor entrance(open((folder / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  const int entrance_error = errno;
  const bool can_kill = access((folder / "cgroup.kill").c_str(), W_OK) == 0;   // Since Linux 5.14.
  if (!entrance || !can_kill) {
    rmdir(folder.c_str());
    return failed(entrance ? ENOSYS : entrance_error);
  }
  std::unique_ptr<ControlGroup> group(new ControlGroup(folder, std::move(entrance)));
  // A bound that the kernel does not take is held by the supervisor's own watch alone.
  if (memory_ && limits.memory_bytes != 0) {
    Write(folder / "memory.max", std::to_string(limits.memory_bytes));
    Write(folder / "memory.swap.max", "0");
    Write(folder / "memory.oom.group", "1");
  }
  if (pids_ && limits.tasks != 0) Write(folder / "pids.max", std::to_string(limits.tasks));
  return group;
}

}  // namespace hone
