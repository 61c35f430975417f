// The tensors of a checkpoint on their way into a graph: looked up by name and shape, written, and at the end held
// against what there is, because a tensor that nothing asked for means that the model is another one.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/decoder/coded_rows.h"
#include "worker/decoder/graph_writer.h"

namespace hone {

class CheckpointWeights {
 public:
  // weights: must outlive this.
  explicit CheckpointWeights(const WeightMap& weights) : weights_(weights) {}

  bool Has(const std::string& name) const { return weights_.contains(name); }
  // kRejected, naming the tensor, where it is missing or has another shape.
  Result<const StoredWeight*> Find(const std::string& name, const std::vector<int64_t>& shape);
  Result<RowSource::Part> Rows(const std::string& name, int64_t rows, int64_t columns);
  // The numbers of a tensor of one dimension. kRejected for NaN and infinities too.
  Result<std::vector<float>> Vector(const std::string& name, int64_t elements);

  // kRejected, naming the first few, for tensors that were never found and that `is_idle` does not know.
  Result<> CheckAllUsed(const std::function<bool(const std::string& name)>& is_idle) const;

 private:
  const WeightMap& weights_;
  std::set<std::string> used_;
};

// A matrix as a weight of floats, row by row or turned ([columns, rows]), as MatMul multiplies with it from the right.
// Nothing is read for a plan.
enum class MatrixSide { as_is, turned };
Result<> AddMatrix(GraphWriter& graph, const std::string& name, const RowSource& source, MatrixSide side, int threads);

}  // namespace hone
