// The placement of layout `onnxruntime` is that of ONNX Runtime 1.31's QDQ quantizer, operator by operator (the table
// at the end), so that its fusions apply. What differs, and why:
// - Constant nodes are weights (quantization_graph.h).
// - Masks stay in float (mask_values.h), and so does an operator whose main input must.
// - A MatMul with a batch of matrices or a constant A has one scale even where per-channel scales are asked for: ORT
//   writes scales along dimension 1, whatever that is, and its kernels then refuse the batch.
// - A Relu or Clip is absorbed only where the codes really saturate where it does: not where all calibration values
//   were zero.
// - A bias whose shape per-channel scales do not fit stays in float (ORT fails), and Gemm's beta is multiplied into the
//   bias (ORT loses it).
// - What a Concat joins has one scale with the whole, as in NNCF; ORT's quantizer gives each part its own, and the
//   codes are rounded twice.
//
// Coverage `products` leaves most of that in float: ORT executes a MatMul that reads codes and gives float values in
// one kernel (MatMulIntegerToFloat), and fuses the float operators around it (SkipLayerNormalization, BiasGelu), which
// pairs would keep apart. Others that read a product's input read it as it was.
//
// Layout `openvino` quantizes what OpenVINO's low-precision transformations execute in integers: activations before
// and weights of Conv, ConvTranspose, Gemm and MatMul with a constant matrix, and (coverage `all`) both sides of an
// Add that joins quantized branches, so that what lies in memory between convolutions is a byte each. Pairs are moved
// up through operators that only move values, so that those run on codes too. Everything else is left to OpenVINO: it
// fuses activations into the convolution in float, biases stay float, and products of two activations keep the form
// that its attention fusion knows.
#include "worker/passes/qdq_plan.h"

#include <map>
#include <unordered_map>

namespace hone {
namespace {

class Planner;
using PlanOperator = void (Planner::*)(int index);

struct OperatorRow {
  const char* op_type;
  PlanOperator plan;
};

const char* const kInputInFloat = "its input stays in float";

class Planner {
 public:
  Planner(const QuantizationGraph& graph, const NodeChoice& choice, const QdqOptions& options, const MaskValues& masks,
          const ObservedRanges* ranges)
      : graph_(graph), choice_(choice), options_(options), masks_(masks), ranges_(ranges) {
    for (int i = 0; i < graph.NodeCount(); ++i) {
      if (graph.Node(i).op_type() != "DequantizeLinear") continue;
      for (const auto& output : graph.Node(i).output()) dequantized_.insert(output);
    }
  }

  QdqPlan Run();

  // One operator each, by the rows of kOnnxruntime and kOpenvino.
  void Convolution(int index);
  void Gemm(int index);
  void MatMul(int index);
  void Normalization(int index);
  void Activation(int index);
  void SameScale(int index);
  void SameScaleFromOpset11(int index);
  void SameScaleFromOpset12(int index);
  void Pad(int index);
  void Split(int index);
  void Gather(int index);
  void Where(int index);
  void EveryTensor(int index);
  void Concat(int index);
  void ProductWithFloatOutput(int index);
  void OpenvinoProduct(int index);
  void OpenvinoSum(int index);

 private:
  const onnx::NodeProto& Node(int index) const { return graph_.Node(index); }
  // Known to be float32, with a range where ranges are known, and no mask.
  bool CanQuantize(const std::string& name) const;
  bool IsQuantized(const std::string& name) const { return positions_.contains(name) || biases_.contains(name); }
  void Add(QdqTensor tensor, bool replace);
  void AddActivation(const std::string& name) { Add({name, false, std::nullopt, "", {}}, false); }
  void AddSameScale(const std::string& name, const std::string& as) { Add({name, false, std::nullopt, as, {}}, true); }
  // For this reader; others may join it.
  void AddForReader(const std::string& name, Use reader);
  // A constant weight, by `axis` where per-channel scales are wanted and the axis exists; else per tensor.
  void AddWeight(const std::string& name, int axis);
  void AddBias(int index, const std::string& weight, float beta);
  void Left(int index, const std::string& reason) { plan_.tally.Left(Node(index), reason); }
  void Done(int index) { plan_.tally.Quantized(Node(index)); }
  // A value that movers alone lead from to an input of a node, and the input that reads it there.
  struct Origin {
    std::string value;
    Use use;
  };
  Origin Root(const std::string& value, Use use) const;
  bool CanAbsorb(const onnx::NodeProto& node) const;
  bool PadsWithZero(const onnx::NodeProto& node) const;
  bool IsDepthwise(const onnx::NodeProto& node) const;

  const QuantizationGraph& graph_;
  const NodeChoice& choice_;
  const QdqOptions& options_;
  const MaskValues& masks_;
  const ObservedRanges* ranges_;
  std::set<std::string> dequantized_;                  // Quantized already, by whoever made the model.
  std::unordered_map<std::string, size_t> positions_;  // In plan_.tensors.
  std::set<std::string> biases_;
  std::set<int> convolutions_;  // Quantized so far.
  QdqPlan plan_;
};

const std::vector<OperatorRow> kOnnxruntime = {
    {"Conv", &Planner::Convolution},
    {"ConvTranspose", &Planner::Convolution},
    {"Gemm", &Planner::Gemm},
    {"MatMul", &Planner::MatMul},
    {"Relu", &Planner::Activation},
    {"Clip", &Planner::Activation},
    {"Reshape", &Planner::SameScale},
    {"Transpose", &Planner::SameScale},
    {"Squeeze", &Planner::SameScale},
    {"Unsqueeze", &Planner::SameScale},
    {"Flatten", &Planner::SameScale},
    {"Slice", &Planner::SameScale},
    {"TopK", &Planner::SameScale},
    {"AveragePool", &Planner::SameScale},
    {"Resize", &Planner::SameScaleFromOpset11},
    {"MaxPool", &Planner::SameScaleFromOpset12},
    {"Pad", &Planner::Pad},
    {"Split", &Planner::Split},
    {"Gather", &Planner::Gather},
    {"GatherElements", &Planner::Gather},
    {"Where", &Planner::Where},
    {"InstanceNormalization", &Planner::Normalization},
    {"LayerNormalization", &Planner::Normalization},
    {"BatchNormalization", &Planner::Normalization},
    {"Add", &Planner::EveryTensor},
    {"Mul", &Planner::EveryTensor},
    {"Concat", &Planner::Concat},
    {"Sigmoid", &Planner::EveryTensor},
    {"LeakyRelu", &Planner::EveryTensor},
    {"Softmax", &Planner::EveryTensor},
    {"GlobalAveragePool", &Planner::EveryTensor},
    {"ArgMax", &Planner::EveryTensor},
    {"CumSum", &Planner::EveryTensor},
};

const std::vector<OperatorRow> kProducts = {
    {"Conv", &Planner::Convolution},
    {"ConvTranspose", &Planner::Convolution},
    {"Gemm", &Planner::ProductWithFloatOutput},
    {"MatMul", &Planner::ProductWithFloatOutput},
    {"Relu", &Planner::Activation},
    {"Clip", &Planner::Activation},
    {"Reshape", &Planner::SameScale},
    {"Transpose", &Planner::SameScale},
    {"Squeeze", &Planner::SameScale},
    {"Unsqueeze", &Planner::SameScale},
    {"Flatten", &Planner::SameScale},
    {"MaxPool", &Planner::SameScaleFromOpset12},
};

const std::vector<OperatorRow> kOpenvino = {
    {"Conv", &Planner::OpenvinoProduct},
    {"ConvTranspose", &Planner::OpenvinoProduct},
    {"Gemm", &Planner::OpenvinoProduct},
    {"MatMul", &Planner::OpenvinoProduct},
    {"Add", &Planner::OpenvinoSum},
};

const std::vector<OperatorRow> kOpenvinoProducts = {kOpenvino.begin(), kOpenvino.end() - 1};

const std::vector<OperatorRow>& RowsOf(const QdqOptions& options) {
  const bool products = options.coverage == QdqCoverage::products;
  if (options.layout == QdqLayout::openvino) return products ? kOpenvinoProducts : kOpenvino;
  return products ? kProducts : kOnnxruntime;
}

bool Planner::CanQuantize(const std::string& name) const {
  if (name.empty() || !graph_.IsFloat(name) || masks_.values.contains(name) || dequantized_.contains(name))
    return false;
  if (graph_.FloatWeight(name) != nullptr || ranges_ == nullptr) return true;
  return ranges_->contains(name);
}

void Planner::Add(QdqTensor tensor, bool replace) {
  if (!CanQuantize(tensor.name)) return;
  const auto [at, added] = positions_.emplace(tensor.name, plan_.tensors.size());
  if (added) {
    plan_.tensors.push_back(std::move(tensor));
  } else if (replace) {
    plan_.tensors[at->second] = std::move(tensor);
  } else if (tensor.readers.empty()) {
    plan_.tensors[at->second].readers.clear();
  }
}

void Planner::AddForReader(const std::string& name, Use reader) {
  if (const auto at = positions_.find(name); at != positions_.end()) {
    auto& readers = plan_.tensors[at->second].readers;
    if (!readers.empty()) readers.push_back(reader);
  } else {
    Add({name, false, std::nullopt, "", {reader}}, false);
  }
}

void Planner::AddWeight(const std::string& name, int axis) {
  const onnx::TensorProto* weight = graph_.FloatWeight(name);
  if (weight == nullptr) {
    AddActivation(name);
  } else if (options_.per_channel && axis >= 0 && axis < weight->dims_size()) {
    Add({name, true, axis, "", {}}, true);
  } else {
    Add({name, true, std::nullopt, "", {}}, false);
  }
}

void Planner::AddBias(int index, const std::string& weight, float beta) {
  const auto& node = Node(index);
  if (node.input_size() < 3 || graph_.FloatWeight(node.input(2)) == nullptr || masks_.values.contains(node.input(2)))
    return;
  plan_.biases.push_back({index, 2, node.input(2), node.input(0), weight, beta});
  biases_.insert(node.input(2));
}

void Planner::Convolution(int index) {
  const auto& node = Node(index);
  if (!CanQuantize(node.input(0)) || !CanQuantize(node.input(1))) return Left(index, kInputInFloat);
  AddActivation(node.input(0));
  AddActivation(node.output(0));
  AddWeight(node.input(1), node.op_type() == "Conv" ? 0 : 1);
  AddBias(index, node.input(1), 1);
  Done(index);
}

void Planner::Gemm(int index) {
  const auto& node = Node(index);
  if (!CanQuantize(node.input(0)) || !CanQuantize(node.input(1))) return Left(index, kInputInFloat);
  AddActivation(node.input(0));
  AddActivation(node.output(0));
  AddWeight(node.input(1), IntAttribute(node, "transB", 0) != 0 ? 0 : 1);
  const auto* beta = FindAttribute(node, "beta");
  AddBias(index, node.input(1), beta == nullptr ? 1.0f : beta->f());
  Done(index);
}

void Planner::MatMul(int index) {
  const auto& node = Node(index);
  if (!CanQuantize(node.input(0)) || !CanQuantize(node.input(1))) return Left(index, kInputInFloat);
  AddWeight(node.input(0), -1);
  const onnx::TensorProto* weight = graph_.FloatWeight(node.input(1));
  AddWeight(node.input(1), weight != nullptr && weight->dims_size() == 2 ? 1 : -1);
  AddActivation(node.output(0));
  Done(index);
}

void Planner::Normalization(int index) {
  const auto& node = Node(index);
  if (!CanQuantize(node.input(0)) || node.input_size() < 2 || !CanQuantize(node.input(1)))
    return Left(index, kInputInFloat);
  AddActivation(node.input(0));
  AddWeight(node.input(1), 1);
  AddBias(index, node.input(1), 1);
  for (const auto& output : node.output()) AddActivation(output);
  Done(index);
}

// Quantizing saturates where the activation would cut, so a pair after the producer does its work.
bool Planner::CanAbsorb(const onnx::NodeProto& node) const {
  const std::string& input = node.input(0);
  const std::string& output = node.output(0);
  const GraphIndex& names = graph_.index();
  if (options_.symmetric_activations || !CanQuantize(output)) return false;
  if (names.Consumers(input).size() != 1 || names.IsGraphOutput(input) || names.IsGraphInput(input)) return false;
  if (names.Producer(input) < 0) return false;
  // Graphs inside nodes go on reading the float values.
  for (const Use& use : names.Consumers(output)) {
    if (use.input < 0) return false;
  }
  // All zeros give scale 1 and zero point 0, whose codes hold values that the activation would have cut.
  return ranges_ == nullptr || ranges_->at(output).low < 0 || ranges_->at(output).high > 0;
}

void Planner::Activation(int index) {
  const auto& node = Node(index);
  if (!IsQuantized(node.input(0))) return Left(index, "its input is not quantized");
  if (CanAbsorb(node)) {
    // The input's place stays empty; the output is quantized in its stead.
    const auto at = positions_.find(node.input(0));
    if (at != positions_.end()) {
      plan_.tensors[at->second].name.clear();
      positions_.erase(at);
    }
    plan_.absorbed.push_back(index);
  } else {
    AddActivation(node.input(0));
  }
  AddActivation(node.output(0));
  Done(index);
}

void Planner::SameScale(int index) {
  const auto& node = Node(index);
  if (!IsQuantized(node.input(0))) return;
  AddSameScale(node.output(0), node.input(0));
  Done(index);
}

void Planner::SameScaleFromOpset11(int index) {
  if (OpsetVersion(graph_.model()) >= 11) SameScale(index);
}
void Planner::SameScaleFromOpset12(int index) {
  if (OpsetVersion(graph_.model()) >= 12) SameScale(index);
}

// The padding value must have a code at the input's scale; zero always has one.
bool Planner::PadsWithZero(const onnx::NodeProto& node) const {
  if (OpsetVersion(graph_.model()) < 11) {
    const auto* value = FindAttribute(node, "value");
    return value == nullptr || value->f() == 0;
  }
  if (node.input_size() < 3 || node.input(2).empty()) return true;
  const onnx::TensorProto* constant = graph_.FloatWeight(node.input(2));
  if (constant == nullptr) return false;
  const auto value = ReadTensor(*constant);
  return value && value->Elements() == 1 && *value->data<float>() == 0;
}

// A group for every channel that is read.
bool Planner::IsDepthwise(const onnx::NodeProto& node) const {
  if (node.op_type() != "Conv" || node.input_size() < 2 || IntAttribute(node, "group", 1) < 2) return false;
  const onnx::TensorProto* weight = graph_.FloatWeight(node.input(1));
  return weight != nullptr && weight->dims_size() > 2 && weight->dims(1) == 1;
}

void Planner::Pad(int index) {
  const auto& node = Node(index);
  const auto* attribute = FindAttribute(node, "mode");
  const std::string mode = attribute == nullptr ? "constant" : attribute->s();
  if (!CanQuantize(node.input(0))) return Left(index, kInputInFloat);
  for (const auto& input : node.input()) AddActivation(input);
  const bool keeps_values =
      mode == "reflect" || mode == "edge" || mode == "wrap" || (mode == "constant" && PadsWithZero(node));
  if (keeps_values) {
    AddSameScale(node.output(0), node.input(0));
  } else {
    AddActivation(node.output(0));
  }
  Done(index);
}

void Planner::Split(int index) {
  const auto& node = Node(index);
  if (!CanQuantize(node.input(0))) return;
  if (!IsQuantized(node.input(0))) AddActivation(node.input(0));
  for (const auto& output : node.output()) AddSameScale(output, node.input(0));
  Done(index);
}

void Planner::Gather(int index) {
  const auto& node = Node(index);
  if (graph_.FloatWeight(node.input(0)) != nullptr && CanQuantize(node.input(0))) {
    AddActivation(node.input(0));
  } else if (!IsQuantized(node.input(0))) {
    return;
  }
  AddSameScale(node.output(0), node.input(0));
  Done(index);
}

void Planner::Where(int index) {
  const auto& node = Node(index);
  if (!IsQuantized(node.input(1)) || !IsQuantized(node.input(2))) return;
  AddActivation(node.output(0));
  Done(index);
}

void Planner::EveryTensor(int index) {
  const auto& node = Node(index);
  const size_t before = plan_.tensors.size();
  bool any = false;
  for (const auto& input : node.input()) {
    AddActivation(input);
    any = any || IsQuantized(input);
  }
  for (const auto& output : node.output()) AddActivation(output);
  if (any || plan_.tensors.size() > before) Done(index);
}

// Parts with scales of their own would be rounded once more on their way into the whole.
void Planner::Concat(int index) {
  EveryTensor(index);
  const auto& node = Node(index);
  std::vector<std::string> group;
  for (const auto& name : node.input()) {
    if (graph_.FloatWeight(name) == nullptr && IsQuantized(name)) group.push_back(name);
  }
  if (group.empty() || !IsQuantized(node.output(0))) return;
  group.push_back(node.output(0));
  plan_.unified.push_back(std::move(group));
}

void Planner::ProductWithFloatOutput(int index) {
  const auto& node = Node(index);
  const onnx::TensorProto* weight = graph_.FloatWeight(node.input(1));
  if (weight == nullptr) return Left(index, "no constant weight");
  if (weight->dims_size() < 2) return Left(index, "the weight is a vector");
  if (!CanQuantize(node.input(0)) || !CanQuantize(node.input(1))) return Left(index, kInputInFloat);
  AddForReader(node.input(0), {index, 0});
  if (node.op_type() == "Gemm") {
    AddWeight(node.input(1), IntAttribute(node, "transB", 0) != 0 ? 0 : 1);
    const auto* beta = FindAttribute(node, "beta");
    AddBias(index, node.input(1), beta == nullptr ? 1.0f : beta->f());
  } else {
    AddWeight(node.input(1), weight->dims_size() == 2 ? 1 : -1);
  }
  Done(index);
}

// Follows a value up through operators that only move values, as long as nothing else reads it on the way.
Planner::Origin Planner::Root(const std::string& value, Use use) const {
  static const std::set<std::string> kMovers = {"MaxPool",   "Reshape", "Transpose", "Squeeze",
                                                "Unsqueeze", "Flatten", "Identity"};
  const GraphIndex& names = graph_.index();
  Origin root = {value, use};
  while (true) {
    const int producer = names.Producer(root.value);
    if (producer < 0 || names.IsGraphOutput(root.value) || names.Consumers(root.value).size() != 1) return root;
    const auto& node = Node(producer);
    if (!IsStandard(node) || !kMovers.contains(node.op_type()) || node.output_size() != 1) return root;
    const std::string& next = node.input(0);
    // Ranges are not asked for: only the root is measured, and the way to it must be the same before and after.
    if (!graph_.IsFloat(next) || masks_.values.contains(next) || graph_.FloatWeight(next) != nullptr) return root;
    root = {next, {producer, 0}};
  }
}

void Planner::OpenvinoProduct(int index) {
  const auto& node = Node(index);
  const onnx::TensorProto* weight = node.input_size() > 1 ? graph_.FloatWeight(node.input(1)) : nullptr;
  if (weight == nullptr) return Left(index, "no constant weight");
  if (weight->dims_size() < 2) return Left(index, "the weight is a vector");
  const auto [root, use] = Root(node.input(0), {index, 0});
  if (!CanQuantize(root) || !CanQuantize(node.input(1))) return Left(index, kInputInFloat);
  const std::map<std::string, int> axes = {{"Conv", 0},
                                           {"ConvTranspose", 1},
                                           {"Gemm", IntAttribute(node, "transB", 0) != 0 ? 0 : 1},
                                           {"MatMul", weight->dims_size() - 1}};
  if (options_.coverage == QdqCoverage::products) {
    AddForReader(root, use);
  } else {
    AddActivation(root);
  }
  AddWeight(node.input(1), weight->dims_size() > 2 && node.op_type() == "MatMul" ? -1 : axes.at(node.op_type()));
  if (node.op_type() == "Conv" || node.op_type() == "ConvTranspose") convolutions_.insert(index);
  Done(index);
}

// Of two activations, one the result of a quantized convolution: the other side is what a block began with.
void Planner::OpenvinoSum(int index) {
  const auto& node = Node(index);
  bool joins = false;
  for (const auto& input : node.input()) {
    if (graph_.FloatWeight(input) != nullptr || !CanQuantize(input)) return;
    const int producer = graph_.index().Producer(input);
    joins = joins || (producer >= 0 && convolutions_.contains(producer));
  }
  if (!joins || node.input(0) == node.input(1)) return;
  for (const auto& input : node.input()) AddActivation(input);
  Done(index);
}

QdqPlan Planner::Run() {
  std::map<std::string, PlanOperator> operators;
  for (const OperatorRow& row : RowsOf(options_)) operators[row.op_type] = row.plan;
  for (int i = 0; i < graph_.NodeCount(); ++i) {
    const auto row = operators.find(Node(i).op_type());
    if (row == operators.end() || !IsStandard(Node(i)) || Node(i).input_size() == 0 || Node(i).output_size() == 0)
      continue;
    if (!choice_.Wanted(i)) {
      Left(i, choice_.left.at(i));
    } else if (!options_.depthwise && IsDepthwise(Node(i))) {
      Left(i, "depthwise");
    } else if (masks_.nodes.contains(i)) {
      Left(i, "it computes a mask or adds one");
    } else {
      (this->*row->second)(i);
    }
  }
  std::erase_if(plan_.tensors, [](const QdqTensor& tensor) { return tensor.name.empty(); });
  return std::move(plan_);
}

}  // namespace

const std::set<std::string>& QdqOperators(const QdqOptions& options) {
  static const std::map<const std::vector<OperatorRow>*, std::set<std::string>> kNames = [] {
    std::map<const std::vector<OperatorRow>*, std::set<std::string>> names;
    for (const auto* rows : {&kOnnxruntime, &kProducts, &kOpenvino, &kOpenvinoProducts}) {
      for (const OperatorRow& row : *rows) names[rows].insert(row.op_type);
    }
    return names;
  }();
  return kNames.at(&RowsOf(options));
}

bool HasAttention(const QuantizationGraph& graph) {
  static const std::set<std::string> kMarks = {"LayerNormalization", "SimplifiedLayerNormalization",
                                               "RMSNormalization",   "Attention",
                                               "MultiHeadAttention", "GroupQueryAttention",
                                               "Erf",                "Gelu"};
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const auto& node = graph.Node(i);
    if (kMarks.contains(node.op_type())) return true;
    const bool product = IsStandard(node) && node.op_type() == "MatMul" && node.input_size() == 2;
    if (product && graph.FloatWeight(node.input(0)) == nullptr && graph.FloatWeight(node.input(1)) == nullptr)
      return true;
  }
  return false;
}

QdqPlan PlanQdq(const QuantizationGraph& graph, const NodeChoice& choice, const QdqOptions& options,
                const MaskValues& masks, const ObservedRanges* ranges) {
  return Planner(graph, choice, options, masks, ranges).Run();
}

}  // namespace hone
