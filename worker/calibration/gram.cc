// Rows are gathered until there are enough for the matrix product to run at its speed; groups begin at every
// kGroupRows-th row whatever the calls, so the sums are always the same ones.
#include "worker/calibration/gram.h"

#include <cblas.h>

#include <cstring>
#include <utility>

#include "kernels/range.h"

namespace hone {
namespace {

constexpr size_t kGroupRows = 256;

}  // namespace

OneBlasThread::OneBlasThread() : before_(openblas_get_num_threads()) { openblas_set_num_threads(1); }
OneBlasThread::~OneBlasThread() { openblas_set_num_threads(before_); }

uint64_t GramBuilder::Bytes(uint64_t width) { return width * (width + kGroupRows) * sizeof(float); }

GramBuilder::GramBuilder(size_t width) : width_(width), pending_(kGroupRows * width), sum_(width * width) {}

void GramBuilder::Add(const float* rows, size_t count) {
  if (width_ == 0) return;
  for (size_t row = 0; row < count; ++row) {
    const float* values = rows + row * width_;
    if (kernels::Range(values, width_).non_finite > 0) continue;
    std::memcpy(pending_.data() + pending_rows_ * width_, values, width_ * sizeof(float));
    ++rows_;
    if (++pending_rows_ == kGroupRows) Flush();
  }
}

void GramBuilder::Flush() {
  if (pending_rows_ == 0) return;
  const auto width = static_cast<blasint>(width_);
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, width, static_cast<blasint>(pending_rows_), 1.0f, pending_.data(),
              width, 1.0f, sum_.data(), width);
  pending_rows_ = 0;
}

std::vector<float> GramBuilder::Finish() {
  Flush();
  for (size_t row = 0; row < width_; ++row) {
    for (size_t column = 0; column < row; ++column) sum_[row * width_ + column] = sum_[column * width_ + row];
  }
  pending_ = {};
  return std::exchange(sum_, {});
}

}  // namespace hone
