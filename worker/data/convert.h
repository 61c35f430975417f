// Element types of data made those of the model, where nothing is lost but float precision.
#pragma once

#include <cstdint>

#include "common/base/result.h"
#include "worker/model/tensor.h"

namespace hone {

// Nearest half, ties to even; overflow gives infinity.
uint16_t FloatToHalf(float value);
// Nearest bfloat16, ties to even.
uint16_t FloatToBfloat16(float value);

// The tensor in `wanted`'s type. Integers and bool convert to one another where every value fits; float types convert
// to one another with rounding where no finite value becomes infinite. Anything else is kRejected ("float32 is wanted
// and int64 was found").
Result<Tensor> ConvertTensor(Tensor tensor, ElementType wanted);

}  // namespace hone
