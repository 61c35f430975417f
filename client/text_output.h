// Messages as text for people. Pure functions: no terminal is asked, `width` 0 cuts nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/json_output.h"
#include "proto/wire.pb.h"

namespace hone {

// "4.60 ms", "24.6 MB", "0.998", by the unit in the name; "-" for nullptr.
std::string MetricText(std::string_view name, const proto::Metric* metric);
// "2.91x [2.85, 2.98]", "-" for an absent one.
std::string SpeedupText(const proto::TrialSummary& trial);
// "12 complete, 2 infeasible, 0 pruned, 1 failed".
std::string CountsText(const proto::Counts& counts);
uint32_t Finished(const proto::Counts& counts);

// The end of `optimize` and `get`: baseline beside best, and where the files are.
std::string ResultText(const proto::JobSummary& job, const std::vector<std::optional<WrittenModel>>& written,
                       const std::string& model_name);
std::string JobsText(const std::vector<proto::JobSummary>& jobs, size_t width);
std::string JobText(const proto::JobSummary& job, size_t width);
std::string TrialsText(const std::vector<proto::TrialSummary>& trials, size_t width);
std::string WorkersText(const std::vector<proto::WorkerSummary>& workers, size_t width, uint64_t now_unix_ms);
std::string PassesText(const proto::Catalogue& catalogue, size_t width);
std::string PassText(const proto::PassInfo& pass);
std::string BackendsText(const proto::Catalogue& catalogue);
std::string InspectText(const std::string& path, const proto::InspectResult& info);
// Metrics one a line, with their intervals and sample counts.
std::string MetricsText(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics);

}  // namespace hone
