// Local search that looks before it measures: neighbours of the best trials, judged by a model of what was measured so
// far.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "coordinator/search/additive_model.h"
#include "coordinator/search/proposals.h"
#include "coordinator/search/tpe.h"

namespace hone {

// What it keeps between proposals follows from the trials alone: another one that is shown the same trials proposes the
// same.
class Guided {
 public:
  // Trials that have to have ended before the model is asked, and how many it is made of at most.
  static constexpr size_t kFewest = 3;
  static constexpr size_t kMost = 300;

  // nullopt where there is too little to go by, or too much.
  std::optional<Point> Propose(const StudyMemory& memory, const std::vector<GroupHint>& hints, Rng& rng);

 private:
  // The designs of trials told so far.
  struct Designs {
    explicit Designs(const Features& features) : timed(features), ended(features) {}
    Design timed, ended;
    std::vector<Design> constraints;
  };
  // A trial as it was told.
  struct Told {
    Standing standing;
    std::vector<double> values, constraints;
    bool Is(const TrialRow& row) const;
  };
  // A point that is climbed from.
  struct Spot {
    Point point;
    double worth = 0;
    std::optional<AdditiveModel::Vicinity> objective, failure;
    std::vector<AdditiveModel::Vicinity> constraints;
  };
  struct Step {
    Point point;
    double worth = 0;
    bool is_faster = false;                  // By the model of the objective.
  };

  void Remember(const StudyMemory& memory, const std::vector<GroupHint>& hints);
  void Tell(const TrialRow& row, size_t index, Designs& designs) const;
  bool Learn(const StudyMemory& memory, Rng& rng);
  std::vector<double> LearnObjective(const Design& design, const std::vector<const TrialRow*>& timed, Rng& rng);
  Spot SpotAt(const Point& point);
  Step Look(const Spot& spot, const Point& point);
  void Consider(const StudyMemory& memory, const Step& step);
  void Climb(const StudyMemory& memory, const Point& start, Rng& rng);
  std::vector<Step> Singles(const StudyMemory& memory, const Spot& spot, Rng& rng);
  std::optional<Step> BestPair(const StudyMemory& memory, const Spot& spot, std::vector<Step> singles, Rng& rng);

  std::unique_ptr<Features> features_;
  uint64_t plan_generation_ = 0, generation_ = 0;
  // Rows of the memory by index. Those before the first that has not ended are in the designs, in their order; the
  // others are added to a copy for each proposal, so that it does not matter in which order trials ended.
  std::deque<Features::Sparse> rows_;
  std::vector<Told> told_;
  std::unique_ptr<Designs> designs_;

  std::optional<AdditiveModel> objective_, failure_;
  std::vector<AdditiveModel> constraints_;
  std::optional<double> incumbent_;          // What the model says of the best feasible trial.
  std::unordered_set<Point, PointHash> climbed_;
  std::optional<Point> best_;
  double best_worth_ = 0;

  // Room that differences are computed in: the spot's features, and which of them the other point has too.
  std::vector<double> dense_;
  std::vector<uint64_t> seen_;
  uint64_t stamp_ = 0;
  Features::Sparse here_, there_, change_;
};

}  // namespace hone
