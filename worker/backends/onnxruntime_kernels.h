// What ONNX Runtime executes, read from the model that it wrote after optimizing.
#pragma once

#include <filesystem>

#include "common/base/result.h"
#include "worker/backends/settings.h"

namespace hone {

// Counts the nodes of an optimized model, subgraphs included: operator type; the precision it computes in (that of
// quantized data or weights where it has them); "cpu", with the blocked layout or the accuracy level where the node
// tells one.
Result<KernelCounts> CountOnnxKernels(const std::filesystem::path& optimized_model);

}  // namespace hone
