// Before: X -> MatMul, Add, Reshape, Transpose (three times) -> MatMul, Div, Add(mask), Softmax, MatMul -> Transpose,
// Reshape -> Y After:  X -> Attention(X, [Wq|Wk|Wv], [bq|bk|bv], mask) -> Y
//
// Before: a -> Add(bias) -> Add(b) -> LayerNormalization -> y
// After:  SkipLayerNormalization(a, b, gamma, beta, bias) -> y
//
// ONNX Runtime fuses Gelu, BiasGelu and LayerNormalization by itself at every load; it leaves these two in what
// exporters write. The first is off by default: on MiniLM, 64 tokens, one core, it costs a tenth in float and a fifth
// in int8 (ONNX Runtime 1.31), because the projections become one product a head; longer inputs and more cores may
// decide otherwise. The operators are com.microsoft's; OpenVINO reads them too. This pass comes before passes that
// quantize.
#include "worker/passes/fuse_transformer.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "worker/passes/attention_pattern.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

constexpr const char* kDomain = "com.microsoft";

void SetFloatAttribute(onnx::NodeProto& node, const char* name, float value) {
  auto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::FLOAT);
  attribute->set_f(value);
}

class TransformerFuser {
 public:
  explicit TransformerFuser(QuantizationGraph& graph) : graph_(graph), leading_(graph) {
    for (const auto& value : graph.graph().value_info()) declared_.insert(value.name());
  }

  Result<> Attentions() {
    for (int n = 0; n < graph_.NodeCount(); ++n) {
      for (const auto& output : graph_.Node(n).output()) {
        if (!output.empty()) leading_.Of(output);
      }
      if (graph_.Node(n).op_type() != "Softmax" || !IsStandard(graph_.Node(n))) continue;
      if (const auto found = MatchAttention(graph_, n, leading_)) {
        TRY(Write(*found));
        ++attentions_;
      }
    }
    return {};
  }

  void SkipNormalizations() {
    for (int n = 0; n < graph_.NodeCount(); ++n) {
      if (graph_.Node(n).op_type() == "LayerNormalization" && IsStandard(graph_.Node(n))) FuseSkip(n);
    }
  }

  int attentions() const { return attentions_; }
  int skips() const { return skips_; }

 private:
  // Columns of the three projections side by side; a scale that the operator would not apply by itself goes into Q.
  Result<> Write(const AttentionPattern& found) {
    const float usual = 1 / std::sqrt(static_cast<float>(found.head_size));
    const bool scaled = std::fabs(found.scale - usual) > 1e-6F * usual;
    const float factor = scaled ? found.scale / usual : 1;
    TRY_ASSIGN(const std::string weights, Packed(found, factor));
    TRY_ASSIGN(const std::string biases, PackedBias(found, factor));
    onnx::NodeProto& last = graph_.Node(found.last);
    const std::string name = last.name();
    // The node that gave Y gives it under a name that nothing reads, and goes with what only it needed.
    last.set_output(0, graph_.FreshName(found.output + "_unfused"));
    const std::string mask = found.mask.empty() ? "" : Mask(found.mask);
    onnx::NodeProto* node =
        graph_.AddNode("Attention", name.empty() ? found.output + "_attention" : name + "_attention",
                       {found.input, weights, biases}, {found.output}, kDomain);
    if (!mask.empty()) node->add_input(mask);
    Declare(found.output);
    SetIntAttribute(*node, "num_heads", found.heads);
    if (!mask.empty()) SetFloatAttribute(*node, "mask_filter_value", found.mask_value);
    return {};
  }

  Result<std::string> Packed(const AttentionPattern& found, float factor) {
    const int64_t columns = found.heads * found.head_size;
    int64_t rows = 0;
    std::vector<float> packed;
    for (int part = 0; part < 3; ++part) {
      TRY_ASSIGN(const Tensor weight, ReadTensor(*graph_.FloatWeight(found.weights[part])));
      rows = weight.dims[0];
      if (packed.empty()) packed.resize(static_cast<size_t>(rows * columns * 3));
      for (int64_t row = 0; row < rows; ++row) {
        float* to = packed.data() + (row * 3 + part) * columns;
        std::memcpy(to, weight.data<float>() + row * columns, static_cast<size_t>(columns) * sizeof(float));
        if (part == 0 && factor != 1) {
          for (int64_t i = 0; i < columns; ++i) to[i] *= factor;
        }
      }
    }
    return graph_.AddConstant(found.weights[0] + "_qkv", onnx::TensorProto::FLOAT, {rows, columns * 3}, packed);
  }

  Result<std::string> PackedBias(const AttentionPattern& found, float factor) {
    const int64_t columns = found.heads * found.head_size;
    std::vector<float> packed(static_cast<size_t>(columns * 3), 0.0F);
    for (int part = 0; part < 3; ++part) {
      if (found.biases[part].empty()) continue;
      TRY_ASSIGN(const Tensor bias, ReadTensor(*graph_.FloatWeight(found.biases[part])));
      for (int64_t i = 0; i < columns; ++i)
        packed[static_cast<size_t>(part * columns + i)] = bias.data<float>()[i] * (part == 0 ? factor : 1);
    }
    const std::string wish = found.biases[0].empty() ? found.weights[0] + "_qkv_bias" : found.biases[0] + "_qkv";
    return graph_.AddConstant(wish, onnx::TensorProto::FLOAT, {columns * 3}, packed);
  }

  // The mask as int32, once for all layers.
  std::string Mask(const std::string& mask) {
    if (graph_.TypeOf(mask) == onnx::TensorProto::INT32) return mask;
    std::string& name = masks_[mask];
    if (!name.empty()) return name;
    name = graph_.FreshName(mask + "_int32");
    SetIntAttribute(*graph_.AddNode("Cast", name, {mask}, {name}), "to", onnx::TensorProto::INT32);
    return name;
  }

  // ONNX's shape inference does not know the new operators; what it knew of their results is written down.
  void Declare(const std::string& value) {
    const auto shape = graph_.ShapeOf(value);
    if (!shape || graph_.index().IsGraphOutput(value) || !declared_.insert(value).second) return;
    onnx::ValueInfoProto& info = *graph_.graph().add_value_info();
    info.set_name(value);
    auto* type = info.mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const int64_t dim : *shape) {
      auto* added = type->mutable_shape()->add_dim();
      if (dim >= 0) added->set_dim_value(dim);
    }
  }

  bool IsVector(const std::string& name, int64_t size) const {
    const auto* tensor = graph_.FloatWeight(name);
    return tensor != nullptr && tensor->dims_size() == 1 && (size < 0 || tensor->dims(0) == size);
  }

  const onnx::NodeProto* Producer(const std::string& value, const char* op) const {
    const int n = graph_.index().Producer(value);
    if (n < 0 || n >= graph_.NodeCount() || !IsStandard(graph_.Node(n)) || graph_.Node(n).op_type() != op)
      return nullptr;
    return &graph_.Node(n);
  }

  bool ReadOnce(const std::string& value) const {
    return graph_.index().Consumers(value).size() == 1 && !graph_.index().IsGraphOutput(value);
  }

  // Rank 2 or 3 with this last dimension.
  bool IsHidden(const std::string& value, int64_t width) const {
    const auto shape = graph_.ShapeOf(value);
    return shape && (shape->size() == 2 || shape->size() == 3) && shape->back() == width;
  }

  void FuseSkip(int n) {
    onnx::NodeProto& norm = graph_.Node(n);
    const auto* sum = Producer(norm.input(0), "Add");
    if (sum == nullptr || norm.input_size() < 3 || !IsVector(norm.input(1), -1) || !graph_.IsFloat(norm.input(0)))
      return;
    const int64_t width = graph_.FloatWeight(norm.input(1))->dims(0);
    const int64_t axis = IntAttribute(norm, "axis", -1);
    const auto shape = graph_.ShapeOf(norm.input(0));
    if (!shape || !IsVector(norm.input(2), width) || (axis != -1 && axis != static_cast<int64_t>(shape->size()) - 1))
      return;
    const bool statistics_read =
        norm.output_size() > 1 && (!norm.output(1).empty() || (norm.output_size() > 2 && !norm.output(2).empty()));
    if (statistics_read || IntAttribute(norm, "stash_type", 1) != 1) return;
    std::string input = sum->input(0);
    std::string skip = sum->input(1);
    if (graph_.AnyWeight(input) != nullptr || graph_.AnyWeight(skip) != nullptr) return;
    if (!IsHidden(input, width) || !IsHidden(skip, width) ||
        graph_.ShapeOf(input)->size() != graph_.ShapeOf(skip)->size())
      return;
    if (leading_.Of(input) != leading_.Of(skip)) return;
    std::string bias;
    if (!TakeBias(input, width, bias)) {
      if (TakeBias(skip, width, bias)) std::swap(input, skip);
    }
    const std::string total = norm.input(0);
    const auto* epsilon = FindAttribute(norm, "epsilon");
    const float small = epsilon != nullptr ? epsilon->f() : 1e-5F;
    const bool total_read = !ReadOnce(total);
    const std::vector<std::string> inputs = {input, skip, norm.input(1), norm.input(2)};
    const std::string output = norm.output(0);
    const std::string name = norm.name();
    norm.Clear();
    norm.set_op_type("SkipLayerNormalization");
    norm.set_domain(kDomain);
    norm.set_name(name);
    for (const auto& value : inputs) norm.add_input(value);
    if (!bias.empty()) norm.add_input(bias);
    norm.add_output(output);
    SetFloatAttribute(norm, "epsilon", small);
    Declare(output);
    if (total_read) {
      norm.add_output("");
      norm.add_output("");
      norm.add_output(total);
      onnx::NodeProto& old = graph_.Node(graph_.index().Producer(total));
      old.set_output(0, graph_.FreshName(total + "_unfused"));
    }
    ++skips_;
  }

  // Where `value` is a bias added to something that nothing else reads, both come apart.
  bool TakeBias(std::string& value, int64_t width, std::string& bias) const {
    const auto* add = Producer(value, "Add");
    if (add == nullptr || !ReadOnce(value)) return false;
    for (int side = 0; side < 2; ++side) {
      if (!IsVector(add->input(side), width) || !IsHidden(add->input(1 - side), width)) continue;
      bias = add->input(side);
      value = add->input(1 - side);
      return true;
    }
    return false;
  }

  QuantizationGraph& graph_;
  LeadingDims leading_;
  std::map<std::string, std::string> masks_;
  std::set<std::string> declared_;
  int attentions_ = 0;
  int skips_ = 0;
};

}  // namespace

proto::PassInfo FuseTransformerInfo() {
  proto::PassInfo info;
  info.set_name("fuse_transformer");
  info.set_version(1);
  info.set_summary(
      "Fuses attention and residual normalization into single operators; run it before passes that quantize");
  info.add_accepts("onnx");
  *info.add_parameters() = BoolParameter("attention", false,
                                         "Also fuse self-attention into Attention: fewer nodes, but its kernel in ONNX "
                                         "Runtime multiplies head by head, which "
                                         "a small encoder on few cores runs slower.");
  *info.add_parameters() =
      BoolParameter("skip_layer_norm", true, "Fuse residual additions into SkipLayerNormalization.");
  return info;
}

Result<> FuseTransformer(onnx::ModelProto& model, PassContext& context) {
  QuantizationGraph graph(model);
  TransformerFuser fuser(graph);
  if (context.Bool("attention")) TRY(fuser.Attentions());
  if (context.Bool("skip_layer_norm")) fuser.SkipNormalizations();
  if (fuser.attentions() + fuser.skips() > 0 && OpsetVersion(model, kDomain) < 1) SetOpset(model, kDomain, 1);
  context.notes.push_back(
      fmt::format("{} Attention and {} SkipLayerNormalization fused", fuser.attentions(), fuser.skips()));
  return {};
}

}  // namespace hone
