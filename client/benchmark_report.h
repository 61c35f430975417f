// What `hone benchmark` found, for people and for scripts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/console.h"
#include "client/measured_side.h"
#include "client/verdict.h"
#include "proto/work.pb.h"

namespace hone {

struct BenchmarkRun {
  MeasuredSide side;
  proto::BenchmarkResult::Run figures;
  bool other = false;      // Of --vs.
  bool reference = false;  // What speed-ups are over; none where there is one run alone.
};

struct BenchmarkReport {
  std::vector<BenchmarkRun> runs;  // MODEL's first; at least one.
  proto::BenchmarkResult result;   // All but its runs.
  std::string data;                // Digest; "" with synthetic inputs.
  double wall_s = 0;
  uint64_t peak_memory_bytes = 0;
  double delta = 0;
  std::optional<double> rate_per_s;  // Of requests in an open loop.
  std::optional<Verdict> verdict;    // Of MODEL over the first of --vs, where each runs in one way.
  std::string expect;                // "" = nothing.
  std::optional<bool> expectation_met;

  const BenchmarkRun& model() const { return runs.front(); }
  const BenchmarkRun* first_other() const;
};

// hone.benchmark/1, with raw samples of each run.
Json BenchmarkJson(const BenchmarkReport& report);
std::string BenchmarkText(const BenchmarkReport& report, size_t width);
// One page that needs nothing else: no script, no network; follows the reader's light or dark.
std::string BenchmarkHtml(const BenchmarkReport& report);

// Values of a series of raw samples; empty where there is none.
std::vector<double> SamplesOf(const proto::BenchmarkResult::Run& run, const std::string& series);
// How a run is told from the others: model, backend and settings, without what is the same in all of them.
std::vector<std::string> RunLabels(const std::vector<BenchmarkRun>& runs);

}  // namespace hone
