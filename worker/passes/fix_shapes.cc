// Before: x[batch, 3, "H", "W"] -> ...; shapes as the exporter left them.
// After:  x[1, 3, 48, 192] -> ...; every shape that follows from the inputs written down.
//
// Shapes that the exporter recorded are forgotten first: they may have been traced with other inputs, and inference never overrules what is written.
// Element types stay, because operators of other domains cannot be inferred.
#include "worker/passes/fix_shapes.h"

#include <fmt/format.h>

#include "common/base/strings.h"
#include "worker/model/model.h"

namespace hone {
namespace {

void ForgetShapes(onnx::GraphProto& root) {
  VisitGraphs(root, [&](onnx::GraphProto& graph) {
    for (auto* values : {graph.mutable_output(), graph.mutable_value_info()}) {
      for (auto& value : *values) {
        if (value.type().has_tensor_type()) value.mutable_type()->mutable_tensor_type()->clear_shape();
      }
    }
  });
}

// What inference cannot know, the model's word stands for.
void RestoreUnknownOutputs(onnx::GraphProto& graph, const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& declared) {
  for (int i = 0; i < graph.output_size(); ++i) {
    auto& output = *graph.mutable_output(i);
    const bool had = declared[i].type().has_tensor_type() && declared[i].type().tensor_type().has_shape();
    if (!had || DimsOf(output)) continue;
    *output.mutable_type()->mutable_tensor_type()->mutable_shape() = declared[i].type().tensor_type().shape();
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
  onnx::GraphProto& graph = *model.mutable_graph();
  const std::vector<std::string> free = FreeDimensions(graph);
  if (!free.empty()) {
    return Fail(ErrorCode::kRejected, fmt::format("free dimensions remain: {}", Join(free, ", ")),
                "Pin them with `inputs` in the recipe or --input NAME=1,64 on the command line.");
  }
  const auto declared = graph.output();
  ForgetShapes(graph);
  InferShapes(model);
  RestoreUnknownOutputs(graph, declared);
  context.notes.push_back(fmt::format("{} of the inputs pinned", context.task->inputs_size()));
  return {};
}

}  // namespace hone
