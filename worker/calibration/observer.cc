// The searches look at the histogram as a density that is even within a bin, over the range widened to hold zero, and
// shrink each end towards zero. Sums over runs of bins come from prefix sums, so a candidate costs one step a code,
// however many bins there are.
//
// Zeros of a Relu or of padding cost nothing, since zero has a code; left in, they would pull the ends towards zero to
// no use. Their number within bin 0 is not known, so bin 0 counts as much as the larger of its neighbours at most.
#include "worker/calibration/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
// Shares of an end that are tried first: 2^(-i / kStepsPerHalving).
constexpr int kStepsPerHalving = 4;
constexpr int kHalvings = 10;
constexpr int kRefinements = 5;
constexpr int kRounds = 3;

// Counts over bins that reach from the range's lower end to its upper one, zero included.
struct Density {
  double width = 0;
  int64_t first = 0;
  std::vector<double> counts;

  double low() const { return static_cast<double>(first) * width; }
  double high() const { return static_cast<double>(first + static_cast<int64_t>(counts.size())) * width; }
};

Density DensityOf(const Histogram& histogram) {
  Density density;
  density.width = histogram.width;
  const int64_t last = histogram.first + static_cast<int64_t>(histogram.counts.size()) - 1;
  density.first = std::min<int64_t>(histogram.first, 0);
  const int64_t end = std::max<int64_t>(last, -1) + 1;
  density.counts.assign(static_cast<size_t>(end - density.first), 0);
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    density.counts[static_cast<size_t>(histogram.first - density.first) + i] = static_cast<double>(histogram.counts[i]);
  }
  if (end > 0) {
    const auto zero = static_cast<size_t>(-density.first);
    const double before = zero > 0 ? density.counts[zero - 1] : 0;
    const double after = zero + 1 < density.counts.size() ? density.counts[zero + 1] : 0;
    density.counts[zero] = std::min(density.counts[zero], std::max(before, after));
  }
  return density;
}

// Both signs upon each other; bin 0 is the least magnitude.
Density Folded(const Density& density) {
  Density folded;
  folded.width = density.width;
  const auto zero = static_cast<size_t>(-density.first);
  folded.counts.assign(std::max(zero, density.counts.size() - zero), 0);
  for (size_t i = 0; i < density.counts.size(); ++i)
    folded.counts[i < zero ? zero - 1 - i : i - zero] += density.counts[i];
  return folded;
}

enum class Reach { everywhere, near };

// The share in (0, 1] with the least loss: the best of a geometric series, or `start`, then halving the distance to its
// neighbours. The loss of `start` is `least`, which becomes that of the result.
double BestShare(const std::function<double(double)>& loss, Reach reach, double start, double& least) {
  double best = start;
  const auto consider = [&](double share) {
    const double value = loss(share);
    if (value >= least) return;
    least = value;
    best = share;
  };
  if (reach == Reach::everywhere) {
    for (int i = 0; i <= kStepsPerHalving * kHalvings; ++i)
      consider(std::exp2(-static_cast<double>(i) / kStepsPerHalving));
  }
  double ratio = std::exp2(1.0 / kStepsPerHalving);
  for (int i = 0; i < kRefinements; ++i) {
    ratio = std::sqrt(ratio);
    const double center = best;
    consider(center / ratio);
    if (center < 1) consider(std::min(1.0, center * ratio));
  }
  return best;
}

struct Shares {
  double low = 1;
  double high = 1;
};

// Both ends together first, then each for itself, and once more near by until nothing is gained.
Shares BestShares(const std::function<double(Shares)>& loss) {
  double least = loss({1, 1});
  const double both = BestShare([&](double share) { return loss({share, share}); }, Reach::everywhere, 1, least);
  Shares best{both, both};
  for (int round = 0; round < kRounds; ++round) {
    const double before = least;
    const Reach reach = round == 0 ? Reach::everywhere : Reach::near;
    best.high = BestShare([&](double share) { return loss({best.low, share}); }, reach, best.high, least);
    best.low = BestShare([&](double share) { return loss({share, best.high}); }, reach, best.low, least);
    if (least >= before) break;
  }
  return best;
}

// The share of both ends of a symmetric range.
double BestSymmetricShare(const std::function<double(double)>& loss) {
  double least = loss(1);
  return BestShare(loss, Reach::everywhere, 1, least);
}

ObservedRange Seen(const TensorStatistics& statistics) { return {statistics.low, statistics.high}; }

ObservedRange Within(const TensorStatistics& statistics, double low, double high) {
  const auto clamp = [&](double value) {
    return static_cast<float>(
        std::clamp(value, static_cast<double>(statistics.low), static_cast<double>(statistics.high)));
  };
  return {clamp(low), clamp(high)};
}

// --- percentile ------------------------------------------------------------------------------------------------

// The value below which `rank` of the values lie, counted from the lower end; even within a bin.
double ValueAt(const Histogram& histogram, double rank) {
  double below = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    const auto count = static_cast<double>(histogram.counts[i]);
    if (below + count >= rank && count > 0) {
      const double share = (rank - below) / count;
      return (static_cast<double>(histogram.first) + static_cast<double>(i) + share) * histogram.width;
    }
    below += count;
  }
  return (static_cast<double>(histogram.first) + static_cast<double>(histogram.counts.size())) * histogram.width;
}

ObservedRange Percentile(const TensorStatistics& statistics, const ObserverOptions& options) {
  const auto values = static_cast<double>(statistics.values - statistics.non_finite);
  const double cut = std::floor(values * std::clamp(100 - options.percentile, 0.0, 100.0) / 200);
  if (cut < 1) return Seen(statistics);
  const double low = ValueAt(statistics.histogram, cut);
  const double high = ValueAt(statistics.histogram, values - cut);
  return Within(statistics, std::min(low, high), std::max(low, high));
}

// --- entropy ---------------------------------------------------------------------------------------------------

// Divergence of codes from values, over candidates [begin, end) of the bins:
//   P  the counts inside, with what lies outside added to the end bins
//   Q  the counts inside; each code's bins (those of P that are not empty) share evenly what they hold together
//   D  sum P log(P / Q), both normalized
// D = (sum P log P - sum over codes of P(code) log Q(code)) / N + log(total Q / N), where only the end bins of P differ
// from the counts.
class Divergence {
 public:
  Divergence(const Density& density, int levels) : counts_(density.counts), levels_(static_cast<size_t>(levels)) {
    const size_t size = counts_.size();
    count_.resize(size + 1);
    used_.resize(size + 1);
    entropy_.resize(size + 1);
    for (size_t i = 0; i < size; ++i) {
      count_[i + 1] = count_[i] + counts_[i];
      used_[i + 1] = used_[i] + (counts_[i] > 0 ? 1 : 0);
      entropy_[i + 1] = entropy_[i] + XLogX(counts_[i]);
    }
  }

  // Infinite where a code would have to stand for values it never saw, or there are fewer bins than codes.
  double operator()(size_t begin, size_t end) const {
    if (end <= begin || end - begin < levels_) return kInfinite;
    const double total = count_.back();
    const double inside = count_[end] - count_[begin];
    if (inside <= 0) return kInfinite;
    const double below = count_[begin];
    const double above = total - count_[end];
    const double first = counts_[begin];
    const double last = counts_[end - 1];
    double own = entropy_[end] - entropy_[begin];
    own += XLogX(first + below) - XLogX(first) + XLogX(last + above) - XLogX(last);
    double cross = 0;
    for (size_t code = 0; code < levels_; ++code) {
      const size_t from = Edge(code, begin, end);
      const size_t to = Edge(code + 1, begin, end);
      const double held = count_[to] - count_[from];
      double expected = held;
      double used = used_[to] - used_[from];
      if (code == 0 && below > 0) {
        expected += below;
        used += first > 0 ? 0 : 1;
      }
      if (code + 1 == levels_ && above > 0) {
        expected += above;
        used += last > 0 ? 0 : 1;
      }
      if (expected <= 0) continue;
      if (held <= 0) return kInfinite;
      cross += expected * std::log(held / used);
    }
    return (own - cross) / total + std::log(inside / total);
  }

 private:
  static double XLogX(double x) { return x > 0 ? x * std::log(x) : 0; }
  size_t Edge(size_t code, size_t begin, size_t end) const {
    return begin + (code * (end - begin) + levels_ - 1) / levels_;
  }

  const std::vector<double>& counts_;
  size_t levels_;
  std::vector<double> count_, used_, entropy_;  // Sums over the bins before.
};

// How many of `bins` a share keeps.
size_t Kept(double share, size_t bins) {
  return static_cast<size_t>(std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(bins) - 1e-9));
}

ObservedRange Entropy(const TensorStatistics& statistics, const ObserverOptions& options) {
  const Density density = DensityOf(statistics.histogram);
  if (options.symmetric) {
    const Density folded = Folded(density);
    const size_t bins = folded.counts.size();
    const Divergence divergence(folded, std::max(1, options.levels / 2));
    const double share = BestSymmetricShare([&](double at) { return divergence(0, Kept(at, bins)); });
    const double end = static_cast<double>(Kept(share, bins)) * density.width;
    return Within(statistics, -end, end);
  }
  const auto below = static_cast<size_t>(-density.first);
  const size_t above = density.counts.size() - below;
  const Divergence divergence(density, std::max(1, options.levels));
  const Shares best = BestShares(
      [&](Shares shares) { return divergence(below - Kept(shares.low, below), below + Kept(shares.high, above)); });
  return Within(statistics, -static_cast<double>(Kept(best.low, below)) * density.width,
                static_cast<double>(Kept(best.high, above)) * density.width);
}

// --- mean squared error ----------------------------------------------------------------------------------------

// Integrals of 1, x and x^2 over the density from its lower end.
class MomentIntegrals {
 public:
  explicit MomentIntegrals(const Density& density) : density_(density), sums_(density.counts.size() + 1) {
    for (size_t i = 0; i < density.counts.size(); ++i) {
      const auto part = Part(i, Left(i + 1));
      for (size_t k = 0; k < 3; ++k) sums_[i + 1][k] = sums_[i][k] + part[k];
    }
  }

  using Moments = std::array<double, 3>;

  // Of everything below a place.
  Moments Below(double place) const {
    const double at = place / density_.width - static_cast<double>(density_.first);
    if (!(at > 0)) return {};
    if (at >= static_cast<double>(density_.counts.size())) return sums_.back();
    const auto bin = static_cast<size_t>(at);
    Moments moments = Part(bin, place);
    for (size_t k = 0; k < 3; ++k) moments[k] += sums_[bin][k];
    return moments;
  }

 private:
  double Left(size_t bin) const {
    return (static_cast<double>(density_.first) + static_cast<double>(bin)) * density_.width;
  }

  // Of one bin, up to a place inside it.
  Moments Part(size_t bin, double place) const {
    const double left = Left(bin);
    const double span = place - left;
    const double mass = density_.counts[bin] * span / density_.width;
    const double middle = left + span / 2;
    return {mass, mass * middle, mass * (middle * middle + span * span / 12)};
  }

  const Density& density_;
  std::vector<Moments> sums_;
};

// Squared distance from `center` of everything between two places, given what lies below them.
double SquaredDistance(const MomentIntegrals::Moments& from, const MomentIntegrals::Moments& to, double center) {
  const double sum = (to[2] - from[2]) - 2 * center * (to[1] - from[1]) + center * center * (to[0] - from[0]);
  return std::max(0.0, sum);
}

// Loss of the codes that a range gives, as scale and zero point would be computed from it.
double SquaredError(const MomentIntegrals& integrals, double low, double high, int levels) {
  const double scale = (high - low) / (levels - 1);
  if (!(scale > 0)) return kInfinite;
  const double zero_point = std::nearbyint(-low / scale);
  double error = 0;
  MomentIntegrals::Moments from = {};
  for (int code = 0; code < levels; ++code) {
    const double center = (code - zero_point) * scale;
    const auto to = integrals.Below(code + 1 == levels ? kInfinite : center + scale / 2);
    error += SquaredDistance(from, to, center);
    from = to;
  }
  return error;
}

ObservedRange LeastSquares(const TensorStatistics& statistics, const ObserverOptions& options) {
  const Density density = DensityOf(statistics.histogram);
  const MomentIntegrals integrals(density);
  const double low = std::min(0.0, static_cast<double>(statistics.low));
  const double high = std::max(0.0, static_cast<double>(statistics.high));
  const int levels = std::max(2, options.levels);
  if (options.symmetric) {
    const double end = std::max(-low, high);
    // Codes -m ... m: an odd number, with zero in the middle.
    const int odd = std::max(3, levels % 2 == 0 ? levels - 1 : levels);
    const double share =
        BestSymmetricShare([&](double at) { return SquaredError(integrals, -end * at, end * at, odd); });
    return Within(statistics, -end * share, end * share);
  }
  const Shares best =
      BestShares([&](Shares shares) { return SquaredError(integrals, low * shares.low, high * shares.high, levels); });
  return Within(statistics, low * best.low, high * best.high);
}

struct ObserverRow {
  const char* name;
  Observer observer;
};
constexpr ObserverRow kObservers[] = {
    {"minmax", Observer::minmax},           {"moving_average", Observer::moving_average},
    {"mean_minmax", Observer::mean_minmax}, {"percentile", Observer::percentile},
    {"entropy", Observer::entropy},         {"mse", Observer::mse}};

}  // namespace

ObservedRange Observe(const TensorStatistics& statistics, const ObserverOptions& options) {
  // Where nothing or nothing but zeros was seen, every observer says the same.
  if (statistics.samples == 0 || (statistics.low == 0 && statistics.high == 0)) return Seen(statistics);
  switch (options.observer) {
    case Observer::minmax:
      return Seen(statistics);
    case Observer::moving_average:
      return Within(statistics, statistics.moving_low, statistics.moving_high);
    case Observer::mean_minmax:
      return Within(statistics, statistics.mean_low, statistics.mean_high);
    case Observer::percentile:
    case Observer::entropy:
    case Observer::mse:
      break;
  }
  CHECK_THAT(!statistics.histogram.counts.empty());
  if (options.observer == Observer::percentile) return Percentile(statistics, options);
  return options.observer == Observer::entropy ? Entropy(statistics, options) : LeastSquares(statistics, options);
}

const std::vector<const char*>& ObserverNames() {
  static const std::vector<const char*> names = [] {
    std::vector<const char*> all;
    for (const ObserverRow& row : kObservers) all.push_back(row.name);
    return all;
  }();
  return names;
}

Result<Observer> ParseObserver(std::string_view name) {
  for (const ObserverRow& row : kObservers) {
    if (name == row.name) return row.observer;
  }
  const std::vector<std::string> names(ObserverNames().begin(), ObserverNames().end());
  return Fail(ErrorCode::kRejected, fmt::format("there is no observer '{}'{} (observers: {})", Printable(name, 100),
                                                DidYouMean(name, names), Join(names, ", ")));
}

}  // namespace hone
