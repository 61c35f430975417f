// Optuna 5.0's default sampler, number for number: what the production sampler is held against, in tests and in
// bench/search. It has a generator's state and repeats candidates as Optuna does, so it is no Sampler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace hone {

// A distribution in Optuna's words. choices 0 is a number; step 0 a continuous one.
struct OptunaParameter {
  std::string name;
  size_t choices = 0;
  double low = 0, high = 0, step = 0;
  bool log = false;
  bool integer = false;
};

struct OptunaTrial {
  uint64_t number = 0;
  enum State { kRunning, kComplete, kPruned } state = kRunning;
  std::map<std::string, std::pair<OptunaParameter, double>> parameters;   // Of a categorical one the index.
  std::vector<double> values;                                             // To be minimized.
  double violation = 0;                                                   // Sum of max(0, constraint).
  std::vector<std::pair<double, double>> reports;                         // Step and value, of pruned trials.
};

class OptunaTpe {
 public:
  OptunaTpe(uint32_t seed, size_t objectives);

  // Begins a trial: every other trial of the study that did not fail, by number. Draws what is drawn jointly.
  void Begin(std::vector<OptunaTrial> history);
  // The value of one parameter of the trial begun, in the order in which the objective suggests them.
  double Suggest(const OptunaParameter& parameter);

  // Of the draw that gave the last suggestion: whether a candidate with this value of the parameter scored within 1e-9
  // of the best, so that rounding alone decides between them.
  bool IsTied(const OptunaParameter& parameter, double value) const;

 private:
  using Space = std::vector<OptunaParameter>;
  struct Draw {
    std::map<std::string, std::vector<double>> candidates;
    std::vector<double> scores;
    size_t best = 0;
  };

  Space JointSpace() const;
  void Split(std::vector<const OptunaTrial*>& below, std::vector<const OptunaTrial*>& above) const;
  std::vector<const OptunaTrial*> BestComplete(const std::vector<const OptunaTrial*>& complete, size_t count) const;
  Draw DrawFrom(const Space& space);
  double Uniform(std::mt19937& generator);
  double AtRandom(const OptunaParameter& parameter);

  const size_t objectives_;
  std::mt19937 tpe_;
  std::mt19937 random_;
  std::vector<OptunaTrial> history_;
  size_t finished_ = 0;
  Draw joint_;
  Draw single_;
  bool last_is_joint_ = false;
};

}  // namespace hone
