// A tensor as bytes, between data sets, backends and passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hone {

// Numbers of onnx::TensorProto::DataType.
using ElementType = int32_t;

// Bytes of one element of a type with whole bytes (float32 ... bool); 0 for strings and sub-byte types.
size_t ElementBytes(ElementType type);
// "float32", "int64" ...; "type17" where unknown.
std::string ElementName(ElementType type);

// Dense, row-major, little-endian; owns its bytes. Invariant: bytes.size() == product(dims) * ElementBytes(type).
struct Tensor {
  std::string name;
  ElementType type = 1;
  std::vector<int64_t> dims;
  std::vector<std::byte> bytes;

  int64_t Elements() const;
  template <class T> T* data() { return reinterpret_cast<T*>(bytes.data()); }
  template <class T> const T* data() const { return reinterpret_cast<const T*>(bytes.data()); }
};

// Product of dims; -1 if a dimension is negative or the product overflows.
int64_t ElementCount(const std::vector<int64_t>& dims);

// Elements as float, whatever the numeric type (f16, bf16, integers, bool included). Empty for strings.
std::vector<float> ToFloats(const Tensor& tensor);

}  // namespace hone
