// Weight-only quantization of MatMul, Gemm and Gather: which weights, in how many bits, by which method, in which form.
//
// Methods: rtn rounds each block on the range of its values; mse searches scale and zero point of least squared error;
// hqq does so in a norm that leaves outliers alone; gptq lets later rows make up for the rounding of earlier ones; awq
// scales rows by how large their inputs are and folds the inverse into what computes the input, or multiplies the input
// where that gains enough. The last two look at calibration data: channel magnitudes and X^T X of every distinct input,
// collected once for all weights that read it.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>

#include "common/base/result.h"
#include "worker/passes/pass.h"
#include "worker/passes/weight_forms.h"

namespace hone {

enum class WeightMethod { rtn, mse, hqq, gptq, awq };

struct WeightOptions {
  WeightMethod method = WeightMethod::rtn;
  WeightForm form = WeightForm::matmulnbits;
  int bits = 4;
  size_t group = 32;  // 0: one scale a column.
  bool symmetric = true;
  int64_t accuracy_level = 0;  // Of MatMulNBits; 0: not written.
  double ratio = 1;            // Share of the weights' elements in `bits`; the least sensitive ones. The rest has 8.
  bool measure_inputs = false; // Sensitivity looks at the inputs too, not at the weights alone.
  int table_bits = 0;          // Of Gather's tables, 4 or 8; 0: they stay in float.
  double damping = 0.01;       // gptq
  bool act_order = false;      // gptq
  bool sequential = false;     // gptq: inputs as the layers quantized before compute them.
};

// Names of methods, in the order of the enumeration, for parameter declarations.
const std::vector<const char*>& WeightMethodNames();
WeightMethod WeightMethodOf(const std::string& name);

// kRejected where nothing can be quantized, or the options do not go together.
Result<> QuantizeWeights(onnx::ModelProto& model, PassContext& context, const WeightOptions& options);

}  // namespace hone
