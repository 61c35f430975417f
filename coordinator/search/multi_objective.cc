// The hypervolume is computed by sweeping over the first value: the points sorted by it cut the room into slabs, and a
// slab's cross-section is the hypervolume, one dimension lower, of the points before it (Fonseca, Paquete, Lopez-Ibanez
// 2006, without the bookkeeping that pays for more than three values). In one and two dimensions that is a plain sum.
#include "coordinator/search/multi_objective.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace hone {
namespace {

double NanAsWorst(double value) { return std::isnan(value) ? std::numeric_limits<double>::infinity() : value; }

bool Dominates(const Values& a, const Values& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (NanAsWorst(a[i]) > NanAsWorst(b[i])) return false;
    better = better || NanAsWorst(a[i]) < NanAsWorst(b[i]);
  }
  return better;
}

bool LexLess(const Values& a, const Values& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = NanAsWorst(a[i]), y = NanAsWorst(b[i]);
    if (x != y) return x < y;
  }
  return false;
}

std::vector<size_t> LexOrder(const std::vector<Values>& points) {
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return LexLess(points[a], points[b]); });
  return order;
}

// Two values: in lexicographic order a point is dominated by a layer just if the layer's least second value so far is
// not above its own. Layers are ordered by that value, so the point's own is found by bisection.
std::vector<size_t> RanksOfPairs(const std::vector<Values>& points) {
  const std::vector<size_t> order = LexOrder(points);
  std::vector<size_t> ranks(points.size());
  std::vector<double> least;            // Of each layer.
  for (size_t i = 0; i < order.size(); ++i) {
    const Values& point = points[order[i]];
    if (i > 0 && !LexLess(points[order[i - 1]], point)) {
      ranks[order[i]] = ranks[order[i - 1]];
      continue;
    }
    const double second = NanAsWorst(point[1]);
    const size_t rank = static_cast<size_t>(std::upper_bound(least.begin(), least.end(), second) - least.begin());
    // A layer whose least value equals ours dominates us: it has a smaller first value. upper_bound has passed it.
    if (rank == least.size()) least.push_back(second);
    least[rank] = second;
    ranks[order[i]] = rank;
  }
  return ranks;
}

// The points strictly below the reference, NaN aside.
std::vector<Values> Inside(const std::vector<Values>& points, const Values& reference) {
  std::vector<Values> inside;
  for (const Values& point : points) {
    bool in = point.size() == reference.size();
    for (size_t i = 0; in && i < point.size(); ++i) in = point[i] < reference[i];
    if (in) inside.push_back(point);
  }
  return inside;
}

// Of points that lie inside, by the values from `from` on.
double SweptVolume(std::vector<Values> points, const Values& reference, size_t from) {
  if (points.empty()) return 0;
  std::stable_sort(points.begin(), points.end(), [&](const Values& a, const Values& b) { return a[from] < b[from]; });
  if (from + 1 == reference.size()) return reference[from] - points.front()[from];
  double volume = 0;
  if (from + 2 == reference.size()) {
    double lowest = reference[from + 1];
    for (const Values& point : points) {
      if (point[from + 1] >= lowest) continue;
      volume += (reference[from] - point[from]) * (lowest - point[from + 1]);
      lowest = point[from + 1];
    }
    return volume;
  }
  std::vector<Values> before;
  for (size_t i = 0; i < points.size(); ++i) {
    before.push_back(points[i]);
    const double next = i + 1 < points.size() ? points[i + 1][from] : reference[from];
    if (next > points[i][from]) volume += (next - points[i][from]) * SweptVolume(before, reference, from + 1);
  }
  return volume;
}

double BoxVolume(const Values& point, const Values& corner) {
  double volume = 1;
  for (size_t i = 0; i < point.size(); ++i) volume *= corner[i] - point[i];
  return volume;
}

// What each point adds follows from its neighbours on the front alone: in lexicographic order the corner of its
// rectangle.
std::vector<size_t> SelectPairs(std::vector<Values> points, std::vector<size_t> names, size_t count,
                                const Values& reference) {
  std::vector<Values> corners(points.size(), reference);
  std::vector<size_t> selected;
  while (selected.size() < count) {
    size_t best = 0;
    double most = -std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < points.size(); ++i) {
      const double added = BoxVolume(points[i], corners[i]);
      if (added > most) {
        most = added;
        best = i;
      }
    }
    selected.push_back(names[best]);
    const Values chosen = points[best];
    const auto at = static_cast<std::ptrdiff_t>(best);
    points.erase(points.begin() + at);
    names.erase(names.begin() + at);
    corners.erase(corners.begin() + at);
    for (size_t i = 0; i < points.size(); ++i) {
      double& bound = corners[i][i < best ? 0 : 1];
      bound = std::min(bound, chosen[i < best ? 0 : 1]);
    }
  }
  return selected;
}

// What a point adds only shrinks as others are chosen, so an old figure is a bound: only points that may still win are
// computed anew.
std::vector<size_t> SelectLazily(const std::vector<Values>& points, const std::vector<size_t>& names, size_t count,
                                 const Values& reference) {
  std::vector<double> bound(points.size());
  std::vector<bool> taken(points.size(), false);
  for (size_t i = 0; i < points.size(); ++i) bound[i] = BoxVolume(points[i], reference);
  std::vector<Values> chosen;
  double covered = 0;
  std::vector<size_t> selected;
  while (selected.size() < count) {
    std::vector<size_t> order;
    for (size_t i = 0; i < points.size(); ++i) {
      if (!taken[i]) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return bound[a] > bound[b]; });
    double most = -std::numeric_limits<double>::infinity();
    size_t best = order.front();
    for (const size_t i : order) {
      if (bound[i] < most) break;
      if (!chosen.empty()) {
        chosen.push_back(points[i]);
        bound[i] = SweptVolume(chosen, reference, 0) - covered;
        chosen.pop_back();
      }
      if (bound[i] > most || (bound[i] == most && i < best)) {
        most = bound[i];
        best = i;
      }
    }
    taken[best] = true;
    chosen.push_back(points[best]);
    covered += most;
    selected.push_back(names[best]);
  }
  return selected;
}

}  // namespace

std::vector<size_t> NonDominationRanks(const std::vector<Values>& points, size_t enough) {
  if (points.empty()) return {};
  if (points.front().size() == 2) return RanksOfPairs(points);
  std::vector<size_t> ranks(points.size(), 0);
  std::vector<size_t> left = LexOrder(points);
  size_t ranked = 0;
  for (size_t rank = 0; !left.empty(); ++rank) {
    if (rank > 0 && ranked >= enough) {
      for (const size_t i : left) ranks[i] = rank;
      break;
    }
    // In lexicographic order only earlier points can dominate, and of those a member of the layer does if any does.
    std::vector<size_t> layer, rest;
    for (const size_t i : left) {
      const bool dominated =
          std::any_of(layer.begin(), layer.end(), [&](size_t other) { return Dominates(points[other], points[i]); });
      (dominated ? rest : layer).push_back(i);
    }
    for (const size_t i : layer) ranks[i] = rank;
    ranked += layer.size();
    left = std::move(rest);
  }
  return ranks;
}

Values ReferencePointOf(const std::vector<Values>& points) {
  Values reference = points.front();
  for (const Values& point : points) {
    for (size_t i = 0; i < point.size(); ++i) reference[i] = std::max(NanAsWorst(reference[i]), NanAsWorst(point[i]));
  }
  for (double& worst : reference) {
    worst = std::max(1.1 * worst, 0.9 * worst);
    if (worst == 0) worst = 1e-12;
  }
  return reference;
}

double Hypervolume(const std::vector<Values>& points, const Values& reference) {
  if (reference.empty()) return 0;
  return SweptVolume(Inside(points, reference), reference, 0);
}

std::vector<size_t> SelectByHypervolume(const std::vector<Values>& points, size_t count, const Values& reference) {
  std::vector<size_t> all(points.size());
  std::iota(all.begin(), all.end(), size_t{0});
  if (count >= points.size()) return all;
  // Copies of a point add nothing: the first of each stands for them.
  std::vector<size_t> unique;
  for (const size_t i : LexOrder(points)) {
    if (unique.empty() || LexLess(points[unique.back()], points[i])) unique.push_back(i);
  }
  if (unique.size() < count) {
    std::vector<bool> chosen(points.size(), false);
    for (const size_t i : unique) chosen[i] = true;
    size_t missing = count - unique.size();
    for (size_t i = 0; i < points.size() && missing > 0; ++i) {
      if (chosen[i]) continue;
      chosen[i] = true;
      --missing;
    }
    std::erase_if(all, [&](size_t i) { return !chosen[i]; });
    return all;
  }
  const bool finite =
      std::all_of(reference.begin(), reference.end(), [](double value) { return std::isfinite(value); });
  if (!finite || unique.size() == count) return {unique.begin(), unique.begin() + static_cast<std::ptrdiff_t>(count)};
  std::vector<Values> distinct;
  for (const size_t i : unique) distinct.push_back(points[i]);
  if (reference.size() == 2) return SelectPairs(std::move(distinct), unique, count, reference);
  return SelectLazily(distinct, unique, count, reference);
}

}  // namespace hone
