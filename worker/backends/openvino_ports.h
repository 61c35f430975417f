// What OpenVINO calls a model's inputs, outputs and element types, in our words.
#pragma once

#include <openvino/core/node.hpp>
#include <openvino/core/partial_shape.hpp>
#include <openvino/core/type/element_type.hpp>
#include <openvino/runtime/tensor.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "worker/backends/pins.h"
#include "worker/model/tensor.h"

namespace hone {

// 0 where we have no such type.
ElementType OurType(const ov::element::Type& type);
// dynamic where they have no such type.
ov::element::Type TheirType(ElementType type);

// The name that the model's author gave: the ONNX reader names a parameter by its input, and a result by its output
// with a suffix. Other readers may give several names to one tensor.
std::string PortName(const std::unordered_set<std::string>& names, const std::string& node_name);

DeclaredInput Declare(const ov::Output<ov::Node>& port);
ov::PartialShape TheirShape(const std::vector<int64_t>& dims);

// The tensor's bytes, borrowed: the runtime takes inputs by a pointer to mutable memory and does not write there. The
// bytes must outlive what is returned and must not be none.
ov::Tensor BorrowTensor(const Tensor& tensor);
// A copy in memory aligned as the runtime likes it.
ov::Tensor CopyTensor(const Tensor& tensor);

}  // namespace hone
