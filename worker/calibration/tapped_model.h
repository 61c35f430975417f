// A model with taps: while a sample runs through it, every tapped tensor is shown as soon as it is computed, in place,
// and its memory is used again afterwards.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"
#include "worker/model/tensor.h"

namespace hone {

// Dense, row-major; valid during the call that it was given to.
struct TappedValue {
  ElementType type = 1;
  std::vector<int64_t> dims;
  const void* data = nullptr;
  size_t elements = 0;
};

class TapVisitor {
 public:
  virtual ~TapVisitor() = default;
  // Called once a run for every tap (its place in the list that Open was given). A failure ends the run.
  virtual Result<> Visit(size_t tap, const TappedValue& tensor) = 0;
};

class TappedModel {
 public:
  virtual ~TappedModel() = default;

  // `taps` are distinct values that nodes of the main graph compute. What no tap needs is left out. Operators run
  // unfused and in float32 as they stand, so that values are those of ONNX Runtime without optimization, bit for bit.
  // `model` is not copied: it must outlive the result. kRejected where the runtime does not take the model.
  static Result<std::unique_ptr<TappedModel>> Open(const onnx::ModelProto& model, const std::vector<std::string>& taps);

  // Of the whole model, whether a tap needs them or not.
  virtual const std::vector<InputSignature>& inputs() const = 0;

  // Runs one sample, tensors in the order of inputs(), in the calling thread. Several threads may run at once.
  virtual Result<> Run(const std::vector<Tensor>& inputs, TapVisitor& visitor) = 0;
};

}  // namespace hone
