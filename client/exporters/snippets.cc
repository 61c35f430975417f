// Programs that run the exported model with its settings: one in Python, one in C++ with its CMakeLists.txt. Both read
// an input from a file where one is given, else they feed zeros, and tell shape and first values of every output.
#include <fmt/format.h>

#include <algorithm>

#include "client/exporters/formats.h"
#include "client/exporters/runtime_settings.h"
#include "common/base/strings.h"

namespace hone::exporters {
namespace {

namespace fs = std::filesystem;

struct ElementRow {
  const char* name;
  const char* onnx;  // ONNX Runtime's C enumeration.
  const char* openvino;
};
constexpr ElementRow kElements[] = {{"float32", "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT", "f32"},
                                    {"float16", "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16", "f16"},
                                    {"float64", "ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE", "f64"},
                                    {"int8", "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8", "i8"},
                                    {"int16", "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16", "i16"},
                                    {"int32", "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32", "i32"},
                                    {"int64", "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64", "i64"},
                                    {"uint8", "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8", "u8"},
                                    {"uint16", "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16", "u16"},
                                    {"uint32", "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32", "u32"},
                                    {"uint64", "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64", "u64"},
                                    {"bool", "ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL", "boolean"}};

Result<const ElementRow*> ElementOf(const proto::TensorInfo& tensor) {
  for (const ElementRow& row : kElements) {
    if (tensor.type() == row.name) return &row;
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("'{}' has type {}, which the programs of this format cannot feed",
                          Printable(tensor.name(), 200), tensor.type()),
              "export it for a server, or give it another type: hone apply MODEL --pass io_types:...");
}

// A literal that both languages read.
std::string Literal(std::string_view text) { return Json(std::string(text)).dump(); }

// Free dimensions are 1 unless the manifest pins them.
std::vector<std::string> ShapeFor(const Exported& exported, const proto::TensorInfo& tensor) {
  std::vector<std::string> dims;
  const Json& pins = exported.manifest.at("inputs");
  for (int d = 0; d < tensor.dims_size(); ++d) {
    const bool pinned = pins.contains(tensor.name()) && d < static_cast<int>(pins[tensor.name()].size()) &&
                        pins[tensor.name()][static_cast<size_t>(d)] > 0;
    if (ParseInteger(tensor.dims(d)))
      dims.push_back(tensor.dims(d));
    else
      dims.push_back(pinned ? pins[tensor.name()][static_cast<size_t>(d)].dump() : "1");
  }
  return dims;
}

bool IsOpenvino(const Exported& exported) { return exported.backend == "openvino"; }

std::string PropertiesLiteral(const Exported& exported, const char* open, const char* between, const char* close) {
  std::vector<std::string> entries;
  for (const auto& [name, value] : OpenvinoPropertiesOf(exported.settings).values)
    entries.push_back(open + Literal(name) + between + Literal(value) + close);
  return Join(entries, ", ");
}

Result<std::string> PythonProgram(const Exported& exported, const std::string& file) {
  std::string inputs;
  for (const proto::TensorInfo& input : exported.info.inputs()) {
    TRY_ASSIGN(const ElementRow* element, ElementOf(input));
    inputs += fmt::format("    {}: (\"{}\", [{}]),\n", Literal(input.name()), element->name,
                          Join(ShapeFor(exported, input), ", "));
  }
  std::string load;
  if (IsOpenvino(exported)) {
    load = fmt::format(
        "    compiled = openvino.Core().compile_model(str(MODEL), {}, {{{}}})\n"
        "    return lambda feed: {{port.any_name: value for port, value in compiled(feed).items()}}\n",
        Literal(OpenvinoPropertiesOf(exported.settings).device), PropertiesLiteral(exported, "", ": ", ""));
  } else {
    load = "    options = onnxruntime.SessionOptions()\n";
    for (const OnnxruntimeOption& option : OnnxruntimeOptionsOf(exported.settings))
      load += "    " + option.python + "\n";
    load +=
        "    session = onnxruntime.InferenceSession(str(MODEL), options, providers=[\"CPUExecutionProvider\"])\n"
        "    names = [output.name for output in session.get_outputs()]\n"
        "    return lambda feed: dict(zip(names, session.run(names, feed)))\n";
  }
  return fmt::format(R"(#!/usr/bin/env python3
"""Runs the model: infer.py [INPUTS.npz [OUTPUTS.npz]]. Inputs that the file lacks are zeros."""
import pathlib
import sys

import numpy as np
import {}

MODEL = pathlib.Path(__file__).resolve().parent / {}
INPUTS = {{
{}}}


def load():
{}

def main():
    given = dict(np.load(sys.argv[1])) if len(sys.argv) > 1 else {{}}
    feed = {{name: given[name].astype(kind) if name in given else np.zeros(shape, kind) for name, (kind, shape) in INPUTS.items()}}
    outputs = load()(feed)
    for name, value in outputs.items():
        value = np.asarray(value)
        print(name, list(value.shape), value.dtype, value.ravel()[:8])
    if len(sys.argv) > 2:
        np.savez(sys.argv[2], **{{name: np.asarray(value) for name, value in outputs.items()}})


if __name__ == "__main__":
    main()
)",
                     IsOpenvino(exported) ? "openvino" : "onnxruntime", Literal(file), inputs, load);
}

// What both C++ programs share: the inputs' table and the reading of raw files.
Result<std::string> CppInputs(const Exported& exported) {
  std::string rows;
  for (const proto::TensorInfo& input : exported.info.inputs()) {
    TRY_ASSIGN(const ElementRow* element, ElementOf(input));
    rows +=
        fmt::format("    {{{}, {}{}, {{{}}}}},\n", Literal(input.name()), IsOpenvino(exported) ? "ov::element::" : "",
                    IsOpenvino(exported) ? element->openvino : element->onnx, Join(ShapeFor(exported, input), ", "));
  }
  return fmt::format(R"(struct Input {{
  const char* name;
  {} type;
  std::vector<{}> shape;
}};
const std::vector<Input> kInputs = {{
{}}};

// NAME=FILE among the arguments: the raw little-endian elements of that input.
void Fill(const char* name, int argc, char** argv, void* data, size_t bytes) {{
  std::memset(data, 0, bytes);
  const std::string start = std::string(name) + "=";
  for (int i = 2; i < argc; ++i) {{
    const std::string word = argv[i];
    if (word.compare(0, start.size(), start) != 0) continue;
    std::ifstream file(word.substr(start.size()), std::ios::binary);
    if (!file.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes))) throw std::runtime_error(word + ": fewer bytes than the input has");
  }}
}}
)",
                     IsOpenvino(exported) ? "ov::element::Type" : "ONNXTensorElementDataType",
                     IsOpenvino(exported) ? "size_t" : "int64_t", rows);
}

constexpr const char* kCppHead = R"(// Runs the model: infer MODEL [INPUT=FILE ...]. Inputs without a file are zeros.
#include <cstring>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

)";

std::string CppOpenvino(const Exported& exported, const std::string& inputs) {
  return kCppHead + std::string("#include <openvino/openvino.hpp>\n\n") + inputs +
         fmt::format(R"(
int main(int argc, char** argv) try {{
  if (argc < 2) throw std::runtime_error("name the model: infer MODEL [INPUT=FILE ...]");
  ov::Core core;
  ov::CompiledModel compiled = core.compile_model(std::string(argv[1]), {}, ov::AnyMap{{{}}});
  ov::InferRequest request = compiled.create_infer_request();
  for (const Input& input : kInputs) {{
    ov::Tensor tensor(input.type, ov::Shape(input.shape.begin(), input.shape.end()));
    Fill(input.name, argc, argv, tensor.data(), tensor.get_byte_size());
    request.set_tensor(input.name, tensor);
  }}
  request.infer();
  for (const auto& output : compiled.outputs()) {{
    const ov::Tensor tensor = request.get_tensor(output);
    std::cout << output.get_any_name() << " " << tensor.get_shape() << " " << tensor.get_element_type();
    if (tensor.get_element_type() == ov::element::f32) {{
      for (size_t i = 0; i < tensor.get_size() && i < 8; ++i) std::cout << " " << tensor.data<float>()[i];
    }}
    std::cout << "\n";
  }}
  return 0;
}} catch (const std::exception& error) {{
  std::cerr << error.what() << "\n";
  return 1;
}}
)",
                     Literal(OpenvinoPropertiesOf(exported.settings).device),
                     PropertiesLiteral(exported, "{", ", std::string(", ")}"));
}

std::string CppOnnxruntime(const Exported& exported, const std::string& inputs) {
  std::string options;
  for (const OnnxruntimeOption& option : OnnxruntimeOptionsOf(exported.settings)) options += "  " + option.cpp + "\n";
  std::string outputs;
  for (const proto::TensorInfo& output : exported.info.outputs())
    outputs += (outputs.empty() ? "" : ", ") + Literal(output.name());
  return kCppHead + std::string("#include <onnxruntime_cxx_api.h>\n\n") + inputs +
         fmt::format(R"(const std::vector<const char*> kOutputs = {{{}}};

int main(int argc, char** argv) try {{
  if (argc < 2) throw std::runtime_error("name the model: infer MODEL [INPUT=FILE ...]");
  Ort::Env env;
  Ort::SessionOptions options;
{}  Ort::Session session(env, argv[1], options);
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<const char*> names;
  std::vector<Ort::Value> values;
  for (const Input& input : kInputs) {{
    values.push_back(Ort::Value::CreateTensor(allocator, input.shape.data(), input.shape.size(), input.type));
    Fill(input.name, argc, argv, values.back().GetTensorMutableRawData(), values.back().GetTensorSizeInBytes());
    names.push_back(input.name);
  }}
  const std::vector<Ort::Value> results = session.Run(Ort::RunOptions(), names.data(), values.data(), values.size(), kOutputs.data(), kOutputs.size());
  for (size_t o = 0; o < results.size(); ++o) {{
    const auto info = results[o].GetTensorTypeAndShapeInfo();
    std::cout << kOutputs[o] << " [";
    for (const int64_t dim : info.GetShape()) std::cout << dim << ",";
    std::cout << "] " << info.GetElementType();
    if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {{
      for (size_t i = 0; i < info.GetElementCount() && i < 8; ++i) std::cout << " " << results[o].GetTensorData<float>()[i];
    }}
    std::cout << "\n";
  }}
  return 0;
}} catch (const std::exception& error) {{
  std::cerr << error.what() << "\n";
  return 1;
}}
)",
                     outputs, options);
}

constexpr const char* kOpenvinoCmake = R"(cmake_minimum_required(VERSION 3.18)
project(infer CXX)
set(CMAKE_CXX_STANDARD 17)
# -DOpenVINO_DIR=FOLDER where OpenVINOConfig.cmake lies; in the Python package it is openvino/cmake.
find_package(OpenVINO REQUIRED COMPONENTS Runtime)
add_executable(infer infer.cpp)
target_link_libraries(infer PRIVATE openvino::runtime)
)";

constexpr const char* kOnnxruntimeCmake = R"(cmake_minimum_required(VERSION 3.18)
project(infer CXX)
set(CMAKE_CXX_STANDARD 17)
# -DONNXRUNTIME_ROOT=FOLDER of an ONNX Runtime release: include/ and lib/.
find_path(ONNXRUNTIME_INCLUDE onnxruntime_cxx_api.h HINTS ${ONNXRUNTIME_ROOT}/include REQUIRED)
find_library(ONNXRUNTIME_LIBRARY NAMES onnxruntime libonnxruntime.so.1 HINTS ${ONNXRUNTIME_ROOT}/lib REQUIRED)
add_executable(infer infer.cpp)
target_include_directories(infer PRIVATE ${ONNXRUNTIME_INCLUDE})
target_link_libraries(infer PRIVATE ${ONNXRUNTIME_LIBRARY})
)";

}  // namespace

Result<Notes> WriteFolder(const Exported& exported, OutputTree& tree) {
  TRY_ASSIGN(const fs::path opened, tree.Model(exported.model, "", "model"));
  const std::string file = opened.empty() ? "." : opened.string();
  TRY_ASSIGN(const std::string python, PythonProgram(exported, file));
  TRY_ASSIGN(const std::string inputs, CppInputs(exported));
  TRY(tree.Text("infer.py", python));
  TRY(tree.Text("infer.cpp", IsOpenvino(exported) ? CppOpenvino(exported, inputs) : CppOnnxruntime(exported, inputs)));
  TRY(tree.Text("CMakeLists.txt", IsOpenvino(exported) ? kOpenvinoCmake : kOnnxruntimeCmake));
  return Notes{
      fmt::format("`python3 infer.py [INPUTS.npz [OUTPUTS.npz]]` runs it; so does `cmake -B build && cmake --build "
                  "build && build/infer {}`",
                  file)};
}

}  // namespace hone::exporters
