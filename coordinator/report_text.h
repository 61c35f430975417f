// Results in a few words, for events.
#pragma once

#include <string>

#include "coordinator/ranking.h"
#include "coordinator/records.h"

namespace hone {

// "2.31x, cosine 0.9991, 12.3 MB"; without a speed-up the latency or the first objective instead.
std::string ResultText(const proto::Recipe& recipe, const Measured& measured);

// "trial 7", "baseline".
std::string TrialText(const TrialKey& key);

// What repeats a trial on one machine, for a POSIX shell: fetches the job's model, applies the passes, measures the
// outcome. Data sets are named where a pass or the evaluation reads them, as their files are the user's own: DATA
// stands for them.
std::string CommandText(const JobRecord& job, const TrialRecord& trial);

}  // namespace hone
