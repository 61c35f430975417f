#include "client/machine_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = 4 << 20;
constexpr uint64_t kLittleMemory = 2'000'000'000;
constexpr double kMuchSteal = 0.01;
constexpr double kMuchSwap = 0.1;
constexpr double kMuchLoad = 0.5;   // Busy processes a processor.

// The kernel's files have no size to go by; "" where there is none.
std::string KernelText(const fs::path& file) {
  const auto text = ReadFile(file, kMostBytes);
  return text ? std::string(Trim(*text)) : "";
}

std::optional<double> KernelNumber(std::string_view text) {
  const auto number = ParseReal(Trim(text));
  return number ? std::optional<double>(*number) : std::nullopt;
}

Finding Ok(const char* check, std::string detail) { return {check, Health::ok, std::move(detail), ""}; }
Finding Warning(const char* check, std::string detail, std::string remedy) {
  return {check, Health::warning, std::move(detail), std::move(remedy)};
}

// The values of "key: value" lines, the first of each key.
std::map<std::string, std::string> KernelRows(const std::string& text) {
  std::map<std::string, std::string> rows;
  for (const std::string& line : Split(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos) rows.emplace(Trim(line.substr(0, colon)), Trim(line.substr(colon + 1)));
  }
  return rows;
}

size_t ProcessorsOf(const std::string& cpuinfo) {
  size_t count = 0;
  for (const std::string& line : Split(cpuinfo, '\n')) count += line.compare(0, 9, "processor") == 0 ? 1 : 0;
  return std::max<size_t>(1, count);
}

std::vector<Finding> CheckProcessor(const fs::path& root) {
  const std::string text = KernelText(root / "proc/cpuinfo");
  const auto rows = KernelRows(text);
  const auto model = rows.find("model name");
  const auto flags = rows.find("flags");
  if (flags == rows.end()) return {};
  const std::vector<std::string> words = Split(flags->second, ' ');
  const auto has = [&](const char* flag) { return std::find(words.begin(), words.end(), flag) != words.end(); };
  const std::string name =
      fmt::format("{}, {} processors", model == rows.end() ? "unknown" : model->second, ProcessorsOf(text));
  if (!has("avx2"))
    return {Warning("processor", name + ", without AVX2",
                    "kernels run in their slow forms; the figures hold for machines like this one alone")};
  if (!has("avx512_vnni") && !has("avx_vnni")) {
    return {Warning(
        "processor", name + ", without VNNI",
        "int8 brings less here, and 8-bit sums can saturate: let a search decide, on machines like the target")};
  }
  return {Ok("processor", name + ", with VNNI")};
}

std::vector<Finding> CheckQuota(const fs::path& root) {
  const std::vector<std::string> words = Split(KernelText(root / "sys/fs/cgroup/cpu.max"), ' ');
  if (words.size() != 2 || words[0] == "max") return {};
  const auto quota = KernelNumber(words[0]), period = KernelNumber(words[1]);
  if (!quota || !period || *period <= 0) return {};
  return {Warning("processor quota", fmt::format("this container gets {:.1f} processors' time", *quota / *period),
                  "a quota stops processes in the middle of a measurement: bind whole processors instead (cpuset), and "
                  "drop the quota")};
}

std::vector<Finding> CheckGovernor(const fs::path& root) {
  const std::string governor = KernelText(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (governor.empty()) return {Ok("governor", "the machine shows none")};
  if (governor == "performance") return {Ok("governor", governor)};
  return {
      Warning("governor", governor, "clock changes widen the intervals: sudo cpupower frequency-set -g performance")};
}

std::vector<Finding> CheckBoost(const fs::path& root) {
  const std::string no_turbo = KernelText(root / "sys/devices/system/cpu/intel_pstate/no_turbo");
  const std::string boost = KernelText(root / "sys/devices/system/cpu/cpufreq/boost");
  if (no_turbo.empty() && boost.empty()) return {};
  const bool on = no_turbo == "0" || boost == "1";
  return {Ok("boost", on ? "on: clocks follow the heat; baselines are measured beside, so ratios hold" : "off")};
}

std::vector<Finding> CheckHeat(const fs::path& root) {
  uint64_t throttled = 0;
  std::error_code failure;
  for (fs::directory_iterator cpu(root / "sys/devices/system/cpu", failure), end; !failure && cpu != end;
       cpu.increment(failure)) {
    const auto count = KernelNumber(KernelText(cpu->path() / "thermal_throttle/core_throttle_count"));
    if (count) throttled += static_cast<uint64_t>(*count);
  }
  if (throttled == 0) return {};
  return {Warning("heat", fmt::format("processors were slowed down by heat {} times since the start", throttled),
                  "cool the machine, or lower its power limit")};
}

std::vector<Finding> CheckSteal(const fs::path& root) {
  const std::vector<std::string> lines = Split(KernelText(root / "proc/stat"), '\n');
  if (lines.empty()) return {};
  double sum = 0, steal = 0;
  size_t column = 0;
  for (const std::string& word : Split(lines.front(), ' ')) {
    if (word.empty() || word == "cpu") continue;
    const double ticks = KernelNumber(word).value_or(0);
    constexpr size_t kSteal = 7, kGuest = 8;   // Guests' time is in the users' already.
    if (column < kGuest) sum += ticks;
    if (column == kSteal) steal = ticks;
    ++column;
  }
  if (sum <= 0 || steal / sum < kMuchSteal) return {};
  return {Warning("stolen time",
                  fmt::format("{:.1f} % of the time went to other machines on this host", 100 * steal / sum),
                  "measure on a machine of its own, or pin the virtual processors")};
}

std::vector<Finding> CheckMemory(const fs::path& root) {
  const auto rows = KernelRows(KernelText(root / "proc/meminfo"));
  const auto kilobytes = [&](const char* key) -> std::optional<double> {
    const auto row = rows.find(key);
    return row == rows.end() ? std::nullopt : KernelNumber(Split(row->second, ' ').front());
  };
  std::vector<Finding> findings;
  const auto available = kilobytes("MemAvailable");
  std::optional<double> limit = KernelNumber(KernelText(root / "sys/fs/cgroup/memory.max"));
  if (available) {
    double bytes = *available * 1024;
    if (limit) bytes = std::min(bytes, *limit);
    const std::string text = HumanBytes(static_cast<uint64_t>(bytes)) + " free to use";
    findings.push_back(
        bytes < kLittleMemory
            ? Warning("memory", text,
                      "large models will fail for want of memory: close other programs, or raise the container's limit")
            : Ok("memory", text));
  }
  const auto total = kilobytes("SwapTotal"), free = kilobytes("SwapFree");
  if (total && free && *total > 0 && (*total - *free) / *total > kMuchSwap) {
    findings.push_back(
        Warning("swap", fmt::format("{} swapped out", HumanBytes(static_cast<uint64_t>((*total - *free) * 1024))),
                "a swapped page in the middle of a run is a false slow run: free memory, then sudo swapoff -a && sudo "
                "swapon -a"));
  }
  return findings;
}

std::vector<Finding> CheckLoad(const fs::path& root) {
  const auto load = KernelNumber(Split(KernelText(root / "proc/loadavg"), ' ').front());
  if (!load) return {};
  const double processors = static_cast<double>(ProcessorsOf(KernelText(root / "proc/cpuinfo")));
  const std::string text = fmt::format("{:.1f} busy processes on average over the last minute", *load);
  if (*load <= kMuchLoad * processors) return {Ok("other load", text)};
  return {
      Warning("other load", text, "other work disturbs measurements and widens intervals: look with top, and stop it")};
}

std::vector<Finding> CheckClock(const fs::path& root) {
  const std::string clock = KernelText(root / "sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (clock.empty()) return {};
  constexpr std::string_view kFast[] = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"};
  if (std::find(std::begin(kFast), std::end(kFast), clock) != std::end(kFast)) return {Ok("clock", clock)};
  return {Warning(
      "clock", clock,
      "reading this clock is slow: short runs seem longer; boot with clocksource=tsc where the processor allows it")};
}

std::vector<Finding> CheckNodes(const fs::path& root) {
  size_t nodes = 0;
  std::error_code failure;
  for (fs::directory_iterator node(root / "sys/devices/system/node", failure), end; !failure && node != end;
       node.increment(failure)) {
    const std::string name = node->path().filename().string();
    nodes +=
        name.compare(0, 4, "node") == 0 && name.size() > 4 && std::isdigit(static_cast<unsigned char>(name[4])) != 0
            ? 1
            : 0;
  }
  if (nodes < 2) return {};
  return {Warning("memory nodes", fmt::format("{} nodes", nodes),
                  "memory of another node is slower: bind each worker to one (numactl --cpunodebind=0 --membind=0)")};
}

}  // namespace

const char* HealthName(Health health) {
  switch (health) {
    case Health::ok: return "ok";
    case Health::warning: return "warning";
    case Health::fault: return "fault";
    case Health::skipped: return "skipped";
  }
  return "fault";
}

std::vector<Finding> CheckMachineFiles(const fs::path& root) {
  constexpr std::vector<Finding> (*kChecks[])(const fs::path&) = {CheckProcessor, CheckQuota, CheckGovernor, CheckBoost,
                                                                  CheckHeat,      CheckSteal, CheckMemory,   CheckLoad,
                                                                  CheckClock,     CheckNodes};
  std::vector<Finding> findings;
  for (const auto check : kChecks) {
    for (Finding& finding : check(root)) findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace hone
