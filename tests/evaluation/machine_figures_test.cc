// The kernel's figures read from a made-up tree, and what two readings say.
#include "worker/evaluation/machine_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/programs.h"
#include "worker/fingerprint.h"

namespace hone {
namespace {

using Kind = Disturbance::Kind;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MachineFiguresTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
  // The first of this process's processors: which they are differs between machines.
  const int processor_ = AllowedProcessors().front();
  const std::string cpu_ = "sys/devices/system/cpu/cpu" + std::to_string(processor_);
  test::TempFolder folder_;
};

TEST_F(MachineFiguresTest, EverythingThatTheKernelShowsIsRead) {
  Write("proc/stat", "cpu  900 900 900 900 900 900 900 900 0 0\ncpu" + std::to_string(processor_) +
                         " 100 20 30 5000 7 1 2 40 0 0\ncpu987654 9 9 9 9 9 9 9 9\nintr 1\n");
  Write(cpu_ + "/cpufreq/scaling_cur_freq", "2400000\n");
  Write(cpu_ + "/thermal_throttle/core_throttle_count", "3\n");
  Write("sys/class/powercap/intel-rapl:0/name", "package-0\n");
  Write("sys/class/powercap/intel-rapl:0/energy_uj", "5000000\n");
  Write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "9000000\n");
  Write("sys/class/powercap/intel-rapl:0:0/name", "core\n");
  Write("sys/class/powercap/intel-rapl:0:0/energy_uj", "777\n");
  const MachineReader reader(folder_.path());
  const MachineFigures figures = reader.Read({getpid()});
  EXPECT_NEAR(figures.busy_s, 153 * figures.tick_s, 1e-9)
      << "user, nice, system, irq and softirq of allowed processors";
  EXPECT_NEAR(figures.steal_s, 40 * figures.tick_s, 1e-9);
  EXPECT_GT(figures.own_s, 0);
  EXPECT_EQ(figures.throttled, 3U);
  EXPECT_DOUBLE_EQ(figures.frequency_mhz, 2400);
  ASSERT_EQ(figures.packages.size(), 1U) << "parts of a package are within it";
  EXPECT_EQ(figures.packages[0].microjoules, 5'000'000U);
  EXPECT_THAT(reader.Missing(), IsEmpty());
}

TEST_F(MachineFiguresTest, WhatIsNotThereIsNamed) {
  const MachineReader reader(folder_.path());
  EXPECT_THAT(reader.Missing(), Contains(HasSubstr("energy")));
  EXPECT_THAT(reader.Missing(), Contains(HasSubstr("frequency")));
  const MachineFigures figures = reader.Read({});
  EXPECT_TRUE(figures.packages.empty());
  EXPECT_FALSE(EnergyBetween(figures, figures));
}

TEST(EnergyTest, ACounterThatBeganAnewIsCountedOn) {
  MachineFigures before, after;
  before.packages = {{8'000'000, 9'000'000}, {100, 9'000'000}};
  after.packages = {{1'000'000, 9'000'000}, {1'000'100, 9'000'000}};
  EXPECT_DOUBLE_EQ(EnergyBetween(before, after).value(), 3.0);
}

class DisturbanceTest : public testing::Test {
 protected:
  DisturbanceTest() {
    before_.processors = 2;
    before_.tick_s = 0.01;
    after_ = before_;
    after_.time_s = 1;  // Two seconds of processors.
    after_.busy_s = after_.own_s = 1.5;
  }
  std::vector<Kind> Kinds(double usual_mhz = 0) const {
    std::vector<Kind> kinds;
    for (const Disturbance& disturbance : FindDisturbances(before_, after_, usual_mhz))
      kinds.push_back(disturbance.kind);
    return kinds;
  }
  MachineFigures before_, after_;
};

TEST_F(DisturbanceTest, TheMeasuredProcessesDisturbNobody) { EXPECT_THAT(Kinds(), IsEmpty()); }

TEST_F(DisturbanceTest, OtherProcessesDisturbFromATenthOfTheProcessorsOn) {
  after_.busy_s += 0.19;
  EXPECT_THAT(Kinds(), IsEmpty());
  after_.busy_s += 0.02;
  EXPECT_THAT(Kinds(), testing::ElementsAre(Kind::load));
  EXPECT_EQ(DisturbanceText(FindDisturbances(before_, after_, 0).at(0)),
            "other processes (10 % of the processor time)");
}

TEST_F(DisturbanceTest, TwoTicksProveNothing) {
  after_.time_s = 0.05;
  after_.busy_s = after_.own_s + 0.02;
  EXPECT_THAT(Kinds(), IsEmpty());
  after_.busy_s = after_.own_s + 0.03;
  EXPECT_THAT(Kinds(), testing::ElementsAre(Kind::load));
}

TEST_F(DisturbanceTest, StealThrottlingAndALowFrequencyAreSeen) {
  after_.steal_s = 0.2;
  after_.throttled = 2;
  after_.frequency_mhz = 1700;
  EXPECT_THAT(Kinds(2000), testing::ElementsAre(Kind::steal, Kind::throttling, Kind::frequency));
  EXPECT_THAT(Kinds(0), testing::ElementsAre(Kind::steal, Kind::throttling)) << "without a usual frequency none is low";
  EXPECT_THAT(Kinds(1800), testing::ElementsAre(Kind::steal, Kind::throttling));
}

}  // namespace
}  // namespace hone
