// Before: x(f32) -> Conv(W f32) -> TopK -> y(f32)
// After:  x(f32) -> Cast -> Conv(W f16) -> Cast -> TopK -> y(f32)
//
// Every float value has up to two versions, one of each width. A node is either converted, and then wants and makes
// float16 wherever its schema's type variable allows float16 (so the scales of Resize, which are float32 by definition,
// stay), or kept, and then lives in float32. One walk decides the nodes, one collects which versions of each value are
// wanted, one writes the graph: initializers and constants are stored in the wanted width; where a value is wanted in a
// width in which it is not made, one Cast stands right behind its producer and serves all its users.
//
// Kept in float32: operators that need the range or the precision (the list below, what the user adds, and those whose
// activations leave float16's range: half_range.h), operators without a float16 form, of other domains, with subgraphs,
// or whose types cannot be told; and whatever touches quantized data, for runtimes recognise quantization by its exact
// neighbourhood. Weights are clamped as float16's range demands: finite values to +-65504, values that would vanish to
// the smallest subnormal; infinities stay.
#include "worker/passes/fp16.h"

#include <fmt/format.h>
#include <onnx/defs/schema.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_set>

#include "common/base/strings.h"
#include "kernels/half.h"
#include "worker/model/model.h"
#include "worker/passes/half_range.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

constexpr ElementType kFloat = onnx::TensorProto::FLOAT;
constexpr ElementType kHalf = onnx::TensorProto::FLOAT16;

using OpTypes = std::unordered_set<std::string>;

const OpTypes& KeptOps() {
  static const OpTypes kOps = {
      // No float16 form in the runtimes, or results that float16 ruins: long sums, wide ranges, comparisons near ties.
      "CumSum", "Max", "MeanVarianceNormalization", "Min", "NonMaxSuppression", "OneHot", "Range", "RoiAlign", "TopK",
      "Upsample",
      // The type of the output comes from an attribute.
      "BitCast", "Bernoulli", "BlackmanWindow", "EyeLike", "HammingWindow", "HannWindow", "MelWeightMatrix",
      "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "SequenceEmpty"};
  return kOps;
}

// What makes or takes quantized data.
const OpTypes& QuantizedOps() {
  static const OpTypes kOps = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger",
                               "ConvInteger",    "QLinearConv",      "QLinearMatMul"};
  return kOps;
}

// Their integer results are scaled back to float by Cast and Mul, which belong to the quantized form.
const OpTypes& IntegerOps() {
  static const OpTypes kOps = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"};
  return kOps;
}

// Float operators of com.microsoft whose outputs all have the type of their first input; onnx cannot infer them.
const OpTypes& FloatContribOps() {
  static const OpTypes kOps = {"Attention",
                               "BiasGelu",
                               "FastGelu",
                               "FusedConv",
                               "FusedGemm",
                               "FusedMatMul",
                               "Gelu",
                               "GroupQueryAttention",
                               "MatMulNBits",
                               "MultiHeadAttention",
                               "QuickGelu",
                               "RotaryEmbedding",
                               "SimplifiedLayerNormalization",
                               "SkipLayerNormalization",
                               "SkipSimplifiedLayerNormalization"};
  return kOps;
}

// ONNX Runtime scatters float16 only where elements are replaced, not where they are reduced.
bool ReducesScattered(const onnx::NodeProto& node) {
  const auto* reduction = FindAttribute(node, "reduction");
  return node.op_type().starts_with("Scatter") && reduction != nullptr && reduction->s() != "none";
}

enum class Kind { unknown, other, floating };

// Element types of the values of the main graph, as far as they can be told.
class TypeMap {
 public:
  // Takes what shape inference wrote into the graph.
  explicit TypeMap(const onnx::GraphProto& graph) {
    for (const auto* values : {&graph.input(), &graph.output(), &graph.value_info()}) {
      for (const auto& value : *values) Declare(value);
    }
    for (const auto& tensor : graph.initializer())
      kinds_[tensor.name()] = tensor.data_type() == kFloat ? Kind::floating : Kind::other;
    // A sparse tensor cannot be cast.
    for (const auto& tensor : graph.sparse_initializer()) kinds_[tensor.values().name()] = Kind::unknown;
    for (const auto& node : graph.node()) InferContrib(node);
  }

  Kind Of(const std::string& name) const {
    const auto found = kinds_.find(name);
    return found == kinds_.end() ? Kind::unknown : found->second;
  }

 private:
  void Declare(const onnx::ValueInfoProto& value) {
    if (!value.type().has_tensor_type() || value.type().tensor_type().elem_type() == onnx::TensorProto::UNDEFINED)
      return;
    kinds_[value.name()] = value.type().tensor_type().elem_type() == kFloat ? Kind::floating : Kind::other;
  }

  void InferContrib(const onnx::NodeProto& node) {
    if (IsStandard(node) || node.input().empty() || !FloatContribOps().contains(node.op_type())) return;
    const Kind kind = Of(node.input(0));
    for (const auto& output : node.output()) kinds_.try_emplace(output, kind);
  }

  std::unordered_map<std::string, Kind> kinds_;
};

// What a place of a node has to do with widths.
enum class Width { none, half, single, either };

struct NodePlan {
  bool converted = false;
  std::vector<Width> inputs;
  std::vector<Width> outputs;  // either: made in whichever widths are wanted.
};

bool AllowsHalf(const onnx::OpSchema::FormalParameter& parameter) {
  const auto& types = parameter.GetTypes();
  return std::any_of(types.begin(), types.end(), [](const std::string* type) { return *type == "tensor(float16)"; });
}

const onnx::OpSchema::FormalParameter* Formal(const std::vector<onnx::OpSchema::FormalParameter>& formals, int index) {
  if (formals.empty()) return nullptr;
  if (index < static_cast<int>(formals.size())) return &formals[static_cast<size_t>(index)];
  return formals.back().GetOption() == onnx::OpSchema::Variadic ? &formals.back() : nullptr;
}

struct Options {
  bool keep_io_types = true;
  OpTypes kept_ops;
  OpTypes kept_nodes;
  std::map<int, std::string> beyond;  // Node index -> why float16 has not its range.
};

class Planner {
 public:
  Planner(const onnx::ModelProto& model, const TypeMap& types, const Options& options)
      : graph_(model.graph()),
        index_(model.graph()),
        types_(types),
        options_(options),
        opset_(static_cast<int>(OpsetVersion(model))) {
    FindQuantizedNeighbours();
  }

  NodePlan Plan(int n) const {
    const auto& node = graph_.node(n);
    if (node.op_type() == "Cast" && IsStandard(node) && !touches_quantized_[static_cast<size_t>(n)] &&
        !options_.beyond.contains(n))
      return PlanCast(node);
    const onnx::OpSchema* schema = MayConvert(n) ? onnx::OpSchemaRegistry::Schema(node.op_type(), opset_, "") : nullptr;
    NodePlan plan;
    plan.converted = schema != nullptr;
    const bool measures = node.op_type() == "Shape" || node.op_type() == "Size";
    for (int i = 0; i < node.input_size(); ++i) {
      const Width wanted =
          measures ? Width::either : WidthOf(schema != nullptr ? Formal(schema->inputs(), i) : nullptr);
      plan.inputs.push_back(IsFloat(node.input(i)) ? wanted : Width::none);
    }
    for (int i = 0; i < node.output_size(); ++i) {
      plan.outputs.push_back(
          IsFloat(node.output(i)) ? WidthOf(schema != nullptr ? Formal(schema->outputs(), i) : nullptr) : Width::none);
    }
    return plan;
  }

 private:
  bool IsFloat(const std::string& name) const { return !name.empty() && types_.Of(name) == Kind::floating; }

  static Width WidthOf(const onnx::OpSchema::FormalParameter* formal) {
    return formal != nullptr && AllowsHalf(*formal) ? Width::half : Width::single;
  }

  // A cast to float can give either width from its source directly, so nothing is rounded twice.
  NodePlan PlanCast(const onnx::NodeProto& node) const {
    NodePlan plan;
    plan.converted = true;
    plan.inputs.push_back(IsFloat(node.input(0)) ? Width::either : Width::none);
    plan.outputs.push_back(IsFloat(node.output(0)) ? Width::either : Width::none);
    return plan;
  }

  bool MayConvert(int n) const {
    const auto& node = graph_.node(n);
    if (!IsStandard(node) || KeptOps().contains(node.op_type()) || QuantizedOps().contains(node.op_type()))
      return false;
    if (options_.kept_ops.contains(node.op_type()) || options_.kept_nodes.contains(node.name())) return false;
    if (touches_quantized_[static_cast<size_t>(n)] || ReducesScattered(node) || options_.beyond.contains(n))
      return false;
    const bool has_graph = std::any_of(node.attribute().begin(), node.attribute().end(),
                                       [](const auto& a) { return a.has_g() || a.graphs_size() > 0; });
    if (has_graph) return false;
    const auto known = [&](const std::string& name) { return name.empty() || types_.Of(name) != Kind::unknown; };
    return std::all_of(node.input().begin(), node.input().end(), known) &&
           std::all_of(node.output().begin(), node.output().end(), known);
  }

  void FindQuantizedNeighbours() {
    touches_quantized_.assign(static_cast<size_t>(graph_.node_size()), false);
    for (int n = 0; n < graph_.node_size(); ++n) {
      if (!QuantizedOps().contains(graph_.node(n).op_type())) continue;
      MarkNeighbours(graph_.node(n));
      if (IntegerOps().contains(graph_.node(n).op_type())) MarkScaling(n);
    }
  }

  void MarkNeighbours(const onnx::NodeProto& node) {
    for (const auto& input : node.input()) {
      const int producer = index_.Producer(input);
      if (producer >= 0) touches_quantized_[static_cast<size_t>(producer)] = true;
    }
    for (const auto& output : node.output()) {
      for (const Use& use : index_.Consumers(output)) touches_quantized_[static_cast<size_t>(use.node)] = true;
    }
  }

  // Cast and Mul behind an integer product.
  void MarkScaling(int start) {
    std::vector<int> open = {start};
    while (!open.empty()) {
      const int n = open.back();
      open.pop_back();
      for (const auto& output : graph_.node(n).output()) {
        for (const Use& use : index_.Consumers(output)) {
          const std::string& op = graph_.node(use.node).op_type();
          if ((op != "Cast" && op != "Mul") || !scaling_.insert(use.node).second) continue;
          touches_quantized_[static_cast<size_t>(use.node)] = true;
          open.push_back(use.node);
        }
      }
    }
  }

  const onnx::GraphProto& graph_;
  GraphIndex index_;
  const TypeMap& types_;
  const Options& options_;
  int opset_;
  std::vector<bool> touches_quantized_;
  std::set<int> scaling_;
};

struct Counts {
  int converted = 0;
  std::map<std::string, int> kept;
  size_t clamped = 0;
};

class Converter {
 public:
  Converter(onnx::ModelProto& model, const Options& options)
      : model_(model),
        graph_(*model.mutable_graph()),
        options_(options),
        types_(model.graph()),
        names_(model.graph()) {}

  Counts Run() {
    PlanNodes();
    CollectWants();
    NameVersions();
    WriteInitializers();
    WriteNodes();
    WriteDeclarations();
    return std::move(counts_);
  }

 private:
  struct Versions {
    Width origin = Width::either;  // The width in which it is made.
    bool want_half = false;
    bool want_single = false;
    bool want_either = false;
    std::string half;
    std::string single;
  };

  bool IsFloat(const std::string& name) const { return !name.empty() && types_.Of(name) == Kind::floating; }

  void PlanNodes() {
    const Planner planner(model_, types_, options_);
    for (int n = 0; n < graph_.node_size(); ++n) {
      plans_.push_back(planner.Plan(n));
      const auto& node = graph_.node(n);
      // A constant is stored in whichever width is wanted, like an initializer.
      if (IsFloatConstant(node)) plans_.back().outputs[0] = Width::either;
      const auto& plan = plans_.back();
      if (Has(plan, Width::half)) {
        ++counts_.converted;
      } else if (Has(plan, Width::single)) {
        ++counts_.kept[node.op_type()];
      }
      for (int i = 0; i < node.output_size(); ++i) {
        if (IsFloat(node.output(i))) values_[node.output(i)].origin = plan.outputs[static_cast<size_t>(i)];
      }
    }
  }

  static bool Has(const NodePlan& plan, Width width) {
    return std::count(plan.inputs.begin(), plan.inputs.end(), width) +
               std::count(plan.outputs.begin(), plan.outputs.end(), width) >
           0;
  }

  bool IsFloatConstant(const onnx::NodeProto& node) const {
    return node.op_type() == "Constant" && IsStandard(node) && node.output_size() == 1 && IsFloat(node.output(0)) &&
           !FindAttribute(node, "sparse_value");
  }

  void Want(const std::string& name, Width width) {
    if (!IsFloat(name)) return;
    Versions& value = values_[name];
    if (width == Width::half) value.want_half = true;
    if (width == Width::single) value.want_single = true;
    if (width == Width::either) value.want_either = true;
  }

  void CollectWants() {
    const Width outside = options_.keep_io_types ? Width::single : Width::half;
    for (const auto* input : RealInputs(graph_)) {
      if (IsFloat(input->name())) values_[input->name()].origin = outside;
    }
    for (int n = 0; n < graph_.node_size(); ++n) {
      const auto& node = graph_.node(n);
      for (int i = 0; i < node.input_size(); ++i)
        Want(node.input(i), plans_[static_cast<size_t>(n)].inputs[static_cast<size_t>(i)]);
      for (const auto& name : CapturedNames(node)) Want(name, Width::single);
    }
    for (const auto& output : graph_.output()) Want(output.name(), outside);
    for (auto& [name, value] : values_) Settle(value);
  }

  // A value that nothing wants in particular stays in the width in which it is made.
  static void Settle(Versions& value) {
    if (value.want_half || value.want_single) return;
    value.want_single = value.origin == Width::single;
    value.want_half = !value.want_single;
  }

  // Inputs and outputs of the graph keep their names; elsewhere the width that is made has the old name.
  void NameVersions() {
    const Width outside = options_.keep_io_types ? Width::single : Width::half;
    std::unordered_set<std::string> declared;
    for (const auto& output : graph_.output()) declared.insert(output.name());
    for (const auto* input : RealInputs(graph_)) declared.insert(input->name());
    for (auto& [name, value] : values_) {
      const bool single_named = declared.contains(name) ? outside == Width::single
                                                        : value.origin == Width::single ||
                                                              (value.origin == Width::either && value.want_single);
      value.half = single_named ? names_.FreshName(name + "_fp16") : name;
      value.single = single_named ? name : names_.FreshName(name + "_fp32");
    }
  }

  onnx::TensorProto ToHalf(const onnx::TensorProto& tensor, const std::string& name) {
    const Result<Tensor> value = ReadTensor(tensor);
    CHECK_THAT(value.has_value());  // Sizes were checked when the model was loaded.
    const auto count = static_cast<size_t>(value->Elements());
    std::vector<uint16_t> halves(count);
    kernels::FloatToHalf(value->data<float>(), count, kernels::Clamp::yes, halves.data());
    for (size_t i = 0; i < count; ++i) {
      const float magnitude = std::fabs(value->data<float>()[i]);
      if (std::isfinite(magnitude) && magnitude > kernels::kLargestHalf) ++counts_.clamped;
    }
    onnx::TensorProto half = MakeTensor(name, kHalf, value->dims, halves);
    half.set_doc_string(tensor.doc_string());
    return half;
  }

  void WriteInitializers() {
    const int count = graph_.initializer_size();
    for (int i = 0; i < count; ++i) {
      const auto found = values_.find(graph_.initializer(i).name());
      if (graph_.initializer(i).data_type() != kFloat || found == values_.end()) continue;
      const Versions& value = found->second;
      if (value.want_half && !value.want_single) {
        onnx::TensorProto half = ToHalf(graph_.initializer(i), value.half);
        *graph_.mutable_initializer(i) = std::move(half);
      } else if (value.want_half) {
        onnx::TensorProto half = ToHalf(graph_.initializer(i), value.half);
        *graph_.add_initializer() = std::move(half);
      }
      if (value.want_single) graph_.mutable_initializer(i)->set_name(value.single);
    }
  }

  void AddCast(const std::string& from, const std::string& to, ElementType type) {
    onnx::NodeProto& cast = *nodes_.Add();
    cast.set_op_type("Cast");
    cast.set_name(names_.FreshName(to + "_cast"));
    cast.add_input(from);
    cast.add_output(to);
    SetIntAttribute(cast, "to", type);
  }

  // The width that is wanted and not made.
  void AddMissingVersion(const Versions& value) {
    if (value.origin == Width::single && value.want_half) AddCast(value.single, value.half, kHalf);
    if (value.origin == Width::half && value.want_single) AddCast(value.half, value.single, kFloat);
  }

  void WriteNodes() {
    for (const auto* input : RealInputs(graph_)) {
      const auto value = values_.find(input->name());
      if (value != values_.end()) AddMissingVersion(value->second);
    }
    for (int n = 0; n < graph_.node_size(); ++n) {
      onnx::NodeProto& node = *graph_.mutable_node(n);
      const NodePlan& plan = plans_[static_cast<size_t>(n)];
      if (plan.outputs.size() == 1 && plan.outputs[0] == Width::either) {
        IsFloatConstant(node) ? WriteConstant(node) : WriteCast(node, plan);
        continue;
      }
      WriteNode(node, plan);
    }
    graph_.mutable_node()->Swap(&nodes_);
  }

  const std::string& InputName(const std::string& name, Width width) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return name;
    const Versions& value = found->second;
    const bool half =
        width == Width::half || (width == Width::either && (value.origin == Width::half || !value.want_single));
    return half ? value.half : value.single;
  }

  void WriteNode(onnx::NodeProto& node, const NodePlan& plan) {
    for (int i = 0; i < node.input_size(); ++i) {
      const Width width = plan.inputs[static_cast<size_t>(i)];
      if (width != Width::none) node.set_input(i, std::string(InputName(node.input(i), width)));
    }
    std::unordered_map<std::string, std::string> captured;
    for (const auto& name : CapturedNames(node)) captured[name] = InputName(name, Width::single);
    RenameCaptured(node, captured);
    if (plan.converted && node.op_type() == "ConstantOfShape") ConvertFill(node);
    std::vector<const Versions*> made;
    for (int i = 0; i < node.output_size(); ++i) {
      const Width width = plan.outputs[static_cast<size_t>(i)];
      const auto value = values_.find(node.output(i));
      if (width == Width::none || value == values_.end()) continue;
      node.set_output(i, width == Width::half ? value->second.half : value->second.single);
      made.push_back(&value->second);
    }
    nodes_.Add()->Swap(&node);
    for (const Versions* value : made) AddMissingVersion(*value);
  }

  // Without a value it fills with float32 zeros.
  void ConvertFill(onnx::NodeProto& node) {
    auto* attribute = const_cast<onnx::AttributeProto*>(FindAttribute(node, "value"));
    if (attribute != nullptr && attribute->t().data_type() != kFloat) return;
    onnx::TensorProto fill =
        attribute != nullptr ? attribute->t() : MakeTensor("", kFloat, {1}, std::vector<float>{0.0F});
    if (attribute == nullptr) attribute = node.add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto::TENSOR);
    *attribute->mutable_t() = ToHalf(fill, fill.name());
  }

  static onnx::TensorProto ConstantValue(const onnx::NodeProto& node) {
    if (const auto* value = FindAttribute(node, "value")) return value->t();
    if (const auto* value = FindAttribute(node, "value_float"))
      return MakeTensor("", kFloat, {}, std::vector<float>{value->f()});
    const auto* value = FindAttribute(node, "value_floats");
    CHECK_THAT(value != nullptr);
    return MakeTensor("", kFloat, {value->floats_size()},
                      std::vector<float>(value->floats().begin(), value->floats().end()));
  }

  void WriteConstant(onnx::NodeProto& node) {
    const Versions& value = values_[node.output(0)];
    if (value.want_half) {
      onnx::NodeProto& half = *nodes_.Add();
      half.set_op_type("Constant");
      half.set_name(value.want_single ? names_.FreshName(node.name() + "_fp16") : node.name());
      half.add_output(value.half);
      auto* attribute = half.add_attribute();
      attribute->set_name("value");
      attribute->set_type(onnx::AttributeProto::TENSOR);
      const onnx::TensorProto tensor = ConstantValue(node);
      *attribute->mutable_t() = ToHalf(tensor, tensor.name());
    }
    if (!value.want_single) return;
    node.set_output(0, value.single);
    nodes_.Add()->Swap(&node);
  }

  void WriteCast(onnx::NodeProto& node, const NodePlan& plan) {
    if (plan.inputs[0] != Width::none) node.set_input(0, std::string(InputName(node.input(0), plan.inputs[0])));
    const Versions& value = values_[node.output(0)];
    if (value.want_half) {
      onnx::NodeProto& half = *nodes_.Add();
      half = node;
      if (value.want_single) half.set_name(names_.FreshName(node.name() + "_fp16"));
      half.set_output(0, value.half);
      SetIntAttribute(half, "to", kHalf);
    }
    if (!value.want_single) return;
    node.set_output(0, value.single);
    nodes_.Add()->Swap(&node);
  }

  // Declared types of what is now float16. Entries of values that got other names are dropped with the values by
  // RemoveUnused.
  void WriteDeclarations() {
    const auto convert = [&](onnx::ValueInfoProto& declared) {
      const auto value = values_.find(declared.name());
      if (value == values_.end() || value->second.half != declared.name() || !declared.type().has_tensor_type()) return;
      if (declared.type().tensor_type().elem_type() == kFloat)
        declared.mutable_type()->mutable_tensor_type()->set_elem_type(kHalf);
    };
    for (auto& declared : *graph_.mutable_value_info()) convert(declared);
    for (auto& declared : *graph_.mutable_input()) convert(declared);
    for (auto& declared : *graph_.mutable_output()) convert(declared);
  }

  onnx::ModelProto& model_;
  onnx::GraphProto& graph_;
  const Options& options_;
  TypeMap types_;
  GraphIndex names_;
  std::vector<NodePlan> plans_;
  std::map<std::string, Versions> values_;  // Ordered, so that fresh names do not depend on hashing.
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes_;
  Counts counts_;
};

OpTypes ParseList(const std::string& text) {
  OpTypes words;
  for (const auto& word : Split(text, ',')) {
    if (!Trim(word).empty()) words.emplace(Trim(word));
  }
  return words;
}

Result<> CheckNodeNames(const onnx::GraphProto& graph, const OpTypes& names) {
  std::vector<std::string> known;
  for (const auto& node : graph.node()) known.push_back(node.name());
  for (const auto& name : std::set<std::string>(names.begin(), names.end())) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Fail(ErrorCode::kRejected,
                fmt::format("keep_nodes: the model has no node '{}'{}", Printable(name, 200), DidYouMean(name, known)));
  }
  return {};
}

std::string KeptText(const std::map<std::string, int>& kept) {
  std::vector<std::string> words;
  for (const auto& [op, count] : kept) words.push_back(fmt::format("{} {}", count, op));
  return Join(words, ", ");
}

void TellOfBeyond(const std::map<int, std::string>& beyond, PassContext& context) {
  std::map<std::string, int> reasons;
  for (const auto& [node, reason] : beyond) ++reasons[reason];
  for (const auto& [reason, nodes] : reasons)
    context.notes.push_back(fmt::format("{} nodes kept in float32: {}", nodes, reason));
}

}  // namespace

proto::PassInfo Fp16Info() {
  proto::PassInfo info;
  info.set_name("fp16");
  info.set_version(2);
  info.set_takes_calibration(true);
  info.set_summary("Converts weights and arithmetic to float16, except where float16 has not the range or no operator");
  *info.add_parameters() =
      BoolParameter("keep_io_types", true, "Inputs and outputs stay float32; otherwise they become float16.");
  *info.add_parameters() =
      TextParameter("keep_ops", "", {}, "More operator types to keep in float32, separated by commas.");
  *info.add_parameters() =
      TextParameter("keep_nodes", "", {}, "Names of nodes to keep in float32, separated by commas.");
  *info.add_parameters() =
      TextParameter("overflow", "keep", {"keep", "ignore"},
                    "keep leaves nodes in float32 that calibration data (else: rules) show to leave "
                    "float16's range.");
  *info.add_parameters() =
      RealParameter("headroom", 2, 1, 1024, "How often the largest activation seen must fit into float16's range.");
  info.add_accepts("onnx");
  info.add_precisions("fp16");
  return info;
}

Result<> ConvertToFp16(onnx::ModelProto& model, PassContext& context) {
  Options options = {
      context.Bool("keep_io_types"), ParseList(context.Text("keep_ops")), ParseList(context.Text("keep_nodes")), {}};
  TRY(CheckNodeNames(model.graph(), options.kept_nodes));
  TRY(SortNodes(*model.mutable_graph()));
  InferShapes(model);
  // Before version 4 every initializer must be declared as an input, which those that are added here are not.
  model.set_ir_version(std::max<int64_t>(model.ir_version(), 4));
  if (context.Text("overflow") == "keep") {
    TRY_ASSIGN(options.beyond, NodesBeyondHalf(model, context.Real("headroom"), context));
    TellOfBeyond(options.beyond, context);
  }
  const Counts counts = Converter(model, options).Run();
  context.changes_types = !options.keep_io_types;
  context.notes.push_back(fmt::format("{} nodes in float16", counts.converted));
  if (!counts.kept.empty()) context.notes.push_back("kept in float32: " + KeptText(counts.kept));
  if (counts.clamped > 0)
    context.notes.push_back(
        fmt::format("{} weights beyond the range of float16 were clamped to +-65504", counts.clamped));
  return {};
}

}  // namespace hone
