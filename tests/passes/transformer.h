// A small encoder as PyTorch exports it: several heads, free batch and sequence, shapes computed at run time.
#pragma once

#include "tests/quantization/pass_fixture.h"

namespace hone::test {

struct EncoderOptions {
  bool free_shapes = true;  // Else batch 2 and 8 tokens, with constant shapes.
  bool mask = true;
  float mask_value = -10000;
  float divisor = 2;  // Of the scores; 2 is the root of the head size 4.
  int layers = 2;
};

// ids[batch, tokens] (int64), mask[batch, tokens] (int64) -> hidden[batch, tokens, 16]; 4 heads.
inline ModelBuilder Encoder(const EncoderOptions& options = {}) {
  constexpr int64_t kWidth = 16;
  ModelBuilder b(17, 11);
  const std::vector<int64_t> tokens = options.free_shapes ? std::vector<int64_t>{-1, -1} : std::vector<int64_t>{2, 8};
  b.Input("ids", tokens, onnx::TensorProto::INT64);
  if (options.mask) b.Input("mask", tokens, onnx::TensorProto::INT64);
  b.Output("hidden", {tokens[0], tokens[1], kWidth});
  for (auto* values : {b.graph()->mutable_input(), b.graph()->mutable_output()}) {
    for (auto& value : *values) {
      if (!options.free_shapes) continue;
      value.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_param("batch");
      value.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_param("tokens");
    }
  }
  b.Weight("table", {50, kWidth}, 1.0F);
  b.Constant("one", {}, {1}).Constant("closed", {}, {options.mask_value}).Constant("divisor", {}, {options.divisor});
  b.ConstantInt64("mask_axes", {1, 2}).ConstantInt64("first", {0}).ConstantInt64("second", {1});
  b.ConstantInt64("heads", {4}).ConstantInt64("head_size", {4}).ConstantInt64("width", {kWidth});
  b.ConstantInt64("split_shape", {2, 8, 4, 4}).ConstantInt64("joined_shape", {2, 8, kWidth});
  b.Node("Gather", {"table", "ids"}, {"x0"});
  if (options.mask) {
    b.Node("Unsqueeze", {"mask", "mask_axes"}, {"mask4"});
    SetIntAttribute(*b.Node("Cast", {"mask4"}, {"mask_float"}), "to", onnx::TensorProto::FLOAT);
    b.Node("Sub", {"one", "mask_float"}, {"mask_open"});
    b.Node("Mul", {"mask_open", "closed"}, {"penalty"});
  }
  // [value's batch, value's tokens, tail...]
  const auto shape = [&](const std::string& value, const std::vector<std::string>& tail, const std::string& name) {
    b.Node("Shape", {value}, {name + "_of"});
    SetIntAttribute(*b.Node("Gather", {name + "_of", "first"}, {name + "_0"}), "axis", 0);
    SetIntAttribute(*b.Node("Gather", {name + "_of", "second"}, {name + "_1"}), "axis", 0);
    std::vector<std::string> parts = {name + "_0", name + "_1"};
    parts.insert(parts.end(), tail.begin(), tail.end());
    SetIntAttribute(*b.Node("Concat", parts, {name}), "axis", 0);
  };
  const auto dense = [&](const std::string& from, int64_t in, int64_t out, const std::string& name) {
    b.Weight(name + "_w", {in, out}, 1.0F / std::sqrt(static_cast<float>(in))).Weight(name + "_b", {out}, 0.1F);
    b.Node("MatMul", {from, name + "_w"}, {name + "_m"});
    b.Node("Add", {name + "_b", name + "_m"}, {name});
  };
  const auto norm = [&](const std::string& left, const std::string& right, const std::string& name) {
    b.Weight(name + "_g", {kWidth}, 1.0F).Weight(name + "_h", {kWidth}, 0.2F);
    b.Node("Add", {left, right}, {name + "_sum"});
    SetIntAttribute(*b.Node("LayerNormalization", {name + "_sum", name + "_g", name + "_h"}, {name}), "axis", -1);
  };
  std::string x = "x0";
  for (int i = 0; i < options.layers; ++i) {
    const std::string layer = "layer." + std::to_string(i) + "/";
    for (const std::string part : {"q", "k", "v"}) {
      dense(x, kWidth, kWidth, layer + part);
      if (options.free_shapes) shape(layer + part, {"heads", "head_size"}, layer + part + "_shape");
      b.Node("Reshape", {layer + part, options.free_shapes ? layer + part + "_shape" : "split_shape"},
             {layer + part + "4"});
      auto* turn = b.Node("Transpose", {layer + part + "4"}, {layer + part + "t"});
      ModelBuilder::Ints(turn, "perm",
                         part == "k" ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 2, 1, 3});
    }
    b.Node("MatMul", {layer + "qt", layer + "kt"}, {layer + "raw"});
    b.Node("Div", {layer + "raw", "divisor"}, {layer + "scores"});
    if (options.mask) b.Node("Add", {layer + "scores", "penalty"}, {layer + "masked"});
    b.Node("Softmax", {options.mask ? layer + "masked" : layer + "scores"}, {layer + "soft"});
    b.Node("MatMul", {layer + "soft", layer + "vt"}, {layer + "mixed"});
    ModelBuilder::Ints(b.Node("Transpose", {layer + "mixed"}, {layer + "turned"}), "perm", {0, 2, 1, 3});
    if (options.free_shapes) shape(layer + "turned", {"width"}, layer + "joined_shape");
    b.Node("Reshape", {layer + "turned", options.free_shapes ? layer + "joined_shape" : "joined_shape"},
           {layer + "context"});
    dense(layer + "context", kWidth, kWidth, layer + "out");
    norm(layer + "out", x, layer + "attention_norm");
    dense(layer + "attention_norm", kWidth, 32, layer + "up");
    b.Node("Relu", {layer + "up"}, {layer + "active"});
    dense(layer + "active", 32, kWidth, layer + "down");
    norm(layer + "down", layer + "attention_norm", i + 1 == options.layers ? "hidden" : layer + "norm");
    x = layer + "norm";
  }
  return b;
}

// Samples of 8 tokens; every second one has its last three masked.
inline void WriteEncoderData(const fs::path& path, int64_t samples, bool mask = true, int64_t rows = 1) {
  std::mt19937 random(5);
  std::vector<int64_t> ids;
  std::vector<int64_t> open;
  for (int64_t i = 0; i < samples * rows * 8; ++i) {
    ids.push_back(static_cast<int64_t>(random() % 50));
    open.push_back((i / 8) % 2 == 1 && i % 8 >= 5 ? 0 : 1);
  }
  std::map<std::string, Array> arrays;
  const std::vector<int64_t> dims =
      rows == 1 ? std::vector<int64_t>{samples, 8} : std::vector<int64_t>{samples, rows, 8};
  arrays["ids"] = Int64Array(dims, ids);
  if (mask) arrays["mask"] = Int64Array(dims, open);
  WriteNpz(path, arrays);
}

inline double CosineOf(const std::vector<float>& a, const std::vector<float>& b) {
  kernels::ErrorStats stats;
  kernels::AddErrors(a.data(), b.data(), a.size(), stats);
  return stats.Cosine();
}

}  // namespace hone::test
