// Before: Conv(W1, b1) -> Relu -> Conv(W2)
// After:  Conv(f * W1, f * b1) -> Relu -> Conv(W2 / f)          f > 0, one factor a channel
//
// Cross-layer equalization (Nagel et al., 2019): the factor that makes a channel's largest weight the same on both
// sides. A depthwise convolution or a per-tensor scale otherwise spends its codes on one channel.
#pragma once

#include <set>
#include <string>

#include "worker/passes/node_choice.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct Equalized {
  int pairs = 0;
  std::set<std::string> changed;  // Values between the layers of a pair: they are f times what they were.
};

// Equalizes every two of Conv, Gemm and MatMul with constant weights that nothing but Relu, LeakyRelu, poolings and the
// addition of a constant lie between, each with one reader. Weights that several nodes read are left.
Result<Equalized> Equalize(QuantizationGraph& graph, const NodeChoice& choice);

}  // namespace hone
