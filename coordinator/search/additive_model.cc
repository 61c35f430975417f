// With the design X, precisions W, noise n and a prior N(0, diag(v_f n / ratio)^2) on the effects, their posterior
// covariance is n^2 M with M^-1 = X'WX + diag(ratio / v_f)^2, their mean M X'Wy. A row x of precision w changes M by -
// Mx(Mx)' / (1/w + x'Mx) (Sherman, Morrison 1950), and the log determinant of the targets' covariance grows by log(1/w
// + x'Mx). With an inverse gamma prior on n^2 the evidence of the targets is a Student's t (Bishop, Pattern Recognition
// and Machine Learning, 3.5 and exercise 3.23).
#include "coordinator/search/additive_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace hone {
namespace {

// With backends' interactions.
constexpr size_t kMostWithInteractions = 120;
// An effect that a backend adds to a dimension's common one is smaller.
constexpr double kInteractionScale = 0.5;
constexpr double kInterceptScale = 10;
constexpr double kSummaryScale = 10;
constexpr double kNeighbourScale = 10;
constexpr double kActingScale = 5;
constexpr size_t kNeighbourFeatures = 2;
constexpr uint32_t kMostOneHot = 16;
constexpr double kRatios[] = {0.03, 0.1, 0.3, 1, 3};
// Above so many features two have to do.
constexpr size_t kLarge = 150;
constexpr double kRatiosOfLarge[] = {0.1, 0.6};
// The noise before anything is known, in units of the targets' deviation, and how many rows that counts for.
constexpr double kNoise = 0.05, kNoiseRows = 2;

// Steps of precision add up; choices have an effect each; numbers a slope and a bend.
size_t FeaturesOf(const Coordinate& coordinate) {
  if (coordinate.IsFixed()) return 0;
  if (coordinate.group || coordinate.categorical) return std::min(coordinate.cells, kMostOneHot) - 1;
  return 2;
}

template <class Add>
void ForEachOf(const Coordinate& coordinate, double value, Add&& add) {
  if (coordinate.IsFixed() || value == kAbsent) return;
  if (coordinate.group) {
    for (uint32_t level = 1; level < std::min(coordinate.cells, kMostOneHot) && level <= static_cast<uint32_t>(value);
         ++level)
      add(level - 1, 1.0);
  } else if (coordinate.categorical) {
    const uint32_t cell = coordinate.CellOf(value) % kMostOneHot;
    if (cell > 0) add(cell - 1, 1.0);
  } else {
    const double scaled = 2 * coordinate.Scaled(value) - 1;
    add(0, scaled);
    add(1, scaled * scaled - 1.0 / 3);
  }
}

bool IsTold(const GroupHint& hint, size_t dimensions) {
  return hint.dimension < dimensions && std::isfinite(hint.loss) && std::isfinite(hint.gain);
}

}  // namespace

size_t Features::AddFeatures(size_t count, double scale) {
  const size_t first = scale_.size();
  scale_.resize(first + count, scale);
  return first;
}

Features::Features(const CodedSpace& space, std::vector<GroupHint> hints)
    : space_(space), hints_(std::move(hints)), acting_(space.size(), 0) {
  AddFeatures(1, kInterceptScale);
  for (size_t d = 0; d < space.size(); ++d) {
    first_.push_back(AddFeatures(FeaturesOf(space[d]), 1));
    if (!IsGroup(d)) continue;
    ++groups_;
    levels_ = std::max(levels_, FeaturesOf(space[d]));
  }
  if (groups_ > 0) {
    summary_ = AddFeatures(levels_, kSummaryScale);
    if (groups_ > 2) neighbours_ = AddFeatures(kNeighbourFeatures, kNeighbourScale);
    for (size_t d = 0; d < space.size(); ++d) {
      const bool acts = !space[d].structural && !space[d].group && !space[d].IsFixed();
      if (acts) acting_[d] = AddFeatures(FeaturesOf(space[d]), kActingScale);
    }
  }
  std::vector<double> most_loss(space.size(), 0), most_gain(space.size(), 0);
  for (const GroupHint& hint : hints_) {
    if (!IsTold(hint, space.size())) continue;
    most_loss[hint.dimension] = std::max(most_loss[hint.dimension], std::fabs(hint.loss));
    most_gain[hint.dimension] = std::max(most_gain[hint.dimension], std::fabs(hint.gain));
  }
  for (const double loss : most_loss) losses_ += loss;
  for (const double gain : most_gain) gains_ += gain;
  if (losses_ > 0) loss_ = AddFeatures(1, kSummaryScale);
  if (gains_ > 0) gain_ = AddFeatures(1, kSummaryScale);
  main_ = scale_.size();
  const SpacePlan& plan = *space.space().plan();
  backend_ = plan.backend_dimension;
  const size_t others = plan.backends.empty() ? 0 : plan.backends.size() - 1;
  if (others == 0 || main_ * (others + 1) > kMostWithInteractions) return;
  interactions_ = AddFeatures(others * (main_ - 1), kInteractionScale);
}

Features::Sparse Features::Of(const Point& point) const {
  Sparse row;
  Describe(point, row);
  return row;
}

void Features::Describe(const Point& point, Sparse& row) const {
  row.clear();
  row.emplace_back(0, 1.0);
  for (size_t d = 0; d < space_.size(); ++d) {
    ForEachOf(space_[d], point[d], [&](size_t f, double value) { row.emplace_back(first_[d] + f, value); });
  }
  if (groups_ > 0) AddSummary(point, row);
  const auto other = static_cast<size_t>(point[backend_]);
  if (interactions_ > 0 && other > 0) {
    const size_t first = interactions_ + (other - 1) * (main_ - 1), count = row.size();
    for (size_t i = 1; i < count; ++i) row.emplace_back(first + row[i].first - 1, row[i].second);
  }
}

void Features::AddSummary(const Point& point, Sparse& row) const {
  const double share = 1 / static_cast<double>(groups_);
  double cheapest = 0, differ = 0, both = 0;
  std::array<double, kMostOneHot> count{};
  double before = kAbsent;
  bool was_cheapest = false;
  for (size_t d = 0; d < space_.size(); ++d) {
    if (!IsGroup(d) || point[d] == kAbsent) continue;
    for (size_t level = 0; level < levels_ && static_cast<double>(level) < point[d]; ++level) count[level] += share;
    const bool is_cheapest = point[d] == static_cast<double>(space_[d].points - 1);
    if (before != kAbsent && before != point[d]) differ += share;
    if (was_cheapest && is_cheapest) both += share;
    cheapest += is_cheapest ? share : 0;
    before = point[d];
    was_cheapest = is_cheapest;
  }
  for (size_t level = 0; level < levels_; ++level) {
    if (count[level] > 0) row.emplace_back(summary_ + level, count[level]);
  }
  if (neighbours_ > 0 && differ > 0) row.emplace_back(neighbours_, differ);
  if (neighbours_ > 0 && both > 0) row.emplace_back(neighbours_ + 1, both);
  double loss = 0, gain = 0;
  for (const GroupHint& hint : hints_) {
    if (!IsTold(hint, point.size()) || point[hint.dimension] != static_cast<double>(hint.choice)) continue;
    loss += hint.loss;
    gain += hint.gain;
  }
  if (loss_ > 0) row.emplace_back(loss_, loss / losses_);
  if (gain_ > 0) row.emplace_back(gain_, gain / gains_);
  const double acted_on = loss_ > 0 ? loss / losses_ : cheapest;
  for (size_t d = 0; d < space_.size(); ++d) {
    if (acting_[d] == 0) continue;
    ForEachOf(space_[d], point[d], [&](size_t f, double value) { row.emplace_back(acting_[d] + f, value * acted_on); });
  }
}

Design::Design(const Features& features) : size_(features.size()) {
  const auto add = [&](double ratio) {
    Belief& belief = beliefs_.emplace_back();
    belief.ratio = ratio;
    belief.covariance.assign(size_ * size_, 0);
    for (size_t f = 0; f < size_; ++f) belief.covariance[f * size_ + f] = std::pow(features.scale()[f] / ratio, 2);
  };
  if (size_ > kLarge) {
    for (const double ratio : kRatiosOfLarge) add(ratio);
  } else {
    for (const double ratio : kRatios) add(ratio);
  }
}

void Design::Add(const Features::Sparse& row, double precision) {
  rows_.push_back(&row);
  precision_.push_back(precision);
  for (Belief& belief : beliefs_) Learn(row, precision, size_, belief, room_);
}

void Design::Learn(const Features::Sparse& row, double precision, size_t size, Belief& belief,
                   std::vector<double>& room) {
  room.assign(size, 0);
  double* shared = room.data();
  for (const auto& [f, value] : row) {
    const double* line = belief.covariance.data() + f * size;
    for (size_t g = 0; g < size; ++g) shared[g] += value * line[g];
  }
  double spread = 1 / precision;
  for (const auto& [f, value] : row) spread += value * shared[f];
  belief.log_spread += std::log(spread);
  const double inverse = 1 / spread;
  for (size_t f = 0; f < size; ++f) {
    const double by = shared[f] * inverse;
    if (by == 0) continue;
    double* line = belief.covariance.data() + f * size;
    for (size_t g = 0; g < size; ++g) line[g] -= by * shared[g];
  }
}

AdditiveModel::AdditiveModel(const Design& design, const std::vector<double>& targets) : size_(design.size_) {
  const size_t rows = design.rows();
  double weight = 0, sum = 0, squares = 0;
  for (size_t i = 0; i < rows; ++i) {
    weight += design.precision_[i];
    sum += design.precision_[i] * targets[i];
  }
  centre_ = sum / weight;
  for (size_t i = 0; i < rows; ++i) squares += design.precision_[i] * (targets[i] - centre_) * (targets[i] - centre_);
  unit_ = squares > 0 ? std::sqrt(squares / weight) : std::max(std::fabs(centre_), 1e-12);
  squares = 0;
  std::vector<double> moment(size_, 0), effects(size_);
  for (size_t i = 0; i < rows; ++i) {
    const double target = (targets[i] - centre_) / unit_, counts = design.precision_[i] * target;
    for (const auto& [f, value] : *design.rows_[i]) moment[f] += counts * value;
    squares += counts * target;
  }
  const double shape = 0.5 * (kNoiseRows + static_cast<double>(rows));
  const Design::Belief* best = nullptr;
  double most = -std::numeric_limits<double>::infinity();
  for (const Design::Belief& belief : design.beliefs_) {
    double explained = 0;
    for (size_t f = 0; f < size_; ++f) {
      const double* line = belief.covariance.data() + f * size_;
      double effect = 0;
      for (size_t g = 0; g < size_; ++g) effect += line[g] * moment[g];
      effects[f] = effect;
      explained += effect * moment[f];
    }
    const double left = 0.5 * (kNoiseRows * kNoise * kNoise + std::max(squares - explained, 0.0));
    const double evidence = -shape * std::log(left) - 0.5 * belief.log_spread;
    if (best != nullptr && !(evidence > most)) continue;
    best = &belief;
    most = evidence;
    noise_ = std::sqrt(left / shape);
    effects_.swap(effects);
    effects.resize(size_);
  }
  belief_ = *best;
  evidence_ = most - static_cast<double>(rows) * std::log(unit_);
}

void AdditiveModel::Believe(const std::vector<const Features::Sparse*>& rows) {
  std::vector<double> room;
  for (const Features::Sparse* row : rows) Design::Learn(*row, 1, size_, belief_, room);
}

Guess AdditiveModel::Scaled(double mean, double variance) const {
  return {centre_ + unit_ * mean, unit_ * noise_ * std::sqrt(std::max(variance, 0.0))};
}

double AdditiveModel::MeanAt(const Features::Sparse& row) const {
  double mean = 0;
  for (const auto& [f, value] : row) mean += effects_[f] * value;
  return centre_ + unit_ * mean;
}

Guess AdditiveModel::At(const Features::Sparse& row) const { return Vicinity(*this, row).At({}); }

AdditiveModel::Vicinity::Vicinity(const AdditiveModel& model, const Features::Sparse& row)
    : model_(&model), shared_(model.size_, 0) {
  for (const auto& [f, value] : row) {
    mean_ += model.effects_[f] * value;
    const double* line = model.belief_.covariance.data() + f * model.size_;
    for (size_t g = 0; g < model.size_; ++g) shared_[g] += value * line[g];
  }
  for (const auto& [f, value] : row) variance_ += value * shared_[f];
}

Guess AdditiveModel::Vicinity::At(const Features::Sparse& change) const {
  double mean = mean_, variance = variance_;
  for (size_t i = 0; i < change.size(); ++i) {
    const auto& [f, value] = change[i];
    mean += model_->effects_[f] * value;
    const double* line = model_->belief_.covariance.data() + f * model_->size_;
    double shared = shared_[f];
    for (size_t j = 0; j < i; ++j) shared += line[change[j].first] * change[j].second;
    variance += value * (2 * shared + line[f] * value);
  }
  return model_->Scaled(mean, variance);
}

}  // namespace hone
