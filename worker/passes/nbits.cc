// Before: Y = MatMul(A, B)                    B a float constant [K, N]
// After:  Y = com.microsoft.MatMulNBits(A, B_Q4, B_scales[, B_zero_points])
//
// The bytes are those of ONNX Runtime's default quantizer (kernels/block_quantize.h). It is the one 4-bit form that
// ONNX Runtime and OpenVINO both run without unpacking. A Gemm becomes a MatMul and an Add first.
#include "worker/passes/nbits.h"

#include <fmt/format.h>

#include "kernels/half.h"
#include "kernels/range.h"

namespace hone {
namespace {

// Columns that one thread takes at a time.
constexpr size_t kColumnsAtOnce = 64;

bool IsHalf(const onnx::TensorProto& tensor) { return tensor.data_type() == onnx::TensorProto::FLOAT16; }

}  // namespace

std::string NBitsQuantizer::WhyNot(const onnx::NodeProto& node) const {
  const onnx::TensorProto* weight = node.input_size() > 1 ? graph_.AnyWeight(node.input(1)) : nullptr;
  if (weight == nullptr || (weight->data_type() != onnx::TensorProto::FLOAT && !IsHalf(*weight))) {
    return "no constant float32 or float16 weight";
  }
  if (graph_.TypeOf(node.input(0)) != weight->data_type()) return "the input is not known to have the weight's type";
  if (weight->dims_size() < 2) return "the weight is a vector";
  for (int i = 0; i < weight->dims_size() - 2; ++i) {
    if (weight->dims(i) != 1) return "the weight is a batch of matrices";
  }
  if (weight->dims(weight->dims_size() - 2) == 0 || weight->dims(weight->dims_size() - 1) == 0)
    return "the weight is empty";
  const auto shape = graph_.ShapeOf(node.input(0));
  // MatMul gives the result the larger rank of its inputs, MatMulNBits that of A.
  if (weight->dims_size() > 2 && (!shape || static_cast<int>(shape->size()) < weight->dims_size())) {
    return "the weight has a higher rank than the input";
  }
  return "";
}

Result<NBitsQuantizer::Names> NBitsQuantizer::Weight(const std::string& name) {
  const auto known = weights_.find(name);
  if (known != weights_.end()) return known->second;
  const onnx::TensorProto& proto = *graph_.AnyWeight(name);
  const bool half = IsHalf(proto);
  TRY_ASSIGN(const Tensor tensor, ReadTensor(proto));
  const std::vector<float> values = ToFloats(tensor);
  if (kernels::Range(values.data(), values.size()).non_finite > 0) return weights_[name] = Names();

  kernels::BlockLayout layout;
  layout.rows = static_cast<size_t>(tensor.dims[tensor.dims.size() - 2]);
  layout.columns = static_cast<size_t>(tensor.dims.back());
  layout.block = static_cast<size_t>(options_.group_size);
  layout.bits = options_.bits;
  layout.symmetric = options_.symmetric;
  layout.scale_format = half ? kernels::ScaleFormat::f16 : kernels::ScaleFormat::f32;
  std::vector<uint8_t> codes(layout.CodeBytes());
  std::vector<float> scales(layout.ScaleCount());
  std::vector<uint8_t> zero_points(options_.symmetric ? 0 : layout.columns * layout.ZeroPointBytesPerColumn());
  ParallelFor(options_.threads, (layout.columns + kColumnsAtOnce - 1) / kColumnsAtOnce, [&](size_t part) {
    const size_t first = part * kColumnsAtOnce;
    kernels::QuantizeBlocks(values.data(), layout, first, std::min(layout.columns, first + kColumnsAtOnce),
                            codes.data(), scales.data(), options_.symmetric ? nullptr : zero_points.data());
  });

  const int64_t rows = static_cast<int64_t>(layout.rows);
  const int64_t columns = static_cast<int64_t>(layout.columns);
  const int64_t blocks = static_cast<int64_t>(layout.BlocksPerColumn());
  Names names;
  names.rows = rows;
  names.columns = columns;
  names.codes = graph_.AddConstant(fmt::format("{}_Q{}", name, options_.bits), onnx::TensorProto::UINT8,
                                   {columns, blocks, static_cast<int64_t>(layout.BlockBytes())}, codes);
  if (half) {
    std::vector<uint16_t> halves(scales.size());
    kernels::FloatToHalf(scales.data(), scales.size(), kernels::Clamp::no, halves.data());
    names.scales = graph_.AddConstant(name + "_scales", onnx::TensorProto::FLOAT16, {columns, blocks}, halves);
  } else {
    names.scales = graph_.AddConstant(name + "_scales", onnx::TensorProto::FLOAT, {columns, blocks}, scales);
  }
  if (!options_.symmetric) {
    names.zero_points =
        graph_.AddConstant(name + "_zero_points", onnx::TensorProto::UINT8,
                           {columns, static_cast<int64_t>(layout.ZeroPointBytesPerColumn())}, zero_points);
  }
  return weights_[name] = names;
}

Result<std::string> NBitsQuantizer::Quantize(int index) {
  const bool gemm = graph_.Node(index).op_type() == "Gemm";
  if (gemm) {
    if (const char* reason = WhyNotMatMul(graph_.Node(index))) return std::string(reason);
  }
  if (std::string reason = WhyNot(graph_.Node(index)); !reason.empty()) return reason;
  std::string weight_name = graph_.Node(index).input(1);
  if (gemm && IntAttribute(graph_.Node(index), "transB", 0) != 0) {
    TRY_ASSIGN(weight_name, graph_.Transposed(weight_name));
  }
  TRY_ASSIGN(const Names weight, Weight(weight_name));
  if (weight.codes.empty()) return std::string("the weight holds NaN or infinities");
  if (gemm) TRY(GemmToMatMul(graph_, index));

  onnx::NodeProto& node = graph_.Node(index);
  node.set_op_type("MatMulNBits");
  node.set_domain("com.microsoft");
  node.set_name(
      graph_.FreshName(fmt::format("{}_Q{}", node.name().empty() ? node.output(0) : node.name(), options_.bits)));
  node.set_input(1, weight.codes);
  node.add_input(weight.scales);
  if (!options_.symmetric) node.add_input(weight.zero_points);
  SetIntAttribute(node, "K", weight.rows);
  SetIntAttribute(node, "N", weight.columns);
  SetIntAttribute(node, "bits", options_.bits);
  SetIntAttribute(node, "block_size", options_.group_size);
  if (options_.accuracy_level != 0) SetIntAttribute(node, "accuracy_level", options_.accuracy_level);
  if (OpsetVersion(graph_.model(), "com.microsoft") == 0) SetOpset(graph_.model(), "com.microsoft", 1);
  return std::string();
}

}  // namespace hone
