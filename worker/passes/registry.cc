// The passes there are, in the order in which people list them: structural ones, then precisions, then formats.
#include "worker/passes/convert_opset.h"
#include "worker/passes/fix_shapes.h"
#include "worker/passes/fp16.h"
#include "worker/passes/openvino_ir.h"
#include "worker/passes/pass.h"

namespace hone {

const std::vector<PassRow>& Passes() {
  static const std::vector<PassRow> kPasses = {
      {FixShapesInfo, FixShapes, nullptr},
      {ConvertOpsetInfo, ConvertOpset, nullptr},
      {Fp16Info, ConvertToFp16, nullptr},
      {OpenvinoIrInfo, nullptr, ConvertToOpenvinoIr},
  };
  return kPasses;
}

}  // namespace hone
