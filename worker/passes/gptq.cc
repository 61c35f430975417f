#include "worker/passes/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/passes/blas.h"

namespace hone {
namespace {

// Rows whose errors are gathered before they are taken from all later rows in one product.
constexpr size_t kRowsTogether = 128;

std::vector<size_t> LargestFirst(const std::vector<float>& importance) {
  std::vector<size_t> order(importance.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return importance[a] > importance[b]; });
  return order;
}

std::vector<float> RowsInOrder(const std::vector<float>& values, size_t columns, const std::vector<size_t>& order) {
  std::vector<float> sorted(values.size());
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(values.begin() + static_cast<ptrdiff_t>(order[i] * columns), columns,
                sorted.begin() + static_cast<ptrdiff_t>(i * columns));
  }
  return sorted;
}

// One call's state: some columns of a matrix.
class Rounding {
 public:
  Rounding(std::vector<float>& values, const CodeShape& shape, const GptqFactor& factor)
      : values_(values), factor_(factor), result_{shape, {}, std::vector<uint8_t>(shape.rows * shape.columns)} {}

  BlockCodes Run() {
    const CodeShape& shape = result_.shape;
    if (factor_.order.empty()) {
      result_.grid = {std::vector<float>(shape.Groups() * shape.columns),
                      std::vector<float>(shape.Groups() * shape.columns)};
    } else {
      result_.grid = FindGrids(values_.data(), shape, factor_.options.grid, factor_.importance.data());
      values_ = RowsInOrder(values_, shape.columns, factor_.order);
    }
    // A block's grid is found when its first row's turn comes: all earlier errors must be in its rows by then.
    const size_t together = factor_.order.empty() ? std::max(kRowsTogether, shape.group) : kRowsTogether;
    for (size_t first = 0; first < shape.rows; first += together) Rows(first, std::min(shape.rows, first + together));
    return std::move(result_);
  }

 private:
  void Rows(size_t first, size_t last) {
    const CodeShape& shape = result_.shape;
    const size_t n = shape.rows;
    const size_t columns = shape.columns;
    std::vector<float> errors((last - first) * columns);
    std::vector<float> decoded(columns);
    for (size_t i = first; i < last; ++i) {
      float* values = values_.data() + i * columns;
      const size_t row = factor_.order.empty() ? i : factor_.order[i];
      const size_t group = row / shape.group;
      float* scales = result_.grid.scales.data() + group * columns;
      float* zeros = result_.grid.zeros.data() + group * columns;
      if (factor_.order.empty() && row % shape.group == 0)
        FindGrid(values, shape, group, factor_.options.grid, factor_.importance.data() + row, scales, zeros);
      uint8_t* codes = result_.codes.data() + row * columns;
      CodeRow(values, shape, scales, zeros, codes);
      DecodeRow(codes, columns, scales, zeros, decoded.data());
      const float inverse = 1 / factor_.factor[i * n + i];
      float* error = errors.data() + (i - first) * columns;
      for (size_t c = 0; c < columns; ++c) error[c] = (values[c] - decoded[c]) * inverse;
      if (i + 1 < last) {
        AddOuter(last - i - 1, columns, -1, factor_.factor.data() + i * n + i + 1, error, values + columns, columns);
      }
    }
    if (last == n) return;
    Multiply(n - last, columns, last - first, -1, {factor_.factor.data() + first * n + last, n, Turn::yes},
             {errors.data(), columns}, 1, values_.data() + last * columns, columns);
  }

  std::vector<float>& values_;
  const GptqFactor& factor_;
  BlockCodes result_;
};

}  // namespace

Result<GptqFactor> MakeGptqFactor(const std::vector<float>& gram, size_t rows, const GptqOptions& options) {
  GptqFactor result;
  result.options = options;
  double mean = 0;
  for (size_t i = 0; i < rows; ++i) {
    result.importance.push_back(std::max(0.0f, gram[i * rows + i]));
    mean += static_cast<double>(result.importance.back()) / static_cast<double>(rows);
  }
  if (mean <= 0) mean = 1;  // No input was ever anything but zero: any rounding is as good.
  std::vector<size_t> order(rows);
  std::iota(order.begin(), order.end(), size_t{0});
  if (options.act_order) result.order = order = LargestFirst(result.importance);
  for (double damping = options.damping; damping <= 10; damping = std::max(damping * 10, 1e-6)) {
    std::vector<double> h(rows * rows);
    for (size_t i = 0; i < rows; ++i) {
      const float* from = gram.data() + order[i] * rows;
      for (size_t j = 0; j < rows; ++j) h[i * rows + j] = static_cast<double>(from[order[j]]);
      h[i * rows + i] += damping * mean;
    }
    if (!InverseFactor(h, rows)) continue;
    result.factor.assign(h.begin(), h.end());
    // What float32 cannot hold would spoil every later row.
    const bool sound =
        std::all_of(result.factor.begin(), result.factor.end(), [](float x) { return std::isfinite(x); });
    bool positive = true;
    for (size_t i = 0; i < rows; ++i) positive = positive && result.factor[i * rows + i] > 0;
    if (sound && positive) return result;
  }
  return Fail(ErrorCode::kFailed, "the products of the inputs cannot be factored");
}

BlockCodes Gptq(std::vector<float>& values, const CodeShape& shape, const GptqFactor& factor) {
  return Rounding(values, shape, factor).Run();
}

}  // namespace hone
