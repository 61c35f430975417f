#include <fmt/format.h>

#include "common/base/strings.h"
#include "worker/backends/backend.h"
#include "worker/backends/engines.h"

namespace hone {

const std::vector<BackendRow>& Backends() {
  static const std::vector<BackendRow> rows = {
      {"onnxruntime", OnnxRuntimeInfo, LoadInOnnxRuntime},
      {"openvino", OpenVinoInfo, LoadInOpenVino},
  };
  return rows;
}

Result<const BackendRow*> FindBackend(std::string_view name) {
  std::vector<std::string> names;
  for (const BackendRow& row : Backends()) {
    if (name == row.name) return &row;
    names.push_back(row.name);
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("there is no backend '{}'{}", Printable(name, 64), DidYouMean(name, names)),
              fmt::format("the backends here are {}", Join(names, ", ")));
}

}  // namespace hone
