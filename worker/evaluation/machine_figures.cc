#include "worker/evaluation/machine_figures.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "worker/cgroup.h"
#include "worker/fingerprint.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr double kMostSteal = 0.05;
constexpr double kMostOthers = 0.10;
constexpr double kLeastFrequency = 0.90;
constexpr double kFewestTicks = 3;

double SecondsOf(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double ProcessorSeconds(pid_t pid) {
  clockid_t clock{};
  return clock_getcpuclockid(pid, &clock) == 0 ? SecondsOf(clock) : 0;
}

// A file that holds one number; 0 where it cannot be read.
uint64_t NumberIn(const fs::path& file) {
  uint64_t number = 0;
  std::ifstream(file) >> number;
  return number;
}

std::string WordIn(const fs::path& file) {
  std::string word;
  std::ifstream(file) >> word;
  return word;
}

// "cpu0 user nice system idle iowait irq softirq steal ..." (proc(5)).
void ReadTicks(const fs::path& stat, const std::vector<int>& processors, MachineFigures& figures) {
  enum { user, nice, system, idle, iowait, irq, softirq, steal, count };
  std::ifstream file(stat);
  for (std::string line; std::getline(file, line) && line.starts_with("cpu");) {
    std::istringstream words(line.substr(3));
    int processor = -1;
    // The first line, "cpu  ...", sums over all of them.
    if (line[3] == ' ' || !(words >> processor)) continue;
    if (std::find(processors.begin(), processors.end(), processor) == processors.end()) continue;
    double ticks[count] = {};
    for (double& tick : ticks) words >> tick;
    const double busy = ticks[user] + ticks[nice] + ticks[system] + ticks[irq] + ticks[softirq];
    figures.busy_s += busy * figures.tick_s;
    figures.steal_s += ticks[steal] * figures.tick_s;
  }
}

// Of a control group's cpu.stat.
uint64_t ThrottledPeriods(const fs::path& stat) {
  std::ifstream file(stat);
  std::string name;
  uint64_t value = 0;
  while (file >> name >> value) {
    if (name == "nr_throttled") return value;
  }
  return 0;
}

}  // namespace

MachineReader::MachineReader(const fs::path& root) : root_(root), processors_(AllowedProcessors()) {
  for (const int processor : processors_) {
    const fs::path folder = root_ / fmt::format("sys/devices/system/cpu/cpu{}", processor);
    const fs::path frequency = folder / "cpufreq/scaling_cur_freq";
    const fs::path throttle = folder / "thermal_throttle/core_throttle_count";
    if (NumberIn(frequency) > 0) frequencies_.push_back(frequency);
    if (fs::exists(throttle)) throttles_.push_back(throttle);
  }
  if (const auto group = OwnControlGroup(root_); group && fs::exists(*group / "cpu.stat")) quota_ = *group / "cpu.stat";
  std::error_code none;
  for (const fs::directory_entry& zone : fs::directory_iterator(root_ / "sys/class/powercap", none)) {
    // Packages alone: their parts (intel-rapl:0:1) are within them, and psys is the whole board.
    const fs::path energy = zone.path() / "energy_uj";
    if (!WordIn(zone.path() / "name").starts_with("package") || NumberIn(energy) == 0) continue;
    zones_.push_back({energy, NumberIn(zone.path() / "max_energy_range_uj")});
  }
  std::sort(zones_.begin(), zones_.end(), [](const Zone& a, const Zone& b) { return a.energy < b.energy; });
}

MachineFigures MachineReader::Read(const std::vector<pid_t>& measured) const {
  MachineFigures figures;
  figures.time_s = SecondsOf(CLOCK_MONOTONIC);
  figures.processors = static_cast<unsigned>(processors_.size());
  figures.tick_s = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  ReadTicks(root_ / "proc/stat", processors_, figures);
  figures.own_s = SecondsOf(CLOCK_PROCESS_CPUTIME_ID);
  for (const pid_t pid : measured) figures.own_s += ProcessorSeconds(pid);
  for (const fs::path& throttle : throttles_) figures.throttled += NumberIn(throttle);
  if (!quota_.empty()) figures.throttled += ThrottledPeriods(quota_);
  for (const fs::path& frequency : frequencies_) {
    figures.frequency_mhz += static_cast<double>(NumberIn(frequency)) / 1000 / static_cast<double>(frequencies_.size());
  }
  for (const Zone& zone : zones_) figures.packages.push_back({NumberIn(zone.energy), zone.range});
  return figures;
}

std::vector<std::string> MachineReader::Missing() const {
  std::vector<std::string> missing;
  if (frequencies_.empty()) missing.emplace_back("the processors' frequency (no cpufreq)");
  if (throttles_.empty()) missing.emplace_back("throttling by heat (no thermal_throttle)");
  if (zones_.empty()) missing.emplace_back("energy (no readable powercap zone of a package)");
  return missing;
}

std::optional<double> EnergyBetween(const MachineFigures& before, const MachineFigures& after) {
  if (before.packages.empty() || before.packages.size() != after.packages.size()) return std::nullopt;
  double microjoules = 0;
  for (size_t i = 0; i < before.packages.size(); ++i) {
    const MachineFigures::Energy& first = before.packages[i];
    const MachineFigures::Energy& last = after.packages[i];
    const uint64_t wrapped = last.microjoules < first.microjoules ? first.range : 0;
    microjoules += static_cast<double>(last.microjoules + wrapped - first.microjoules);
  }
  return microjoules * 1e-6;
}

std::vector<Disturbance> FindDisturbances(const MachineFigures& before, const MachineFigures& after, double usual_mhz) {
  using Kind = Disturbance::Kind;
  std::vector<Disturbance> found;
  const double capacity = (after.time_s - before.time_s) * before.processors;
  const double least = kFewestTicks * before.tick_s;
  const auto look = [&](Kind kind, double seconds, double most) {
    if (capacity > 0 && seconds >= least && seconds > most * capacity) found.push_back({kind, seconds / capacity});
  };
  look(Kind::steal, after.steal_s - before.steal_s, kMostSteal);
  look(Kind::load, (after.busy_s - before.busy_s) - (after.own_s - before.own_s), kMostOthers);
  if (after.throttled > before.throttled) {
    found.push_back({Kind::throttling, static_cast<double>(after.throttled - before.throttled)});
  }
  if (usual_mhz > 0 && after.frequency_mhz > 0 && after.frequency_mhz < kLeastFrequency * usual_mhz) {
    found.push_back({Kind::frequency, after.frequency_mhz / usual_mhz});
  }
  return found;
}

std::string DisturbanceText(const Disturbance& disturbance) {
  const double percent = disturbance.share * 100;
  switch (disturbance.kind) {
    case Disturbance::Kind::steal:
      return fmt::format("the hypervisor ({:.0f} % of the processor time)", percent);
    case Disturbance::Kind::load:
      return fmt::format("other processes ({:.0f} % of the processor time)", percent);
    case Disturbance::Kind::throttling:
      return fmt::format("throttling ({:.0f} times)", disturbance.share);
    case Disturbance::Kind::frequency:
      break;
  }
  return fmt::format("a low frequency ({:.0f} % of the usual one)", percent);
}

}  // namespace hone
