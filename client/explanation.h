// `hone explain` and `hone compare` in words; what they say is computed in common/results/explanation.h.
#pragma once

#include <string>
#include <vector>

#include "client/client.h"
#include "client/json_output.h"
#include "client/remote.h"
#include "common/results/explanation.h"
#include "proto/wire.pb.h"

namespace hone {

// One a study of the job.
Result<std::vector<Explanation>> ExplainStudies(Client& client, const proto::JobSummary& job);
// Asks the coordinator for the job that a person named, prints as the console wants it. The exit code is 0.
Result<int> PrintExplanations(const std::string& job, const CoordinatorFlags& coordinator, Console& console);

std::string ExplanationText(const proto::StudySummary& study, const Explanation& explanation);
std::string ComparisonText(const std::string& name_a, const proto::TrialSummary& a, const std::string& name_b,
                           const proto::TrialSummary& b);

}  // namespace hone
