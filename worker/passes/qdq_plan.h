// Which tensors get QuantizeLinear and DequantizeLinear, decided before anything is changed. Two layouts, for two
// runtimes.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/passes/mask_values.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

enum class QdqLayout {
  onnxruntime,  // The placement of ONNX Runtime's quantize_static: most operators read and write codes.
  openvino,     // Inputs and weights of convolutions and matrix products alone, which OpenVINO fuses around.
};

struct QdqOptions {
  QdqLayout layout = QdqLayout::onnxruntime;
  CodeType activations = CodeType::u8;
  CodeType weights = CodeType::s8;
  bool per_channel = false;
  bool reduce_range = false;
  bool symmetric_activations = false;
};

// A tensor to be quantized.
struct QdqTensor {
  std::string name;
  bool weight = false;      // A constant of a Conv, Gemm ...: weight type; other constants have the activation type.
  std::optional<int> axis;  // Weights: one scale for each index of this dimension.
  std::string scale_of;     // Not "": shares scale and zero point with this tensor.
};

// A bias that becomes int32 at the scale of input times weight.
struct QdqBias {
  int node = 0;
  int input_index = 0;
  std::string bias;
  std::string input;
  std::string weight;
  float beta = 1;  // Multiplied into the bias (Gemm); the attribute becomes 1.
};

struct QdqPlan {
  std::vector<QdqTensor> tensors;  // In the order in which they were found.
  std::vector<QdqBias> biases;
  // Relu and Clip that saturation replaces: the node, whose input takes the name of its output.
  std::vector<int> absorbed;
  QuantizationTally tally;
};

// Operators that a layout knows.
const std::set<std::string>& QdqOperators(QdqLayout layout);

// ranges: nullptr before calibration (every float tensor is taken to have one), to learn which tensors are needed.
QdqPlan PlanQdq(const QuantizationGraph& graph, const NodeFilter& filter, const QdqOptions& options,
                const MaskValues& masks, const std::map<std::string, TensorRange>* ranges);

}  // namespace hone
