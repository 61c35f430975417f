// Formats that OpenVINO's frontends read. An operator counts as quantized where an input comes from FakeQuantize, or
// from a constant of eight bits or fewer that Convert, Subtract and Multiply bring back to floating point.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <openvino/op/constant.hpp>
#include <openvino/openvino.hpp>
#include <set>
#include <unordered_set>
#include <vector>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/runner/inspect.h"

namespace hone {
namespace {

struct TypeName {
  const char* openvino;
  const char* ours;
};
constexpr TypeName kTypeNames[] = {
    {"f64", "float64"}, {"f32", "float32"}, {"f16", "float16"}, {"bf16", "bfloat16"}, {"i64", "int64"},
    {"i32", "int32"},   {"i16", "int16"},   {"i8", "int8"},     {"i4", "int4"},       {"u64", "uint64"},
    {"u32", "uint32"},  {"u16", "uint16"},  {"u8", "uint8"},    {"u4", "uint4"},      {"boolean", "bool"},
};

std::string NameOf(const ov::element::Type& type) {
  const std::string name = type.get_type_name();
  for (const TypeName& row : kTypeNames) {
    if (name == row.openvino) return row.ours;
  }
  return name;
}

template <class Port>
void WritePort(const Port& port, proto::TensorInfo& info) {
  info.set_name(Printable(port.get_names().empty() ? port.get_node()->get_friendly_name() : port.get_any_name(), 1024));
  info.set_type(NameOf(port.get_element_type()));
  const ov::PartialShape shape = port.get_partial_shape();
  if (shape.rank().is_dynamic()) return;
  for (const ov::Dimension& dimension : shape)
    info.add_dims(dimension.is_static() ? std::to_string(dimension.get_length()) : "?");
}

bool IsLowPrecision(const ov::element::Type& type) { return type.bitwidth() <= 8 && type != ov::element::boolean; }

// What stands between a stored weight and the operator that uses it.
bool IsDecompression(const std::string& type) {
  static const std::set<std::string> types = {"Convert", "Subtract", "Multiply", "Reshape", "Transpose", "Unsqueeze"};
  return types.contains(type);
}

// Walks from an input towards a constant through decompression alone.
bool ComesFromQuantized(const ov::Node* node) {
  std::unordered_set<const ov::Node*> seen;
  std::vector<const ov::Node*> open{node};
  while (!open.empty()) {
    const ov::Node* const next = open.back();
    open.pop_back();
    if (!seen.insert(next).second) continue;
    const std::string type = next->get_type_name();
    if (type == "FakeQuantize") return true;
    if (type == "Convert" && next->get_input_node_ptr(0)->get_type_name() == std::string("Constant") &&
        IsLowPrecision(next->get_input_element_type(0))) {
      return true;
    }
    if (!IsDecompression(type)) continue;
    for (size_t i = 0; i < next->get_input_size(); ++i) open.push_back(next->get_input_node_ptr(i));
  }
  return false;
}

bool IsQuantized(const ov::Node& node) {
  const std::string type = node.get_type_name();
  if (type == "FakeQuantize" || type == "Result" || IsDecompression(type)) return false;
  for (size_t i = 0; i < node.get_input_size(); ++i) {
    if (ComesFromQuantized(node.get_input_node_ptr(i))) return true;
  }
  return false;
}

// The newest operator set that is used, of each family.
void WriteOpsets(const std::map<std::string, int64_t>& opsets, proto::InspectResult& result) {
  for (const auto& [name, version] : opsets) {
    proto::Parameter& row = *result.add_opsets();
    row.set_name(name);
    *row.mutable_value() = IntValue(version);
  }
}

void CountOpset(const ov::Node& node, std::map<std::string, int64_t>& opsets) {
  const char* const text = node.get_type_info().version_id;
  const std::string id = text == nullptr ? "" : text;
  const size_t digits = id.find_first_of("0123456789");
  if (digits == std::string::npos) return;
  const auto version = ParseInteger(std::string_view(id).substr(digits));
  if (!version) return;
  int64_t& newest = opsets[id.substr(0, digits)];
  newest = std::max(newest, *version);
}

void WriteModel(const ov::Model& model, proto::InspectResult& result) {
  for (const auto& input : model.inputs()) WritePort(input, *result.add_inputs());
  for (const auto& output : model.outputs()) WritePort(output, *result.add_outputs());
  OperatorCounts operators;
  OperatorCounts quantized;
  ParameterCounts parameters;
  std::map<std::string, int64_t> opsets;
  for (const auto& node : model.get_ordered_ops()) {
    const std::string type = node->get_type_name();
    if (type == "Parameter" || type == "Result") continue;
    if (const auto constant = std::dynamic_pointer_cast<ov::op::v0::Constant>(node)) {
      parameters.Add(NameOf(constant->get_element_type()), ov::shape_size(constant->get_shape()),
                     constant->get_byte_size());
      continue;
    }
    operators.Add(type);
    if (IsQuantized(*node)) quantized.Add(type);
    CountOpset(*node, opsets);
  }
  operators.WriteTo(*result.mutable_operators());
  quantized.WriteTo(*result.mutable_quantized());
  parameters.WriteTo(result);
  WriteOpsets(opsets, result);
  const auto version = model.get_rt_info().find("version");
  if (version != model.get_rt_info().end() && version->second.is<int64_t>()) {
    result.set_ir_version(static_cast<uint32_t>(version->second.as<int64_t>()));
  }
}

}  // namespace

Result<> InspectOpenVino(const std::filesystem::path& file, HardLinks, proto::InspectResult& result) {
  try {
    static auto* const core = new ov::Core();   // Stays: a reader that is unloaded loses hold of what it keeps.
    const std::shared_ptr<ov::Model> model = core->read_model(file.string());
    WriteModel(*model, result);
    return {};
  } catch (const std::exception& exception) {
    return Fail(ErrorCode::kRejected,
                fmt::format("read {} with OpenVINO: {}", file.filename().string(), Printable(exception.what(), 1000)));
  }
}

}  // namespace hone
