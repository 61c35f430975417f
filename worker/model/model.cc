#include "worker/model/model.h"

#include <fmt/format.h>
#include <onnx/checker.h>
#include <onnx/defs/schema.h>
#include <onnx/shape_inference/implementation.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <exception>
#include <new>

#include "common/base/strings.h"
#include "worker/model/mapped.h"

namespace hone {
namespace {

using Dimension = onnx::TensorShapeProto::Dimension;

bool IsDefaultDomain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

// Bits of one element; 0 for strings and types unknown here.
int ElementBits(ElementType type) {
  switch (type) {
    case onnx::TensorProto::UINT2:
    case onnx::TensorProto::INT2:
      return 2;
    case onnx::TensorProto::UINT4:
    case onnx::TensorProto::INT4:
    case onnx::TensorProto::FLOAT4E2M1:
      return 4;
    case onnx::TensorProto::UINT8:
    case onnx::TensorProto::INT8:
    case onnx::TensorProto::BOOL:
    case onnx::TensorProto::FLOAT8E4M3FN:
    case onnx::TensorProto::FLOAT8E4M3FNUZ:
    case onnx::TensorProto::FLOAT8E5M2:
    case onnx::TensorProto::FLOAT8E5M2FNUZ:
    case onnx::TensorProto::FLOAT8E8M0:
      return 8;
    case onnx::TensorProto::UINT16:
    case onnx::TensorProto::INT16:
    case onnx::TensorProto::FLOAT16:
    case onnx::TensorProto::BFLOAT16:
      return 16;
    case onnx::TensorProto::FLOAT:
    case onnx::TensorProto::INT32:
    case onnx::TensorProto::UINT32:
      return 32;
    case onnx::TensorProto::DOUBLE:
    case onnx::TensorProto::INT64:
    case onnx::TensorProto::UINT64:
    case onnx::TensorProto::COMPLEX64:
      return 64;
    case onnx::TensorProto::COMPLEX128:
      return 128;
    default:
      return 0;
  }
}

// Visits the tensors of a graph and of everything beneath it.
class TensorVisitor {
 public:
  explicit TensorVisitor(const std::function<Result<>(onnx::TensorProto&)>& visit) : visit_(visit) {}

  Result<> Graph(onnx::GraphProto& graph) {
    for (auto& tensor : *graph.mutable_initializer()) TRY(visit_(tensor));
    for (auto& sparse : *graph.mutable_sparse_initializer()) TRY(Sparse(sparse));
    return Nodes(*graph.mutable_node());
  }

  Result<> Nodes(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
    for (auto& node : nodes) {
      for (auto& attribute : *node.mutable_attribute()) TRY(Attribute(attribute));
    }
    return {};
  }

  Result<> Attribute(onnx::AttributeProto& attribute) {
    if (attribute.has_t()) TRY(visit_(*attribute.mutable_t()));
    for (auto& tensor : *attribute.mutable_tensors()) TRY(visit_(tensor));
    if (attribute.has_sparse_tensor()) TRY(Sparse(*attribute.mutable_sparse_tensor()));
    for (auto& sparse : *attribute.mutable_sparse_tensors()) TRY(Sparse(sparse));
    if (attribute.has_g()) TRY(Graph(*attribute.mutable_g()));
    for (auto& graph : *attribute.mutable_graphs()) TRY(Graph(graph));
    return {};
  }

 private:
  Result<> Sparse(onnx::SparseTensorProto& sparse) {
    if (sparse.has_values()) TRY(visit_(*sparse.mutable_values()));
    if (sparse.has_indices()) TRY(visit_(*sparse.mutable_indices()));
    return {};
  }

  const std::function<Result<>(onnx::TensorProto&)>& visit_;
};

template <class T, class Field>
void Widen(const Field& field, std::vector<std::byte>& bytes) {
  bytes.resize(static_cast<size_t>(field.size()) * sizeof(T));
  for (int i = 0; i < field.size(); ++i) {
    const T value = static_cast<T>(field.Get(i));
    std::memcpy(bytes.data() + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
  }
}

// The typed fields of TensorProto as dense bytes.
void ReadTypedField(const onnx::TensorProto& tensor, std::vector<std::byte>& bytes) {
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
    case onnx::TensorProto::COMPLEX64:
      return Widen<float>(tensor.float_data(), bytes);
    case onnx::TensorProto::DOUBLE:
    case onnx::TensorProto::COMPLEX128:
      return Widen<double>(tensor.double_data(), bytes);
    case onnx::TensorProto::INT64:
      return Widen<int64_t>(tensor.int64_data(), bytes);
    case onnx::TensorProto::UINT64:
      return Widen<uint64_t>(tensor.uint64_data(), bytes);
    case onnx::TensorProto::UINT32:
      return Widen<uint32_t>(tensor.uint64_data(), bytes);
    case onnx::TensorProto::INT32:
      return Widen<int32_t>(tensor.int32_data(), bytes);
    default:
      break;
  }
  if (ElementBits(tensor.data_type()) == 16) return Widen<uint16_t>(tensor.int32_data(), bytes);
  Widen<uint8_t>(tensor.int32_data(), bytes);
}

// The library tells where, over several lines; people get one.
std::string OneLine(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!space) line += c;
    if (space && !line.empty() && line.back() != ' ') line += ' ';
  }
  return Printable(Trim(line), 1000);
}

Result<> CheckOpsets(const onnx::ModelProto& model) {
  const auto& known = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  for (const auto& opset : model.opset_import()) {
    const auto range = known.find(IsDefaultDomain(opset.domain()) ? "" : opset.domain());
    if (range != known.end() && opset.version() > range->second.second) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the model wants opset {} of domain '{}'; {} is the newest known here", opset.version(),
                              Printable(opset.domain(), 100), range->second.second));
    }
  }
  return {};
}

// --- pins -----------------------------------------------------------------------------------------------------------

// Which number each symbolic dimension was pinned to.
using Symbols = std::map<std::string, int64_t>;

std::string DimsText(const std::vector<int64_t>& dims) {
  std::vector<std::string> words;
  for (const int64_t dim : dims) words.push_back(dim < 0 ? "?" : std::to_string(dim));
  return "[" + Join(words, ", ") + "]";
}

Result<> PinDimension(const std::string& input, int axis, int64_t wanted, Dimension& dim, Symbols& symbols) {
  if (wanted == -1) return {};
  if (wanted < 1)
    return Fail(ErrorCode::kRejected, fmt::format("input '{}': dimension {} cannot be {}", input, axis, wanted));
  const auto symbol = dim.has_dim_param() ? symbols.find(dim.dim_param()) : symbols.end();
  const int64_t fixed = symbol != symbols.end()                       ? symbol->second
                        : dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value()
                                                                      : wanted;
  if (fixed != wanted) {
    const std::string cause = dim.has_dim_param() ? fmt::format("'{}' was already pinned to {}", dim.dim_param(), fixed)
                                                  : fmt::format("the model fixes it at {}", fixed);
    return Fail(ErrorCode::kRejected,
                fmt::format("input '{}': dimension {} cannot be {}: {}", input, axis, wanted, cause));
  }
  if (dim.has_dim_param() && !dim.dim_param().empty()) symbols[dim.dim_param()] = wanted;
  dim.set_dim_value(wanted);
  return {};
}

Result<> PinInput(onnx::ValueInfoProto& input, const proto::InputShape& pin, Symbols& symbols) {
  if (!input.has_type() || !input.type().has_tensor_type()) {
    return Fail(ErrorCode::kRejected, fmt::format("input '{}' is no tensor; its shape cannot be pinned", input.name()));
  }
  auto* tensor = input.mutable_type()->mutable_tensor_type();
  if (!tensor->has_shape()) {
    for (int i = 0; i < pin.dims_size(); ++i) tensor->mutable_shape()->add_dim();
  }
  if (tensor->shape().dim_size() != pin.dims_size()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("input '{}' has {} dimensions {}, not {}", input.name(), tensor->shape().dim_size(),
                            DimsText(*DimsOf(input)), pin.dims_size()));
  }
  for (int i = 0; i < pin.dims_size(); ++i)
    TRY(PinDimension(input.name(), i, pin.dims(i), *tensor->mutable_shape()->mutable_dim(i), symbols));
  return {};
}

void ReplaceSymbols(onnx::TypeProto& type, const Symbols& symbols) {
  if (type.has_sequence_type()) return ReplaceSymbols(*type.mutable_sequence_type()->mutable_elem_type(), symbols);
  if (type.has_optional_type()) return ReplaceSymbols(*type.mutable_optional_type()->mutable_elem_type(), symbols);
  if (!type.has_tensor_type() || !type.tensor_type().has_shape()) return;
  for (auto& dim : *type.mutable_tensor_type()->mutable_shape()->mutable_dim()) {
    const auto symbol = dim.has_dim_param() ? symbols.find(dim.dim_param()) : symbols.end();
    if (symbol != symbols.end()) dim.set_dim_value(symbol->second);
  }
}

// --- shapes ---------------------------------------------------------------------------------------------------------

void InferInto(onnx::ModelProto& model, onnx::shape_inference::DataValueMap* data) {
  // A model may contradict itself or use operators whose inference throws: what was inferred until then stays.
  try {
    onnx::shape_inference::InferShapes(model, onnx::OpSchemaRegistry::Instance(),
                                       onnx::ShapeInferenceOptions(false, 0, true), data);
  } catch (const std::exception&) {
    return;
  }
}

void ForgetShapes(onnx::GraphProto& graph) {
  // An initializer tells its shape itself; what is declared beside it would overrule it.
  std::unordered_map<std::string_view, bool> stored;
  for (const auto& tensor : graph.initializer()) stored[tensor.name()] = true;
  auto& declared = *graph.mutable_value_info();
  declared.erase(std::remove_if(declared.begin(), declared.end(),
                                [&](const auto& value) { return stored.contains(value.name()); }),
                 declared.end());
  std::unordered_map<std::string_view, bool> foreign;
  for (const auto& node : graph.node()) {
    if (IsDefaultDomain(node.domain())) continue;
    for (const auto& name : node.output()) foreign[name] = true;
  }
  for (auto* values : {graph.mutable_output(), graph.mutable_value_info()}) {
    for (auto& value : *values) {
      if (value.type().has_tensor_type() && !foreign.contains(value.name()))
        value.mutable_type()->mutable_tensor_type()->clear_shape();
    }
  }
}

// An empty tensor where there is a large one: the checker looks at the fields of a tensor and at how much it holds, not
// at its values, and would look for the files of external data.
void Shorten(onnx::TensorProto& tensor) {
  tensor.clear_external_data();
  tensor.clear_data_location();
  tensor.clear_dims();
  tensor.add_dims(0);
}

// The model without its weights, for the checker.
onnx::ModelProto WithoutWeights(const onnx::ModelProto& model) {
  onnx::ModelProto slim;
  slim.set_ir_version(model.ir_version());
  *slim.mutable_opset_import() = model.opset_import();
  *slim.mutable_functions() = model.functions();
  *slim.mutable_training_info() = model.training_info();
  *slim.mutable_metadata_props() = model.metadata_props();
  const onnx::GraphProto& graph = model.graph();
  onnx::GraphProto& slim_graph = *slim.mutable_graph();
  slim_graph.set_name(graph.name());
  *slim_graph.mutable_node() = graph.node();
  *slim_graph.mutable_input() = graph.input();
  *slim_graph.mutable_output() = graph.output();
  *slim_graph.mutable_value_info() = graph.value_info();
  *slim_graph.mutable_sparse_initializer() = graph.sparse_initializer();
  *slim_graph.mutable_quantization_annotation() = graph.quantization_annotation();
  for (const auto& tensor : graph.initializer()) {
    onnx::TensorProto& slim_tensor = *slim_graph.add_initializer();
    if (!IsMapped(tensor) && !(tensor.has_raw_data() && tensor.raw_data().size() > 1024)) {
      slim_tensor = tensor;
      continue;
    }
    slim_tensor.set_name(tensor.name());
    slim_tensor.set_data_type(tensor.data_type());
    Shorten(slim_tensor);
  }
  const Result<> visited = VisitTensors(slim, [](onnx::TensorProto& tensor) -> Result<> {
    if (IsMapped(tensor)) Shorten(tensor);
    return {};
  });
  CHECK_THAT(visited);
  return slim;
}

// ONNX Runtime has operators of its own in ONNX's domain; the checker would call them unknown, and inference stop at
// them.
void KnowRuntimeOperators() {
  static const bool known = [] {
    using Schema = onnx::OpSchema;
    onnx::RegisterSchema(
        Schema("SimplifiedLayerNormalization", __FILE__, __LINE__)
            .SetDomain("")
            .SinceVersion(1)
            .Attr("axis", "The first normalized dimension.", onnx::AttributeProto::INT, static_cast<int64_t>(-1))
            .Attr("epsilon", "Added before the root.", onnx::AttributeProto::FLOAT, 1e-5f)
            .Attr("stash_type", "Type that is computed in.", onnx::AttributeProto::INT, static_cast<int64_t>(1))
            .Input(0, "X", "", "T")
            .Input(1, "scale", "", "T")
            .Output(0, "Y", "", "T")
            .Output(1, "inv_std_var", "", "U", Schema::Optional)
            .TypeConstraint("T", {"tensor(float16)", "tensor(float)", "tensor(double)", "tensor(bfloat16)"}, "")
            .TypeConstraint("U", {"tensor(float)", "tensor(double)"}, "")
            .TypeAndShapeInferenceFunction(onnx::propagateShapeAndTypeFromFirstInput));
    return true;
  }();
  (void)known;
}

}  // namespace

Result<> CheckModel(const onnx::ModelProto& model) {
  TRY(CheckOpsets(model));
  KnowRuntimeOperators();
  try {
    if (HasMapped(model)) {
      onnx::checker::check_model(WithoutWeights(model));
    } else {
      onnx::checker::check_model(model);
    }
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kExhausted, "check the model: not enough memory");
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kRejected, "the model is not valid ONNX: " + OneLine(error.what()));
  }
  return {};
}

void InferShapes(onnx::ModelProto& model) { InferInto(model, nullptr); }

void ReinferShapes(onnx::ModelProto& model, KnownValues* known) {
  onnx::GraphProto& graph = *model.mutable_graph();
  const auto declared = graph.output();
  VisitGraphs(graph, ForgetShapes);
  onnx::shape_inference::DataValueMap data;
  InferInto(model, known != nullptr ? &data : nullptr);
  for (int i = 0; i < graph.output_size(); ++i) {
    auto& output = *graph.mutable_output(i);
    const bool had = declared[i].type().has_tensor_type() && declared[i].type().tensor_type().has_shape();
    if (had && !DimsOf(output))
      *output.mutable_type()->mutable_tensor_type()->mutable_shape() = declared[i].type().tensor_type().shape();
  }
  if (known == nullptr) return;
  for (const auto& [name, shape] : data) {
    std::vector<int64_t> values;
    for (const auto& dim : shape.dim()) {
      if (dim.has_dim_value()) values.push_back(dim.dim_value());
    }
    if (static_cast<int>(values.size()) == shape.dim_size()) known->emplace(name, std::move(values));
  }
}

std::vector<const onnx::ValueInfoProto*> RealInputs(const onnx::GraphProto& graph) {
  std::unordered_map<std::string_view, bool> initialized;
  for (const auto& tensor : graph.initializer()) initialized[tensor.name()] = true;
  for (const auto& tensor : graph.sparse_initializer()) initialized[tensor.values().name()] = true;
  std::vector<const onnx::ValueInfoProto*> inputs;
  for (const auto& input : graph.input()) {
    if (!initialized.contains(input.name())) inputs.push_back(&input);
  }
  return inputs;
}

std::optional<std::vector<int64_t>> DimsOf(const onnx::ValueInfoProto& value) {
  if (!value.has_type() || !value.type().has_tensor_type() || !value.type().tensor_type().has_shape())
    return std::nullopt;
  std::vector<int64_t> dims;
  for (const auto& dim : value.type().tensor_type().shape().dim()) {
    dims.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
  }
  return dims;
}

Result<> PinInputs(onnx::ModelProto& model, const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs) {
  if (inputs.empty()) return {};
  onnx::GraphProto& graph = *model.mutable_graph();
  std::map<std::string, onnx::ValueInfoProto*> known;
  std::vector<std::string> names;
  for (const auto* input : RealInputs(graph)) {
    known[input->name()] = const_cast<onnx::ValueInfoProto*>(input);
    names.push_back(input->name());
  }
  Symbols symbols;
  for (const auto& pin : inputs) {
    const auto input = known.find(pin.name());
    if (input == known.end()) {
      return Fail(
          ErrorCode::kRejected,
          fmt::format("the model has no input '{}'{}", Printable(pin.name(), 200), DidYouMean(pin.name(), names)),
          "Its inputs: " + Join(names, ", ") + ".");
    }
    TRY(PinInput(*input->second, pin, symbols));
  }
  if (symbols.empty()) return {};
  VisitGraphs(graph, [&](onnx::GraphProto& inner) {
    for (auto* values : {inner.mutable_input(), inner.mutable_output(), inner.mutable_value_info()}) {
      for (auto& value : *values) {
        if (value.has_type()) ReplaceSymbols(*value.mutable_type(), symbols);
      }
    }
  });
  return {};
}

int64_t OpsetVersion(const onnx::ModelProto& model, std::string_view domain) {
  for (const auto& opset : model.opset_import()) {
    if (opset.domain() == domain || (IsDefaultDomain(domain) && IsDefaultDomain(opset.domain())))
      return opset.version();
  }
  return 0;
}

void SetOpset(onnx::ModelProto& model, std::string_view domain, int64_t version) {
  for (auto& opset : *model.mutable_opset_import()) {
    if (opset.domain() == domain || (IsDefaultDomain(domain) && IsDefaultDomain(opset.domain())))
      return opset.set_version(version);
  }
  auto* opset = model.add_opset_import();
  opset->set_domain(std::string(domain));
  opset->set_version(version);
}

int64_t NewestOpset() { return onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map().at("").second; }

void VisitGraphs(onnx::GraphProto& graph, const std::function<void(onnx::GraphProto&)>& visit) {
  visit(graph);
  for (auto& node : *graph.mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) VisitGraphs(*attribute.mutable_g(), visit);
      for (auto& inner : *attribute.mutable_graphs()) VisitGraphs(inner, visit);
    }
  }
}

void VisitGraphs(const onnx::GraphProto& graph, const std::function<void(const onnx::GraphProto&)>& visit) {
  visit(graph);
  for (const auto& node : graph.node()) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) VisitGraphs(attribute.g(), visit);
      for (const auto& inner : attribute.graphs()) VisitGraphs(inner, visit);
    }
  }
}

Result<> VisitTensors(onnx::ModelProto& model, const std::function<Result<>(onnx::TensorProto&)>& visit) {
  TensorVisitor visitor(visit);
  TRY(visitor.Graph(*model.mutable_graph()));
  for (auto& training : *model.mutable_training_info()) {
    if (training.has_initialization()) TRY(visitor.Graph(*training.mutable_initialization()));
    if (training.has_algorithm()) TRY(visitor.Graph(*training.mutable_algorithm()));
  }
  for (auto& function : *model.mutable_functions()) {
    TRY(visitor.Nodes(*function.mutable_node()));
    for (auto& attribute : *function.mutable_attribute_proto()) TRY(visitor.Attribute(attribute));
  }
  return {};
}

Result<uint64_t> TensorBytes(ElementType type, const std::vector<int64_t>& dims) {
  const int bits = ElementBits(type);
  if (bits == 0) return Fail(ErrorCode::kRejected, fmt::format("element type {} has no size known here", type));
  const int64_t elements = ElementCount(dims);
  // Leaves room for the multiplication by at most 128 bits.
  if (elements < 0 || elements > (int64_t{1} << 55)) return Fail(ErrorCode::kRejected, "the shape is impossible");
  return (static_cast<uint64_t>(elements) * static_cast<uint64_t>(bits) + 7) / 8;
}

Result<Tensor> ReadTensor(const onnx::TensorProto& tensor) {
  const std::string name = fmt::format("tensor '{}'", Printable(tensor.name(), 200));
  if (ElementBits(tensor.data_type()) < 8) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} of type {} has no elements of whole bytes", name, ElementName(tensor.data_type())));
  }
  Tensor value;
  value.name = tensor.name();
  value.type = tensor.data_type();
  value.dims.assign(tensor.dims().begin(), tensor.dims().end());
  const Result<uint64_t> size = TensorBytes(value.type, value.dims);
  if (!size) return FailWith(name, size.error());
  if (tensor.has_raw_data() || tensor.data_location() == onnx::TensorProto::EXTERNAL) {
    TRY_ASSIGN(const TensorView view, ViewTensor(tensor));
    const auto* raw = reinterpret_cast<const std::byte*>(view.bytes().data());
    value.bytes.assign(raw, raw + view.bytes().size());
  } else {
    ReadTypedField(tensor, value.bytes);
  }
  if (value.bytes.size() != *size) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} needs {} bytes for its type and shape and holds {}", name, *size, value.bytes.size()));
  }
  return value;
}

TensorView::TensorView(Tensor owned)
    : type_(owned.type),
      dims_(std::move(owned.dims)),
      owned_(std::move(owned.bytes)),
      bytes_(reinterpret_cast<const char*>(owned_.data()), owned_.size()) {}

Result<TensorView> ViewTensor(const onnx::TensorProto& tensor) {
  const std::string name = fmt::format("tensor '{}'", Printable(tensor.name(), 200));
  std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) {
    const std::string_view bytes = MappedBytes(tensor);
    const Result<uint64_t> size = TensorBytes(tensor.data_type(), dims);
    if (!size) return FailWith(name, size.error());
    if (bytes.data() == nullptr || bytes.size() != *size)
      return Fail(ErrorCode::kRejected, name + " is external and was not loaded");
    return TensorView(tensor.data_type(), std::move(dims), bytes);
  }
  if (tensor.has_raw_data()) {
    const Result<uint64_t> size = TensorBytes(tensor.data_type(), dims);
    if (!size) return FailWith(name, size.error());
    if (tensor.raw_data().size() != *size) {
      return Fail(ErrorCode::kRejected, fmt::format("{} needs {} bytes for its type and shape and holds {}", name,
                                                    *size, tensor.raw_data().size()));
    }
    return TensorView(tensor.data_type(), std::move(dims), tensor.raw_data());
  }
  TRY_ASSIGN(Tensor value, ReadTensor(tensor));
  return TensorView(std::move(value));
}

onnx::TensorProto MakeTensor(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                             std::string_view bytes) {
  return MakeTensorFrom(name, type, dims, std::string(bytes));
}

onnx::TensorProto MakeTensorFrom(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                                 std::string&& bytes) {
  const Result<uint64_t> size = TensorBytes(type, dims);
  CHECK_THAT(size && *size == bytes.size());
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t dim : dims) tensor.add_dims(dim);
  tensor.set_raw_data(std::move(bytes));
  return tensor;
}

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t otherwise) {
  const auto* attribute = FindAttribute(node, name);
  return attribute != nullptr && attribute->type() == onnx::AttributeProto::INT ? attribute->i() : otherwise;
}

void SetIntAttribute(onnx::NodeProto& node, std::string_view name, int64_t value) {
  onnx::AttributeProto* attribute = const_cast<onnx::AttributeProto*>(FindAttribute(node, name));
  if (attribute == nullptr) attribute = node.add_attribute();
  attribute->Clear();
  attribute->set_name(std::string(name));
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

std::string NodeText(const onnx::NodeProto& node) {
  const std::string& name = !node.name().empty() || node.output().empty() ? node.name() : node.output(0);
  return fmt::format("{} '{}'", Printable(node.op_type(), 100), Printable(name, 200));
}

}  // namespace hone
