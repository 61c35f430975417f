// Messages as the JSON documents that scripts read (docs/cli.md). Keys are only ever added; units stand in names; missing is null.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/console.h"
#include "proto/wire.pb.h"

namespace hone {

// A model that a command wrote.
struct WrittenModel {
  std::string path;                 // Of the file to open.
  std::vector<std::string> files;   // All of them, in the bundle's order.
};

Json ValueJson(const proto::Value& value);
Json ParametersJson(const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters);
Json PipelineJson(const proto::Candidate& candidate);
// {"latency_ms_p50": 4.6, ...}; whole numbers for names that end in _bytes.
Json MetricsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics);
// The same with null for each of latency_ms_p50, accuracy, size_bytes, memory_bytes that is not there.
Json FullMetricsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics);
// {"latency_ms_p50": {"ci99": [low, high], "samples": n}}, for those that have one.
Json IntervalsJson(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics);
// {"median", "ci99", "pairs"}.
Json SpeedupJson(const proto::Metric& speedup);
Json ExecutionJson(const proto::Execution& execution);
Json FingerprintJson(const proto::Fingerprint& fingerprint);
Json CountsJson(const proto::Counts& counts);
std::string StateName(proto::JobState state);
std::string StateName(proto::TrialState state);
// RFC 3339 in UTC, or null for 0.
Json TimeJson(uint64_t unix_ms);

Json TrialJson(const proto::TrialSummary& trial);
// The trial with "path" and "files" of what was written; null for an absent trial.
Json BestJson(const proto::StudySummary& study, const std::optional<WrittenModel>& written);

Json JobJson(const proto::JobSummary& job);                                             // hone.status/1
Json JobsJson(const std::vector<proto::JobSummary>& jobs);                              // hone.jobs/1
Json TrialsJson(uint64_t job, const std::vector<proto::TrialSummary>& trials);          // hone.trials/1
Json BestsJson(const proto::JobSummary& job);                                           // hone.best/1
Json ParetoJson(const proto::JobSummary& job);                                          // hone.pareto/1
Json WorkersJson(const std::vector<proto::WorkerSummary>& workers);                     // hone.workers/1
// hone.result/1; `written` has an entry a study. Top-level baseline, best and pareto are the first study's.
Json ResultJson(const proto::JobSummary& job, const std::vector<std::optional<WrittenModel>>& written);

Json PassesJson(const proto::Catalogue& catalogue);                                     // hone.passes/1
Json BackendsJson(const proto::Catalogue& catalogue);                                   // hone.backends/1
Json PassJson(const proto::PassInfo& pass);
Json InspectJson(const std::string& path, const proto::InspectResult& info);            // hone.inspect/1
Json CheckJson(const std::string& path, const proto::CheckRecipeReply& reply);          // hone.check/1

}  // namespace hone
