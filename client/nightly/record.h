// What a night found, as it is stored and reported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/statistics/change_points.h"
#include "common/statistics/regression.h"
#include "proto/artifact.pb.h"
#include "proto/value.pb.h"

namespace hone {

// A model as it is run: what is accepted, and what is measured against it.
struct NightArtifact {
  proto::Bundle model;
  std::string backend;
  std::vector<proto::Parameter> settings;  // Ordered by name.

  // "sha256:... onnxruntime {}"; the same where nothing differs.
  std::string Identity() const;
  bool empty() const { return backend.empty(); }
};

// Whose history a figure belongs to. Another machine, runtime or recipe begins a new one.
struct SeriesKey {
  std::string model;
  std::string target;
  std::string metric;
  std::string recipe;       // Digest of the recipe.
  std::string fingerprint;  // Digest of the machine's.
  std::string runtime;      // "onnxruntime 1.31.1"
  auto operator<=>(const SeriesKey&) const = default;
};

struct SeriesResult {
  SeriesKey key;
  Judgement judgement;
  double threshold = 0;
  bool exact = false;
  bool absolute = false;  // The effect is a difference.
  std::string reason;     // Why it is no finding, or what failed; may be "".
  std::string worker;
  std::string accepted;  // Identities.
  std::string tonight;
  double accepted_median = 0;
  double tonight_median = 0;
  std::vector<double> accepted_samples;  // One a launch; pair i is element i of both. Dropped after a while.
  std::vector<double> tonight_samples;
  bool confirmed = false;  // A fresh session agreed.
  bool muted = false;
  std::string mute_reason;
};

// The accepted artifact against itself.
struct ControlResult {
  std::string model;
  std::string target;
  std::string metric;
  bool alarm = false;
  double effect = 0;
  int pairs = 0;
};

// What happened to the machine while measuring.
struct MachineHealth {
  std::string target;
  std::string worker;
  std::string fingerprint;
  uint32_t launches = 0;
  uint32_t disturbed = 0;  // Repeated.
  std::vector<std::string> notes;
  double canary_ms = 0;  // Median time of the worker's canary, a computation that never changes; 0: it told none.
};

struct NightRecord {
  std::string id;  // Unique; sorts by time.
  std::string suite;
  int64_t started_unix_ms = 0;
  int64_t finished_unix_ms = 0;
  int exit_code = 0;
  std::vector<SeriesResult> results;
  std::vector<ControlResult> controls;
  std::vector<MachineHealth> health;
};

struct Annotation {
  int64_t unix_ms = 0;
  std::string model, target, metric;  // "": of all.
  std::string text, author, link;
};

struct Mute {
  std::string model, target, metric;  // "": of all.
  int64_t until_unix_ms = 0;
  std::string reason;
};

// A night's figure of a series, for its history.
struct HistoryPoint {
  std::string night;
  int64_t unix_ms = 0;
  std::string accepted;  // Identity: accepting another artifact begins a new level.
  NightVerdict verdict = NightVerdict::inconclusive;
  double effect = 0;
  Interval interval;
  double accepted_median = 0;
  double tonight_median = 0;
};

// A change of a series that people were or are to be told of.
struct Alert {
  SeriesKey key;
  std::string since;     // The night that found it.
  std::string accepted;  // What it is a change from.
  NightVerdict verdict = NightVerdict::regression;
  double effect = 0;
  bool open = true;
};

bool IsFinding(NightVerdict verdict);

// The exit code of a night: 1 a regression, 4 something failed, 5 the machine was unfit, 3 undecided or nothing
// measured, else 0. Muted series do not count.
int NightExitCode(const std::vector<SeriesResult>& results);

}  // namespace hone
