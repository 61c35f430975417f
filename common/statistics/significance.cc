#include "common/statistics/significance.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "common/statistics/distributions.h"

namespace hone {
namespace {

constexpr size_t kExactRanks = 200;

struct RankSums {
  std::vector<size_t> doubled;  // Twice the rank of each difference: mean ranks of ties are halves.
  size_t doubled_above = 0;     // Of those above zero.
};

RankSums RankDifferences(const std::vector<double>& differences) {
  std::vector<double> sorted;
  for (const double difference : differences) {
    if (difference != 0 && std::isfinite(difference)) sorted.push_back(difference);
  }
  std::sort(sorted.begin(), sorted.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
  RankSums sums;
  for (size_t first = 0; first < sorted.size();) {
    size_t last = first;
    while (last + 1 < sorted.size() && std::abs(sorted[last + 1]) == std::abs(sorted[first])) ++last;
    const size_t doubled = first + last + 2;
    for (; first <= last; ++first) {
      sums.doubled.push_back(doubled);
      if (sorted[first] > 0) sums.doubled_above += doubled;
    }
  }
  return sums;
}

// Each rank is above zero with probability one half, of its own: the distribution of the sum, rank by rank.
double ExactRankP(const RankSums& sums) {
  const size_t total = std::accumulate(sums.doubled.begin(), sums.doubled.end(), size_t{0});
  std::vector<double> probability(total + 1, 0);
  probability[0] = 1;
  size_t reached = 0;
  for (const size_t rank : sums.doubled) {
    reached += rank;
    for (size_t sum = reached + 1; sum-- > 0;)
      probability[sum] = (probability[sum] + (sum >= rank ? probability[sum - rank] : 0)) / 2;
  }
  const size_t smaller = std::min(sums.doubled_above, total - sums.doubled_above);
  double tail = 0;
  for (size_t sum = 0; sum <= smaller; ++sum) tail += probability[sum];
  return std::min(1.0, 2 * tail);
}

double NormalRankP(const RankSums& sums) {
  double mean = 0;
  double variance = 0;
  for (const size_t doubled : sums.doubled) {
    const double rank = static_cast<double>(doubled) / 2;
    mean += rank / 2;
    variance += rank * rank / 4;
  }
  const double distance = std::abs(static_cast<double>(sums.doubled_above) / 2 - mean);
  return std::min(1.0, 2 * NormalTail(std::max(0.0, distance - 0.5) / std::sqrt(variance)));
}

}  // namespace

double SignedRankP(const std::vector<double>& differences) {
  const RankSums sums = RankDifferences(differences);
  if (sums.doubled.empty()) return 1;
  return sums.doubled.size() <= kExactRanks ? ExactRankP(sums) : NormalRankP(sums);
}

double SignP(const std::vector<double>& differences) {
  const auto above =
      static_cast<double>(std::count_if(differences.begin(), differences.end(), [](double d) { return d > 0; }));
  const auto below =
      static_cast<double>(std::count_if(differences.begin(), differences.end(), [](double d) { return d < 0; }));
  const double n = above + below;
  if (n == 0) return 1;
  // P(B <= k) of a binomial with one half.
  const double k = std::min(above, below);
  return k == n ? 1 : std::min(1.0, 2 * (1 - IncompleteBeta(k + 1, n - k, 0.5)));
}

std::vector<double> AdjustedP(const std::vector<double>& p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double least = 1;
  for (size_t rank = order.size(); rank-- > 0;) {
    const double scaled = p_values[order[rank]] * static_cast<double>(order.size()) / static_cast<double>(rank + 1);
    least = std::min(least, scaled);
    adjusted[order[rank]] = least;
  }
  return adjusted;
}

std::vector<bool> BenjaminiHochberg(const std::vector<double>& p_values, double q) {
  std::vector<bool> rejected;
  for (const double adjusted : AdjustedP(p_values)) rejected.push_back(adjusted <= q);
  return rejected;
}

}  // namespace hone
