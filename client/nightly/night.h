// One night: every model on every target against what is accepted for it, measured side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "client/nightly/history.h"
#include "client/nightly/suite.h"
#include "common/base/clock.h"
#include "common/base/result.h"

namespace hone {

// One launch of both artifacts side by side: a figure a metric. A metric that the worker has no figure of is absent.
struct NightLaunch {
  std::map<std::string, double> accepted;
  std::map<std::string, double> tonight;
  std::string worker;
  std::string fingerprint;
  std::string runtime;                    // Of tonight's.
  double canary_ms = 0;                   // Of the worker's canary beside the launch; 0: it told none.
  std::vector<std::string> disturbances;  // What makes it worthless: time that the hypervisor took ...
};

// Where a night's measurements come from: the fleet (fleet_bench.h), or a fake of tests.
class NightBench {
 public:
  virtual ~NightBench() = default;

  struct Subject {
    NightArtifact artifact;
    std::string recipe;  // Digest.
  };
  // Tonight's artifact of a model on a target: the file itself, or the best that its recipe finds.
  virtual Result<Subject> Prepare(const SuiteModel& model, const SuiteTarget& target) = 0;

  enum class Detail { whole, timing };  // With accuracy on all evaluation data, or on one sample.
  struct Order {
    const SuiteModel* model = nullptr;
    const SuiteTarget* target = nullptr;
    const NightArtifact* accepted = nullptr;
    const NightArtifact* tonight = nullptr;
    uint32_t launches = 0;
    uint64_t seed = 0;
    Detail first = Detail::timing;  // Of the first launch; the others are timing.
  };
  // In order. An error of one launch is the order's.
  virtual Result<std::vector<NightLaunch>> Measure(const Order& order) = 0;

  // Keeps an artifact's files, so that it can be measured again when nobody else has it any more.
  virtual Result<> Keep(const NightArtifact& artifact) = 0;
};

struct NightOptions {
  std::string model;  // "" = all.
  std::string target;
  std::string id;                                     // "" = one made of the time.
  bool control = true;                                // Also measure what is accepted against itself.
  std::function<void(const std::string&)> note = {};  // A line of progress.
};

// kInterrupted, kUnreachable, kDenied and the history's own errors end the night, and nothing is stored; everything
// else is the verdict `error` of the series it struck. The record is stored; alerts are the caller's (alerts.h).
Result<NightRecord> RunNight(const Suite& suite, NightHistory& history, NightBench& bench, const Clock& clock,
                             const NightOptions& options);

}  // namespace hone
