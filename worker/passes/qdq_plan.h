// Which tensors get QuantizeLinear and DequantizeLinear, decided before anything is changed. Two layouts, for two
// runtimes.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/calibration/observer.h"
#include "worker/passes/mask_values.h"
#include "worker/passes/node_choice.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

enum class QdqLayout {
  onnxruntime,  // The placement of ONNX Runtime's quantize_static: most operators read and write codes.
  openvino,     // Inputs and weights of convolutions and matrix products alone, which OpenVINO fuses around.
};

// How much of what a layout knows is quantized.
enum class QdqCoverage {
  all,       // Every operator.
  products,  // onnxruntime: convolutions with what moves and cuts their results, and the inputs of matrix products with
             // a constant. openvino: the inputs of products alone, sums read float values.
};

struct QdqOptions {
  QdqLayout layout = QdqLayout::onnxruntime;
  QdqCoverage coverage = QdqCoverage::all;
  CodeType activations = CodeType::u8;
  CodeType weights = CodeType::s8;
  bool per_channel = false;
  bool reduce_range = false;
  bool symmetric_activations = false;
  bool depthwise = true;  // Convolutions with a group a channel, too.
};

// A tensor to be quantized.
struct QdqTensor {
  std::string name;
  bool weight = false;      // A constant of a Conv, Gemm ...: weight type; other constants have the activation type.
  std::optional<int> axis;  // Weights: one scale for each index of this dimension.
  std::string scale_of;     // Not "": shares scale and zero point with this tensor.
  // Activations: who reads the codes; the others read the float values. Empty: everybody reads the codes.
  std::vector<Use> readers;
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
  // Activations that must have the same codes for the same values: what a Concat reads and gives. One range serves all
  // of a group, and with it whatever shares a scale with one of them.
  std::vector<std::vector<std::string>> unified;
  // Relu and Clip that saturation replaces: the node, whose input takes the name of its output.
  std::vector<int> absorbed;
  QuantizationTally tally;
};

// Ranges that codes are spread over, of the activations that have one.
using ObservedRanges = std::map<std::string, ObservedRange>;

// Operators that are quantized.
const std::set<std::string>& QdqOperators(const QdqOptions& options);

// Whether the graph is a transformer's: it multiplies activations with each other, or normalizes layers. What lies
// between the products of such a graph gains no speed from codes and loses accuracy by them.
bool HasAttention(const QuantizationGraph& graph);

// ranges: nullptr before calibration (every float tensor is taken to have one), to learn which tensors are needed.
QdqPlan PlanQdq(const QuantizationGraph& graph, const NodeChoice& choice, const QdqOptions& options,
                const MaskValues& masks, const ObservedRanges* ranges);

}  // namespace hone
