// What people are told of jobs and trials, read from the database; the scheduler adds what is under way.
#pragma once

#include "common/base/result.h"
#include "coordinator/scheduler.h"
#include "coordinator/store.h"

namespace hone {

enum class Detail { brief, full };  // brief: without the front and what the runtime executed.

Result<proto::TrialSummary> SummarizeTrial(Store& store, const Scheduler& scheduler, const TrialRecord& trial,
                                           Detail detail);
// Executions of the front's trials are left out once the summary has max_bytes.
Result<proto::JobSummary> SummarizeJob(Store& store, const Scheduler& scheduler, const JobRecord& job, Detail detail,
                                       uint64_t max_bytes);

}  // namespace hone
