// Measuring one candidate: accuracy first, then performance, interleaved with the baseline.
#pragma once

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// Candidate and baseline live in instance processes of their own (evaluation/instance.h), forked from this one before
// any runtime is started here, so that neither's threads or memory disturb the other's figures; the caller must not
// have started a runtime.
Result<proto::MeasureResult> RunMeasure(const proto::MeasureTask& task);

}  // namespace hone
