// Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization" (2011), after Optuna 5.0
// (tpe_optuna.h), with what a durable search on a fleet needs:
//
// - The best tenth of the trials (at most 25 for one objective) is "below", all others are "above": infeasible and
//   failed ones, which therefore repel, and running ones, so that workers spread (a constant liar).
// - All dimensions are drawn together, conditional ones too: a component is one trial; a dimension that the trial lacks
//   has the prior there, and a dimension that a candidate lacks counts for nothing.
// - Numbers are seen in at most 64 cells. A kernel is a discrete Gaussian around its trial's cell, as wide as the gap
//   to the next occupied cell, within 1/min(100, K+2) of the range and all of it. So a density is a product of table
//   entries.
// - Of 24 candidates drawn from below that nobody has yet, the one with the largest ratio of densities is taken.
//
// The densities of all candidates are computed together, component by component: 24 products side by side, three
// dimensions at a time; a component that cannot matter for any of them is left as soon as that is seen.
#include "coordinator/search/tpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "coordinator/search/multi_objective.h"

namespace hone {
namespace {

constexpr size_t kMostBelow = 25;
constexpr size_t kFlatWeights = 25;
constexpr size_t kMaxDraws = 400;
constexpr double kNarrowest = 0.5;   // Of a kernel, in cells.
constexpr double kNegligible = 1e-15;
constexpr size_t kMostBells = 128;
// Keeps the product over fifty dimensions a normal number.
constexpr double kLeastFactor = 1e-6;

// Whether any product reaches its bound: by the signs of the differences, several of which are computed at once.
template <size_t kCount>
bool ReachesAny(const std::array<double, kCount>& products, const std::array<double, kCount>& bounds) {
  uint64_t below = ~uint64_t{0};
  for (size_t c = 0; c < kCount; ++c) below &= std::bit_cast<uint64_t>(products[c] - bounds[c]);
  return below >> 63 == 0;
}

}  // namespace

std::vector<const TrialRow*> BestFirst(const std::vector<TrialRow>& rows, size_t enough) {
  std::vector<const TrialRow*> feasible, rest;
  for (const TrialRow& row : rows) {
    if (row.point.empty() || row.standing == Standing::kRunning) continue;
    (row.standing == Standing::kFeasible ? feasible : rest).push_back(&row);
  }
  std::vector<const TrialRow*> best;
  best.reserve(feasible.size() + rest.size());
  const bool single = feasible.empty() || feasible.front()->values.size() == 1;
  if (single) {
    const auto better = [](const TrialRow* a, const TrialRow* b) {
      return a->values[0] != b->values[0] ? a->values[0] < b->values[0] : a < b;
    };
    const auto middle = feasible.begin() + static_cast<std::ptrdiff_t>(std::min(enough, feasible.size()));
    std::partial_sort(feasible.begin(), middle, feasible.end(), better);
    best = std::move(feasible);
  } else {
    std::vector<Values> values;
    for (const TrialRow* row : feasible) values.push_back(row->values);
    const std::vector<size_t> ranks = NonDominationRanks(values, enough);
    for (size_t rank = 0; best.size() < feasible.size(); ++rank) {
      std::vector<size_t> layer;
      for (size_t i = 0; i < ranks.size(); ++i) {
        if (ranks[i] == rank) layer.push_back(i);
      }
      if (best.size() < enough && best.size() + layer.size() > enough) {
        // The layer that the cut goes through: those that cover most come first.
        std::vector<Values> of_layer;
        for (const size_t i : layer) of_layer.push_back(values[i]);
        std::vector<bool> chosen(layer.size(), false);
        for (const size_t i : SelectByHypervolume(of_layer, enough - best.size(), ReferencePointOf(of_layer))) {
          chosen[i] = true;
          best.push_back(feasible[layer[i]]);
        }
        for (size_t i = 0; i < layer.size(); ++i) {
          if (!chosen[i]) best.push_back(feasible[layer[i]]);
        }
        continue;
      }
      for (const size_t i : layer) best.push_back(feasible[i]);
    }
  }
  std::stable_sort(rest.begin(), rest.end(),
                   [](const TrialRow* a, const TrialRow* b) { return a->violation < b->violation; });
  best.insert(best.end(), rest.begin(), rest.end());
  return best;
}

std::optional<Point> Tpe::Propose(const StudyMemory& memory, Rng& rng) {
  const CodedSpace& space = memory.space();
  Split(memory);
  if (below_.rows.empty()) return std::nullopt;
  first_cell_.assign(1, 0);
  for (size_t d = 0; d < space.size(); ++d) first_cell_.push_back(first_cell_.back() + space[d].cells + 1);
  Order(space);
  Gather(memory);
  FindWidths(space, below_);
  points_.clear();
  cells_.clear();
  for (size_t draw = 0; draw < kMaxDraws && points_.size() < kCandidates; ++draw) {
    auto point = Draw(memory, rng);
    if (!point || memory.IsTaken(*point)) continue;
    std::vector<uint32_t>& cells = cells_.emplace_back();
    for (size_t d = 0; d < space.size(); ++d)
      cells.push_back((*point)[d] == kAbsent ? space[d].cells : space[d].CellOf((*point)[d]));
    points_.push_back(*std::move(point));
  }
  if (points_.empty()) return std::nullopt;
  FindWidths(space, above_);
  const std::vector<double> good = LogDensities(space, below_), bad = LogDensities(space, above_);
  size_t best = 0;
  for (size_t c = 1; c < points_.size(); ++c) {
    if (good[c] - bad[c] > good[best] - bad[best]) best = c;
  }
  return points_[best];
}

void Tpe::Split(const StudyMemory& memory) {
  for (Side* side : {&below_, &above_}) {
    side->rows.clear();
    side->places.clear();
  }
  size_t ended = 0, objectives = 1;
  for (const TrialRow& row : memory.rows()) {
    if (row.point.empty()) continue;
    if (row.standing != Standing::kRunning) ++ended;
    if (row.standing == Standing::kFeasible) objectives = row.values.size();
  }
  if (ended < kStartupTrials) return;
  size_t count = (ended + 9) / 10;
  if (objectives == 1) count = std::min(count, kMostBelow);
  std::vector<const TrialRow*> best = BestFirst(memory.rows(), count);
  // What failed is no example, whatever else there is.
  while (count > 0 && best[count - 1]->standing == Standing::kFailed) --count;
  best.resize(count);
  std::sort(best.begin(), best.end());
  size_t next = 0;
  for (const TrialRow& row : memory.rows()) {
    if (row.point.empty()) continue;
    const bool is_best = next < best.size() && best[next] == &row;
    next += is_best ? 1 : 0;
    Side& side = is_best ? below_ : above_;
    side.rows.push_back(&row);
    side.places.push_back(static_cast<size_t>(&row - memory.rows().data()));
  }
  Weigh(below_, true);
  Weigh(above_, objectives > 1);
}

// Old trials count less, linearly, but for the newest 25.
void Tpe::Weigh(Side& side, bool equal) const {
  const size_t count = side.rows.size();
  side.weights.assign(count + 1, 1);
  if (!equal && count > kFlatWeights) {
    const size_t ramp = count - kFlatWeights;
    for (size_t i = 0; i < ramp; ++i) {
      const double share = ramp == 1 ? 0 : static_cast<double>(i) / static_cast<double>(ramp - 1);
      side.weights[i] = 1 / static_cast<double>(count) * (1 - share) + share;
    }
  }
  double sum = 0;
  for (const double weight : side.weights) sum += weight;
  for (double& weight : side.weights) weight /= sum;
}

// Those with many values tell soonest that a component has no part in any candidate.
void Tpe::Order(const CodedSpace& space) {
  order_.clear();
  for (size_t d = 0; d < space.size(); ++d) {
    if (!space[d].IsFixed()) order_.push_back(d);
  }
  std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return space[a].cells > space[b].cells; });
}

void Tpe::Gather(const StudyMemory& memory) {
  if (gathered_generation_ != memory.generation()) gathered_.clear();
  gathered_generation_ = memory.generation();
  const auto& rows = memory.rows();
  if (order_.empty()) return;
  for (size_t i = gathered_.size() / order_.size(); i < rows.size(); ++i) {
    // A trial that is no candidate belongs to no side.
    for (const size_t d : order_) {
      gathered_.push_back(static_cast<uint32_t>(first_cell_[d] + (rows[i].cells.empty() ? 0 : rows[i].cells[d])));
    }
  }
}

// The larger of the gaps to the next occupied cells; at the ends the inner one.
void Tpe::FindWidths(const CodedSpace& space, Side& side) const {
  side.width.assign(first_cell_.back(), 0);
  // The cell behind the last is that of trials without the dimension; nobody asks for its width.
  for (const size_t place : side.places) {
    for (size_t k = 0; k < order_.size(); ++k) side.width[gathered_[place * order_.size() + k]] = 1;
  }
  for (const size_t d : order_) {
    if (space[d].categorical) continue;
    const uint32_t cells = space[d].cells;
    double* width = side.width.data() + first_cell_[d];
    const double least =
        std::max(kNarrowest, static_cast<double>(cells) / std::min(100.0, static_cast<double>(side.rows.size()) + 2));
    std::optional<uint32_t> last;
    double left = 0;
    for (uint32_t cell = 0; cell < cells; ++cell) {
      if (width[cell] == 0) continue;
      const double gap = last ? cell - *last : 0;
      if (last) width[*last] = std::clamp(std::max(left, gap), least, std::max(least, static_cast<double>(cells)));
      left = gap;
      last = cell;
    }
    if (last) width[*last] = left == 0 ? cells : std::clamp(left, least, std::max(least, static_cast<double>(cells)));
  }
}

// exp(-j^2 / 2w^2) by products: its ratio from step to step is a power of the first.
const Tpe::Bell& Tpe::Shape(double width, uint32_t cells) {
  const auto is_it = [&](const Bell& bell) { return bell.width == width && bell.at.size() == cells; };
  if (latest_bell_ < bells_.size() && is_it(bells_[latest_bell_])) return bells_[latest_bell_];
  latest_bell_ = static_cast<size_t>(std::find_if(bells_.begin(), bells_.end(), is_it) - bells_.begin());
  if (latest_bell_ < bells_.size()) return bells_[latest_bell_];
  if (bells_.size() == kMostBells) bells_.clear();
  latest_bell_ = bells_.size();
  Bell& bell = bells_.emplace_back();
  const double q = std::exp(-0.5 / (width * width)), q2 = q * q;
  bell.width = width;
  bell.at.assign(cells, 0);
  bell.sum.assign(cells, 0);
  double value = 1, ratio = q, sum = 0;
  for (uint32_t j = 0; j < cells; ++j) {
    sum += value;
    bell.at[j] = value;
    bell.sum[j] = sum;
    value = value > kNegligible ? value * ratio : 0;
    ratio *= q2;
  }
  return bell;
}

double Tpe::DrawValue(const Coordinate& coordinate, size_t dimension, const TrialRow& row, Rng& rng) {
  const uint32_t cells = coordinate.cells;
  if (coordinate.categorical) {
    // 1/(K+1) for every choice and 1 more for the trial's.
    const double prior = 1 / (static_cast<double>(below_.rows.size()) + 1);
    if (rng.Uniform() * (1 + cells * prior) < 1)
      return coordinate.points <= cells ? row.point[dimension] : coordinate.ValueIn(row.cells[dimension], rng);
    return coordinate.Any(rng);
  }
  const uint32_t middle = row.cells[dimension];
  const Bell& bell = Shape(below_.width[first_cell_[dimension] + middle], cells);
  double left = bell.Whole(middle, cells) * rng.Uniform();
  uint32_t cell = 0;
  const auto at = [&](uint32_t one) { return bell.at[one > middle ? one - middle : middle - one]; };
  while (cell + 1 < cells && left >= at(cell)) left -= at(cell++);
  return coordinate.ValueIn(cell, rng);
}

// From below. nullopt where the formats do not chain.
std::optional<Point> Tpe::Draw(const StudyMemory& memory, Rng& rng) {
  const CodedSpace& space = memory.space();
  double left = rng.Uniform();
  size_t k = 0;
  while (k < below_.rows.size() && left >= below_.weights[k]) left -= below_.weights[k++];
  const TrialRow* row = k < below_.rows.size() ? below_.rows[k] : nullptr;
  Point point(space.size(), kAbsent);
  for (size_t d = 0; d < space.size(); ++d) {
    if (!space.IsActive(d, point)) continue;
    if (space[d].IsFixed()) {
      point[d] = 0;
    } else if (row == nullptr || row->point[d] == kAbsent) {
      point[d] = space[d].Any(rng);
    } else {
      point[d] = DrawValue(space[d], d, *row, rng);
    }
  }
  if (!space.IsPossible(point)) return std::nullopt;
  return point;
}

// factors_[(first_cell + component's cell) * kCandidates + candidate]: the kernel of a component in that cell at the
// candidate; 1 where the candidate lacks the dimension, and beyond the last candidate. Only of cells that a component
// stands in.
void Tpe::FillFactors(const CodedSpace& space, const Side& side, size_t dimension) {
  const Coordinate& coordinate = space[dimension];
  const uint32_t cells = coordinate.cells;
  std::array<uint32_t, kCandidates> at;
  at.fill(cells);
  for (size_t c = 0; c < points_.size(); ++c) at[c] = cells_[c][dimension];
  const double prior = 1 / (static_cast<double>(side.rows.size()) + 1);
  const double uniform = 1.0 / cells, miss = prior / (1 + cells * prior), hit = (1 + prior) / (1 + cells * prior);
  for (uint32_t cell = 0; cell <= cells; ++cell) {
    double* of_cell = factors_.data() + (first_cell_[dimension] + cell) * kCandidates;
    const double width = side.width[first_cell_[dimension] + cell];
    if (cell < cells && width == 0) continue;
    if (cell == cells || coordinate.categorical) {
      for (size_t c = 0; c < kCandidates; ++c)
        of_cell[c] = at[c] == cells ? 1 : cell == cells ? uniform : at[c] == cell ? hit : miss;
      continue;
    }
    const Bell& bell = Shape(width, cells);
    const double scale = 1 / bell.Whole(cell, cells);
    for (size_t c = 0; c < kCandidates; ++c) {
      of_cell[c] =
          at[c] == cells ? 1 : std::max(bell.at[at[c] > cell ? at[c] - cell : cell - at[c]] * scale, kLeastFactor);
    }
  }
}

std::vector<double> Tpe::LogDensities(const CodedSpace& space, const Side& side) {
  factors_.resize(first_cell_.back() * kCandidates);
  for (const size_t d : order_) FillFactors(space, side, d);
  using Lane = std::array<double, kCandidates>;
  // What a product must reach to matter; out of reach beyond the last candidate.
  Lane sums{}, products, least;
  least.fill(std::numeric_limits<double>::infinity());
  const double* factors[3];
  // The prior has no cell of its own, as a trial that lacks the dimension.
  std::vector<uint32_t> absent;
  for (const size_t d : order_) absent.push_back(static_cast<uint32_t>(first_cell_[d] + space[d].cells));
  // The prior comes first: no density is smaller than its part.
  for (size_t i = 0; i <= side.rows.size(); ++i) {
    const bool is_prior = i == 0;
    products.fill(is_prior ? side.weights.back() : side.weights[i - 1]);
    const uint32_t* cells = is_prior ? absent.data() : gathered_.data() + side.places[i - 1] * order_.size();
    const auto factors_of = [&](size_t at) { return factors_.data() + size_t{cells[at]} * kCandidates; };
    bool matters = true;
    size_t at = 0;
    for (; at + 3 <= order_.size() && matters; at += 3) {
      for (size_t f = 0; f < 3; ++f) factors[f] = factors_of(at + f);
      // No factor is above 1.
      for (size_t c = 0; c < kCandidates; ++c)
        products[c] = products[c] * factors[0][c] * factors[1][c] * factors[2][c];
      matters = is_prior || ReachesAny(products, least);
    }
    if (!matters) continue;
    for (; at < order_.size(); ++at) {
      factors[0] = factors_of(at);
      for (size_t c = 0; c < kCandidates; ++c) products[c] *= factors[0][c];
    }
    for (size_t c = 0; c < kCandidates; ++c) sums[c] += products[c];
    for (size_t c = 0; c < points_.size(); ++c) least[c] = kNegligible * sums[c];
  }
  std::vector<double> logs;
  for (size_t c = 0; c < points_.size(); ++c) logs.push_back(std::log(std::max(sums[c], 1e-300)));
  return logs;
}

}  // namespace hone
