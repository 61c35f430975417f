// Several models, or forms of running one, measured beside each other in detail, for `hone benchmark`.
#pragma once

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// Every subject lives in instance processes of its own (evaluation/instance.h), new ones in each launch; the caller
// must not have started a runtime. Metrics of a run: latency_ms_p50, and _p90, _p99, _p999 where the sample supports
// them (common/statistics/percentiles.h); load_ms, first_ms, cold_start_ms; memory_bytes; size_bytes; throughput_per_s
// with throughput_requests; energy_mj of one inference where the machine shows it; open_loop_ms_p50 and so on, and
// open_loop_per_s, where a rate was asked for. Samples of a run: latency_ms, block_latency_ms, launch_latency_ms,
// load_ms, first_ms, cold_start_ms, open_loop_ms, open_loop_service_ms.
Result<proto::BenchmarkResult> RunBenchmark(const proto::BenchmarkTask& task);

}  // namespace hone
