// The rows of the backends, each defined in the source of its runtime.
#pragma once

#include "worker/backends/backend.h"

namespace hone {

proto::BackendInfo OnnxRuntimeInfo();
Result<std::unique_ptr<Session>> LoadInOnnxRuntime(const proto::LocalBundle& model, const LoadOptions& options);

proto::BackendInfo OpenVinoInfo();
Result<std::unique_ptr<Session>> LoadInOpenVino(const proto::LocalBundle& model, const LoadOptions& options);

}  // namespace hone
