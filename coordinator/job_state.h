// The running jobs as the scheduler sees them: everything here is derived from the database and can be thrown away and
// read again.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/options.h"
#include "coordinator/ranking.h"
#include "coordinator/records.h"
#include "coordinator/search/hints.h"
#include "coordinator/search/sampler.h"
#include "coordinator/search/space.h"
#include "coordinator/store.h"

namespace hone {

// How attempts at one piece of work ended so far.
struct AttemptHistory {
  std::vector<std::string> blamed;     // The worker of each blamed attempt.
  uint32_t unblamed = 0;               // Lost or returned.

  void Add(const std::string& worker, Outcome outcome);
  bool IsBlamed(const std::string& worker) const;
  // Whether the work is given up, where `workers` live workers could do it.
  bool GivenUp(const CoordinatorOptions& options, size_t workers) const;
};

// A trial that has work left: its builds, its measurement, or its final measurement.
struct ActiveTrial {
  TrialRecord record;
  AttemptKind kind = AttemptKind::kMeasure;   // kFinal: a complete trial that is measured again.
  std::string build;                          // The key of the build it waits for; "" = none.
  uint64_t lease = 0;                         // Of its measurement; 0 = none.
  AttemptHistory history;                     // Of its measurement.
  std::string measure_key;                    // Once it was asked for.
  bool looked_up = false;                     // Whether an earlier measurement was looked for.
  uint32_t questions = 0;                     // To other coordinators about its measurement, not answered.
};

// A build that trials wait for, maybe of several jobs.
struct ActiveBuild {
  std::string key;
  TrialKey requester;                         // The trial it is leased for.
  uint32_t step_index = 0;
  proto::PassStep step;
  uint32_t version = 0;
  proto::Bundle input;
  uint64_t lease = 0;
  AttemptHistory history;
  std::set<TrialKey> waiting;
  bool asked = false;                         // Whether other coordinators are being asked for it.
  // The work, where it is a study's sensitivity table: studies wait for it, each as its baseline's key, and `step` is
  // the first it tries.
  std::optional<proto::SensitivityWork> table;
};

struct ActiveStudy {
  StudyRecord record;
  std::optional<Space> space;
  std::unique_ptr<Sampler> sampler;
  std::vector<Observation> observations;      // Trials from 1 on.
  std::vector<size_t> replaced;               // Places of those that have ended since the study was read.
  std::map<uint64_t, Measured> measured;      // Of trials that have a result, the baseline (0) included.
  std::map<uint64_t, FinalState> finals;      // Of complete trials from 1 on.
  std::map<uint64_t, ActiveTrial> active;
  uint64_t trials = 0;                        // How many exist, the baseline included.
  std::optional<proto::TrialState> baseline;
  std::string baseline_reason;
  std::optional<proto::Bundle> baseline_model;  // The baseline's own, once its passes are done.
  uint64_t machine_ms = 0;  // What workers spent on trials from 1 on, and on the job's own sensitivity table.
  uint64_t reserve = 0;     // Trials of the budget that are left to racing the best few (RaceReserve).
  bool nothing_left = false;                  // The sampler has nothing to propose.
  std::string table;                          // The key of the sensitivity table that it waits for; "" = none.
  bool table_settled = false;                 // `hints` are what they will be; no trial from 1 on is proposed before.
  std::vector<GroupHint> hints;
  mutable size_t slots = 0;  // A cache: of matching workers, when the fleet's generation was slots_seen.
  mutable uint64_t slots_seen = 0;
  std::optional<int64_t> stalled_since_ms;    // No live worker can do what is waiting.
  bool stall_told = false;

  // What its sampler sees; holds pointers into the study.
  StudyView View() const;
  // What the study's sensitivity table is asked for: no step where it would guide nobody.
  SensitivityPlan TablePlan(const JobRecord& job) const;
  // Turns a sensitivity table into hints, and counts what it took of the job's machine time.
  void TakeHints(const JobRecord& job, const BuildRecord& build);
  const Measured* BaselineMeasured() const;
  std::vector<Contender> Contenders() const;  // Complete trials whose final measurement did not fail.
};

struct ActiveJob {
  JobRecord record;
  std::vector<proto::Objective> objectives;
  std::string calibration_digest;
  std::map<uint32_t, ActiveStudy> studies;
  int64_t resumed_ms = 0;                     // Steady clock when record.elapsed_ms was read.
  int64_t saved_ms = 0;                       // Steady clock when it was saved last.
  size_t pending = 0;                         // Trials that waited for a worker when it was last advanced.

  int64_t ElapsedMs(int64_t now_ms) const { return record.elapsed_ms + (now_ms - resumed_ms); }
};

// Reads a running job. An error about the space or sampler means that this program cannot go on with the job
// (kRejected); others are the database's.
Result<ActiveJob> LoadJob(Store& store, uint64_t job, int64_t now_ms);

// The observation of a trial as samplers want it.
Observation ObservationOf(const ActiveJob& job, const ActiveStudy& study, const TrialRecord& trial);

// The PassInfo of the study's catalogue; nullptr if there is none.
const proto::PassInfo* FindPass(const proto::Catalogue& catalogue, const std::string& name);
// The pass that collects what `pass` reads of the job's calibration data, once for every candidate that needs it;
// nullptr where there is none.
const proto::PassInfo* StatisticsPass(const JobRecord& job, const proto::Catalogue& catalogue,
                                      const proto::PassInfo& pass, const proto::Bundle& input);
// The backend that baselines of models of this format run on: the reference where it loads them, else the first that
// does. nullptr if the catalogue has no reference.
const proto::BackendInfo* ReferenceBackend(const proto::Catalogue& catalogue, const std::string& format);

// The passes that make a baseline of a model that no backend of the catalogue loads, such as a checkpoint's: the first
// of the recipe's that takes its format and gives one that the reference backend loads, where it has a parameter
// `precision` with "f32". None for a model that is loaded as it is; kRejected where the recipe has no such pass.
Result<std::vector<proto::PassStep>> BaselinePipeline(const proto::Recipe& recipe, const proto::Catalogue& catalogue,
                                                      const std::string& format);

// What a job's trials are measured against: what was given with it, else its own model on the reference backend, which
// is the one that BaselinePipeline makes once that is built.
proto::PinnedBaseline BaselineOf(const ActiveJob& job, const ActiveStudy& study);
const std::string& BaselineBackend(const ActiveJob& job, const ActiveStudy& study);

// Trials of the study's budget that the search leaves to racing the best few: those of auto, but none where the budget
// holds the whole space.
uint64_t ReserveOf(const proto::Search& search, const StudyRecord& study);

// The seed of study number `study` of a job (splitmix64 of both).
uint64_t StudySeed(uint64_t job_seed, uint32_t study);

}  // namespace hone
