// Many trials in few bytes: JSON by columns, texts that repeat as numbers into a list of words, numbers with six
// digits.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/results/columns.h"
#include "coordinator/http/job_trials.h"
#include "proto/wire.pb.h"

namespace hone {

struct TrialSelection {
  std::optional<uint32_t> study;
  std::set<proto::TrialState> states;  // Empty: all.
  std::set<std::string> metrics;         // Those alone; empty: all.
  std::string since;                   // A cursor; "" for all rows.
  uint64_t from = 0;
  uint64_t limit = 20'000;
  ColumnSet columns = ColumnSet::all;
};

// hone.trials.columns/1
std::string TrialColumnsJson(const JobRows& job, const TrialSelection& selection);
// hone.attempts.columns/1
std::string AttemptColumnsJson(uint64_t job, const std::vector<proto::ListAttemptsReply::Attempt>& attempts, bool more);

}  // namespace hone
