// For an interval of n values and a split after `left` of them, the values from there to `length` forming the right
// side, E-divisive looks for the largest
//
//   q = 2/length * (sum of distances across) - 2*right/(length*(left-1)) * (sum within the left side)
//                                            - 2*left/(length*(right-1)) * (sum within the right side).
//
// All sums are running sums of rows of the distance matrix: with H[t][k] the distances of value t to those from t+1 to
// k, and V[t] the distances of t to those before it,
//
//   across(left, length) = sum of H[t][length-1] over t < left  -  sum of V[t] over 1 <= t < left,
//   within the left      = sum of V[t] over 1 <= t < left,
//   within the right     = sum of H[t][length-1] over left <= t,
//
// so each q costs a handful of operations, and a row of them runs over neighbouring memory. Sums are taken in the order
// in which Otava's matrices take them, so that ties break alike.
//
// A candidate counts only where the t-test of its whole interval, split there, is significant. Whether that can be so
// anywhere in the interval is known after one pass over its values, and most windows of most series end with that:
// their distances are never computed.
#include "common/statistics/change_points.h"

#include <algorithm>
#include <cmath>

#include "common/base/result.h"
#include "common/statistics/distributions.h"

namespace hone {
namespace {

// Pairwise summation in blocks of eight, so that long stretches lose nothing.
double SumOf(std::span<const double> values) {
  if (values.size() < 128) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum;
  }
  const size_t half = values.size() / 2;
  return SumOf(values.first(half)) + SumOf(values.subspan(half));
}

struct Moments {
  double mean = 0;
  double squares = 0;  // Sum of squared deviations.
};

Moments MomentsOf(std::span<const double> values) {
  Moments moments;
  moments.mean = SumOf(values) / static_cast<double>(values.size());
  for (const double value : values) moments.squares += (value - moments.mean) * (value - moments.mean);
  return moments;
}

// The t with a two-sided p of `p`.
double CriticalT(double p, double degrees) {
  double low = 0;
  double high = 1;
  while (high < 1e15 && StudentTwoSided(high, degrees) > p) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (StudentTwoSided(middle, degrees) > p ? low : high) = middle;
  }
  return low;
}

double RelativeChange(double from, double to) { return from == 0 ? 0 : std::abs(to / from - 1); }

double Magnitude(const ChangePoint& point) {
  return std::max(RelativeChange(point.mean_before, point.mean_after),
                  RelativeChange(point.mean_after, point.mean_before));
}

}  // namespace

ChangePointFinder::ChangePointFinder(const ChangePointOptions& options) : options_(options), width_(options.window) {
  CHECK_THAT(options.window >= 2);
  const size_t cells = width_ * width_;
  across_factor_.resize(width_);
  for (std::vector<double>* table : {&left_factor_, &right_factor_, &distance_, &row_sum_, &below_})
    table->assign(cells, 0);
  critical_t_.resize(width_ + 1);
  for (size_t length = 3; length <= width_; ++length)
    critical_t_[length] = CriticalT(FirstPassP(), static_cast<double>(length - 2));
  above_.resize(width_);
  column_sum_.resize(width_);
  quality_.resize(width_);
  // Row `left` - 1, column `length` - 2.
  for (size_t column = 0; column + 1 < width_; ++column) {
    const auto length = static_cast<double>(column + 2);
    across_factor_[column] = 2 / length;
    for (size_t row = 0; row <= column; ++row) {
      const auto left = static_cast<double>(row + 1);
      const double right = length - left;
      if (left > 1) left_factor_[row * width_ + column] = 2 * right / (length * (left - 1));
      if (right > 1) right_factor_[row * width_ + column] = 2 * left / (length * (right - 1));
    }
  }
}

void ChangePointFinder::PrepareWindow(std::span<const double> window) {
  const size_t n = window.size();
  std::fill(column_sum_.begin(), column_sum_.end(), 0);
  for (size_t t = 0; t + 1 < n; ++t) {
    double* distances = &distance_[t * width_];
    double* sums = &row_sum_[t * width_];
    // Column k belongs to value k + 1.
    std::fill(sums, sums + t, 0);
    const double value = window[t];
    for (size_t k = t; k + 1 < n; ++k) distances[k] = std::abs(window[k + 1] - value);
    for (size_t k = t; k + 1 < n; ++k) column_sum_[k] += distances[k];
    double sum = 0;
    for (size_t k = t; k + 1 < n; ++k) sums[k] = sum += distances[k];
  }
}

// Rows and columns count from the interval's start; the first of several equal maxima counts, in the order of rows.
// Cells left of a row's own column are no splits; Otava's matrix holds zeros there, which win where all splits before
// them are negative.
ChangePointFinder::Candidate ChangePointFinder::Best(size_t start, size_t end) {
  const size_t size = end - start - 1;
  const double* sums = &row_sum_[start * width_ + start];
  const double* below_last = nullptr;
  for (size_t row = size; row-- > 1;) {
    double* below = &below_[row * width_];
    const double* sum = sums + row * width_;
    for (size_t k = row; k < size; ++k) below[k] = below_last == nullptr || k == row ? sum[k] : below_last[k] + sum[k];
    below_last = below;
  }
  std::fill(above_.begin(), above_.begin() + static_cast<std::ptrdiff_t>(size), 0);
  Candidate best{start + 1, -INFINITY};
  double within_left = 0;
  for (size_t row = 0; row < size; ++row) {
    const double* sum = sums + row * width_;
    const double* left_factor = &left_factor_[row * width_];
    const double* right_factor = &right_factor_[row * width_];
    const double* below = row + 1 < size ? &below_[(row + 1) * width_] : nullptr;
    if (row > 0) {
      double column = column_sum_[start + row - 1];
      double before = 0;
      for (size_t t = 0; t < start; ++t) before += distance_[t * width_ + start + row - 1];
      column -= before;
      within_left += column;
      if (best.q < 0) best = {start + row + 1, 0};
    }
    double* quality = quality_.data();
    double* above = above_.data();
    for (size_t k = row; k < size; ++k) above[k] += sum[k];
    quality[row] = across_factor_[row] * (above[row] - within_left) - left_factor[row] * within_left;
    for (size_t k = row + 1; k < size; ++k) {
      quality[k] =
          across_factor_[k] * (above[k] - within_left) - left_factor[k] * within_left - right_factor[k] * below[k];
    }
    double highest = best.q;
    for (size_t k = row; k < size; ++k) highest = std::max(highest, quality[k]);
    if (highest > best.q) best = {start + row + 1, highest};
  }
  return best;
}

ChangePoint ChangePointFinder::Test(std::span<const double> series, size_t start, size_t index, size_t end) const {
  const std::span<const double> left = series.subspan(start, index - start);
  const std::span<const double> right = series.subspan(index, end - index);
  const Moments before = MomentsOf(left);
  const Moments after = MomentsOf(right);
  ChangePoint point{index, before.mean, after.mean, 1};
  const auto n = static_cast<double>(left.size());
  const auto m = static_cast<double>(right.size());
  if (n + m <= 2) return point;
  double squares = before.squares + after.squares;
  if (options_.as_otava) {
    squares = (n - 1) * before.squares / n + (m - 1) * after.squares / m;
  }
  const double error = std::sqrt(squares / (n + m - 2) * (1 / n + 1 / m));
  point.p = StudentTwoSided((before.mean - after.mean) / error, n + m - 2);
  return point;
}

// Running sums are not as exact as the test itself: what comes near counts.
bool ChangePointFinder::MayChange(std::span<const double> interval) const {
  constexpr double kNear = 1 - 1e-6;
  if (interval.size() < 3) return false;
  const double center = interval[0];
  double sum = 0;
  double squares = 0;
  for (const double value : interval) {
    sum += value - center;
    squares += (value - center) * (value - center);
  }
  const auto n = static_cast<double>(interval.size());
  const double within = squares - sum * sum / n;
  const double critical = critical_t_[interval.size()] * critical_t_[interval.size()] * kNear;
  double left_sum = 0;
  double left_squares = 0;
  for (size_t i = 1; i < interval.size(); ++i) {
    const double value = interval[i - 1] - center;
    left_sum += value;
    left_squares += value * value;
    const auto left = static_cast<double>(i);
    const double right = n - left;
    double left_within = left_squares - left_sum * left_sum / left;
    double right_within = squares - left_squares - (sum - left_sum) * (sum - left_sum) / right;
    const double between = within - left_within - right_within;
    if (options_.as_otava) {
      left_within *= (left - 1) / left;
      right_within *= (right - 1) / right;
    }
    // t squared is between * degrees / (left_within + right_within).
    const double noise = left_within + right_within;
    if (between * (n - 2) >= critical * noise || noise <= 1e-9 * within) return true;
  }
  return false;
}

ChangePointFinder::Part ChangePointFinder::PartOf(std::span<const double> window, size_t start, size_t end) const {
  return {start, end, MayChange(window.subspan(start, end - start)), {}};
}

// The window's change points: again and again the best candidate of all intervals, as long as it is significant.
std::vector<size_t> ChangePointFinder::Split(std::span<const double> series, size_t start, size_t end) {
  const std::span<const double> window = series.subspan(start, end - start);
  std::vector<size_t> found;
  std::vector<Part> parts = {PartOf(window, 0, window.size())};
  const auto may_change = [](const Part& part) { return part.may_change; };
  while (std::any_of(parts.begin(), parts.end(), may_change)) {
    if (found.empty()) PrepareWindow(window);
    Part* best = nullptr;
    for (Part& part : parts) {
      if (part.end - part.start < 2) continue;
      if (part.candidate.index == 0) part.candidate = Best(part.start, part.end);
      if (best == nullptr || part.candidate.q > best->candidate.q) best = &part;
    }
    // Not significant, or not a number, where nothing varies.
    if (best == nullptr || !(Test(window, best->start, best->candidate.index, best->end).p <= FirstPassP())) break;
    const Part whole = *best;
    const size_t middle = whole.candidate.index;
    found.push_back(start + middle);
    *best = PartOf(window, whole.start, middle);
    parts.insert(parts.begin() + (best - parts.data()) + 1, PartOf(window, middle, whole.end));
  }
  std::sort(found.begin(), found.end());
  return found;
}

double ChangePointFinder::FirstPassP() const {
  if (options_.max_p < 0.05) return options_.max_p * 10;
  return options_.max_p < 0.5 ? options_.max_p * 2 : options_.max_p;
}

// The weakest is taken away, and its neighbours are tested again over the longer stretch, until all that are left are
// strong.
std::vector<ChangePoint> ChangePointFinder::Merge(std::span<const double> series,
                                                  std::vector<ChangePoint> points) const {
  while (!points.empty()) {
    auto weakest = points.begin();
    for (auto point = points.begin(); point != points.end(); ++point) weakest = point->p > weakest->p ? point : weakest;
    if (weakest->p < options_.max_p) {
      weakest = points.begin();
      for (auto point = points.begin(); point != points.end(); ++point)
        weakest = Magnitude(*point) < Magnitude(*weakest) ? point : weakest;
      if (Magnitude(*weakest) > options_.min_magnitude) break;
    }
    const auto at = static_cast<size_t>(weakest - points.begin());
    points.erase(weakest);
    for (size_t i = at == 0 || options_.as_otava ? at : at - 1; i <= at && i < points.size(); ++i) {
      const size_t from = i == 0 ? 0 : points[i - 1].index;
      const size_t to = i + 1 == points.size() ? series.size() : points[i + 1].index;
      points[i] = Test(series, from, points[i].index, to);
    }
  }
  return points;
}

std::vector<ChangePoint> ChangePointFinder::Find(std::span<const double> series) {
  std::vector<size_t> weak;
  const size_t step = options_.window / 2;
  for (size_t start = 0; start < series.size();) {
    const size_t end = std::min(start + options_.window, series.size());
    const std::vector<size_t> found = Split(series, start, end);
    start = std::max(found.empty() ? 0 : found.back(), start + step);
    weak.insert(weak.end(), found.begin(), found.end());
  }
  std::sort(weak.begin(), weak.end());
  weak.erase(std::unique(weak.begin(), weak.end()), weak.end());
  std::vector<ChangePoint> points;
  for (size_t i = 0; i < weak.size(); ++i) {
    points.push_back(
        Test(series, i == 0 ? 0 : weak[i - 1], weak[i], i + 1 == weak.size() ? series.size() : weak[i + 1]));
  }
  return Merge(series, std::move(points));
}

std::vector<size_t> LevelChanges(std::span<const EffectAgainst> nights) {
  ChangePointFinder finder({});
  std::vector<size_t> changes;
  for (size_t first = 0; first < nights.size();) {
    size_t last = first;
    std::vector<double> ratios;
    while (last < nights.size() && nights[last].accepted == nights[first].accepted)
      ratios.push_back(1 + nights[last++].effect);
    for (const ChangePoint& change : finder.Find(ratios)) changes.push_back(first + change.index);
    first = last;
  }
  return changes;
}

}  // namespace hone
