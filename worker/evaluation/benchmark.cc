// A launch starts a process for each subject, in an order drawn from the seed: load, first inference; then rounds of
// blocks, one of each subject a round (timing.h); then, in the last launch, throughput and requests at a rate; at the
// very end a profile, in a process of its own, since a profiler slows what it watches. All of it happens alone on the
// machine.
#include "worker/evaluation/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/statistics/percentiles.h"
#include "worker/evaluation/figures.h"
#include "worker/evaluation/machine_figures.h"
#include "worker/evaluation/player.h"
#include "worker/evaluation/timing.h"

namespace hone {
namespace {

constexpr int kMostSubjects = 32;
constexpr uint32_t kDefaultRounds = 20;
constexpr uint32_t kDefaultLaunches = 5;
// Where the processes of one launch take longer to start, one launch is enough unless told.
constexpr double kLongStartMs = 3000;
constexpr uint32_t kDefaultThroughputMs = 300;
// From so many launches on, their medians are the sample that intervals are made of: inferences of one process share
// where its memory came to lie, and those of few processes say little about the next.
constexpr size_t kFewestLaunches = 8;
// Requests that are late by more than this are given up.
constexpr double kOpenLoopGraceMs = 10'000;

struct PercentileRow {
  const char* suffix;
  double share;
};
constexpr PercentileRow kTailPercentiles[] = {{"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

void Append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

// What was measured of one subject, over all launches.
struct Collected {
  Rounds::Series timing;
  std::vector<double> launches_ms;
  std::vector<double> load_ms;
  std::vector<double> first_ms;
  std::vector<double> cold_start_ms;
  std::vector<double> memory_bytes;
  std::vector<double> energy_j;  // Of one run, one a launch.
};

class Benchmark {
 public:
  explicit Benchmark(const proto::BenchmarkTask& task) : task_(task), random_(task.seed()), collected_(Count()) {
    for (size_t i = 0; i < Count(); ++i) result_.add_runs();
  }

  Result<proto::BenchmarkResult> Run() {
    uint64_t wait_ms = 0;
    TRY(TakeLock(task_.exclusive_lock(), &MachineLock::Exclusive, lock_, wait_ms));
    result_.set_wait_ms(wait_ms);
    uint64_t timing_ms = 0;
    rounds_ = task_.rounds() > 0 ? task_.rounds() : kDefaultRounds;
    launches_ = std::min(task_.launches() > 0 ? task_.launches() : kDefaultLaunches, rounds_);
    for (uint32_t launch = 0; launch < launches_; ++launch) {
      TRY(Timed(timing_ms, [&] { return Launch(launch); }));
      if (NarrowEnough()) launches_ = launch + 1;
    }
    Report();
    TRY(Timed(timing_ms, [&] { return LastLaunch(); }));
    TRY(Timed(timing_ms, [&] { return Profile(); }));
    result_.set_timing_ms(timing_ms);
    return std::move(result_);
  }

 private:
  size_t Count() const { return static_cast<size_t>(task_.subjects_size()); }
  proto::BenchmarkResult::Run& RunOf(size_t index) { return *result_.mutable_runs(static_cast<int>(index)); }
  std::string RoleOf(size_t index) const {
    const proto::Subject& subject = task_.subjects(static_cast<int>(index));
    return fmt::format("{} on {}", subject.model().bundle().main(), subject.backend());
  }

  std::vector<size_t> DrawOrder() {
    std::vector<size_t> order(Count());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_() % i]);
    return order;
  }

  TimingOptions OptionsOf(uint32_t launch) const {
    const auto share = [&](uint64_t whole) { return (whole + launches_ - 1) / launches_; };
    TimingOptions options;
    options.pairs = rounds_ / launches_ + (launch < rounds_ % launches_ ? 1 : 0);
    options.runs = static_cast<uint32_t>(share(task_.runs()));
    options.budget_ms = share(task_.budget_ms());
    options.seed = task_.seed() + launch;
    return options;
  }

  Result<> Launch(uint32_t launch) {
    players_ = std::vector<std::optional<Player>>(Count());
    const double start = NowMs();
    for (const size_t index : DrawOrder()) TRY(StartCold(index, players_[index]));
    if (task_.launches() == 0 && launch == 0 && NowMs() - start > kLongStartMs) launches_ = 1;
    std::vector<Instance*> instances;
    for (std::optional<Player>& player : players_) instances.push_back(&player->instance());
    TRY_ASSIGN(const Rounds rounds, TimeRounds(instances, OptionsOf(launch)));
    for (const std::string& note : rounds.notes) {
      result_.add_notes(launches_ == 1 ? note : fmt::format("launch {}: {}", launch + 1, note));
    }
    for (size_t i = 0; i < Count(); ++i) TRY(Collect(rounds.series[i], *instances[i], collected_[i]));
    return {};
  }

  // With the processes of the last launch, whose latency is measured.
  Result<> LastLaunch() {
    for (const size_t index : DrawOrder()) TRY(MeasureUnderLoad(index, players_[index]->instance()));
    for (size_t i = 0; i < Count(); ++i) {
      TRY_ASSIGN(*RunOf(i).mutable_execution(), players_[i]->instance().Execution());
    }
    players_.clear();
    return {};
  }

  // The values that intervals are made of.
  static const std::vector<double>& UnitsOf(const Collected& collected) {
    return collected.launches_ms.size() >= kFewestLaunches ? collected.launches_ms : collected.timing.blocks_ms;
  }

  // How far an interval reaches from its middle, as a share.
  static double WidthOf(double low, double middle, double high) { return std::max(high / middle, middle / low) - 1; }

  bool NarrowEnough() {
    if (task_.precision() <= 0 || UnitsOf(collected_[0]).size() < kFewestLaunches) return false;
    double widest = 0;
    // Beside others, the first is only what they are compared with.
    for (size_t i = Count() > 1 ? 1 : 0; i < Count(); ++i) {
      const proto::Metric speedup = SpeedupOf(UnitsOf(collected_[0]), UnitsOf(collected_[i]), task_.seed());
      const Interval alone = BootstrapMedian(UnitsOf(collected_[0]), kFigureConfidence, 2000, task_.seed());
      const double width = i > 0 ? WidthOf(speedup.low(), speedup.value(), speedup.high())
                                 : WidthOf(alone.low, Median(UnitsOf(collected_[0])), alone.high);
      widest = std::max(widest, width);
    }
    return widest <= task_.precision();
  }

  // From no process to the first answer. Opening the data, which only the first launch does, is left out.
  Result<> StartCold(size_t index, std::optional<Player>& player) {
    Collected& collected = collected_[index];
    const double start = NowMs();
    TRY_ASSIGN(Player started, Player::Start(RoleOf(index).c_str(), task_.subjects(static_cast<int>(index))));
    player.emplace(std::move(started));
    TRY(player->Load(task_.inputs()));
    const double loaded = NowMs();
    if (!data_) {
      TRY_ASSIGN(data_, OpenInputs(task_, player->Signature(), player->subject().model()));
      result_.set_synthetic_inputs(!task_.has_evaluation());
      if (!task_.has_evaluation()) result_.add_notes(kSyntheticNote);
      TRY_ASSIGN(sample_, data_->Get(0));
    }
    const double bound = NowMs();
    TRY(player->Bind(sample_));
    proto::InstanceRequest::Time once;
    once.set_min_runs(1);
    once.set_max_runs(1);
    TRY_ASSIGN(const std::vector<double> first, player->instance().Time(once));
    collected.cold_start_ms.push_back((loaded - start) + (NowMs() - bound));
    collected.load_ms.push_back(player->load_ms());
    collected.first_ms.push_back(first.at(0));
    player->instance().Pause();
    return {};
  }

  static Result<> Collect(const Rounds::Series& series, Instance& instance, Collected& collected) {
    Append(collected.timing.runs_ms, series.runs_ms);
    Append(collected.timing.blocks_ms, series.blocks_ms);
    collected.launches_ms.push_back(Median(series.runs_ms));
    if (series.energy_j) collected.energy_j.push_back(*series.energy_j);
    TRY_ASSIGN(const uint64_t memory, instance.PeakMemory());
    instance.Pause();
    collected.memory_bytes.push_back(static_cast<double>(memory));
    return {};
  }

  Result<> MeasureUnderLoad(size_t index, Instance& instance) {
    proto::BenchmarkResult::Run& run = RunOf(index);
    if (task_.throughput_ms() > 0 || Median(collected_[index].timing.runs_ms) <= kThroughputLongestRunMs) {
      const uint32_t duration_ms = task_.throughput_ms() > 0 ? task_.throughput_ms() : kDefaultThroughputMs;
      TRY_ASSIGN(const auto throughput, instance.Throughput(duration_ms, task_.requests()));
      const double per_s = static_cast<double>(throughput.inferences()) / throughput.seconds();
      AddMetric(*run.mutable_metrics(), "throughput_per_s", per_s, throughput.inferences());
      AddMetric(*run.mutable_metrics(), "throughput_requests", throughput.requests(), 1);
    }
    if (task_.has_open_loop()) TRY(MeasureAtRate(index, instance));
    instance.Pause();
    return {};
  }

  Result<> MeasureAtRate(size_t index, Instance& instance) {
    const proto::BenchmarkTask::OpenLoop& wanted = task_.open_loop();
    proto::InstanceRequest::OpenLoop plan;
    plan.set_rate_per_s(wanted.rate_per_s());
    plan.set_arrivals(wanted.arrivals());
    plan.set_even(wanted.even());
    plan.set_requests(task_.requests());
    plan.set_seed(task_.seed());
    const double expected_ms = 1000 * wanted.arrivals() / wanted.rate_per_s();
    plan.set_limit_ms(static_cast<uint32_t>(std::min(expected_ms + kOpenLoopGraceMs, 3.6e6)));
    TRY_ASSIGN(const auto reply, instance.OpenLoop(plan));
    const std::vector<double> latency_ms(reply.latency_ms().begin(), reply.latency_ms().end());
    proto::BenchmarkResult::Run& run = RunOf(index);
    if (reply.unserved() > 0) {
      result_.add_notes(
          fmt::format("{}: {} of {} requests at {:g} a second were not begun in time: that is more than it can serve",
                      RoleOf(index), reply.unserved(), wanted.arrivals(), wanted.rate_per_s()));
    }
    if (latency_ms.empty()) return {};
    AddMetric(*run.mutable_metrics(), "open_loop_ms_p50", Median(latency_ms), latency_ms.size());
    AddPercentiles("open_loop_ms", latency_ms, run);
    if (reply.seconds() > 0) {
      AddMetric(*run.mutable_metrics(), "open_loop_per_s", static_cast<double>(latency_ms.size()) / reply.seconds(),
                latency_ms.size());
    }
    AddSamples(*run.mutable_samples(), "open_loop_ms", latency_ms);
    AddSamples(*run.mutable_samples(), "open_loop_service_ms", {reply.service_ms().begin(), reply.service_ms().end()});
    return {};
  }

  Result<> Profile() {
    if (task_.profile_runs() == 0) return {};
    for (size_t i = 0; i < Count(); ++i) {
      TRY_ASSIGN(Player player, Player::Start("profiled model", task_.subjects(static_cast<int>(i))));
      TRY(player.Load(task_.inputs(), true));
      TRY(player.Bind(sample_));
      TRY_ASSIGN(*RunOf(i).mutable_profile(), player.instance().Profile(task_.profile_runs()));
    }
    return {};
  }

  static void AddPercentiles(const std::string& name, const std::vector<double>& values,
                             proto::BenchmarkResult::Run& run) {
    for (const PercentileRow& row : kTailPercentiles) {
      const std::string full = name + "_" + row.suffix;
      const auto percentile = PercentileOf(values, row.share, kFigureConfidence);
      if (!percentile) {
        run.add_missing(fmt::format("{}: n too small ({} of {})", full, values.size(),
                                    FewestForPercentile(row.share, kFigureConfidence)));
        continue;
      }
      AddMetric(*run.mutable_metrics(), full, percentile->value, values.size());
      run.mutable_metrics()->rbegin()->set_high(percentile->bound);
    }
  }

  void Report() {
    const std::vector<std::string> unseen = MachineReader().Missing();
    for (size_t i = 0; i < Count(); ++i) {
      ReportRun(i);
      const bool has_energy = !collected_[i].energy_j.empty();
      if (has_energy) continue;
      for (const std::string& what : unseen) {
        if (what.starts_with("energy"))
          RunOf(i).add_missing(fmt::format("energy_mj: this machine does not show {}", what));
      }
    }
  }

  void ReportRun(size_t index) {
    const Collected& collected = collected_[index];
    proto::BenchmarkResult::Run& run = RunOf(index);
    Metrics& metrics = *run.mutable_metrics();
    AddMedianLatency(metrics, collected.timing.runs_ms, UnitsOf(collected), task_.seed());
    AddPercentiles("latency_ms", collected.timing.runs_ms, run);
    const std::pair<const char*, const std::vector<double>*> figures[] = {{"load_ms", &collected.load_ms},
                                                                          {"first_ms", &collected.first_ms},
                                                                          {"cold_start_ms", &collected.cold_start_ms},
                                                                          {"memory_bytes", &collected.memory_bytes}};
    for (const auto& [name, values] : figures) AddMetric(metrics, name, Median(*values), values->size());
    AddMetric(metrics, "size_bytes",
              static_cast<double>(BundleBytes(task_.subjects(static_cast<int>(index)).model().bundle())), 1);
    if (!collected.energy_j.empty()) {
      AddMetric(metrics, "energy_mj", Median(collected.energy_j) * 1000, collected.timing.runs_ms.size());
    }
    auto& samples = *run.mutable_samples();
    AddSamples(samples, "latency_ms", collected.timing.runs_ms);
    AddSamples(samples, "block_latency_ms", collected.timing.blocks_ms);
    AddSamples(samples, "launch_latency_ms", collected.launches_ms);
    AddSamples(samples, "load_ms", collected.load_ms);
    AddSamples(samples, "first_ms", collected.first_ms);
    AddSamples(samples, "cold_start_ms", collected.cold_start_ms);
    if (index == 0) return;
    *run.mutable_speedup() = SpeedupOf(UnitsOf(collected_[0]), UnitsOf(collected), task_.seed());
  }

  const proto::BenchmarkTask& task_;
  std::mt19937_64 random_;
  uint32_t rounds_ = 0;
  uint32_t launches_ = 0;
  std::vector<Collected> collected_;
  std::vector<std::optional<Player>> players_;  // Of the present launch.
  std::optional<MachineLock> lock_;
  std::unique_ptr<DataSet> data_;
  std::vector<Tensor> sample_;
  proto::BenchmarkResult result_;
};

}  // namespace

Result<proto::BenchmarkResult> RunBenchmark(const proto::BenchmarkTask& task) {
  if (task.subjects_size() < 1 || task.subjects_size() > kMostSubjects) {
    return Fail(ErrorCode::kRejected, fmt::format("{} models to measure: 1 to {} can be measured beside each other",
                                                  task.subjects_size(), kMostSubjects));
  }
  return Benchmark(task).Run();
}

}  // namespace hone
