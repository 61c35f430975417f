// What a trial's model was made of, told step by step from the builds that are known.
#pragma once

#include "common/base/result.h"
#include "coordinator/records.h"
#include "coordinator/store.h"

namespace hone {

// Request and steps of the reply; the trial's summary and the machine are the caller's. A step whose build is no longer
// known ends the chain: it and those behind it have no model.
Result<proto::GetOriginReply> OriginOf(Store& store, const JobRecord& job, const StudyRecord& study,
                                       const TrialRecord& trial);

}  // namespace hone
