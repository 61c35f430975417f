// Where the level of a series of figures changed: E-divisive means (Matteson & James 2014) in windows with a t-test,
// then merged, as in "Hunter: Using Change Point Detection to Hunt for Performance Regressions" (Fleming et al. 2023)
// and its successor Apache Otava, whose change points it finds exactly where asked to.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace hone {

struct ChangePoint {
  size_t index = 0;        // Of the first value of the new level.
  double mean_before = 0;  // Between this change point and its neighbours.
  double mean_after = 0;
  double p = 1;
};

struct ChangePointOptions {
  size_t window = 50;        // At least 2.
  double max_p = 0.001;      // Candidates pass ten times as much; merging leaves those below it.
  double min_magnitude = 0;  // Smaller relative changes are merged.
  // As Apache Otava 0.8 does it: the t-test gets standard deviations with divisor n, which makes p a little too small,
  // and merging tests only the right neighbour of a point that was taken away again. For comparison with it.
  bool as_otava = false;
};

// Keeps its working memory between series. One thread at a time.
class ChangePointFinder {
 public:
  explicit ChangePointFinder(const ChangePointOptions& options);
  // In order of index. The values are finite.
  std::vector<ChangePoint> Find(std::span<const double> series);

 private:
  struct Candidate {
    size_t index = 0;
    double q = 0;
  };
  // An interval of the window with its best candidate.
  struct Part {
    size_t start = 0;
    size_t end = 0;
    bool may_change = false;
    Candidate candidate;
  };
  Part PartOf(std::span<const double> window, size_t start, size_t end) const;
  bool MayChange(std::span<const double> interval) const;
  void PrepareWindow(std::span<const double> window);
  Candidate Best(size_t start, size_t end);
  std::vector<size_t> Split(std::span<const double> series, size_t start, size_t end);
  ChangePoint Test(std::span<const double> series, size_t start, size_t index, size_t end) const;
  std::vector<ChangePoint> Merge(std::span<const double> series, std::vector<ChangePoint> points) const;
  double FirstPassP() const;

  ChangePointOptions options_;
  size_t width_;                       // Of a row of the tables.
  std::vector<double> critical_t_;     // By length of the interval: where p is that of the first pass.
  std::vector<double> across_factor_;  // By length of the interval.
  std::vector<double> left_factor_;    // By length of the left side and of the interval.
  std::vector<double> right_factor_;
  std::vector<double> distance_;    // Of the window's values, by pair.
  std::vector<double> row_sum_;     // Of distances to the values right of it, as far as a column.
  std::vector<double> below_;       // Sums of row_sum_ from a row to the last.
  std::vector<double> above_;       // Running sums of row_sum_ from the first row on.
  std::vector<double> column_sum_;  // Of distances to the values left of it.
  std::vector<double> quality_;
};

// A night's figure: the relative difference to what was accepted then.
struct EffectAgainst {
  std::string_view accepted;
  double effect = 0;
};
// Indices where another level begins, looked for apart in each run of nights with the same accepted artifact: accepting
// another begins anew.
std::vector<size_t> LevelChanges(std::span<const EffectAgainst> nights);

}  // namespace hone
