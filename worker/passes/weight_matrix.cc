#include "worker/passes/weight_matrix.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/half.h"
#include "kernels/range.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

// Turning goes through squares of this side, so that both sides stay in cache.
constexpr size_t kTile = 32;
constexpr size_t kElementsAtOnce = size_t{1} << 18;

}  // namespace

Result<WeightMatrix> WeightMatrix::Open(const onnx::TensorProto& tensor, Turn turn) {
  WeightMatrix matrix;
  TRY_ASSIGN(matrix.view_, ViewTensor(tensor));
  const auto& dims = matrix.view_.dims();
  CHECK_THAT(dims.size() >= 2);
  const auto before = static_cast<size_t>(dims[dims.size() - 2]);
  const auto last = static_cast<size_t>(dims.back());
  matrix.rows_ = turn == Turn::yes ? last : before;
  matrix.columns_ = turn == Turn::yes ? before : last;
  matrix.half_ = matrix.view_.type() == onnx::TensorProto::FLOAT16;
  matrix.turn_ = turn;
  CHECK_THAT(matrix.half_ || matrix.view_.type() == onnx::TensorProto::FLOAT);
  CHECK_THAT(matrix.view_.bytes().size() == before * last * (matrix.half_ ? 2 : 4));
  return matrix;
}

const float* WeightMatrix::Floats() const {
  if (half_ || turn_ == Turn::yes) return nullptr;
  // A mapped file need not keep its tensors where floats may lie.
  const char* bytes = view_.bytes().data();
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(float) != 0) return nullptr;
  return reinterpret_cast<const float*>(bytes);
}

void WeightMatrix::Elements(size_t first, size_t count, float* values) const {
  const char* bytes = view_.bytes().data();
  if (!half_) {
    std::memcpy(values, bytes + first * sizeof(float), count * sizeof(float));
    return;
  }
  std::vector<uint16_t> halves(count);
  std::memcpy(halves.data(), bytes + first * sizeof(uint16_t), count * sizeof(uint16_t));
  kernels::HalfToFloat(halves.data(), count, values);
}

void WeightMatrix::Columns(size_t first, size_t last, float* values) const {
  const size_t width = last - first;
  if (turn_ == Turn::no) {
    for (size_t row = 0; row < rows_; ++row) Elements(row * columns_ + first, width, values + row * width);
    return;
  }
  std::vector<float> tile(kTile * rows_);
  for (size_t begin = first; begin < last; begin += kTile) {
    const size_t some = std::min(kTile, last - begin);
    Elements(begin * rows_, some * rows_, tile.data());
    for (size_t row = 0; row < rows_; ++row) {
      float* to = values + row * width + (begin - first);
      for (size_t c = 0; c < some; ++c) to[c] = tile[c * rows_ + row];
    }
  }
}

std::vector<float> WeightMatrix::Columns(size_t first, size_t last) const {
  std::vector<float> values(rows_ * (last - first));
  Columns(first, last, values.data());
  return values;
}

void WeightMatrix::Column(size_t column, float* values) const {
  if (turn_ == Turn::yes) return Elements(column * rows_, rows_, values);
  for (size_t row = 0; row < rows_; ++row) Elements(row * columns_ + column, 1, values + row);
}

std::vector<float> WeightMatrix::SomeColumns(size_t count, size_t& got) const {
  got = std::min(count, columns_);
  if (got == columns_) return Columns(0, columns_);
  std::vector<float> values(rows_ * got);
  std::vector<float> column(rows_);
  for (size_t i = 0; i < got; ++i) {
    Column(i * columns_ / got, column.data());
    for (size_t row = 0; row < rows_; ++row) values[row * got + i] = column[row];
  }
  return values;
}

bool WeightMatrix::IsFinite(int threads) const {
  const size_t count = rows_ * columns_;
  std::atomic<bool> finite{true};
  ParallelFor(threads, (count + kElementsAtOnce - 1) / kElementsAtOnce, [&](size_t part) {
    if (!finite) return;
    const size_t first = part * kElementsAtOnce;
    const size_t some = std::min(kElementsAtOnce, count - first);
    const char* bytes = view_.bytes().data();
    uint64_t non_finite = 0;
    if (!half_ && reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0) {
      non_finite = kernels::Range(reinterpret_cast<const float*>(bytes) + first, some).non_finite;
    } else {
      std::vector<float> values(some);
      Elements(first, some, values.data());
      non_finite = kernels::Range(values.data(), some).non_finite;
    }
    if (non_finite > 0) finite = false;
  });
  return finite;
}

}  // namespace hone
