// What ONNX Runtime executes, read from the model that it wrote after optimizing.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "worker/backends/settings.h"

namespace hone {

// Counts the nodes of an optimized model, subgraphs included: operator type; the precision it computes in (that of
// quantized data or weights where it has them); "cpu", with the blocked layout or the accuracy level where the node
// tells one.
Result<KernelCounts> CountOnnxKernels(const std::filesystem::path& optimized_model);

// What each named node of an optimized model computes in, as CountOnnxKernels tells it.
struct NodeForm {
  std::string precision;
  std::string kernel;
};
Result<std::map<std::string, NodeForm>> FormsOfNodes(const std::filesystem::path& optimized_model);

// "f32" for the runtime's own word for an element type ("float"); "" for a word it does not know.
std::string PrecisionOfTypeWord(std::string_view word);

}  // namespace hone
