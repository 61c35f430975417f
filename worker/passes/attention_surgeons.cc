// PackedAttentionToLoopMHA
//   Before: Y = custom.PackedAttention(Q, K, V, starts)      Q, K, V [batch, heads, length, size]
//   After:  Q, K, V turned to [batch, length, heads * size]; a Loop over the sequences [starts[i], starts[i + 1]):
//           a slice of each -> com.microsoft.MultiHeadAttention -> appended; Y [batch, length, heads, size]
// ShareEmbeddingLmHead
//   Before: E = GatherBlockQuantized(T8, ids, ...), L = MatMulNBits(h, B4, ...)
//   After:  E = GatherBlockQuantized(T8, ids, ...), L = MatMulNBits(h, Reshape(T8), ...): a row of the table is a
//           column of the product, in the same blocks
#include "worker/passes/attention_surgeons.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/base/strings.h"
#include "kernels/pack.h"
#include "worker/model/model.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

constexpr const char* kContrib = "com.microsoft";
constexpr const char* kCustom = "custom";

bool IsCustom(const onnx::OperatorSetIdProto& opset) { return opset.domain() == kCustom; }

void SetInts(onnx::NodeProto& node, const char* name, std::initializer_list<int64_t> values) {
  auto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute->add_ints(value);
}

// --- packed attention ---

// The subgraph of the loop; what it reads from outside are names of the graph around it.
class Body {
 public:
  Body(onnx::GraphProto& graph, QuantizationGraph& outer, const std::string& base)
      : graph_(graph), outer_(outer), base_(base) {}

  std::string Name(const std::string& wish) { return outer_.FreshName(base_ + "_" + wish); }
  onnx::NodeProto& Add(const std::string& type, const std::vector<std::string>& inputs, const std::string& output) {
    onnx::NodeProto& node = *graph_.add_node();
    node.set_op_type(type);
    node.set_name(Name(output + "_node"));
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    return node;
  }
  std::string Then(const std::string& type, const std::vector<std::string>& inputs, const std::string& wish) {
    const std::string output = Name(wish);
    Add(type, inputs, output);
    return output;
  }
  static void Port(onnx::ValueInfoProto& port, const std::string& name, ElementType type, int rank) {
    port.set_name(name);
    port.mutable_type()->mutable_tensor_type()->set_elem_type(type);
    auto& shape = *port.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (int i = 0; i < rank; ++i) shape.add_dim();
  }

 private:
  onnx::GraphProto& graph_;
  QuantizationGraph& outer_;
  const std::string base_;
};

struct Packed {
  std::string q, k, v;  // [batch, length, heads * size]
  std::string starts;   // int64
  std::string first, one;
  ElementType type;
};

// One sequence a round, appended to what the rounds before gave.
void FillBody(onnx::GraphProto& graph, QuantizationGraph& outer, const onnx::NodeProto& old, const Packed& packed) {
  const std::string base = old.output(0);
  Body body(graph, outer, base);
  graph.set_name(body.Name("sequence"));
  const std::string round = body.Name("round"), goes_on = body.Name("goes_on"), before = body.Name("before");
  Body::Port(*graph.add_input(), round, onnx::TensorProto::INT64, 0);
  Body::Port(*graph.add_input(), goes_on, onnx::TensorProto::BOOL, 0);
  Body::Port(*graph.add_input(), before, packed.type, 3);
  const std::string index = body.Then("Reshape", {round, packed.one}, "index");
  const std::string next = body.Then("Add", {index, packed.one}, "next");
  const std::string start = body.Then("Gather", {packed.starts, index}, "start");
  const std::string end = body.Then("Gather", {packed.starts, next}, "end");
  std::vector<std::string> slices;
  for (const std::string& whole : {packed.q, packed.k, packed.v})
    slices.push_back(body.Then("Slice", {whole, start, end, packed.one}, "slice"));
  const std::string attended = body.Name("attended");
  onnx::NodeProto& attention = body.Add("MultiHeadAttention", slices, attended);
  attention.set_domain(kContrib);
  SetIntAttribute(attention, "num_heads", IntAttribute(old, "num_heads", 1));
  if (const auto* scale = FindAttribute(old, "scale")) *attention.add_attribute() = *scale;
  const std::string after = body.Name("after"), still = body.Name("still");
  SetIntAttribute(body.Add("Concat", {before, attended}, after), "axis", 1);
  body.Add("Identity", {goes_on}, still);
  Body::Port(*graph.add_output(), still, onnx::TensorProto::BOOL, 0);
  Body::Port(*graph.add_output(), after, packed.type, 3);
}

void UnpackAttention(QuantizationGraph& graph, int index) {
  const onnx::NodeProto old = graph.Node(index);
  const std::string base = old.output(0);
  const auto integers = [&](const char* wish, const std::vector<int64_t>& values, bool scalar = false) {
    const auto dims = scalar ? std::vector<int64_t>{} : std::vector<int64_t>{static_cast<int64_t>(values.size())};
    return graph.AddConstant(base + wish, onnx::TensorProto::INT64, dims, values);
  };
  const auto add = [&](const std::string& type, const std::vector<std::string>& inputs, const char* wish) {
    const std::string output = graph.FreshName(base + wish);
    return graph.AddNode(type, output + "_node", inputs, {output});
  };
  Packed packed;
  packed.type = graph.TypeOf(old.input(0)) != 0 ? graph.TypeOf(old.input(0)) : onnx::TensorProto::FLOAT;
  packed.one = integers("_one", {1});
  const std::string joined = integers("_joined", {0, 0, -1});
  std::string* const slots[] = {&packed.q, &packed.k, &packed.v};
  std::string turned_query;
  for (int i = 0; i < 3; ++i) {
    onnx::NodeProto* turned = add("Transpose", {old.input(i)}, "_turned");
    SetInts(*turned, "perm", {0, 2, 1, 3});
    const std::string output = turned->output(0);
    if (i == 0) turned_query = output;
    *slots[i] = add("Reshape", {output, joined}, "_rows")->output(0);
  }
  onnx::NodeProto* starts = add("Cast", {old.input(3)}, "_starts");
  SetIntAttribute(*starts, "to", onnx::TensorProto::INT64);
  packed.starts = starts->output(0);
  const std::string shape = add("Shape", {turned_query}, "_shape")->output(0);
  const std::string size = add("Size", {packed.starts}, "_size")->output(0);
  const std::string count = add("Sub", {size, integers("_last", {1}, true)}, "_count")->output(0);
  const std::string zero = integers("_zero", {0});
  const std::string nothing = add("Slice", {packed.v, zero, zero, packed.one}, "_nothing")->output(0);
  const std::string all = graph.FreshName(base + "_all");
  onnx::NodeProto* loop = graph.AddNode("Loop", base + "_loop", {count, "", nothing}, {all});
  auto* body = loop->add_attribute();
  body->set_name("body");
  body->set_type(onnx::AttributeProto::GRAPH);
  FillBody(*body->mutable_g(), graph, old, packed);
  onnx::NodeProto& node = graph.Node(index);
  node.Clear();
  node.set_op_type("Reshape");
  node.set_name(old.name());
  node.add_input(all);
  node.add_input(shape);
  node.add_output(base);
}

// --- the shared table ---

// 8-bit codes in blocks along rows, as GatherBlockQuantized and MatMulNBits both keep them.
struct Table {
  size_t rows = 0, width = 0, block = 0;
  int bits = 8;
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;

  float Value(size_t row, size_t i) const {
    const size_t blocks = width / block, at = row * blocks + i / block;
    return (static_cast<float>(codes[row * width + i]) - static_cast<float>(zeros[at])) * scales[at];
  }
  float Step(size_t row, size_t i) const { return std::fabs(scales[row * (width / block) + i / block]); }
};

// Codes of one tensor, one a byte; empty where it is not constant or has another size.
std::vector<uint8_t> CodesOf(const QuantizationGraph& graph, const std::string& name, int bits, size_t count) {
  const onnx::TensorProto* tensor = graph.AnyWeight(name);
  if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::UINT8) return {};
  const Result<TensorView> view = ViewTensor(*tensor);
  if (!view || view->bytes().size() != kernels::PackedBytes(count, bits)) return {};
  std::vector<uint8_t> codes(count);
  kernels::UnpackCodes(reinterpret_cast<const uint8_t*>(view->bytes().data()), count, bits, codes.data());
  return codes;
}

bool ReadTable(const QuantizationGraph& graph, const std::string& codes, const std::string& scales,
               const std::string& zeros, Table& table) {
  const size_t blocks = table.rows * (table.width / table.block);
  table.codes = CodesOf(graph, codes, table.bits, table.rows * table.width);
  const onnx::TensorProto* tensor = graph.FloatWeight(scales);
  const Result<Tensor> read =
      tensor == nullptr ? Result<Tensor>(Fail(ErrorCode::kRejected, "")) : ReadTensor(*tensor);
  if (!read || table.codes.empty()) return false;
  table.scales = ToFloats(*read);
  table.zeros = zeros.empty() ? std::vector<uint8_t>(blocks, static_cast<uint8_t>(1 << (table.bits - 1)))
                              : CodesOf(graph, zeros, table.bits, blocks);
  return table.scales.size() == blocks && table.zeros.size() == blocks;
}

bool ReadEmbedding(const QuantizationGraph& graph, const onnx::NodeProto& node, Table& table) {
  if (node.op_type() != "GatherBlockQuantized" || IntAttribute(node, "bits", 4) != 8 ||
      IntAttribute(node, "gather_axis", 0) != 0 || IntAttribute(node, "quantize_axis", 1) != 1)
    return false;
  const auto shape = graph.ShapeOf(node.input(0));
  const int64_t block = IntAttribute(node, "block_size", 128);
  if (!shape || shape->size() != 2 || block < 1 || (*shape)[0] < 1 || (*shape)[1] < 1 || (*shape)[1] % block != 0)
    return false;
  table.rows = static_cast<size_t>((*shape)[0]);
  table.width = static_cast<size_t>((*shape)[1]);
  table.block = static_cast<size_t>(block);
  return ReadTable(graph, node.input(0), InputOf(node, 2), InputOf(node, 3), table);
}

bool ReadProduct(const QuantizationGraph& graph, const onnx::NodeProto& node, Table& table) {
  const int64_t rows = IntAttribute(node, "N", 0), width = IntAttribute(node, "K", 0);
  const int64_t block = IntAttribute(node, "block_size", 0), bits = IntAttribute(node, "bits", 4);
  const bool sound = rows > 0 && width > 0 && block > 0 && rows < (1 << 30) && width < (1 << 30);
  if (node.op_type() != "MatMulNBits" || !sound || width % block != 0 || (bits != 4 && bits != 8)) return false;
  // Zero points of an odd number of 4-bit blocks have unused bits between rows.
  if (bits == 4 && !InputOf(node, 3).empty() && width / block % 2 != 0) return false;
  if (!InputOf(node, 4).empty() || !InputOf(node, 5).empty()) return false;
  table.rows = static_cast<size_t>(rows);
  table.width = static_cast<size_t>(width);
  table.block = static_cast<size_t>(block);
  table.bits = static_cast<int>(bits);
  return ReadTable(graph, InputOf(node, 1), InputOf(node, 2), InputOf(node, 3), table);
}

// Roundings of one number lie within half a step of it, within a whole one where a grid ends.
bool StandForTheSame(const Table& a, const Table& b) {
  for (size_t row = 0; row < a.rows; ++row) {
    for (size_t i = 0; i < a.width; ++i) {
      const float apart = std::fabs(a.Value(row, i) - b.Value(row, i));
      if (!(apart <= 1.01F * (a.Step(row, i) + b.Step(row, i)))) return false;
    }
  }
  return true;
}

}  // namespace

Result<int> LoopPackedAttention(onnx::ModelProto& model) {
  QuantizationGraph graph(model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto& node = graph.Node(i);
    if (node.op_type() != "PackedAttention" || node.domain() != kCustom || node.input_size() != 4) continue;
    if (OpsetVersion(model) < 13)
      return Fail(ErrorCode::kRejected, "PackedAttentionToLoopMHA needs opset 13", "put convert_opset before it");
    UnpackAttention(graph, i);
    ++changed;
  }
  if (changed == 0) return 0;
  if (OpsetVersion(model, kContrib) == 0) SetOpset(model, kContrib, 1);
  const auto& nodes = model.graph().node();
  const bool used = std::any_of(nodes.begin(), nodes.end(), [](const auto& node) { return node.domain() == kCustom; });
  auto& opsets = *model.mutable_opset_import();
  if (!used) opsets.erase(std::remove_if(opsets.begin(), opsets.end(), IsCustom), opsets.end());
  return changed;
}

Result<int> ShareEmbedding(onnx::ModelProto& model, std::vector<std::string>& notes) {
  QuantizationGraph graph(model);
  int changed = 0;
  for (int e = 0; e < graph.NodeCount(); ++e) {
    const onnx::NodeProto embedding = graph.Node(e);
    Table table;
    if (!ReadEmbedding(graph, embedding, table)) continue;
    for (int p = 0; p < graph.NodeCount(); ++p) {
      const onnx::NodeProto product = graph.Node(p);
      Table own;
      if (!ReadProduct(graph, product, own) || own.rows != table.rows || own.width != table.width) continue;
      if (!StandForTheSame(table, own)) {
        notes.push_back(Printable(fmt::format("{} has other weights than {}", NodeText(product), NodeText(embedding))));
        continue;
      }
      const std::vector<int64_t> dims = {static_cast<int64_t>(table.rows),
                                         static_cast<int64_t>(table.width / table.block),
                                         static_cast<int64_t>(table.block)};
      const std::string base = embedding.input(0);
      const std::string shape = graph.AddConstant(base + "_blocks", onnx::TensorProto::INT64, {3}, dims);
      const std::string codes = graph.FreshName(base + "_shared");
      graph.AddNode("Reshape", codes + "_node", {base, shape}, {codes});
      onnx::NodeProto& node = graph.Node(p);
      node.clear_input();
      for (const std::string& input : {product.input(0), codes, embedding.input(2)}) node.add_input(input);
      if (!InputOf(embedding, 3).empty()) node.add_input(embedding.input(3));
      SetIntAttribute(node, "bits", 8);
      SetIntAttribute(node, "block_size", static_cast<int64_t>(table.block));
      ++changed;
    }
  }
  return changed;
}

}  // namespace hone
