// Before: x[batch, 3, "H", "W"] -> ...; shapes as the exporter left them.
// After:  x[1, 3, 48, 192] -> ...; every shape that follows from the inputs written down.
//
// Shapes that the exporter recorded are forgotten first: they may have been traced with other inputs, and inference
// never overrules what is written. Inference alone stops at arithmetic on shapes that it has no rules for. So the
// shapes are taken from a skeleton, the model with its large weights turned into inputs, in which that arithmetic is
// folded round by round; the model itself keeps its nodes.
#include "worker/passes/fix_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "common/base/strings.h"
#include "worker/model/model.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

constexpr uint64_t kMaxShapeBytes = 1024;  // What may be part of shape arithmetic.
constexpr int kMaxRounds = 16;

using TypesByName = std::unordered_map<std::string, onnx::TypeProto>;

onnx::ValueInfoProto DeclarationOf(const onnx::TensorProto& tensor) {
  onnx::ValueInfoProto value;
  value.set_name(tensor.name());
  auto* type = value.mutable_type()->mutable_tensor_type();
  type->set_elem_type(tensor.data_type());
  type->mutable_shape();
  for (const int64_t dim : tensor.dims()) type->mutable_shape()->add_dim()->set_dim_value(dim);
  return value;
}

onnx::ModelProto SkeletonOf(const onnx::ModelProto& model) {
  onnx::ModelProto skeleton;
  skeleton.set_ir_version(std::max<int64_t>(model.ir_version(), 4));
  *skeleton.mutable_opset_import() = model.opset_import();
  *skeleton.mutable_functions() = model.functions();
  onnx::GraphProto& graph = *skeleton.mutable_graph();
  for (const auto* input : RealInputs(model.graph())) *graph.add_input() = *input;
  *graph.mutable_node() = model.graph().node();
  *graph.mutable_output() = model.graph().output();
  *graph.mutable_value_info() = model.graph().value_info();
  *graph.mutable_sparse_initializer() = model.graph().sparse_initializer();
  for (const auto& tensor : model.graph().initializer()) {
    if (tensor.ByteSizeLong() <= kMaxShapeBytes) {
      *graph.add_initializer() = tensor;
    } else {
      *graph.add_input() = DeclarationOf(tensor);
    }
  }
  return skeleton;
}

void Collect(const onnx::GraphProto& graph, TypesByName& types) {
  for (const auto* values : {&graph.value_info(), &graph.output()}) {
    for (const auto& value : *values) {
      if (value.type().has_tensor_type() && value.type().tensor_type().has_shape()) types[value.name()] = value.type();
    }
  }
  for (const auto& tensor : graph.initializer()) types[tensor.name()] = DeclarationOf(tensor).type();
}

Result<TypesByName> TypesOf(onnx::ModelProto skeleton) {
  TypesByName types;
  onnx::GraphProto& graph = *skeleton.mutable_graph();
  int changes = 1;
  for (int round = 0; changes > 0 && round < kMaxRounds; ++round) {
    KnownValues known;
    ReinferShapes(skeleton, &known);
    Collect(graph, types);
    const ValueTypes inferred(graph);
    changes = LiftConstants(graph) + FoldKnownValues(graph, inferred, known);
    std::vector<std::string> notes;
    TRY_ASSIGN(const int folded, FoldConstants(skeleton, inferred, kMaxShapeBytes, notes));
    changes += folded;
  }
  Collect(graph, types);
  return types;
}

void WriteShapes(const TypesByName& types, onnx::GraphProto& graph) {
  std::unordered_map<std::string, onnx::ValueInfoProto*> declared;
  for (auto* values : {graph.mutable_value_info(), graph.mutable_output()}) {
    for (auto& value : *values) declared[value.name()] = &value;
  }
  for (const auto& node : graph.node()) {
    for (const auto& name : node.output()) {
      const auto type = types.find(name);
      if (type == types.end()) continue;
      auto& target = declared[name];
      if (target == nullptr) {
        target = graph.add_value_info();
        target->set_name(name);
      }
      *target->mutable_type() = type->second;
    }
  }
}

// "x[0], x[2]" for the dimensions that are still free; "x" alone where the rank is unknown.
std::vector<std::string> FreeDimensions(const onnx::GraphProto& graph) {
  std::vector<std::string> free;
  for (const auto* input : RealInputs(graph)) {
    if (!input->type().has_tensor_type()) continue;
    const auto dims = DimsOf(*input);
    if (!dims) {
      free.push_back(input->name());
      continue;
    }
    for (size_t i = 0; i < dims->size(); ++i) {
      if ((*dims)[i] < 0) free.push_back(fmt::format("{}[{}]", input->name(), i));
    }
  }
  return free;
}

}  // namespace

proto::PassInfo FixShapesInfo() {
  proto::PassInfo info;
  info.set_name("fix_shapes");
  info.set_version(1);
  info.set_summary("Pins free input dimensions to the shapes given as inputs, and infers every other shape from them");
  info.add_accepts("onnx");
  return info;
}

Result<> FixShapes(onnx::ModelProto& model, PassContext& context) {
  TRY(PinInputs(model, context.task->inputs()));
  const std::vector<std::string> free = FreeDimensions(model.graph());
  if (!free.empty()) {
    return Fail(ErrorCode::kRejected, fmt::format("free dimensions remain: {}", Join(free, ", ")),
                "Pin them with `inputs` in the recipe or --input NAME=1,64 on the command line.");
  }
  ReinferShapes(model);
  TRY_ASSIGN(const TypesByName types, TypesOf(SkeletonOf(model)));
  WriteShapes(types, *model.mutable_graph());
  context.notes.push_back(fmt::format("{} of the inputs pinned", context.task->inputs_size()));
  return {};
}

}  // namespace hone
