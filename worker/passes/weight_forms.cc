#include "worker/passes/weight_forms.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/block_quantize.h"
#include "kernels/half.h"
#include "kernels/nf4.h"
#include "kernels/pack.h"

namespace hone {
namespace {

constexpr const char* kContrib = "com.microsoft";

int64_t ToInt64(size_t value) { return static_cast<int64_t>(value); }

std::string AddScales(QuantizationGraph& graph, const std::string& wish, const CodeShape& shape,
                      const std::vector<int64_t>& dims, const std::vector<float>& scales) {
  if (!shape.half_scales) return graph.AddConstant(wish, onnx::TensorProto::FLOAT, dims, scales);
  std::vector<uint16_t> halves(scales.size());
  kernels::FloatToHalf(scales.data(), scales.size(), kernels::Clamp::no, halves.data());
  return graph.AddConstant(wish, onnx::TensorProto::FLOAT16, dims, halves);
}

std::string AddBytes(QuantizationGraph& graph, const std::string& wish, ElementType type,
                     const std::vector<int64_t>& dims, std::string&& bytes) {
  std::string name = graph.FreshName(wish);
  graph.AddInitializer(MakeTensorFrom(name, type, dims, std::move(bytes)));
  return name;
}

uint8_t* Bytes(std::string& text) { return reinterpret_cast<uint8_t*>(text.data()); }

class NBitsWriter : public FormWriter {
 public:
  explicit NBitsWriter(const CodeShape& shape)
      : shape_(shape),
        column_bytes_(shape.Groups() * shape.group * static_cast<size_t>(shape.bits) / 8),
        codes_(shape.columns * column_bytes_, '\0'),
        scales_(shape.columns * shape.Groups()),
        zeros_(shape.symmetric ? 0 : shape.columns * PackedZeroBytes(shape), '\0') {}

  bool TakeFloats(const float* values, size_t stride, size_t first, size_t last) override {
    kernels::BlockLayout layout;
    layout.rows = shape_.rows;
    layout.columns = stride;
    layout.block = shape_.group;
    layout.bits = shape_.bits;
    layout.symmetric = shape_.symmetric;
    layout.scale_format = shape_.half_scales ? kernels::ScaleFormat::f16 : kernels::ScaleFormat::f32;
    kernels::QuantizeBlocks(values, layout, 0, last - first, Bytes(codes_) + first * column_bytes_,
                            scales_.data() + first * shape_.Groups(),
                            shape_.symmetric ? nullptr : Bytes(zeros_) + first * PackedZeroBytes(shape_));
    return true;
  }

  void Take(size_t first, const BlockCodes& codes) override {
    PackByColumn(codes, Bytes(codes_) + first * column_bytes_);
    ScalesByColumn(codes, scales_.data() + first * shape_.Groups());
    if (!shape_.symmetric) PackZerosByColumn(codes, Bytes(zeros_) + first * PackedZeroBytes(shape_));
  }

  CodedWeight Add(QuantizationGraph& graph, const std::string& base) override {
    const int64_t columns = ToInt64(shape_.columns);
    const int64_t groups = ToInt64(shape_.Groups());
    CodedWeight weight;
    weight.form = WeightForm::matmulnbits;
    weight.shape = shape_;
    weight.codes = AddBytes(graph, fmt::format("{}_Q{}", base, shape_.bits), onnx::TensorProto::UINT8,
                            {columns, groups, ToInt64(column_bytes_) / groups}, std::move(codes_));
    weight.scales = AddScales(graph, base + "_scales", shape_, {columns, groups}, scales_);
    if (!shape_.symmetric) {
      weight.zeros = AddBytes(graph, base + "_zero_points", onnx::TensorProto::UINT8,
                              {columns, ToInt64(PackedZeroBytes(shape_))}, std::move(zeros_));
    }
    return weight;
  }

 private:
  const CodeShape shape_;
  const size_t column_bytes_;
  std::string codes_;
  std::vector<float> scales_;
  std::string zeros_;
};

// Keeps codes and grid as matrices of the whole.
class PlainWriter : public FormWriter {
 public:
  PlainWriter(WeightForm form, const CodeShape& shape)
      : form_(form),
        shape_(shape),
        codes_(shape.rows * shape.columns),
        scales_(shape.Groups() * shape.columns),
        zeros_(shape.Groups() * shape.columns) {}

  bool TakeFloats(const float*, size_t, size_t, size_t) override { return false; }

  void Take(size_t first, const BlockCodes& codes) override {
    const size_t width = codes.shape.columns;
    const bool by_column = form_ == WeightForm::gather;
    for (size_t row = 0; row < shape_.rows; ++row) {
      const uint8_t* from = codes.codes.data() + row * width;
      if (!by_column) {
        std::copy_n(from, width, codes_.data() + row * shape_.columns + first);
        continue;
      }
      for (size_t c = 0; c < width; ++c) codes_[(first + c) * shape_.rows + row] = from[c];
    }
    for (size_t index = 0; index < shape_.Groups(); ++index) {
      for (size_t c = 0; c < width; ++c) {
        const size_t at = by_column ? (first + c) * shape_.Groups() + index : index * shape_.columns + first + c;
        scales_[at] = codes.grid.scales[index * width + c];
        zeros_[at] = static_cast<uint8_t>(codes.grid.zeros[index * width + c]);
      }
    }
  }

  CodedWeight Add(QuantizationGraph& graph, const std::string& base) override {
    return form_ == WeightForm::gather ? AddTable(graph, base) : AddMatrix(graph, base);
  }

 private:
  // Signed codes where there is no zero point: the form that OpenVINO keeps compressed.
  struct Types {
    ElementType element;
    int shift;
  };
  Types TypesOf() const {
    const bool four = shape_.bits == 4;
    if (shape_.symmetric && (four || form_ == WeightForm::dequantize))
      return {four ? onnx::TensorProto::INT4 : onnx::TensorProto::INT8, 1 << (shape_.bits - 1)};
    return {four ? onnx::TensorProto::UINT4 : onnx::TensorProto::UINT8, 0};
  }

  std::string AddCodes(QuantizationGraph& graph, const std::string& wish, const std::vector<int64_t>& dims,
                       const std::vector<uint8_t>& codes) const {
    const auto [element, shift] = TypesOf();
    std::vector<uint8_t> shifted(codes);
    for (uint8_t& code : shifted) code = static_cast<uint8_t>(code - shift);
    if (shape_.bits == 8) return graph.AddConstant(wish, element, dims, shifted);
    std::vector<uint8_t> packed(kernels::PackedBytes(shifted.size(), shape_.bits));
    kernels::PackCodes(shifted.data(), shifted.size(), shape_.bits, packed.data());
    return graph.AddConstant(wish, element, dims, packed);
  }

  CodedWeight AddMatrix(QuantizationGraph& graph, const std::string& base) {
    const bool per_column = shape_.group == shape_.rows;
    const std::vector<int64_t> grid_dims =
        per_column ? std::vector<int64_t>{ToInt64(shape_.columns)}
                   : std::vector<int64_t>{ToInt64(shape_.Groups()), ToInt64(shape_.columns)};
    CodedWeight weight;
    weight.form = form_;
    weight.shape = shape_;
    weight.codes = AddCodes(graph, base + "_quantized", {ToInt64(shape_.rows), ToInt64(shape_.columns)}, codes_);
    weight.scales = AddScales(graph, base + "_scale", shape_, grid_dims, scales_);
    std::vector<std::string> inputs = {weight.codes, weight.scales};
    if (!shape_.symmetric) {
      weight.zeros = AddCodes(graph, base + "_zero_point", grid_dims, zeros_);
      inputs.push_back(weight.zeros);
    }
    weight.values = graph.FreshName(base + "_DequantizeLinear_Output");
    onnx::NodeProto* node = graph.AddNode("DequantizeLinear", base + "_DequantizeLinear", inputs, {weight.values});
    SetIntAttribute(*node, "axis", per_column ? 1 : 0);
    if (!per_column) SetIntAttribute(*node, "block_size", ToInt64(shape_.group));
    return weight;
  }

  CodedWeight AddTable(QuantizationGraph& graph, const std::string& base) {
    CodedWeight weight;
    weight.form = form_;
    weight.shape = shape_;
    const std::vector<int64_t> grid_dims = {ToInt64(shape_.columns), ToInt64(shape_.Groups())};
    weight.codes = AddCodes(graph, base + "_quantized", {ToInt64(shape_.columns), ToInt64(shape_.rows)}, codes_);
    weight.scales = AddScales(graph, base + "_scales", shape_, grid_dims, scales_);
    if (!shape_.symmetric) weight.zeros = AddCodes(graph, base + "_zero_points", grid_dims, zeros_);
    return weight;
  }

  const WeightForm form_;
  const CodeShape shape_;
  std::vector<uint8_t> codes_;  // [rows, columns]; gather: [columns, rows].
  std::vector<float> scales_;   // [groups, columns]; gather: [columns, groups].
  std::vector<uint8_t> zeros_;
};

// Codes two a byte, the first in the high half, blocks along each column.
class Bnb4Writer : public FormWriter {
 public:
  explicit Bnb4Writer(const CodeShape& shape)
      : shape_(shape), codes_(shape.rows * shape.columns / 2, '\0'), scales_(shape.columns * shape.Groups()) {}

  bool TakeFloats(const float* values, size_t stride, size_t first, size_t last) override {
    for (size_t column = first; column < last; ++column) {
      for (size_t index = 0; index < shape_.Groups(); ++index)
        Block(values + index * shape_.group * stride + (column - first), stride, column, index);
    }
    return true;
  }
  void Take(size_t, const BlockCodes&) override { CHECK_THAT(false); }

  CodedWeight Add(QuantizationGraph& graph, const std::string& base) override {
    CodedWeight weight;
    weight.form = WeightForm::bnb4;
    weight.shape = shape_;
    const int64_t bytes = ToInt64(codes_.size());
    weight.codes = AddBytes(graph, base + "_NF4", onnx::TensorProto::UINT8, {bytes}, std::move(codes_));
    weight.scales = AddScales(graph, base + "_absmax", shape_, {ToInt64(scales_.size())}, scales_);
    return weight;
  }

 private:
  void Block(const float* first, size_t stride, size_t column, size_t index) {
    std::vector<float> values(shape_.group);
    std::vector<uint8_t> codes(shape_.group);
    for (size_t i = 0; i < shape_.group; ++i) values[i] = first[i * stride];
    const kernels::ScaleFormat format = shape_.half_scales ? kernels::ScaleFormat::f16 : kernels::ScaleFormat::f32;
    kernels::QuantizeNf4Blocks(values.data(), shape_.group, shape_.group, format,
                               &scales_[column * shape_.Groups() + index], codes.data());
    uint8_t* out = Bytes(codes_) + (column * shape_.rows + index * shape_.group) / 2;
    for (size_t i = 0; i < shape_.group; i += 2) out[i / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
  }

  const CodeShape shape_;
  std::string codes_;
  std::vector<float> scales_;
};

// A Gemm's product; its C goes into an Add of its own.
void SplitGemm(QuantizationGraph& graph, onnx::NodeProto& node, int index) {
  const onnx::NodeProto gemm = node;
  const bool has_c = gemm.input_size() > 2 && !gemm.input(2).empty();
  const std::string name = gemm.name().empty() ? gemm.output(0) : gemm.name();
  const std::string product = has_c ? graph.FreshName(gemm.output(0) + "_MatMul") : gemm.output(0);
  if (has_c) graph.AddNode("Add", name + "_Add", {product, gemm.input(2)}, {gemm.output(0)});
  onnx::NodeProto& product_node = graph.Node(index);
  product_node.Clear();
  product_node.set_op_type("MatMul");
  product_node.set_name(graph.FreshName(name + "_MatMul"));
  product_node.add_input(gemm.input(0));
  product_node.add_input(gemm.input(1));
  product_node.add_output(product);
}

void UseNBits(onnx::NodeProto& node, const CodedWeight& weight, int64_t accuracy_level) {
  node.set_op_type("MatMulNBits");
  node.set_input(1, weight.codes);
  node.add_input(weight.scales);
  if (!weight.zeros.empty()) node.add_input(weight.zeros);
  SetIntAttribute(node, "K", ToInt64(weight.shape.rows));
  SetIntAttribute(node, "N", ToInt64(weight.shape.columns));
  SetIntAttribute(node, "bits", weight.shape.bits);
  SetIntAttribute(node, "block_size", ToInt64(weight.shape.group));
  if (accuracy_level != 0) SetIntAttribute(node, "accuracy_level", accuracy_level);
}

void UseBnb4(onnx::NodeProto& node, const CodedWeight& weight) {
  constexpr int64_t kNormalFloat = 1;
  node.set_op_type("MatMulBnb4");
  node.set_input(1, weight.codes);
  node.add_input(weight.scales);
  SetIntAttribute(node, "K", ToInt64(weight.shape.rows));
  SetIntAttribute(node, "N", ToInt64(weight.shape.columns));
  SetIntAttribute(node, "block_size", ToInt64(weight.shape.group));
  SetIntAttribute(node, "quant_type", kNormalFloat);
}

void UseTable(onnx::NodeProto& node, const CodedWeight& weight) {
  const std::string indices = node.input(1);
  const std::string output = node.output(0);
  const std::string name = node.name();
  node.Clear();
  node.set_op_type("GatherBlockQuantized");
  node.set_name(name);
  node.add_input(weight.codes);
  node.add_input(indices);
  node.add_input(weight.scales);
  if (!weight.zeros.empty()) node.add_input(weight.zeros);
  node.add_output(output);
  SetIntAttribute(node, "gather_axis", 0);
  SetIntAttribute(node, "quantize_axis", 1);
  SetIntAttribute(node, "block_size", ToInt64(weight.shape.group));
  if (weight.shape.bits == 8) SetIntAttribute(node, "bits", 8);
}

bool IsBlockSize(size_t group) { return group >= 16 && group <= 256 && (group & (group - 1)) == 0; }

}  // namespace

std::unique_ptr<FormWriter> MakeFormWriter(WeightForm form, const CodeShape& shape) {
  switch (form) {
    case WeightForm::matmulnbits:
      return std::make_unique<NBitsWriter>(shape);
    case WeightForm::bnb4:
      return std::make_unique<Bnb4Writer>(shape);
    default:
      return std::make_unique<PlainWriter>(form, shape);
  }
}

std::string WhyNotForm(WeightForm form, const CodeShape& shape) {
  switch (form) {
    case WeightForm::matmulnbits:
      return IsBlockSize(shape.group) ? "" : "MatMulNBits has no blocks of this size";
    case WeightForm::dequantize:
      return shape.rows % shape.group == 0 ? "" : "the rows are no multiple of group_size";
    case WeightForm::bnb4:
      if (!IsBlockSize(shape.group)) return "MatMulBnb4 has no blocks of this size";
      return shape.rows % shape.group == 0 ? "" : "the rows are no multiple of group_size";
    case WeightForm::gather:
      if (!IsBlockSize(shape.group)) return "GatherBlockQuantized has no blocks of this size";
      return shape.rows % shape.group == 0 ? "" : "the table's width is no multiple of group_size";
  }
  return "";
}

void UseCoded(QuantizationGraph& graph, int index, const CodedWeight& weight, int64_t accuracy_level) {
  if (graph.Node(index).op_type() == "Gemm") SplitGemm(graph, graph.Node(index), index);
  onnx::NodeProto& node = graph.Node(index);
  if (weight.form == WeightForm::dequantize) {
    node.set_input(1, weight.values);
    return;
  }
  node.set_domain(kContrib);
  if (OpsetVersion(graph.model(), kContrib) == 0) SetOpset(graph.model(), kContrib, 1);
  if (weight.form == WeightForm::gather) {
    UseTable(node, weight);
    node.set_domain(kContrib);
    return;
  }
  const std::string& name = node.name().empty() ? node.output(0) : node.name();
  node.set_name(graph.FreshName(fmt::format("{}_Q{}", name, weight.shape.bits)));
  if (weight.form == WeightForm::matmulnbits) {
    UseNBits(node, weight, accuracy_level);
  } else {
    UseBnb4(node, weight);
  }
}

}  // namespace hone
