#include "worker/decoder/checkpoint_weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/strings.h"
#include "kernels/range.h"

namespace hone {

Result<const StoredWeight*> CheckpointWeights::Find(const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = weights_.find(name);
  if (found == weights_.end()) return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' is missing", name));
  used_.insert(name);
  if (found->second.shape != shape) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the tensor '{}' has the shape {}; by the configuration it should have {}", name,
                            DimsText(found->second.shape), DimsText(shape)));
  }
  return &found->second;
}

Result<RowSource::Part> CheckpointWeights::Rows(const std::string& name, int64_t rows, int64_t columns) {
  TRY_ASSIGN(const StoredWeight* weight, Find(name, {rows, columns}));
  return RowSource::Part{weight, name, 0, static_cast<uint64_t>(rows)};
}

Result<std::vector<float>> CheckpointWeights::Vector(const std::string& name, int64_t elements) {
  TRY_ASSIGN(const StoredWeight* weight, Find(name, {elements}));
  std::vector<float> values(static_cast<size_t>(elements));
  ReadRows(*weight, 0, 1, values.data());
  if (kernels::Range(values.data(), values.size()).non_finite > 0)
    return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' holds NaN or infinities", name));
  return values;
}

Result<> CheckpointWeights::CheckAllUsed(const std::function<bool(const std::string&)>& is_idle) const {
  std::vector<std::string> idle;
  for (const auto& [name, weight] : weights_) {
    if (!used_.contains(name) && !is_idle(name)) idle.push_back(Printable(name, 100));
  }
  if (idle.empty()) return {};
  const size_t count = idle.size();
  idle.resize(std::min<size_t>(count, 5));
  return Fail(
      ErrorCode::kRejected,
      fmt::format("{} tensors have no place in this architecture: {}{}", count, Join(idle, ", "),
                  count > 5 ? " ..." : ""),
      "The model would compute something else without them; its configuration names another architecture than it has.");
}

Result<> AddMatrix(GraphWriter& graph, const std::string& name, const RowSource& source, MatrixSide side, int threads) {
  const auto rows = static_cast<int64_t>(source.Rows());
  const auto columns = static_cast<int64_t>(source.columns);
  const bool turned = side == MatrixSide::turned;
  TRY(graph.Begin(name, graph.floats(),
                  turned ? std::vector<int64_t>{columns, rows} : std::vector<int64_t>{rows, columns}));
  if (graph.is_plan()) return {};
  const bool half = graph.floats() == onnx::TensorProto::FLOAT16;
  return (turned ? WriteTurned : WriteRows)(source, half, threads,
                                            [&](std::string_view bytes) { return graph.Put(bytes); });
}

}  // namespace hone
