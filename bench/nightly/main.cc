// nightly_bench simulate [NIGHTS]: false alarms and power of ways to find regressions, on the same simulated nights.
// nightly_bench series [COUNT [POINTS]]: how long the change points of many series take.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "bench/nightly/noise.h"
#include "common/statistics/change_points.h"
#include "common/statistics/distributions.h"
#include "common/statistics/regression.h"

namespace hone::nightly_bench {
namespace {

constexpr size_t kLaunches = 20;
constexpr size_t kLookBack = 20;
constexpr double kEffects[] = {0, 0.02, 0.03, 0.05, 0.10};

struct Sample {
  std::vector<double> medians;
  std::vector<double> iterations;
};

Sample Session(Night& night, double effect) {
  Sample sample;
  for (size_t i = 0; i < kLaunches; ++i) {
    Launch launch = night.Run(static_cast<double>(i) / kLaunches, effect);
    sample.medians.push_back(launch.median);
    sample.iterations.insert(sample.iterations.end(), launch.iterations.begin(), launch.iterations.end());
  }
  return sample;
}

// What a detector may look at.
struct Evidence {
  std::vector<Sample> before;  // Earlier nights; the last one is last night.
  Sample tonight;
  std::vector<double> pairs;  // Of 20 interleaved pairs.
  std::vector<double> more;   // Another 40, tonight as well.
  std::vector<double> fresh;  // 20 of a later session.
  uint64_t seed = 0;
};

// Two-sided p of the rank-sum test (Mann & Whitney 1947), normal approximation; ties do not occur.
double RankSumP(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<std::pair<double, bool>> all;
  for (const double value : a) all.emplace_back(value, false);
  for (const double value : b) all.emplace_back(value, true);
  std::sort(all.begin(), all.end());
  double ranks = 0;
  for (size_t i = 0; i < all.size(); ++i) ranks += all[i].second ? static_cast<double>(i + 1) : 0;
  const auto n = static_cast<double>(a.size());
  const auto m = static_cast<double>(b.size());
  const double u = ranks - m * (m + 1) / 2;
  return 2 * NormalTail(std::abs(u - n * m / 2) / std::sqrt(n * m * (n + m + 1) / 12));
}

bool IsSlowerThanLastNight(const Evidence& evidence, double share) {
  return Mean(evidence.tonight.iterations) > (1 + share) * Mean(evidence.before.back().iterations);
}

bool LooksBack(const Evidence& evidence, double z) {
  std::vector<double> bests;
  for (const Sample& night : evidence.before)
    bests.push_back(*std::min_element(night.medians.begin(), night.medians.end()));
  const double mean = Mean(bests);
  double squares = 0;
  for (const double best : bests) squares += (best - mean) * (best - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(bests.size() - 1));
  return *std::min_element(evidence.tonight.medians.begin(), evidence.tonight.medians.end()) > mean + z * deviation;
}

JudgeOptions OptionsOf(const Evidence& evidence) {
  JudgeOptions options;
  options.seed = evidence.seed;
  return options;
}

bool IsRegression(const Judgement& judgement) { return judgement.verdict == NightVerdict::regression; }

// As `hone nightly` does it: while the first session decides nothing, more pairs, up to three times as many.
std::vector<double> Extended(const Evidence& evidence) {
  std::vector<double> pairs = evidence.pairs;
  for (size_t more = 0;
       more < evidence.more.size() && Judge(pairs, OptionsOf(evidence)).verdict == NightVerdict::inconclusive;) {
    for (size_t i = 0; i < kLaunches; ++i) pairs.push_back(evidence.more[more++]);
  }
  return pairs;
}

struct Detector {
  const char* name;
  std::function<bool(const Evidence&)> alarms;
};

const std::vector<Detector>& Detectors() {
  static const std::vector<Detector> rows = {
      {"mean against last night, > 5 %", [](const Evidence& e) { return IsSlowerThanLastNight(e, 0.05); }},
      {"mean against last night, > 10 %", [](const Evidence& e) { return IsSlowerThanLastNight(e, 0.10); }},
      {"U-test of launches against last night, p < 0.05",
       [](const Evidence& e) { return RankSumP(e.before.back().medians, e.tonight.medians) < 0.05; }},
      {"U-test of iterations against last night, p < 0.05",
       [](const Evidence& e) { return RankSumP(e.before.back().iterations, e.tonight.iterations) < 0.05; }},
      {"look-back z of the best, 20 nights, z > 5", [](const Evidence& e) { return LooksBack(e, 5); }},
      {"look-back z of the best, 20 nights, z > 3", [](const Evidence& e) { return LooksBack(e, 3); }},
      {"hone: 10 pairs, unconfirmed",
       [](const Evidence& e) { return IsRegression(Judge({e.pairs.begin(), e.pairs.begin() + 10}, OptionsOf(e))); }},
      {"hone: 20 pairs, unconfirmed", [](const Evidence& e) { return IsRegression(Judge(e.pairs, OptionsOf(e))); }},
      {"hone: 20 pairs, and 20 fresh ones that say the same by themselves",
       [](const Evidence& e) {
         return IsRegression(Judge(e.pairs, OptionsOf(e))) && IsRegression(Judge(e.fresh, OptionsOf(e)));
       }},
      {"**hone: 20 pairs, confirmed by 20 fresh ones**",
       [](const Evidence& e) { return IsRegression(Confirm(e.pairs, e.fresh, OptionsOf(e))); }},
      {"**hone: 20 to 60 pairs, confirmed by 20 fresh ones**",
       [](const Evidence& e) { return IsRegression(Confirm(Extended(e), e.fresh, OptionsOf(e))); }},
  };
  return rows;
}

Evidence Draw(std::mt19937_64& random, double effect) {
  Evidence evidence;
  for (size_t i = 0; i < kLookBack; ++i) {
    Night night(random);
    evidence.before.push_back(Session(night, 0));
  }
  Night tonight(random);
  evidence.tonight = Session(tonight, effect);
  evidence.pairs = tonight.Pairs(kLaunches, effect);
  evidence.more = tonight.Pairs(2 * kLaunches, effect);
  // Later: the same machine, another state.
  Night later(random);
  evidence.fresh = later.Pairs(kLaunches, effect);
  evidence.seed = random();
  return evidence;
}

int Simulate(size_t nights) {
  std::vector<std::thread> threads;
  std::vector<std::vector<size_t>> counts(std::size(kEffects), std::vector<size_t>(Detectors().size()));
  for (size_t at = 0; at < std::size(kEffects); ++at) {
    threads.emplace_back([&, at] {
      std::mt19937_64 random(1000 + at);
      for (size_t night = 0; night < nights; ++night) {
        const Evidence evidence = Draw(random, kEffects[at]);
        for (size_t i = 0; i < Detectors().size(); ++i) counts[at][i] += Detectors()[i].alarms(evidence) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  fmt::print("{} nights a cell; seeds 1000 to {}.\n\n| detector | false alarms |", nights, 999 + std::size(kEffects));
  for (size_t at = 1; at < std::size(kEffects); ++at) fmt::print(" +{:.0f} % |", kEffects[at] * 100);
  fmt::print("\n|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < Detectors().size(); ++i) {
    fmt::print("| {} |", Detectors()[i].name);
    for (size_t at = 0; at < std::size(kEffects); ++at) {
      fmt::print(" {:.{}f} % |", 100 * static_cast<double>(counts[at][i]) / static_cast<double>(nights),
                 at == 0 ? 2 : 1);
    }
    fmt::print("\n");
  }
  return 0;
}

// Each thread makes its series as it goes, from a seed a series; a third of them have a step.
int Series(size_t count, size_t points) {
  constexpr size_t kThreads = 2;
  std::vector<double> seconds(kThreads);
  std::vector<size_t> found(kThreads);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      ChangePointFinder finder({});
      std::vector<double> series(points);
      for (size_t number = thread; number < count; number += kThreads) {
        std::mt19937_64 random(number);
        std::normal_distribution<double> noise(1, 0.01);
        const size_t step = number % 3 == 0 ? random() % points : points;
        for (size_t i = 0; i < points; ++i) series[i] = noise(random) + (i >= step ? 0.03 : 0);
        const auto start = std::chrono::steady_clock::now();
        found[thread] += finder.Find(series).size();
        seconds[thread] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  fmt::print("{} series of {} points: {:.2f} s on {} threads, {} change points\n", count, points,
             *std::max_element(seconds.begin(), seconds.end()), kThreads, found[0] + found[1]);
  return 0;
}

size_t NumberAt(int argc, char** argv, int at, size_t otherwise) {
  return argc > at ? static_cast<size_t>(std::strtoull(argv[at], nullptr, 10)) : otherwise;
}

}  // namespace
}  // namespace hone::nightly_bench

int main(int argc, char** argv) {
  using namespace hone::nightly_bench;
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "simulate") return Simulate(NumberAt(argc, argv, 2, 2000));
  if (what == "series") return Series(NumberAt(argc, argv, 2, 100'000), NumberAt(argc, argv, 3, 500));
  fmt::print(stderr, "usage: nightly_bench simulate [NIGHTS] | series [COUNT [POINTS]]\n");
  return 2;
}
