// A histogram that widens as larger values come (statistics.h says how its bins lie).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "worker/calibration/statistics.h"

namespace hone {

class HistogramBuilder {
 public:
  // `low` and `high` are those of the finite values among `values`, of which there is at least one.
  void Add(const float* values, size_t count, float low, float high);
  Histogram Finish() const;

 private:
  // Makes bins wide enough for a magnitude, merging the ones there are.
  void Cover(float magnitude);
  void MakeRoom(int64_t first, int64_t last);

  bool has_width_ = false;
  int exponent_ = 0;    // Bins are 2^exponent_ wide.
  uint64_t zeros_ = 0;  // While there is no width.
  int64_t first_ = 0;   // Bin of counts_[0].
  std::vector<uint64_t> counts_;
};

}  // namespace hone
