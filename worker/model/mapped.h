// Where mapped tensors lie; for the files of this folder.
#pragma once

#include <onnx/onnx_pb.h>

#include <string_view>

namespace hone {

// The bytes that the external data of a tensor names in a mapped file; data() is nullptr where it is not mapped or the
// place does not lie within the file.
std::string_view MappedBytes(const onnx::TensorProto& tensor);

}  // namespace hone
