// Passes that change what a caller feeds and gets: element types, layouts, batch, preprocessing, a part of the graph.
#pragma once

#include "worker/passes/pass.h"

namespace hone {

proto::PassInfo IoTypesInfo();
Result<> ConvertIoTypes(onnx::ModelProto& model, PassContext& context);

proto::PassInfo LayoutInfo();
Result<> ConvertLayout(onnx::ModelProto& model, PassContext& context);

proto::PassInfo BatchInfo();
Result<> ChangeBatch(onnx::ModelProto& model, PassContext& context);

proto::PassInfo PreprocessInfo();
Result<> MovePreprocessing(onnx::ModelProto& model, PassContext& context);

proto::PassInfo SplitInfo();
Result<> SplitModel(onnx::ModelProto& model, PassContext& context);

}  // namespace hone
