// Before: x -> Transpose(0,2,1) -> Transpose(0,2,1) -> Add(y, 0) -> z
// After:  x -> z
//
// One sweep in order: users of a node that changes nothing are led to its input. A graph output must keep its name, so
// there it is the producer of the input that takes the output's name, if the input has none to keep itself.
#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

using Dims = std::vector<int64_t>;

// Questions about one node's inputs.
class NodeView {
 public:
  NodeView(const onnx::NodeProto& node, const std::unordered_map<std::string, const onnx::TensorProto*>& constants,
           const ValueTypes& types)
      : node_(node), constants_(constants), types_(types) {}

  const onnx::NodeProto& node() const { return node_; }
  bool HasInput(int i) const { return i < node_.input_size() && !node_.input(i).empty(); }
  bool HasOutput(int i) const { return i < node_.output_size() && !node_.output(i).empty(); }
  ElementType Element(int i) const { return HasInput(i) ? types_.Of(node_.input(i)).element : 0; }
  const std::optional<Dims>& InputDims(int i) const { return types_.Of(HasInput(i) ? node_.input(i) : "").dims; }
  const Dims* StaticInput(int i) const { return HasInput(i) ? types_.StaticDims(node_.input(i)) : nullptr; }
  const Dims* StaticOutput() const { return types_.StaticDims(node_.output(0)); }
  ElementType OutputElement() const { return types_.Of(node_.output(0)).element; }

  // Static and equal: the output has the input's shape.
  bool KeepsShape() const {
    const Dims* in = StaticInput(0);
    const Dims* out = StaticOutput();
    return in != nullptr && out != nullptr && *in == *out;
  }

  std::optional<Tensor> Constant(int i) const {
    const auto found = HasInput(i) ? constants_.find(node_.input(i)) : constants_.end();
    if (found == constants_.end() || ElementBytes(found->second->data_type()) == 0) return std::nullopt;
    Result<Tensor> tensor = ReadTensor(*found->second);
    if (!tensor) return std::nullopt;
    return std::move(*tensor);
  }

  std::optional<Dims> ConstantInts(int i) const {
    const auto found = HasInput(i) ? constants_.find(node_.input(i)) : constants_.end();
    return found == constants_.end() ? std::nullopt : IntegersOf(*found->second);
  }

 private:
  const onnx::NodeProto& node_;
  const std::unordered_map<std::string, const onnx::TensorProto*>& constants_;
  const ValueTypes& types_;
};

// --- what changes nothing: each answers the input that the node gives back, or -1 ------------------------------------

int Always(const NodeView&) { return 0; }
int WithOneOutput(const NodeView& view) { return view.node().output_size() == 1 ? 0 : -1; }
int WithOneInput(const NodeView& view) { return view.node().input_size() == 1 ? 0 : -1; }

int Dropout(const NodeView& view) {
  const bool trains = view.HasInput(2) || IntAttribute(view.node(), "is_test", 1) == 0;
  return !trains && !view.HasOutput(1) ? 0 : -1;
}

int Cast(const NodeView& view) {
  return view.Element(0) != 0 && view.Element(0) == IntAttribute(view.node(), "to", 0) ? 0 : -1;
}
int CastLike(const NodeView& view) { return view.Element(0) != 0 && view.Element(0) == view.Element(1) ? 0 : -1; }

int Transpose(const NodeView& view) {
  const auto* perm = FindAttribute(view.node(), "perm");
  if (perm == nullptr) return view.InputDims(0) && view.InputDims(0)->size() <= 1 ? 0 : -1;
  for (int i = 0; i < perm->ints_size(); ++i) {
    if (perm->ints(i) != i) return -1;
  }
  return 0;
}

// Each target dimension is the input's, with at most one to be worked out.
bool IsSameShape(const Dims& target, const Dims& dims, bool zero_copies) {
  if (target.size() != dims.size()) return false;
  int open = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool copied = target[i] == 0 && zero_copies;
    const bool equal = dims[i] > 0 && target[i] == dims[i];
    if (copied || equal) continue;
    if (target[i] != -1) return false;
    ++open;
  }
  return open <= 1;
}

int Reshape(const NodeView& view) {
  if (view.KeepsShape()) return 0;
  const std::optional<Dims> target = view.ConstantInts(1);
  if (!target || !view.InputDims(0)) return -1;
  return IsSameShape(*target, *view.InputDims(0), IntAttribute(view.node(), "allowzero", 0) == 0) ? 0 : -1;
}

int IfShapeStays(const NodeView& view) { return view.KeepsShape() ? 0 : -1; }

int Flatten(const NodeView& view) {
  const auto& dims = view.InputDims(0);
  return dims && dims->size() == 2 && IntAttribute(view.node(), "axis", 1) == 1 ? 0 : -1;
}

bool AllAre(const std::optional<Dims>& values, int64_t wanted) {
  return values && std::all_of(values->begin(), values->end(), [&](int64_t value) { return value == wanted; });
}

int Tile(const NodeView& view) { return AllAre(view.ConstantInts(1), 1) ? 0 : -1; }

int Pad(const NodeView& view) {
  const auto* attribute = FindAttribute(view.node(), "pads");
  if (attribute != nullptr) return AllAre(Dims(attribute->ints().begin(), attribute->ints().end()), 0) ? 0 : -1;
  return AllAre(view.ConstantInts(1), 0) ? 0 : -1;
}

// The same shape with steps of one can only be the whole.
int Slice(const NodeView& view) {
  return view.KeepsShape() && (!view.HasInput(4) || AllAre(view.ConstantInts(4), 1)) ? 0 : -1;
}

template <class T>
bool AllBytesEqual(const Tensor& tensor, T wanted) {
  for (size_t offset = 0; offset + sizeof(T) <= tensor.bytes.size(); offset += sizeof(T)) {
    if (std::memcmp(tensor.bytes.data() + offset, &wanted, sizeof(T)) != 0) return false;
  }
  return true;
}

enum class Neutral { one, zero, minus_zero };

// Bit for bit, since x + 0.0 is not x where x is -0.0.
bool IsFilledWith(const Tensor& tensor, Neutral value) {
  const int number = value == Neutral::one ? 1 : 0;
  const float sign = value == Neutral::minus_zero ? -1.0F : 1.0F;
  switch (tensor.type) {
    case onnx::TensorProto::FLOAT:
      return AllBytesEqual<float>(tensor, sign * static_cast<float>(number));
    case onnx::TensorProto::DOUBLE:
      return AllBytesEqual<double>(tensor, static_cast<double>(sign) * number);
    case onnx::TensorProto::FLOAT16:
      return AllBytesEqual<uint16_t>(tensor, value == Neutral::one ? 0x3C00 : value == Neutral::zero ? 0 : 0x8000);
    case onnx::TensorProto::BFLOAT16:
      return AllBytesEqual<uint16_t>(tensor, value == Neutral::one ? 0x3F80 : value == Neutral::zero ? 0 : 0x8000);
    case onnx::TensorProto::INT64:
      return AllBytesEqual<int64_t>(tensor, number);
    case onnx::TensorProto::INT32:
      return AllBytesEqual<int32_t>(tensor, number);
    default:
      return false;
  }
}

// Whether broadcasting a constant of these dims against the input leaves the input's shape.
bool BroadcastsInto(const Dims& constant, const std::optional<Dims>& dims) {
  if (!dims || constant.size() > dims->size()) return false;
  for (size_t i = 0; i < constant.size(); ++i) {
    const int64_t dim = (*dims)[dims->size() - constant.size() + i];
    if (constant[i] != 1 && (dim < 0 || constant[i] != dim)) return false;
  }
  return true;
}

bool IsNeutral(const NodeView& view, int constant, int other, Neutral value) {
  // Broadcasting had another form, by attributes, before opset 7.
  if (FindAttribute(view.node(), "broadcast") != nullptr) return false;
  const std::optional<Tensor> tensor = view.Constant(constant);
  return tensor && tensor->Elements() > 0 && IsFilledWith(*tensor, value) &&
         BroadcastsInto(tensor->dims, view.InputDims(other));
}

int Multiply(const NodeView& view) {
  if (IsNeutral(view, 1, 0, Neutral::one)) return 0;
  return IsNeutral(view, 0, 1, Neutral::one) ? 1 : -1;
}
int Divide(const NodeView& view) { return IsNeutral(view, 1, 0, Neutral::one) ? 0 : -1; }
int Subtract(const NodeView& view) { return IsNeutral(view, 1, 0, Neutral::zero) ? 0 : -1; }
int Add(const NodeView& view) {
  if (IsNeutral(view, 1, 0, Neutral::minus_zero)) return 0;
  return IsNeutral(view, 0, 1, Neutral::minus_zero) ? 1 : -1;
}

struct Rule {
  const char* op_type;
  int (*unchanged_input)(const NodeView& view);
};
constexpr Rule kRules[] = {
    {"Identity", Always},
    {"Dropout", Dropout},
    {"Cast", Cast},
    {"CastLike", CastLike},
    {"Transpose", Transpose},
    {"Reshape", Reshape},
    {"Expand", IfShapeStays},
    {"Squeeze", IfShapeStays},
    {"Unsqueeze", IfShapeStays},
    {"Flatten", Flatten},
    {"Tile", Tile},
    {"Pad", Pad},
    {"Slice", Slice},
    {"Concat", WithOneInput},
    {"Split", WithOneOutput},
    {"Sum", WithOneInput},
    {"Max", WithOneInput},
    {"Min", WithOneInput},
    {"Mean", WithOneInput},
    {"Mul", Multiply},
    {"Div", Divide},
    {"Sub", Subtract},
    {"Add", Add},
};

int UnchangedInput(const NodeView& view) {
  if (view.node().output_size() == 0 || view.node().output(0).empty() || view.node().input().empty()) return -1;
  for (const auto& rule : kRules) {
    if (!IsStandardOp(view.node(), rule.op_type)) continue;
    const int input = rule.unchanged_input(view);
    return input >= 0 && view.HasInput(input) ? input : -1;
  }
  return -1;
}

class Remover {
 public:
  Remover(onnx::GraphProto& graph, const ValueTypes& types)
      : graph_(graph), types_(types), index_(graph), removed_(static_cast<size_t>(graph.node_size()), false) {
    for (const auto& tensor : graph.initializer()) {
      if (!index_.IsGraphInput(tensor.name())) constants_[tensor.name()] = &tensor;
    }
  }

  int Run() {
    for (int n = 0; n < graph_.node_size(); ++n) Visit(n);
    for (auto& node : *graph_.mutable_node()) {
      for (auto& output : *node.mutable_output()) output = Final(output);
      for (auto& input : *node.mutable_input()) input = Final(input);
      if (!HasSubgraph(node)) continue;
      std::unordered_map<std::string, std::string> captured;
      for (const auto& name : CapturedNames(node)) captured[name] = Final(Forward(name));
      RenameCaptured(node, captured);
    }
    RemoveNodes(graph_, removed_);
    return count_;
  }

 private:
  void Visit(int n) {
    onnx::NodeProto& node = *graph_.mutable_node(n);
    for (auto& input : *node.mutable_input()) input = Forward(input);
    if (MergePair(node)) ++count_;
    const int input = UnchangedInput(NodeView(node, constants_, types_));
    if (input < 0 || !Bypass(node.output(0), node.input(input))) return;
    removed_[static_cast<size_t>(n)] = true;
    ++count_;
  }

  // Leads the users of `output` to `input`; false where a name cannot be given up.
  bool Bypass(const std::string& output, const std::string& input) {
    if (!index_.IsGraphOutput(output)) {
      forward_[output] = input;
      return true;
    }
    const bool free_name = index_.Producer(input) >= 0 && !index_.IsGraphOutput(input) && !final_.contains(input);
    if (!free_name) return false;
    final_[input] = output;
    return true;
  }

  const std::string& Forward(const std::string& name) const {
    const auto found = forward_.find(name);
    return found == forward_.end() ? name : found->second;
  }
  const std::string& Final(const std::string& name) const {
    const auto found = final_.find(name);
    return found == final_.end() ? name : found->second;
  }

  // The node behind the first input, if it is of the same kind and was not taken out.
  const onnx::NodeProto* Inner(const onnx::NodeProto& node) const {
    const int producer = node.input().empty() ? -1 : index_.Producer(node.input(0));
    if (producer < 0 || removed_[static_cast<size_t>(producer)]) return nullptr;
    const auto& inner = graph_.node(producer);
    return IsStandardOp(inner, node.op_type()) && !inner.input().empty() ? &inner : nullptr;
  }

  bool MergePair(onnx::NodeProto& node) const {
    if (IsStandardOp(node, "Transpose")) return MergeTransposes(node);
    if (IsStandardOp(node, "Reshape")) return MergeReshapes(node);
    return false;
  }

  bool MergeTransposes(onnx::NodeProto& node) const {
    const onnx::NodeProto* inner = Inner(node);
    const auto* first = inner != nullptr ? FindAttribute(*inner, "perm") : nullptr;
    auto* second = const_cast<onnx::AttributeProto*>(FindAttribute(node, "perm"));
    if (first == nullptr || second == nullptr || first->ints_size() != second->ints_size()) return false;
    for (auto& axis : *second->mutable_ints()) {
      if (axis < 0 || axis >= first->ints_size()) return false;
      axis = first->ints(static_cast<int>(axis));
    }
    node.set_input(0, inner->input(0));
    return true;
  }

  // The second shape decides alone, unless it copies dimensions of what the first made.
  bool MergeReshapes(onnx::NodeProto& node) const {
    const onnx::NodeProto* inner = Inner(node);
    if (inner == nullptr || FindAttribute(node, "shape") != nullptr) return false;
    const std::optional<Dims> target = NodeView(node, constants_, types_).ConstantInts(1);
    if (!target || std::count(target->begin(), target->end(), 0) > 0) return false;
    node.set_input(0, inner->input(0));
    return true;
  }

  onnx::GraphProto& graph_;
  const ValueTypes& types_;
  GraphIndex index_;
  std::unordered_map<std::string, const onnx::TensorProto*> constants_;
  std::unordered_map<std::string, std::string> forward_;  // Removed output -> what stands for it.
  std::unordered_map<std::string, std::string> final_;    // Value -> the graph output whose name it takes.
  std::vector<bool> removed_;
  int count_ = 0;
};

}  // namespace

int RemoveIdentities(onnx::GraphProto& graph, const ValueTypes& types) { return Remover(graph, types).Run(); }

}  // namespace hone
