// Requests that arrive on a schedule, as they do at a server: whether those before them are done or not.
//
// A closed loop sends the next request when the last one is done, so a slow inference holds back the requests that
// would have met it, and the percentiles are too good ("coordinated omission", G. Tene). Here the times of arrival are
// drawn before the first request is sent; requests that find all lanes taken wait in one queue, first come first
// served; and latency runs from the scheduled arrival to the end, so that waiting counts.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/result.h"
#include "proto/instance.pb.h"
#include "worker/backends/backend.h"

namespace hone {

// Seconds from the start at which requests arrive: exponential times between them (a Poisson process) from the seed, or
// equal ones.
std::vector<double> ArrivalTimes(double rate_per_s, uint32_t arrivals, bool even, uint64_t seed);

// The session has bound inputs. kRejected for a rate or a number that is not positive.
Result<proto::InstanceReply::OpenLoop> RunOpenLoop(Session& session, const proto::InstanceRequest::OpenLoop& plan);

}  // namespace hone
