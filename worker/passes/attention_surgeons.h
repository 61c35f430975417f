// The surgeons of graph_surgeries that build a graph of their own. Each returns how many places it changed.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

// custom.PackedAttention, which no runtime has, as a Loop over the sequences that are packed into one.
Result<int> LoopPackedAttention(onnx::ModelProto& model);

// The last product reads the 8-bit table of the embedding instead of codes of its own, where both stand for the same
// numbers as far as their grids can tell. `notes` says why where they do not.
Result<int> ShareEmbedding(onnx::ModelProto& model, std::vector<std::string>& notes);

}  // namespace hone
