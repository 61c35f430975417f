// Small ONNX models and data sets, built in code.
#pragma once

#include <onnx/onnx_pb.h>
#include <zip.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace hone::test {

// Writes a graph node by node; values are named by the caller.
class ModelBuilder {
 public:
  explicit ModelBuilder(int opset = 17, uint32_t seed = 1) : random_(seed) {
    model_.set_ir_version(8);
    model_.set_producer_name("tiny");
    auto* import = model_.add_opset_import();
    import->set_domain("");
    import->set_version(opset);
    graph()->set_name("tiny");
  }

  onnx::GraphProto* graph() { return model_.mutable_graph(); }
  onnx::ModelProto& model() { return model_; }

  // A dimension of -1 becomes the symbolic name "<input>_<index>".
  ModelBuilder& Input(const std::string& name, const std::vector<int64_t>& dims, int type = onnx::TensorProto::FLOAT) {
    Value(graph()->add_input(), name, dims, type);
    return *this;
  }
  ModelBuilder& Output(const std::string& name, const std::vector<int64_t>& dims, int type = onnx::TensorProto::FLOAT) {
    Value(graph()->add_output(), name, dims, type);
    return *this;
  }
  // Normal values with standard deviation `spread`.
  ModelBuilder& Weight(const std::string& name, const std::vector<int64_t>& dims, float spread) {
    std::normal_distribution<float> normal(0, spread);
    int64_t count = 1;
    for (int64_t dim : dims) count *= dim;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random_);
    return Constant(name, dims, values);
  }
  ModelBuilder& Constant(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& values) {
    auto* tensor = graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    for (int64_t dim : dims) tensor->add_dims(dim);
    tensor->set_raw_data(values.data(), values.size() * sizeof(float));
    return *this;
  }
  ModelBuilder& ConstantInt64(const std::string& name, const std::vector<int64_t>& values) {
    auto* tensor = graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::INT64);
    tensor->add_dims(static_cast<int64_t>(values.size()));
    tensor->set_raw_data(values.data(), values.size() * sizeof(int64_t));
    return *this;
  }
  onnx::NodeProto* Node(const std::string& type, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs) {
    auto* node = graph()->add_node();
    node->set_op_type(type);
    node->set_name(outputs.front() + "_node");
    for (const auto& input : inputs) node->add_input(input);
    for (const auto& output : outputs) node->add_output(output);
    return node;
  }
  // One branch of an If: a graph of one node that reads from outside.
  struct Branch {
    const char* type;
    std::vector<std::string> inputs;
  };
  void If(const std::string& condition, const std::string& output, const Branch& then_branch,
          const Branch& else_branch) {
    auto* node = Node("If", {condition}, {output});
    for (const auto& [name, branch] :
         {std::pair("then_branch", &then_branch), std::pair("else_branch", &else_branch)}) {
      auto* attribute = node->add_attribute();
      attribute->set_name(name);
      attribute->set_type(onnx::AttributeProto::GRAPH);
      auto* inner = attribute->mutable_g()->add_node();
      attribute->mutable_g()->set_name(name);
      inner->set_op_type(branch->type);
      for (const auto& input : branch->inputs) inner->add_input(input);
      inner->add_output(std::string(name) + "_out");
      auto* result = attribute->mutable_g()->add_output();
      result->set_name(inner->output(0));
      result->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    }
  }
  static void Ints(onnx::NodeProto* node, const std::string& name, const std::vector<int64_t>& values) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INTS);
    for (int64_t value : values) attribute->add_ints(value);
  }
  void Save(const std::filesystem::path& path) const {
    std::ofstream file(path, std::ios::binary);
    if (!model_.SerializeToOstream(&file)) throw std::runtime_error("cannot write " + path.string());
  }

 private:
  static void Value(onnx::ValueInfoProto* value, const std::string& name, const std::vector<int64_t>& dims, int type) {
    value->set_name(name);
    auto* tensor = value->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    tensor->mutable_shape();
    for (size_t i = 0; i < dims.size(); ++i) {
      auto* dim = tensor->mutable_shape()->add_dim();
      if (dims[i] >= 0) dim->set_dim_value(dims[i]);
      else dim->set_dim_param(name + "_" + std::to_string(i));
    }
  }
  onnx::ModelProto model_;
  std::mt19937 random_;
};

// x[batch,width] -> Gemm, Relu, Gemm -> y[batch,classes]. batch -1 is free.
inline ModelBuilder Mlp(int64_t batch = 1, int64_t width = 64, int64_t hidden = 128, int64_t classes = 10,
                        uint32_t seed = 1) {
  ModelBuilder b(17, seed);
  b.Input("x", {batch, width}).Output("y", {batch, classes});
  b.Weight("w1", {width, hidden}, 1.0F / std::sqrt(static_cast<float>(width))).Weight("b1", {hidden}, 0.1F);
  b.Weight("w2", {hidden, classes}, 1.0F / std::sqrt(static_cast<float>(hidden))).Weight("b2", {classes}, 0.1F);
  b.Node("Gemm", {"x", "w1", "b1"}, {"h"});
  b.Node("Relu", {"h"}, {"r"});
  b.Node("Gemm", {"r", "w2", "b2"}, {"y"});
  return b;
}

// image[1,3,size,size] -> Conv Relu, Conv Relu, GlobalAveragePool, Gemm -> scores[1,classes].
inline ModelBuilder ConvNet(int64_t size = 32, int64_t channels = 16, int64_t classes = 10, uint32_t seed = 1) {
  ModelBuilder b(17, seed);
  b.Input("image", {1, 3, size, size}).Output("scores", {1, classes});
  b.Weight("k1", {channels, 3, 3, 3}, 0.27F).Weight("c1", {channels}, 0.1F);
  b.Weight("k2", {2 * channels, channels, 3, 3}, 0.12F).Weight("c2", {2 * channels}, 0.1F);
  b.Weight("w", {2 * channels, classes}, 0.5F).Weight("bias", {classes}, 0.1F);
  ModelBuilder::Ints(b.Node("Conv", {"image", "k1", "c1"}, {"a"}), "pads", {1, 1, 1, 1});
  b.Node("Relu", {"a"}, {"ar"});
  auto* conv = b.Node("Conv", {"ar", "k2", "c2"}, {"d"});
  ModelBuilder::Ints(conv, "pads", {1, 1, 1, 1});
  ModelBuilder::Ints(conv, "strides", {2, 2});
  b.Node("Relu", {"d"}, {"dr"});
  b.Node("GlobalAveragePool", {"dr"}, {"g"});
  b.Node("Flatten", {"g"}, {"f"});
  b.Node("Gemm", {"f", "w", "bias"}, {"scores"});
  return b;
}

struct Array {
  std::string descr;               // "<f4", "<i8" ...
  std::vector<int64_t> shape;
  std::string bytes;
};

inline Array FloatArray(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  return {"<f4", shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))};
}
inline Array NormalArray(const std::vector<int64_t>& shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return FloatArray(shape, values);
}
inline Array Int64Array(const std::vector<int64_t>& shape, const std::vector<int64_t>& values) {
  return {"<i8", shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t))};
}

inline std::string Npy(const Array& array) {
  std::string header = "{'descr': '" + array.descr + "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : array.shape) header += std::to_string(dim) + ",";
  header += "), }";
  while ((header.size() + 11) % 64 != 0) header += ' ';
  header += '\n';
  std::string npy("\x93NUMPY\x01\x00", 8);
  npy += static_cast<char>(header.size() & 0xff);
  npy += static_cast<char>(header.size() >> 8);
  return npy + header + array.bytes;
}

inline void WriteNpz(const std::filesystem::path& path, const std::map<std::string, Array>& arrays) {
  int error = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
  if (zip == nullptr) throw std::runtime_error("cannot create " + path.string());
  std::vector<std::string> kept;
  kept.reserve(arrays.size());
  for (const auto& [name, array] : arrays) {
    kept.push_back(Npy(array));
    zip_source_t* source = zip_source_buffer(zip, kept.back().data(), kept.back().size(), 0);
    if (zip_file_add(zip, (name + ".npy").c_str(), source, ZIP_FL_OVERWRITE) < 0)
      throw std::runtime_error("cannot add " + name);
  }
  if (zip_close(zip) != 0) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace hone::test
