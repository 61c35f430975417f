// Searches with a known answer: every candidate's true figures can be looked up, measuring adds noise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/search/coded.h"
#include "coordinator/search/sampler.h"
#include "coordinator/search/space.h"

namespace hone {

struct Truth {
  double latency = 0;
  double drop = 0;
};

class Problem {
 public:
  virtual ~Problem() = default;
  const std::string& name() const { return name_; }
  const Space& space() const { return space_; }
  const CodedSpace& coded() const { return *coded_; }
  double bound() const { return bound_; }
  // Of the best candidate that keeps the bound, and of the form that is sure to.
  double optimum() const { return optimum_; }
  double fallback() const { return fallback_; }

  virtual Truth At(const Point& point) const = 0;
  // What an evaluation set shows: the same for the same candidate, whoever asks.
  virtual double ObservedDrop(const Point& point) const = 0;
  // One timing, by chance from `seed`.
  virtual double MeasuredLatency(const Point& point, uint64_t seed) const = 0;
  // What a sensitivity table would say; empty where the problem has no groups of layers.
  virtual std::vector<GroupHint> Sensitivity() const { return {}; }

 protected:
  void SetSpace(const Space& space) {
    space_ = space;
    coded_ = std::make_unique<CodedSpace>(space_);
  }
  std::string name_;
  Space space_;
  std::unique_ptr<CodedSpace> coded_;
  double bound_ = 1, optimum_ = 1, fallback_ = 1;
};

// Mixed precision of 12 groups of layers at 3 precisions, a calibration method and a percentile that only one method
// has: at most one point may be lost, 2 % noise of timing. Seeded; with interactions neighbours share costs and errors
// do not simply add up.
std::unique_ptr<Problem> MakeMixedPrecision(uint64_t seed, bool interactions);

// A table of everything measured (bench/search/tables): FILE.csv with the recipe and catalogue it was made from beside
// it.
Result<std::unique_ptr<Problem>> LoadTable(const std::string& stem);

// Normal, by chance from a seed.
double NormalOf(uint64_t seed);

}  // namespace hone
