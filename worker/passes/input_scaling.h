// Takes a factor out of the channels of a value and puts it into what computes the value, where that changes nothing
// else: AWQ's other half.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

// A constant that was multiplied for one node: its old and new name.
struct ScaledConstant {
  int node = -1;
  std::string before;
  std::string after;
};

// Multiplies the last dimension of `value` by `factors` at its producers, if nothing but the nodes in `readers` sees
// the value: constants of normalizations, of Mul, of Add behind a MatMul or Gemm, through Relu, LeakyRelu and Identity.
// Nothing where there is no such place; else the constants that were replaced, at least one.
Result<std::vector<ScaledConstant>> FoldFactors(QuantizationGraph& graph, const std::string& value,
                                                const std::vector<float>& factors, const std::set<int>& readers);

// Adds a Mul that gives the nodes in `readers` value * factors as their first input.
Result<> InsertFactors(QuantizationGraph& graph, const std::string& value, const std::vector<float>& factors,
                       const std::set<int>& readers);

}  // namespace hone
