#include "worker/evaluation/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "common/base/clock.h"
#include "common/statistics/statistics.h"

namespace hone {
namespace {

constexpr double kLongRunMs = 250;
constexpr uint32_t kMaxRunsOfABlock = 100'000;
constexpr uint32_t kFewestPairs = 3;
// Warm-up lasts until so much time has passed: pools are up, code is compiled, caches and frequency have settled.
constexpr double kWarmUpMs = 40;

uint64_t NowMs() { return static_cast<uint64_t>(SystemClock().SteadyMs()); }

// Processor time that the hypervisor gave to others, and all of it, in ticks since boot (proc(5)).
struct CpuTicks {
  unsigned long long steal = 0;
  unsigned long long all = 0;
};
CpuTicks ReadCpuTicks() {
  CpuTicks ticks;
  std::FILE* file = std::fopen("/proc/stat", "re");
  if (file == nullptr) return ticks;
  unsigned long long t[8] = {};
  if (std::fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == 8) {
    ticks.steal = t[7];
    for (unsigned long long part : t) ticks.all += part;
  }
  std::fclose(file);
  return ticks;
}

class Blocks {
 public:
  Blocks(Instance& instance, const TimingOptions& options) : instance_(instance), options_(options) {}

  Result<> WarmUp() {
    proto::InstanceRequest::Time time;
    time.set_min_ms(kWarmUpMs);
    time.set_min_runs(2);
    time.set_max_runs(kMaxRunsOfABlock);
    TRY_ASSIGN(const std::vector<double> runs, instance_.Time(time));
    instance_.Pause();
    typical_ms_ = Median(runs);
    return {};
  }

  Result<> Measure(std::vector<double>& all, std::vector<double>& medians) {
    proto::InstanceRequest::Time time;
    const bool long_run = typical_ms_ > kLongRunMs;
    time.set_min_ms(long_run ? 0 : options_.block_ms);
    const uint32_t share = (options_.runs + options_.pairs - 1) / std::max(options_.pairs, 1U);
    time.set_min_runs(std::min(std::max(long_run ? 1 : options_.block_runs, share), kMaxRunsOfABlock));
    time.set_max_runs(kMaxRunsOfABlock);
    // The other instance ran meanwhile: bring the caches back first.
    time.set_warm_runs(long_run ? 0 : 1);
    TRY_ASSIGN(const std::vector<double> runs, instance_.Time(time));
    instance_.Pause();
    all.insert(all.end(), runs.begin(), runs.end());
    medians.push_back(Median(runs));
    return {};
  }

 private:
  Instance& instance_;
  const TimingOptions& options_;
  double typical_ms_ = 0;
};

}  // namespace

Result<Timing> TimeInterleaved(Instance& candidate, Instance* baseline, const TimingOptions& options) {
  Timing timing;
  const uint64_t start = NowMs();
  const CpuTicks before = ReadCpuTicks();
  std::mt19937_64 random(options.seed);

  Blocks candidate_blocks(candidate, options);
  std::optional<Blocks> baseline_blocks;
  if (baseline != nullptr) {
    baseline_blocks.emplace(*baseline, options);
    TRY(baseline_blocks->WarmUp());
  }
  TRY(candidate_blocks.WarmUp());

  uint32_t pair = 0;
  for (; pair < options.pairs; ++pair) {
    if (options.budget_ms > 0 && pair >= kFewestPairs && NowMs() - start > options.budget_ms) {
      timing.notes.push_back(fmt::format("the time for measuring ended after {} of {} pairs", pair, options.pairs));
      break;
    }
    const bool candidate_first = (random() >> 63) != 0;
    if (candidate_first) TRY(candidate_blocks.Measure(timing.candidate_ms, timing.candidate_blocks_ms));
    if (baseline_blocks) TRY(baseline_blocks->Measure(timing.baseline_ms, timing.baseline_blocks_ms));
    if (!candidate_first) TRY(candidate_blocks.Measure(timing.candidate_ms, timing.candidate_blocks_ms));
  }

  const CpuTicks after = ReadCpuTicks();
  const unsigned long long all = after.all - before.all;
  const double steal = all == 0 ? 0 : static_cast<double>(after.steal - before.steal) / static_cast<double>(all);
  if (steal > 0.02) {
    timing.notes.push_back(fmt::format("the hypervisor took {:.1f} % of the processor time while measuring", steal * 100));
  }
  return timing;
}

}  // namespace hone
