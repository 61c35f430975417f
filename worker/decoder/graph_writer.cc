#include "worker/decoder/graph_writer.h"

#include <fmt/format.h>

#include <charconv>

#include "kernels/half.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr int64_t kIrVersion = 10;

void AddPlace(onnx::TensorProto& tensor, const char* key, const std::string& value) {
  auto& entry = *tensor.add_external_data();
  entry.set_key(key);
  entry.set_value(value);
}

std::vector<uint16_t> Halves(const std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  kernels::FloatToHalf(values.data(), values.size(), kernels::Clamp::yes, halves.data());
  return halves;
}

// Numbers stand for themselves, other words are names of free dimensions.
void Describe(onnx::ValueInfoProto& value, const std::string& name, ElementType type,
              const std::vector<std::string>& dims) {
  value.set_name(name);
  auto& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (const std::string& dim : dims) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(dim.data(), dim.data() + dim.size(), number);
    auto& described = *tensor.mutable_shape()->add_dim();
    if (error == std::errc() && end == dim.data() + dim.size()) {
      described.set_dim_value(number);
    } else {
      described.set_dim_param(dim);
    }
  }
}

}  // namespace

onnx::NodeProto& GraphWriter::Node(const std::string& type, const std::string& name,
                                   const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                                   const std::string& domain) {
  onnx::NodeProto& node = *graph_.add_node();
  node.set_op_type(type);
  node.set_name(name);
  node.set_domain(domain);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

std::string GraphWriter::Simple(const std::string& type, const std::string& name,
                                const std::vector<std::string>& inputs) {
  Node(type, name, inputs, {name + "/output_0"});
  return name + "/output_0";
}

std::string GraphWriter::Constant(const std::string& name, onnx::TensorProto tensor) {
  if (!known_constants_.insert(name).second) return name;
  onnx::NodeProto node;
  node.set_op_type("Constant");
  node.set_name("/model/constant_nodes" + name.substr(std::string_view("/model/constants").size()));
  node.add_output(name);
  auto& attribute = *node.add_attribute();
  attribute.set_name("value");
  attribute.set_type(onnx::AttributeProto::TENSOR);
  *attribute.mutable_t() = std::move(tensor);
  constants_.push_back(std::move(node));
  return name;
}

std::string GraphWriter::Ints(const std::vector<int64_t>& values) {
  const std::string name = fmt::format("/model/constants/INT64/[{}]", fmt::join(values, ", "));
  return Constant(name, MakeTensor(name, onnx::TensorProto::INT64, {static_cast<int64_t>(values.size())}, values));
}

std::string GraphWriter::Int(int64_t value) {
  const std::string name = fmt::format("/model/constants/INT64/{}", value);
  return Constant(name, MakeTensor(name, onnx::TensorProto::INT64, {}, std::vector<int64_t>{value}));
}

std::string GraphWriter::Number(double value) {
  const auto rounded = static_cast<float>(value);
  const std::string name = fmt::format("/model/constants/FLOAT/{}", rounded);
  return Constant(name, FloatTensor(name, floats_, {}, {rounded}));
}

std::string GraphWriter::Float(double value) {
  const auto rounded = static_cast<float>(value);
  const std::string name = fmt::format("/model/constants/FLOAT32/{}", rounded);
  return Constant(name, FloatTensor(name, onnx::TensorProto::FLOAT, {}, {rounded}));
}

Result<Extent> GraphWriter::Begin(const std::string& name, ElementType type, const std::vector<int64_t>& dims) {
  TRY_ASSIGN(const uint64_t bytes, TensorBytes(type, dims));
  Extent extent{0, bytes};
  if (data_ != nullptr) {
    TRY_ASSIGN(extent.offset, data_->Begin(bytes));
    Share(name, type, dims, extent);
  }
  return extent;
}

Result<> GraphWriter::Put(std::string_view bytes) { return data_ == nullptr ? Result<>() : data_->Put(bytes); }

Result<Extent> GraphWriter::Add(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                                std::string_view bytes) {
  TRY_ASSIGN(const Extent extent, Begin(name, type, dims));
  CHECK_THAT(extent.bytes == bytes.size());
  TRY(Put(bytes));
  return extent;
}

Result<> GraphWriter::PutFloats(const std::vector<float>& values) {
  const auto put = [&](const auto& numbers) {
    return Put({reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(numbers[0])});
  };
  return floats_ == onnx::TensorProto::FLOAT ? put(values) : put(Halves(values));
}

Result<Extent> GraphWriter::AddFloats(const std::string& name, const std::vector<int64_t>& dims,
                                      const std::vector<float>& values) {
  TRY_ASSIGN(const Extent extent, Begin(name, floats_, dims));
  TRY(PutFloats(values));
  return extent;
}

void GraphWriter::Share(const std::string& name, ElementType type, const std::vector<int64_t>& dims, Extent extent) {
  if (data_ == nullptr) return;
  onnx::TensorProto& tensor = *graph_.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t dim : dims) tensor.add_dims(dim);
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  AddPlace(tensor, "location", data_->name());
  AddPlace(tensor, "offset", std::to_string(extent.offset));
  AddPlace(tensor, "length", std::to_string(extent.bytes));
}

void GraphWriter::Tell(const std::string& name, const std::vector<std::string>& dims) {
  Describe(*graph_.add_value_info(), name, floats_, dims);
}

void GraphWriter::Input(const std::string& name, ElementType type, const std::vector<std::string>& dims) {
  Describe(*graph_.add_input(), name, type, dims);
}

void GraphWriter::Output(const std::string& name, ElementType type, const std::vector<std::string>& dims) {
  Describe(*graph_.add_output(), name, type, dims);
}

onnx::ModelProto GraphWriter::Finish(const std::string& graph_name, int64_t opset, bool contrib) {
  onnx::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("hone");
  SetOpset(model, "", opset);
  if (contrib) SetOpset(model, "com.microsoft", 1);
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (onnx::NodeProto& constant : constants_) *nodes.Add() = std::move(constant);
  for (onnx::NodeProto& node : *graph_.mutable_node()) *nodes.Add() = std::move(node);
  graph_.mutable_node()->Swap(&nodes);
  graph_.set_name(graph_name);
  *model.mutable_graph() = std::move(graph_);
  return model;
}

onnx::TensorProto FloatTensor(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                              const std::vector<float>& values) {
  return type == onnx::TensorProto::FLOAT ? MakeTensor(name, type, dims, values)
                                          : MakeTensor(name, type, dims, Halves(values));
}

void SetFloatAttribute(onnx::NodeProto& node, const std::string& name, double value) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::FLOAT);
  attribute.set_f(static_cast<float>(value));
}

void SetIntsAttribute(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}

void SetTextAttribute(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::STRING);
  attribute.set_s(value);
}

}  // namespace hone
