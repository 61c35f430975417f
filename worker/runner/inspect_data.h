// Whether data sets fit a model, and how many samples they have, without running it.
#pragma once

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// Opens every data set of the task for the inputs that `result` tells (pinned as the task says) and adds its count of
// samples to data_samples. kRejected for data that do not fit.
Result<> InspectData(const proto::InspectTask& task, proto::InspectResult& result);

}  // namespace hone
