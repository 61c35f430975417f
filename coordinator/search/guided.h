// Local search that looks before it measures: neighbours of the best trials, judged by a model of what was measured so far.
#pragma once

#include <memory>
#include <optional>

#include "coordinator/search/additive_model.h"
#include "coordinator/search/proposals.h"
#include "coordinator/search/tpe.h"

namespace hone {

class Guided {
 public:
  // Trials that have to have ended before the model is asked, and how many of the best and newest it is made of.
  static constexpr size_t kFewest = 3;
  static constexpr size_t kMost = 300;

  // nullopt where there is too little to go by.
  std::optional<Point> Propose(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng);

 private:
  bool Learn(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng);
  std::vector<double> LearnObjective(const std::vector<const TrialRow*>& timed, const std::vector<Features::Sparse>& rows, Rng& rng);
  double Worth(const Point& point) const;
  Point Climb(const StudyMemory& memory, Point start, Rng& rng);
  void Consider(const StudyMemory& memory, const Point& point, double worth);

  std::unique_ptr<Features> features_;
  uint64_t plan_generation_ = 0;
  std::optional<AdditiveModel> objective_, failure_;
  std::vector<AdditiveModel> constraints_;
  std::optional<double> incumbent_;          // What the model says of the best feasible trial.
  std::optional<Point> best_;
  double best_worth_ = 0;
};

}  // namespace hone
