#include "coordinator/search/proposals.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "coordinator/search/multi_objective.h"

namespace hone {
namespace {

// Independent draws before an infinite space counts as exhausted: what is left then is a share below 2^-256 of what can
// be drawn, or candidates without a continuous value that all have been tried.
constexpr uint64_t kMaxTries = 1024;
// Salts that keep the uses of one seed apart.
constexpr uint64_t kShuffleSalt = 0x73687566666c65;
constexpr uint64_t kDrawSalt = 0x64726177;

constexpr int kTriesPerStep = 40;
constexpr int kMostMutations = 6;
constexpr double kCrossover = 0.9;

size_t Below(Rng& rng, size_t count) {
  return std::min(static_cast<size_t>(rng.Uniform() * static_cast<double>(count)), count - 1);
}

// Proposal of the number: the same candidate is meant whichever of the others are there.
std::optional<Point> Shuffled(const StudyMemory& memory, uint64_t size, uint64_t seed, uint64_t trial) {
  if (memory.taken() >= size) return std::nullopt;
  const Space& space = memory.space().space();
  const Permutation permutation(size, MixOf(seed, kShuffleSalt, 0));
  // Each step either ends or meets another candidate that is taken.
  for (uint64_t position = (std::max<uint64_t>(trial, 1) - 1) % size;; position = (position + 1) % size) {
    const auto point = memory.space().Encode(*space.At(permutation(position)));
    if (point && !memory.IsTaken(*point)) return point;
  }
}

std::optional<Point> Drawn(const StudyMemory& memory, uint64_t seed, uint64_t trial) {
  for (uint64_t draw = 0; draw < kMaxTries; ++draw) {
    Rng rng(MixOf(seed ^ kDrawSalt, trial, draw));
    const auto assignment = memory.space().space().Draw(rng);
    if (!assignment) return std::nullopt;
    auto point = memory.space().Encode(*assignment);
    if (point && !memory.IsTaken(*point)) return point;
  }
  return std::nullopt;
}

// Another value of the dimension.
double Moved(const Coordinate& coordinate, double value, Rng& rng) {
  if (coordinate.continuous) {
    if (rng.Uniform() < 0.2) return coordinate.Any(rng);
    const double share = std::clamp(coordinate.Scaled(value) + (rng.Uniform() - 0.5) * 0.2, 0.0, 1.0);
    const double moved = coordinate.log ? coordinate.low * std::pow(coordinate.high / coordinate.low, share)
                                        : coordinate.low + share * (coordinate.high - coordinate.low);
    return std::clamp(moved, coordinate.low, coordinate.high);
  }
  const auto last = static_cast<double>(coordinate.points - 1);
  if (!coordinate.categorical && rng.Uniform() < 0.8) {
    const double reach = std::max(1.0, std::floor(static_cast<double>(coordinate.points) / 16));
    const double step = (1 + std::floor(rng.Uniform() * 2 * reach)) * (rng.Uniform() < 0.5 ? -1 : 1);
    const double moved = std::clamp(value + step, 0.0, last);
    if (moved != value) return moved;
  }
  const double other = std::min(std::floor(rng.Uniform() * last), last - 1);
  return other >= value ? other + 1 : other;
}

bool IsBetter(const Member& a, const Member& b) {
  return a.layer != b.layer ? a.layer < b.layer : a.crowding > b.crowding;
}

}  // namespace

uint64_t SeedOf(uint64_t study_seed, uint64_t salt, uint64_t trial) { return MixOf(study_seed, salt, trial); }

std::optional<Point> Untried(const StudyMemory& memory, uint64_t study_seed, uint64_t trial) {
  const auto size = memory.space().space().Size(kMaxNumbered);
  return size && *size < kMaxNumbered ? Shuffled(memory, *size, study_seed, trial) : Drawn(memory, study_seed, trial);
}

std::vector<const TrialRow*> Parents(const StudyMemory& memory) {
  std::vector<const TrialRow*> feasible;
  const TrialRow* nearest = nullptr;
  for (const TrialRow& row : memory.rows()) {
    if (row.point.empty() || row.standing == Standing::kRunning) continue;
    if (row.standing == Standing::kFeasible) feasible.push_back(&row);
    if (nearest == nullptr || row.violation < nearest->violation) nearest = &row;
  }
  if (feasible.empty())
    return nearest == nullptr ? std::vector<const TrialRow*>{} : std::vector<const TrialRow*>{nearest};
  std::vector<const TrialRow*> front;
  if (feasible.front()->values.size() == 1) {
    // Those with the least value.
    for (const TrialRow* row : feasible) {
      if (!front.empty() && row->values[0] > front.front()->values[0]) continue;
      if (!front.empty() && row->values[0] < front.front()->values[0]) front.clear();
      front.push_back(row);
    }
    return front;
  }
  std::vector<Values> values;
  for (const TrialRow* row : feasible) values.push_back(row->values);
  const std::vector<size_t> ranks = NonDominationRanks(values, 1);
  for (size_t i = 0; i < feasible.size(); ++i) {
    if (ranks[i] == 0) front.push_back(feasible[i]);
  }
  return front;
}

bool MutateOnce(const CodedSpace& space, Point& point, Rng& rng) {
  std::vector<size_t> movable;
  for (size_t d = 0; d < space.size(); ++d) {
    if (point[d] != kAbsent && !space[d].IsFixed()) movable.push_back(d);
  }
  if (movable.empty()) return false;
  const size_t d = movable[Below(rng, movable.size())];
  point[d] = Moved(space[d], point[d], rng);
  return space.Repair(point);
}

std::optional<Point> Mutated(const StudyMemory& memory, const std::vector<const TrialRow*>& parents, Rng& rng) {
  if (parents.empty()) return std::nullopt;
  for (int most = 2; most <= kMostMutations; ++most) {
    for (int attempt = 0; attempt < kTriesPerStep; ++attempt) {
      Point point = parents[Below(rng, parents.size())]->point;
      const size_t mutations = most == 2 ? 1 + Below(rng, 2) : static_cast<size_t>(most);
      bool valid = true;
      for (size_t m = 0; m < mutations && valid; ++m) valid = MutateOnce(memory.space(), point, rng);
      if (valid && !memory.IsTaken(point)) return point;
    }
  }
  return std::nullopt;
}

std::vector<double> CrowdingOf(const std::vector<std::vector<double>>& front) {
  std::vector<double> crowding(front.size(), 0);
  if (front.empty()) return crowding;
  std::vector<size_t> order(front.size());
  for (size_t i = 0; i < front.front().size(); ++i) {
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return front[a][i] < front[b][i]; });
    const double range = front[order.back()][i] - front[order.front()][i];
    crowding[order.front()] = crowding[order.back()] = std::numeric_limits<double>::infinity();
    if (!(range > 0)) continue;
    for (size_t k = 1; k + 1 < order.size(); ++k)
      crowding[order[k]] += (front[order[k + 1]][i] - front[order[k - 1]][i]) / range;
  }
  return crowding;
}

std::vector<Member> Population(const StudyMemory& memory, uint64_t before, size_t size) {
  std::vector<const TrialRow*> feasible, rest;
  for (const TrialRow& row : memory.rows()) {
    if (row.point.empty() || row.standing == Standing::kRunning || row.trial >= before) continue;
    (row.standing == Standing::kFeasible ? feasible : rest).push_back(&row);
  }
  std::vector<Values> values;
  for (const TrialRow* row : feasible) values.push_back(row->values);
  const std::vector<size_t> ranks = NonDominationRanks(values, size);
  std::vector<Member> members;
  size_t layers = 0;
  for (size_t placed = 0; placed < feasible.size(); ++layers) {
    std::vector<Values> front;
    const size_t first = members.size();
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] != layers) continue;
      members.push_back({feasible[i], layers, 0});
      front.push_back(values[i]);
    }
    const std::vector<double> crowding = CrowdingOf(front);
    for (size_t i = 0; i < crowding.size(); ++i) members[first + i].crowding = crowding[i];
    placed += front.size();
  }
  std::stable_sort(rest.begin(), rest.end(),
                   [](const TrialRow* a, const TrialRow* b) { return a->violation < b->violation; });
  for (const TrialRow* row : rest) members.push_back({row, layers++, 0});
  std::stable_sort(members.begin(), members.end(), IsBetter);
  members.resize(std::min(members.size(), size));
  return members;
}

std::optional<Point> Bred(const StudyMemory& memory, const std::vector<Member>& population, Rng& rng) {
  const CodedSpace& space = memory.space();
  if (population.empty()) return std::nullopt;
  const auto tournament = [&] {
    const Member& a = population[Below(rng, population.size())];
    const Member& b = population[Below(rng, population.size())];
    return IsBetter(b, a) ? b.row : a.row;
  };
  for (int attempt = 0; attempt < 4 * kTriesPerStep; ++attempt) {
    const TrialRow* mother = tournament();
    const TrialRow* father = tournament();
    const bool crosses = rng.Uniform() < kCrossover;
    Point child = mother->point;
    for (size_t d = 0; crosses && d < space.size(); ++d) {
      if (rng.Uniform() < 0.5) child[d] = father->point[d];
    }
    if (!space.Repair(child)) continue;
    size_t movable = 0;
    for (size_t d = 0; d < space.size(); ++d) movable += child[d] != kAbsent && !space[d].IsFixed() ? 1 : 0;
    for (size_t d = 0; d < space.size(); ++d) {
      if (child[d] == kAbsent || space[d].IsFixed() || rng.Uniform() * static_cast<double>(movable) >= 1) continue;
      child[d] = Moved(space[d], child[d], rng);
    }
    if (space.Repair(child) && !memory.IsTaken(child)) return child;
  }
  return std::nullopt;
}

}  // namespace hone
