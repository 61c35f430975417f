// A model in several files: split cuts one, compose joins them again, or others that fit one behind another. A bundle
// of parts is an ONNX bundle with part_0/model.onnx, part_1/model.onnx ... and a manifest, which tells their order;
// opened as a model, it is its first part.
#pragma once

#include "common/artifact/bundle.h"  // kPartsFile
#include "worker/passes/pass.h"

namespace hone {

// parts.json: {"schema": "hone.parts/1", "match": "name", "inputs": [...], "outputs": [...],
//              "parts": [{"model": "part_0/model.onnx", "inputs": [...], "outputs": [...], "weight_bytes": 0}]}
// match, inputs and outputs may be missing: see ComposeModels.
inline constexpr size_t kMaxParts = 64;

proto::PassInfo SplitInfo();
Result<proto::Bundle> SplitModel(PassContext& context);

// An input takes the value of that name that an earlier part gives. Where none of a part's inputs finds one (and match
// is not "name"), its inputs take the outputs of the part before it in their order, if there are as many and types and
// dimensions go together. What is left are the whole's inputs (one for parts that want the same name and type) and
// outputs: those named in the manifest, else those that no part takes. Names that two parts have for different things
// are told apart by a number. The newest opset among the parts is everybody's.
proto::PassInfo ComposeInfo();
Result<proto::Bundle> ComposeModels(PassContext& context);

}  // namespace hone
