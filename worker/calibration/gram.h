// X^T X of rows that come a few at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hone {

// Holds one multiplication thread for the products of this process while it lives, so that sums are made in one order.
class OneBlasThread {
 public:
  OneBlasThread();
  ~OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  int before_;
};

class GramBuilder {
 public:
  // Bytes that a builder for rows of `width` values takes.
  static uint64_t Bytes(uint64_t width);

  explicit GramBuilder(size_t width);
  size_t width() const { return width_; }

  // Rows with a NaN or an infinity are left out. The sum depends on the rows and their order, not on how they are cut
  // into calls.
  void Add(const float* rows, size_t count);

  // The full symmetric matrix, width * width; ends the building.
  std::vector<float> Finish();
  uint64_t rows() const { return rows_; }  // That went in.

 private:
  void Flush();

  size_t width_;
  uint64_t rows_ = 0;
  size_t pending_rows_ = 0;
  std::vector<float> pending_;
  std::vector<float> sum_;  // The upper triangle.
};

}  // namespace hone
