// Whether a candidate runs as its passes say: what the runtime executes, read back after compiling, held against the
// precisions that the passes claim.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// kFailed with the reason where a pass claims 8 or fewer bits and no product is executed in them, nor, in a model
// without products, a table lookup: everything was widened to float at load, or the runtime has no such kernel. Adds
// notes where a claim is kept in part ("42 of 48 products run in 8 bits") and where 16-bit floats are widened, which
// costs speed but keeps the smaller file.
Result<> CheckClaims(const google::protobuf::RepeatedPtrField<proto::Claim>& claims, const proto::Execution& execution,
                     std::vector<std::string>& notes);

}  // namespace hone
