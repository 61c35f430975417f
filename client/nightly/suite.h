// A nightly suite as people write it: models x targets x metrics. docs/nightly.md is the reference.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/statistics/regression.h"

namespace hone {

// What a suite may watch. Exact figures have no noise: their change alone decides, without pairs.
struct NightMetric {
  const char* name;
  Better better;
  bool exact;
  bool absolute;     // The effect is a difference, not a share.
  double threshold;  // Unless the suite gives one.
};
const std::vector<NightMetric>& NightMetrics();
// nullptr where there is none of that name.
const NightMetric* FindNightMetric(std::string_view name);

struct SuiteModel {
  std::string name;
  std::string model;                 // As written; beside the suite.
  std::string recipe;                // "": the model as it is.
  std::string backend;               // Without a recipe; "": the reference backend.
  std::vector<std::string> targets;  // Names; empty: all.
};

struct SuiteTarget {
  std::string name;
  std::vector<std::string> tags;
};

struct SuiteMetric {
  const NightMetric* metric = nullptr;
  double threshold = 0;
};

struct Suite {
  std::filesystem::path file;
  std::string name;  // "": the file's stem.
  std::vector<SuiteModel> models;
  std::vector<SuiteTarget> targets;   // Empty in the text: one of no tags, named "any".
  std::vector<SuiteMetric> metrics;   // Empty in the text: latency_ms_p50, memory_bytes, size_bytes, accuracy_drop.
  uint32_t pairs = 20;                // Launches a session
  uint32_t most_pairs = 60;           // and while nothing is decided.
  uint32_t blocks = 4;                // Blocks of runs a launch.
  double q = 0.05;                    // Share of false findings over all series (Benjamini-Hochberg).
  double stolen = 0.02;               // Of a launch's time that the hypervisor may give to others.
  uint64_t timeout_ms = 30 * 60'000;  // For one job.
  uint64_t keep_samples_ms = uint64_t{90} * 86'400'000;
  std::vector<std::string> command;  // Run for each alert; empty: none.
  std::string webhook;               // http:// or https://; "": none.

  // Paths of the text are beside the suite.
  std::filesystem::path Beside(const std::string& path) const { return file.parent_path() / path; }
  std::vector<const SuiteTarget*> TargetsOf(const SuiteModel& model) const;
};

// kRejected with file, line, column and the nearest known word.
Result<Suite> ParseSuite(std::string_view yaml, const std::filesystem::path& file);
Result<Suite> ReadSuite(const std::filesystem::path& file);

}  // namespace hone
