#include "worker/passes/quantization_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/passes/convert_opset.h"
#include "worker/passes/layer_groups.h"

namespace hone {
namespace {

// Regular expressions are matched by recursion over the text; a longer name is cut.
constexpr size_t kMaxNameBytes = 512;
constexpr int64_t kIrWithFreeInitializers = 4;

// Constant nodes with a dense tensor become initializers of the same name.
void LiftWeights(onnx::GraphProto& graph) {
  std::set<std::string> outputs;
  for (const auto& output : graph.output()) outputs.insert(output.name());
  int kept = 0;
  for (int i = 0; i < graph.node_size(); ++i) {
    onnx::NodeProto& node = *graph.mutable_node(i);
    const bool constant =
        node.op_type() == "Constant" && IsStandard(node) && node.attribute_size() == 1 && node.attribute(0).has_t();
    if (constant && node.output_size() == 1 && !outputs.contains(node.output(0))) {
      onnx::TensorProto& tensor = *graph.add_initializer();
      tensor.Swap(node.mutable_attribute(0)->mutable_t());
      tensor.set_name(node.output(0));
      continue;
    }
    if (kept != i) graph.mutable_node()->SwapElements(kept, i);
    ++kept;
  }
  graph.mutable_node()->DeleteSubrange(kept, graph.node_size() - kept);
}

onnx::ModelProto& Prepared(onnx::ModelProto& model) {
  model.set_ir_version(std::max(model.ir_version(), kIrWithFreeInitializers));
  LiftWeights(*model.mutable_graph());
  return model;
}

// Shape inference writes into the model; what it wrote is taken out again, so that a pass changes only what it means
// to.
class InferenceScope {
 public:
  explicit InferenceScope(onnx::ModelProto& model)
      : graph_(*model.mutable_graph()), values_(graph_.value_info()), outputs_(graph_.output()) {
    InferShapes(model);
  }
  ~InferenceScope() {
    graph_.mutable_value_info()->Swap(&values_);
    graph_.mutable_output()->Swap(&outputs_);
  }
  InferenceScope(const InferenceScope&) = delete;
  InferenceScope& operator=(const InferenceScope&) = delete;

 private:
  onnx::GraphProto& graph_;
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> values_;
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> outputs_;
};

std::set<std::string> WordsOf(const std::string& text) {
  std::set<std::string> words;
  for (const auto& word : Split(text, ',')) {
    if (!Trim(word).empty()) words.emplace(Trim(word));
  }
  return words;
}

}  // namespace

QuantizationGraph::QuantizationGraph(onnx::ModelProto& model)
    : model_(Prepared(model)), index_(model_.graph()), node_count_(model_.graph().node_size()) {
  const InferenceScope inferred(model_);
  const onnx::GraphProto& graph = model_.graph();
  for (const auto* values : {&graph.value_info(), &graph.output(), &graph.input()}) {
    for (const auto& value : *values) {
      if (!value.type().has_tensor_type()) continue;
      types_[value.name()] = value.type().tensor_type().elem_type();
      if (const auto dims = DimsOf(value)) shapes_[value.name()] = *dims;
    }
  }
  for (const auto& tensor : graph.initializer()) {
    types_[tensor.name()] = tensor.data_type();
    shapes_[tensor.name()] = {tensor.dims().begin(), tensor.dims().end()};
  }
}

ElementType QuantizationGraph::TypeOf(const std::string& value) const {
  const auto found = types_.find(value);
  return found == types_.end() ? 0 : found->second;
}

std::optional<std::vector<int64_t>> QuantizationGraph::ShapeOf(const std::string& value) const {
  const auto found = shapes_.find(value);
  if (found == shapes_.end()) return std::nullopt;
  return found->second;
}

const onnx::TensorProto* QuantizationGraph::AnyWeight(const std::string& name) const {
  const auto added = added_.find(name);
  return added != added_.end() ? added->second : index_.Initializer(name);
}

const onnx::TensorProto* QuantizationGraph::FloatWeight(const std::string& name) const {
  const onnx::TensorProto* tensor = AnyWeight(name);
  return tensor != nullptr && tensor->data_type() == onnx::TensorProto::FLOAT ? tensor : nullptr;
}

onnx::NodeProto* QuantizationGraph::AddNode(const std::string& type, const std::string& name,
                                            const std::vector<std::string>& inputs,
                                            const std::vector<std::string>& outputs, const std::string& domain) {
  onnx::NodeProto* node = graph().add_node();
  node->set_op_type(type);
  node->set_name(FreshName(name));
  node->set_domain(domain);
  for (const auto& input : inputs) node->add_input(input);
  for (const auto& output : outputs) node->add_output(output);
  return node;
}

void QuantizationGraph::AddInitializer(onnx::TensorProto tensor) {
  onnx::TensorProto* added = graph().add_initializer();
  *added = std::move(tensor);
  added_[added->name()] = added;
  types_[added->name()] = added->data_type();
  shapes_[added->name()] = {added->dims().begin(), added->dims().end()};
}

Result<std::string> QuantizationGraph::Transposed(const std::string& weight) {
  if (const auto found = transposed_.find(weight); found != transposed_.end()) return found->second;
  const onnx::TensorProto* tensor = AnyWeight(weight);
  CHECK_THAT(tensor != nullptr && tensor->dims_size() == 2);
  TRY_ASSIGN(const Tensor values, ReadTensor(*tensor));
  const size_t rows = static_cast<size_t>(values.dims[0]);
  const size_t columns = static_cast<size_t>(values.dims[1]);
  const std::vector<int64_t> dims = {values.dims[1], values.dims[0]};
  const size_t size = ElementBytes(values.type);
  std::vector<std::byte> turned(values.bytes.size());
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column) {
      std::memcpy(turned.data() + (column * rows + row) * size, values.bytes.data() + (row * columns + column) * size,
                  size);
    }
  }
  return transposed_[weight] = AddConstant(weight + "_transposed", values.type, dims, turned);
}

QuantizationGraph::ScaleNames QuantizationGraph::AddScales(const std::string& base, CodeType type,
                                                           const std::vector<ScaleZero>& scales, bool per_channel) {
  std::vector<int64_t> dims;
  if (per_channel) dims.push_back(static_cast<int64_t>(scales.size()));
  std::vector<float> values;
  std::vector<char> zero_points;  // Little-endian; the low bytes of a two's complement are those of any width.
  const size_t width = ElementBytes(CodeElementType(type));
  for (const ScaleZero& entry : scales) {
    values.push_back(entry.scale);
    for (size_t i = 0; i < width; ++i)
      zero_points.push_back(static_cast<char>(static_cast<uint32_t>(entry.zero_point) >> (8 * i)));
  }
  return {AddConstant(base + "_scale", onnx::TensorProto::FLOAT, dims, values),
          AddConstant(base + "_zero_point", CodeElementType(type), dims, zero_points)};
}

namespace {

// First outputs of nodes in the groups of layers that the step leaves in float.
Result<std::set<std::string>> LeftInFloat(const PassContext& context, const onnx::GraphProto& graph,
                                          const std::set<std::string>& types) {
  std::set<std::string> outputs;
  TRY_ASSIGN(const size_t groups, LayerGroupsGiven(context.task->step()));
  if (groups == 0) return outputs;
  TRY_ASSIGN(const std::vector<size_t> group_of, CutIntoLayerGroups(graph, groups, types));
  for (int n = 0; n < graph.node_size(); ++n) {
    const auto& node = graph.node(n);
    const bool stays = context.Text(LayerGroupName(group_of[static_cast<size_t>(n)])) == kLayersInFloat;
    if (stays && node.output_size() > 0) outputs.insert(node.output(0));
  }
  return outputs;
}

}  // namespace

Result<NodeFilter> NodeFilter::Make(const PassContext& context, const onnx::GraphProto& graph,
                                    const std::set<std::string>& types) {
  NodeFilter filter;
  for (const auto& word : WordsOf(context.Text("exclude"))) {
    try {
      filter.excluded_.emplace_back(word);
    } catch (const std::regex_error& error) {
      return Fail(
          ErrorCode::kRejected,
          fmt::format("parameter 'exclude': '{}' is no regular expression: {}", Printable(word, 200), error.what()),
          "Escape the characters .+*?()[]{}|^$\\ of a literal name with a backslash.");
    }
  }
  if (context.Has("op_types")) filter.types_ = WordsOf(context.Text("op_types"));
  std::set<std::string> wanted = types;
  std::erase_if(wanted, [&](const std::string& type) { return !filter.WantedType(type); });
  TRY_ASSIGN(filter.in_float_, LeftInFloat(context, graph, wanted));
  return filter;
}

bool NodeFilter::Wanted(const onnx::NodeProto& node) const {
  if (!WantedType(node.op_type())) return false;
  if (node.output_size() > 0 && in_float_.contains(node.output(0))) return false;
  const std::string name = node.name().substr(0, kMaxNameBytes);
  return std::none_of(excluded_.begin(), excluded_.end(),
                      [&](const std::regex& pattern) { return std::regex_match(name, pattern); });
}

proto::ParameterInfo ExcludeParameter() {
  return TextParameter("exclude", "", {},
                       "Nodes to leave alone: regular expressions for whole node names, separated by commas.");
}

proto::ParameterInfo OpTypesParameter() {
  return TextParameter("op_types", "", {},
                       "Operators to quantize, separated by commas; empty: all that the pass knows.");
}

int QuantizationTally::QuantizedNodes() const {
  int nodes = 0;
  for (const auto& [type, count] : counts_) nodes += count.quantized;
  return nodes;
}

std::vector<std::string> QuantizationTally::Reasons() const {
  std::vector<std::string> reasons;
  for (const auto& [type, count] : counts_) {
    for (const auto& [reason, nodes] : count.left)
      reasons.push_back(fmt::format("{} {} left in float: {}", nodes, type, reason));
  }
  return reasons;
}

void QuantizationTally::Tell(PassContext& context) const {
  for (const auto& [type, count] : counts_) {
    int all = count.quantized;
    for (const auto& [reason, nodes] : count.left) all += nodes;
    context.notes.push_back(fmt::format("{} of {} {} quantized", count.quantized, all, Printable(type, 100)));
  }
  for (auto& reason : Reasons()) context.notes.push_back(Printable(reason, 300));
}

Result<> QuantizationTally::CheckAny(std::string_view wanted) const {
  if (QuantizedNodes() > 0) return {};
  const auto reasons = Reasons();
  return Fail(ErrorCode::kRejected, reasons.empty() ? fmt::format("nothing to quantize: the model has no {}", wanted)
                                                    : "nothing to quantize: " + Printable(Join(reasons, "; "), 1000));
}

std::string InputOf(const onnx::NodeProto& node, int index) {
  return index < node.input_size() ? node.input(index) : std::string();
}

bool IsStandard(const onnx::NodeProto& node) { return node.domain().empty() || node.domain() == "ai.onnx"; }

void TellOfSubgraphs(const onnx::GraphProto& graph, const std::set<std::string>& op_types, PassContext& context) {
  int nodes = 0;
  VisitGraphs(graph, [&](const onnx::GraphProto& inner) {
    if (&inner == &graph) return;
    for (const auto& node : inner.node()) nodes += op_types.contains(node.op_type()) ? 1 : 0;
  });
  if (nodes > 0) context.notes.push_back(fmt::format("{} nodes inside If, Loop or Scan left in float", nodes));
}

Result<> RequireOpset(onnx::ModelProto& model, int64_t version, PassContext& context) {
  if (OpsetVersion(model) >= version) return {};
  const proto::PassInfo info = ConvertOpsetInfo();
  proto::BuildTask task;
  auto* parameter = task.mutable_step()->add_parameters();
  parameter->set_name("version");
  *parameter->mutable_value() = IntValue(version);
  PassContext inner{&info, &task, context.threads, {}};
  if (auto done = ConvertOpset(model, inner); !done)
    return FailWith(fmt::format("opset {} is needed", version), std::move(done.error()));
  context.notes.insert(context.notes.end(), inner.notes.begin(), inner.notes.end());
  return {};
}

const char* WhyNotMatMul(const onnx::NodeProto& gemm) {
  const auto* alpha = FindAttribute(gemm, "alpha");
  const auto* beta = FindAttribute(gemm, "beta");
  const bool has_c = gemm.input_size() > 2 && !gemm.input(2).empty();
  if (alpha != nullptr && alpha->f() != 1.0f) return "alpha is not 1";
  if (has_c && beta != nullptr && beta->f() != 1.0f) return "beta is not 1";
  if (IntAttribute(gemm, "transA", 0) != 0) return "A is transposed";
  return nullptr;
}

Result<> GemmToMatMul(QuantizationGraph& graph, int index) {
  onnx::NodeProto& node = graph.Node(index);
  const onnx::NodeProto gemm = node;
  std::string weight = gemm.input(1);
  if (IntAttribute(gemm, "transB", 0) != 0) {
    TRY_ASSIGN(weight, graph.Transposed(weight));
  }
  const bool has_c = gemm.input_size() > 2 && !gemm.input(2).empty();
  const std::string name = gemm.name().empty() ? gemm.output(0) : gemm.name();
  const std::string product = has_c ? graph.FreshName(gemm.output(0) + "_MatMul") : gemm.output(0);
  if (has_c) graph.AddNode("Add", name + "_Add", {product, gemm.input(2)}, {gemm.output(0)});
  node.Clear();
  node.set_op_type("MatMul");
  node.set_name(graph.FreshName(name + "_MatMul"));
  node.add_input(gemm.input(0));
  node.add_input(weight);
  node.add_output(product);
  return {};
}

void ParallelFor(int threads, size_t count, const std::function<void(size_t)>& work) {
  const size_t workers = std::min(count, static_cast<size_t>(std::max(1, threads)));
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < workers; ++i) helpers.emplace_back(run);
  run();
}

}  // namespace hone
