// What a coordinator tells of jobs, trials and workers as the JSON documents that scripts read (docs/cli.md): one
// writer for `hone ... --json` and for the HTTP API. Keys are only ever added; units stand in names; missing is null.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

using Json = nlohmann::ordered_json;

// nullptr where there is none.
const proto::Metric* FindMetric(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics,
                                std::string_view name);
// "simplify + static_int8(observer=mse)"; "original" where there is no step.
std::string PipelineText(const proto::Candidate& candidate);
// "threads=2, hint=latency"; "defaults" where there is none.
std::string SettingsText(const google::protobuf::RepeatedPtrField<proto::Parameter>& settings);

// Null where it is "", where it is not finite.
Json TextOrNull(const std::string& text);
Json NumberOrNull(double value);
Json TextsJson(const google::protobuf::RepeatedPtrField<std::string>& texts);
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

// {"schema": schema, ...body}
Json WithSchema(const char* schema, const Json& body);
// {"format", "main", "files": [{"path", "digest", "size_bytes"}]}
Json BundleJson(const proto::Bundle& bundle);

Json TrialJson(const proto::TrialSummary& trial);
Json TrialListJson(const google::protobuf::RepeatedPtrField<proto::TrialSummary>& trials);
// Null for an absent one.
Json BestJson(const proto::StudySummary& study);
Json BaselineJson(const proto::StudySummary& study);
Json StudyJson(const proto::StudySummary& study);
// Of all studies.
proto::Counts SumCounts(const proto::JobSummary& job);

Json EventJson(const proto::Event& event);                                      // hone.event/1
Json JobBody(const proto::JobSummary& job);                                     // An entry of hone.jobs/1.
Json JobJson(const proto::JobSummary& job);                                     // hone.status/1
Json JobsJson(const std::vector<proto::JobSummary>& jobs);                      // hone.jobs/1
Json TrialsJson(uint64_t job, const std::vector<proto::TrialSummary>& trials);  // hone.trials/1
Json BestsJson(const proto::JobSummary& job);                                   // hone.best/1
Json ParetoJson(const proto::JobSummary& job);                                  // hone.pareto/1
Json WorkersJson(const std::vector<proto::WorkerSummary>& workers);             // hone.workers/1
Json PassesJson(const proto::Catalogue& catalogue);                             // hone.passes/1
Json BackendsJson(const proto::Catalogue& catalogue);                           // hone.backends/1
Json PassJson(const proto::PassInfo& pass);
// hone.error/1 without its schema: code, message, remedy, file, line, column.
Json ErrorBody(const Error& error);

}  // namespace hone
