// Before: x[batch, 3, "H", "W"] -> ...; shapes as the exporter left them.
// After:  x[1, 3, 48, 192] -> ...; every shape that follows from the inputs written down.
//
// Shapes that the exporter recorded are forgotten first: they may have been traced with other inputs, and inference never overrules what is written.
#include "worker/passes/fix_shapes.h"

#include <fmt/format.h>

#include "common/base/strings.h"
#include "worker/model/model.h"

namespace hone {
namespace {

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
  context.notes.push_back(fmt::format("{} of the inputs pinned", context.task->inputs_size()));
  return {};
}

}  // namespace hone
