// A decoder as an OpenVINO model whose cache of keys and values is the model's own state, in the form that OpenVINO
// GenAI runs and that the runtime fuses.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/decoder/decoder_graph.h"
#include "worker/decoder/mapped_weights.h"

namespace ov {
class Model;
}

namespace hone {

struct OpenvinoDecoder {
  std::shared_ptr<ov::Model> model;  // Its constants lie in the weights' memory.
  std::vector<std::string> notes;
};

// kRejected, naming the tensor, for what is missing, of the wrong shape, or has no place in the architecture.
// Everything is checked before the first weight is written. options.accuracy_level is ONNX Runtime's alone.
Result<OpenvinoDecoder> BuildOpenvinoDecoderGraph(const Checkpoint& checkpoint, const DecoderConfig& config,
                                                  const DecoderOptions& options, WeightsFile& weights);

}  // namespace hone
