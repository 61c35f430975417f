#include "worker/backends/openvino_ports.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace hone {
namespace {

struct TypeRow {
  ElementType ours;
  ov::element::Type_t theirs;
};
constexpr TypeRow kTypes[] = {
    {1, ov::element::Type_t::f32},     {2, ov::element::Type_t::u8},     {3, ov::element::Type_t::i8},
    {4, ov::element::Type_t::u16},     {5, ov::element::Type_t::i16},    {6, ov::element::Type_t::i32},
    {7, ov::element::Type_t::i64},     {8, ov::element::Type_t::string}, {9, ov::element::Type_t::boolean},
    {10, ov::element::Type_t::f16},    {11, ov::element::Type_t::f64},   {12, ov::element::Type_t::u32},
    {13, ov::element::Type_t::u64},    {16, ov::element::Type_t::bf16},  {17, ov::element::Type_t::f8e4m3},
    {19, ov::element::Type_t::f8e5m2}, {21, ov::element::Type_t::u4},    {22, ov::element::Type_t::i4},
};

ov::Shape Dims(const Tensor& tensor) { return ov::Shape(tensor.dims.begin(), tensor.dims.end()); }

}  // namespace

ElementType OurType(const ov::element::Type& type) {
  for (const TypeRow& row : kTypes) {
    if (type == ov::element::Type(row.theirs)) return row.ours;
  }
  return 0;
}

ov::element::Type TheirType(ElementType type) {
  for (const TypeRow& row : kTypes) {
    if (row.ours == type) return row.theirs;
  }
  return ov::element::dynamic;
}

std::string PortName(const std::unordered_set<std::string>& names, const std::string& node_name) {
  constexpr std::string_view suffix = "/sink_port_0";
  const std::string plain =
      node_name.ends_with(suffix) ? node_name.substr(0, node_name.size() - suffix.size()) : node_name;
  if (names.empty() || names.contains(plain)) return plain;
  return *std::min_element(names.begin(), names.end());
}

DeclaredInput Declare(const ov::Output<ov::Node>& port) {
  DeclaredInput declared{
      {PortName(port.get_names(), port.get_node()->get_friendly_name()), OurType(port.get_element_type()), {}}, true};
  const ov::PartialShape& shape = port.get_partial_shape();
  declared.has_rank = shape.rank().is_static();
  if (!declared.has_rank) return declared;
  for (const ov::Dimension& dim : shape) declared.signature.dims.push_back(dim.is_static() ? dim.get_length() : -1);
  return declared;
}

ov::PartialShape TheirShape(const std::vector<int64_t>& dims) {
  std::vector<ov::Dimension> shape;
  for (const int64_t dim : dims) shape.push_back(dim < 0 ? ov::Dimension::dynamic() : ov::Dimension(dim));
  return ov::PartialShape(shape);
}

ov::Tensor BorrowTensor(const Tensor& tensor) {
  return ov::Tensor(TheirType(tensor.type), Dims(tensor), const_cast<std::byte*>(tensor.bytes.data()));
}

ov::Tensor CopyTensor(const Tensor& tensor) {
  ov::Tensor copy(TheirType(tensor.type), Dims(tensor));
  if (!tensor.bytes.empty()) std::memcpy(copy.data(), tensor.bytes.data(), tensor.bytes.size());
  return copy;
}

}  // namespace hone
