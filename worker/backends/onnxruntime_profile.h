// What ONNX Runtime's profiler wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/backends/onnxruntime_kernels.h"

namespace hone {

// Reads the profile of a session that made `skipped` inferences that do not count and then at least one that does.
// `forms` says what the nodes compute in. kFailed where the file is not as the profiler writes it.
Result<proto::Profile> ReadOnnxProfile(const std::filesystem::path& file, uint32_t skipped,
                                       const std::map<std::string, NodeForm>& forms);

}  // namespace hone
