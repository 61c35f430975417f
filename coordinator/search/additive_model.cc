// With the design X, precisions W, a prior N(0, diag(s^2 v_f^2)) and noise n^2, the posterior precision is A = X'WX / n^2 + diag(1/(s v_f))^2, the
// mean A^-1 X'Wy / n^2; the evidence follows from A's Cholesky factor (Bishop, Pattern Recognition and Machine Learning, 3.5).
#include "coordinator/search/additive_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hone {
namespace {

constexpr size_t kMostFeatures = 240;
// An effect that a backend adds to a dimension's common one is smaller.
constexpr double kInteractionScale = 0.5;
constexpr double kInterceptScale = 10;
constexpr double kSummaryScale = 5;
constexpr uint32_t kMostOneHot = 16;
constexpr double kPriors[] = {0.1, 0.3, 1.0};
constexpr double kNoises[] = {0.01, 0.05, 0.2};

// Steps of precision add up; choices have an effect each; numbers a slope and a bend.
size_t FeaturesOf(const Coordinate& coordinate) {
  if (coordinate.IsFixed()) return 0;
  if (coordinate.group || coordinate.categorical) return std::min(coordinate.cells, kMostOneHot) - 1;
  return 2;
}

template <class Add>
void Describe(const Coordinate& coordinate, double value, Add&& add) {
  if (coordinate.IsFixed() || value == kAbsent) return;
  if (coordinate.group) {
    for (uint32_t level = 1; level < std::min(coordinate.cells, kMostOneHot) && level <= static_cast<uint32_t>(value); ++level) add(level - 1, 1.0);
  } else if (coordinate.categorical) {
    const uint32_t cell = coordinate.CellOf(value) % kMostOneHot;
    if (cell > 0) add(cell - 1, 1.0);
  } else {
    const double scaled = 2 * coordinate.Scaled(value) - 1;
    add(0, scaled);
    add(1, scaled * scaled - 1.0 / 3);
  }
}

}  // namespace

Features::Features(const CodedSpace& space, std::vector<GroupHint> hints) : space_(space), hints_(std::move(hints)) {
  AddFeature(kInterceptScale);
  for (size_t d = 0; d < space.size(); ++d) {
    first_.push_back(scale_.size());
    for (size_t f = 0; f < FeaturesOf(space[d]); ++f) AddFeature(1);
    if (!space[d].group || space[d].IsFixed()) continue;
    ++groups_;
    levels_ = std::max(levels_, FeaturesOf(space[d]));
  }
  summary_ = scale_.size();
  for (size_t level = 0; level < levels_; ++level) AddFeature(kSummaryScale);
  std::vector<double> most_loss(space.size(), 0), most_gain(space.size(), 0);
  for (const GroupHint& hint : hints_) {
    if (hint.dimension >= space.size() || !std::isfinite(hint.loss) || !std::isfinite(hint.gain)) continue;
    most_loss[hint.dimension] = std::max(most_loss[hint.dimension], std::fabs(hint.loss));
    most_gain[hint.dimension] = std::max(most_gain[hint.dimension], std::fabs(hint.gain));
  }
  for (const double loss : most_loss) losses_ += loss;
  for (const double gain : most_gain) gains_ += gain;
  if (losses_ > 0) AddFeature(kSummaryScale);
  if (gains_ > 0) AddFeature(kSummaryScale);
  main_ = scale_.size();
  const SpacePlan& plan = *space.space().plan();
  backend_ = plan.backend_dimension;
  const size_t others = plan.backends.empty() ? 0 : plan.backends.size() - 1;
  if (others == 0 || main_ * (others + 1) > kMostFeatures) return;
  interactions_ = main_;
  for (size_t b = 0; b < others; ++b) {
    for (size_t f = 1; f < main_; ++f) AddFeature(kInteractionScale);
  }
}

Features::Sparse Features::Of(const Point& point) const {
  Sparse sparse = {{0, 1.0}};
  for (size_t d = 0; d < space_.size(); ++d) {
    Describe(space_[d], point[d], [&](size_t f, double value) { sparse.emplace_back(first_[d] + f, value); });
  }
  AddSummary(point, sparse);
  const auto other = static_cast<size_t>(point[backend_]);
  if (interactions_ > 0 && other > 0) {
    const size_t first = interactions_ + (other - 1) * (main_ - 1), count = sparse.size();
    for (size_t i = 1; i < count; ++i) sparse.emplace_back(first + sparse[i].first - 1, sparse[i].second);
  }
  return sparse;
}

void Features::AddSummary(const Point& point, Sparse& sparse) const {
  if (groups_ == 0) return;
  const double share = 1 / static_cast<double>(groups_);
  for (size_t level = 0; level < levels_; ++level) {
    double count = 0;
    for (size_t d = 0; d < space_.size(); ++d) {
      if (space_[d].group && !space_[d].IsFixed() && point[d] != kAbsent && point[d] > static_cast<double>(level)) count += share;
    }
    sparse.emplace_back(summary_ + level, count);
  }
  double loss = 0, gain = 0;
  for (const GroupHint& hint : hints_) {
    const bool told = hint.dimension < point.size() && std::isfinite(hint.loss) && std::isfinite(hint.gain);
    if (!told || point[hint.dimension] != static_cast<double>(hint.choice)) continue;
    loss += hint.loss;
    gain += hint.gain;
  }
  size_t feature = summary_ + levels_;
  if (losses_ > 0) sparse.emplace_back(feature++, loss / losses_);
  if (gains_ > 0) sparse.emplace_back(feature, gain / gains_);
}

void AdditiveModel::Fit(const std::vector<Features::Sparse>& rows, const std::vector<double>& targets, const std::vector<double>& precision) {
  const size_t size = features_.size();
  rows_ = rows.size();
  double weight = 0, sum = 0, squares = 0;
  for (size_t i = 0; i < rows_; ++i) {
    weight += precision[i];
    sum += precision[i] * targets[i];
  }
  centre_ = sum / weight;
  for (size_t i = 0; i < rows_; ++i) squares += precision[i] * (targets[i] - centre_) * (targets[i] - centre_);
  unit_ = squares > 0 ? std::sqrt(squares / weight) : std::max(std::fabs(centre_), 1e-12);
  gram_.assign(size * size, 0);
  moment_.assign(size, 0);
  squares_ = log_precision_ = 0;
  for (size_t i = 0; i < rows_; ++i) {
    const double target = (targets[i] - centre_) / unit_;
    for (const auto& [f, value] : rows[i]) {
      moment_[f] += precision[i] * value * target;
      for (const auto& [g, other] : rows[i]) gram_[f * size + g] += precision[i] * value * other;
    }
    squares_ += precision[i] * target * target;
    log_precision_ += std::log(precision[i]);
  }
  double best = -std::numeric_limits<double>::infinity();
  for (const double prior : kPriors) {
    for (const double noise : kNoises) {
      const double evidence = Solve(prior, noise);
      if (!(evidence > best)) continue;
      best = evidence;
      prior_ = prior;
      noise_ = noise;
    }
  }
  evidence_ = best - static_cast<double>(rows_) * std::log(unit_);
  Solve(prior_, noise_);
  Invert();
}

void AdditiveModel::Believe(const std::vector<Features::Sparse>& rows) {
  if (rows.empty()) return;
  const size_t size = features_.size();
  for (const Features::Sparse& row : rows) {
    const double target = (At(row).mean - centre_) / unit_;
    for (const auto& [f, value] : row) {
      moment_[f] += value * target;
      for (const auto& [g, other] : row) gram_[f * size + g] += value * other;
    }
  }
  Solve(prior_, noise_);
  Invert();
}

// Leaves the posterior behind; gives the log evidence but for a constant.
double AdditiveModel::Solve(double prior, double noise) {
  const size_t size = features_.size();
  const double inverse = 1 / (noise * noise);
  root_.assign(size * size, 0);
  double log_determinant = 0, log_prior = 0;
  for (size_t i = 0; i < size; ++i) {
    const double deviation = prior * features_.scale()[i];
    for (size_t j = 0; j <= i; ++j) {
      double value = gram_[i * size + j] * inverse + (i == j ? 1 / (deviation * deviation) : 0);
      for (size_t k = 0; k < j; ++k) value -= root_[i * size + k] * root_[j * size + k];
      root_[i * size + j] = i == j ? std::sqrt(std::max(value, 1e-12)) : value / root_[j * size + j];
    }
    log_determinant += 2 * std::log(root_[i * size + i]);
    log_prior += 2 * std::log(deviation);
  }
  effects_.assign(size, 0);
  double explained = 0;
  for (size_t i = 0; i < size; ++i) {
    double value = moment_[i] * inverse;
    for (size_t k = 0; k < i; ++k) value -= root_[i * size + k] * effects_[k];
    effects_[i] = value / root_[i * size + i];
    explained += effects_[i] * effects_[i];
  }
  for (size_t i = size; i-- > 0;) {
    double value = effects_[i];
    for (size_t k = i + 1; k < size; ++k) value -= root_[k * size + i] * effects_[k];
    effects_[i] = value / root_[i * size + i];
  }
  return -0.5 * (squares_ * inverse - explained + log_determinant + log_prior + static_cast<double>(rows_) * 2 * std::log(noise) - log_precision_);
}

// The inverse of the posterior precision from its factor: of L first, column by column, then its product with its transpose.
void AdditiveModel::Invert() {
  const size_t size = features_.size();
  std::vector<double> inverse(size * size, 0);   // Rows of the transposed inverse of L: column c of it from row c on.
  for (size_t c = 0; c < size; ++c) {
    double* column = inverse.data() + c * size;
    column[c] = 1 / root_[c * size + c];
    for (size_t i = c + 1; i < size; ++i) {
      double value = 0;
      const double* line = root_.data() + i * size;
      for (size_t k = c; k < i; ++k) value -= line[k] * column[k];
      column[i] = value / line[i];
    }
  }
  covariance_.assign(size * size, 0);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double value = 0;
      for (size_t k = i; k < size; ++k) value += inverse[i * size + k] * inverse[j * size + k];
      covariance_[i * size + j] = covariance_[j * size + i] = value;
    }
  }
}

Guess AdditiveModel::At(const Features::Sparse& row) const {
  const size_t size = features_.size();
  double mean = 0, variance = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto& [f, value] = row[i];
    mean += effects_[f] * value;
    const double* line = covariance_.data() + f * size;
    double shared = 0;
    for (size_t j = 0; j < i; ++j) shared += line[row[j].first] * row[j].second;
    variance += value * (2 * shared + line[f] * value);
  }
  return {centre_ + unit_ * mean, unit_ * std::sqrt(std::max(variance, 0.0))};
}

}  // namespace hone
