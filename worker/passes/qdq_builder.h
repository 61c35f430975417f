// Carries out a QdqPlan: computes scales, zero points and codes and puts the QuantizeLinear and DequantizeLinear nodes
// in.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "worker/passes/qdq_plan.h"

namespace hone {

struct QdqReport {
  int activations = 0;  // Pairs.
  int weights = 0;
  int biases = 0;
  std::vector<std::string> left;  // Constants and biases that stayed in float, with the reason.
};

// The last thing done to the graph: nodes that saturation replaces are taken out, so node indices are no longer valid.
Result<QdqReport> BuildQdq(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options,
                           const NodeChoice& choice, const ObservedRanges& ranges);

// How the constant of a plan is quantized.
WeightScheme SchemeOf(const QdqTensor& constant, const QdqOptions& options);

}  // namespace hone
