#include <fmt/format.h>

#include <array>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/model/model.h"
#include "worker/model/tensor.h"
#include "worker/runner/inspect.h"

namespace hone {
namespace {

// Operators that take quantized data or weights by their definition; those between QuantizeLinear and DequantizeLinear
// are found by their inputs.
const std::unordered_set<std::string>& QuantizedOperators() {
  static const std::unordered_set<std::string> operators = {
      "ConvInteger",
      "MatMulInteger",
      "QLinearConv",
      "QLinearMatMul",
      // com.microsoft
      "DynamicQuantizeLSTM",
      "DynamicQuantizeMatMul",
      "EmbedLayerNormalizationQ",
      "GatherBlockQuantized",
      "MatMulBnb4",
      "MatMulFpQ4",
      "MatMulInteger16",
      "MatMulIntegerToFloat",
      "MatMulNBits",
      "MulInteger",
      "NhwcMaxPool",
      "QAttention",
      "QEmbedLayerNormalization",
      "QGemm",
      "QLinearAdd",
      "QLinearAveragePool",
      "QLinearConcat",
      "QLinearGlobalAveragePool",
      "QLinearLeakyRelu",
      "QLinearMul",
      "QLinearReduceMean",
      "QLinearSigmoid",
      "QLinearSoftmax",
      "QLinearWhere",
      "QMoE",
      "QOrderedAttention",
      "QOrderedGelu",
      "QOrderedLayerNormalization",
      "QOrderedLongformerAttention",
      "QOrderedMatMul",
      "ReduceSumInteger",
  };
  return operators;
}

bool IsConversion(const std::string& type) { return type == "QuantizeLinear" || type == "DequantizeLinear"; }

// Operators outside the standard carry their domain.
std::string TypeOf(const onnx::NodeProto& node) {
  if (node.domain().empty() || node.domain() == "ai.onnx") return Printable(node.op_type(), 256);
  return Printable(node.domain() + "." + node.op_type(), 256);
}

// Bits of one element, those smaller than a byte included; 0 for strings.
uint64_t ElementBits(ElementType type) {
  switch (type) {
    case onnx::TensorProto::UINT4:
    case onnx::TensorProto::INT4:
    case onnx::TensorProto::FLOAT4E2M1:
      return 4;
    case onnx::TensorProto::UINT2:
    case onnx::TensorProto::INT2:
      return 2;
    case onnx::TensorProto::FLOAT8E8M0:
      return 8;
    default:
      return ElementBytes(type) * 8;
  }
}

class Counter {
 public:
  void CountGraph(const onnx::GraphProto& graph) {
    for (const onnx::TensorProto& tensor : graph.initializer()) CountTensor(tensor);
    for (const onnx::SparseTensorProto& sparse : graph.sparse_initializer()) {
      CountTensor(sparse.values());
      CountTensor(sparse.indices());
    }
    CountNodes(graph.node());
  }

  void CountNodes(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
    std::unordered_set<std::string> dequantized;
    for (const onnx::NodeProto& node : nodes) {
      if (node.op_type() == "DequantizeLinear") dequantized.insert(node.output().begin(), node.output().end());
    }
    for (const onnx::NodeProto& node : nodes) {
      operators.Add(TypeOf(node));
      if (IsQuantized(node, dequantized)) quantized.Add(TypeOf(node));
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (node.op_type() == "Constant" && attribute.has_t()) CountTensor(attribute.t());
        if (attribute.has_g()) CountGraph(attribute.g());
        for (const onnx::GraphProto& graph : attribute.graphs()) CountGraph(graph);
      }
    }
  }

  OperatorCounts operators;
  OperatorCounts quantized;
  ParameterCounts parameters;

 private:
  void CountTensor(const onnx::TensorProto& tensor) {
    const int64_t elements = ElementCount({tensor.dims().begin(), tensor.dims().end()});
    if (elements < 0) return;  // LoadOnnx refuses such initializers; nothing to count elsewhere.
    const auto count = static_cast<uint64_t>(elements);
    parameters.Add(ElementName(tensor.data_type()), count, BytesOf(tensor, count));
  }

  static uint64_t BytesOf(const onnx::TensorProto& tensor, uint64_t elements) {
    if (tensor.data_type() != onnx::TensorProto::STRING) return (elements * ElementBits(tensor.data_type()) + 7) / 8;
    uint64_t bytes = 0;
    for (const std::string& text : tensor.string_data()) bytes += text.size();
    return bytes;
  }

  static bool IsQuantized(const onnx::NodeProto& node, const std::unordered_set<std::string>& dequantized) {
    if (QuantizedOperators().contains(node.op_type())) return true;
    if (IsConversion(node.op_type())) return false;
    for (const std::string& input : node.input()) {
      if (dequantized.contains(input)) return true;
    }
    return false;
  }
};

std::string DimensionText(const onnx::TensorShapeProto::Dimension& dimension) {
  if (dimension.has_dim_value() && dimension.dim_value() >= 0) return std::to_string(dimension.dim_value());
  if (dimension.has_dim_param() && !dimension.dim_param().empty()) return Printable(dimension.dim_param(), 256);
  return "?";
}

// Only tensors have an element type; sequences and maps say what they are.
std::string TypeText(const onnx::TypeProto& type) {
  switch (type.value_case()) {
    case onnx::TypeProto::kTensorType:
      return ElementName(type.tensor_type().elem_type());
    case onnx::TypeProto::kSparseTensorType:
      return "sparse " + ElementName(type.sparse_tensor_type().elem_type());
    case onnx::TypeProto::kSequenceType:
      return "sequence";
    case onnx::TypeProto::kMapType:
      return "map";
    case onnx::TypeProto::kOptionalType:
      return "optional";
    default:
      return "?";
  }
}

void WriteValue(const onnx::ValueInfoProto& value, proto::TensorInfo& info) {
  info.set_name(Printable(value.name(), 1024));
  info.set_type(TypeText(value.type()));
  if (!value.type().has_tensor_type() || !value.type().tensor_type().has_shape()) return;
  for (const auto& dimension : value.type().tensor_type().shape().dim()) info.add_dims(DimensionText(dimension));
}

void WriteHeader(const onnx::ModelProto& model, proto::InspectResult& result) {
  for (const onnx::ValueInfoProto* input : RealInputs(model.graph())) WriteValue(*input, *result.add_inputs());
  for (const onnx::ValueInfoProto& output : model.graph().output()) WriteValue(output, *result.add_outputs());
  for (const onnx::OperatorSetIdProto& opset : model.opset_import()) {
    proto::Parameter& row = *result.add_opsets();
    row.set_name(opset.domain().empty() ? "ai.onnx" : Printable(opset.domain(), 256));
    *row.mutable_value() = IntValue(opset.version());
  }
  std::string producer = model.producer_name();
  if (!model.producer_version().empty()) producer += " " + model.producer_version();
  result.set_producer(Printable(producer, 256));
  result.set_ir_version(static_cast<uint32_t>(model.ir_version()));
}

Result<> WriteExternal(const std::filesystem::path& file, HardLinks hard_links, proto::InspectResult& result) {
  TRY_ASSIGN(const std::vector<std::string> external, ExternalFiles(file, hard_links));
  for (const std::string& location : external) {
    result.add_external_files(location);
    std::error_code error;
    const uint64_t bytes = std::filesystem::file_size(file.parent_path() / location, error);
    if (!error) result.set_external_bytes(result.external_bytes() + bytes);
  }
  return {};
}

}  // namespace

Result<> InspectOnnx(const std::filesystem::path& file, HardLinks hard_links, proto::InspectResult& result) {
  TRY(WriteExternal(file, hard_links, result));
  TRY_ASSIGN(const onnx::ModelProto model, LoadOnnx(file, Weights::leave_external));
  WriteHeader(model, result);
  Counter counter;
  counter.CountGraph(model.graph());
  for (const onnx::FunctionProto& function : model.functions()) counter.CountNodes(function.node());
  counter.operators.WriteTo(*result.mutable_operators());
  counter.quantized.WriteTo(*result.mutable_quantized());
  counter.parameters.WriteTo(result);
  return {};
}

}  // namespace hone
