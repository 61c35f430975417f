// Folders test_data_set_N with input_K.pb and output_K.pb (TensorProto), as ONNX's own test suites have them, as a data
// set.
#pragma once

#include <memory>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

// See OpenDataSet. One folder is one sample, in the order of N. A tensor that carries the name of an input feeds it;
// otherwise input_K feeds the K-th input.
Result<std::unique_ptr<DataSet>> OpenOnnxTestData(const proto::LocalData& data,
                                                  const std::vector<InputSignature>& inputs);

}  // namespace hone
