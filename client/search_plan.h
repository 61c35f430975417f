// What a search will look at, what it will cost and what it can tell apart, before machine time is spent: `hone plan`,
// and `hone submit` and `hone optimize` with --dry-run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/console.h"
#include "client/forecast.h"
#include "client/job_request.h"
#include "client/remote.h"

namespace hone {

// What is known of cost and noise, and whence.
struct Knowledge {
  std::optional<Estimate> seconds;     // Of one worker, a trial.
  std::optional<double> noise;
  std::optional<double> pair_seconds;  // Of a probe.
  std::string source;                  // "41 trials of this model", ...
};

// What a coordinator has of the same model: builds and measurements that are the same are not made again.
struct EarlierWork {
  uint64_t jobs = 0;
  uint64_t trials = 0;
};

struct StudyOutlook {
  std::string target;
  std::optional<uint64_t> candidates;  // nullopt: infinitely many.
  std::vector<std::string> workers;
};

struct SearchPlan {
  JobRequest request;
  std::vector<StudyOutlook> studies;
  std::vector<std::string> notes;
  Knowledge known;
  std::optional<EarlierWork> earlier;  // nullopt: there was no coordinator to ask.
  std::optional<double> resolve;       // The difference that shall be seen, a share; as asked for.
};

// Makes every check that a submission makes, at the coordinator, or on this machine where there is none, and changes
// nothing. Mistakes of the recipe beside the one that is returned are put into `others`.
Result<SearchPlan> PlanSearch(const JobOptions& job, const CoordinatorFlags* coordinator, Mistakes& others);
// The flags' coordinator where somebody named it; nullptr is this machine.
const CoordinatorFlags* CoordinatorIfNamed(const CoordinatorFlags& coordinator);

Json PlanJson(const SearchPlan& plan);                           // hone.plan/1
std::string PlanText(const SearchPlan& plan, size_t width);      // width 0: lines are not broken.
// Model, data, goal and bounds above the plan, what can be reused and `ending` below it.
std::string DryRunText(const SearchPlan& plan, size_t width, const std::string& ending);

}  // namespace hone
