// A constant matrix of a model, read a few columns at a time from wherever its bytes lie.
#pragma once

#include <onnx/onnx_pb.h>

#include <vector>

#include "common/base/result.h"
#include "worker/model/model.h"
#include "worker/passes/blas.h"

namespace hone {

class WeightMatrix {
 public:
  // A float32 or float16 tensor of rank 2, or more with leading dimensions of 1; turn: its rows are our columns. Valid
  // while the tensor is.
  static Result<WeightMatrix> Open(const onnx::TensorProto& tensor, Turn turn);

  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }
  bool IsHalf() const { return half_; }

  // The matrix as it lies in memory, row by row; nullptr where it must be converted or turned.
  const float* Floats() const;
  // Columns [first, last) as [rows, last - first].
  void Columns(size_t first, size_t last, float* values) const;
  std::vector<float> Columns(size_t first, size_t last) const;
  // At most `count` columns, spread evenly.
  std::vector<float> SomeColumns(size_t count, size_t& got) const;
  // Whether it holds no NaN and no infinity.
  bool IsFinite(int threads) const;

 private:
  void Column(size_t column, float* values) const;
  void Elements(size_t first, size_t count, float* values) const;

  TensorView view_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  bool half_ = false;
  Turn turn_ = Turn::no;
};

}  // namespace hone
