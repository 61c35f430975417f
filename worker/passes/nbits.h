// Weights of MatMul and Gemm as MatMulNBits: blocks of 4- or 8-bit codes along the summed dimension.
#pragma once

#include <map>
#include <string>

#include "common/base/result.h"
#include "kernels/block_quantize.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct NBitsOptions {
  int bits = 4;
  int64_t group_size = 32;
  bool symmetric = true;
  int64_t accuracy_level = 0;  // 0: not written, the runtime decides.
  int threads = 1;
};

// Replaces nodes of one graph; a weight that several nodes share is quantized once.
class NBitsQuantizer {
 public:
  NBitsQuantizer(QuantizationGraph& graph, const NBitsOptions& options) : graph_(graph), options_(options) {}

  // node `index` is a MatMul or a Gemm. Returns why it is left, "" if it was replaced.
  Result<std::string> Quantize(int index);

 private:
  struct Names {
    std::string codes;
    std::string scales;
    std::string zero_points;
    int64_t rows = 0;
    int64_t columns = 0;
  };
  std::string WhyNot(const onnx::NodeProto& node) const;
  Result<Names> Weight(const std::string& name);

  QuantizationGraph& graph_;
  const NBitsOptions options_;
  std::map<std::string, Names> weights_;
};

}  // namespace hone
