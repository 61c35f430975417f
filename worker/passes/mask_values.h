// Finds the values of a graph that 8 bits cannot hold: attention masks and what they are added to.
//
// A mask marks forbidden places with -inf, -3.4e38 or -10000. One scale over such a range leaves no codes for the
// scores; and where the calibration data had no forbidden place, the range is [0, 0] and the mask would be quantized
// away. So both the structure and the measured ranges are looked at:
// - A constant that is not finite or at least 1e30 in magnitude makes what is computed from it a mask.
// - A constant of at least 1000 in magnitude does, where the result reaches a Softmax through elementwise and shape
//   operators alone.
// - A measured range with a bound of at least 1e30 is a mask, and so is one with non-finite values, unless they are no
//   mark but dirt in the calibration data (a NaN in a picture): where a product reads or gives the value, and
//   where the values it is computed from are not finite and no mask either.
// - The input of a Softmax whose range spans more than 255 is left alone (one code would be a step of more than 1, a
//   factor of e in every probability), and so is an operand of the same kind on the way to it.
// What elementwise and shape operators compute from a mask is a mask, up to the Softmax.
#pragma once

#include <map>
#include <set>
#include <string>

#include "kernels/range.h"
#include "worker/calibration/statistics.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

struct MaskValues {
  std::map<std::string, std::string> values;  // Name -> why.
  std::set<int> nodes;                        // That read or write a mask elementwise; they stay in float.
};

// By structure alone (before calibration: no statistics), or with what was measured.
Result<MaskValues> FindMasks(const QuantizationGraph& graph, const Statistics& statistics);

}  // namespace hone
