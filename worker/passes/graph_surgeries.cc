// Before: surgeries=ReciprocalMulToDiv+RenameInputs:x>image   Reciprocal(b) -> Mul(a, r), input x
// After:                                                      Div(a, b), input image
//
// Each surgeon looks for one pattern and rewrites what it finds; a surgeon that finds nothing changes nothing. They run
// in the order in which they are named, each on a graph that the one before left sorted and without leftovers.
#include "worker/passes/graph_surgeries.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/model/model.h"
#include "worker/passes/attention_surgeons.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

constexpr double kInfiniteMask = -3e30;
constexpr float kFiniteMask = -1e4F;

using Words = std::vector<std::string>;

// What a surgeon is given: the model, the words behind its name, and whether it renamed inputs or outputs.
struct Operation {
  onnx::ModelProto& model;
  const Words& words;
  Words& notes;
  bool changes_ports = false;
};

using SurgeonFunction = Result<int> (*)(Operation& operation);

// The only user of a value that is no output; nullptr where there are others.
onnx::NodeProto* OnlyUser(QuantizationGraph& graph, const std::string& value) {
  const auto& uses = graph.index().Consumers(value);
  if (uses.size() != 1 || uses[0].input < 0 || graph.index().IsGraphOutput(value)) return nullptr;
  return &graph.Node(uses[0].node);
}

// The value of a constant of one element; nullopt where it is none.
std::optional<double> ScalarOf(const QuantizationGraph& graph, const std::string& name) {
  const onnx::TensorProto* tensor = graph.AnyWeight(name);
  if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT) return std::nullopt;
  const auto view = ViewTensor(*tensor);
  if (!view || view->bytes().size() != sizeof(float)) return std::nullopt;
  float value = 0;
  std::copy_n(view->bytes().data(), sizeof value, reinterpret_cast<char*>(&value));
  return value;
}

// --- products ---

Result<int> GemmToMatMulAdd(Operation& operation) {
  QuantizationGraph graph(operation.model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto gemm = graph.Node(i);
    const auto* alpha = FindAttribute(gemm, "alpha");
    const auto* beta = FindAttribute(gemm, "beta");
    const bool scaled = (alpha != nullptr && alpha->f() != 1) || (beta != nullptr && beta->f() != 1);
    if (!IsStandardOp(gemm, "Gemm") || scaled) continue;
    Words operands = {gemm.input(0), gemm.input(1)};
    for (const auto& [key, at] : {std::pair("transA", 0), std::pair("transB", 1)}) {
      if (IntAttribute(gemm, key, 0) == 0) continue;
      const std::string turned = graph.FreshName(operands[static_cast<size_t>(at)] + "_turned");
      auto* transpose = graph.AddNode("Transpose", turned, {operands[static_cast<size_t>(at)]}, {turned});
      auto* perm = transpose->add_attribute();
      perm->set_name("perm");
      perm->set_type(onnx::AttributeProto::INTS);
      perm->add_ints(1);
      perm->add_ints(0);
      operands[static_cast<size_t>(at)] = turned;
    }
    const bool biased = gemm.input_size() > 2 && !gemm.input(2).empty();
    const std::string product = biased ? graph.FreshName(gemm.output(0) + "_product") : gemm.output(0);
    onnx::NodeProto& node = graph.Node(i);
    node.Clear();
    node.set_op_type("MatMul");
    node.set_name(gemm.name());
    for (const std::string& operand : operands) node.add_input(operand);
    node.add_output(product);
    if (biased)
      graph.AddNode("Add", graph.FreshName(gemm.name() + "_bias"), {product, gemm.input(2)}, {gemm.output(0)});
    ++changed;
  }
  return changed;
}

Result<int> MatMulAddToGemm(Operation& operation) {
  QuantizationGraph graph(operation.model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto product = graph.Node(i);
    if (!IsStandardOp(product, "MatMul")) continue;
    const auto a = graph.ShapeOf(product.input(0));
    const auto b = graph.ShapeOf(product.input(1));
    if (!a || !b || a->size() != 2 || b->size() != 2) continue;
    onnx::NodeProto* add = OnlyUser(graph, product.output(0));
    if (add == nullptr || !IsStandardOp(*add, "Add")) continue;
    const std::string bias = add->input(0) == product.output(0) ? add->input(1) : add->input(0);
    const auto shape = graph.ShapeOf(bias);
    // A bias of a row or of one value: what Gemm broadcasts and what cannot make the sum larger.
    if (!shape || shape->size() > 1 || (shape->size() == 1 && (*shape)[0] != 1 && (*shape)[0] != (*b)[1])) continue;
    add->clear_input();
    add->set_op_type("Gemm");
    for (const std::string& input : {product.input(0), product.input(1), bias}) add->add_input(input);
    ++changed;
  }
  return changed;
}

Result<int> ReciprocalMulToDiv(Operation& operation) {
  QuantizationGraph graph(operation.model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto reciprocal = graph.Node(i);
    if (!IsStandardOp(reciprocal, "Reciprocal")) continue;
    onnx::NodeProto* mul = OnlyUser(graph, reciprocal.output(0));
    if (mul == nullptr || !IsStandardOp(*mul, "Mul")) continue;
    const std::string other = mul->input(0) == reciprocal.output(0) ? mul->input(1) : mul->input(0);
    if (other == reciprocal.output(0)) continue;
    mul->set_op_type("Div");
    mul->set_input(0, other);
    mul->set_input(1, reciprocal.input(0));
    ++changed;
  }
  return changed;
}

// x / sqrt(sum(x^2)) along one axis.
Result<int> PowReduceSumPowDiv2LpNorm(Operation& operation) {
  QuantizationGraph graph(operation.model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto square = graph.Node(i);
    if (!IsStandardOp(square, "Pow") || ScalarOf(graph, square.input(1)) != 2.0) continue;
    const onnx::NodeProto* sum = OnlyUser(graph, square.output(0));
    if (sum == nullptr || !IsStandardOp(*sum, "ReduceSum") || IntAttribute(*sum, "keepdims", 1) != 1) continue;
    std::optional<int64_t> axis;
    const auto* axes = FindAttribute(*sum, "axes");
    if (axes != nullptr && axes->ints_size() == 1) axis = axes->ints(0);
    if (axes == nullptr && sum->input_size() > 1 && graph.AnyWeight(sum->input(1)) != nullptr) {
      const auto read = ReadTensor(*graph.AnyWeight(sum->input(1)));
      if (read && read->bytes.size() == sizeof(int64_t)) {
        int64_t value = 0;
        std::copy_n(reinterpret_cast<const char*>(read->bytes.data()), sizeof value, reinterpret_cast<char*>(&value));
        axis = value;
      }
    }
    const onnx::NodeProto* root = OnlyUser(graph, sum->output(0));
    const bool is_root = root != nullptr && (IsStandardOp(*root, "Sqrt") ||
                                             (IsStandardOp(*root, "Pow") && ScalarOf(graph, root->input(1)) == 0.5));
    if (!axis || !is_root) continue;
    onnx::NodeProto* division = OnlyUser(graph, root->output(0));
    if (division == nullptr || !IsStandardOp(*division, "Div") || division->input(0) != square.input(0) ||
        division->input(1) != root->output(0))
      continue;
    const std::string output = division->output(0);
    const std::string name = division->name();
    division->Clear();
    division->set_op_type("LpNormalization");
    division->set_name(name);
    division->add_input(square.input(0));
    division->add_output(output);
    SetIntAttribute(*division, "axis", *axis);
    SetIntAttribute(*division, "p", 2);
    ++changed;
  }
  return changed;
}

// --- masks ---

int ReplaceInTensor(onnx::TensorProto& tensor) {
  if (tensor.data_type() != onnx::TensorProto::FLOAT) return 0;
  const auto read = ReadTensor(tensor);
  if (!read) return 0;
  std::vector<float> values(read->bytes.size() / sizeof(float));
  std::copy_n(reinterpret_cast<const char*>(read->bytes.data()), values.size() * sizeof(float),
              reinterpret_cast<char*>(values.data()));
  int changed = 0;
  for (float& value : values) {
    if (!(value <= kInfiniteMask)) continue;
    value = kFiniteMask;
    ++changed;
  }
  if (changed == 0) return 0;
  const std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  tensor = MakeTensor(tensor.name(), onnx::TensorProto::FLOAT, dims, values);
  return 1;
}

Result<int> ReplaceAttentionMaskValue(Operation& operation) {
  int changed = 0;
  TRY(VisitTensors(operation.model, [&](onnx::TensorProto& tensor) -> Result<> {
    changed += ReplaceInTensor(tensor);
    return {};
  }));
  return changed;
}

// --- equal things ---

Result<int> Deduplicate(Operation& operation) {
  int changed = 0;
  VisitGraphs(*operation.model.mutable_graph(), [&](onnx::GraphProto& graph) { changed += MergeEqual(graph); });
  return changed;
}

// Copies between devices that a converter for another device left.
Result<int> RemoveMemcpy(Operation& operation) {
  onnx::GraphProto& graph = *operation.model.mutable_graph();
  int changed = 0;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    if (node.op_type() != "MemcpyToHost" && node.op_type() != "MemcpyFromHost") continue;
    node.set_op_type("Identity");
    node.clear_domain();
    ++changed;
  }
  if (changed > 0) RemoveIdentities(graph, ValueTypes(graph));
  return changed;
}

// A product with the transposed table of an embedding reads the table itself.
Result<int> TieWordEmbeddings(Operation& operation) {
  QuantizationGraph graph(operation.model);
  int changed = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto product = graph.Node(i);
    const onnx::TensorProto* matrix = IsStandardOp(product, "MatMul") ? graph.FloatWeight(product.input(1)) : nullptr;
    if (matrix == nullptr || matrix->dims_size() != 2) continue;
    for (int k = 0; k < graph.NodeCount(); ++k) {
      const onnx::NodeProto lookup = graph.Node(k);
      const onnx::TensorProto* table = IsStandardOp(lookup, "Gather") ? graph.FloatWeight(lookup.input(0)) : nullptr;
      if (table == nullptr || table->dims_size() != 2 || table->dims(0) != matrix->dims(1) ||
          table->dims(1) != matrix->dims(0))
        continue;
      TRY_ASSIGN(const TensorView a, ViewTensor(*matrix));
      TRY_ASSIGN(const TensorView b, ViewTensor(*table));
      const auto* left = reinterpret_cast<const float*>(a.bytes().data());
      const auto* right = reinterpret_cast<const float*>(b.bytes().data());
      const auto rows = static_cast<size_t>(matrix->dims(0));
      const auto columns = static_cast<size_t>(matrix->dims(1));
      bool equal = true;
      for (size_t n = 0; equal && n < rows * columns; ++n) equal = left[n] == right[n % columns * rows + n / columns];
      if (!equal) continue;
      const std::string turned = graph.FreshName(lookup.input(0) + "_turned");
      auto* transpose = graph.AddNode("Transpose", turned, {lookup.input(0)}, {turned});
      auto* perm = transpose->add_attribute();
      perm->set_name("perm");
      perm->set_type(onnx::AttributeProto::INTS);
      perm->add_ints(1);
      perm->add_ints(0);
      graph.Node(i).set_input(1, turned);
      ++changed;
      break;
    }
  }
  return changed;
}

Result<int> ShareEmbeddingLmHead(Operation& operation) { return ShareEmbedding(operation.model, operation.notes); }

// --- attention ---

Result<int> PackedAttentionToLoopMHA(Operation& operation) { return LoopPackedAttention(operation.model); }

// --- names ---

Result<std::pair<std::string, std::string>> RenamingOf(const std::string& word) {
  const size_t at = word.find('>');
  if (at == std::string::npos || at == 0 || at + 1 == word.size())
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is no renaming", word), "write OLD>NEW");
  return std::pair(word.substr(0, at), word.substr(at + 1));
}

// In the graph and in all that its subgraphs take from it.
void RenameValue(onnx::GraphProto& graph, const std::string& from, const std::string& to) {
  const std::unordered_map<std::string, std::string> names = {{from, to}};
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (std::string& input : *node.mutable_input()) input = input == from ? to : input;
    for (std::string& output : *node.mutable_output()) output = output == from ? to : output;
    RenameCaptured(node, names);
  }
  for (auto* values : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()}) {
    for (auto& value : *values) {
      if (value.name() == from) value.set_name(to);
    }
  }
  for (auto& tensor : *graph.mutable_initializer()) {
    if (tensor.name() == from) tensor.set_name(to);
  }
}

Result<int> RenamePorts(Operation& operation, google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>* ports,
                        const char* what) {
  onnx::GraphProto& graph = *operation.model.mutable_graph();
  for (const std::string& word : operation.words) {
    TRY_ASSIGN(const auto renaming, RenamingOf(word));
    const auto& [from, to] = renaming;
    Words known;
    for (const auto& port : *ports) known.push_back(port.name());
    if (std::find(known.begin(), known.end(), from) == known.end()) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the model has no {} '{}'{}", what, Printable(from, 200), DidYouMean(from, known)));
    }
    GraphIndex index(graph);
    if (index.FreshName(to) != to)
      return Fail(ErrorCode::kRejected, fmt::format("'{}' is the name of another value", Printable(to, 200)));
    RenameValue(graph, from, to);
    operation.changes_ports = true;
  }
  return static_cast<int>(operation.words.size());
}

Result<int> RenameInputs(Operation& operation) {
  return RenamePorts(operation, operation.model.mutable_graph()->mutable_input(), "input");
}
Result<int> RenameOutputs(Operation& operation) {
  return RenamePorts(operation, operation.model.mutable_graph()->mutable_output(), "output");
}

// "0.1>sequence": dimension 1 of port 0 gets that name, and all that had its old name.
Result<int> RenameDims(Operation& operation, google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>* ports) {
  for (const std::string& word : operation.words) {
    TRY_ASSIGN(const auto renaming, RenamingOf(word));
    const Words place = Split(renaming.first, '.');
    const auto port = ParseInteger(place[0]);
    const auto dim = ParseInteger(place.back());
    const bool there = place.size() == 2 && port && dim && *port >= 0 && *port < ports->size() && *dim >= 0 &&
                       *dim < ports->at(static_cast<int>(*port)).type().tensor_type().shape().dim_size();
    if (!there)
      return Fail(ErrorCode::kRejected, fmt::format("there is no dimension '{}'", Printable(renaming.first, 100)),
                  "write PORT.DIMENSION>NAME, both counted from 0");
    auto& target = *ports->at(static_cast<int>(*port))
                        .mutable_type()
                        ->mutable_tensor_type()
                        ->mutable_shape()
                        ->mutable_dim(static_cast<int>(*dim));
    const std::string old = target.dim_param();
    target.set_dim_param(renaming.second);
    if (old.empty()) continue;
    onnx::GraphProto& graph = *operation.model.mutable_graph();
    for (auto* values : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()}) {
      for (auto& value : *values) {
        for (auto& other : *value.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim()) {
          if (other.dim_param() == old) other.set_dim_param(renaming.second);
        }
      }
    }
  }
  return static_cast<int>(operation.words.size());
}

Result<int> RenameInputDims(Operation& operation) {
  return RenameDims(operation, operation.model.mutable_graph()->mutable_input());
}
Result<int> RenameOutputDims(Operation& operation) {
  return RenameDims(operation, operation.model.mutable_graph()->mutable_output());
}

struct SurgeonRow {
  const char* name;
  SurgeonFunction operate;
  bool takes_words;
};
constexpr SurgeonRow kTable[] = {
    {"GemmToMatMulAdd", GemmToMatMulAdd, false},
    {"MatMulAddToGemm", MatMulAddToGemm, false},
    {"ReciprocalMulToDiv", ReciprocalMulToDiv, false},
    {"PowReduceSumPowDiv2LpNorm", PowReduceSumPowDiv2LpNorm, false},
    {"ReplaceAttentionMaskValue", ReplaceAttentionMaskValue, false},
    {"DeduplicateNodes", Deduplicate, false},
    {"DeduplicateSubgraphInitializers", Deduplicate, false},
    {"RemoveMemcpy", RemoveMemcpy, false},
    {"TieWordEmbeddings", TieWordEmbeddings, false},
    {"ShareEmbeddingLmHead", ShareEmbeddingLmHead, false},
    {"PackedAttentionToLoopMHA", PackedAttentionToLoopMHA, false},
    {"RenameInputs", RenameInputs, true},
    {"RenameOutputs", RenameOutputs, true},
    {"RenameInputDims", RenameInputDims, true},
    {"RenameOutputDims", RenameOutputDims, true},
};

Result<const SurgeonRow*> FindSurgeon(const std::string& name) {
  Words known;
  for (const SurgeonRow& row : kTable) {
    known.emplace_back(row.name);
    if (name == row.name) return &row;
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("there is no surgeon '{}'{}", Printable(name, 100), DidYouMean(name, known)),
              "the surgeons: " + Join(known, ", "));
}

}  // namespace

proto::PassInfo GraphSurgeriesInfo() {
  proto::PassInfo info;
  info.set_name("graph_surgeries");
  info.set_version(1);
  info.set_summary("Single rewrites of the graph, by the names that Olive's users know");
  info.add_accepts("onnx");
  *info.add_parameters() = TextParameter("surgeries", "DeduplicateNodes", {},
                                         "Surgeons in their order, joined by '+'; words of one behind ':', as in "
                                         "GemmToMatMulAdd+RenameInputs:x>image:m>mask+RenameInputDims:0.1>sequence.");
  return info;
}

Result<> GraphSurgeries(onnx::ModelProto& model, PassContext& context) {
  for (const std::string& part : Split(context.Text("surgeries"), '+')) {
    Words words = Split(std::string(Trim(part)), ':');
    const std::string name = words.front();
    words.erase(words.begin());
    TRY_ASSIGN(const SurgeonRow* row, FindSurgeon(name));
    if (row->takes_words == words.empty()) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("surgeon '{}' {}", name, row->takes_words ? "needs words behind ':'" : "takes no words"),
                  "`hone passes graph_surgeries` shows an example");
    }
    Operation operation{model, words, context.notes};
    TRY_ASSIGN(const int changed, row->operate(operation));
    TRY(SortNodes(*model.mutable_graph()));
    RemoveUnused(*model.mutable_graph());
    context.changes_ports = context.changes_ports || operation.changes_ports;
    context.notes.push_back(
        fmt::format("{}: {}", name, changed == 0 ? std::string("found nothing") : fmt::format("{} done", changed)));
  }
  return {};
}

}  // namespace hone
