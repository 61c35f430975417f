// ONNX Runtime's graph optimizer, its result written down.
#pragma once

#include <filesystem>

#include "common/base/result.h"

namespace hone {

enum class OptimizerLevel { basic, extended };  // Those whose result does not depend on the processor.

// Writes the model as ONNX Runtime's optimizer leaves it at this level; larger weights go beside it, into "<file
// name>.data". Every operator of ONNX's own domain in it is one that ONNX has. kRejected where ONNX Runtime does not
// load the model.
Result<> WriteOptimized(const std::filesystem::path& model, OptimizerLevel level,
                        const std::filesystem::path& optimized);

}  // namespace hone
