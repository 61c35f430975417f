//            X
//      /     |     \                 each: MatMul, Add, Reshape to [batch, sequence, heads, head_size], Transpose
//     Q     K^T     V
//      \    /       |                MatMul; a scale before or behind it
//      scores       |                Add of a mask (1 - m) * c
//      Softmax      |
//         \        /
//          MatMul                    Transpose, Reshape to [batch, sequence, heads * head_size]
//            Y
//
// Shapes that the exporter computes at run time are followed to the dimensions that they come from, so that a Reshape
// is known to keep batch and sequence whatever they are.
#include "worker/passes/attention_pattern.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace hone {
namespace {

constexpr float kLeastMask = -1000;  // A weaker penalty may not close a place: it is no mask.

// One element of a shape: a number, or a dimension of a value.
struct Dim {
  std::optional<int64_t> number;
  std::string value;
  int64_t axis = 0;
};

class Matcher {
 public:
  Matcher(const QuantizationGraph& graph, LeadingDims& leading) : graph_(graph), leading_(leading) {}

  std::optional<AttentionPattern> Match(int softmax) {
    const auto& node = graph_.Node(softmax);
    const int64_t axis = IntAttribute(node, "axis", -1);
    if (axis != -1 && axis != 3) return std::nullopt;
    const auto context = MatchContext(node.output(0));
    if (!context) return std::nullopt;
    std::string scores = node.input(0);
    if (!MatchMask(scores)) return std::nullopt;
    double scale = 1;
    PeelScale(scores, scale);
    const onnx::NodeProto* product = Producer(scores, "MatMul");
    if (product == nullptr) return std::nullopt;
    const auto q = MatchHeads(product->input(0), {0, 2, 1, 3}, scale);
    const auto k = MatchHeads(product->input(1), {0, 2, 3, 1}, scale);
    double one = 1;
    const auto v = MatchHeads(*context, {0, 2, 1, 3}, one);
    if (!q || !k || !v || one != 1) return std::nullopt;
    if (q->source != k->source || q->source != v->source) return std::nullopt;
    if (q->heads != k->heads || q->heads != v->heads || q->head_size != k->head_size || q->head_size != v->head_size)
      return std::nullopt;
    found_.input = q->source;
    found_.heads = q->heads;
    found_.head_size = q->head_size;
    found_.scale = static_cast<float>(scale);
    if (!MatchOutput()) return std::nullopt;
    const Head* parts[] = {&*q, &*k, &*v};
    for (int i = 0; i < 3; ++i) {
      found_.weights[i] = parts[i]->weight;
      found_.biases[i] = parts[i]->bias;
    }
    leading_.Same(found_.output, found_.input);
    return found_;
  }

 private:
  struct Head {
    std::string source, weight, bias;
    int64_t heads = 0, head_size = 0;
  };

  const onnx::NodeProto* Producer(const std::string& value) const {
    const int n = graph_.index().Producer(value);
    return n < 0 || n >= graph_.NodeCount() || !IsStandard(graph_.Node(n)) ? nullptr : &graph_.Node(n);
  }
  const onnx::NodeProto* Producer(const std::string& value, std::string_view op) const {
    const auto* node = Producer(value);
    return node != nullptr && node->op_type() == op ? node : nullptr;
  }
  // The single node that reads the value, -1 where there are others.
  int OnlyReader(const std::string& value) const {
    const auto& uses = graph_.index().Consumers(value);
    return uses.size() == 1 && uses[0].input >= 0 && !graph_.index().IsGraphOutput(value) ? uses[0].node : -1;
  }

  std::optional<float> Scalar(const std::string& name) const {
    const auto* tensor = graph_.FloatWeight(name);
    if (tensor == nullptr) return std::nullopt;
    const auto value = ReadTensor(*tensor);
    if (!value || value->Elements() != 1) return std::nullopt;
    return *value->data<float>();
  }

  // Takes multiplications by constants off a value.
  void PeelScale(std::string& value, double& scale) const {
    while (const auto* node = Producer(value)) {
      if (node->op_type() != "Mul" && node->op_type() != "Div") return;
      const auto right = Scalar(node->input(1));
      if (right && *right != 0) {
        scale = node->op_type() == "Mul" ? scale * *right : scale / *right;
        value = node->input(0);
        continue;
      }
      const auto left = node->op_type() == "Mul" ? Scalar(node->input(0)) : std::nullopt;
      if (!left) return;
      scale *= *left;
      value = node->input(1);
    }
  }

  static std::vector<int64_t> Permutation(const onnx::NodeProto& node) {
    const auto* perm = FindAttribute(node, "perm");
    return perm == nullptr ? std::vector<int64_t>() : std::vector<int64_t>(perm->ints().begin(), perm->ints().end());
  }

  // Transposes of a value as one permutation; `value` becomes what they start from.
  std::vector<int64_t> PeelTransposes(std::string& value, double& scale) const {
    std::vector<int64_t> whole = {0, 1, 2, 3};
    for (PeelScale(value, scale); const auto* node = Producer(value, "Transpose"); PeelScale(value, scale)) {
      const auto perm = Permutation(*node);
      if (perm.size() != 4) return {};
      std::vector<int64_t> combined(4);
      for (size_t i = 0; i < 4; ++i) combined[i] = perm[static_cast<size_t>(whole[i])];
      whole = combined;
      value = node->input(0);
    }
    return whole;
  }

  std::optional<Head> MatchHeads(std::string value, const std::vector<int64_t>& wanted, double& scale) {
    if (PeelTransposes(value, scale) != wanted) return std::nullopt;
    const auto* reshape = Producer(value, "Reshape");
    if (reshape == nullptr) return std::nullopt;
    const auto shape = ShapeOf(reshape->input(1));
    if (!shape || shape->size() != 4 || !(*shape)[2].number || !(*shape)[3].number) return std::nullopt;
    Head head;
    head.heads = *(*shape)[2].number;
    head.head_size = *(*shape)[3].number;
    std::string projected = reshape->input(0);
    PeelScale(projected, scale);
    const std::string reshaped = projected;
    if (!MatchProjection(projected, head)) return std::nullopt;
    return head.heads > 0 && head.head_size > 0 && KeepsLeading(*shape, reshaped) ? std::optional(head) : std::nullopt;
  }

  bool MatchProjection(std::string value, Head& head) const {
    if (const auto* add = Producer(value, "Add")) {
      const int bias = graph_.FloatWeight(add->input(0)) != nullptr ? 0 : 1;
      const auto* tensor = graph_.FloatWeight(add->input(bias));
      if (tensor == nullptr || tensor->dims_size() != 1) return false;
      head.bias = add->input(bias);
      value = add->input(1 - bias);
    }
    const auto* product = Producer(value, "MatMul");
    const auto* weight = product == nullptr ? nullptr : graph_.FloatWeight(product->input(1));
    if (weight == nullptr || weight->dims_size() != 2 || weight->dims(1) != head.heads * head.head_size) return false;
    if (!head.bias.empty() && graph_.FloatWeight(head.bias)->dims(0) != weight->dims(1)) return false;
    const auto shape = graph_.ShapeOf(product->input(0));
    if (!graph_.IsFloat(product->input(0)) || (shape && shape->size() != 3)) return false;
    // A value of unknown rank has rank 3 where another tells so.
    if (!shape && leading_.Of(product->input(0)) == product->input(0)) return false;
    head.source = product->input(0);
    head.weight = product->input(1);
    return true;
  }

  // --- shapes --------------------------------------------------------------------------------------------------

  std::optional<std::vector<int64_t>> Integers(const std::string& name) const {
    const auto* tensor = graph_.AnyWeight(name);
    if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::INT64) return std::nullopt;
    const auto value = ReadTensor(*tensor);
    if (!value) return std::nullopt;
    return std::vector<int64_t>(value->data<int64_t>(), value->data<int64_t>() + value->Elements());
  }

  // The elements of a vector of integers, as far as they can be followed.
  std::optional<std::vector<Dim>> ShapeOf(const std::string& name) const {
    if (const auto numbers = Integers(name)) {
      std::vector<Dim> dims;
      for (const int64_t number : *numbers) dims.push_back({number, "", 0});
      return dims;
    }
    const auto* node = Producer(name);
    if (node == nullptr) return std::nullopt;
    if (node->op_type() == "Unsqueeze") return ShapeOf(node->input(0));
    if (node->op_type() == "Concat") {
      std::vector<Dim> dims;
      for (const auto& input : node->input()) {
        const auto part = ShapeOf(input);
        if (!part) return std::nullopt;
        dims.insert(dims.end(), part->begin(), part->end());
      }
      return dims;
    }
    if (node->op_type() != "Gather" || IntAttribute(*node, "axis", 0) != 0) return std::nullopt;
    const auto* shape = Producer(node->input(0), "Shape");
    const auto places = Integers(node->input(1));
    if (shape == nullptr || !places || shape->attribute_size() > 0) return std::nullopt;
    std::vector<Dim> dims;
    for (const int64_t place : *places) {
      if (place < 0) return std::nullopt;
      dims.push_back({std::nullopt, shape->input(0), place});
    }
    return dims;
  }

  // Whether a Reshape of `value` keeps its first two dimensions.
  bool KeepsLeading(const std::vector<Dim>& shape, const std::string& value) const {
    int free = 0;
    const auto known = graph_.ShapeOf(value);
    for (int64_t axis = 0; axis < 2; ++axis) {
      const Dim& dim = shape[static_cast<size_t>(axis)];
      if (!dim.number) {
        if (dim.axis != axis || leading_.Of(dim.value) != leading_.Of(value)) return false;
        continue;
      }
      if (*dim.number == 0) continue;
      if (*dim.number == -1) {
        ++free;
        continue;
      }
      if (!known || (*known)[static_cast<size_t>(axis)] != *dim.number) return false;
    }
    // One unknown follows from the others.
    return free <= 1;
  }

  // --- mask, context, output -----------------------------------------------------------------------------------

  // V where `probabilities` are multiplied by it; the output side starts there.
  std::optional<std::string> MatchContext(const std::string& probabilities) {
    const int n = OnlyReader(probabilities);
    if (n < 0 || graph_.Node(n).op_type() != "MatMul" || graph_.Node(n).input(0) != probabilities) return std::nullopt;
    context_ = graph_.Node(n).output(0);
    return graph_.Node(n).input(1);
  }

  bool MatchOutput() {
    const int transpose = OnlyReader(context_);
    if (transpose < 0 || graph_.Node(transpose).op_type() != "Transpose") return false;
    if (Permutation(graph_.Node(transpose)) != std::vector<int64_t>{0, 2, 1, 3}) return false;
    const std::string turned = graph_.Node(transpose).output(0);
    // Its Shape may be read too.
    int reshape = -1;
    for (const Use& use : graph_.index().Consumers(turned)) {
      const std::string& op = graph_.Node(use.node).op_type();
      if (op == "Reshape" && use.input == 0 && reshape < 0) {
        reshape = use.node;
      } else if (op != "Shape") {
        return false;
      }
    }
    if (reshape < 0 || graph_.index().IsGraphOutput(turned)) return false;
    auto shape = ShapeOf(graph_.Node(reshape).input(1));
    if (!shape || shape->size() != 3) return false;
    const Dim& width = (*shape)[2];
    const int64_t size = found_.heads * found_.head_size;
    if (!width.number || (*width.number != size && *width.number != -1)) return false;
    // The turned value has the leading dimensions of X.
    leading_.Same(turned, found_.input);
    const bool two_free = *width.number == -1 &&
                          std::any_of(shape->begin(), shape->begin() + 2, [](const Dim& d) { return d.number == -1; });
    if (two_free || !KeepsLeading(*shape, graph_.ShapeOf(found_.input) ? found_.input : turned)) return false;
    found_.last = reshape;
    found_.output = graph_.Node(reshape).output(0);
    return true;
  }

  // Takes the mask off the scores.
  bool MatchMask(std::string& scores) {
    const auto* add = Producer(scores, "Add");
    if (add == nullptr) return true;
    for (int side = 0; side < 2; ++side) {
      std::string mask = add->input(1 - side);
      if (!MatchPenalty(mask)) continue;
      scores = add->input(side);
      return true;
    }
    return false;
  }

  // (1 - m) * c, or Where over m; m two-dimensional behind Unsqueeze and Cast.
  bool MatchPenalty(const std::string& value) {
    const auto* node = Producer(value);
    if (node == nullptr) return false;
    if (node->op_type() == "Mul") {
      const int side = Scalar(node->input(0)) ? 0 : 1;
      const auto factor = Scalar(node->input(side));
      const auto* difference = Producer(node->input(1 - side), "Sub");
      if (!factor || difference == nullptr || Scalar(difference->input(0)) != 1.0F) return false;
      return TakeMask(difference->input(1), *factor);
    }
    if (node->op_type() != "Where") return false;
    const auto closed = Scalar(node->input(1));
    const auto open = Scalar(node->input(2));
    if (!closed || !open) return false;
    std::string condition = node->input(0);
    bool inverted = false;
    for (const auto* no = Producer(condition, "Not"); no != nullptr; no = Producer(condition, "Not")) {
      inverted = !inverted;
      condition = no->input(0);
    }
    // True where a place is closed if the condition was inverted.
    if (inverted && *open == 0) return TakeMask(condition, *closed);
    return !inverted && *closed == 0 && TakeMask(condition, *open);
  }

  bool TakeMask(std::string value, float penalty) {
    if (!(penalty <= kLeastMask)) return false;
    int unsqueezed = 0;
    while (const auto* node = Producer(value)) {
      if (node->op_type() == "Cast") {
        value = node->input(0);
        continue;
      }
      if (node->op_type() != "Unsqueeze" || node->input_size() < 2) break;
      const auto axes = Integers(node->input(1));
      if (!axes) return false;
      for (const int64_t axis : *axes) {
        if (axis != 1 && axis != 2) return false;
        ++unsqueezed;
      }
      value = node->input(0);
    }
    const auto shape = graph_.ShapeOf(value);
    const ElementType type = graph_.TypeOf(value);
    const bool counts =
        type == onnx::TensorProto::INT64 || type == onnx::TensorProto::INT32 || type == onnx::TensorProto::BOOL;
    if (unsqueezed != 2 || !shape || shape->size() != 2 || !counts) return false;
    found_.mask = value;
    found_.mask_value = std::max(penalty, std::numeric_limits<float>::lowest());
    return true;
  }

  const QuantizationGraph& graph_;
  LeadingDims& leading_;
  AttentionPattern found_;
  std::string context_;
};

bool IsElementwise(const std::string& op) {
  static const std::set<std::string> kOps = {"Relu",     "Gelu",   "Erf", "Tanh", "Sigmoid", "Cast",
                                             "Identity", "Sqrt",   "Exp", "Neg",  "Abs",     "LayerNormalization",
                                             "Softmax",  "Dropout"};
  return kOps.contains(op);
}

}  // namespace

std::string LeadingDims::Of(const std::string& value) {
  const auto known = known_.find(value);
  if (known != known_.end()) return known->second;
  // Found step by step, so that a long chain is no deep recursion.
  std::vector<std::string> path = {value};
  for (std::string next = Find(value); next != path.back(); next = Find(path.back())) {
    path.push_back(next);
    if (const auto end = known_.find(next); end != known_.end()) {
      path.push_back(end->second);
      break;
    }
  }
  const std::string root = path.back();
  for (const auto& name : path) known_.emplace(name, root);
  return root;
}

std::string LeadingDims::Find(const std::string& value) {
  const int n = graph_.index().Producer(value);
  if (n < 0 || n >= graph_.NodeCount()) return value;
  const auto& node = graph_.Node(n);
  if (node.input().empty() || value != node.output(0)) return value;
  if (IsElementwise(node.op_type())) return node.input(0);
  if (node.op_type() == "MatMul") {
    const auto* weight = graph_.AnyWeight(node.input(1));
    return weight != nullptr && weight->dims_size() == 2 ? node.input(0) : value;
  }
  const bool looked_up = node.op_type() == "Gather" && IntAttribute(node, "axis", 0) == 0;
  if (looked_up) {
    const auto* table = graph_.AnyWeight(node.input(0));
    return table != nullptr && table->dims_size() == 2 ? node.input(1) : value;
  }
  if (node.op_type() != "Add" && node.op_type() != "Mul" && node.op_type() != "Div" && node.op_type() != "Sub")
    return value;
  for (int side = 0; side < 2; ++side) {
    const auto* constant = graph_.AnyWeight(node.input(side));
    if (constant != nullptr && constant->dims_size() <= 1) return node.input(1 - side);
  }
  // Recursion is bounded by the residual connections that meet here.
  if (graph_.AnyWeight(node.input(0)) != nullptr || graph_.AnyWeight(node.input(1)) != nullptr) return value;
  const auto left = known_.find(node.input(0));
  const auto right = known_.find(node.input(1));
  return left != known_.end() && right != known_.end() && left->second == right->second ? node.input(0) : value;
}

std::optional<AttentionPattern> MatchAttention(const QuantizationGraph& graph, int softmax, LeadingDims& leading) {
  return Matcher(graph, leading).Match(softmax);
}

}  // namespace hone
