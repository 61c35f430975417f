#include "worker/passes/awq.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "worker/passes/blas.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

constexpr size_t kSketchRows = 192;
constexpr size_t kLargestBlock = 256;  // Whose ranges are chosen by the outputs' error.
constexpr int kSteps = 20;
// Scales may spread over this factor at most: beyond it a block holds nothing but its largest rows.
constexpr double kLargestSpread = 1e4;

// R [r, rows] with |R d|^2 near d^T H d: a Cholesky factor of H, projected by a fixed matrix of signs where it has many
// rows.
struct Sketch {
  std::vector<float> matrix;
  size_t rows = 0;
};

Sketch MakeSketch(const std::vector<float>& gram, size_t n) {
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += std::max(0.0, static_cast<double>(gram[i * n + i])) / static_cast<double>(n);
  std::vector<double> h;
  for (double damping = 1e-6; damping <= 10; damping *= 100) {
    h.assign(gram.begin(), gram.end());
    for (size_t i = 0; i < n; ++i) h[i * n + i] += damping * (mean > 0 ? mean : 1);
    if (Cholesky(h, n)) break;
    h.clear();
  }
  if (h.empty()) {  // The diagonal alone is better than nothing.
    h.assign(n * n, 0.0);
    for (size_t i = 0; i < n; ++i) h[i * n + i] = std::sqrt(std::max(0.0, static_cast<double>(gram[i * n + i])));
  }
  const std::vector<float> lower(h.begin(), h.end());  // H = L L^T, so |L^T d|^2 is d^T H d.
  Sketch sketch;
  sketch.rows = std::min(n, kSketchRows);
  sketch.matrix.resize(sketch.rows * n);
  if (n <= kSketchRows) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) sketch.matrix[i * n + j] = lower[j * n + i];
    }
    return sketch;
  }
  std::vector<float> signs(sketch.rows * n);
  uint64_t state = 0x9e3779b97f4a7c15u;
  const float size = 1.0f / std::sqrt(static_cast<float>(sketch.rows));
  for (float& sign : signs) {
    state ^= state << 13;  // xorshift64
    state ^= state >> 7;
    state ^= state << 17;
    sign = (state >> 32 & 1) != 0 ? size : -size;
  }
  Multiply(sketch.rows, n, n, 1, {signs.data(), n}, {lower.data(), n, Turn::yes}, 0, sketch.matrix.data(), n);
  return sketch;
}

double SketchedError(const Sketch& sketch, const std::vector<float>& difference, size_t rows, size_t columns) {
  std::vector<float> product(sketch.rows * columns);
  Multiply(sketch.rows, columns, rows, 1, {sketch.matrix.data(), rows}, {difference.data(), columns}, 0,
           product.data(), columns);
  double error = 0;
  for (const float value : product) error += static_cast<double>(value) * static_cast<double>(value);
  return error;
}

// magnitude^alpha, with a geometric middle of 1.
std::vector<float> ScalesFor(const std::vector<double>& magnitudes, double alpha) {
  const double largest = *std::max_element(magnitudes.begin(), magnitudes.end());
  const double floor = std::max(largest / kLargestSpread, 1e-30);
  std::vector<double> exact;
  double low = 1e300;
  double high = 0;
  for (const double magnitude : magnitudes) {
    exact.push_back(std::pow(std::max(magnitude, floor), alpha));
    low = std::min(low, exact.back());
    high = std::max(high, exact.back());
  }
  const double middle = std::sqrt(low * high);
  std::vector<float> scales;
  for (const double scale : exact) scales.push_back(static_cast<float>(scale / middle));
  return scales;
}

double ErrorWith(const AwqWeight& weight, const std::vector<float>& scales, const Sketch& sketch) {
  const CodeShape& shape = weight.shape;
  std::vector<float> scaled = *weight.values;
  for (size_t row = 0; row < shape.rows; ++row) {
    for (size_t c = 0; c < shape.columns; ++c) scaled[row * shape.columns + c] *= scales[row];
  }
  const Grid grid = FindGrids(scaled.data(), shape, GridMethod::range, nullptr);
  std::vector<float> differences(scaled.size());
  for (size_t index = 0; index < shape.Groups(); ++index) {
    const size_t at = index * shape.group * shape.columns;
    const size_t entry = index * shape.columns;
    Differences(scaled.data() + at, shape.RowsOf(index), shape, grid.scales.data() + entry, grid.zeros.data() + entry,
                differences.data() + at);
  }
  for (size_t row = 0; row < shape.rows; ++row) {
    const float inverse = 1 / scales[row];
    for (size_t c = 0; c < shape.columns; ++c) differences[row * shape.columns + c] *= inverse;
  }
  return SketchedError(sketch, differences, shape.rows, shape.columns);
}

}  // namespace

AwqScales SearchAwqScales(const std::vector<AwqWeight>& weights, const std::vector<float>& gram,
                          const std::vector<double>& magnitudes, int threads) {
  const Sketch sketch = MakeSketch(gram, magnitudes.size());
  std::vector<double> errors(kSteps + 1);
  ParallelFor(threads, errors.size(), [&](size_t step) {
    const std::vector<float> scales = ScalesFor(magnitudes, static_cast<double>(step) / kSteps);
    for (const AwqWeight& weight : weights) errors[step] += ErrorWith(weight, scales, sketch);
  });
  AwqScales result;
  const auto best = std::min_element(errors.begin(), errors.end());
  result.plain_error = errors.front();
  result.error = *best;
  if (best != errors.begin())
    result.scales = ScalesFor(magnitudes, static_cast<double>(best - errors.begin()) / kSteps);
  return result;
}

namespace {

// Grids of one block row to choose from: those of the range and of least squared error, and ranges clipped on.
std::vector<Grid> CandidateGrids(const float* block, const CodeShape& shape, const float* importance) {
  constexpr int kClips = 10;
  constexpr float kClip = 0.04f;
  const size_t columns = shape.columns;
  std::vector<Grid> grids;
  const auto add = [&] { return &grids.emplace_back(Grid{std::vector<float>(columns), std::vector<float>(columns)}); };
  for (const GridMethod method : {GridMethod::range, GridMethod::search}) {
    Grid* grid = add();
    FindGrid(block, shape, 0, method, importance, grid->scales.data(), grid->zeros.data());
  }
  const Grid base = grids.front();
  for (int clip = 1; clip <= kClips; ++clip) {
    const float share = 1 - kClip * static_cast<float>(clip);
    for (const float side : {0.0f, 1.0f}) {
      Grid* grid = add();
      for (size_t c = 0; c < columns; ++c) {
        grid->scales[c] = base.scales[c] * (shape.symmetric && side > 0 ? -share : share);
        // The middle of the range keeps its place among the codes.
        const float half = 0.5f * shape.Top();
        const float zero = std::floor(half + (base.zeros[c] - half) / share) + side;
        grid->zeros[c] = shape.symmetric ? base.zeros[c] : std::clamp(zero, 0.0f, shape.Top());
      }
      RoundScales(shape, grid->scales.data());
    }
  }
  return grids;
}

}  // namespace

BlockCodes EncodeForOutputs(const std::vector<float>& values, const CodeShape& shape, const std::vector<float>& gram) {
  const size_t n = shape.rows;
  const size_t columns = shape.columns;
  BlockCodes result{shape,
                    {std::vector<float>(shape.Groups() * columns), std::vector<float>(shape.Groups() * columns)},
                    std::vector<uint8_t>(n * columns)};
  std::vector<float> importance(n);
  for (size_t i = 0; i < n; ++i) importance[i] = std::max(0.0f, gram[i * n + i]);
  // Blocks of whole columns would cost a product of the whole matrix for each range.
  if (shape.group > kLargestBlock)
    return Encode(values.data(), shape, FindGrids(values.data(), shape, GridMethod::search, importance.data()));
  std::vector<float> differences(n * columns);
  for (size_t index = 0; index < shape.Groups(); ++index) {
    const size_t first = index * shape.group;
    const size_t rows = shape.RowsOf(index);
    const float* block = values.data() + first * columns;
    CodeShape block_shape = shape;
    block_shape.rows = block_shape.group = rows;
    // The error of the outputs is D^T H D over all rows; with the blocks before fixed, this block's part is
    // d^T H d + 2 d^T p, p being what their differences push into it.
    std::vector<float> pushed(rows * columns);
    if (first > 0) {
      Multiply(rows, columns, first, 1, {gram.data() + first * n, n}, {differences.data(), columns}, 0, pushed.data(),
               columns);
    }
    std::vector<float> best(columns, std::numeric_limits<float>::infinity());
    std::vector<float> change(rows * columns);
    std::vector<float> product(rows * columns);
    float* scales = result.grid.scales.data() + index * columns;
    float* zeros = result.grid.zeros.data() + index * columns;
    for (const Grid& grid : CandidateGrids(block, block_shape, importance.data() + first)) {
      Differences(block, rows, shape, grid.scales.data(), grid.zeros.data(), change.data());
      Multiply(rows, columns, rows, 1, {gram.data() + first * n + first, n}, {change.data(), columns}, 0,
               product.data(), columns);
      std::vector<float> errors(columns);
      AddProducts(change.data(), product.data(), pushed.data(), rows, columns, errors.data());
      for (size_t c = 0; c < columns; ++c) {
        if (!(errors[c] < best[c])) continue;
        best[c] = errors[c];
        scales[c] = grid.scales[c];
        zeros[c] = grid.zeros[c];
      }
    }
    for (size_t row = 0; row < rows; ++row) {
      const size_t at = (first + row) * columns;
      CodeRow(values.data() + at, shape, scales, zeros, result.codes.data() + at);
      DecodeRow(result.codes.data() + at, columns, scales, zeros, differences.data() + at);
      for (size_t c = 0; c < columns; ++c) differences[at + c] -= values[at + c];
    }
  }
  return result;
}

double OutputError(const std::vector<float>& difference, size_t columns, const std::vector<float>& gram, size_t rows) {
  std::vector<float> product(rows * columns);
  Multiply(rows, columns, rows, 1, {gram.data(), rows}, {difference.data(), columns}, 0, product.data(), columns);
  double error = 0;
  for (size_t i = 0; i < product.size(); ++i)
    error += static_cast<double>(product[i]) * static_cast<double>(difference[i]);
  return error;
}

}  // namespace hone
