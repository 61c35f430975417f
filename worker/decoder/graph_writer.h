// An ONNX graph that is made from nothing: nodes in the order in which they are added, constants once each, weights in
// external data.
#pragma once

#include <onnx/onnx_pb.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "worker/decoder/data_file.h"
#include "worker/model/tensor.h"

namespace hone {

class GraphWriter {
 public:
  // data: where weights go; nullptr makes nothing of them (a plan).
  GraphWriter(DataFile* data, ElementType floats) : data_(data), floats_(floats) {}

  // float32 or float16: of constants, inputs and outputs.
  ElementType floats() const { return floats_; }
  bool is_plan() const { return data_ == nullptr; }

  onnx::NodeProto& Node(const std::string& type, const std::string& name, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const std::string& domain = "");
  // A node with one output, "<name>/output_0", which is returned.
  std::string Simple(const std::string& type, const std::string& name, const std::vector<std::string>& inputs);

  // The node that was added last.
  onnx::NodeProto& Last() { return *graph_.mutable_node(graph_.node_size() - 1); }

  // Names of constants.
  std::string Ints(const std::vector<int64_t>& values);
  std::string Int(int64_t value);       // Of rank 0.
  std::string Number(double value);     // Of rank 0, of the type floats().
  std::string Float(double value);      // Of rank 0, float32.

  // A weight in three steps: its bytes follow by Put, all of them.
  Result<Extent> Begin(const std::string& name, ElementType type, const std::vector<int64_t>& dims);
  Result<> Put(std::string_view bytes);
  Result<Extent> Add(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                     std::string_view bytes);
  // Floats in the type floats().
  Result<> PutFloats(const std::vector<float>& values);
  template <class T>
  Result<Extent> Add(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                     const std::vector<T>& values) {
    return Add(name, type, dims,
               std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
  }
  // Floats, kept in the type floats().
  Result<Extent> AddFloats(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& values);
  // Another weight in the bytes of one that was added.
  void Share(const std::string& name, ElementType type, const std::vector<int64_t>& dims, Extent extent);

  // What shape inference cannot tell of a value: outputs of ONNX Runtime's own operators. Of the type floats().
  void Tell(const std::string& name, const std::vector<std::string>& dims);
  void Input(const std::string& name, ElementType type, const std::vector<std::string>& dims);
  void Output(const std::string& name, ElementType type, const std::vector<std::string>& dims);

  // The model: constants first. Used once, at the end.
  onnx::ModelProto Finish(const std::string& graph_name, int64_t opset, bool contrib);

 private:
  std::string Constant(const std::string& name, onnx::TensorProto tensor);

  DataFile* data_;
  ElementType floats_;
  onnx::GraphProto graph_;
  std::vector<onnx::NodeProto> constants_;
  std::set<std::string> known_constants_;
};

// A tensor that lies in the graph itself; type: float32 or float16.
onnx::TensorProto FloatTensor(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                              const std::vector<float>& values);

void SetFloatAttribute(onnx::NodeProto& node, const std::string& name, double value);
void SetIntsAttribute(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values);
void SetTextAttribute(onnx::NodeProto& node, const std::string& name, const std::string& value);

}  // namespace hone
