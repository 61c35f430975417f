// Passes that change what a caller feeds and gets: element types, layouts, batch, preprocessing.
#pragma once

#include <string>
#include <vector>

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

// The words of a parameter, "a+b", "a,b" or "a b"; none where it is not given.
std::vector<std::string> PortWords(const PassContext& context, const char* name);
// A parameter without a default.
proto::ParameterInfo FreeText(const char* name, const char* help);

}  // namespace hone
