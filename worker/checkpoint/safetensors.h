// The safetensors format: eight bytes that tell the length of a JSON header, the header (name -> element type, shape
// and place), the data.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "worker/checkpoint/weights.h"

namespace hone {

// Adds the tensors of a file to `weights`; they point into `file`. kRejected, naming `what`, for a file that is cut
// short, a header beyond its bounds or malformed, an unknown element type, a place outside of the data or that does not
// fit type and shape, places that overlap or leave a gap, and a name that `weights` has already.
Result<> ReadSafetensors(std::string_view file, const std::string& what, WeightMap& weights);

}  // namespace hone
