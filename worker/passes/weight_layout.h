// qdq_to_matmulnbits and matmulnbits_to_qdq: the two forms of weights in blocks of 4 or 8 bits, turned into each other
// without touching a code, a scale or a zero point.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo QdqToMatMulNBitsInfo();
Result<> QdqToMatMulNBits(onnx::ModelProto& model, PassContext& context);

proto::PassInfo MatMulNBitsToQdqInfo();
Result<> MatMulNBitsToQdq(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
