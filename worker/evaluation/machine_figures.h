// What the machine does besides a measurement, as the kernel counts it: read before and after a block of runs, the
// difference says who else had the processors, and whether they ran slower than they can.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace hone {

// All counts are since boot, of the processors that this process may use.
struct MachineFigures {
  double time_s = 0;  // Of a steady clock.
  unsigned processors = 0;
  double tick_s = 0;         // What busy_s and steal_s are counted in.
  double busy_s = 0;         // Of all processes.
  double steal_s = 0;        // That the hypervisor gave to others.
  double own_s = 0;          // Of the measured processes and this one.
  uint64_t throttled = 0;    // Times that heat or a quota held processors back.
  double frequency_mhz = 0;  // Mean; 0: the kernel does not say.
  struct Energy {
    uint64_t microjoules = 0;
    uint64_t range = 0;  // Begins anew at 0 beyond this.
  };
  std::vector<Energy> packages;  // Empty: the machine does not show it.
};

class MachineReader {
 public:
  // `root` is where /proc and /sys lie. Which files there are is found here, once.
  explicit MachineReader(const std::filesystem::path& root = "/");

  MachineFigures Read(const std::vector<pid_t>& measured) const;

  // What of the above this machine does not show, for people: "energy (no powercap)".
  std::vector<std::string> Missing() const;

 private:
  std::filesystem::path root_;
  std::vector<int> processors_;
  std::vector<std::filesystem::path> frequencies_;
  std::vector<std::filesystem::path> throttles_;
  std::filesystem::path quota_;  // cpu.stat of the control group; "" without one.
  struct Zone {
    std::filesystem::path energy;
    uint64_t range = 0;
  };
  std::vector<Zone> zones_;
};

// Joules between two readings; nullopt where the machine does not show them.
std::optional<double> EnergyBetween(const MachineFigures& before, const MachineFigures& after);

// Why a block is not worth its figure.
struct Disturbance {
  enum class Kind { steal, load, throttling, frequency };
  Kind kind = Kind::load;
  double share = 0;  // Of the processors' time; of the usual frequency; of throttling the number of times.
};

// What disturbed the time between two readings. usual_mhz: of earlier blocks; 0 where it is not known.
//   steal       the hypervisor took more than 5 % of the processors
//   load        other processes had more than 10 % of them
//   throttling  heat or a quota held them back at least once
//   frequency   they ran below 90 % of the usual frequency
// Counts in ticks are coarse: below three ticks nothing is said.
std::vector<Disturbance> FindDisturbances(const MachineFigures& before, const MachineFigures& after, double usual_mhz);

// "other processes (34 % of the processor time)".
std::string DisturbanceText(const Disturbance& disturbance);

}  // namespace hone
