// One run of a declared program: what it is told, and what becomes of the files it leaves.
#pragma once

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/external/declarations.h"

namespace hone {

// Before: a model's files and a request in JSON. After: the files that the program left in the output folder, as a
// bundle. The program's failure is the pass's (kRejected for exit status 9, kExhausted for 12, kTimeout, else kFailed),
// with the end of what it wrote to stderr.
Result<proto::Bundle> RunProgramPass(const ExternalPass& pass, const proto::BuildTask& task, int threads);

}  // namespace hone
