#include "worker/evaluation/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "common/base/strings.h"
#include "common/statistics/statistics.h"

namespace hone {
namespace {

constexpr double kLongRunMs = 250;
constexpr uint32_t kMaxRunsOfABlock = 100'000;
constexpr uint32_t kFewestRounds = 3;
constexpr uint32_t kFewestRepeats = 2;
// Warm-up lasts until so much time has passed: pools are up, code is compiled, caches and frequency have settled.
constexpr double kWarmUpMs = 40;
// Over the whole time; of a single block only more is worth throwing it away.
constexpr double kTellSteal = 0.02;

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

  // Of a block, not counted.
  uint32_t warm_runs() const { return IsLong() ? 0 : 1; }

  Result<std::vector<double>> Measure() {
    proto::InstanceRequest::Time time;
    const bool long_run = IsLong();
    time.set_min_ms(long_run ? 0 : options_.block_ms);
    const uint32_t share = (options_.runs + options_.pairs - 1) / std::max(options_.pairs, 1U);
    time.set_min_runs(std::min(std::max(long_run ? 1 : options_.block_runs, share), kMaxRunsOfABlock));
    time.set_max_runs(kMaxRunsOfABlock);
    // Another instance ran meanwhile: bring the caches back first.
    time.set_warm_runs(warm_runs());
    TRY_ASSIGN(std::vector<double> runs, instance_.Time(time));
    instance_.Pause();
    return runs;
  }

 private:
  bool IsLong() const { return typical_ms_ > kLongRunMs; }

  Instance& instance_;
  const TimingOptions& options_;
  double typical_ms_ = 0;
};

// How often each kind of disturbance was seen, and the worst of it.
class Sightings {
 public:
  void Add(const std::vector<Disturbance>& disturbances) {
    ++rounds_;
    for (const Disturbance& seen : disturbances) {
      const auto [place, added] = worst_.emplace(seen.kind, seen);
      const bool low_is_worse = seen.kind == Disturbance::Kind::frequency;
      if (!added && (seen.share > place->second.share) != low_is_worse) place->second = seen;
    }
  }
  uint32_t rounds() const { return rounds_; }
  std::string Text() const {
    std::vector<std::string> texts;
    for (const auto& [kind, worst] : worst_) texts.push_back(DisturbanceText(worst));
    return "at worst " + Join(texts, ", ");
  }

 private:
  uint32_t rounds_ = 0;
  std::map<Disturbance::Kind, Disturbance> worst_;
};

class Timer {
 public:
  Timer(const std::vector<Instance*>& instances, const TimingOptions& options)
      : options_(options), random_(options.seed), read_(options.read_machine) {
    if (!read_) {
      read_ = [reader = MachineReader()](const std::vector<pid_t>& measured) { return reader.Read(measured); };
    }
    for (Instance* instance : instances) {
      blocks_.emplace_back(*instance, options);
      measured_.push_back(instance->pid());
      order_.push_back(order_.size());
    }
    rounds_.series.resize(instances.size());
    energy_j_.resize(instances.size());
    repeats_left_ = std::max(kFewestRepeats, static_cast<uint32_t>(options.repeats * options.pairs));
  }

  Result<Rounds> Run() {
    for (Blocks& blocks : blocks_) TRY(blocks.WarmUp());
    const MachineFigures start = Now();
    while (done_ < options_.pairs) {
      if (OutOfTime(start)) break;
      TRY(Round());
    }
    Tell(start, Now());
    return std::move(rounds_);
  }

 private:
  MachineFigures Now() const { return read_(measured_); }

  bool OutOfTime(const MachineFigures& start) {
    if (options_.budget_ms == 0 || done_ < kFewestRounds) return false;
    if ((Now().time_s - start.time_s) * 1000 <= static_cast<double>(options_.budget_ms)) return false;
    rounds_.notes.push_back(
        fmt::format("the time for measuring ended after {} of {} {}", done_, options_.pairs, Unit()));
    return true;
  }

  const char* Unit() const { return blocks_.size() == 2 ? "pairs" : "rounds"; }

  Result<> Round() {
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random_() % i]);
    const MachineFigures before = Now();
    MachineFigures last = before;
    std::vector<std::vector<double>> runs(blocks_.size());
    std::vector<std::optional<double>> energy_j(blocks_.size());
    for (const size_t index : order_) {
      TRY_ASSIGN(runs[index], blocks_[index].Measure());
      const MachineFigures now = Now();
      energy_j[index] = EnergyBetween(last, now);
      last = now;
    }
    const std::vector<Disturbance> disturbances =
        FindDisturbances(before, last, frequencies_.empty() ? 0 : Median(frequencies_));
    if (!disturbances.empty() && repeats_left_ > 0) {
      --repeats_left_;
      repeated_.Add(disturbances);
      return {};
    }
    if (!disturbances.empty()) kept_.Add(disturbances);
    if (last.frequency_mhz > 0) frequencies_.push_back(last.frequency_mhz);
    Keep(std::move(runs), energy_j);
    ++done_;
    return {};
  }

  void Keep(std::vector<std::vector<double>> runs, const std::vector<std::optional<double>>& energy_j) {
    for (size_t i = 0; i < runs.size(); ++i) {
      Rounds::Series& series = rounds_.series[i];
      series.runs_ms.insert(series.runs_ms.end(), runs[i].begin(), runs[i].end());
      series.blocks_ms.push_back(Median(runs[i]));
      if (!energy_j[i]) continue;
      energy_j_[i] += *energy_j[i];
      const size_t warm_runs = series.blocks_ms.size() * blocks_[i].warm_runs();
      series.energy_j = energy_j_[i] / static_cast<double>(series.runs_ms.size() + warm_runs);
    }
  }

  void Tell(const MachineFigures& start, const MachineFigures& end) {
    const double capacity = (end.time_s - start.time_s) * start.processors;
    const double steal = capacity > 0 ? (end.steal_s - start.steal_s) / capacity : 0;
    if (steal > kTellSteal) {
      rounds_.notes.push_back(
          fmt::format("the hypervisor took {:.1f} % of the processor time while measuring", steal * 100));
    }
    if (repeated_.rounds() > 0) {
      rounds_.notes.push_back(fmt::format("{} of {} {} were disturbed and measured again: {}", repeated_.rounds(),
                                          repeated_.rounds() + done_, Unit(), repeated_.Text()));
    }
    if (kept_.rounds() > 0) {
      rounds_.notes.push_back(
          fmt::format("{} of the {} {} that count were disturbed: {}", kept_.rounds(), done_, Unit(), kept_.Text()));
    }
  }

  const TimingOptions& options_;
  std::mt19937_64 random_;
  std::function<MachineFigures(const std::vector<pid_t>&)> read_;
  std::vector<Blocks> blocks_;
  std::vector<pid_t> measured_;
  std::vector<size_t> order_;
  std::vector<double> energy_j_;
  std::vector<double> frequencies_;
  uint32_t repeats_left_ = 0;
  uint32_t done_ = 0;
  Sightings repeated_;
  Sightings kept_;
  Rounds rounds_;
};

}  // namespace

Result<Rounds> TimeRounds(const std::vector<Instance*>& instances, const TimingOptions& options) {
  return Timer(instances, options).Run();
}

}  // namespace hone
