// A fleet's catalogue for tests: passes and backends like the real ones, small enough to know by heart.
#pragma once

#include <string>

#include "common/base/result.h"
#include "coordinator/search/space.h"
#include "proto/catalogue.pb.h"

namespace hone {

// simplify, fp16 {keep_io_types, scale: real 0..1, blocks: integer 1..64}, dynamic_int8 {per_channel, weights},
// static_int8 {layout, per_channel, activations, observer, percentile: real 50..100; needs calibration}, weights_int4
// {group_size, symmetric}, openvino_ir {fp16_weights; onnx or openvino_ir to openvino_ir}; onnxruntime (onnx;
// intra_op_threads 1..64), openvino (onnx, openvino_ir; hint, inference_precision).
proto::Catalogue TestCatalogue();

// Parses and builds against TestCatalogue with everything the job can have.
Result<Space> BuildFrom(const std::string& yaml);
Result<Space> BuildFrom(const std::string& yaml, const SpaceInputs& inputs);

// An onnx model, calibration and evaluation data, target cpu.
SpaceInputs AllInputs();

// TestCatalogue with a pass that gives every group of layers a precision of its own, and a value that needs calibration
// data.
proto::Catalogue GroupCatalogue();

}  // namespace hone
