#include "worker/passes/half_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kernels/half.h"
#include "worker/calibration/statistics.h"
#include "worker/model/model.h"
#include "worker/passes/quantization_data.h"

namespace hone {
namespace {

constexpr float kSmallestNormalHalf = 6.1035156e-5F;  // 2^-14

using OpTypes = std::unordered_set<std::string>;

// Results that may leave float16's range although the inputs are far inside.
const OpTypes& GrowingOps() {
  static const OpTypes kOps = {"Exp",          "LpNormalization", "Pow",        "ReduceL2",
                               "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"};
  return kOps;
}

// What large values pass through without becoming small.
const OpTypes& PassingOps() {
  static const OpTypes kOps = {"Abs",        "Add",       "Concat",    "Expand",    "Flatten",  "Gather",
                               "Identity",   "Max",       "Min",       "Mul",       "Neg",      "ReduceMax",
                               "ReduceMean", "ReduceMin", "ReduceSum", "Reshape",   "Slice",    "Split",
                               "Squeeze",    "Sub",       "Sum",       "Transpose", "Unsqueeze"};
  return kOps;
}

std::set<std::string> FloatActivations(const onnx::ModelProto& model) {
  std::set<std::string> computed;
  for (const auto* input : RealInputs(model.graph())) computed.insert(input->name());
  for (const auto& node : model.graph().node()) {
    if (node.op_type() != "Constant") computed.insert(node.output().begin(), node.output().end());
  }
  std::set<std::string> floats;
  for (const auto* values : {&model.graph().value_info(), &model.graph().input(), &model.graph().output()}) {
    for (const auto& value : *values) {
      if (value.type().tensor_type().elem_type() == onnx::TensorProto::FLOAT && computed.contains(value.name()))
        floats.insert(value.name());
    }
  }
  return floats;
}

// --- with data -------------------------------------------------------------------------------------------------

Result<std::map<int, std::string>> Measured(const onnx::ModelProto& model, double headroom, PassContext& context) {
  std::vector<StatisticsRequest> requests;
  for (const auto& name : FloatActivations(model))
    requests.push_back({name, false, StatisticsRequest::kNoChannels, false});
  Statistics statistics;
  TRY_ASSIGN(StatisticsSource source, StatisticsSource::Open(context));
  TRY(source.Add(model, requests, statistics));
  std::map<std::string, std::string> beyond;
  for (const auto& [name, seen] : statistics) {
    const float magnitude = std::max(std::fabs(seen.low), std::fabs(seen.high));
    if (magnitude * headroom > kernels::kLargestHalf) beyond[name] = "its activations leave float16's range";
    if (magnitude > 0 && magnitude < kSmallestNormalHalf) beyond[name] = "its activations vanish in float16";
  }
  std::map<int, std::string> kept;
  for (int n = 0; n < model.graph().node_size(); ++n) {
    const auto& node = model.graph().node(n);
    const auto look = [&](const std::string& name) {
      if (const auto found = beyond.find(name); found != beyond.end()) kept.emplace(n, found->second);
    };
    for (const auto& name : node.input()) look(name);
    for (const auto& name : node.output()) look(name);
  }
  return kept;
}

// --- without ---------------------------------------------------------------------------------------------------

class Rules {
 public:
  explicit Rules(const onnx::ModelProto& model) : graph_(model.graph()), index_(model.graph()) {
    for (const auto& node : graph_.node()) {
      if (node.op_type() == "Constant" && node.output_size() == 1 && node.attribute_size() == 1 &&
          node.attribute(0).has_t())
        constants_[node.output(0)] = &node.attribute(0).t();
    }
  }

  std::map<int, std::string> Run() {
    for (int n = 0; n < graph_.node_size(); ++n) {
      const auto& node = graph_.node(n);
      if (Grows(node)) Follow(n);
      if (HasLargeConstant(node)) kept_.emplace(n, "a constant is beyond float16's range");
    }
    return std::move(kept_);
  }

 private:
  const onnx::TensorProto* Constant(const std::string& name) const {
    if (const auto* tensor = index_.Initializer(name)) return tensor;
    const auto found = constants_.find(name);
    return found == constants_.end() ? nullptr : found->second;
  }

  bool Grows(const onnx::NodeProto& node) const {
    if (!GrowingOps().contains(node.op_type())) return false;
    if (node.op_type() == "Exp") {
      // A softmax takes the largest element off before: its exponents are not positive.
      const int producer = index_.Producer(node.input(0));
      return producer < 0 || graph_.node(producer).op_type() != "Sub";
    }
    if (node.op_type() != "Pow" || node.input_size() < 2) return true;
    const auto* exponent = Constant(node.input(1));
    if (exponent == nullptr || exponent->data_type() != onnx::TensorProto::FLOAT) return true;
    const auto values = ReadTensor(*exponent);
    return !values || std::any_of(values->data<float>(), values->data<float>() + values->Elements(),
                                  [](float value) { return !(std::fabs(value) <= 1); });
  }

  // Keeps the node, and what takes its result until something contracts it.
  void Follow(int start) {
    std::vector<int> open = {start};
    while (!open.empty()) {
      const int n = open.back();
      open.pop_back();
      const auto& node = graph_.node(n);
      if (!kept_.emplace(n, "its results may leave float16's range").second && n != start) continue;
      if (n != start && !PassingOps().contains(node.op_type())) continue;
      for (const auto& output : node.output()) {
        for (const Use& use : index_.Consumers(output)) open.push_back(use.node);
      }
    }
  }

  bool HasLargeConstant(const onnx::NodeProto& node) const {
    static const OpTypes kArithmetic = {"Add", "Div", "Mul", "Pow", "Sub"};
    if (!kArithmetic.contains(node.op_type())) return false;
    return std::any_of(node.input().begin(), node.input().end(), [&](const std::string& name) {
      const auto* tensor = Constant(name);
      if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT) return false;
      const auto values = ReadTensor(*tensor);
      // Weights are looked at element by element where they are clamped; here a number counts.
      if (!values || values->Elements() != 1) return false;
      const float value = *values->data<float>();
      return std::isfinite(value) && value > kernels::kLargestHalf;
    });
  }

  const onnx::GraphProto& graph_;
  GraphIndex index_;
  std::unordered_map<std::string, const onnx::TensorProto*> constants_;
  std::map<int, std::string> kept_;
};

}  // namespace

Result<std::map<int, std::string>> NodesBeyondHalf(const onnx::ModelProto& model, double headroom,
                                                   PassContext& context) {
  if (context.task->has_calibration()) return Measured(model, headroom, context);
  return Rules(model).Run();
}

}  // namespace hone
