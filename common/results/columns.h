// Many rows in few bytes: JSON by columns, texts that repeat as numbers into a list of words, numbers with six digits.
// The members of the documents TrialColumns and AttemptColumns of docs/openapi.yaml, as text: who answers adds what it
// knows of the job.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire.pb.h"

namespace hone {

enum class ColumnSet {
  all,
  brief
};  // brief: without phases, attempts and times of trials, which only who follows a job reads.

// rows, the columns, metrics, low, high, words, pipelines, settings_list: `"rows":2,"trial":[0,1],...`. `front`:
// (study, trial).
std::string TrialColumns(const std::vector<const proto::TrialSummary*>& trials,
                         const std::set<std::pair<uint32_t, uint64_t>>& front, ColumnSet columns);
// rows, the columns, words.
std::string AttemptColumns(const std::vector<proto::ListAttemptsReply::Attempt>& attempts);

}  // namespace hone
