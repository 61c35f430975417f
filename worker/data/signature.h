// What a model's input wants, compared with what there is; shared by data sets and backends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

// "[1,3,?,?]"; a free dimension is '?'.
std::string ShapeText(const std::vector<int64_t>& dims);

// Whether a shape without free dimensions can be fed where `wanted` is declared.
bool FitsShape(const std::vector<int64_t>& wanted, const std::vector<int64_t>& found);

// "x float32 [1,3,?,?]"
std::string SignatureText(const InputSignature& input);

// Whether the tensors can be fed: as many as inputs, each with the type and a shape that fits, and as many bytes as
// both say. kRejected naming the input, what it wants and what was found.
Result<> CheckFeed(const std::vector<InputSignature>& inputs, const std::vector<Tensor>& tensors);

}  // namespace hone
