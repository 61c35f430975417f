// Before: y = MatMul(x, W)
// After:  y = Cast<f32>(Cast<f16>(MatMul(Cast<f32>(Cast<f16>(x)), Wh)))      Wh: W rounded to float16
#include "worker/sensitivity/half_form.h"

#include <set>
#include <unordered_map>

#include "kernels/half.h"
#include "worker/model/model.h"
#include "worker/sensitivity/changes.h"

namespace hone {
namespace {

class Rounder {
 public:
  explicit Rounder(const onnx::ModelProto& model) : model_(model), names_(model.graph()), constants_(model.graph()) {
    onnx::ModelProto typed = model;
    InferShapes(typed);
    for (const auto* values : {&typed.graph().value_info(), &typed.graph().input(), &typed.graph().output()}) {
      for (const auto& value : *values) {
        if (value.type().tensor_type().elem_type() == onnx::TensorProto::FLOAT) floats_.insert(value.name());
      }
    }
  }

  onnx::ModelProto Run() {
    model_result_ = model_;
    graph_ = model_result_.mutable_graph();
    graph_->clear_node();
    for (const auto& node : model_.graph().node()) {
      const bool has_graph = std::any_of(node.attribute().begin(), node.attribute().end(),
                                         [](const auto& a) { return a.has_g() || a.graphs_size() > 0; });
      const bool floats =
          std::any_of(node.output().begin(), node.output().end(), [&](const auto& o) { return floats_.contains(o); });
      if (has_graph || !floats || node.op_type() == "Constant") {
        *graph_->add_node() = node;
      } else {
        Write(node);
      }
    }
    return std::move(model_result_);
  }

 private:
  void Write(const onnx::NodeProto& source) {
    onnx::NodeProto node = source;
    for (auto& input : *node.mutable_input()) input = Rounded(input);
    std::vector<std::pair<std::string, std::string>> given;
    for (auto& output : *node.mutable_output()) {
      if (!floats_.contains(output)) continue;
      given.emplace_back(names_.FreshName(output + "_exact"), output);
      output = given.back().first;
    }
    graph_->add_node()->Swap(&node);
    for (const auto& [exact, rounded] : given) AddCasts(exact, rounded);
  }

  // Each reader rounds for itself, so that readers stay apart.
  std::string Rounded(const std::string& name) {
    if (const auto* tensor = constants_.Find(name))
      return tensor->data_type() == onnx::TensorProto::FLOAT ? RoundedConstant(name, *tensor) : name;
    if (!floats_.contains(name)) return name;
    const std::string rounded = names_.FreshName(name + "_rounded");
    AddCasts(name, rounded);
    return rounded;
  }

  std::string RoundedConstant(const std::string& name, const onnx::TensorProto& tensor) {
    const auto known = rounded_.find(name);
    if (known != rounded_.end()) return known->second;
    const auto value = ReadTensor(tensor);
    if (!value) return name;
    const auto count = static_cast<size_t>(value->Elements());
    std::vector<uint16_t> halves(count);
    std::vector<float> floats(count);
    kernels::FloatToHalf(value->data<float>(), count, kernels::Clamp::yes, halves.data());
    kernels::HalfToFloat(halves.data(), count, floats.data());
    const std::string fresh = names_.FreshName(name + "_rounded");
    *graph_->add_initializer() = MakeTensor(fresh, onnx::TensorProto::FLOAT, value->dims, floats);
    return rounded_[name] = fresh;
  }

  void AddCasts(const std::string& from, const std::string& to) {
    const std::string half = names_.FreshName(to + "_half");
    AddCast(from, half, onnx::TensorProto::FLOAT16);
    AddCast(half, to, onnx::TensorProto::FLOAT);
  }
  void AddCast(const std::string& from, const std::string& to, ElementType type) {
    onnx::NodeProto& cast = *graph_->add_node();
    cast.set_op_type("Cast");
    cast.set_name(names_.FreshName(to + "_cast"));
    cast.add_input(from);
    cast.add_output(to);
    SetIntAttribute(cast, "to", type);
  }

  const onnx::ModelProto& model_;
  onnx::ModelProto model_result_;
  onnx::GraphProto* graph_ = nullptr;
  GraphIndex names_;
  Constants constants_;
  std::set<std::string> floats_;
  std::unordered_map<std::string, std::string> rounded_;
};

}  // namespace

onnx::ModelProto RoundToHalf(const onnx::ModelProto& model) { return Rounder(model).Run(); }

}  // namespace hone
