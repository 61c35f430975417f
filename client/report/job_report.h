// A job as one file of HTML that opens anywhere: the dashboard's plots and table with the data beside them. It fetches
// nothing, and its policy names the two scripts and the style that may run by their digests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

struct StudyReport {
  std::vector<proto::TrialSummary> trials;  // Of this study, the baseline among them.
  proto::GetSamplesReply best_samples;      // Empty where there is no best.
};

struct JobReport {
  proto::JobSummary job;
  std::vector<StudyReport> studies;  // One a study of the job, in its order.
  std::vector<proto::ListAttemptsReply::Attempt> attempts;
};

// At most kMostReportBytes where that can be: of large jobs the front and as many of the other trials as have room,
// and the report says how many. `text` is what a reader without scripts sees. kBug where compression fails.
constexpr size_t kMostReportBytes = 100'000;
Result<std::string> JobReportHtml(const JobReport& report, const std::string& text, int64_t unix_ms);

}  // namespace hone
