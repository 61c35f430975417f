// The passes there are, in the order in which people list them: structural ones, then precisions, then formats.
#include "worker/passes/build_decoder.h"
#include "worker/passes/build_encoder.h"
#include "worker/passes/build_openvino_decoder.h"
#include "worker/passes/calibrate.h"
#include "worker/passes/convert_opset.h"
#include "worker/passes/dynamic_int8.h"
#include "worker/passes/fix_shapes.h"
#include "worker/passes/fp16.h"
#include "worker/passes/fuse_transformer.h"
#include "worker/passes/graph_surgeries.h"
#include "worker/passes/model_parts.h"
#include "worker/passes/model_ports.h"
#include "worker/passes/openvino_int8.h"
#include "worker/passes/openvino_ir.h"
#include "worker/passes/openvino_weights.h"
#include "worker/passes/ort_optimize.h"
#include "worker/passes/pass.h"
#include "worker/passes/prune.h"
#include "worker/passes/simplify.h"
#include "worker/passes/static_int8.h"
#include "worker/passes/weight_layout.h"
#include "worker/passes/weights_int4.h"
#include "worker/passes/weights_int8.h"

namespace hone {

const std::vector<PassRow>& Passes() {
  static const std::vector<PassRow> kPasses = {
      {BuildDecoderInfo, nullptr, BuildDecoder},
      {BuildEncoderInfo, nullptr, BuildEncoder},
      {BuildOpenvinoDecoderInfo, nullptr, BuildOpenvinoDecoder},
      {SimplifyInfo, Simplify, nullptr},
      {FixShapesInfo, FixShapes, nullptr},
      {ConvertOpsetInfo, ConvertOpset, nullptr},
      {GraphSurgeriesInfo, GraphSurgeries, nullptr},
      {IoTypesInfo, ConvertIoTypes, nullptr},
      {LayoutInfo, ConvertLayout, nullptr},
      {BatchInfo, ChangeBatch, nullptr},
      {PreprocessInfo, MovePreprocessing, nullptr},
      {SplitInfo, nullptr, SplitModel},
      {ComposeInfo, nullptr, ComposeModels},
      {CalibrateInfo, nullptr, Calibrate},
      {FuseTransformerInfo, FuseTransformer, nullptr},
      {OrtOptimizeInfo, OrtOptimize, nullptr},
      {PruneInfo, Prune, nullptr},
      {Fp16Info, ConvertToFp16, nullptr},
      {DynamicInt8Info, DynamicInt8, nullptr},
      {StaticInt8Info, StaticInt8, nullptr, true},
      {WeightsInt8Info, WeightsInt8, nullptr, true},
      {WeightsInt4Info, WeightsInt4, nullptr, true},
      {QdqToMatMulNBitsInfo, QdqToMatMulNBits, nullptr, true},
      {MatMulNBitsToQdqInfo, MatMulNBitsToQdq, nullptr, true},
      {OpenvinoInt8Info, nullptr, OpenvinoInt8},
      {OpenvinoWeightsInfo, nullptr, OpenvinoWeights},
      {OpenvinoIrInfo, nullptr, ConvertToOpenvinoIr},
  };
  return kPasses;
}

}  // namespace hone
