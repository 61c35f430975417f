// The optimized model carries no types of intermediate values, and onnx's shape inference knows no contributed
// operators. So types flow through the nodes here: most operators give their first input's type, and the table tells
// the others.
#include "worker/backends/onnxruntime_kernels.h"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <string>
#include <string_view>
#include <unordered_map>

#include "worker/model/model.h"

namespace hone {
namespace {

constexpr ElementType kUnknown = 0, kFloat32 = 1, kUint8 = 2, kInt32 = 6, kInt64 = 7, kBool = 9;

struct OpRow {
  std::string_view op;
  int output_from;  // The input whose type the outputs have; -1: `output_type`.
  ElementType output_type;
  int precision_from;  // The input whose type tells what is computed in.
};
constexpr OpRow kOps[] = {
    {"DequantizeLinear", 1, kUnknown, 0},
    {"DynamicQuantizeLinear", -1, kUint8, 0},
    {"QLinearConv", 7, kUnknown, 0},
    {"QLinearMatMul", 7, kUnknown, 0},
    {"QLinearConcat", 1, kUnknown, 1},
    {"QLinearWhere", 1, kUnknown, 1},
    {"QGemm", 8, kFloat32, 0},
    {"MatMulInteger", -1, kInt32, 0},
    {"ConvInteger", -1, kInt32, 0},
    {"MatMulIntegerToFloat", 2, kUnknown, 0},
    {"DynamicQuantizeMatMul", 0, kUnknown, 1},
    {"DynamicQuantizeLSTM", 0, kUnknown, 1},
    {"QAttention", 2, kUnknown, 0},
    {"GatherBlockQuantized", 2, kUnknown, 0},
    {"EmbedLayerNormalization", 2, kUnknown, 2},
    {"QEmbedLayerNormalization", -1, kFloat32, 2},
    {"Where", 1, kUnknown, 1},
    {"OneHot", 2, kUnknown, 2},
    {"CastLike", 1, kUnknown, 0},
    {"Shape", -1, kInt64, 0},
    {"Size", -1, kInt64, 0},
    {"ArgMax", -1, kInt64, 0},
    {"ArgMin", -1, kInt64, 0},
    {"NonZero", -1, kInt64, 0},
    {"Equal", -1, kBool, 0},
    {"Less", -1, kBool, 0},
    {"Greater", -1, kBool, 0},
    {"LessOrEqual", -1, kBool, 0},
    {"GreaterOrEqual", -1, kBool, 0},
    {"IsNaN", -1, kBool, 0},
    {"IsInf", -1, kBool, 0},
};

struct PrecisionRow {
  ElementType type;
  const char* name;
};
constexpr PrecisionRow kPrecisions[] = {{1, "f32"},     {2, "u8"},   {3, "i8"},   {4, "u16"},   {5, "i16"},
                                        {6, "i32"},     {7, "i64"},  {8, "text"}, {9, "bool"},  {10, "f16"},
                                        {11, "f64"},    {12, "u32"}, {13, "u64"}, {16, "bf16"}, {17, "f8e4m3"},
                                        {19, "f8e5m2"}, {21, "u4"},  {22, "i4"}};

std::string PrecisionName(ElementType type) {
  for (const PrecisionRow& row : kPrecisions) {
    if (row.type == type) return row.name;
  }
  return "";
}

const OpRow* FindOp(std::string_view op) {
  for (const OpRow& row : kOps) {
    if (row.op == op) return &row;
  }
  return nullptr;
}

using Types = std::unordered_map<std::string, ElementType>;

ElementType TypeOfInput(const onnx::NodeProto& node, int index, const Types& types) {
  if (index < 0 || index >= node.input_size()) return kUnknown;
  const auto found = types.find(node.input(index));
  return found == types.end() ? kUnknown : found->second;
}

ElementType FirstKnown(const onnx::NodeProto& node, const Types& types) {
  for (int i = 0; i < node.input_size(); ++i) {
    if (const ElementType type = TypeOfInput(node, i, types); type != kUnknown) return type;
  }
  return kUnknown;
}

// Output types that attributes tell.
ElementType TypeFromAttributes(const onnx::NodeProto& node) {
  const std::string& op = node.op_type();
  if (op == "Cast") return static_cast<ElementType>(IntAttribute(node, "to", kUnknown));
  if (op == "QuantizeLinear") return static_cast<ElementType>(IntAttribute(node, "output_dtype", kUnknown));
  if (op == "Constant" || op == "ConstantOfShape") {
    const onnx::AttributeProto* value = FindAttribute(node, "value");
    return value != nullptr ? value->t().data_type() : kFloat32;
  }
  return static_cast<ElementType>(IntAttribute(node, "dtype", kUnknown));
}

ElementType OutputType(const onnx::NodeProto& node, int index, const Types& types) {
  // The scale of dynamic quantization, and positions beside values.
  if (index == 1 && node.op_type() == "DynamicQuantizeLinear") return kFloat32;
  if (index == 1 && (node.op_type() == "TopK" || node.op_type() == "MaxPool")) return kInt64;
  if (const ElementType told = TypeFromAttributes(node); told != kUnknown) return told;
  if (node.op_type() == "QuantizeLinear") {
    const ElementType zero_point = TypeOfInput(node, 2, types);
    return zero_point != kUnknown ? zero_point : kUint8;
  }
  const OpRow* row = FindOp(node.op_type());
  if (row == nullptr) return FirstKnown(node, types);
  const ElementType from = TypeOfInput(node, row->output_from, types);
  return from != kUnknown ? from : row->output_type;
}

std::string Precision(const onnx::NodeProto& node, const Types& types) {
  if (node.op_type() == "MatMulNBits") return fmt::format("u{}", IntAttribute(node, "bits", 4));
  const OpRow* row = FindOp(node.op_type());
  const ElementType named = row == nullptr ? kUnknown : TypeOfInput(node, row->precision_from, types);
  return PrecisionName(named != kUnknown ? named : FirstKnown(node, types));
}

std::string Kernel(const onnx::NodeProto& node) {
  if (node.domain() == "com.microsoft.nchwc") return "cpu nchwc";
  if (node.op_type() == "MatMulNBits")
    return fmt::format("cpu accuracy_level={}", IntAttribute(node, "accuracy_level", 0));
  return "cpu";
}

// Calls visit(node, precision) for every node, subgraphs included.
template <class Visit>
void VisitGraph(const onnx::GraphProto& graph, Types types, const Visit& visit) {
  for (const auto& value : graph.value_info()) types[value.name()] = value.type().tensor_type().elem_type();
  for (const auto& value : graph.input()) types[value.name()] = value.type().tensor_type().elem_type();
  for (const auto& tensor : graph.initializer()) types[tensor.name()] = tensor.data_type();
  for (const auto& value : graph.output()) types.emplace(value.name(), value.type().tensor_type().elem_type());
  for (const onnx::NodeProto& node : graph.node()) {
    visit(node, Precision(node, types));
    for (int i = 0; i < node.output_size(); ++i) types.emplace(node.output(i), OutputType(node, i, types));
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) VisitGraph(attribute.g(), types, visit);
      for (const onnx::GraphProto& inner : attribute.graphs()) VisitGraph(inner, types, visit);
    }
  }
}

}  // namespace

Result<KernelCounts> CountOnnxKernels(const std::filesystem::path& optimized_model) {
  TRY_ASSIGN(const onnx::ModelProto model, LoadOnnx(optimized_model, Weights::leave_external));
  KernelCounts counts;
  VisitGraph(model.graph(), {}, [&](const onnx::NodeProto& node, const std::string& precision) {
    counts.Add(node.op_type(), precision, Kernel(node));
  });
  return counts;
}

Result<std::map<std::string, NodeForm>> FormsOfNodes(const std::filesystem::path& optimized_model) {
  TRY_ASSIGN(const onnx::ModelProto model, LoadOnnx(optimized_model, Weights::leave_external));
  std::map<std::string, NodeForm> forms;
  VisitGraph(model.graph(), {}, [&](const onnx::NodeProto& node, const std::string& precision) {
    if (!node.name().empty()) forms[node.name()] = {precision, Kernel(node)};
  });
  return forms;
}

std::string PrecisionOfTypeWord(std::string_view word) {
  static constexpr struct {
    std::string_view word;
    const char* precision;
  } kWords[] = {{"float", "f32"},   {"double", "f64"}, {"float16", "f16"}, {"bfloat16", "bf16"}, {"uint8", "u8"},
                {"int8", "i8"},     {"uint16", "u16"}, {"int16", "i16"},   {"uint32", "u32"},    {"int32", "i32"},
                {"uint64", "u64"},  {"int64", "i64"},  {"bool", "bool"},   {"string", "text"},   {"UInt4x2", "u4"},
                {"Int4x2", "i4"}};
  for (const auto& row : kWords) {
    if (row.word == word) return row.precision;
  }
  return "";
}

}  // namespace hone
