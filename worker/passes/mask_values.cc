#include "worker/passes/mask_values.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

namespace hone {
namespace {

constexpr float kNoNumber = 1e30f;   // No activation is that large; masks are.
constexpr float kMaskNumber = 1000;  // exp(-1000) is 0 in float32.
constexpr float kSoftmaxSpan = 255;  // Codes a step of 1 apart.

// Operators whose results hold the values of their inputs, moved or combined element by element.
const std::set<std::string> kCarriers = {"Add",      "Sub",    "Mul",     "Div",       "Neg",      "Where",
                                         "Max",      "Min",    "Reshape", "Unsqueeze", "Squeeze",  "Slice",
                                         "Concat",   "Expand", "Tile",    "Split",     "Cast",     "Transpose",
                                         "Identity", "Gather", "Flatten", "Pad",       "ScatterND"};

class MaskFinder {
 public:
  MaskFinder(const QuantizationGraph& graph, const Statistics& statistics) : graph_(graph), statistics_(statistics) {}

  Result<MaskValues> Find() {
    CollectSoftmaxPaths();
    TRY(LookAtConstants());
    LookAtRanges();
    return std::move(found_);
  }

 private:
  static bool Carries(const onnx::NodeProto& node) { return IsStandard(node) && kCarriers.contains(node.op_type()); }

  // Values from which carriers alone lead to a Softmax.
  void CollectSoftmaxPaths() {
    std::vector<std::string> open;
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      const auto& node = graph_.Node(i);
      if (IsStandard(node) && (node.op_type() == "Softmax" || node.op_type() == "LogSoftmax"))
        open.push_back(node.input(0));
    }
    softmax_inputs_.insert(open.begin(), open.end());
    while (!open.empty()) {
      const std::string value = std::move(open.back());
      open.pop_back();
      if (!to_softmax_.insert(value).second) continue;
      const int producer = graph_.index().Producer(value);
      if (producer < 0 || !Carries(graph_.Node(producer))) continue;
      for (const auto& input : graph_.Node(producer).input()) {
        if (!input.empty()) open.push_back(input);
      }
    }
  }

  // Marks a value and everything that carriers compute from it.
  void Mark(const std::string& value, const std::string& why) {
    std::vector<std::string> open = {value};
    while (!open.empty()) {
      const std::string name = std::move(open.back());
      open.pop_back();
      if (name.empty() || !found_.values.emplace(name, why).second) continue;
      const int producer = graph_.index().Producer(name);
      if (producer >= 0 && Carries(graph_.Node(producer))) found_.nodes.insert(producer);
      for (const Use& use : graph_.index().Consumers(name)) {
        if (use.input < 0 || !Carries(graph_.Node(use.node))) continue;
        found_.nodes.insert(use.node);
        for (const auto& output : graph_.Node(use.node).output()) open.push_back(output);
      }
    }
  }

  bool ReachesSoftmax(const onnx::NodeProto& node) const {
    for (const auto& output : node.output()) {
      if (to_softmax_.contains(output)) return true;
    }
    return false;
  }

  // Adds the finite magnitude and whether all values are finite.
  Result<kernels::FloatRange> RangeOf(const onnx::TensorProto& tensor) {
    const auto known = constants_.find(tensor.name());
    if (known != constants_.end()) return known->second;
    TRY_ASSIGN(const Tensor values, ReadTensor(tensor));
    return constants_[tensor.name()] = kernels::Range(values.data<float>(), static_cast<size_t>(values.Elements()));
  }

  Result<> LookAtConstants() {
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      const auto& node = graph_.Node(i);
      if (!Carries(node)) continue;
      for (const auto& input : node.input()) {
        const onnx::TensorProto* tensor = graph_.FloatWeight(input);
        if (tensor == nullptr) continue;
        TRY_ASSIGN(const kernels::FloatRange range, RangeOf(*tensor));
        const bool absurd = range.non_finite > 0 || range.AbsMax() >= kNoNumber;
        if (!absurd && !(range.AbsMax() >= kMaskNumber && ReachesSoftmax(node))) continue;
        Mark(input, absurd ? "a constant that is not finite or has no real magnitude"
                           : "a mask constant on the way to a Softmax");
      }
    }
    return {};
  }

  void LookAtRanges() {
    for (const auto& [name, range] : statistics_) {
      if (graph_.index().Producer(name) < 0) LookAtRange(name, range);
    }
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      for (const auto& name : graph_.Node(i).output()) {
        const auto found = statistics_.find(name);
        if (found != statistics_.end()) LookAtRange(name, found->second);
      }
    }
  }

  void LookAtRange(const std::string& name, const TensorStatistics& range) {
    const bool absurd = range.low <= -kNoNumber || range.high >= kNoNumber;
    if (range.non_finite > 0 && !IsDirt(name))
      Mark(name, fmt::format("{} of {} values were not finite", range.non_finite, range.values));
    if (absurd) Mark(name, fmt::format("its range is [{:.4g}, {:.4g}]", range.low, range.high));
    const bool wide = range.high - range.low > kSoftmaxSpan;
    if (!absurd && wide && (softmax_inputs_.contains(name) || IsOperandOfWideSoftmax(name)))
      Mark(name, fmt::format("its range [{:.4g}, {:.4g}] is too wide for a Softmax", range.low, range.high));
  }

  static bool IsProduct(const onnx::NodeProto& node) {
    static const std::set<std::string> kProducts = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    return IsStandard(node) && kProducts.contains(node.op_type());
  }

  // Whether values that are not finite came in with the data and mean nothing. An infinity that a product reads makes
  // all its sums infinite or NaN: nobody marks places that way.
  bool IsDirt(const std::string& name) const {
    for (const Use& use : graph_.index().Consumers(name)) {
      if (use.input >= 0 && IsProduct(graph_.Node(use.node))) return true;
    }
    const int producer = graph_.index().Producer(name);
    if (producer < 0) return false;
    if (IsProduct(graph_.Node(producer))) return true;
    for (const auto& input : graph_.Node(producer).input()) {
      const auto found = statistics_.find(input);
      if (found != statistics_.end() && found->second.non_finite > 0 && !found_.values.contains(input)) return true;
    }
    return false;
  }

  // An operand of the Add, Where or the like that computes a Softmax's input.
  bool IsOperandOfWideSoftmax(const std::string& name) const {
    for (const Use& use : graph_.index().Consumers(name)) {
      if (use.input < 0 || !Carries(graph_.Node(use.node))) continue;
      if (ReachesSoftmax(graph_.Node(use.node))) return true;
    }
    return false;
  }

  const QuantizationGraph& graph_;
  const Statistics& statistics_;
  std::set<std::string> softmax_inputs_;
  std::set<std::string> to_softmax_;
  std::map<std::string, kernels::FloatRange> constants_;
  MaskValues found_;
};

}  // namespace

Result<MaskValues> FindMasks(const QuantizationGraph& graph, const Statistics& statistics) {
  return MaskFinder(graph, statistics).Find();
}

}  // namespace hone
