// Which products lose most by 8-bit activations, estimated from channel statistics without running anything.
#pragma once

#include <string>
#include <vector>

#include "worker/calibration/statistics.h"
#include "worker/passes/node_choice.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct ProductLoss {
  std::string output;  // First output of the product.
  double loss = 0;     // Energy of the rounding error in its sums over the energy of the sums.
};

// Of Conv, Gemm and MatMul with a constant weight that are wanted and whose inputs have channel statistics; the largest
// loss first, ties by the order in the graph. `levels` codes are spread over what was seen of an input.
Result<std::vector<ProductLoss>> EstimateLosses(const QuantizationGraph& graph, const NodeChoice& choice,
                                                const Statistics& statistics, int levels);

}  // namespace hone
