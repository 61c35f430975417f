// Candidates as plain numbers: what samplers compute with.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/search/plan.h"
#include "coordinator/search/random.h"
#include "coordinator/search/space.h"

namespace hone {

// One number a dimension: the index of a choice or of a step, the value itself of a continuous range, kAbsent where the
// dimension is not active.
using Point = std::vector<double>;
constexpr double kAbsent = -std::numeric_limits<double>::infinity();

struct PointHash {
  size_t operator()(const Point& point) const;
};

struct Coordinate {
  bool categorical = false;
  bool continuous = false;
  bool group = false;               // A layer group's precision, from precise to cheap.
  bool structural = false;          // Chooses an option or the backend.
  uint64_t points = 1;              // 1 for a continuous range.
  double low = 0, high = 0;         // Of a continuous range.
  bool log = false;
  double log_range = 0;             // log(high / low) where log.
  double preferred = 0;
  struct Condition {
    size_t dimension;
    std::vector<bool> holds;        // By index.
  };
  std::vector<Condition> conditions;
  // What estimators tell apart: every index up to kMaxCells, else as many equal parts (over the logarithm where log is
  // set).
  uint32_t cells = 1;

  bool IsFixed() const { return !continuous && points <= 1; }
  // Categorical ones have no order.
  uint32_t CellOf(double value) const;
  // A value of the cell, evenly by chance.
  double ValueIn(uint32_t cell, Rng& rng) const;
  // Any value, evenly by chance.
  double Any(Rng& rng) const;
  // 0 to 1 for values with an order.
  double Scaled(double value) const;
};

// Holds on to the space's plan. Constant.
class CodedSpace {
 public:
  explicit CodedSpace(const Space& space);

  const Space& space() const { return space_; }
  size_t size() const { return coordinates_.size(); }
  const Coordinate& operator[](size_t dimension) const { return coordinates_[dimension]; }

  // nullopt where it is no valid assignment.
  std::optional<Point> Encode(const Assignment& assignment) const;
  Assignment Decode(const Point& point) const;
  // By the dimensions before it.
  bool IsActive(size_t dimension, const Point& point) const;
  // Makes dimensions absent or gives them their preferred value, as the conditions want; then IsPossible.
  bool Repair(Point& point) const;
  // Whether formats chain from the model to the backend, and the values of each step go together.
  bool IsPossible(const Point& point) const;
  // Of the points that give the same candidate the first; Repair must hold.
  Point Canonical(const Point& point) const;

 private:
  Space space_;
  std::vector<Coordinate> coordinates_;
};

}  // namespace hone
