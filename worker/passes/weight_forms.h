// How quantized weights are written into a graph.
//
//   matmulnbits  Y = com.microsoft.MatMulNBits(A, codes, scales[, zero points]): blocks of 2, 4 or 8 bits along the
//   summed
//                dimension. Both runtimes multiply it without unpacking; OpenVINO only where the number of rows is a
//                multiple of the block.
//   dequantize   Y = MatMul(A, DequantizeLinear(codes, scales[, zero points])) of opset 21, blocks along axis 0 or one
//                scale a column. Both runtimes keep it compressed: ONNX Runtime turns it into MatMulNBits (with int8
//                activations unless told otherwise), OpenVINO into its own compressed product, if symmetric weights are
//                signed without zero points and the others unsigned with them.
//   bnb4         Y = com.microsoft.MatMulBnb4(A, codes, scales): codes of the 4-bit normal float. ONNX Runtime alone.
//
// Tables of Gather become com.microsoft.GatherBlockQuantized, blocks along the row, which both runtimes look up without
// unpacking the table.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "worker/passes/block_codes.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/weight_matrix.h"

namespace hone {

enum class WeightForm { matmulnbits, dequantize, bnb4, gather };

// Names of what was added to the graph for one weight.
struct CodedWeight {
  WeightForm form = WeightForm::matmulnbits;
  CodeShape shape;
  std::string codes;
  std::string scales;
  std::string zeros;   // "" where there are none.
  std::string values;  // The dequantized weight (form dequantize).
};

// Collects the codes of one matrix. Disjoint columns may come from several threads.
class FormWriter {
 public:
  virtual ~FormWriter() = default;
  // Quantizes columns by the range of each block, straight from memory: rows lie `stride` apart, and `values` points to
  // column `first`. False where the form cannot.
  virtual bool TakeFloats(const float* values, size_t stride, size_t first, size_t last) = 0;
  virtual void Take(size_t first, const BlockCodes& codes) = 0;
  // Adds the constants, with names that begin with `base`; once, at the end.
  virtual CodedWeight Add(QuantizationGraph& graph, const std::string& base) = 0;
};

// shape: of the whole matrix.
std::unique_ptr<FormWriter> MakeFormWriter(WeightForm form, const CodeShape& shape);

// Why a form cannot hold a matrix; "" where it can.
std::string WhyNotForm(WeightForm form, const CodeShape& shape);

// Makes node `index`, a MatMul, a Gemm that is a MatMul and an Add, or a Gather, read the weight.
void UseCoded(QuantizationGraph& graph, int index, const CodedWeight& weight, int64_t accuracy_level);

}  // namespace hone
